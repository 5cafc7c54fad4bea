"""Distances of single pairs of codes, for compiled callers."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def popcount(typing_context, word):  # type: ignore[no-untyped-def]
    """Return the number of one bits of a uint64."""
    return types.uint64(types.uint64), lambda _, builder, signature, arguments: builder.ctpop(
        arguments[0]
    )


@njit(nogil=True, cache=True)
def shape_colour_distances(query, code):  # type: ignore[no-untyped-def]
    """Return the Hamming distances of shape and of colour of two codes, uint64 (4,) each."""
    shape = popcount(query[0] ^ code[0]) + popcount(query[1] ^ code[1])  # type: ignore[call-arg, var-annotated]
    colour = popcount(query[2] ^ code[2]) + popcount(query[3] ^ code[3])
    return shape, colour


@njit(nogil=True, cache=True)
def weighted_distance(query, code, shape_weight, colour_weight):  # type: ignore[no-untyped-def]
    """Return shape_weight * H(shape) + colour_weight * H(colour) of two codes, uint64."""
    shape, colour = shape_colour_distances(query, code)
    return np.uint64(shape_weight) * shape + np.uint64(colour_weight) * colour
