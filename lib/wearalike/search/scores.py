"""Distances and scores of codes.

distance = shape_weight * H(shape) + colour_weight * (H(colour) + c) + kind_weight * k

H is the Hamming distance of 128 bits. c is the distance of the two products' colour names, 0..32,
and k that of their kinds, 0..64. The weights are those of the product that asks.

score = max(0, 1 - 2 * distance / (128 * (shape_weight + v * colour_weight + kind_weight)))

v is 1.25 for a product that names a colour, whose colour distance is up to 160, else 1. The score
is the weighted mean of three scores, cut at 0: 1 - H(shape) / 64, 1 - (H(colour) + c) / (64 v) and
1 - k / 64. So 0 is no more alike than chance. Without names and with a kind_weight of 0 it is the
cosine of the codes as weighted signs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wearalike.catalog.colour_names import MAX_NAME_DISTANCE
from wearalike.search.kernels.distances import shape_colour_distances
from wearalike.tables import CODE_BITS

# Changes whenever distances do: candidates measured by another distance are not gone on from.
DISTANCE_VERSION = 3


def distance_matrices(
    queries: NDArray[np.uint64], codes: NDArray[np.uint64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the Hamming distances of all pairs.

    Args:
        queries: uint64 (q, 4).
        codes: uint64 (n, 4).

    Returns:
        Distances of shape and of colour, int32 (q, n) each, 0..128.
    """
    # Word by word, so that one (q, n) array is held at a time; 128 fits into uint8.
    words = [np.bitwise_count(queries[:, None, word] ^ codes[:, word]) for word in range(4)]
    return (words[0] + words[1]).astype(np.int32), (words[2] + words[3]).astype(np.int32)


@njit(nogil=True, cache=True)
def pair_distances(codes, query_rows, starts, rows):  # type: ignore[no-untyped-def]
    """Return the Hamming distances of codes[query_rows[i]] to rows[starts[i] : starts[i + 1]].

    Args:
        codes: uint64 (n, 4).
        query_rows: int64 (m,).
        starts: int64 (m + 1,).
        rows: int32 or int64 (t,).

    Returns:
        Distances of shape and of colour, int32 (t,) each.
    """
    shape = np.empty(len(rows), np.int32)
    colour = np.empty(len(rows), np.int32)
    for i in range(len(query_rows)):
        for entry in range(starts[i], starts[i + 1]):
            shape[entry], colour[entry] = shape_colour_distances(
                codes[query_rows[i]], codes[rows[entry]]
            )
    return shape, colour


def score(
    distance: NDArray[np.number], weight_sum: NDArray[np.number] | float
) -> NDArray[np.float64]:
    """Return the scores of weighted distances, 0..1; a bigger score is more alike.

    Args:
        distance: Weighted distances.
        weight_sum: `weight_sum` of each; 1 for the distance of one half, or of kind, alone.

    Example:
        >>> score(np.array([0, 320, 640]), 10)
        array([1. , 0.5, 0. ])
    """
    return np.maximum(0.0, 1.0 - 2.0 * distance / (CODE_BITS * weight_sum))


def weight_sum(
    shape_weight: NDArray[np.integer],
    colour_weight: NDArray[np.integer],
    kind_weight: NDArray[np.integer],
    has_name: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return by how much distances are divided: the sum of the weights, colour by its scale.

    Args:
        shape_weight: int (n,).
        colour_weight: int (n,).
        kind_weight: int (n,).
        has_name: bool (n,). The product that asks names a colour.
    """
    sums: NDArray[np.float64] = shape_weight + colour_weight * colour_scale(has_name) + kind_weight
    return sums


def colour_scale(has_name: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return v: the largest colour distance as a multiple of that of the codes, float64 (n,)."""
    return np.where(has_name, 1 + MAX_NAME_DISTANCE / CODE_BITS, 1.0)


def distance_limits(weight_sums: NDArray[np.number], min_score: float) -> NDArray[np.int64]:
    """Return `distance_limit` of each sum of weights, int64 (m,)."""
    distinct, which = np.unique(weight_sums, return_inverse=True)
    limits = [distance_limit(float(one), min_score) for one in distinct]
    return np.array(limits, np.int64)[which]


@lru_cache
def distance_limit(weight_sum: float, min_score: float) -> int:
    """Return the largest weighted distance whose score is at least min_score; -1 if none is.

    Args:
        weight_sum: As `weight_sum` gives it.
        min_score: 0..1.
    """
    scores = score(np.arange(int(CODE_BITS * weight_sum) + 1), weight_sum)
    return int(np.count_nonzero(scores >= min_score)) - 1
