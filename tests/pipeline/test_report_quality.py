"""The gate and its job on a small real run: it passes whole,
and fails by name for every single way to break it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lxml import html

from wearalike import tables
from wearalike.catalog import MerchandisingRule
from wearalike.pipeline import report_quality
from wearalike.quality import gate, metrics, run_metrics
from wearalike.quality.checks import TABLE_CHECKS, TableCheck
from wearalike.quality.thresholds import GateVerdict, Thresholds
from wearalike.storage import run_tables

RULES = {"k": 12, "min_score": 0.05, "max_per_brand": 4}
RUN = "2026-11-21"
LEAVES = {
    "women.tops.shirts": ("upper_wear", 3, 7, 5, "Tops > Shirts"),
    "women.tops.polos": ("upper_wear", 2, 8, 3, "Tops > Polos"),
    "bags.clutches": ("bags", 5, 5, 0, "Bags > Clutches"),
    "bags.backpacks": ("bags", 1, 1, 1, "Bags > <b>Backpacks</b>"),
}
# How far two leaves of a super-category are in kind.
KIND_DISTANCE = 48


def rows_of(table: tables.Table, rows: list[dict]) -> pa.Table:
    """Rows of the table's schema; what a row does not name is null, or an empty list."""
    empty = {c.name: [] for c in table.columns if pa.types.is_list(c.type)}
    return pa.Table.from_pylist([empty | row for row in rows], schema=table.arrow_schema)


COLOUR_NAMES = (["red"], ["navy"], [])
NAME_DISTANCE = 20


