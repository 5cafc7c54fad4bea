"""The candidates nearest to a product, from which its list is chosen; remembered from one run to the next.

What is nearest depends on codes, weights, audiences and stock alone, not on the rules. So the next run looks only for what
has changed: products that are new or changed search everything; the others search what has arrived, and forget what has
left. How far their candidates are complete is remembered with them, and a list that needs more is searched for anew: lists
are chosen from the same candidates as if everything had been searched, and come out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from wearalike.search.gallery import Gallery
from wearalike.search.kernels import bitplane
from wearalike.search.scores import pair_distances


def ranges_to_indices(
    firsts: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs of entries, from its first so many each, one after the other: where each starts then, int64 (m + 1,), and the entries."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    return starts, np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], counts)


@dataclass(frozen=True, slots=True)
class NearestCandidates:
    """The nearest candidates of m products; i is one of them.

    asking: int64 (m,), their rows. starts: int64 (m + 1,), rows: int32 (t,): rows[starts[i] : starts[i + 1]] are the candidates,
    by distance, then row. farthest, before: int32 (m,): every candidate whose (distance, row) is less is among them.
    """

    asking: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    farthest: NDArray[np.int32]
    before: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.asking)

    def candidates_of(self, i: int) -> NDArray[np.int64]:
        return self.rows[self.starts[i] : self.starts[i + 1]].astype(np.int64)

    def take(self, places: NDArray[np.int64]) -> NearestCandidates:
        """Those of them, ascending."""
        if len(places) == len(self):
            return self
        starts, entries = ranges_to_indices(self.starts[places], np.diff(self.starts)[places])
        return NearestCandidates(
            self.asking[places],
            starts,
            self.rows[entries],
            self.farthest[places],
            self.before[places],
        )

    def truncate(self, counts: NDArray[np.int64], gallery: Gallery) -> NearestCandidates:
        """With at most so many candidates each, int64 (m,), at least 1."""
        kept = np.minimum(counts, np.diff(self.starts))
        if kept.sum() == len(self.rows):
            return self
        starts, entries = ranges_to_indices(self.starts[:-1], kept)
        rows = self.rows[entries]
        farthest, before = self.farthest.copy(), self.before.copy()
        cut = kept < np.diff(self.starts)
        last = rows[starts[1:][cut] - 1]
        farthest[cut], before[cut] = weighted_distances(gallery, self.asking[cut], last), last + 1
        return NearestCandidates(self.asking, starts, rows, farthest, before)


def concat_candidates(parts: Sequence[NearestCandidates]) -> NearestCandidates:
    """All of them as one, in the order of the products' rows."""
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("asking", "rows", "farthest", "before")
    ]
    asking, rows, farthest, before = columns
    near = NearestCandidates(
        asking, np.concatenate([[0], np.cumsum(counts)]), rows, farthest, before
    )
    return near.take(np.argsort(asking))


def candidates_to_table(candidates: NearestCandidates) -> pa.Table:
    """As columns, a row a product; what rows it speaks of, its gallery says."""
    rows = pa.ListArray.from_arrays(
        pa.array(candidates.starts, pa.int32()), pa.array(candidates.rows)
    )
    return pa.table(
        {
            "asking": candidates.asking,
            "rows": rows,
            "farthest": candidates.farthest,
            "before": candidates.before,
        }
    )


def candidates_from_table(table: pa.Table) -> NearestCandidates:
    """What near_table made a table of, or some rows of it."""
    table = table.sort_by("asking").combine_chunks()
    starts = np.concatenate(
        [[0], np.cumsum(pc.list_value_length(table["rows"]).to_numpy())]
    ).astype(np.int64)
    asking, farthest, before = (table[name].to_numpy() for name in ("asking", "farthest", "before"))
    return NearestCandidates(
        asking, starts, pc.list_flatten(table["rows"]).to_numpy(), farthest, before
    )


def weighted_distances(
    gallery: Gallery, query_rows: NDArray[np.int64], candidate_rows: NDArray[np.integer]
) -> NDArray[np.int32]:
    """The distance of row i of `asking` to row i of `rows`, int32 (m,)."""
    shape, colour = pair_distances(
        gallery.codes, query_rows, np.arange(len(query_rows) + 1), candidate_rows
    )
    return gallery.shape_weight[query_rows] * shape + gallery.colour_weight[query_rows] * colour


