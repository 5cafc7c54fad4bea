"""The search itself: the best k of many codes by weighted Hamming distance, exactly, compiled by numba.

Codes lie on their side: a plane holds one bit of a tile of 512 codes, so one instruction adds that bit up for all of
them, in columns, as on paper. A tile is searched by a block of queries while it is in cache:

1. Two bits of a half are added to the parity of those before them. What is carried, for each of the 8 ways in which a query
   can flip the three, is tabled once a tile (`_table`): the first of seven levels of adding is looked up, 64 planes a half.
2. Full adders bring the 64 planes down to a number of 8 planes, Hamming's distance (`_count`).
3. The two numbers are multiplied by the query's weights, a shifted sum for every bit of a weight, and compared with the
   query's bound (`_sum`). The planes' answer is one bit a code: is it nearer?
4. The few that are get measured and noted. When a query's notes are full, a counting select keeps the best k and lowers
   the bound. A later code at the bound's distance stands behind those kept, for ties fall to the earlier one.

A pair costs 256 / 512 of a plane's work in place of four popcounts, and no chip needs a popcount of vectors: the adders are
and, or, xor on any, ternary logic with AVX-512. Carry-save adders: Harley and Seal, in Warren, Hacker's Delight, 5-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_LANES = 8  # words of a plane: one vector of 512 bits, two of 256
_TILE_CODES = 64 * _LANES
_HALF_BITS = 128
_ADDER_STEPS = _HALF_BITS // 2  # of adding two bits to the parity
_LOOKUPS_PER_HALF = _ADDER_STEPS + 1  # and the parity of the whole half
_PARITY_ROW = 2 * _ADDER_STEPS * 8  # its row in the table, after those of the steps
_TABLE_ROWS = _PARITY_ROW + 4
# Queries of a block: a tile's table is made once for all of them.
_BLOCK_QUERIES = 256
# Notes that a block may take: 48 MB.
_BLOCK_BUFFER_ENTRIES = 1 << 22
_MAX_WEIGHT = 255

# Rows of the planes that a query calculates with. A number of 8 planes has nothing but zeros for 8 planes around it, so
# that it is multiplied by 2^b by being read b planes earlier.
_NEARER_ROW, _DISTANCE_ROWS, _TOTAL_ROW, _ZERO_ROW, _ROW_COUNT = 0, (16, 40), 64, 80, 96

_WORD = ir.IntType(64)
_PLANE = ir.VectorType(_WORD, _LANES)
_ZEROS_PLANE, _ONES_PLANE = (ir.Constant(_PLANE, [word] * _LANES) for word in (0, -1))


@dataclass(frozen=True, slots=True)
class BitPlaneTiles:
    """Codes laid out for the search. codes: uint64 (n, 4). planes: uint64 (tiles, 256, 8), bit b of plane p of tile t is
    bit p of code 512 t + b."""

    codes: NDArray[np.uint64]
    planes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.codes)


def transpose_codes(codes: NDArray[np.uint64]) -> BitPlaneTiles:
    """codes: uint64 (n, 4), two words of shape and two of colour each; they are kept, and must stay as they are."""
    codes = np.ascontiguousarray(codes)
    return BitPlaneTiles(codes, _transpose_bits(codes))


def nearest_per_query(
    queries: NDArray[np.uint64],
    tiles: BitPlaneTiles,
    shape_weight: NDArray[np.int32],
    colour_weight: NDArray[np.int32],
    limits: NDArray[np.int64],
    k: int,
    threads: int = 1,
) -> list[NDArray[np.int64]]:
    """For every query the positions of the best k codes, int64; see `nearest_flat`."""
    counts, positions = nearest_flat(
        queries, tiles, shape_weight, colour_weight, limits, k, threads
    )
    return np.split(positions, np.cumsum(counts)[:-1]) if len(counts) else []


def nearest_flat(
    queries: NDArray[np.uint64],
    tiles: BitPlaneTiles,
    shape_weight: NDArray[np.int32],
    colour_weight: NDArray[np.int32],
    limits: NDArray[np.int64],
    k: int,
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every query the positions of the best k codes, by weighted distance, then by position; fewer where fewer are within
    the query's limit: how many each has, int64 (q,), and the positions of all, one query's after another's, int64 (sum,).
    The same whatever the number of threads.

    queries: uint64 (q, 4) as the codes. shape_weight, colour_weight: int32 (q,), 0..255. limits: int64 (q,), the largest distance that
    may be returned, -1 for none. It lets go of the GIL. Many queries in one call are faster than one by one.
    """
    if not (len(queries) and len(tiles)):
        return np.zeros(len(queries), np.int64), np.empty(0, np.int64)
    if (
        min(shape_weight.min(), colour_weight.min()) < 0
        or max(shape_weight.max(), colour_weight.max()) > _MAX_WEIGHT
    ):
        raise ValueError(
            f"weights of {shape_weight.min()}..{shape_weight.max()} and {colour_weight.min()}..{colour_weight.max()}: wanted 0..{_MAX_WEIGHT}"
        )
    k = min(k, len(tiles))
    queries, limits = (
        np.ascontiguousarray(queries),
        np.minimum(limits, _HALF_BITS * (shape_weight.astype(np.int64) + colour_weight)),
    )
    share = min(
        _BLOCK_QUERIES,
        max(1, _BLOCK_BUFFER_ENTRIES // _buffer_size(k)),
        -(-len(queries) // threads),
    )

    def block(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        here = slice(start, start + share)
        return _search_block(
            queries[here],
            tiles.codes,
            tiles.planes,
            shape_weight[here],
            colour_weight[here],
            limits[here],
            k,
        )

    starts = range(0, len(queries), share)
    if threads == 1:
        counts, positions = zip(*map(block, starts), strict=True)
    else:
        with ThreadPoolExecutor(threads) as pool:
            counts, positions = zip(*pool.map(block, starts), strict=True)
    return np.concatenate(counts), np.concatenate(positions)


# What numba has no words for


@intrinsic
def _popcount(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of one bits of a uint64."""
    return types.uint64(types.uint64), lambda _, builder, signature, arguments: builder.ctpop(
        arguments[0]
    )


@intrinsic
def _count_trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of zero bits below the lowest one bit of a uint64."""
    return types.uint64(types.uint64), lambda _, builder, signature, arguments: builder.cttz(
        arguments[0], ir.Constant(ir.IntType(1), 0)
    )


def _plane_pointer(builder: ir.IRBuilder, context: Any, kind: Any, array: Any, row: Any) -> Any:
    """A pointer to a plane in a uint64 array of planes."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(
        builder.gep(data, [builder.mul(row, ir.Constant(_WORD, _LANES))]), _PLANE.as_pointer()
    )


def _full_adder(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """(sum, carry) of three bits in every column."""
    return builder.xor(builder.xor(a, b), c), builder.or_(
        builder.and_(a, b), builder.and_(c, builder.or_(a, b))
    )


def _sum_planes(
    builder: ir.IRBuilder, planes: Iterator[tuple[int, Any]], digit_count: int
) -> list[Any]:
    """The sum of (b, plane), each worth 2^b, as a number of so many planes. Few planes wait at a time: they stay in registers."""
    waiting: list[list[Any]] = [[] for _ in range(digit_count + 1)]

    def add(digit: int) -> None:
        total, carry = _full_adder(builder, *waiting[digit])
        waiting[digit] = [total]
        waiting[digit + 1].append(carry)

    for digit, plane in planes:
        waiting[digit].append(plane)
        while len(waiting[digit]) == 3:
            add(digit)
            digit += 1
    for digit in range(digit_count):
        while len(waiting[digit]) > 1:
            waiting[digit] += [_ZEROS_PLANE] * (3 - len(waiting[digit]))
            add(digit)
    return [plane for (plane,) in waiting[:digit_count]]


@intrinsic
def _add_distances(typing_context, table, lookups, first, numbers):  # type: ignore[no-untyped-def]
    """Adds up the rows of the table that a query looks up, lookups[first:], to its two distances in `numbers`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = context.make_array(signature.args[1])(context, builder, arguments[1]).data

        def planes(half: int) -> Iterator[tuple[int, Any]]:
            for step in range(_LOOKUPS_PER_HALF):
                at = builder.add(arguments[2], ir.Constant(_WORD, half * _LOOKUPS_PER_HALF + step))
                row = builder.zext(builder.load(builder.gep(rows, [at])), _WORD)
                plane = builder.load(
                    _plane_pointer(builder, context, signature.args[0], arguments[0], row), align=8
                )
                yield int(step < _ADDER_STEPS), plane

        for half in (0, 1):
            for digit, plane in enumerate(_sum_planes(builder, planes(half), 8)):
                row = ir.Constant(_WORD, _DISTANCE_ROWS[half] + digit)
                builder.store(
                    plane,
                    _plane_pointer(builder, context, signature.args[3], arguments[3], row),
                    align=8,
                )

    return types.void(table, lookups, types.uint64, numbers), generate


@intrinsic
def _add_and_compare(typing_context, numbers, a, b, digits, bound):  # type: ignore[no-untyped-def]
    """Adds the numbers in rows a and b into _TOTAL, and says in _NEAR where they are less than the bound."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes, a, b, digits, bound = arguments

        def pointer(first: Any) -> Any:
            return _plane_pointer(
                builder, context, signature.args[0], planes, builder.add(first, digit)
            )

        before, loop, after = (
            builder.block,
            builder.append_basic_block(),
            builder.append_basic_block(),
        )
        builder.branch(loop)
        builder.position_at_end(loop)
        digit, carry, near = builder.phi(_WORD), builder.phi(_PLANE), builder.phi(_PLANE)
        total, carried = _full_adder(
            builder, builder.load(pointer(a), align=8), builder.load(pointer(b), align=8), carry
        )
        builder.store(total, pointer(ir.Constant(_WORD, _TOTAL_ROW)), align=8)
        # From the lowest digit up: less where the digit is less, or is equal and what is below it is less.
        bit = builder.sext(builder.trunc(builder.lshr(bound, digit), ir.IntType(1)), _WORD)
        word = builder.insert_element(_ZEROS_PLANE, bit, ir.Constant(ir.IntType(32), 0))
        bits = builder.shuffle_vector(
            word, _ZEROS_PLANE, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        )
        is_zero = builder.xor(total, _ONES_PLANE)
        nearer = builder.or_(
            builder.and_(is_zero, bits), builder.and_(near, builder.or_(is_zero, bits))
        )
        following = builder.add(digit, ir.Constant(_WORD, 1))
        for phi, start, onward in (
            (digit, ir.Constant(_WORD, 0), following),
            (carry, _ZEROS_PLANE, carried),
            (near, _ZEROS_PLANE, nearer),
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(onward, loop)
        builder.cbranch(builder.icmp_unsigned("<", following, digits), loop, after)
        builder.position_at_end(after)
        builder.store(
            nearer,
            _plane_pointer(
                builder, context, signature.args[0], planes, ir.Constant(_WORD, _NEARER_ROW)
            ),
            align=8,
        )

    return types.void(numbers, *[types.uint64] * 4), generate


# Codes on their side


@njit(nogil=True, cache=True)
def _transpose_bits(codes):  # type: ignore[no-untyped-def]
    """Squares of 64 codes by 64 bits are turned over, halves of halves changing places: Hacker's Delight, 7-3."""
    planes = np.zeros(((len(codes) + _TILE_CODES - 1) // _TILE_CODES, 256, _LANES), np.uint64)
    square = np.empty(64, np.uint64)
    for first in range(0, len(codes), 64):
        tile, lane = first // _TILE_CODES, first % _TILE_CODES // 64
        count = min(64, len(codes) - first)
        for word in range(4):
            square[count:] = 0
            for i in range(count):
                square[i] = codes[first + i, word]
            width, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
            while width:
                for i in range(64):
                    if not i & width:
                        swapped = ((square[i] >> width) ^ square[i + width]) & mask
                        square[i + width] ^= swapped
                        square[i] ^= swapped << width
                width >>= np.uint64(1)
                mask ^= mask << width
            for i in range(64):
                planes[tile, 64 * word + i, lane] = square[i]
    return planes


@njit(nogil=True, cache=True)
def _fill_carry_table(planes, table, parity):  # type: ignore[no-untyped-def]
    """Row 8 (64 half + step) + flips: what is carried when the step adds its two bits to the parity, bits of `flips` flipped."""
    nothing = np.zeros(_LANES, np.uint64)
    for half in range(2):
        first = half * _HALF_BITS
        parity[:] = planes[first]
        for step in range(_ADDER_STEPS):
            a, b = (
                planes[first + 2 * step + 1],
                planes[first + 2 * step + 2] if step + 1 < _ADDER_STEPS else nothing,
            )
            for flips in range(8):
                row = 8 * (half * _ADDER_STEPS + step) + flips
                x, y, z = -np.uint64(flips & 1), -np.uint64(flips >> 1 & 1), -np.uint64(flips >> 2)
                for lane in range(_LANES):
                    p, q, r = parity[lane] ^ x, a[lane] ^ y, b[lane] ^ z
                    table[row, lane] = (p & q) | (r & (p | q))
            for lane in range(_LANES):
                parity[lane] ^= a[lane] ^ b[lane]
        for lane in range(_LANES):
            table[_PARITY_ROW + 2 * half, lane], table[_PARITY_ROW + 2 * half + 1, lane] = (
                parity[lane],
                ~parity[lane],
            )


@njit(nogil=True, cache=True)
def _build_lookups(queries):  # type: ignore[no-untyped-def]
    """The rows of a tile's table that each query adds up, uint16 (q * 2 * 65,)."""
    rows = np.empty((len(queries), 2, _LOOKUPS_PER_HALF), np.uint16)
    one = np.uint64(1)
    for query in range(len(queries)):
        for half in range(2):
            low, high = queries[query, 2 * half], queries[query, 2 * half + 1]
            parity = low & one
            for step in range(_ADDER_STEPS):
                # The half is shifted down by two bits a step, so that the step's are always bits 1 and 2.
                a, b = low >> one & one, low >> np.uint64(2) & one
                rows[query, half, step] = 8 * (half * _ADDER_STEPS + step) + (
                    parity | a << one | b << np.uint64(2)
                )
                parity ^= a ^ b
                low, high = low >> np.uint64(2) | high << np.uint64(62), high >> np.uint64(2)
            rows[query, half, _ADDER_STEPS] = _PARITY_ROW + 2 * half + parity
    return rows.ravel()


@njit(nogil=True, cache=True)
def _weight_terms(shape_weight, colour_weight):  # type: ignore[no-untyped-def]
    """For each query the rows of the numbers whose sum is the weighted distance, two at least; how many; its number of digits."""
    rows, counts = (
        np.full((len(shape_weight), 16), _ZERO_ROW, np.uint64),
        np.full(len(shape_weight), 2),
    )
    digits = np.ones(len(shape_weight), np.uint64)
    for query in range(len(shape_weight)):
        count = 0
        for half in range(2):
            weight = colour_weight[query] if half else shape_weight[query]
            for b in range(8):
                if weight >> b & 1:
                    rows[query, count] = _DISTANCE_ROWS[half] - b
                    count += 1
        counts[query] = max(2, count)
        while (_HALF_BITS * (np.int64(shape_weight[query]) + colour_weight[query])) >> digits[
            query
        ]:
            digits[query] += np.uint64(1)
    return rows, counts, digits


# The search


@njit(nogil=True, cache=True)
def _buffer_size(k):  # type: ignore[no-untyped-def]
    """How many codes a query notes down before it keeps the best k."""
    return 2 * k + 64


@njit(nogil=True, cache=True)
def _select_best(distances, positions, count, k, histogram):  # type: ignore[no-untyped-def]
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
        far = distances[note]
        if far > bound or (far == bound and room == 0):
            continue
        if far == bound:
            room -= 1
        distances[kept], positions[kept] = far, positions[note]
        kept += 1
    return bound


@njit(nogil=True, cache=True)
def shape_colour_distances(query, code):  # type: ignore[no-untyped-def]
    """The distances of shape and of colour of two codes, uint64 (4,) each. For compiled callers."""
    shape = _popcount(query[0] ^ code[0]) + _popcount(query[1] ^ code[1])  # type: ignore[call-arg, var-annotated]
    return shape, _popcount(query[2] ^ code[2]) + _popcount(query[3] ^ code[3])


@njit(nogil=True, cache=True)
def weighted_distance(query, code, shape_weight, colour_weight):  # type: ignore[no-untyped-def]
    """Their weighted distance. For compiled callers."""
    shape, colour = shape_colour_distances(query, code)
    return np.uint64(shape_weight) * shape + np.uint64(colour_weight) * colour


@njit(nogil=True, cache=True)
def _search_block(queries, codes, planes, shape_weight, colour_weight, limits, k):  # type: ignore[no-untyped-def]
    """How many codes are each query's best, int64 (q,), and their positions, one query's after another's."""
    distances, positions = (
        np.empty((len(queries), _buffer_size(k)), np.int32),
        np.empty((len(queries), _buffer_size(k)), np.int64),
    )
    counts, bounds = np.zeros(len(queries), np.int64), (limits + 1).astype(np.uint64)
    lookups, (rows, terms, digits) = (
        _build_lookups(queries),
        _weight_terms(shape_weight, colour_weight),
    )
    table, parity = np.empty((_TABLE_ROWS, _LANES), np.uint64), np.empty(_LANES, np.uint64)
    numbers, histogram = (
        np.zeros((_ROW_COUNT, _LANES), np.uint64),
        np.empty(limits.max() + 2, np.int32),
    )
    for tile in range(len(planes)):
        _fill_carry_table(planes[tile], table, parity)
        for query in range(len(queries)):
            _add_distances(table, lookups, np.uint64(query * 2 * _LOOKUPS_PER_HALF), numbers)  # type: ignore[call-arg]
            total, bound, count = rows[query, 0], bounds[query], counts[query]
            for term in range(1, terms[query]):
                _add_and_compare(numbers, total, rows[query, term], digits[query], bound)
                total = np.uint64(_TOTAL_ROW)
            for lane in range(_LANES):
                near, first = numbers[_NEARER_ROW, lane], _TILE_CODES * tile + 64 * lane
                while near:
                    code = first + np.int64(_count_trailing_zeros(near))
                    near &= near - np.uint64(1)
                    if code >= len(codes):
                        break
                    far = weighted_distance(
                        queries[query], codes[code], shape_weight[query], colour_weight[query]
                    )
                    if far < bound:
                        distances[query, count], positions[query, count] = far, code
                        count += 1
                        if count == distances.shape[1]:
                            bound = np.uint64(
                                _select_best(
                                    distances[query], positions[query], count, k, histogram
                                )
                            )
                            count = k
            bounds[query], counts[query] = bound, count
    found, end = np.empty(np.minimum(counts, k).sum(), np.int64), 0
    for query in range(len(queries)):
        # Distance and position in one number: no two are equal, and sorting them sorts by both.
        keys = (
            distances[query, : counts[query]].astype(np.int64) * len(codes)
            + positions[query, : counts[query]]
        )
        keys.sort()
        counts[query] = min(k, counts[query])
        found[end : end + counts[query]] = keys[: counts[query]] % len(codes)
        end += counts[query]
    return counts, found
