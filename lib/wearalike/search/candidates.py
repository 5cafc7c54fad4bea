"""The nearest candidates of queries, from which their lists are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.search.gallery import CandidateSet, Gallery
from wearalike.search.kernels.query_batch import QueryBatch
from wearalike.search.scores import pair_distances

# Candidates fetched for each result of a full list; new products may add as many.
CANDIDATES_PER_RESULT = 4
# Candidates that the next run remembers for each result, at most.
REMEMBERED_PER_RESULT = 8 * CANDIDATES_PER_RESULT


@dataclass(frozen=True, slots=True)
class NearestCandidates:
    """The nearest candidates of m products of a gallery.

    The candidates of query i are rows[starts[i] : starts[i + 1]], by distance, then row. They are
    complete up to a bound: every candidate whose (distance, row) is less than
    (bound_distance[i], bound_row[i]) is among them.

    Attributes:
        query_rows: int64 (m,). Rows of the products that ask.
        starts: int64 (m + 1,).
        rows: int32 (t,). Rows of the candidates.
        bound_distance: int32 (m,). Weighted distance.
        bound_row: int32 (m,).
    """

    query_rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    bound_distance: NDArray[np.int32]
    bound_row: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.query_rows)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of candidates of each query, int64 (m,)."""
        return np.diff(self.starts)

    def candidates_of(self, i: int) -> NDArray[np.int64]:
        """Return the rows of the candidates of query i, int64."""
        return self.rows[self.starts[i] : self.starts[i + 1]].astype(np.int64)

    def take(self, positions: NDArray[np.int64]) -> NearestCandidates:
        """Return some of the queries; positions: int64, distinct, all of them only in order."""
        if len(positions) == len(self):
            return self
        return self._reorder(positions)

    def _reorder(self, positions: NDArray[np.int64]) -> NearestCandidates:
        starts, entries = ranges_to_indices(self.starts[positions], self.counts[positions])
        return NearestCandidates(
            self.query_rows[positions],
            starts,
            self.rows[entries],
            self.bound_distance[positions],
            self.bound_row[positions],
        )

    def truncate(self, max_counts: NDArray[np.int64], gallery: Gallery) -> NearestCandidates:
        """Return the queries with at most max_counts[i] candidates, int64 (m,), at least 1."""
        counts = np.minimum(max_counts, self.counts)
        if counts.sum() == len(self.rows):
            return self
        starts, entries = ranges_to_indices(self.starts[:-1], counts)
        rows = self.rows[entries]
        bound_distance = self.bound_distance.copy()
        bound_row = self.bound_row.copy()
        is_cut = counts < self.counts
        last = rows[starts[1:][is_cut] - 1]
        bound_distance[is_cut] = weighted_distances(gallery, self.query_rows[is_cut], last)
        bound_row[is_cut] = last + 1
        return NearestCandidates(self.query_rows, starts, rows, bound_distance, bound_row)


def find_candidates(
    candidates: CandidateSet,
    query_rows: NDArray[np.int64],
    limits: NDArray[np.int64],
    count: int,
) -> NearestCandidates:
    """Search for the nearest candidates of products of the gallery.

    Args:
        candidates: The products to search.
        query_rows: int64 (m,). Rows of the products that ask.
        limits: int64 (m,). Largest weighted distance of a candidate.
        count: Candidates a query, at most.
    """
    gallery = candidates.gallery
    queries = QueryBatch(
        gallery.codes[query_rows],
        gallery.shape_weight[query_rows],
        gallery.colour_weight[query_rows],
        limits,
        gallery.trait_offsets(query_rows),
    )
    counts, nearest = candidates.find_nearest(queries, count)
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = nearest.astype(np.int32)
    # Complete up to the limit, or where the count cut them, up to the last one.
    bound_distance = (limits + 1).astype(np.int32)
    bound_row = np.zeros(len(query_rows), np.int32)
    is_cut = counts == count
    last = rows[starts[1:][is_cut] - 1]
    bound_distance[is_cut] = weighted_distances(gallery, query_rows[is_cut], last)
    bound_row[is_cut] = last + 1
    return NearestCandidates(query_rows, starts, rows, bound_distance, bound_row)


def concat_candidates(parts: Sequence[NearestCandidates]) -> NearestCandidates:
    """Return the queries of all parts as one, in the order of their rows."""
    counts = np.concatenate([part.counts for part in parts])
    joined = NearestCandidates(
        query_rows=np.concatenate([part.query_rows for part in parts]),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        rows=np.concatenate([part.rows for part in parts]),
        bound_distance=np.concatenate([part.bound_distance for part in parts]),
        bound_row=np.concatenate([part.bound_row for part in parts]),
    )
    return joined._reorder(np.argsort(joined.query_rows))


def candidates_to_table(candidates: NearestCandidates) -> pa.Table:
    """Return the candidates as a table of one row a query; rows count in the same gallery."""
    starts = pa.array(candidates.starts, pa.int32())
    return pa.table(
        {
            "query_row": candidates.query_rows,
            "rows": pa.ListArray.from_arrays(starts, pa.array(candidates.rows)),
            "bound_distance": candidates.bound_distance,
            "bound_row": candidates.bound_row,
        }
    )


def candidates_from_table(table: pa.Table) -> NearestCandidates:
    """Return the candidates of a table of `candidates_to_table`, or of some of its rows."""
    table = table.sort_by("query_row").combine_chunks()
    counts = pc.list_value_length(table["rows"]).to_numpy()
    return NearestCandidates(
        query_rows=table["query_row"].to_numpy(),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=pc.list_flatten(table["rows"]).to_numpy(),
        bound_distance=table["bound_distance"].to_numpy(),
        bound_row=table["bound_row"].to_numpy(),
    )


def ranges_to_indices(
    firsts: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of ranges, one range after another.

    Args:
        firsts: int64 (m,). First index of each range.
        counts: int64 (m,). Length of each range.

    Returns:
        Where each range starts in the result, int64 (m + 1,), and the indices, int64 (sum,).

    Example:
        >>> ranges_to_indices(np.array([5, 0]), np.array([2, 3]))
        (array([0, 2, 5]), array([5, 6, 0, 1, 2]))
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    return starts, np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], counts)


def weighted_distances(
    gallery: Gallery, query_rows: NDArray[np.int64], candidate_rows: NDArray[np.integer]
) -> NDArray[np.int32]:
    """Return the weighted distance of query_rows[i] to candidate_rows[i], int32 (m,)."""
    starts = np.arange(len(query_rows) + 1)
    shape, colour = pair_distances(gallery.codes, query_rows, starts, candidate_rows)
    colour = colour + gallery.name_distances(query_rows, candidate_rows)
    return (
        gallery.shape_weight[query_rows] * shape
        + gallery.colour_weight[query_rows] * colour
        + gallery.kind_weight[query_rows] * gallery.kind_distances(query_rows, candidate_rows)
    )
