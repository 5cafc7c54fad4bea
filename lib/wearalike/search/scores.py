"""Distances and scores of codes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wearalike.models.registry import CODE_BITS
from wearalike.search.kernels import bitplane


def distance_matrices(
    queries: NDArray[np.uint64], codes: NDArray[np.uint64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hamming distances of shape and of colour, int32 (q, n) each, 0..128. queries: uint64 (q, 4); codes: uint64 (n, 4)."""
    shape, colour = (
        sum(
            np.bitwise_count(queries[:, None, word] ^ codes[None, :, word]) for word in words
        ).astype(np.int32)
        for words in ((0, 1), (2, 3))
    )
    return shape, colour


@njit(nogil=True, cache=True)
def pair_distances(codes, asking, starts, rows):  # type: ignore[no-untyped-def]
    """Hamming distances of shape and of colour of row asking[i] of the codes to rows[starts[i] : starts[i + 1]], int32 (t,) each.

    codes: uint64 (n, 4). asking: int64 (m,). starts: int64 (m + 1,). rows: (t,).
    """
    shape, colour = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    for i in range(len(asking)):
        for place in range(starts[i], starts[i + 1]):
            shape[place], colour[place] = bitplane.shape_colour_distances(
                codes[asking[i]], codes[rows[place]]
            )
    return shape, colour


def score(distance: NDArray[np.number], weights: NDArray[np.number] | int) -> NDArray[np.float64]:
    """0..1, bigger is more alike, for weighted distances and the sums of their weights; see the module's text."""
    return np.maximum(0.0, 1.0 - 2.0 * distance / (CODE_BITS * weights))


def distance_limits(weights: NDArray[np.int32], min_score: float) -> NDArray[np.int64]:
    """The limit of each sum of weights, int64 (m,)."""
    kinds, kind = np.unique(weights, return_inverse=True)
    return np.array([distance_limit(int(weight), min_score) for weight in kinds], np.int64)[kind]


@lru_cache
def distance_limit(weights: int, min_score: float) -> int:
    """The largest distance whose score is at least min_score, -1 where none is; weights: shape_weight + colour_weight."""
    return (
        int(np.count_nonzero(score(np.arange(CODE_BITS * weights + 1), weights) >= min_score)) - 1
    )
