"""A drawn run of a realistic size, which can be spoilt before its lists are searched.

Nothing is downloaded or encoded: codes are drawn so that near codes share the category and the
colour word about as often as on real shops. Lists are searched by the real search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike import catalog, search, tables
from wearalike.quality import metrics, run_metrics
from wearalike.quality.normal_week import RunValues
from wearalike.quality.thresholds import GateVerdict, Thresholds, judge_metrics

ENCODER, BETTER_ENCODER = "drawn-1", "drawn-2"
LAST_RUN, RUN = "2026-11-20", "2026-11-21"
SHOP_SIZES = {"moda": 420, "bazaar": 280, "kant": 140}
_WEIGHTS = ("product_id", "shape_weight", "colour_weight", "kind_weight")
# Leaf, super-category, shape weight, colour weight, gender.
LEAVES = (
    ("women.dresses.midi", "full_body", 3, 7, "female"),
    ("women.dresses.maxi", "full_body", 3, 7, "female"),
    ("women.dresses.mini", "full_body", 3, 7, "female"),
    ("women.tops.tops", "upper_wear", 5, 5, "female"),
    ("women.tops.polos", "upper_wear", 5, 5, "female"),
    ("men.tops.t-shirts", "upper_wear", 5, 5, "male"),
    ("men.shirts.other", "upper_wear", 5, 5, "male"),
    ("women.shoes.sneakers", "foot_wear", 6, 4, "female"),
    ("men.shoes.sneakers", "foot_wear", 6, 4, "male"),
    ("women.shoes.pumps", "foot_wear", 6, 4, "female"),
)
COLOURS = ("black", "white", "red", "blue", "green", "beige", "grey", "pink")
# Share of bits that differ from the category's, and from the colour's.
SHAPE_NOISE, COLOUR_NOISE = 0.37, 0.28
# Share of products whose colour word is another than that of their picture.
WRONG_WORDS = 0.25


@dataclass(frozen=True)
class DrawnNight:
    """A run before its lists are searched.

    Attributes:
        products: A row a product: columns of tables.PRODUCTS, and image_id (None without a
            picture), shape and colour (bool (128,)).
        encoder: Version of the encoder.
        source_runs: The run that each shop's offers are of.
        k: Length of the lists.
    """

    products: pd.DataFrame
    encoder: str = ENCODER
    source_runs: dict[str, str] = field(default_factory=dict)
    k: int = 20


Change = Callable[[DrawnNight, np.random.Generator], DrawnNight]


def draw_codes(
    leaves: list[str], colours: list[str], rng: np.random.Generator, encoder: str = ENCODER
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw codes near those of the products' categories and colours.

    An encoder has its own code of each category and colour. A better one has less noise.
    """
    gain = 1.0 if encoder == ENCODER else 0.8

    def near(name: str, noise: float) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{encoder} {name}".encode()).digest()[:8], "big")
        own = np.random.default_rng(seed).random(tables.CODE_BITS) < 0.5
        return own ^ (rng.random(tables.CODE_BITS) < noise * gain)

    shapes = [near(leaf, SHAPE_NOISE) for leaf in leaves]
    return shapes, [near(colour, COLOUR_NOISE) for colour in colours]


