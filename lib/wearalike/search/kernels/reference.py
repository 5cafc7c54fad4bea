"""The search by its definition, in NumPy: the oracle for the compiled kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearalike.search.kernels.query_batch import QueryBatch


def nearest_per_query(
    queries: QueryBatch,
    codes: NDArray[np.uint64],
    k: int,
    kinds: NDArray[np.integer] | None = None,
) -> list[NDArray[np.int64]]:
    """Return for every query the positions of its k nearest codes.

    It measures every pair and sorts all of them, so it needs q * n * 4 words of memory.

    Args:
        queries: The batch.
        codes: uint64 (n, 4).
        k: At most this many positions a query.
        kinds: int (n,). The kind of each code; default: all of kind 0.

    Returns:
        One int64 array a query, by weighted distance, then position.
    """
    differing = np.bitwise_count(queries.codes[:, None] ^ codes).astype(np.int64)  # (q, n, 4)
    shape = differing[:, :, :2].sum(axis=2)
    colour = differing[:, :, 2:].sum(axis=2)
    distances = queries.shape_weight[:, None] * shape + queries.colour_weight[:, None] * colour
    distances += queries.kind_offsets[:, np.zeros(len(codes), int) if kinds is None else kinds]
    nearest = []
    for row, limit in zip(distances, queries.limits, strict=True):
        order = np.argsort(row, kind="stable")  # stable: equal distances keep their positions
        nearest.append(order[row[order] <= limit][:k])
    return nearest
