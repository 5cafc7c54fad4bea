"""Faiss indexes over float descriptors: IndexFlatL2 is exact, IndexIVFPQ is small.

IndexIVFPQ looks into the cells nearest to the query. It keeps a descriptor as the numbers of the
centroids nearest to its parts (Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor
Search", 2011). The published lists never come from these: they rank binary codes exactly.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

# Parts of a descriptor at most: one byte each.
MAX_PARTS = 64
# Cells that a query looks into at first.
SCANNED_CELLS = 16
_MAX_PART_BITS = 8
# Faiss's own recommendation of how many rows a cell needs to be trained.
_MIN_ROWS_PER_CELL = 39
_CELLS_PER_SQRT_ROWS = 4
# In a large gallery this many rows train each centroid of a part.
_MAX_ROWS_PER_CENTROID = 64


class FloatIndexKind(StrEnum):
    """How float descriptors are searched."""

    FLAT_L2 = "flat_l2"  # faiss.IndexFlatL2
    IVFPQ = "ivfpq"  # faiss.IndexIVFPQ

    @property
    def faiss_name(self) -> str:
        """The name of Faiss's class."""
        return {"flat_l2": "IndexFlatL2", "ivfpq": "IndexIVFPQ"}[self.value]


@dataclass(frozen=True)
class FloatIndex:
    """An index over rows of floats; threads may share it.

    Attributes:
        kind: Its kind.
        bytes_per_item: Bytes that it keeps of an item, without its id.
    """

    kind: FloatIndexKind
    bytes_per_item: int
    _index: faiss.Index
    # Faiss reads an index from many threads, but the number of cells is set on a search.
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def search(
        self, query: NDArray[np.float32], count: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Search the rows nearest to a query.

        Args:
            query: float32 (d,).
            count: Most results.
            rows: int64 (m,). The rows that may be found; None for all.

        Returns:
            The rows found, int64 (r,), nearest first and ties by number; their Euclidean distances,
            float64 (r,). Fewer than `count` only where there are no more.
        """
        wanted = min(count, self._index.ntotal if rows is None else len(rows))
        if not wanted:
            return np.empty(0, np.int64), np.empty(0)
        selector = None if rows is None else faiss.IDSelectorBatch(np.ascontiguousarray(rows))
        scanned = SCANNED_CELLS
        one = np.ascontiguousarray(query[None], np.float32)
        while True:
            squared, found = self._search_cells(one, wanted, selector, scanned)
            is_found = found >= 0
            if is_found.sum() == wanted or scanned >= getattr(self._index, "nlist", 0):
                break
            scanned *= 2
        found, distances = found[is_found], np.sqrt(np.maximum(squared[is_found], 0))
        order = np.lexsort((found, distances))
        return found[order], distances[order]

    def _search_cells(
        self,
        one: NDArray[np.float32],
        count: int,
        selector: faiss.IDSelector | None,
        scanned: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return squared distances and rows, -1 where there are no more in the cells scanned."""
        # Faiss's stubs lack the arguments of its classes.
        parameters: Any = faiss.SearchParameters()
        if isinstance(self._index, faiss.IndexIVFPQ):
            parameters = faiss.SearchParametersIVF()
            parameters.nprobe = min(scanned, self._index.nlist)
        if selector is not None:
            parameters.sel = selector
        with self._lock, _one_thread():
            squared, found = self._index.search(one, count, params=parameters)
        return squared[0].astype(np.float64), found[0]


def build_float_index(rows: NDArray[np.float32], kind: FloatIndexKind) -> FloatIndex:
    """Build an index; the same rows give the same index.

    Args:
        rows: float32 (n, d), n at least 1.
        kind: The kind. Two rows are too few to train an IndexIVFPQ.

    Raises:
        ValueError: There are too few rows.
    """
    count, width = rows.shape
    rows = np.ascontiguousarray(rows, np.float32)
    if count < kind_min_rows(kind):
        raise ValueError(f"{kind.faiss_name}: {count} rows, wanted {kind_min_rows(kind)} or more")
    with _one_thread():
        if kind is FloatIndexKind.FLAT_L2:
            flat = faiss.IndexFlatL2(width)
            flat.add(rows)
            return FloatIndex(kind, flat.code_size, flat)
        cells = max(
            1, min(int(_CELLS_PER_SQRT_ROWS * math.sqrt(count)), count // _MIN_ROWS_PER_CELL)
        )
        parts = max(n for n in range(1, min(MAX_PARTS, width) + 1) if width % n == 0)
        bits = min(_MAX_PART_BITS, int(math.log2(count)))
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(width), width, cells, parts, bits)
        # Small galleries are trained on all rows without a warning; large ones on a share.
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
        index.pq.cp.max_points_per_centroid = _MAX_ROWS_PER_CENTROID
        index.train(rows)
        index.add(rows)
    return FloatIndex(kind, index.code_size, index)


def kind_min_rows(kind: FloatIndexKind) -> int:
    """Return how many rows an index of a kind needs."""
    return 2 if kind is FloatIndexKind.IVFPQ else 1


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let Faiss use one thread of the block's: sums then have one order."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
