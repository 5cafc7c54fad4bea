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
   counting select keeps the best k and lowers the bound: the distance and position of the k-th.

A query may add an offset to the distances of a kind of codes. Codes are sorted by kind, so a tile
holds one kind or few. The least of their offsets bounds the distances in it from below. Tiles
of small offsets come first; a tile whose least offset reaches the bound is skipped. Ties go to the
earlier code, in whatever order the tiles come.

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
from wearalike.tables import CODE_BITS

# Queries of a block. The table of a tile is filled once for all of them.
_BLOCK_QUERIES = 256
# Buffered (distance, position) pairs of a block: 12 bytes each, 48 MB.
_BLOCK_BUFFER_ENTRIES = 1 << 22


@dataclass(frozen=True, slots=True)
class BitPlaneTiles:
    """Codes laid out for the search.

    Column c of the planes, bit c % 512 of tile c // 512, holds code positions[c].

    Attributes:
        codes: uint64 (n, 4), the codes themselves.
        planes: uint64 (tiles, 256, 8). Row p of a tile holds bit p of its codes.
        positions: int32 (n,). Columns are in the order of kinds, then positions.
        kinds: int32 (n,). The kind of each column, 0 or more.
    """

    codes: NDArray[np.uint64]
    planes: NDArray[np.uint64]
    positions: NDArray[np.int32]
    kinds: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)


