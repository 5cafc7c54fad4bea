"""Codes turned into bit planes, and the table from which a query looks up its first sums.

A half of a code has 128 bits. They are added two at a time to the parity of those before them, in
64 steps. A step's carry depends on three planes (parity and two bits) and on which of the three
the query flips: 8 ways. `fill_carry_table` computes all of them once a tile; `build_lookups` says
which of them each query wants.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from wearalike.search.kernels.plane_adders import (
    ADDER_STEPS,
    DISTANCE_ROWS,
    LANES,
    LOOKUPS_PER_HALF,
    ZERO_ROW,
)
from wearalike.tables import CODE_BITS

TILE_CODES = 64 * LANES
_PARITY_ROW = 2 * ADDER_STEPS * 8  # its row in the table, after those of the steps
TABLE_ROWS = _PARITY_ROW + 4


@njit(nogil=True, cache=True)
def transpose_bits(codes):  # type: ignore[no-untyped-def]
    """Return the planes of codes, uint64 (n, 4), as uint64 (tiles, 256, 8).

    Squares of 64 codes by 64 bits are transposed, halves of halves changing places: Warren,
    Hacker's Delight, 7-3.
    """
    planes = np.zeros(
        ((len(codes) + TILE_CODES - 1) // TILE_CODES, 2 * CODE_BITS, LANES), np.uint64
    )
    square = np.empty(64, np.uint64)
    for first in range(0, len(codes), 64):
        tile = first // TILE_CODES
        lane = first % TILE_CODES // 64
        count = min(64, len(codes) - first)
        for word in range(4):
            square[count:] = 0
            for i in range(count):
                square[i] = codes[first + i, word]
            width = np.uint64(32)
            mask = np.uint64(0xFFFFFFFF)
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
def fill_carry_table(planes, table, parity):  # type: ignore[no-untyped-def]
    """Fill the table of one tile; `parity` is a plane to work in.

    Row 8 * (64 * half + step) + flips holds the carry of the step. Bit 0 of `flips` flips the
    parity, bits 1 and 2 flip the step's two bits.
    """
    nothing = np.zeros(LANES, np.uint64)
    for half in range(2):
        first = half * CODE_BITS
        parity[:] = planes[first]
        for step in range(ADDER_STEPS):
            a = planes[first + 2 * step + 1]
            b = planes[first + 2 * step + 2] if step + 1 < ADDER_STEPS else nothing
            for flips in range(8):
                row = 8 * (half * ADDER_STEPS + step) + flips
                x = -np.uint64(flips & 1)
                y = -np.uint64(flips >> 1 & 1)
                z = -np.uint64(flips >> 2)
                for lane in range(LANES):
                    p = parity[lane] ^ x
                    q = a[lane] ^ y
                    r = b[lane] ^ z
                    table[row, lane] = (p & q) | (r & (p | q))
            for lane in range(LANES):
                parity[lane] ^= a[lane] ^ b[lane]
        for lane in range(LANES):
            table[_PARITY_ROW + 2 * half, lane] = parity[lane]
            table[_PARITY_ROW + 2 * half + 1, lane] = ~parity[lane]


@njit(nogil=True, cache=True)
def build_lookups(queries):  # type: ignore[no-untyped-def]
    """Return the rows of a tile's table that each query adds up, uint16 (q * 2 * 65,)."""
    rows = np.empty((len(queries), 2, LOOKUPS_PER_HALF), np.uint16)
    one = np.uint64(1)
    for query in range(len(queries)):
        for half in range(2):
            low = queries[query, 2 * half]
            high = queries[query, 2 * half + 1]
            parity = low & one
            for step in range(ADDER_STEPS):
                # The half is shifted down by two bits a step: the step's are always bits 1 and 2.
                a = low >> one & one
                b = low >> np.uint64(2) & one
                flips = parity | a << one | b << np.uint64(2)
                rows[query, half, step] = 8 * (half * ADDER_STEPS + step) + flips
                parity ^= a ^ b
                low = low >> np.uint64(2) | high << np.uint64(62)
                high = high >> np.uint64(2)
            rows[query, half, ADDER_STEPS] = _PARITY_ROW + 2 * half + parity
    return rows.ravel()


@njit(nogil=True, cache=True)
def build_weight_terms(shape_weight, colour_weight):  # type: ignore[no-untyped-def]
    """Return how each query multiplies its two distances by its weights.

    Returns:
        Rows of the numbers whose sum is the weighted distance, uint64 (q, 16); how many of them,
        at least 2, int64 (q,); digits of the largest weighted distance, uint64 (q,).
    """
    rows = np.full((len(shape_weight), 16), ZERO_ROW, np.uint64)
    counts = np.full(len(shape_weight), 2)
    digits = np.ones(len(shape_weight), np.uint64)
    for query in range(len(shape_weight)):
        count = 0
        for half in range(2):
            weight = colour_weight[query] if half else shape_weight[query]
            for b in range(8):
                if weight >> b & 1:
                    rows[query, count] = DISTANCE_ROWS[half] - b
                    count += 1
        counts[query] = max(2, count)
        largest = CODE_BITS * (np.int64(shape_weight[query]) + colour_weight[query])
        while largest >> digits[query]:
            digits[query] += np.uint64(1)
    return rows, counts, digits