def draw_products(shop: str, first: int, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw products of a shop; two in five stand in groups of two."""
    numbers = range(first, first + count)
    leaves = [LEAVES[i] for i in rng.integers(0, len(LEAVES), count)]
    seen = [COLOURS[i] for i in rng.integers(0, len(COLOURS), count)]
    words = [
        COLOURS[rng.integers(len(COLOURS))] if rng.random() < WRONG_WORDS else colour
        for colour in seen
    ]
    shapes, colours = draw_codes([leaf[0] for leaf in leaves], seen, rng)
    ids = [f"{shop}:{n:05}" for n in numbers]
    return pd.DataFrame(
        {
            "product_id": ids,
            "shop_id": shop,
            "offer_id": [f"{n:05}" for n in numbers],
            "group_id": [f"g{n // 2}" if n % 10 < 4 else None for n in numbers],
            "title": [
                f"{w} {leaf[0].split('.')[1]} {n}"
                for n, leaf, w in zip(numbers, leaves, words, strict=True)
            ],
            "url": [f"https://{shop}.example/{n}" for n in numbers],
            "brand": [f"brand {i}" for i in rng.integers(0, 12, count)],
            "category_path": [leaf[0].replace(".", " > ") for leaf in leaves],
            "category": [leaf[0] for leaf in leaves],
            "super_category": [leaf[1] for leaf in leaves],
            "shape_weight": [leaf[2] for leaf in leaves],
            "colour_weight": [leaf[3] for leaf in leaves],
            "kind_weight": 5,
            "price_cents": (np.exp(rng.normal(8.3, 0.5, count))).astype(int) + 100,
            "currency": "EUR",
            "availability": ["in_stock" if rng.random() < 0.92 else "out_of_stock" for _ in ids],
            "gender": [leaf[4] for leaf in leaves],
            "age_group": "adult",
            "colour_word": words,
            "size": [str(38 + n % 6) for n in numbers],
            "description": [f"soft, number {n}" for n in numbers],
            "image_id": [f"{shop}-picture-{n}" for n in numbers],
            "seen_colour": seen,
            "shape": shapes,
            "colour": colours,
        }
    )


def draw_night(shops: dict[str, int] | None = None) -> DrawnNight:
    """Draw a good night."""
    rng = np.random.default_rng(16)
    parts = [draw_products(s, 0, n, rng) for s, n in (shops or SHOP_SIZES).items()]
    return DrawnNight(pd.concat(parts, ignore_index=True))


def _pack(codes: pd.Series) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(np.stack(list(codes)), axis=1)]


def _rows(table: tables.Table, rows: list[dict]) -> pa.Table:
    empty = {c.name: [] for c in table.columns if pa.types.is_list(c.type)}
    return pa.Table.from_pylist([empty | row for row in rows], schema=table.arrow_schema)


def build_tables(night: DrawnNight) -> dict[str, pa.Table]:
    """Return a run's tables, its lists searched."""
    frame = night.products.sort_values("product_id", ignore_index=True)
    lists = {"category_paths": "category_path", "colours": "colour_word", "sizes": "size"}
    products = [
        {name: row[name] for name in tables.PRODUCTS.column_names if name in row}
        | {column: [row[name]] if row[name] else [] for column, name in lists.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]
    coded = frame[frame["image_id"].notna()].copy()
    entries = []
    if len(coded):
        coded["shape"], coded["colour"] = _pack(coded["shape"]), _pack(coded["colour"])
        entries = [
            {
                **{
                    c: row[c]
                    for c in ("product_id", "super_category", "image_id", "shape", "colour")
                },
                "item_id": f"item-{row['image_id']}",
                "entry_id": number,
            }
            for _, group in coded.groupby("super_category")
            for number, row in enumerate(group.to_dict("records"))
        ]
    shop_counts = frame.groupby("shop_id").size()
    feeds = [
        {
            "shop_id": shop,
            "status": "stale" if shop in night.source_runs else "fresh",
            "reason": "not_found" if shop in night.source_runs else None,
            "source_run": night.source_runs.get(shop, RUN),
            **dict.fromkeys(("refused_count", "withdrawn_count", "warnings_count"), 0),
            **dict.fromkeys(("offers_count", "written_count"), int(count)),
        }
        for shop, count in shop_counts.items()
    ]
    by_item = {entry["item_id"]: entry for entry in entries}
    found = {
        tables.FEEDS: feeds,
        tables.PRODUCTS: products,
        tables.IMAGES: [
            {
                **{name: entry[name] for name in ("product_id", "image_id")},
                **{"position": 0, "image_url": "", "format": "PNG"},
                **{"width_px": 8, "height_px": 8, "bytes": 99},
            }
            for entry in entries
        ],
        tables.ITEMS: [
            {
                **{"item_id": item, "image_id": entry["image_id"], "detector": "whole-1"},
                **{"x0": 0, "y0": 0, "x1": 8, "y1": 8, "confidence": 1.0},
            }
            for item, entry in by_item.items()
        ],
        tables.CODES: [
            {**{c: e[c] for c in ("item_id", "shape", "colour")}, "encoder": night.encoder}
            for e in by_item.values()
        ],
        tables.INDEXES: sorted(entries, key=lambda entry: entry["product_id"]),
    }
    night_tables = {table.name: _rows(table, rows) for table, rows in found.items()}
    night_tables |= _search_lists(night, night_tables)
    variants = list(catalog.iter_variants(ds.dataset(night_tables["products"])))
    if variants:
        night_tables["product_variants"] = pa.Table.from_batches(variants)
    for table in tables.TABLES:
        night_tables.setdefault(table.name, table.arrow_schema.empty_table())
    return night_tables


def _search_lists(night: DrawnNight, found: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Return matches, similar_products and similar_lists."""
    products, entries = found["products"], found["indexes"]
    matches = []
    for super_category in entries["super_category"].unique().to_pylist():
        own = entries.filter(pc.equal(entries["super_category"], super_category))
        codes = np.stack(
            [
                np.frombuffer(shape + colour, np.uint8)
                for shape, colour in zip(
                    own["shape"].to_pylist(), own["colour"].to_pylist(), strict=True
                )
            ]
        )
        gallery = search.build_gallery(own, codes, products.select(search.GALLERY_COLUMNS))
        rules = search.ListRules(k=night.k)
        ranked = list(search.search_gallery(gallery, 0, len(gallery), rules))
        matches.append(search.build_matches(gallery, ranked))
    without = pc.is_in(products["product_id"], entries["product_id"].combine_chunks())
    ids = products.filter(pc.invert(without))["product_id"].combine_chunks()
    matches.append(search.build_matches_without_code(ids))
    table = pa.Table.from_batches(matches)
    weights = products.select([*_WEIGHTS, "colour_names"])
    return {
        "matches": table,
        "similar_products": search.build_similar_products(table, weights, "whole-1", night.encoder),
        "similar_lists": search.build_similar_lists(table, entries),
    }


@dataclass(frozen=True)
class JudgedNight:
    """The gate's verdict on a night, and each metric outside its threshold."""

    verdict: GateVerdict
    outside: list[metrics.Metric]


def with_last(now: dict[str, pa.Table], last: dict[str, pa.Table] | None) -> dict[str, pa.Table]:
    """Return the tables of a run with those of the last run beside them."""
    compared = {
        f"last_{t.name}": last[t.name] if last else t.arrow_schema.empty_table()
        for t in metrics.COMPARED_TABLES
    }
    return now | compared


def measure(
    now: dict[str, pa.Table],
    last: dict[str, pa.Table] | None = None,
    week: list[RunValues] | None = None,
    *,
    are_models_of_last_run: bool = True,
) -> list[metrics.Metric]:
    """Return the metrics of a night, as report_quality computes them."""
    night_tables = with_last(now, last)
    made = {
        name: {"rows": {"taken": len(rows), "written": len(rows), "refused": {}}}
        for name, rows in now.items()
        if name not in ("refused", "quality")
    }
    made["looks"]["why_empty"] = "drawn"
    earlier = run_metrics.EarlierRuns(LAST_RUN, week or [{}], are_models_of_last_run)
    with metrics.open_run_tables(night_tables) as con:
        return run_metrics.measure_run(con, night_tables, made, RUN, earlier if last else None)


def judge(found: list[metrics.Metric], *, are_models_of_last_run: bool = True) -> JudgedNight:
    """Hold metrics against the default thresholds."""
    limits = Thresholds().as_list(are_models_of_last_run=are_models_of_last_run)
    judged = judge_metrics(found, limits)
    outside = [m for m in judged if m.verdict not in (None, "ok")]
    verdicts = {m.verdict for m in outside}
    verdict = next((v for v in ("fail", "warn") if v in verdicts), "ok")
    return JudgedNight(GateVerdict(verdict), outside)


def values_of(found: list[metrics.Metric]) -> RunValues:
    """Return metrics as an earlier run's values."""
    return {(m.metric, m.scope): m.value for m in found}