@dataclass(frozen=True, slots=True)
class GalleryDiff:
    """How a gallery has changed since another run.

    then: int64 (n,), of each product that asks for the same as then its row then, else -1. has_arrived: bool (n,), candidates that
    were none then, or another. now: int32 (m,), of each candidate of then that is the same now its row now, else -1.
    cut: int32 (m + 1,), how many products of now stand before row i of then.
    """

    previous_row: NDArray[np.int64]
    is_new_candidate: NDArray[np.bool_]
    current_row: NDArray[np.int32]
    insertion_row: NDArray[np.int32]

    @property
    def is_incremental_cheaper(self) -> bool:
        """Whether the search of what changed is less work than the search of everything."""
        return bool(
            np.count_nonzero(self.previous_row < 0) + np.count_nonzero(self.is_new_candidate)
            < len(self.previous_row)
        )


def diff_galleries(previous: Gallery, gallery: Gallery) -> GalleryDiff:
    at = (
        pc.index_in(gallery.id_columns[0], previous.id_columns[0])
        .fill_null(-1)
        .to_numpy()
        .astype(np.int64)
    )
    stays = np.flatnonzero(at >= 0)
    was = at[stays]
    is_same = (previous.codes[was] == gallery.codes[stays]).all(axis=1)
    is_same &= (previous.gender[was] == gallery.gender[stays]) & (
        previous.age_group[was] == gallery.age_group[stays]
    )
    has_same_weights = (previous.shape_weight[was] == gallery.shape_weight[stays]) & (
        previous.colour_weight[was] == gallery.colour_weight[stays]
    )
    then = np.full(len(gallery), -1)
    then[stays[is_same & has_same_weights]] = was[is_same & has_same_weights]
    answers = is_same & previous.is_in_stock[was] & gallery.is_in_stock[stays]
    now, has_arrived = np.full(len(previous), -1, np.int32), gallery.is_in_stock.copy()
    now[was[answers]], has_arrived[stays[answers]] = stays[answers], False
    cut = np.empty(len(previous) + 1, np.int32)
    cut[was], cut[-1] = stays, len(gallery)
    gone = np.setdiff1d(np.arange(len(previous)), was, assume_unique=True)
    cut[gone] = np.searchsorted(gallery.product_ids, previous.product_ids[gone])
    return GalleryDiff(then, has_arrived, now, cut)


@dataclass(frozen=True, slots=True)
class PreviousSearch:
    """What is known from another run. near: of at least those rows of then whose products are asked for, ascending."""

    diff: GalleryDiff
    candidates: NearestCandidates

    def surviving_candidates(self, query_rows: NDArray[np.int64]) -> NearestCandidates:
        """The candidates of rows that `changes.then` knows as rows of now, without those that have left."""
        places = np.searchsorted(self.candidates.asking, self.diff.previous_row[query_rows])
        starts, rows = _remap_surviving(
            places, self.candidates.starts, self.candidates.rows, self.diff.current_row
        )
        return NearestCandidates(
            query_rows,
            starts,
            rows,
            self.candidates.farthest[places],
            self.diff.insertion_row[self.candidates.before[places]],
        )


def merge_candidates(
    gallery: Gallery, known: NearestCandidates, limits: NDArray[np.int64], new: NearestCandidates
) -> NearestCandidates:
    """What is known of the products and the nearest of what has arrived, within the products' limits, int64 (m,)."""
    parts = [(near.starts, near.rows, near.farthest, near.before) for near in (known, new)]
    return NearestCandidates(
        known.asking,
        *_merge_sorted(
            gallery.codes, gallery.shape_weight, gallery.colour_weight, known.asking, limits, *parts
        ),
    )


