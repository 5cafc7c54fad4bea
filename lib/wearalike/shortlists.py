"""What could be near a code, where a super-category holds too many to look at each of them for one photo.

The codes stand in lists of such as are alike, around the middles that the k-means of Faiss's binary IVF finds. A query is
compared with the middles, by its own weights, and the codes of the nearest lists are its shortlist: `matches` looks at those
as it would at all, with its rules, exact distances and order. So whatever is found is where it belongs, and what stands in a
list farther off is missed. `recall` says how much that is.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from wearalike import kernel

# k-means learns from so many codes a list; more find no better middles, and take longer.
_LEARNT_FROM = 64
# A shortlist holds at least this share of the codes that may be shown, and this many.
LEAST_RATIO, LEAST = 1 / 50, 20_000


@dataclass(frozen=True, slots=True)
class Shortlists:
    """middles: of the lists. starts: int64 (lists + 1,), rows: int32 (n,): list i is rows[starts[i] : starts[i + 1]], ascending."""

    middles: kernel.Tiles
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]

    def of(self, code: NDArray[np.uint64], w_shape: int, w_colour: int, candidates: NDArray[np.int64], least: int) -> NDArray[np.int64]:
        """The candidates in the nearest lists that hold at least so many of them, or all; ascending.

        code: uint64 (4,). candidates: int64 (m,), ascending rows that may be shown.
        """
        order = self._by_nearness(code, w_shape, w_colour)
        is_candidate = np.zeros(len(self.rows), bool)
        is_candidate[candidates] = True
        before = np.concatenate([[0], np.cumsum(is_candidate[self.rows])])
        counts = np.cumsum(np.diff(before[self.starts])[order])
        taken = order[: np.searchsorted(counts, least) + 1]
        rows = np.concatenate([self.rows[self.starts[i] : self.starts[i + 1]] for i in taken.tolist()])
        return np.sort(rows[is_candidate[rows]]).astype(np.int64)

    def _by_nearness(self, code: NDArray[np.uint64], w_shape: int, w_colour: int) -> NDArray[np.int64]:
        weights = [np.array([weight], np.int32) for weight in (w_shape, w_colour)]
        limits = np.array([128 * (w_shape + w_colour)])
        (order,) = kernel.nearest(code[None], self.middles, *weights, limits, len(self.middles))
        return order


def build(codes: NDArray[np.uint64], count: int | None = None) -> Shortlists:
    """The lists of a gallery's codes, uint64 (n, 4), n >= 1. count: of lists; None: about the root of n, a power of 2."""
    n = len(codes)
    count = min(n, count or 2 ** round(np.log2(n) / 2))
    quantizer = faiss.IndexBinaryFlat(256)
    index = faiss.IndexBinaryIVF(quantizer, 256, count)
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _LEARNT_FROM
    as_bytes = np.ascontiguousarray(codes).view(np.uint8)
    # Codes of products that stand side by side are alike: those learnt from are spread over all.
    index.train(as_bytes[np.linspace(0, n - 1, min(n, _LEARNT_FROM * count)).astype(np.int64)])
    _, found = quantizer.search(as_bytes, 1)
    lists = found.ravel()
    starts = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=count))])
    middles = faiss.vector_to_array(quantizer.xb).reshape(-1, 32).view(np.uint64)
    return Shortlists(kernel.lay_out(middles), starts, np.argsort(lists, kind="stable").astype(np.int32))


def least(count: int) -> int:
    """How many of so many candidates a shortlist is to hold at least."""
    return max(LEAST, int(LEAST_RATIO * count))


def recall(found: NDArray[np.integer], exact: NDArray[np.integer]) -> float:
    """Of what an exact search finds, the share that was found; 1 where it finds nothing. Ties are hits: which of the codes at
    the last distance are listed says nothing. found, exact: distances, ascending."""
    if not len(exact):
        return 1.0
    return min(len(exact), int(np.count_nonzero(found <= exact[-1]))) / len(exact)
