"""The search of what changed since another run.

The nearest candidates depend on codes, kinds, colour names, weights, audiences and stock alone, not
on the rules. A product of another kind is a changed product. So is each product of a kind whose
distance to another kind changed, and it is the same with colour names. So remembered candidates of
unchanged products keep their distances.

A run searches only for what changed: new or changed products search everything; the others search
the new candidates, and drop those that have left. The bound up to which candidates are complete is
stored with them, and a list that needs more is searched again. Lists are ranked from the same
candidates as after a full search, so they come out the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from wearalike.catalog.colour_names import NameTable
from wearalike.catalog.kinds import KindTable
from wearalike.search.candidates import NearestCandidates
from wearalike.search.gallery import CandidateSet, Gallery
from wearalike.search.kernels.distances import weighted_distance


@dataclass(frozen=True, slots=True)
class GalleryDiff:
    """Row mapping from the previous run's gallery (m rows) to the current one (n rows).

    Attributes:
        previous_row: int64 (n,). Row of the same query before; -1 if it is new or changed.
        is_new_candidate: bool (n,). True if the row is a new or changed candidate since then.
        current_row: int32 (m,). Row of the same candidate now; -1 if it left or changed.
        insertion_row: int32 (m + 1,). Number of current products before previous row i.
    """

    previous_row: NDArray[np.int64]
    is_new_candidate: NDArray[np.bool_]
    current_row: NDArray[np.int32]
    insertion_row: NDArray[np.int32]

    @property
    def is_incremental_cheaper(self) -> bool:
        """True if searching what changed is less work than searching everything."""
        changed_queries = np.count_nonzero(self.previous_row < 0)
        new_candidates = np.count_nonzero(self.is_new_candidate)
        return bool(changed_queries + new_candidates < len(self.previous_row))


def diff_galleries(previous: Gallery, gallery: Gallery) -> GalleryDiff:
    """Compare the galleries of one super-category in two runs.

    A query is the same if product, code, kind, colour names, audience and weights are. A candidate
    is the same if all of these but the weights are, and it is in stock in both.
    """
    positions = pc.index_in(gallery.id_columns[0], previous.id_columns[0]).fill_null(-1)
    previous_of = positions.to_numpy().astype(np.int64)
    now = np.flatnonzero(previous_of >= 0)  # rows of products in both, in the current gallery
    then = previous_of[now]  # and in the previous one
    is_same = (
        (previous.codes[then] == gallery.codes[now]).all(axis=1)
        & (previous.gender[then] == gallery.gender[now])
        & (previous.age_group[then] == gallery.age_group[now])
        & (
            _same_rows(previous.kind_table, gallery.kind_table)[previous.kind[then]]
            == gallery.kind[now]
        )
        & (
            _same_rows(previous.name_table, gallery.name_table)[previous.colour_name[then]]
            == gallery.colour_name[now]
        )
    )
    is_same_query = (
        is_same
        & (previous.shape_weight[then] == gallery.shape_weight[now])
        & (previous.colour_weight[then] == gallery.colour_weight[now])
        & (previous.kind_weight[then] == gallery.kind_weight[now])
    )
    previous_row = np.full(len(gallery), -1)
    previous_row[now[is_same_query]] = then[is_same_query]
    is_same_candidate = is_same & previous.is_in_stock[then] & gallery.is_in_stock[now]
    current_row = np.full(len(previous), -1, np.int32)
    current_row[then[is_same_candidate]] = now[is_same_candidate]
    is_new_candidate = gallery.is_in_stock.copy()
    is_new_candidate[now[is_same_candidate]] = False
    insertion_row = np.empty(len(previous) + 1, np.int32)
    insertion_row[then] = now
    insertion_row[-1] = len(gallery)
    gone = np.setdiff1d(np.arange(len(previous)), then, assume_unique=True)
    insertion_row[gone] = np.searchsorted(gallery.product_ids, previous.product_ids[gone])
    return GalleryDiff(previous_row, is_new_candidate, current_row, insertion_row)


def _same_rows(previous: KindTable | NameTable, table: KindTable | NameTable) -> NDArray[np.int64]:
    """Return the row that each name of the previous table has in the current one, int64 (m,).

    It is -1 for a name that is gone, or whose distance to or from a name of both tables is another.
    """
    row = {name: i for i, name in enumerate(table.names)}
    rows = np.array([row.get(name, -1) for name in previous.names], np.int64)
    both = np.flatnonzero(rows >= 0)
    distances = previous.distances[np.ix_(both, both)]
    is_same = distances == table.distances[np.ix_(rows[both], rows[both])]
    rows[both[~(is_same.all(axis=1) & is_same.all(axis=0))]] = -1
    return rows


@dataclass(frozen=True, slots=True)
class PreviousSearch:
    """The results of another run's search.

    Attributes:
        diff: The changes since then.
        candidates: The nearest candidates of at least the unchanged queries, in the order of
            their rows in the previous gallery.
    """

    diff: GalleryDiff
    candidates: NearestCandidates

    def is_unchanged(self, query_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows of the current gallery ask the same as in the previous run."""
        return self.diff.previous_row[query_rows] >= 0

    def new_candidates(self, candidates: CandidateSet) -> CandidateSet:
        """Return those of the candidates that are new or changed since the previous run."""
        is_new = self.diff.is_new_candidate[candidates.rows]
        return CandidateSet(candidates.gallery, candidates.rows[is_new])

    def surviving_candidates(self, query_rows: NDArray[np.int64]) -> NearestCandidates:
        """Return the previous candidates of unchanged queries, without those that have left.

        Args:
            query_rows: int64 (m,). Rows of the current gallery; each must be unchanged.
        """
        positions = np.searchsorted(self.candidates.query_rows, self.diff.previous_row[query_rows])
        starts, rows = _remap_surviving(
            positions, self.candidates.starts, self.candidates.rows, self.diff.current_row
        )
        return NearestCandidates(
            query_rows,
            starts,
            rows,
            self.candidates.bound_distance[positions],
            self.diff.insertion_row[self.candidates.bound_row[positions]],
        )


