"""The search itself: the best k of many codes by weighted Hamming distance, exactly, compiled by numba.

Candidates are looked at in order, a tile of them against every query of a block while the tile is in cache. What is
nearer than a query's bound is noted; when its notes are full, a counting select keeps the best k and lowers the bound.
A later candidate at the bound's distance stands behind those kept, for ties fall to the earlier one, so it is left out.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

# 512 codes of 32 bytes leave room for the queries in a first-level cache of 32 kB.
_TILE_CODES = 512


@intrinsic
def _ones(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of one bits of a uint64: a single instruction, which numba has no name for."""

    def generate(context, builder: ir.IRBuilder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True)
def _keep_best(distances, positions, count, k, histogram):  # type: ignore[no-untyped-def]
    """Moves the best k notes to the front, in their order; returns the distance of the worst of them."""
    histogram[:] = 0
    for note in range(count):
        histogram[distances[note]] += 1
    nearer, bound = 0, 0
    while nearer + histogram[bound] < k:
        nearer += histogram[bound]
        bound += 1
    room, kept = k - nearer, 0
    for note in range(count):
        distance = distances[note]
        if distance > bound or (distance == bound and room == 0):
            continue
        if distance == bound:
            room -= 1
        distances[kept], positions[kept] = distance, positions[note]
        kept += 1
    return bound


@njit(nogil=True, cache=True)
def _search(queries, codes, w_shape, w_colour, limits, k, found, counts):  # type: ignore[no-untyped-def]
    size = 4 * k + 256
    distances, positions = np.empty((len(queries), size), np.int32), np.empty((len(queries), size), np.int64)
    bounds = limits.astype(np.uint64) + np.uint64(1)
    histogram = np.empty(limits.max() + 2, np.int32)
    for start in range(0, len(codes), _TILE_CODES):
        stop = min(start + _TILE_CODES, len(codes))
        for query in range(len(queries)):
            q0, q1, q2, q3 = queries[query, 0], queries[query, 1], queries[query, 2], queries[query, 3]
            ws, wc = np.uint64(w_shape[query]), np.uint64(w_colour[query])
            bound, count = bounds[query], counts[query]
            # Unsigned, for a signed index is first looked at for being negative: a quarter of the time.
            for code in range(np.uint64(start), np.uint64(stop)):
                shape = _ones(codes[code, 0] ^ q0) + _ones(codes[code, 1] ^ q1)  # type: ignore[call-arg, var-annotated]
                colour = _ones(codes[code, 2] ^ q2) + _ones(codes[code, 3] ^ q3)
                distance = ws * shape + wc * colour
                if distance < bound:
                    distances[query, count], positions[query, count] = distance, code
                    count += 1
                    if count == size:
                        bound = np.uint64(_keep_best(distances[query], positions[query], count, k, histogram))
                        count = k
            bounds[query], counts[query] = bound, count
    for query in range(len(queries)):
        # Distance and position in one number: no two are equal, and sorting them sorts by both.
        keys = distances[query, : counts[query]].astype(np.int64) * len(codes) + positions[query, : counts[query]]
        keys.sort()
        counts[query] = min(k, counts[query])
        found[query, : counts[query]] = keys[: counts[query]] % len(codes)


def nearest(
    queries: NDArray[np.uint64],
    codes: NDArray[np.uint64],
    w_shape: NDArray[np.int32],
    w_colour: NDArray[np.int32],
    limits: NDArray[np.int64],
    k: int,
) -> list[NDArray[np.int64]]:
    """For every query the positions of the best k codes, by weighted distance, then by position; fewer where fewer
    are within the query's limit.

    queries: uint64 (q, 4), codes: uint64 (n, 4), two words of shape and two of colour each. w_shape, w_colour: int32 (q,),
    not negative. limits: int64 (q,), the largest distance that may be returned, at least 0. It lets go of the GIL.
    """
    if not (len(queries) and len(codes)):
        return [np.empty(0, np.int64) for _ in queries]
    found, counts = np.empty((len(queries), k), np.int64), np.zeros(len(queries), np.int64)
    _search(np.ascontiguousarray(queries), np.ascontiguousarray(codes), w_shape, w_colour, limits, k, found, counts)
    return [found[query, :count] for query, count in enumerate(counts)]
