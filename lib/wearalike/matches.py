"""Codes to matches: for every product the most alike ones of its super-category, exactly, after the rules.

distance = w_shape * H(shape) + w_colour * H(colour), H the Hamming distance of 128 bits, weights of the product that asks
score    = max(0, 1 - 2 * distance / (128 * (w_shape + w_colour))): the cosine of the weighted +-1 codes, cut at 0
Order: smaller distance first, then smaller product_id.

The merchandiser's rules (merchandising.Rulings) act before the cut to the best k: what is hidden leaves room for the next,
what is preferred goes before by a bounded distance, what is pinned takes its rank. A list they fill says so in each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike import kernel, merchandising
from wearalike.categories.rules import Rule
from wearalike.models import CODE_BITS
from wearalike.tables import MATCHES, SIMILAR_LISTS, SIMILAR_PRODUCTS, Availability, Gender


class ShortReason(StrEnum):
    NO_CODE = "no_code"  # the product has no code; `refused` says why
    FEW_CANDIDATES = "few_candidates"  # too few products in stock for this audience in the super-category
    RULES = "rules"  # one result a group, max_per_brand and the merchandiser's rules left no more
    MIN_SCORE = "min_score"  # the rest is not alike enough


class Fallback(StrEnum):
    LESS_ALIKE = "less_alike"  # its score is below min_score
    SAME_BRAND = "same_brand"  # beyond max_per_brand


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
    brand, negative and unlike any other where a product has none. pages: what the merchandiser's rules look at.
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
    pages: merchandising.Pages

    def __len__(self) -> int:
        return len(self.product_ids)


# The columns of tables.PRODUCTS that a gallery is made of.
PRODUCT_COLUMNS = [*merchandising.COLUMNS, "group_id", "availability", "gender", "age_group", "w_shape", "w_colour"]


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
        pages=merchandising.pages(rows),
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
    """The list of one product: rows of the gallery, best first, with their distances, int arrays of one length.

    rules, fallbacks: for each result the merchandiser's rule that moved it, and the kind of fallback it is; None for neither.
    """

    row: int
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    short_reason: ShortReason | None
    rules: list[str | None]
    fallbacks: list[Fallback | None]


@dataclass(slots=True)
class _Pick:
    """One place of a list: a position among the candidates, and what put it there."""

    position: int
    rule: str | None = None
    fallback: Fallback | None = None


# Queries that share a pass over the candidates: their notes stay in cache together with a tile of codes.
_BLOCK_QUERIES = 32


def search(gallery: Gallery, start: int, stop: int, rules: Rules, merchandise: Sequence[Rule] = ()) -> Iterator[Found]:
    """The lists of rows start..stop of the gallery, each once, in no promised order. merchandise: the merchandiser's rules."""
    rows = np.arange(start, min(stop, len(gallery)))
    rulings = merchandising.Rulings(merchandise, gallery.pages)
    audiences = {(gallery.age_group[r], gallery.gender[r]) for r in rows}
    for age_group, gender in sorted(audiences):
        asking = rows[(gallery.age_group[rows] == age_group) & (gallery.gender[rows] == gender)]
        candidates = np.flatnonzero(_may_answer(gallery, age_group, gender))
        hunt = _Hunt(gallery, candidates, gallery.codes[candidates], rules, rulings)
        for block in np.split(asking, range(_BLOCK_QUERIES, len(asking), _BLOCK_QUERIES)):
            yield from hunt.lists(block, 4 * rules.k)


def _may_answer(gallery: Gallery, age_group: str, gender: str) -> NDArray[np.bool_]:
    """Whom an audience may be shown: in stock, the same age group, the same gender or either one unisex."""
    fits = (gallery.gender == gender) | (gallery.gender == Gender.UNISEX) | (gender == Gender.UNISEX)
    return gallery.is_in_stock & (gallery.age_group == age_group) & fits


