"""What could be near a code, where a super-category holds too many to look at each of them for one photo.

Codes stand in cells: of each half, shape and colour, Faiss's binary k-means finds middles, and a cell holds the codes whose
halves are nearest to the same two. A query measures the middles of each half, which gives the weighted distance of every cell
by its own weights, and the codes of the nearest cells are its shortlist: `matches` looks at those as it would at all, with its
rules, exact distances and order. So whatever is found is where it belongs, and what stands in a cell farther off is missed.
`recall` says how much that is. Cells of two halves: Babenko and Lempitsky, The Inverted Multi-Index, 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

# A cell holds about 2^_CELL_BITS codes.
_LOG2_CODES_PER_CELL = 4.5
# k-means learns from so many codes a middle; more find no better ones.
_TRAINING_CODES_PER_CENTROID = 100
# A shortlist holds at least this share of the codes that may be shown, and this many.
MIN_SHORTLIST_RATIO, MIN_SHORTLIST_SIZE = 1 / 50, 20_000


@dataclass(frozen=True, slots=True)
class InvertedMultiIndex:
    """middles: uint64 (2, c, 2), of shape and of colour. starts: int64 (c * c + 1,), rows: int32 (n,): the cell of middles s and t is
    rows[starts[c s + t] : starts[c s + t + 1]], ascending."""

    centroids: NDArray[np.uint64]
    cell_starts: NDArray[np.int64]
    rows: NDArray[np.int32]

    def shortlist(
        self,
        code: NDArray[np.uint64],
        shape_weight: int,
        colour_weight: int,
        candidates: NDArray[np.int64],
        min_count: int,
    ) -> NDArray[np.int64]:
        """The candidates in the nearest cells that hold at least so many of them, or all; ascending.

        code: uint64 (4,). candidates: int64 (m,), ascending rows that may be shown.
        """
        shape, colour = np.bitwise_count(self.centroids ^ code.reshape(2, 1, 2)).sum(
            axis=2, dtype=np.int32
        )
        order = np.argsort(
            (shape_weight * shape[:, None] + colour_weight * colour).ravel(), kind="stable"
        )
        is_candidate = np.zeros(len(self.rows), bool)
        is_candidate[candidates] = True
        before = np.concatenate([[0], np.cumsum(is_candidate[self.rows])])
        taken = order[
            : np.searchsorted(np.cumsum(np.diff(before[self.cell_starts])[order]), min_count) + 1
        ]
        counts = np.diff(self.cell_starts)[taken]
        rows = self.rows[
            np.arange(counts.sum())
            + np.repeat(self.cell_starts[taken] - (np.cumsum(counts) - counts), counts)
        ]
        return np.sort(rows[is_candidate[rows]]).astype(np.int64)


def build_inverted_multi_index(codes: NDArray[np.uint64]) -> InvertedMultiIndex:
    """The cells of a gallery's codes, uint64 (n, 4), n >= 1."""
    n = len(codes)
    count = min(n, 2 ** max(0, round((np.log2(n) - _LOG2_CODES_PER_CELL) / 2)))
    (shapes, shape), (colours, colour) = (
        _fit_centroids(np.ascontiguousarray(half), count) for half in (codes[:, :2], codes[:, 2:])
    )
    cells = count * shape + colour
    starts = np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=count * count))])
    return InvertedMultiIndex(
        np.stack([shapes, colours]), starts, np.argsort(cells, kind="stable").astype(np.int32)
    )


def _fit_centroids(
    halves: NDArray[np.uint64], count: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """So many middles, uint64 (count, 2), and which of them is nearest to each half, int64 (n,). halves: uint64 (n, 2)."""
    quantizer, as_bytes = faiss.IndexBinaryFlat(128), halves.view(np.uint8)
    index = faiss.IndexBinaryIVF(quantizer, 128, count)
    index.cp.min_points_per_centroid = 1
    # Products that stand side by side are alike: those learnt from are spread over all.
    index.train(
        as_bytes[
            np.linspace(
                0, len(halves) - 1, min(len(halves), _TRAINING_CODES_PER_CENTROID * count)
            ).astype(np.int64)
        ]
    )
    _, nearest = quantizer.search(as_bytes, 1)
    return faiss.vector_to_array(quantizer.xb).view(np.uint64).reshape(-1, 2), nearest.ravel()  # type: ignore[attr-defined]


def min_shortlist_size(candidate_count: int) -> int:
    """How many of so many candidates a shortlist is to hold at least."""
    return max(MIN_SHORTLIST_SIZE, int(MIN_SHORTLIST_RATIO * candidate_count))
