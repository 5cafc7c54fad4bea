"""A shortlist of the codes that could be near, for super-categories too large to search whole.

Codes are put into cells. Faiss's binary k-means finds centroids of each half, shape and colour; a
cell holds the codes whose halves are nearest to the same two centroids. A query measures the
centroids of each half, which gives its weighted distance to every cell. The codes of the nearest
cells are its shortlist, which is then searched exactly. So results have their exact distances and
order, and only codes in farther cells are missed. `distance_recall` measures how many.

Cells of two halves: Babenko and Lempitsky, The Inverted Multi-Index, 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from wearalike.search.candidates import ranges_to_indices
from wearalike.tables import CODE_BITS

# A cell holds about 2^4.5 = 23 codes.
_LOG2_CODES_PER_CELL = 4.5
# Codes that k-means trains on for each centroid; more find no better ones.
_TRAINING_CODES_PER_CENTROID = 100
# A shortlist holds at least this share of the eligible codes, and at least this many.
MIN_SHORTLIST_RATIO = 1 / 50
MIN_SHORTLIST_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class InvertedMultiIndex:
    """The codes of a gallery in c * c cells.

    The cell of shape centroid s and colour centroid t holds
    rows[cell_starts[c * s + t] : cell_starts[c * s + t + 1]], ascending.

    Attributes:
        centroids: uint64 (2, c, 2), of shape and of colour.
        cell_starts: int64 (c * c + 1,).
        rows: int32 (n,). Rows of the gallery.
    """

    centroids: NDArray[np.uint64]
    cell_starts: NDArray[np.int64]
    rows: NDArray[np.int32]

    def shortlist(
        self,
        code: NDArray[np.uint64],
        shape_weight: int,
        colour_weight: int,
        candidate_rows: NDArray[np.int64],
        min_count: int,
    ) -> NDArray[np.int64]:
        """Return the candidates in the nearest cells, ascending.

        Args:
            code: uint64 (4,).
            shape_weight: Weight of shape.
            colour_weight: Weight of colour.
            candidate_rows: int64 (m,), ascending. Rows that may be shown.
            min_count: Cells are added until they hold this many candidates, or all.
        """
        differing = np.bitwise_count(self.centroids ^ code.reshape(2, 1, 2))
        shape, colour = differing.sum(axis=2, dtype=np.int32)
        distances = shape_weight * shape[:, None] + colour_weight * colour
        order = np.argsort(distances.ravel(), kind="stable")
        is_candidate = np.zeros(len(self.rows), bool)
        is_candidate[candidate_rows] = True
        candidates_before = np.concatenate([[0], np.cumsum(is_candidate[self.rows])])
        per_cell = np.diff(candidates_before[self.cell_starts])
        cell_count = np.searchsorted(np.cumsum(per_cell[order]), min_count) + 1
        cells = order[:cell_count]
        _, entries = ranges_to_indices(self.cell_starts[cells], np.diff(self.cell_starts)[cells])
        rows = self.rows[entries]
        return np.sort(rows[is_candidate[rows]]).astype(np.int64)


def build_inverted_multi_index(codes: NDArray[np.uint64]) -> InvertedMultiIndex:
    """Put the codes of a gallery, uint64 (n, 4), n >= 1, into cells."""
    n = len(codes)
    centroid_count = min(n, 2 ** max(0, round((np.log2(n) - _LOG2_CODES_PER_CELL) / 2)))
    shape_centroids, shape = _fit_centroids(np.ascontiguousarray(codes[:, :2]), centroid_count)
    colour_centroids, colour = _fit_centroids(np.ascontiguousarray(codes[:, 2:]), centroid_count)
    cells = centroid_count * shape + colour
    counts = np.bincount(cells, minlength=centroid_count * centroid_count)
    return InvertedMultiIndex(
        np.stack([shape_centroids, colour_centroids]),
        np.concatenate([[0], np.cumsum(counts)]),
        np.argsort(cells, kind="stable").astype(np.int32),
    )


def _fit_centroids(
    halves: NDArray[np.uint64], count: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Fit centroids of halves, uint64 (n, 2).

    Returns:
        The centroids, uint64 (count, 2), and the number of each half's nearest one, int64 (n,).
    """
    quantizer = faiss.IndexBinaryFlat(CODE_BITS)
    index = faiss.IndexBinaryIVF(quantizer, CODE_BITS, count)
    index.cp.min_points_per_centroid = 1
    as_bytes = halves.view(np.uint8)
    # Neighbours in the order of ids are alike, so the training codes are spread over all.
    training_count = min(len(halves), _TRAINING_CODES_PER_CENTROID * count)
    training_rows = np.linspace(0, len(halves) - 1, training_count).astype(np.int64)
    index.train(as_bytes[training_rows])
    _, nearest = quantizer.search(as_bytes, 1)
    centroids = faiss.vector_to_array(quantizer.xb).view(np.uint64)  # type: ignore[attr-defined]
    return centroids.reshape(-1, 2), nearest.ravel()


def min_shortlist_size(candidate_count: int) -> int:
    """Return how many of the candidates a shortlist must hold at least."""
    return max(MIN_SHORTLIST_SIZE, int(MIN_SHORTLIST_RATIO * candidate_count))