@njit(nogil=True, cache=True)
def _remap_surviving(places, starts, rows, now):  # type: ignore[no-untyped-def]
    """Of the candidates of each place those that are there now, as rows of now: where each place's start, and the rows."""
    most = 0
    for place in places:
        most += starts[place + 1] - starts[place]
    kept_starts, kept, count = np.zeros(len(places) + 1, np.int64), np.empty(most, np.int32), 0
    for i in range(len(places)):
        for row in rows[starts[places[i]] : starts[places[i] + 1]]:
            if now[row] >= 0:
                kept[count] = now[row]
                count += 1
        kept_starts[i + 1] = count
    return kept_starts, kept[:count]


@njit(nogil=True, cache=True)
def _sort_key(codes, shape_weight, colour_weight, asking, row):  # type: ignore[no-untyped-def]
    return np.int64(
        bitplane.weighted_distance(
            codes[asking], codes[row], shape_weight[asking], colour_weight[asking]
        )
    ), np.int64(row)


@njit(nogil=True, cache=True)
def _bisect_key(codes, shape_weight, colour_weight, asking, rows, low, high, end):  # type: ignore[no-untyped-def]
    """How many of the rows before `high` have a lesser key than `end`; those before `low` are known to."""
    while low < high:
        middle = (low + high) // 2
        if _sort_key(codes, shape_weight, colour_weight, asking, rows[middle]) < end:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def _merge_sorted(codes, shape_weight, colour_weight, asking, limits, known, new):  # type: ignore[no-untyped-def]
    """Two sorts of candidates as one, up to where both are complete. New ones are few: each is put where it belongs."""
    (starts, rows, farthest, before), (new_starts, new_rows, new_farthest, new_before) = known, new
    merged_starts, merged_rows = (
        np.zeros(len(asking) + 1, np.int64),
        np.empty(len(rows) + len(new_rows), np.int32),
    )
    until, until_row, count = np.empty(len(asking), np.int32), np.empty(len(asking), np.int32), 0
    for i in range(len(asking)):
        row, low, high = asking[i], starts[i], starts[i + 1]
        known_end = (np.int64(farthest[i]), np.int64(before[i]))
        limit_end, end = (
            (limits[i] + 1, np.int64(0)),
            (np.int64(new_farthest[i]), np.int64(new_before[i])),
        )
        if limit_end < end:
            end = limit_end
        if end < known_end:
            high = _bisect_key(codes, shape_weight, colour_weight, row, rows, low, high, end)
        else:
            end = known_end
        for fresh in new_rows[new_starts[i] : new_starts[i + 1]]:
            key = _sort_key(codes, shape_weight, colour_weight, row, fresh)
            if key >= end:
                break
            place = _bisect_key(codes, shape_weight, colour_weight, row, rows, low, high, key)
            merged_rows[count : count + place - low] = rows[low:place]
            count += place - low
            merged_rows[count], low = fresh, place
            count += 1
        merged_rows[count : count + high - low] = rows[low:high]
        count += high - low
        merged_starts[i + 1] = count
        until[i], until_row[i] = end
    return merged_starts, merged_rows[:count], until, until_row


@njit(nogil=True, cache=True)
def choose_allowed(asking, starts, rows, groups, brands, k, max_per_brand):  # type: ignore[no-untyped-def]
    """The first k of each product's candidates that the rules allow: places in `rows`, int64 (m, k), and how many, int64 (m,)."""
    chosen, counts = np.zeros((len(asking), k), np.int64), np.zeros(len(asking), np.int64)
    # Of the product itself and of those chosen.
    their_groups, their_brands = np.empty(k + 1, np.int64), np.empty(k + 1, np.int64)
    for i in range(len(asking)):
        count, their_groups[0] = 0, groups[asking[i]]
        for place in range(starts[i], starts[i + 1]):
            row, of_brand = rows[place], 0
            group, brand, is_taken = groups[row], brands[row], row == asking[i]
            for other in range(count + 1):
                is_taken |= their_groups[other] == group
            for other in range(1, count + 1):
                of_brand += their_brands[other] == brand
            if is_taken or of_brand >= max_per_brand:
                continue
            chosen[i, count] = place
            count += 1
            their_groups[count], their_brands[count] = group, brand
            if count == k:
                break
        counts[i] = count
    return chosen, counts
