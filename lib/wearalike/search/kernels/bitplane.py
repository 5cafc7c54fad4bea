"""The exact search of the k nearest codes by weighted Hamming distance, on the CPU.

Codes are stored transposed: a plane holds one bit of a tile of 512 codes, so one instruction adds
that bit up for all of them, column by column. A block of queries searches a tile while the tile is
in cache:

1. Two bits of a half are added to the parity of those before them. The carries are tabled once a
   tile, for each of the 8 ways in which a query can flip the three bits (`carry_table`). So the
   first of seven levels of adding is a lookup, and 64 planes a half are left.
2. Full adders reduce the 64 planes to a number of 8 planes, the Hamming distance
   (`plane_adders.add_distances`).
3. Both numbers are multiplied by the query's weights, one shifted sum for every one bit of a
   weight, and compared with the query's bound (`plane_adders.add_and_compare`). The result is one
   bit a code: is it nearer?
4. The few codes that are nearer are measured and buffered. When the buffer of a query is full, a
   counting select keeps the best k and lowers the bound. A later code at the bound's distance
   ranks behind those kept, because ties go to the earlier code.

A pair costs 256 / 512 of a plane's work in place of four popcounts, and no vector popcount is
needed: the adders use and, or and xor on any chip, ternary logic with AVX-512.
docs/concepts/kernel.md draws all of it; `reference` is the same search in a few lines of NumPy.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wearalike.search.kernels.carry_table import (
    TABLE_ROWS,
    TILE_CODES,
    build_lookups,
    build_weight_terms,
    fill_carry_table,
    transpose_bits,
)
from wearalike.search.kernels.distances import weighted_distance
from wearalike.search.kernels.plane_adders import (
    LANES,
    LOOKUPS_PER_HALF,
    NEARER_ROW,
    ROW_COUNT,
    TOTAL_ROW,
    add_and_compare,
    add_distances,
    count_trailing_zeros,
)
from wearalike.search.kernels.query_batch import QueryBatch

# Queries of a block. The table of a tile is filled once for all of them.
_BLOCK_QUERIES = 256
# Buffered (distance, position) pairs of a block: 12 bytes each, 48 MB.
_BLOCK_BUFFER_ENTRIES = 1 << 22


@dataclass(frozen=True, slots=True)
class BitPlaneTiles:
    """Codes laid out for the search.

    Attributes:
        codes: uint64 (n, 4), the codes themselves.
        planes: uint64 (tiles, 256, 8). Bit b of plane p of tile t is bit p of code 512 * t + b.
    """

    codes: NDArray[np.uint64]
    planes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.codes)


def transpose_codes(codes: NDArray[np.uint64]) -> BitPlaneTiles:
    """Return the codes laid out for `nearest_flat`.

    Args:
        codes: uint64 (n, 4), two words of shape and two of colour. The tiles keep a reference, so
            the array must not change.
    """
    codes = np.ascontiguousarray(codes)
    return BitPlaneTiles(codes, transpose_bits(codes))


def nearest_per_query(
    queries: QueryBatch, tiles: BitPlaneTiles, k: int, threads: int = 1
) -> list[NDArray[np.int64]]:
    """Return for every query the positions of its k nearest codes; see `nearest_flat`.

    Example:
        >>> codes = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], np.uint64)
        >>> nearest_per_query(QueryBatch.uniform(codes[:1], 2, 8), transpose_codes(codes), k=2)
        [array([0, 1])]
    """
    counts, positions = nearest_flat(queries, tiles, k, threads)
    return np.split(positions, np.cumsum(counts)[:-1]) if len(counts) else []


def nearest_flat(
    queries: QueryBatch, tiles: BitPlaneTiles, k: int, threads: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the k nearest codes of every query, all in one array.

    It releases the GIL. Many queries in one call are faster than one by one. The result does not
    depend on the number of threads.

    Args:
        queries: The batch.
        tiles: The codes to search, from `transpose_codes`.
        k: Positions a query; fewer are returned where fewer codes are within its limit.
        threads: Blocks of queries searched at the same time.

    Returns:
        Number of positions of each query, int64 (q,). Positions of all queries one after another,
        int64 (sum,): by weighted distance, then position.
    """
    if not (len(queries) and len(tiles)):
        return np.zeros(len(queries), np.int64), np.empty(0, np.int64)
    k = min(k, len(tiles))
    block_size = min(
        _BLOCK_QUERIES,
        max(1, _BLOCK_BUFFER_ENTRIES // _buffer_size(k)),
        -(-len(queries) // threads),
    )

    def search(block: QueryBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _search_block(
            np.ascontiguousarray(block.codes),
            tiles.codes,
            tiles.planes,
            block.shape_weight,
            block.colour_weight,
            np.minimum(block.limits, block.largest_distances()),
            k,
        )

    if threads == 1:
        found = [search(block) for block in queries.split(block_size)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(search, queries.split(block_size)))
    counts, positions = zip(*found, strict=True)
    return np.concatenate(counts), np.concatenate(positions)


@njit(nogil=True, cache=True)
def _buffer_size(k):  # type: ignore[no-untyped-def]
    """Return how many codes a query buffers before it keeps the best k."""
    return 2 * k + 64


@njit(nogil=True, cache=True)
def _select_best(distances, positions, count, k, histogram):  # type: ignore[no-untyped-def]
    """Move the best k buffered codes to the front, in order; return the largest distance kept."""
    histogram[:] = 0
    for i in range(count):
        histogram[distances[i]] += 1
    nearer = 0
    bound = 0
    while nearer + histogram[bound] < k:
        nearer += histogram[bound]
        bound += 1
    ties_left = k - nearer
    end = 0
    for i in range(count):
        distance = distances[i]
        if distance > bound or (distance == bound and ties_left == 0):
            continue
        if distance == bound:
            ties_left -= 1
        distances[end] = distance
        positions[end] = positions[i]
        end += 1
    return bound


@njit(nogil=True, cache=True)
def _search_block(queries, codes, planes, shape_weight, colour_weight, limits, k):  # type: ignore[no-untyped-def]
    """Return as `nearest_flat` for one block; limits are at most the largest distance."""
    distances = np.empty((len(queries), _buffer_size(k)), np.int32)
    positions = np.empty((len(queries), _buffer_size(k)), np.int64)
    counts = np.zeros(len(queries), np.int64)
    bounds = (limits + 1).astype(np.uint64)
    lookups = build_lookups(queries)
    rows, terms, digits = build_weight_terms(shape_weight, colour_weight)
    table = np.empty((TABLE_ROWS, LANES), np.uint64)
    parity = np.empty(LANES, np.uint64)
    numbers = np.zeros((ROW_COUNT, LANES), np.uint64)
    histogram = np.empty(limits.max() + 2, np.int32)
    for tile in range(len(planes)):
        fill_carry_table(planes[tile], table, parity)
        for query in range(len(queries)):
            add_distances(table, lookups, np.uint64(query * 2 * LOOKUPS_PER_HALF), numbers)  # type: ignore[call-arg]
            total = rows[query, 0]
            bound = bounds[query]
            count = counts[query]
            for term in range(1, terms[query]):
                add_and_compare(numbers, total, rows[query, term], digits[query], bound)
                total = np.uint64(TOTAL_ROW)
            for lane in range(LANES):
                near = numbers[NEARER_ROW, lane]
                first = TILE_CODES * tile + 64 * lane
                while near:
                    code = first + np.int64(count_trailing_zeros(near))
                    near &= near - np.uint64(1)
                    if code >= len(codes):
                        break
                    distance = weighted_distance(
                        queries[query], codes[code], shape_weight[query], colour_weight[query]
                    )
                    if distance < bound:
                        distances[query, count] = distance
                        positions[query, count] = code
                        count += 1
                        if count == distances.shape[1]:
                            bound = np.uint64(
                                _select_best(
                                    distances[query], positions[query], count, k, histogram
                                )
                            )
                            count = k
            bounds[query] = bound
            counts[query] = count
    return _sort_buffers(distances, positions, counts, len(codes), k)


@njit(nogil=True, cache=True)
def _sort_buffers(distances, positions, counts, code_count, k):  # type: ignore[no-untyped-def]
    """Return the best k of each query's buffer, in order: counts, and positions side by side."""
    best_counts = np.minimum(counts, k)
    best = np.empty(best_counts.sum(), np.int64)
    end = 0
    for query in range(len(counts)):
        buffered = counts[query]
        # Distance and position in one number: no two are equal, so one sort orders by both.
        keys = (
            distances[query, :buffered].astype(np.int64) * code_count + positions[query, :buffered]
        )
        keys.sort()
        start = end
        end += best_counts[query]
        best[start:end] = keys[: best_counts[query]] % code_count
    return best_counts, best