def merge_candidates(
    gallery: Gallery, known: NearestCandidates, limits: NDArray[np.int64], new: NearestCandidates
) -> NearestCandidates:
    """Merge surviving and new candidates, up to where both are complete.

    Args:
        gallery: The current gallery.
        known: The surviving candidates.
        limits: int64 (m,). Largest weighted distance of a candidate.
        new: The nearest new candidates of the same queries.
    """
    known_arrays, new_arrays = (
        (part.starts, part.rows, part.bound_distance, part.bound_row) for part in (known, new)
    )
    merged = _merge_sorted(
        gallery.distance_arrays,
        known.query_rows,
        limits,
        known_arrays,
        new_arrays,
    )
    return NearestCandidates(known.query_rows, *merged)


@njit(nogil=True, cache=True)
def _remap_surviving(positions, starts, rows, current_row):  # type: ignore[no-untyped-def]
    """Return the candidates at some positions as current rows, without those that have left.

    Returns:
        Where the candidates of each position start, int64 (m + 1,), and their rows, int32.
    """
    most = 0
    for position in positions:
        most += starts[position + 1] - starts[position]
    new_starts = np.zeros(len(positions) + 1, np.int64)
    surviving = np.empty(most, np.int32)
    count = 0
    for i in range(len(positions)):
        for row in rows[starts[positions[i]] : starts[positions[i] + 1]]:
            if current_row[row] >= 0:
                surviving[count] = current_row[row]
                count += 1
        new_starts[i + 1] = count
    return new_starts, surviving[:count]


@njit(nogil=True, cache=True)
def _sort_key(metric, query, row):  # type: ignore[no-untyped-def]
    """Return (weighted distance, row): candidates are in the order of it.

    Args:
        metric: codes, shape_weight, colour_weight, kind_weight and kind of a gallery, the distances
            of its kinds, its colour_name, and the distances of its names.
        query: Row of the product that asks.
        row: Row of the candidate.
    """
    codes, shape_weight, colour_weight, kind_weight, kind, kind_distances, name, names = metric
    distance = weighted_distance(
        codes[query], codes[row], shape_weight[query], colour_weight[query]
    )
    offset = np.int64(kind_weight[query]) * kind_distances[kind[query], kind[row]]
    offset += np.int64(colour_weight[query]) * names[name[query], name[row]]
    return np.int64(distance) + offset, np.int64(row)


@njit(nogil=True, cache=True)
def _bisect_key(metric, query, rows, low, high, key):  # type: ignore[no-untyped-def]
    """Return the first index in low..high whose row has a key of at least `key`, else high."""
    while low < high:
        middle = (low + high) // 2
        if _sort_key(metric, query, rows[middle]) < key:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def _merge_sorted(metric, query_rows, limits, known, new):  # type: ignore[no-untyped-def]
    """Merge two sorted lists of candidates a query; new ones are few, so each is inserted.

    Args:
        metric: See `_sort_key`.
        query_rows: int64 (m,).
        limits: int64 (m,). Largest weighted distance of a candidate.
        known: starts, rows, bound_distance and bound_row of the surviving candidates.
        new: The same of the new candidates.

    Returns:
        starts, rows, bound_distance and bound_row of the merged candidates.
    """
    starts, rows, known_distance, known_row = known
    new_starts, new_rows, new_distance, new_row = new
    merged_starts = np.zeros(len(query_rows) + 1, np.int64)
    merged_rows = np.empty(len(rows) + len(new_rows), np.int32)
    bound_distance = np.empty(len(query_rows), np.int32)
    bound_row = np.empty(len(query_rows), np.int32)
    count = 0
    for i in range(len(query_rows)):
        query = query_rows[i]
        low = starts[i]
        high = starts[i + 1]
        known_end = (np.int64(known_distance[i]), np.int64(known_row[i]))
        limit_end = (limits[i] + 1, np.int64(0))
        end = (np.int64(new_distance[i]), np.int64(new_row[i]))
        if limit_end < end:
            end = limit_end
        if end < known_end:
            high = _bisect_key(metric, query, rows, low, high, end)
        else:
            end = known_end
        for row in new_rows[new_starts[i] : new_starts[i + 1]]:
            key = _sort_key(metric, query, row)
            if key >= end:
                break
            middle = _bisect_key(metric, query, rows, low, high, key)
            merged_rows[count : count + middle - low] = rows[low:middle]
            count += middle - low
            merged_rows[count] = row
            count += 1
            low = middle
        merged_rows[count : count + high - low] = rows[low:high]
        count += high - low
        merged_starts[i + 1] = count
        bound_distance[i], bound_row[i] = end
    return merged_starts, merged_rows[:count], bound_distance, bound_row