@dataclass(frozen=True, slots=True)
class _Hunt:
    """The search for one audience. candidates: int64 (n,), rows it may be shown, in order; codes: theirs, uint64 (n, 4)."""

    gallery: Gallery
    candidates: NDArray[np.int64]
    codes: NDArray[np.uint64]
    rules: Rules
    rulings: merchandising.Rulings

    def lists(self, asking: NDArray[np.int64], looked_at: int) -> Iterator[Found]:
        """The lists of a block of rows from their best `looked_at` candidates; where the rules leave too few, from more."""
        gallery, rules = self.gallery, self.rules
        w_shape, w_colour = gallery.w_shape[asking], gallery.w_colour[asking]
        limits = np.array([_limit(int(weights), rules.min_score) for weights in w_shape + w_colour])
        nearest = kernel.nearest(gallery.codes[asking], self.codes, w_shape, w_colour, limits, looked_at)
        for i, (row, alike) in enumerate(zip(asking.tolist(), nearest, strict=True)):
            is_all = len(alike) < looked_at
            ruling = self.rulings.of(row)
            if ruling is None:
                chosen = self._allowed(row, alike, rules.k, {int(gallery.groups[row])})
                picks = [_Pick(position) for position in chosen] if is_all or len(chosen) == rules.k else None
            else:
                picks = self._ruled(row, alike, ruling, is_all)
            if picks is None:
                yield from self.lists(asking[i : i + 1], 8 * looked_at)
                continue
            yield self._found(row, picks, len(alike) == len(self.candidates))

    def _found(self, row: int, picks: list[_Pick], are_all_alike: bool) -> Found:
        chosen = np.array([pick.position for pick in picks], np.int64)
        shape, colour = distances(self.gallery.codes[row : row + 1], self.codes[chosen])
        others = len(self.candidates) - int(np.count_nonzero(self.candidates == row))
        return Found(
            row,
            self.candidates[chosen],
            shape[0],
            colour[0],
            _short(len(picks), others, are_all_alike, self.rules),
            [pick.rule for pick in picks],
            [pick.fallback for pick in picks],
        )

    def _allowed(self, row: int, ordered: NDArray[np.int64], count: int, groups: set[int]) -> list[int]:
        """The first `count` of the ordered positions that the rules allow beside `groups`, which it adds to."""
        brands: dict[int, int] = {}
        chosen: list[int] = []
        for position in ordered.tolist() if count else []:
            candidate = self.candidates[position]
            group, brand = int(self.gallery.groups[candidate]), int(self.gallery.brands[candidate])
            if candidate == row or group in groups or brands.get(brand, 0) >= self.rules.max_per_brand:
                continue
            groups.add(group)
            brands[brand] = brands.get(brand, 0) + 1
            chosen.append(position)
            if len(chosen) == count:
                break
        return chosen

    def _distances(self, row: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weighted, int64 (m,)."""
        shape, colour = distances(self.gallery.codes[row : row + 1], self.codes[positions])
        return (self.gallery.w_shape[row] * shape[0] + self.gallery.w_colour[row] * colour[0]).astype(np.int64)

    def _ruled(self, row: int, alike: NDArray[np.int64], ruling: merchandising.Ruling, is_all: bool) -> list[_Pick] | None:
        """The list as the merchandiser's rules want it; None where candidates not looked at could stand in it."""
        weights = int(self.gallery.w_shape[row] + self.gallery.w_colour[row])
        groups = {int(self.gallery.groups[row])}
        pins = self._pinned(ruling, groups)
        wanted = self.rules.k - len(pins)
        far = self._distances(row, alike)
        boosts, said = ruling.boosts(self.candidates[alike], weights)
        order = np.lexsort((alike, far - boosts))
        order = order[~ruling.hidden[self.candidates[alike[order]]]]
        chosen = self._allowed(row, alike[order], wanted, groups)
        at = {int(position): i for i, position in enumerate(alike)}
        if not is_all:
            # What was not looked at is at least as far as the last seen, and could go before by the largest boost.
            least = int(far[-1]) - ruling.largest_boost(weights)
            last = max((int(far[at[c]] - boosts[at[c]]) for c in chosen), default=0)
            if len(chosen) < wanted or (ruling.preferences and wanted and last >= least):
                return None
        picks = [_Pick(position, said[at[position]]) for position in chosen]
        if ruling.is_filled and len(picks) < wanted:
            picks += self._filling(row, ruling, groups, wanted - len(picks), _limit(weights, self.rules.min_score))
        for rank, position, text in pins:
            picks.insert(rank - 1, _Pick(position, text))
        return picks

    def _pinned(self, ruling: merchandising.Ruling, groups: set[int]) -> list[tuple[int, int, str]]:
        """(rank, position, rule) of the pins that this audience may be shown, by rank; adds their groups to `groups`."""
        pins: list[tuple[int, int, str]] = []
        for rank, candidate, text in ruling.pins:
            position, group = int(np.searchsorted(self.candidates, candidate)), int(self.gallery.groups[candidate])
            is_shown = position < len(self.candidates) and self.candidates[position] == candidate
            if is_shown and group not in groups and rank <= self.rules.k and len(pins) < self.rules.k:
                groups.add(group)
                pins.append((rank, position, text))
        return pins

    def _filling(self, row: int, ruling: merchandising.Ruling, groups: set[int], count: int, limit: int) -> list[_Pick]:
        """What fills a short list: the most alike of the rest, whatever its score or brand. limit: distance of min_score."""
        positions = np.arange(len(self.candidates))
        far = self._distances(row, positions)
        picks: list[_Pick] = []
        for position in np.lexsort((positions, far)).tolist():
            candidate = int(self.candidates[position])
            group = int(self.gallery.groups[candidate])
            if len(picks) == count:
                break
            if candidate == row or group in groups or ruling.hidden[candidate]:
                continue
            groups.add(group)
            picks.append(_Pick(position, None, Fallback.LESS_ALIKE if far[position] > limit else Fallback.SAME_BRAND))
        return picks


@lru_cache
def _limit(weights: int, min_score: float) -> int:
    """The largest distance whose score is at least min_score, -1 where none is; weights: w_shape + w_colour."""
    return int(np.count_nonzero(score(np.arange(CODE_BITS * weights + 1), weights) >= min_score)) - 1


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
            {
                "product_id": gallery.product_ids[r],
                "item_id": gallery.item_ids[r],
                "shape_distance": s,
                "colour_distance": c,
                "rule": rule,
                "fallback": fallback,
            }
            for r, s, c, rule, fallback in zip(f.results.tolist(), f.shape.tolist(), f.colour.tolist(), f.rules, f.fallbacks, strict=True)
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
        "rule": results.field("rule"),
        "fallback": results.field("fallback"),
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