def product(number: int) -> dict:
    leaf = list(LEAVES)[number % 4]
    super_category, shape_weight, colour_weight, kind_weight, path = LEAVES[leaf]
    shop = ("moda", "bazaar")[number // 4 % 2]
    return {
        "product_id": f"{shop}:{number:02}",
        "shop_id": shop,
        "offer_id": f"{number:02}",
        "group_id": f"G{number // 16}" if number % 8 < 4 else None,
        "article_id": "moda:49" if number in (49, 50) else None,
        "title": f"<script>{leaf}</script> {number}",
        "brand": f"brand {number % 5}",
        "category_paths": [path],
        "price_cents": 100 + number,
        "currency": "EUR",
        "availability": "out_of_stock" if number % 10 == 9 else "in_stock",
        "gender": "unisex" if number % 3 else "female",
        "age_group": "adult",
        "category": leaf,
        "super_category": super_category,
        "shape_weight": shape_weight,
        "colour_weight": colour_weight,
        "kind_weight": kind_weight,
        "colour_names": COLOUR_NAMES[number % 3],
    }


def coded(products: list[dict], seed: int) -> dict[str, np.ndarray]:
    """bool (256,) a product: its leaf's bits, one in eight of them turned."""
    rng = np.random.default_rng(seed)
    leaves = {leaf: rng.random(256) < 0.5 for leaf in LEAVES}
    return {p["product_id"]: leaves[p["category"]] ^ (rng.random(256) < 0.125) for p in products}


def listed(asking: dict, products: list[dict], codes: dict[str, np.ndarray]) -> list[dict]:
    """The asking product's rows of similar_products, by comparing it with every other one."""
    shape_weight, colour_weight, kind_weight, own = (
        asking["shape_weight"],
        asking["colour_weight"],
        asking["kind_weight"],
        codes[asking["product_id"]],
    )

    def compared(other: dict) -> dict:
        shape, colour = (
            int((own ^ codes[other["product_id"]])[half].sum())
            for half in (slice(128), slice(128, 256))
        )
        kind = 0 if other["category"] == asking["category"] else KIND_DISTANCE
        name = NAME_DISTANCE if other["colour_names"] != asking["colour_names"] else 0
        name = name if asking["colour_names"] else 0
        distance = shape_weight * shape + colour_weight * (colour + name) + kind_weight * kind
        scale = 1.25 if asking["colour_names"] else 1
        weights = shape_weight + scale * colour_weight + kind_weight
        cosine = 1 - 2 * distance / (128 * weights)
        return {
            "product_id": asking["product_id"],
            "similar_product_id": other["product_id"],
            "score": max(0.0, cosine),
            "shape_score": max(0.0, 1 - shape / 64),
            "colour_score": max(0.0, 1 - (colour + name) / 64 / scale),
            "shape_distance": shape,
            "colour_distance": colour,
            "shape_weight": shape_weight,
            "colour_weight": colour_weight,
            "kind_weight": kind_weight,
            "kind_distance": kind,
            "colour_name_distance": name,
            "kind_score": 1 - kind / 64,
            "reason": "alike",
            "reason_ru": "похоже",
            "item_id": f"item-{asking['product_id']}",
            "similar_item_id": f"item-{other['product_id']}",
            "detector": "whole-1",
            "encoder": "bits-1",
        }

    found, models, brands = [], {model(asking)}, dict.fromkeys({p["brand"] for p in products}, 0)
    by_id = {p["product_id"]: p for p in products}
    fit = [
        p
        for p in products
        if p["super_category"] == asking["super_category"] and p["availability"] == "in_stock"
    ]
    for row in sorted(map(compared, fit), key=lambda r: (-r["score"], r["similar_product_id"])):
        other = by_id[row["similar_product_id"]]
        is_full = len(found) == RULES["k"] or brands[other["brand"]] == RULES["max_per_brand"]
        if (
            not is_full
            and model(other) not in models
            and row["score"] >= RULES["min_score"]
            and genders_fit(asking, other)
        ):
            found.append(row | {"rank": len(found) + 1})
            models.add(model(other))
            brands[other["brand"]] += 1
    return found


def look_rows(
    asking: dict, products: list[dict], codes: dict[str, np.ndarray]
) -> tuple[dict, list[dict]]:
    """The asking product's row of looks, a shirt worn with it, and its rows of look_products,
    by comparing that with every shirt.
    """
    product_id = asking["product_id"]
    shirts = [p["product_id"] for p in products if p["super_category"] == "upper_wear"]
    number = int(asking["offer_id"])
    code = codes[shirts[number % len(shirts)]] ^ (np.random.default_rng(number).random(256) < 0.125)
    item = {
        "image_id": f"image-{product_id}",
        "item_id": f"worn-{product_id}",
        "x0": 1,
        "y0": 2,
        "x1": 5,
        "y1": 6,
    }
    halves = {
        "shape": np.packbits(code[:128]).tobytes(),
        "colour": np.packbits(code[128:]).tobytes(),
    }
    like = {
        **asking,
        "super_category": "upper_wear",
        "group_id": None,
        "shape_weight": 1,
        "colour_weight": 1,
        "kind_weight": 0,
        "colour_names": [],
    }
    rows = [
        {name: row[name] for name in row if name in tables.LOOK_PRODUCTS.column_names}
        | {
            **item,
            "super_category": "upper_wear",
            "look_product_id": row["similar_product_id"],
            "look_item_id": row["similar_item_id"],
            "source": "worn",
            "worn_with_product_id": product_id,
        }
        for row in listed(like, products, codes | {product_id: code})
    ]
    look = {
        "product_id": product_id,
        "items": [{"super_category": "upper_wear", **item, "confidence": 0.5, **halves}],
    }
    return look, rows


def variants_of(products: list[dict]) -> list[dict]:
    """The rows of product_variants of the products that share an article."""
    by_article: dict[str, list[dict]] = {}
    for p in products:
        if p.get("article_id"):
            by_article.setdefault(p["article_id"], []).append(p)
    columns = ("product_id", "article_id", "shop_id", "availability", "colour_names")
    return [
        {
            **{name: p[name] for name in columns},
            "rank": rank,
            "variants_count": len(own),
            "colours": [],
            "sizes": [],
        }
        for own in by_article.values()
        if len(own) > 1
        for rank, p in enumerate(own, 1)
    ]


def model(p: dict) -> str:
    return f"{p['shop_id']}/{p['group_id']}" if p["group_id"] else p["product_id"]


def genders_fit(one: dict, other: dict) -> bool:
    return one["gender"] == other["gender"] or "unisex" in (one["gender"], other["gender"])


def a_night(count: int = 60, seed: int = 7) -> dict[str, pa.Table]:
    """Every table of a run of `count` products in two shops;
    three more offers were refused and one withdrawn. seed: of the codes.
    """
    products = [product(n) for n in range(count)]
    codes = coded(products, seed)
    packed = {p: np.packbits(bits).tobytes() for p, bits in codes.items()}
    lists = {p["product_id"]: listed(p, products, codes) for p in products}
    unmapped = [{**product(n), "category_paths": ['Тапки > "Дом" & сад']} for n in (900, 901, 904)]
    items = [
        {"item_id": f"item-{p}", "image_id": f"image-{p}", "super_category": None} for p in packed
    ]
    halves = [
        {"product_id": p, "item_id": f"item-{p}", "shape": b[:16], "colour": b[16:]}
        for p, b in packed.items()
    ]
    entries = [
        {
            **half,
            "super_category": p["super_category"],
            "image_id": f"image-{p['product_id']}",
            "entry_id": number,
        }
        for s in ("bags", "upper_wear")
        for number, (half, p) in enumerate(
            (h, p) for h, p in zip(halves, products, strict=True) if p["super_category"] == s
        )
    ]
    feeds = [
        {
            "shop_id": shop,
            "status": status,
            "offers_count": written + refused + withdrawn,
            "written_count": written + refused,
            "refused_count": 0,
            "withdrawn_count": withdrawn,
            "warnings_count": 0,
        }
        for shop, status, refused, withdrawn in (("bazaar", "fresh", 2, 0), ("moda", "stale", 1, 1))
        for written in [sum(p["shop_id"] == shop for p in products)]
    ]
    looks = [look_rows(p, products, codes) for p in products if p["super_category"] == "bags"]
    short = {p: "rules" if len(rows) < RULES["k"] else None for p, rows in lists.items()}
    refused = [
        {
            "stage": "products",
            "shop_id": p["shop_id"],
            "kind": "offer",
            "key": p["product_id"],
            "reason": "unmapped_category",
            "detail": p["category_paths"][0],
        }
        for p in unmapped
    ]
    return {
        "feeds": rows_of(tables.FEEDS, feeds),
        "offers": rows_of(
            tables.OFFERS,
            [
                {k: v for k, v in p.items() if k in tables.OFFERS.column_names}
                for p in products + unmapped
            ],
        ),
        "products": rows_of(tables.PRODUCTS, products),
        "images": rows_of(
            tables.IMAGES,
            [
                {
                    "product_id": p,
                    "position": 0,
                    "image_url": "",
                    "image_id": f"image-{p}",
                    "format": "PNG",
                    "width_px": 8,
                    "height_px": 8,
                    "bytes": 99,
                }
                for p in packed
            ],
        ),
        "items": rows_of(
            tables.ITEMS,
            [
                {**i, "x0": 0, "y0": 0, "x1": 8, "y1": 8, "confidence": 1.0, "detector": "whole-1"}
                for i in items
            ],
        ),
        "codes": rows_of(
            tables.CODES,
            [
                {**{k: h[k] for k in ("item_id", "shape", "colour")}, "encoder": "bits-1"}
                for h in halves
            ],
        ),
        "indexes": rows_of(tables.INDEXES, entries),
        "matches": rows_of(
            tables.MATCHES,
            [
                {"product_id": p, "item_id": f"item-{p}", "shortfall_reason": short[p]}
                for p in packed
            ],
        ),
        "similar_products": rows_of(
            tables.SIMILAR_PRODUCTS, [row for rows in lists.values() for row in rows]
        ),
        "similar_lists": rows_of(
            tables.SIMILAR_LISTS,
            [
                {"product_id": p, "similar_count": len(rows), "shortfall_reason": short[p]}
                for p, rows in lists.items()
            ],
        ),
        "product_leaves": tables.PRODUCT_LEAVES.arrow_schema.empty_table(),
        "product_variants": rows_of(tables.PRODUCT_VARIANTS, variants_of(products)),
        "looks": rows_of(tables.LOOKS, [look for look, _ in looks]),
        "look_products": rows_of(tables.LOOK_PRODUCTS, [row for _, rows in looks for row in rows]),
        "refused": rows_of(tables.REFUSED, refused),
        "last_products": tables.PRODUCTS.arrow_schema.empty_table(),
        "last_similar_products": tables.SIMILAR_PRODUCTS.arrow_schema.empty_table(),
    }


def write(root: Path, run: str, night: dict[str, pa.Table], distance: int = 2) -> None:
    for table in report_quality.INPUT_TABLES:
        parameters = RULES if table is tables.MATCHES else {}
        with run_tables.write_table(
            root, table, run, f"{run} {len(night[table.name])}", parameters
        ) as writer:
            if table is tables.MATCHES:
                writer.manifest_extras["distance"] = distance
            writer.write(night[table.name])
            writer.refuse(night["refused"].filter(pc.equal(night["refused"]["stage"], table.name)))


def judged(
    night: dict[str, pa.Table], only: str = "", merchandise: tuple[MerchandisingRule, ...] = ()
) -> list[gate.ExpectationOutcome]:
    """As the job does it, but for the files;
    of the expectations about rows only those whose name starts with `only`.
    """
    made = {
        name: {"rows": {"taken": len(rows), "written": len(rows), "refused": {}}}
        for name, rows in night.items()
    }
    judge = gate.Gate(RUN, Path("never written"))

    def some(check: TableCheck) -> TableCheck:
        def expectations(gxe: object, rules: dict) -> list:
            every = [(e, e.configuration) for e in check.expectations(gxe, rules)]
            return [
                e
                for e, c in every
                if gate.expectation_name(check.table.name, c.type, c.kwargs).startswith(only)
            ]

        return replace(check, expectations=expectations)

    with metrics.open_run_tables(night) as con:
        outcomes = judge.check_tables(
            con,
            {**RULES, "merchandise": [asdict(rule) for rule in merchandise]},
            [some(c) for c in TABLE_CHECKS if only.startswith(c.table.name + ".") or not only],
        )
        is_measured = not only or only.startswith("measures")
        return outcomes + (
            judge.check_metrics(run_metrics.run_metrics(con, night, made), Thresholds().as_list())
            if is_measured
            else []
        )


def changed(rows: pa.Table, row: int, **values: object) -> pa.Table:
    """The table with other values in one row, nulls allowed everywhere."""
    listed = rows.to_pylist()
    listed[row] |= values
    return pa.Table.from_pylist(
        listed, schema=pa.schema([f.with_nullable(True) for f in rows.schema])
    )


@pytest.fixture(scope="module")
def night() -> dict[str, pa.Table]:
    return a_night()


def test_a_sound_night_passes(night: dict[str, pa.Table]) -> None:
    outcomes = judged(night)
    assert len(night["similar_products"]) > 250
    assert {o.name.split(".")[0] for o in outcomes} == {c.table.name for c in TABLE_CHECKS} | {
        "measures"
    }
    assert len(night["look_products"]) > 50
    assert len(outcomes) > 70
    assert [str(o) for o in outcomes if o.verdict is GateVerdict.FAIL] == []
    assert [o.name for o in outcomes if o.verdict is GateVerdict.WARN] == [
        "measures.expect_column_values_to_be_between(stale_feeds_count)"
    ]
    assert gate.worst_verdict(outcomes) is GateVerdict.WARN


def _with(name: str, row: int, **values: object):
    return lambda night: {name: changed(night[name], row, **values)}


def _twice(name: str, row: int):
    return lambda night: {name: pa.concat_tables([night[name], night[name].slice(row, 1)])}


def _without(name: str, row: int):
    return lambda night: {
        name: pa.concat_tables([night[name].slice(0, row), night[name].slice(row + 1)])
    }


def _rank_gap(night: dict[str, pa.Table]) -> dict[str, pa.Table]:
    last = night["similar_products"]["product_id"].to_pylist().count("moda:00") - 1
    return _with("similar_products", last, rank=last + 2)(night)


def _sold_out(night: dict[str, pa.Table]) -> dict[str, pa.Table]:
    recommended = night["look_products"]["look_product_id"][0].as_py()
    return _with(
        "products",
        night["products"]["product_id"].to_pylist().index(recommended),
        availability="out_of_stock",
    )(night)


def _unexplained(night: dict[str, pa.Table]) -> dict[str, pa.Table]:
    is_short = night["similar_lists"]["shortfall_reason"][0].is_valid
    return _with("similar_lists", 0, shortfall_reason=None if is_short else "rules")(night)


def _of_another_super_category(night: dict[str, pa.Table]) -> dict[str, pa.Table]:
    assert night["products"]["super_category"][3].as_py() == "bags"
    return _with(
        "similar_products", 0, similar_product_id=night["products"]["product_id"][3].as_py()
    )(night)


BREAKS = {
    "duplicate key": (
        _twice("similar_products", 3),
        "similar_products.expect_compound_columns_to_be_unique(product_id, rank)",
        "moda:00",
    ),
    "duplicate product": (
        _twice("products", 7),
        "products.expect_column_values_to_be_unique(product_id)",
        "bazaar:07",
    ),
    "null": (
        _with("products", 5, currency=None),
        "products.expect_column_values_to_not_be_null(currency)",
        "bazaar:05",
    ),
    "free": (
        _with("products", 2, price_cents=0),
        "products.expect_column_values_to_be_between(price_cents)",
        "moda:02",
    ),
    "strange word": (
        _with("products", 1, gender="women"),
        "products.expect_column_values_to_be_in_set(gender)",
        "moda:01",
    ),
    "strange shop": (
        _with("products", 1, shop_id="MODA"),
        "products.expect_column_values_to_match_regex(shop_id)",
        "moda:01",
    ),
    "score off": (
        _with("similar_products", 0, score=0.3),
        "similar_products.expect_column_values_to_be_between(score_error)",
        "moda:00",
    ),
    "score rises": (
        _with("similar_products", 1, score=0.99),
        "similar_products.expect_column_values_to_be_between(score_rise)",
        "moda:00",
    ),
    "score above 1": (
        _with("similar_products", 0, score=1.5),
        "similar_products.expect_column_values_to_be_between(score)",
        "moda:00",
    ),
    "wrong distance": (
        _with("similar_products", 0, shape_distance=1),
        "similar_products.expect_column_pair_values_to_be_equal(shape_distance, shape_bits)",
        "moda:00",
    ),
    "self match": (
        _with("similar_products", 0, similar_product_id="moda:00"),
        "similar_products.expect_column_values_to_be_in_set(is_another)",
        "moda:00",
    ),
    "super-category": (
        _of_another_super_category,
        "similar_products.expect_column_values_to_be_in_set(is_same_super_category)",
        "moda:00",
    ),
    "out of stock": (
        _with("similar_products", 0, similar_product_id="moda:09"),
        "similar_products.expect_column_values_to_be_in_set(similar_availability)",
        "moda:00",
    ),
    "rank gap": (
        _rank_gap,
        "similar_products.expect_column_pair_values_to_be_equal(rank, rank_expected)",
        "moda:00",
    ),
    "other weights": (
        _with("similar_products", 0, shape_weight=9),
        "similar_products.expect_column_values_to_be_in_set(is_weighted_as_product)",
        "moda:00",
    ),
    "other weight of kind": (
        _with("similar_products", 0, kind_weight=9),
        "similar_products.expect_column_values_to_be_in_set(is_weighted_as_product)",
        "moda:00",
    ),
    "one category, two kinds": (
        _with("similar_products", 0, kind_distance=16),
        "similar_products.expect_column_values_to_be_in_set(is_kind_of_category)",
        "moda:00",
    ),
    "kind score off": (
        _with("similar_products", 0, kind_score=0.5),
        "similar_products.expect_column_values_to_be_between(kind_score_error)",
        "moda:00",
    ),
    "one colour name, two colours": (
        _with("similar_products", 0, colour_name_distance=16),
        "similar_products.expect_column_values_to_be_in_set(is_colour_name_of_product)",
        "moda:00",
    ),
    "no reason": (
        _with("similar_products", 0, reason_ru=""),
        "similar_products.expect_column_values_to_be_in_set(is_explained)",
        "moda:00",
    ),
    "no such product": (
        _with("similar_products", 0, similar_product_id="moda:x"),
        "similar_products.expect_column_values_to_be_in_set(is_similar_product)",
        "moda:00",
    ),
    "lost product": (
        _without("similar_lists", 4),
        "products.expect_column_values_to_be_in_set(has_list)",
        "bazaar:04",
    ),
    "lost variant": (
        _without("product_variants", 0),
        "products.expect_column_values_to_be_in_set(is_among_variants)",
        "moda:49",
    ),
    "variant of another colour": (
        _with("product_variants", 1, colour_names=["none"]),
        "product_variants.expect_column_values_to_be_in_set(is_as_in_products)",
        "moda:50",
    ),
    "two variants of one rank": (
        _with("product_variants", 1, rank=1),
        "product_variants.expect_column_values_to_be_in_set(is_ranked_without_gaps)",
        "moda:49",
    ),
    "variants miscounted": (
        _with("product_variants", 1, variants_count=3),
        "product_variants.expect_column_pair_values_to_be_equal(variants_count, products_count)",
        "moda:50",
    ),
    "count mismatch": (
        _without("similar_products", 5),
        "similar_lists.expect_column_pair_values_to_be_equal(similar_count, rows_count)",
        "moda:00",
    ),
    "unexplained": (
        _unexplained,
        "similar_lists.expect_column_values_to_be_in_set(is_explained)",
        "moda:00",
    ),
    "foreign code": (
        _with("indexes", 0, shape=bytes(16)),
        "indexes.expect_column_values_to_be_in_set(is_code_of_item)",
        "moda:02",
    ),
    "a look of its own kind": (
        _with("look_products", 0, super_category="bags"),
        "look_products.expect_column_values_to_be_in_set(is_of_another_super_category)",
        "moda:02",
    ),
    "what nobody wears": (
        _with("look_products", 0, item_id="item-moda:00"),
        "look_products.expect_column_values_to_be_in_set(is_item_of_look)",
        "moda:02",
    ),
    "another's image": (
        _with("look_products", 0, image_id="image-moda:00"),
        "look_products.expect_column_values_to_be_in_set(is_image_of_wearer)",
        "moda:02",
    ),
    "a look that no feed names": (
        _with("look_products", 0, source="feed"),
        "look_products.expect_column_values_to_be_in_set(is_of_source)",
        "moda:02",
    ),
    "a look taken though there is an own one": (
        _with("look_products", 0, source="alike"),
        "look_products.expect_column_values_to_be_in_set(is_of_source)",
        "moda:02",
    ),
    "an item without a score": (
        _with("look_products", 0, score=None),
        "look_products.expect_column_values_to_be_in_set(is_scored_as_source)",
        "moda:02",
    ),
    "a sold-out look": (
        _sold_out,
        "look_products.expect_column_values_to_be_in_set(look_availability)",
        "out_of_stock",
    ),
    "a look's distance": (
        _with("look_products", 0, shape_distance=0),
        "look_products.expect_column_pair_values_to_be_equal(shape_distance, shape_bits)",
        "moda:02",
    ),
    "lost offer": (
        _with("feeds", 1, offers_count=99),
        "measures.expect_column_values_to_be_between(offers_unaccounted_count)",
        "shop=moda",
    ),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_night_fails_by_name(how: str, night: dict[str, pa.Table], tmp_path: Path) -> None:
    breaking, name, key = BREAKS[how]
    outcomes = {o.name: o for o in judged(night | breaking(night), name)}
    assert gate.worst_verdict(list(outcomes.values())) is GateVerdict.FAIL
    assert outcomes[name].verdict is GateVerdict.FAIL
    assert outcomes[name].error is None
    assert outcomes[name].violations_count >= 1
    assert key in {*outcomes[name].examples[0].values()}
    assert key in str(outcomes[name])


def rule(kind: str, **fields: object) -> MerchandisingRule:
    return MerchandisingRule("o-1", kind, **fields)


# Of a_night: moda:00 is a bag of moda, brand 0; its first bag shown is found in the night itself.
BROKEN_RULES = {
    "hidden product": lambda page, shown: rule("hide", product=shown["product_id"]),
    "hidden brand": lambda page, shown: rule("hide", brand=shown["brand"].upper()),
    "hidden shop": lambda page, shown: rule("hide", shop=shown["shop_id"]),
    "on the page's branch": lambda page, shown: rule(
        "hide", shop=shown["shop_id"], on_category=page["category"].rpartition(".")[0]
    ),
    "on the page": lambda page, shown: rule(
        "hide", product=shown["product_id"], on_product=page["product_id"], on_shop=page["shop_id"]
    ),
    "shop": lambda page, shown: rule(
        "require", attribute="shop", is_same=page["shop_id"] != shown["shop_id"]
    ),
    "brand": lambda page, shown: rule(
        "require", attribute="brand", is_same=page["brand"] != shown["brand"]
    ),
    "price": lambda page, shown: rule(
        "require", attribute="price_band", is_same=False, factor=100.0
    ),
}


@pytest.mark.parametrize("table", ["similar_products", "look_products"])
@pytest.mark.parametrize("how", BROKEN_RULES)
def test_a_row_that_breaks_a_merchandiser_s_rule_fails_by_its_name(
    how: str, table: str, night: dict[str, pa.Table]
) -> None:
    by_id = {p["product_id"]: p for p in night["products"].to_pylist()}
    row = night[table].to_pylist()[0]
    shown_column = f"{table.split('_')[0]}_product_id"
    page, shown = by_id[row["product_id"]], by_id[row[shown_column]]
    broken = replace(BROKEN_RULES[how](page, shown), on_product=page["product_id"])
    name = f"{table}.expect_column_values_to_be_null(broken_rule)"
    (outcome,) = judged(night, name, (broken,))
    assert outcome.verdict is GateVerdict.FAIL and outcome.error is None
    assert f"product_id={page['product_id']}" in str(outcome)
    assert f"broken_rule={broken.kind}:o-1" in str(outcome)
    elsewhere = replace(broken, on_product=None, on_category=None, on_shop="lipa")
    for kept in (elsewhere, rule("prefer", boost=0.1, product=shown["product_id"])):
        (outcome,) = judged(night, name, (kept,))
        assert outcome.verdict is GateVerdict.OK


def test_a_pin_may_show_what_a_rule_hides(night: dict[str, pa.Table]) -> None:
    shown = night["similar_products"]["similar_product_id"][0].as_py()
    page = night["similar_products"]["product_id"][0].as_py()
    pinned = _with("similar_products", 0, rule="pin:summer")(night)
    hide = rule("hide", product=shown, on_product=page)
    name = "similar_products.expect_column_values_to_be_null(broken_rule)"
    assert [o.verdict for o in judged(night | pinned, name, (hide,))] == [GateVerdict.OK]
    assert [o.verdict for o in judged(night, name, (hide,))] == [GateVerdict.FAIL]


def test_a_run_whose_look_shows_a_recalled_product_is_refused(
    night: dict[str, pa.Table],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recalled = night["look_products"]["look_product_id"][0].as_py()
    page = night["look_products"]["product_id"][0].as_py()
    hide = MerchandisingRule("recalled", "hide", product=recalled, on_product=page)
    monkeypatch.setitem(RULES, "merchandise", [asdict(hide)])
    write(tmp_path, RUN, night)
    assert job(tmp_path, RUN) == 1
    [error] = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "look_products.expect_column_values_to_be_null(broken_rule)" in error
    assert f"product_id={page}" in error and "broken_rule=hide:recalled" in error


def test_shares_judge_as_the_whole_does(
    night: dict[str, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = night | _with("similar_products", 0, score=0.3)(night) | _twice("products", 7)(night)
    some = "similar_products.expect_column_values_to_be_between(s"
    whole = judged(broken, some)
    monkeypatch.setattr(gate, "SHARD_ROWS", 200)
    shares = judged(broken, some)
    assert gate.worst_verdict(whole) is GateVerdict.FAIL
    assert [(o.name, o.violations_count, o.verdict) for o in whole] == [
        (o.name, o.violations_count, o.verdict) for o in shares
    ]


def test_an_expectation_that_crashes_fails_as_an_error(
    night: dict[str, pa.Table], tmp_path: Path
) -> None:
    judge = gate.Gate(RUN, tmp_path)
    expected = [
        judge.gxe.ExpectColumnValuesToBeBetween(
            column="no_such", min_value=0, severity="warning", description="none"
        )
    ]
    [outcome] = judge._run_suite(
        "odd",
        ("product_id",),
        expected,
        [night["products"].select(["product_id", "price_cents"]).to_pandas()],
    )
    assert outcome.verdict is GateVerdict.FAIL
    assert "no_such" in str(outcome.error)
    assert "could not be checked" in str(outcome)


def test_an_empty_night_fails_on_its_floor_alone(
    night: dict[str, pa.Table], tmp_path: Path
) -> None:
    outcomes = judged({name: rows.slice(0, 0) for name, rows in night.items()})
    assert [str(o) for o in outcomes if o.verdict is GateVerdict.FAIL] == [
        "measures.expect_column_values_to_be_between(products_count): 1 row, e.g. scope=all, "
        "products_count=0.0"
    ]


# The job


def job(root: Path, run: str, *more: str) -> int:
    return report_quality.main(["--data-dir", str(root), "--run", run, *more])


def rows_by_measure(root: Path, run: str) -> dict[tuple[str, str], dict]:
    return {
        (r["metric"], r["scope"]): r
        for r in run_tables.read_table(root, tables.QUALITY, run).to_pylist()
    }


def test_the_job_from_a_shell_writes_the_verdict_its_page_and_its_docs_and_nothing_else(
    night: dict[str, pa.Table], tmp_path: Path
) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    write(root, RUN, night)
    home.mkdir()
    job_arguments = ["report_quality", "--data-dir", str(root), "--run", RUN]
    command = [sys.executable, "-m", "wearalike.pipeline", *job_arguments]
    done = subprocess.run(
        command,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, list(home.rglob("*"))) == (0, []), done.stderr
    assert "verdict warn" in done.stderr

    rows = rows_by_measure(root, RUN)
    products = rows["products_count", "all"]
    assert (products["value"], products["unit"], products["verdict"], products["threshold"]) == (
        60,
        "count",
        "ok",
        ">= 1",
    )
    assert rows["rows_refused_count", "table=products"]["value"] == 3
    assert rows["offers_unaccounted_count", "shop=moda"]["verdict"] == "ok"
    assert rows["stale_feeds_count", "shop=moda"]["verdict"] == "warn"
    assert (
        rows["refused_count", "stage=products,reason=unmapped_category,shop=bazaar"]["value"] == 2
    )
    assert rows["leaf_precision@10_gain", "all"]["low"] > 0
    assert (
        rows[
            "violations_count",
            "expectation=similar_products.expect_column_values_to_be_between(score_error)",
        ]["verdict"]
        == "ok"
    )
    assert not [r for r in rows.values() if r["verdict"] == "fail"]

    folder = run_tables.table_dir(root, tables.QUALITY, RUN)
    page = html.fromstring((folder / "quality.html").read_text(encoding="utf-8"))
    assert (
        ElementTree.fromstring(page.xpath("//pre/text()")[0].split("  ")[0]).get("path")
        == 'Тапки > "Дом" & сад'
    )
    assert page.xpath("//script | //link | //iframe | //@src | //@onclick") == []
    assert page.xpath("//ol[@class='pictures']/li[1]/span[@class='title']")[0].text.startswith(
        "<script>"
    )
    links = [href for href in page.xpath("//a/@href") if not href.startswith("#")]
    lists = [href for href in links if href.startswith("figures/")]
    others = [href for href in links if href not in lists]
    assert others == ["../../reports/quality.xlsx", "data_docs/index.html", "verdict.json"]
    assert lists and all((folder / href.partition("#")[0]).is_file() for href in links)
    assert len(list((folder / "data_docs" / "validations").rglob("*.html"))) == 8
    told = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert (told["verdict"], told["last_run"], len(told["outcomes"]) > 70) == ("warn", None, True)

    first = run_tables.read_manifest(root, tables.QUALITY, RUN)
    assert first["verdict"] == "warn"
    assert job(root, RUN, "--force") == 0
    assert run_tables.read_manifest(root, tables.QUALITY, RUN) == first


def test_a_failed_gate_leaves_its_reasons_and_exit_code_1_every_time(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write(tmp_path, RUN, night | _with("similar_products", 0, score=0.3)(night))
    name = "similar_products.expect_column_values_to_be_between(score_error)"
    for _ in range(2):
        caplog.clear()
        assert job(tmp_path, RUN) == 1
        [error] = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert name in error and "product_id=moda:00" in error and "quality.html" in error
    assert "up to date" in caplog.text
    assert (
        rows_by_measure(tmp_path, RUN)["violations_count", f"expectation={name}"]["verdict"]
        == "fail"
    )
    assert name in (run_tables.table_dir(tmp_path, tables.QUALITY, RUN) / "quality.html").read_text(
        encoding="utf-8"
    )


def test_rows_that_cannot_be_shown_are_refused_by_name_too(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No product of the page's sheet has its list."""
    write(tmp_path, RUN, night | {"similar_lists": night["similar_lists"].slice(0, 0)})
    assert job(tmp_path, RUN) == 1
    name = "products.expect_column_values_to_be_in_set(has_list)"
    assert f"{name}: 60 rows" in caplog.text
    page = run_tables.table_dir(tmp_path, tables.QUALITY, RUN) / "quality.html"
    assert name in page.read_text(encoding="utf-8")


def test_a_night_is_held_against_the_last_that_passed(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = a_night(24)
    write(tmp_path, "2026-11-20", night)
    write(tmp_path, "2026-11-21", small)
    write(tmp_path, "2026-11-22", small)
    assert job(tmp_path, "2026-11-20") == 0
    assert job(tmp_path, "2026-11-21") == 1
    assert "products_kept_ratio): 3 rows, e.g. scope=all, products_kept_ratio=0.4" in caplog.text
    assert "churn@10): 1 row, e.g. scope=all, churn@10=0.64" in caplog.text
    # The night after is not held against the one that failed. An operator who knows better says so,
    # and it is written down.
    assert (
        job(
            tmp_path,
            "2026-11-22",
            "--threshold",
            "min_products_kept_ratio=0.3",
            "--threshold",
            "max_churn_ratio=0.7",
        )
        == 0
    )
    assert (
        run_tables.read_manifest(tmp_path, tables.QUALITY, "2026-11-22")["parameters"]["last_run"]
        == "2026-11-20"
    )
    assert (
        run_tables.read_manifest(tmp_path, tables.QUALITY, "2026-11-22")["parameters"][
            "thresholds"
        ]["min_products_kept_ratio"]
        == 0.3
    )
    rows = rows_by_measure(tmp_path, "2026-11-22")
    assert rows["products_kept_ratio", "all"]["value"] == 0.4
    assert 0 < rows["churn@10", "all"]["low"] <= rows["churn@10", "all"]["value"] < 1


def test_lists_that_change_overnight_stop_the_run_but_for_another_encoder_or_distance(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same products with other codes, as of a broken decoder. The operator's word is kept."""
    few = ("--threshold", "max_churn_ratio=0.1")
    other = a_night(seed=8)
    shown = other["similar_products"]
    newer = shown.set_column(
        shown.schema.get_field_index("encoder"), "encoder", pa.array(["bits-2"] * len(shown))
    )
    write(tmp_path, "2026-11-20", night)
    write(tmp_path, "2026-11-21", other)
    write(tmp_path, "2026-11-22", other | {"similar_products": newer})
    write(tmp_path, "2026-11-23", night, distance=3)
    assert job(tmp_path, "2026-11-20") == 0 and job(tmp_path, "2026-11-21", *few) == 1
    assert "churn@10): 1 row, e.g. scope=all, churn@10=" in caplog.text
    assert rows_by_measure(tmp_path, "2026-11-21")["churn@10", "all"]["verdict"] == "fail"
    assert job(tmp_path, "2026-11-22", *few) == 0, "another encoder finds other things alike"
    assert rows_by_measure(tmp_path, "2026-11-22")["churn@10", "all"]["verdict"] is None
    assert job(tmp_path, "2026-11-23", *few) == 0, "another distance finds other things alike"
    assert rows_by_measure(tmp_path, "2026-11-23")["churn@10", "all"]["verdict"] is None
    assert job(tmp_path, "2026-11-21", "--threshold", "max_churn_ratio=1") == 0
    assert (
        run_tables.read_manifest(tmp_path, tables.QUALITY, "2026-11-21")["parameters"][
            "thresholds"
        ]["max_churn_ratio"]
        == 1
    )


def test_a_spoilt_shop_is_named_with_both_figures(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Prices a hundred times too high: no row is wrong in itself."""
    products = night["products"]
    dearer = pc.multiply(products["price_cents"], 100)
    at = products.schema.get_field_index("price_cents")
    spoilt = products.set_column(at, products.schema.field(at), dearer)
    write(tmp_path, "2026-11-20", night)
    write(tmp_path, "2026-11-21", night | {"products": spoilt})
    assert job(tmp_path, "2026-11-20") == 0 and job(tmp_path, "2026-11-21") == 1
    told = (
        "bazaar: 100% of the prices changed 4-fold or more since run 2026-11-20; "
        "their median was 1.29 and is 129.50"
    )
    assert told in caplog.text
    folder = run_tables.table_dir(tmp_path, tables.QUALITY, "2026-11-21")
    assert told in (folder / "quality.html").read_text(encoding="utf-8")
    assert rows_by_measure(tmp_path, "2026-11-21")["price_jump_ratio", "shop=moda"] == {
        "metric": "price_jump_ratio",
        "scope": "shop=moda",
        "value": 1.0,
        "low": None,
        "high": None,
        "unit": "ratio",
        "verdict": "fail",
        "threshold": "<= 0.2",
    }
    # An operator who knows better says so for one night; the next is compared with this one.
    assert job(tmp_path, "2026-11-21", "--threshold", "max_price_jump_ratio=1") == 0
    write(tmp_path, "2026-11-22", night | {"products": spoilt})
    assert job(tmp_path, "2026-11-22") == 0


def test_a_feed_older_than_its_shop_s_limit_stops_the_run(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    feeds = night["feeds"]
    at = feeds.schema.get_field_index("source_run")
    sources = pa.array([RUN, "2026-11-01"])
    old = feeds.set_column(at, feeds.schema.field(at), sources)
    write(tmp_path / "root", RUN, night | {"feeds": old})
    config = tmp_path / "wearalike.toml"
    shop = '[[shops]]\nid = "moda"\nfeed = "https://moda.example/feed.xml"\n'
    config.write_text(f'data_dir = "root"\n{shop}')
    arguments = ["--config", str(config), "--run", RUN]
    assert report_quality.main(arguments) == 1
    assert "moda: its feed is of run 2026-11-01, 20 days before this run" in caplog.text
    config.write_text(f'data_dir = "root"\n{shop}max_feed_age_days = 30\n')
    assert report_quality.main(arguments) == 0


def test_a_fault_that_creeps_is_told_beside_a_normal_week(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each night a tenth of a shop's brands less: no night is far from the one before."""
    products = night["products"]
    at = products.schema.get_field_index("brand")
    for day in range(1, 9):
        brands = enumerate(products["brand"].to_pylist())
        names = [None if (n // 8 * 4 + n % 4) % 10 < day else brand for n, brand in brands]
        fewer = products.set_column(at, products.schema.field(at), pa.array(names, pa.string()))
        write(tmp_path, f"2026-11-0{day}", night | {"products": fewer})
        assert job(tmp_path, f"2026-11-0{day}") == 0
    rows = rows_by_measure(tmp_path, "2026-11-08")
    scope = "metric=filled_ratio,column=brand,shop=moda"
    assert rows["shop_change_ratio", scope]["verdict"] == "ok"
    assert rows["week_change_ratio", scope]["verdict"] == "warn"


def test_other_columns_or_types_fail_before_anything_is_counted(
    night: dict[str, pa.Table], tmp_path: Path
) -> None:
    write(tmp_path, RUN, night)
    products = night["products"]
    at = products.schema.get_field_index("price_cents")
    text = products.set_column(
        at, "price_cents", products["price_cents"].cast(pa.string())
    ).drop_columns(["brand"])
    pq.write_table(text, tmp_path / "products" / f"run={RUN}" / "part-00000.parquet")
    assert job(tmp_path, RUN) == 1
    folder = run_tables.table_dir(tmp_path, tables.QUALITY, RUN)
    [outcome] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["outcomes"]
    assert outcome["verdict"] == "fail"
    assert sorted(tuple(e.values()) for e in outcome["examples"]) == [
        ("products", "brand", "missing", "string"),
        ("products", "price_cents", "string", "int64"),
    ]
    assert [
        r["verdict"] for r in run_tables.read_table(tmp_path, tables.QUALITY, RUN).to_pylist()
    ] == ["fail"]
    assert "price_cents" in (folder / "quality.html").read_text(encoding="utf-8")


def test_nothing_is_written_where_a_table_is_missing(
    night: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, RUN, night)
    (tmp_path / "similar_lists" / f"run={RUN}" / "_manifest.json").unlink()
    assert job(tmp_path, RUN) == 1
    assert "similar_lists" in caplog.text
    assert not list((tmp_path / "quality").glob("*"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_products_count", "wanted NAME=NUMBER"),
        ("min_products_count=", "wanted NAME=NUMBER"),
        ("min_product_count=1", "no such threshold; did you mean 'min_products_count'"),
        ("no_such=1", "no such threshold; known are min_"),
    ],
)
def test_a_floor_that_does_not_exist_is_bad_usage(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        report_quality.main(["--run", RUN, "--threshold", text])
    assert said in " ".join(capsys.readouterr().err.split())
