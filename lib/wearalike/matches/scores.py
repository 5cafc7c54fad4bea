"""Distances and scores of codes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wearalike.models import CODE_BITS


def distances(queries: NDArray[np.uint64], codes: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hamming distances of shape and of colour, int32 (q, n) each, 0..128. queries: uint64 (q, 4); codes: uint64 (n, 4)."""
    shape, colour = (
        sum(np.bitwise_count(queries[:, None, word] ^ codes[None, :, word]) for word in words).astype(np.int32)
        for words in ((0, 1), (2, 3))
    )
    return shape, colour


def pairs(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hamming distances of shape and of colour of row i of a and of b, int32 (n,) each. a, b: uint64 (n, 4)."""
    bits = np.bitwise_count(a ^ b).astype(np.int32)
    return bits[:, 0] + bits[:, 1], bits[:, 2] + bits[:, 3]


def score(distance: NDArray[np.number], weights: NDArray[np.number] | int) -> NDArray[np.float64]:
    """0..1, bigger is more alike, for weighted distances and the sums of their weights; see the module's text."""
    return np.maximum(0.0, 1.0 - 2.0 * distance / (CODE_BITS * weights))


@lru_cache
def limit(weights: int, min_score: float) -> int:
    """The largest distance whose score is at least min_score, -1 where none is; weights: w_shape + w_colour."""
    return int(np.count_nonzero(score(np.arange(CODE_BITS * weights + 1), weights) >= min_score)) - 1
