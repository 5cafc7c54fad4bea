"""Codes to matches: for every product the most alike ones of its super-category, exactly, after the rules.

distance = w_shape * H(shape) + w_colour * H(colour), H the Hamming distance of 128 bits, weights of the product that asks
score    = max(0, 1 - 2 * distance / (128 * (w_shape + w_colour))): the cosine of the weighted +-1 codes, cut at 0
Order: smaller distance first, then smaller product_id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike import kernel
from wearalike.models import CODE_BITS
from wearalike.tables import MATCHES, SIMILAR_LISTS, SIMILAR_PRODUCTS, Availability, Gender


class ShortReason(StrEnum):
    NO_CODE = "no_code"  # the product has no code; `refused` says why
    FEW_CANDIDATES = "few_candidates"  # too few products in stock for this audience in the super-category
    RULES = "rules"  # one result a group and max_per_brand left no more
    MIN_SCORE = "min_score"  # the rest is not alike enough


@dataclass(frozen=True, slots=True)
class Rules:
    """What may stand in a list. k: its length. min_score: 0..1, less alike is left out. max_per_brand: of one brand."""

    k: int = 20
    min_score: float = 0.1
    max_per_brand: int = 10


@dataclass(frozen=True, slots=True)
class Gallery:
    """The products of one super-category that have a code; row i of every array is the same product, in product_id order.

    product_ids, item_ids: object (n,). codes: uint64 (n, 4), two words of shape, two of colour. w_shape, w_colour: int32 (n,).
    gender, age_group: object (n,). is_in_stock: bool (n,). groups, brands: int64 (n,), equal for products of one group or
    brand, negative and unlike any other where a product has none.
    """

    product_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    codes: NDArray[np.uint64]
    w_shape: NDArray[np.int32]
    w_colour: NDArray[np.int32]
    gender: NDArray[np.object_]
    age_group: NDArray[np.object_]
    is_in_stock: NDArray[np.bool_]
    groups: NDArray[np.int64]
    brands: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.product_ids)


# The columns of tables.PRODUCTS that a gallery is made of.
PRODUCT_COLUMNS = ["product_id", "shop_id", "group_id", "brand", "availability", "gender", "age_group", "w_shape", "w_colour"]


def gallery(entries: pa.Table, codes: NDArray[np.uint8], products: pa.Table) -> Gallery:
    """A gallery of one super-category.

    entries: tables.ENTRIES in product_id order. codes: uint8 (n, 32), row i of entry i, shape then colour.
    products: at least these, with PRODUCT_COLUMNS. Raises ValueError where an entry has no product.
    """
    at = pc.index_in(entries["product_id"], products["product_id"].combine_chunks())
    if at.null_count:
        raise ValueError(f"{at.null_count} entries have no product, e.g. {entries['product_id'].filter(pc.is_null(at))[0]}")
    rows = products.select(PRODUCT_COLUMNS).take(at)
    groups = pc.binary_join_element_wise(rows["shop_id"], pc.utf8_lower(rows["group_id"]), "\n")
    return Gallery(
        product_ids=_objects(entries["product_id"]),
        item_ids=_objects(entries["item_id"]),
        codes=np.ascontiguousarray(codes).view(np.uint64),
        w_shape=rows["w_shape"].to_numpy().astype(np.int32),
        w_colour=rows["w_colour"].to_numpy().astype(np.int32),
        gender=_objects(rows["gender"]),
        age_group=_objects(rows["age_group"]),
        is_in_stock=pc.equal(rows["availability"], Availability.IN_STOCK.value).to_numpy(zero_copy_only=False),
        groups=_alike(groups),
        brands=_alike(pc.utf8_lower(rows["brand"])),
    )


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.asarray(column.to_pylist(), dtype=object)


def _alike(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Equal numbers for equal texts; a number of its own, below 0, for every null."""
    numbers = pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers)


