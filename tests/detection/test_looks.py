"""Looks: what else a product is worn with in its own full-figure images,
and which products in stock are most alike that.
"""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from wearalike import tables
from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.detection import detect, looks
from wearalike.models import registry
from wearalike.pipeline import detect_looks, job, match_looks
from wearalike.sample.catalogue import SHOPS, list_products
from wearalike.sample.pictures import OutfitPicture
from wearalike.search import index
from wearalike.search.feed_looks import LinkFate, build_feed_looks
from wearalike.storage import content_cache, run_tables

GARMENTS = registry.DETECTORS["garments"].version

RUN = "day-1"
MAPPINGS = Path(__file__).parents[2] / "mappings"


def box(super_category, x0, y0, x1, y1, confidence=0.8):
    place = {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
    return {
        "super_category": super_category,
        **place,
        "confidence": confidence,
        "item_id": f"{super_category}-{x0}-{y0}",
    }


# A figure of 100 x 300 px in a picture of 200 x 320.
FIGURE = box(None, 50, 10, 150, 310)
SHIRT, TROUSERS = box("upper_wear", 55, 60, 145, 150), box("lower_wear", 65, 150, 135, 290)
SHOE, OTHER_SHOE = box("foot_wear", 60, 285, 95, 305), box("foot_wear", 105, 285, 140, 305, 0.4)
BAG = box("bags", 140, 140, 180, 190)


def worn(own, *items, height=320):
    return [
        item["super_category"] for item in looks.worn_with_product([*items, FIGURE], own, height)
    ]


def test_what_else_is_worn_is_told_largest_and_surest_first_and_the_own_kind_never():
    assert worn("upper_wear", SHIRT, TROUSERS, SHOE, BAG) == ["lower_wear", "bags", "foot_wear"]
    assert worn("foot_wear", SHOE, OTHER_SHOE, SHIRT, TROUSERS) == ["lower_wear", "upper_wear"]
    assert worn("bags", SHIRT, TROUSERS, BAG) == ["lower_wear", "upper_wear"]


def test_no_figure_has_no_look():
    assert worn("upper_wear", SHIRT) == []
    assert worn("upper_wear", TROUSERS, SHOE) == [], "the product itself is not seen"
    assert worn("bags", BAG, box("accessories", 142, 300, 178, 308)) == [], (
        "a bag with its buckle is no figure"
    )
    assert worn("lower_wear", TROUSERS, box("accessories", 65, 150, 135, 160)) == [], (
        "nor are trousers with their belt"
    )
    assert worn("upper_wear", SHIRT, box("foot_wear", 150, 90, 190, 120)) == [], (
        "side by side, not one above the other"
    )


def test_what_is_a_part_or_another_sight_of_the_product_is_not_worn_with_it():
    dress = box("full_body", 55, 60, 145, 250)
    assert worn("full_body", dress, SHIRT, TROUSERS, SHOE) == ["foot_wear"]
    assert worn("upper_wear", SHIRT, box("outerwear", 56, 61, 146, 151), TROUSERS) == [
        "lower_wear"
    ], "taken for a jacket too"
    assert worn("lower_wear", TROUSERS, dress, SHIRT) == ["upper_wear"]
    assert worn(
        "foot_wear", SHOE, {**SHIRT, "confidence": 0.3}, {**TROUSERS, "confidence": 0.3}, dress
    ) == ["full_body"]
    assert worn("upper_wear", SHIRT, TROUSERS, box("underwear", 70, 150, 130, 180)) == [
        "lower_wear"
    ]


def images_of(*rows):
    made = [
        {"product_id": p, "position": n, "image_id": i, "width_px": w, "height_px": h}
        for p, n, i, w, h in rows
    ]
    facts = {"image_url": "", "format": "PNG", "bytes": 1}
    return pa.Table.from_pylist([row | facts for row in made], tables.IMAGES.arrow_schema)


def items_of(**boxes):
    rows = [
        {**item, "image_id": image, "item_id": f"{image}-{item['item_id']}", "detector": "d"}
        for image, found in boxes.items()
        for item in found
    ]
    return pa.Table.from_pylist(rows, tables.ITEMS.arrow_schema)


def test_only_what_is_tall_is_looked_at_and_only_the_first_of_many():
    images = images_of(
        ("s:1", 1, "tall", 200, 320),
        ("s:1", 0, "wide", 200, 320),
        ("s:1", 2, "small", 200, 320),
        *(("s:2", n, "tall", 200, 320) for n in range(9)),
    )
    items = items_of(
        tall=[FIGURE], wide=[box(None, 10, 20, 190, 200)], small=[box(None, 50, 10, 100, 110)]
    )
    found = looks.figure_candidates(images, items, codes_of())
    assert found.select(["product_id", "position"]).to_pylist() == [
        {"product_id": "s:1", "position": 1},
        *({"product_id": "s:2", "position": n} for n in range(looks.MAX_IMAGES_PER_PRODUCT)),
    ]
    assert looks.figure_candidates(images.slice(0, 0), items, codes_of()).num_rows == 0


def codes_of(**views):
    rows = [{"item_id": i, "view": v, "encoder": "e"} for i, v in views.items()]
    return pa.Table.from_pylist(
        rows, pa.schema([(n, pa.string()) for n in ("item_id", "view", "encoder")])
    )


def test_where_the_encoder_says_the_view_only_worn_things_are_looked_at_whole_figures_first():
    shown = ("detail", "front", "flat", "unsaid", "figure", "back")
    images = images_of(*(("s:1", n, view, 200, 320) for n, view in enumerate(shown)))
    items = items_of(**{view: [FIGURE] for view in shown})
    codes = codes_of(**{f"{view}-{FIGURE['item_id']}": view for view in shown if view != "unsaid"})
    found = looks.figure_candidates(images, items, codes)
    assert found["image_id"].to_pylist() == ["figure", "front", "unsaid"]
    assert found.schema.names == images.schema.names


def test_every_product_has_its_look_or_the_reason_why_not():
    ids = {
        "s:best": "upper_wear",
        "s:bare": "upper_wear",
        "s:cut": "upper_wear",
        "s:dark": "upper_wear",
        "s:none": "bags",
    }
    made = [{"product_id": i, "shop_id": "s", "super_category": s} for i, s in ids.items()]
    places = [
        ("s:best", 0, "a"),
        ("s:best", 1, "b"),
        ("s:bare", 0, "c"),
        ("s:cut", 0, "d"),
        ("s:dark", 0, "e"),
    ]
    images = images_of(*((p, n, i, 200, 320) for p, n, i in places))
    seen = items_of(
        a=[SHIRT, {**TROUSERS, "confidence": 0.5}, SHOE, FIGURE],
        b=[SHIRT, TROUSERS, OTHER_SHOE, FIGURE],
        c=[SHIRT, FIGURE],
        d=[SHIRT, box("lower_wear", 65, 150, 135, 320), FIGURE],
        e=[SHIRT, TROUSERS, FIGURE],
    )
    products_table = pa.Table.from_pylist(made)
    found, figures = looks.worn_items(products_table, images, seen)
    assert figures == {"s:best", "s:cut", "s:dark"}
    codes = [
        {"item_id": i, "shape": None if i.startswith("e") else bytes(16), "colour": bytes(16)}
        for i in found["item_id"].to_pylist()
    ]
    schema = pa.schema(
        [("item_id", pa.string()), ("shape", pa.binary(16)), ("colour", pa.binary(16))]
    )
    rows, refused = looks.build_looks(
        products_table, images, found, figures, pa.Table.from_pylist(codes, schema)
    )
    (best,) = rows.to_pylist()
    assert best["product_id"] == "s:best"
    assert [(i["super_category"], i["image_id"], i["x0"], i["y1"]) for i in best["items"]] == [
        ("foot_wear", "a", 60, 305),
        ("lower_wear", "b", 65, 290),
    ]
    reasons = {r["key"]: r["reason"] for r in refused.to_pylist()}
    assert reasons == {
        "s:bare": "not_worn",
        "s:cut": "cut_off",
        "s:dark": "no_code",
        "s:none": "no_image",
    }
    assert rows.num_rows + refused.num_rows == len(ids)


# The matching, held against a search that looks at every pair


def matched_by_hand(asking, code, shelf, k=3, min_score=0.1):
    """(score, product_id) of the best, weighted 2:1 as all of the shelf is."""

    def fits(p):
        return (
            p["availability"] == "in_stock"
            and p["age_group"] == asking["age_group"]
            and (p["gender"] == asking["gender"] or "unisex" in (p["gender"], asking["gender"]))
        )

    ranked = []
    for p in filter(fits, shelf):
        shape, colour = (
            int((code ^ p["code"])[half].sum()) for half in (slice(128), slice(128, 256))
        )
        ranked.append(
            (
                -max(0.0, 1 - 2 * (2 * shape + colour) / (128 * 3)),
                p["product_id"],
                p["group_id"] or p["product_id"],
            )
        )
    chosen, groups = [], set()
    for minus, product_id, group in sorted(ranked):
        if -minus >= min_score and group not in groups and len(chosen) < k:
            groups.add(group)
            chosen.append((pytest.approx(-minus), product_id))
    return chosen


def test_each_item_worn_leads_to_the_most_alike_in_stock_for_the_same_people(tmp_path):
    rng = np.random.default_rng(5)
    base = rng.random(256) < 0.5
    facts = {
        "shop_id": "s",
        "title": "t",
        "price_cents": 1,
        "currency": "EUR",
        "category": "men.trousers",
        "shape_weight": 2,
        "colour_weight": 1,
        "kind_weight": 2,
    }
    facts |= {c.name: [] for c in tables.PRODUCTS.columns if pa.types.is_list(c.type)}
    genders, ages, stocks = (
        ("male", "female", "unisex"),
        ("adult", "adult", "kids"),
        ("in_stock", "in_stock", "in_stock", "out_of_stock"),
    )
    shelf = [
        {
            **facts,
            "product_id": f"s:t{n:03}",
            "offer_id": f"t{n:03}",
            "super_category": "lower_wear",
            "group_id": f"g{n // 2}" if n % 3 else None,
        }
        | {"gender": genders[n % 3], "age_group": ages[n // 3 % 3], "availability": stocks[n % 4]}
        | {"code": base ^ (rng.random(256) < rng.choice([0.02, 0.1, 0.3]))}
        for n in range(120)
    ]
    shelf[40]["code"] = shelf[20]["code"].copy()  # a tie
    shirts = [
        {
            **facts,
            "product_id": f"s:a{n}",
            "offer_id": f"a{n}",
            "super_category": "upper_wear",
            "group_id": None,
            "availability": "in_stock",
        }
        | {
            "gender": genders[n % 3],
            "age_group": "kids" if n == 9 else "adult",
            "code": base ^ (rng.random(256) < 0.1),
        }
        for n in range(10)
    ]
    # One shirt is worn with what is like nothing.
    shirts[4]["code"] = ~base
    write_run(tmp_path, shelf, shirts)
    assert match_looks.main(["--data-dir", str(tmp_path), "--run", "r", "--k", "3"]) == 0
    rows = run_tables.read_table(tmp_path, tables.LOOK_PRODUCTS, "r").to_pylist()
    for shirt in shirts:
        mine = [r for r in rows if r["product_id"] == shirt["product_id"]]
        wanted = matched_by_hand(shirt, shirt["code"], shelf)
        assert [(r["score"], r["look_product_id"]) for r in mine] == wanted
        assert [r["rank"] for r in mine] == [*range(1, len(wanted) + 1)] and bool(wanted) == (
            shirt is not shirts[4]
        )
        assert {
            (r["shape_weight"], r["colour_weight"], r["image_id"], r["x1"], r["detector"])
            for r in mine
        } <= {(2, 1, "image", 9, "garments-9")}
    assert [
        (r["key"], r["reason"]) for r in run_tables.read_refused(tmp_path, "r").to_pylist()
    ] == [("s:a4", "nothing_alike")]
    before = (
        (run_tables.table_dir(tmp_path, tables.LOOK_PRODUCTS, "r") / "_manifest.json")
        .stat()
        .st_mtime_ns
    )
    assert match_looks.main(["--data-dir", str(tmp_path), "--run", "r", "--k", "3"]) == 0
    assert (
        run_tables.table_dir(tmp_path, tables.LOOK_PRODUCTS, "r") / "_manifest.json"
    ).stat().st_mtime_ns == before


# What a look must not show: (shirt, trousers) -> bool, and the rule that says so.
LOOK_RULES = {
    '<hide id="r" product="s:t010"/>': lambda page, shown: shown["product_id"] == "s:t010",
    '<hide id="r" brand="ÉTÉ"/>': lambda page, shown: shown["brand"] == "Été",
    '<hide id="r" shop="u" on_category="women"/>': lambda page, shown: (
        shown["shop_id"] == "u" and page["category"].startswith("women.")
    ),
    '<require id="r" same="shop"/>': lambda page, shown: shown["shop_id"] != page["shop_id"],
    '<require id="r" different="brand" on_shop="u"/>': lambda page, shown: (
        page["shop_id"] == "u" and page["brand"] is not None and page["brand"] == shown["brand"]
    ),
    '<require id="r" same="price_band" factor="1.2"/>': lambda page, shown: (
        max(page["price_cents"], shown["price_cents"])
        > 1.2 * min(page["price_cents"], shown["price_cents"])
    ),
    '<hide id="r" shop="s" until="2026-11-20"/>': lambda page, shown: False,
}


def test_rules_of_the_run_s_day_act_in_looks(tmp_path):
    rng = np.random.default_rng(8)
    base = rng.random(256) < 0.5
    facts = {"title": "t", "currency": "EUR", "gender": "unisex", "age_group": "adult"}
    facts |= {"availability": "in_stock", "shape_weight": 2, "colour_weight": 1, "kind_weight": 2}
    facts |= {c.name: [] for c in tables.PRODUCTS.columns if pa.types.is_list(c.type)}

    def products(prefix, count, super_category, categories):
        return [
            {
                **facts,
                "product_id": f"{'su'[n % 2]}:{prefix}{n:03}",
                "shop_id": "su"[n % 2],
                "offer_id": f"{prefix}{n:03}",
                "group_id": None,
                "brand": ("Été", "Nord", None)[n % 3],
                "price_cents": 1000 + 70 * (n % 11),
                "category": categories[n % 2],
                "super_category": super_category,
                "code": base ^ (rng.random(256) < 0.1),
            }
            for n in range(count)
        ]

    shelf = sorted(
        products("t", 80, "lower_wear", ["men.trousers", "men.trousers"]),
        key=lambda p: p["product_id"],
    )
    shirts = products("a", 12, "upper_wear", ["women.tops", "men.shirts"])
    write_run(tmp_path, shelf, shirts, run="2026-11-21")
    (tmp_path / "mappings").mkdir()
    for name in ("taxonomy.xml", "taxonomy.rng", "rules.rng"):
        shutil.copy(MAPPINGS / name, tmp_path / "mappings")
    config = tmp_path / "wearalike.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\nmappings = "{tmp_path / "mappings"}"\n', encoding="utf-8"
    )
    changed = 0
    plain = None
    for text, is_forbidden in [("", lambda page, shown: False), *LOOK_RULES.items()]:
        (tmp_path / "mappings" / "rules.xml").write_text(f"<rules>{text}</rules>", encoding="utf-8")
        assert match_looks.main(["--config", str(config), "--run", "2026-11-21", "--k", "3"]) == 0
        rows = run_tables.read_table(tmp_path, tables.LOOK_PRODUCTS, "2026-11-21").to_pylist()
        found = {
            shirt["product_id"]: [
                (r["score"], r["look_product_id"])
                for r in rows
                if r["product_id"] == shirt["product_id"]
            ]
            for shirt in shirts
        }
        for shirt in shirts:
            shown = [p for p in shelf if not is_forbidden(shirt, p)]
            wanted = matched_by_hand(shirt, shirt["code"], shown)
            assert found[shirt["product_id"]] == wanted, text
        plain = plain or found
        changed += found != plain
    assert changed >= 5


SIMILAR = {
    **{
        c.name: "s" if pa.types.is_string(c.type) else 0
        for c in tables.SIMILAR_PRODUCTS.columns
        if not c.nullable
    },
    "fallback": None,
}


def test_a_product_without_a_look_takes_that_of_the_first_of_its_list_that_has_one(tmp_path):
    rng = np.random.default_rng(11)
    base = rng.random(256) < 0.5
    facts = {"shop_id": "s", "title": "t", "price_cents": 1, "currency": "EUR"}
    facts |= {"category": "men.trousers", "shape_weight": 2, "colour_weight": 1, "kind_weight": 2}
    facts |= {c.name: [] for c in tables.PRODUCTS.columns if pa.types.is_list(c.type)}
    facts |= {"group_id": None, "availability": "in_stock", "age_group": "adult"}

    def product(offer_id, gender, super_category, **more):
        own = {"product_id": f"s:{offer_id}", "offer_id": offer_id, "gender": gender}
        own |= {"super_category": super_category, "code": base ^ (rng.random(256) < 0.15)}
        return facts | own | more

    genders = ("male", "unisex")
    shelf = [product(f"t{n:02}", genders[n % 2], "lower_wear") for n in range(60)]
    wearing = [product(f"a{n}", "unisex", "upper_wear") for n in range(4)]
    # It is worn with what is like nothing: its look is empty.
    wearing[0]["code"] = ~base
    bare = [product(f"b{n}", genders[n % 2], "upper_wear") for n in range(6)]
    bare[5]["related_offer_ids"] = ["t09"]
    # For each the ranks of its list: (product, score, fallback).
    lists = [
        [("a0", 0.9, None), ("b1", 0.8, None), ("a1", 0.7, None), ("a2", 0.6, None)],
        [("a3", 0.45, None), ("a2", 0.7, None)],
        [("a1", 0.9, "less_alike"), ("a3", 0.5, None)],
        [("a1", 0.499, None)],
        [("b0", 0.9, None)],
        [("a1", 0.9, None)],
    ]
    taken = ["s:a1", "s:a2", "s:a3", None, None, None]
    similar = [
        SIMILAR
        | {"product_id": f"s:b{n}", "similar_product_id": f"s:{other}", "rank": rank}
        | {"score": score, "fallback": fallback}
        for n, results in enumerate(lists)
        for rank, (other, score, fallback) in enumerate(results, 1)
    ]
    write_run(tmp_path, shelf, wearing, bare=bare, similar=similar)
    command = ["--data-dir", str(tmp_path), "--run", "r", "--k", "3"]
    assert match_looks.main(command) == 0
    rows = run_tables.read_table(tmp_path, tables.LOOK_PRODUCTS, "r").to_pylist()
    by_id = {p["product_id"]: p for p in wearing}
    for asking, wearer in zip(bare, taken, strict=True):
        mine = [r for r in rows if r["product_id"] == asking["product_id"]]
        if asking is bare[5]:
            (row,) = mine
            assert (row["source"], row["look_product_id"], row["rank"]) == ("feed", "s:t09", 1)
            assert row["score"] is row["item_id"] is row["worn_with_product_id"] is None
            continue
        wanted = matched_by_hand(asking, by_id[wearer]["code"], shelf) if wearer else []
        assert [(r["score"], r["look_product_id"]) for r in mine] == wanted
        assert bool(wanted) == bool(wearer)
        assert {(r["source"], r["worn_with_product_id"]) for r in mine} <= {("alike", wearer)}
        assert all(r["reason"].startswith("like what is worn with a product") for r in mine)
    made = run_tables.read_manifest(tmp_path, tables.LOOK_PRODUCTS, "r")
    assert made["products_by_source"] == {"worn": 3, "feed": 1, "alike": 3}
    assert made["links"] == dict.fromkeys(LinkFate, 0) | {"shown": 1}
    assert made["rows"]["refused"] == {"nothing_alike": 1}
    # Another threshold makes another table.
    assert match_looks.main([*command, "--alike-min-score", "0.7"]) == 0
    made = run_tables.read_manifest(tmp_path, tables.LOOK_PRODUCTS, "r")
    assert made["products_by_source"] == {"worn": 3, "feed": 1, "alike": 2}


def test_each_link_of_a_feed_has_its_fate():
    facts = {c.name: [] for c in tables.PRODUCTS.columns if pa.types.is_list(c.type)}
    facts |= {"shop_id": "s", "category": "c", "price_cents": 1, "currency": "EUR", "brand": "Été"}
    facts |= {"super_category": "foot_wear", "availability": "in_stock", "age_group": "adult"}
    facts |= {"gender": "female"}
    shelf = {
        "ok1": {},
        "ok2": {"gender": "unisex", "group_id": "G"},
        "twin": {"group_id": "g"},
        "third": {},
        "own": {"super_category": "upper_wear"},
        "sold": {"availability": "out_of_stock"},
        "men": {"gender": "male"},
        "kids": {"age_group": "kids"},
        "bag": {"super_category": "bags"},
        "recalled": {"brand": "Nord"},
        "page": {"super_category": "upper_wear"},
    }
    order = ["sold", "ok2", "gone", "twin", "own", "ok1", "recalled", "men", "bag", "kids", "third"]
    shelf["page"]["related_offer_ids"] = order
    made = [
        facts | {"product_id": f"s:{name}", "offer_id": name} | more for name, more in shelf.items()
    ]
    products = pa.Table.from_pylist(made, tables.PRODUCTS.arrow_schema)
    worn = pa.table({"product_id": ["s:page", "s:ok1"], "super_category": ["bags", "foot_wear"]})
    hide = MerchandisingRule("recall", "hide", brand="NORD")
    rows, fates = build_feed_looks(products, worn, [hide], 2)
    shown = ["product_id", "super_category", "rank", "look_product_id", "source"]
    assert [tuple(row.values()) for row in rows.select(shown).to_pylist()] == [
        ("s:page", "foot_wear", 1, "s:ok2", "feed"),
        ("s:page", "foot_wear", 2, "s:ok1", "feed"),
    ]
    assert rows["reason_ru"][0].as_py() == "магазин показывает рядом с этим товаром"
    assert fates == {
        "shown": 2,
        "not_in_run": 1,
        "same_super_category": 1,
        "not_in_stock": 1,
        "other_audience": 2,
        "worn": 1,
        "rules": 1,
        "same_article": 1,
        "beyond_k": 1,
    }
    _, fates = build_feed_looks(products.slice(0, 0), worn.slice(0, 0), [hide], 2)
    assert sum(fates.values()) == 0


def write_run(root, shelf, shirts, run="r", bare=(), similar=()):
    def halves(p):
        code = np.packbits(p["code"]).tobytes()
        return {"shape": code[:16], "colour": code[16:]}

    named = [{k: v for k, v in p.items() if k != "code"} for p in (*shelf, *shirts, *bare)]
    entries = [
        {
            **p,
            **halves(p),
            "entry_id": n,
            "item_id": f"item-{p['product_id']}",
            "image_id": f"image-{n}",
        }
        for n, p in enumerate(shelf)
    ]
    item = {
        "super_category": "lower_wear",
        "image_id": "image",
        "x0": 1,
        "y0": 2,
        "x1": 9,
        "y1": 9,
        "confidence": 0.5,
    }
    rows = [
        {
            "product_id": p["product_id"],
            "items": [item | {"item_id": f"worn-{p['product_id']}"} | halves(p)],
        }
        for p in shirts
    ]
    with run_tables.write_table(root, tables.PRODUCTS, run, "s") as out:
        out.write(pa.Table.from_pylist(named, tables.PRODUCTS.arrow_schema))
    with run_tables.write_table(root, tables.INDEXES, run, "s") as out:
        table = pa.Table.from_pylist(entries, tables.INDEXES.arrow_schema)
        out.write(table)
        index.write_index(
            out.path / "lower_wear.faiss",
            table["entry_id"].to_numpy(),
            index.code_array(table["shape"], table["colour"]),
        )
    with run_tables.write_table(root, tables.LOOKS, run, "s") as out:
        out.write(pa.Table.from_pylist(rows, tables.LOOKS.arrow_schema))
        out.manifest_extras |= {"detector": "garments-9", "encoder": "bits-1"}
    with run_tables.write_table(root, tables.SIMILAR_PRODUCTS, run, "s") as out:
        out.write(pa.Table.from_pylist([*similar], tables.SIMILAR_PRODUCTS.arrow_schema))


# The night of the sample shops


def read(night, table):
    return run_tables.read_table(night / "root", table, RUN).to_pylist()


def test_the_trousers_worn_with_the_shirt_lead_to_those_trousers(night):
    by_id = {p["product_id"]: p for p in read(night, tables.PRODUCTS)}
    found = {
        (r["product_id"], r["super_category"]): set()
        for r in read(night, tables.LOOK_PRODUCTS)
        if r["source"] == "worn"
    }
    for row in read(night, tables.LOOK_PRODUCTS):
        if row["source"] == "worn":
            found[row["product_id"], row["super_category"]].add(row["look_product_id"])
    pictures = {
        picture
        for shop in SHOPS
        for p in list_products(shop, 1)
        for picture in p.pictures
        if isinstance(picture, OutfitPicture)
    }
    assert len(pictures) == 12
    hits = []
    for picture in pictures:
        pieces = [
            by_id[f"{picture.shop_id}:{piece.offer_id}"]
            for piece in picture.pieces
            if f"{picture.shop_id}:{piece.offer_id}" in by_id
        ]
        for asking in pieces:
            for other in pieces:
                key = asking["product_id"], other["super_category"]
                if key in found and other["availability"] == "in_stock":
                    alike = {(by_id[i]["shop_id"], by_id[i]["group_id"]) for i in found[key]}
                    hits.append(
                        (other["super_category"], (other["shop_id"], other["group_id"]) in alike)
                    )
    seen, hit = Counter(kind for kind, _ in hits), Counter(kind for kind, is_hit in hits if is_hit)
    assert (
        min(seen["upper_wear"], seen["lower_wear"], seen["foot_wear"]) >= 10 and seen["bags"] >= 4
    )
    # Of two dozen tops or trousers for the same people five drawn
    # blindly would hold the very one in one case of five.
    assert (
        hit["upper_wear"] / seen["upper_wear"] > 0.8
        and hit["lower_wear"] / seen["lower_wear"] > 0.8
    )
    assert hit.total() / seen.total() > 0.7


def test_what_completes_a_look_is_of_another_kind_in_stock_and_for_the_same_people(night):
    by_id = {p["product_id"]: p for p in read(night, tables.PRODUCTS)}
    own_images = {(i["product_id"], i["image_id"]) for i in read(night, tables.IMAGES)}
    rows = read(night, tables.LOOK_PRODUCTS)
    assert len(rows) > 200
    for row in rows:
        asking, found = by_id[row["product_id"]], by_id[row["look_product_id"]]
        assert found["super_category"] == row["super_category"] != asking["super_category"]
        assert found["availability"] == "in_stock" and found["age_group"] == asking["age_group"]
        assert found["gender"] == asking["gender"] or "unisex" in (
            found["gender"],
            asking["gender"],
        )
        if row["source"] == "feed":
            offer_id = row["look_product_id"].removeprefix(f"{asking['shop_id']}:")
            assert offer_id in asking["related_offer_ids"]
            continue
        wearer = row["worn_with_product_id"]
        assert (wearer, row["image_id"]) in own_images and row["detector"] == GARMENTS
        assert (row["source"] == "worn") == (wearer == row["product_id"])
    assert Counter(p["availability"] for p in by_id.values())["in_stock"] < len(by_id)


def test_every_product_of_the_night_is_accounted_for_and_its_look_published(night):
    made = run_tables.read_manifest(night / "root", tables.LOOKS, RUN)
    assert (
        made["rows"]["taken"]
        == run_tables.read_manifest(night / "root", tables.PRODUCTS, RUN)["rows"]["written"]
    )
    assert (
        set(made["rows"]["refused"]) <= {r.value for r in looks.LookReason}
        and made["rows"]["refused"]["not_worn"] > 100
    )
    assert 20 < made["rows"]["written"] <= made["figures"]
    # The encoder knows the twelve pictures of people from most of the others:
    # tall packshots cost no look.
    assert (
        12
        <= made["images_looked_at"]
        < 60
        < run_tables.read_manifest(night / "root", tables.IMAGES, RUN)["rows"]["written"]
    )
    with duckdb.connect(
        str(night / "root" / "warehouse" / "wearalike.duckdb"), read_only=True
    ) as site:
        count, run = site.execute(
            "SELECT count(*), any_value(run) FROM current_look_products"
        ).fetchone()
    assert (count, run) == (len(read(night, tables.LOOK_PRODUCTS)), RUN)


def test_a_look_is_held_against_the_shop_s_own_links(night):
    by_id = {p["product_id"]: p for p in read(night, tables.PRODUCTS)}
    linked = {
        i: [f"{p['shop_id']}:{o}" for o in p["related_offer_ids"]]
        for i, p in by_id.items()
        if p["related_offer_ids"]
    }
    assert len(linked) >= 10 and {by_id[i]["shop_id"] for i in linked} == {"lipa"}
    rows = read(night, tables.LOOK_PRODUCTS)
    found = {
        i: {r["look_product_id"] for r in rows if r["product_id"] == i and r["source"] == "worn"}
        for i in by_id
    }
    models = {
        i: {(by_id[j]["shop_id"], by_id[j]["group_id"]) for j in js} for i, js in found.items()
    }
    agrees = [
        any((by_id[o]["shop_id"], by_id[o]["group_id"]) in models[i] for o in others if o in by_id)
        for i, others in linked.items()
        if found[i]
    ]
    measured = {(m["metric"], m["scope"]): m["value"] for m in read(night, tables.QUALITY)}
    assert measured["look_links_count", "all"] == len(agrees) >= 5
    assert (
        measured["look_agreement_ratio", "all"] == pytest.approx(sum(agrees) / len(agrees))
        and sum(agrees) >= 4
    )
    for source in ("worn", "feed", "alike"):
        having = {r["product_id"] for r in rows if r["source"] == source}
        share = pytest.approx(len(having) / len(by_id))
        assert measured[f"with_{source}_look_ratio", "all"] == share and having
    having = {r["product_id"] for r in rows}
    assert measured["with_look_ratio", "all"] == pytest.approx(len(having) / len(by_id))
    assert measured["with_look_ratio", "all"] > 2 * measured["with_worn_look_ratio", "all"]
    assert measured["with_links_ratio", "shop=lipa"] > measured["with_links_ratio", "all"] > 0
    assert ("look_agreement_ratio", "shop=verano") not in measured


@pytest.fixture
def copied(night, tmp_path):
    """The night's root without what the looks made."""
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    for name in ("looks", "look_products", f"cache/items/{GARMENTS}"):
        shutil.rmtree(tmp_path / "root" / name)
    return tmp_path / "root"


def test_done_in_shares_and_with_some_of_them_lost_it_is_the_same(night, copied):
    """Three quarters were seen before; an eighth is done by its share, the last by the job."""
    arguments = ["--data-dir", str(copied), "--run", RUN]
    seen = content_cache.read_cached(night / "root", "items", GARMENTS, detect.ITEM_CACHE_SCHEMA)
    is_old = pa.array(
        [not any(job.is_in_shard(i, (n, 8)) for n in (7, 8)) for i in seen["image_id"].to_pylist()]
    )
    content_cache.cache_rows(copied, "items", GARMENTS, seen.filter(is_old))
    assert detect_looks.main([*arguments, "--shard", "7/8"]) == 0
    assert not run_tables.is_complete(copied, tables.LOOKS, RUN)
    kept = {p.name for p in (copied / "cache" / "items" / GARMENTS).iterdir()}
    assert detect_looks.main(arguments) == 0 and match_looks.main(arguments) == 0
    assert len(kept) == 2 and kept < {
        p.name for p in (copied / "cache" / "items" / GARMENTS).iterdir()
    }
    for table in (tables.LOOKS, tables.LOOK_PRODUCTS):
        assert run_tables.read_table(copied, table, RUN).equals(
            run_tables.read_table(night / "root", table, RUN)
        )


@pytest.mark.parametrize("how", ["switched off", "not installed"])
def test_without_looks_the_tables_are_empty_and_say_why(night, copied, how, monkeypatch, caplog):
    if how == "switched off":
        monkeypatch.setenv("WEARALIKE_LOOKS", "off")
    else:
        for name in [n for n in sys.modules if n.split(".")[0] == "ultralytics"] + ["ultralytics"]:
            monkeypatch.setitem(sys.modules, name, None)
    arguments = ["--data-dir", str(copied), "--run", RUN]
    assert (
        detect_looks.main([*arguments, "--shard", "1/2"]) == 0
        and detect_looks.main(arguments) == 0
        and match_looks.main(arguments) == 0
    )
    why = "switched off by looks" if how == "switched off" else "pip install wearalike[yolo]"
    made = run_tables.read_manifest(copied, tables.LOOKS, RUN)
    assert made["rows"] == {"taken": 0, "written": 0, "refused": {}} and why in made["why_empty"]
    completed = run_tables.read_manifest(copied, tables.LOOK_PRODUCTS, RUN)
    if how == "switched off":
        assert completed["rows"]["written"] == 0 and why in completed["why_empty"]
    else:
        by_source = completed["products_by_source"]
        assert by_source["feed"] > 0 == by_source["worn"] + by_source["alike"]
        assert "why_empty" not in completed, "what feeds name needs no detector"
    assert why in caplog.text
    monkeypatch.undo()
    if how == "not installed":
        return
    # What was switched on again is not taken for done. Seen before, it costs no look.
    shutil.copytree(
        night / "root" / "cache" / "items" / GARMENTS, copied / "cache" / "items" / GARMENTS
    )
    assert detect_looks.main(arguments) == 0
    assert run_tables.read_table(copied, tables.LOOKS, RUN).equals(
        run_tables.read_table(night / "root", tables.LOOKS, RUN)
    )


def test_a_detector_that_names_nothing_cannot_tell_what_is_worn(copied, caplog):
    assert (
        detect_looks.main(["--data-dir", str(copied), "--run", RUN, "--detector", "foreground"])
        == 1
    )
    assert "does not say what it sees" in caplog.text and not run_tables.is_complete(
        copied, tables.LOOKS, RUN
    )
    (run_tables.table_dir(copied, tables.CODES, RUN) / "_manifest.json").write_text(
        json.dumps({"encoder": "no-such-1"}), encoding="utf-8"
    )
    assert detect_looks.main(["--data-dir", str(copied), "--run", "day-9"]) == 1