def transpose_codes(
    codes: NDArray[np.uint64], kinds: NDArray[np.integer] | None = None
) -> BitPlaneTiles:
    """Return the codes laid out for `nearest_flat`.

    Args:
        codes: uint64 (n, 4), two words of shape and two of colour. The tiles keep a reference, so
            the array must not change.
        kinds: int (n,). The kind of each code; default: all of kind 0.
    """
    codes = np.ascontiguousarray(codes)
    if kinds is None or not len(codes) or kinds.min() == kinds.max():
        kind = 0 if kinds is None or not len(codes) else kinds[0]
        columns = np.arange(len(codes), dtype=np.int32)
        return BitPlaneTiles(
            codes, transpose_bits(codes), columns, np.full(len(codes), kind, np.int32)
        )
    columns = np.argsort(kinds, kind="stable").astype(np.int32)
    return BitPlaneTiles(
        codes, transpose_bits(codes[columns]), columns, kinds[columns].astype(np.int32)
    )


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
        # Queries of one kind share their offsets.
        offsets, group = np.unique(block.kind_offsets, axis=0, return_inverse=True)
        return _search_block(
            np.ascontiguousarray(block.codes),
            (tiles.codes, tiles.planes, tiles.positions, tiles.kinds),
            block.shape_weight,
            block.colour_weight,
            np.minimum(block.limits, block.largest_distances()),
            np.ascontiguousarray(offsets),
            group.ravel(),
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
    """Move the best k buffered codes to the front; return distance and position of the k-th."""
    histogram[:] = 0
    for i in range(count):
        histogram[distances[i]] += 1
    nearer = 0
    bound = 0
    while nearer + histogram[bound] < k:
        nearer += histogram[bound]
        bound += 1
    ties = np.empty(histogram[bound], np.int64)
    tie_count = 0
    for i in range(count):
        if distances[i] == bound:
            ties[tie_count] = positions[i]
            tie_count += 1
    ties.sort()
    last = ties[k - nearer - 1]
    end = 0
    for i in range(count):
        distance = distances[i]
        if distance > bound or (distance == bound and positions[i] > last):
            continue
        distances[end] = distance
        positions[end] = positions[i]
        end += 1
    return bound, last


@njit(nogil=True, cache=True)
def _bound_tiles(kinds, positions, offsets):  # type: ignore[no-untyped-def]
    """Return what bounds the codes of each tile from below.

    Args:
        kinds: int32 (n,). The kind of each column, ascending.
        positions: int32 (n,). The position of each column's code.
        offsets: int32 (g, kinds). The offsets of each group of queries.

    Returns:
        The least offset of a tile's codes for each group, int64 (tiles, g), and the first position
        in each tile, int64 (tiles,).
    """
    tile_count = (len(kinds) + TILE_CODES - 1) // TILE_CODES
    least = np.empty((tile_count, len(offsets)), np.int64)
    first_positions = np.empty(tile_count, np.int64)
    for tile in range(tile_count):
        start = TILE_CODES * tile
        stop = min(start + TILE_CODES, len(kinds))
        first_positions[tile] = positions[start:stop].min()
        for group in range(len(offsets)):
            least[tile, group] = offsets[group, kinds[start]]
        for column in range(start + 1, stop):
            if kinds[column] != kinds[column - 1]:
                for group in range(len(offsets)):
                    offset = np.int64(offsets[group, kinds[column]])
                    least[tile, group] = min(least[tile, group], offset)
    return least, first_positions


@njit(nogil=True, cache=True)
def _search_block(queries, tiles, shape_weight, colour_weight, limits, offsets, group, k):  # type: ignore[no-untyped-def]
    """Return as `nearest_flat` for one block; limits are at most the largest distance.

    Args:
        queries: uint64 (q, 4).
        tiles: codes, planes, positions and kinds of the tiles.
        shape_weight: int32 (q,).
        colour_weight: int32 (q,).
        limits: int64 (q,).
        offsets: int32 (g, kinds). The distinct rows of offsets.
        group: int64 (q,). The row of each query.
        k: Positions a query.
    """
    codes, planes, code_positions, kinds = tiles
    distances = np.empty((len(queries), _buffer_size(k)), np.int32)
    positions = np.empty((len(queries), _buffer_size(k)), np.int64)
    counts = np.zeros(len(queries), np.int64)
    # A code is wanted if its (distance, position) is less than the query's bound.
    bounds = limits + 1
    bound_positions = np.zeros(len(queries), np.int64)
    lookups = build_lookups(queries)
    rows, terms, digits = build_weight_terms(shape_weight, colour_weight)
    table = np.empty((TABLE_ROWS, LANES), np.uint64)
    parity = np.empty(LANES, np.uint64)
    numbers = np.zeros((ROW_COUNT, LANES), np.uint64)
    histogram = np.empty(limits.max() + 2, np.int32)
    least, first_positions = _bound_tiles(kinds, code_positions, offsets)
    nearest_offset = np.empty(len(planes), np.int64)
    for tile in range(len(planes)):
        nearest_offset[tile] = least[tile].min()
    for tile in np.argsort(nearest_offset, kind="mergesort"):
        is_filled = False
        for query in range(len(queries)):
            bound = bounds[query]
            bound_position = bound_positions[query]
            # The planes hold the codes' own distances. Of those at the bound only a code before
            # its position is wanted.
            near_bound = bound - least[tile, group[query]]
            near_bound += first_positions[tile] < bound_position
            if near_bound <= 0:
                continue
            if not is_filled:
                fill_carry_table(planes[tile], table, parity)
                is_filled = True
            largest = CODE_BITS * (np.int64(shape_weight[query]) + colour_weight[query])
            plane_bound = np.uint64(min(near_bound, largest + 1))
            add_distances(table, lookups, np.uint64(query * 2 * LOOKUPS_PER_HALF), numbers)  # type: ignore[call-arg]
            total = rows[query, 0]
            count = counts[query]
            for term in range(1, terms[query]):
                add_and_compare(numbers, total, rows[query, term], digits[query], plane_bound)
                total = np.uint64(TOTAL_ROW)
            for lane in range(LANES):
                near = numbers[NEARER_ROW, lane]
                first = TILE_CODES * tile + 64 * lane
                while near:
                    column = first + np.int64(count_trailing_zeros(near))
                    near &= near - np.uint64(1)
                    if column >= len(codes):
                        break
                    position = np.int64(code_positions[column])
                    distance = np.int64(
                        weighted_distance(
                            queries[query],
                            codes[position],
                            shape_weight[query],
                            colour_weight[query],
                        )
                    ) + np.int64(offsets[group[query], kinds[column]])
                    if distance < bound or (distance == bound and position < bound_position):
                        distances[query, count] = distance
                        positions[query, count] = position
                        count += 1
                        if count == distances.shape[1]:
                            bound, bound_position = _select_best(
                                distances[query], positions[query], count, k, histogram
                            )
                            count = k
            bounds[query] = bound
            bound_positions[query] = bound_position
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