def distances(queries: NDArray[np.uint64], codes: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hamming distances of shape and of colour, int32 (q, n) each, 0..128. queries: uint64 (q, 4); codes: uint64 (n, 4)."""
    shape, colour = (
        sum(np.bitwise_count(queries[:, None, word] ^ codes[None, :, word]) for word in words).astype(np.int32)
        for words in ((0, 1), (2, 3))
    )
    return shape, colour


def score(distance: NDArray[np.number], weights: NDArray[np.number] | int) -> NDArray[np.float64]:
    """0..1, bigger is more alike, for weighted distances and the sums of their weights; see the module's text."""
    return np.maximum(0.0, 1.0 - 2.0 * distance / (CODE_BITS * weights))


@dataclass(frozen=True, slots=True)
class Found:
    """The list of one product: rows of the gallery, best first, with their distances, int arrays of one length."""

    row: int
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    short_reason: ShortReason | None


# Queries that share a pass over the candidates: their notes stay in cache together with a tile of codes.
_BLOCK_QUERIES = 32


def search(gallery: Gallery, start: int, stop: int, rules: Rules) -> Iterator[Found]:
    """The lists of rows start..stop of the gallery, each once, in no promised order."""
    rows = np.arange(start, min(stop, len(gallery)))
    audiences = {(gallery.age_group[r], gallery.gender[r]) for r in rows}
    for age_group, gender in sorted(audiences):
        asking = rows[(gallery.age_group[rows] == age_group) & (gallery.gender[rows] == gender)]
        candidates = np.flatnonzero(_may_answer(gallery, age_group, gender))
        codes = gallery.codes[candidates]
        for block in np.split(asking, range(_BLOCK_QUERIES, len(asking), _BLOCK_QUERIES)):
            yield from _search_block(gallery, block, candidates, codes, rules, 4 * rules.k)


def _may_answer(gallery: Gallery, age_group: str, gender: str) -> NDArray[np.bool_]:
    """Whom an audience may be shown: in stock, the same age group, the same gender or either one unisex."""
    fits = (gallery.gender == gender) | (gallery.gender == Gender.UNISEX) | (gender == Gender.UNISEX)
    return gallery.is_in_stock & (gallery.age_group == age_group) & fits


def _search_block(
    gallery: Gallery, asking: NDArray[np.int64], candidates: NDArray[np.int64], codes: NDArray[np.uint64], rules: Rules, looked_at: int
) -> Iterator[Found]:
    """The lists of a block of rows from their best `looked_at` candidates; where the rules leave too few, from more."""
    w_shape, w_colour = gallery.w_shape[asking], gallery.w_colour[asking]
    limits = np.array([_limit(int(weights), rules.min_score) for weights in w_shape + w_colour])
    nearest = kernel.nearest(gallery.codes[asking], codes, w_shape, w_colour, limits, looked_at)
    for i, (row, alike) in enumerate(zip(asking, nearest, strict=True)):
        chosen = _allowed(gallery, row, candidates, alike, rules)
        if len(chosen) < rules.k and len(alike) == looked_at:
            yield from _search_block(gallery, asking[i : i + 1], candidates, codes, rules, 8 * looked_at)
            continue
        shape, colour = distances(gallery.codes[row : row + 1], codes[chosen])
        others = len(candidates) - int(np.count_nonzero(candidates == row))
        yield Found(int(row), candidates[chosen], shape[0], colour[0], _short(len(chosen), others, len(alike) == len(candidates), rules))


@lru_cache
def _limit(weights: int, min_score: float) -> int:
    """The largest distance whose score is at least min_score, -1 where none is; weights: w_shape + w_colour."""
    return int(np.count_nonzero(score(np.arange(CODE_BITS * weights + 1), weights) >= min_score)) - 1


def _allowed(gallery: Gallery, row: np.int64, candidates: NDArray[np.int64], ordered: NDArray[np.int64], rules: Rules) -> list[int]:
    groups = {int(gallery.groups[row])}
    brands: dict[int, int] = {}
    chosen: list[int] = []
    for position in ordered.tolist():
        candidate = candidates[position]
        group, brand = int(gallery.groups[candidate]), int(gallery.brands[candidate])
        if candidate == row or group in groups or brands.get(brand, 0) >= rules.max_per_brand:
            continue
        groups.add(group)
        brands[brand] = brands.get(brand, 0) + 1
        chosen.append(position)
        if len(chosen) == rules.k:
            break
    return chosen


def _short(count: int, others: int, are_all_alike: bool, rules: Rules) -> ShortReason | None:
    if count >= rules.k:
        return None
    if others < rules.k:
        return ShortReason.FEW_CANDIDATES
    return ShortReason.RULES if are_all_alike else ShortReason.MIN_SCORE


def table(gallery: Gallery, found: list[Found]) -> pa.RecordBatch:
    """Rows of tables.MATCHES, sorted by product_id."""
    found = sorted(found, key=lambda f: f.row)
    results = [
        [
            {"product_id": gallery.product_ids[r], "item_id": gallery.item_ids[r], "shape_distance": s, "colour_distance": c}
            for r, s, c in zip(f.results.tolist(), f.shape.tolist(), f.colour.tolist(), strict=True)
        ]
        for f in found
    ]
    columns = {
        "product_id": [gallery.product_ids[f.row] for f in found],
        "item_id": [gallery.item_ids[f.row] for f in found],
        "short_reason": [f.short_reason for f in found],
        "results": results,
    }
    return pa.RecordBatch.from_pydict(columns, schema=MATCHES.arrow_schema)


def without_code(product_ids: pa.Array) -> pa.RecordBatch:
    """Rows of tables.MATCHES for products that have no code: an empty list, and why."""
    n = len(product_ids)
    columns = [
        product_ids,
        pa.nulls(n, pa.string()),
        pa.array([ShortReason.NO_CODE.value] * n, pa.string()),
        pa.array([[]] * n, MATCHES.arrow_schema.field("results").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MATCHES.arrow_schema)


def similar_products(matches: pa.Table, products: pa.Table, detector: str, encoder: str) -> pa.Table:
    """Rows of tables.SIMILAR_PRODUCTS, one a result, in the order of `matches`, rank 1 first.

    matches: tables.MATCHES. products: product_id, w_shape, w_colour of at least these. detector, encoder: versions.
    """
    matches = matches.combine_chunks()
    results = pc.list_flatten(matches["results"]).combine_chunks()
    asking = pc.list_parent_indices(matches["results"]).combine_chunks()
    at = pc.index_in(matches["product_id"], products["product_id"].combine_chunks()).take(asking)
    w_shape, w_colour = (products[name].take(at).to_numpy() for name in ("w_shape", "w_colour"))
    shape, colour = (results.field(f"{name}_distance").to_numpy() for name in ("shape", "colour"))
    counts = pc.list_value_length(matches["results"]).to_numpy()
    ranks = np.arange(len(asking)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    columns = {
        "product_id": matches["product_id"].take(asking),
        "rank": ranks,
        "similar_product_id": results.field("product_id"),
        "score": score(w_shape * shape + w_colour * colour, w_shape + w_colour),
        "shape_score": score(shape, 1),
        "colour_score": score(colour, 1),
        "shape_distance": shape,
        "colour_distance": colour,
        "w_shape": w_shape,
        "w_colour": w_colour,
        "item_id": matches["item_id"].take(asking),
        "similar_item_id": results.field("item_id"),
        "detector": pa.repeat(pa.scalar(detector), len(asking)),
        "encoder": pa.repeat(pa.scalar(encoder), len(asking)),
    }
    return pa.table({name: columns[name] for name in SIMILAR_PRODUCTS.column_names}).cast(SIMILAR_PRODUCTS.arrow_schema)


def similar_lists(matches: pa.Table, entries: pa.Table) -> pa.Table:
    """Rows of tables.SIMILAR_LISTS, one a product, in the order of `matches`. entries: product_id and image_id of tables.ENTRIES."""
    at = pc.index_in(matches["product_id"], entries["product_id"].combine_chunks())
    columns = {
        "product_id": matches["product_id"],
        "similar_count": pc.list_value_length(matches["results"]),
        "short_reason": matches["short_reason"],
        "image_id": entries["image_id"].take(at),
        "item_id": matches["item_id"],
    }
    return pa.table(columns).cast(SIMILAR_LISTS.arrow_schema)
