"""Arithmetic on bit planes, written in LLVM: what numba has no words for.

A number of a tile is a row of planes: plane b holds bit b of the number of each of the tile's 512
codes. Each function adds such numbers column by column with full adders, as on paper.
Carry-save adders: Harley and Seal, in Warren, Hacker's Delight, 5-1.

Numba does not notice a change of this file: after one, delete the compiled `__pycache__/*.nbi`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wearalike.tables import CODE_BITS

LANES = 8  # words of a plane: one vector of 512 bits, two of 256
ADDER_STEPS = CODE_BITS // 2  # each adds two bits of a half to the parity
LOOKUPS_PER_HALF = ADDER_STEPS + 1  # and the parity of the whole half

# Rows of the planes that a query computes with. A distance has 8 planes and 8 planes of zeros on
# either side, so reading it from b planes earlier multiplies it by 2^b.
NEARER_ROW = 0
DISTANCE_ROWS = (16, 40)
TOTAL_ROW = 64
ZERO_ROW = 80
ROW_COUNT = 96
_DISTANCE_DIGITS = 8  # 0..128

_WORD = ir.IntType(64)
_PLANE = ir.VectorType(_WORD, LANES)
_ZEROS_PLANE = ir.Constant(_PLANE, [0] * LANES)
_ONES_PLANE = ir.Constant(_PLANE, [-1] * LANES)


@intrinsic
def count_trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """Return the number of zero bits below the lowest one bit of a uint64."""
    return types.uint64(types.uint64), lambda _, builder, signature, arguments: builder.cttz(
        arguments[0], ir.Constant(ir.IntType(1), 0)
    )


@intrinsic
def add_distances(typing_context, table, lookups, first, numbers):  # type: ignore[no-untyped-def]
    """Write a query's distances of shape and of colour into DISTANCE_ROWS of `numbers`.

    They are the sums of the rows of `table` that lookups[first:] names.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = context.make_array(signature.args[1])(context, builder, arguments[1]).data

        def planes(half: int) -> Iterator[tuple[int, Any]]:
            for step in range(LOOKUPS_PER_HALF):
                position = ir.Constant(_WORD, half * LOOKUPS_PER_HALF + step)
                address = builder.gep(rows, [builder.add(arguments[2], position)])
                row = builder.zext(builder.load(address), _WORD)
                pointer = _plane_pointer(builder, context, signature.args[0], arguments[0], row)
                # A carry is worth 2, the parity 1.
                yield int(step < ADDER_STEPS), builder.load(pointer, align=8)

        for half in (0, 1):
            for digit, plane in enumerate(_sum_planes(builder, planes(half), _DISTANCE_DIGITS)):
                row = ir.Constant(_WORD, DISTANCE_ROWS[half] + digit)
                pointer = _plane_pointer(builder, context, signature.args[3], arguments[3], row)
                builder.store(plane, pointer, align=8)

    return types.void(table, lookups, types.uint64, numbers), generate


@intrinsic
def add_and_compare(typing_context, numbers, a, b, digits, bound):  # type: ignore[no-untyped-def]
    """Add the numbers at rows a and b into TOTAL_ROW, and mark in NEARER_ROW those below bound."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes, a, b, digits, bound = arguments

        def pointer(first: Any) -> Any:
            row = builder.add(first, digit)
            return _plane_pointer(builder, context, signature.args[0], planes, row)

        before = builder.block
        loop = builder.append_basic_block()
        after = builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        digit = builder.phi(_WORD)
        carry = builder.phi(_PLANE)
        near = builder.phi(_PLANE)
        total, carried = _full_adder(
            builder, builder.load(pointer(a), align=8), builder.load(pointer(b), align=8), carry
        )
        builder.store(total, pointer(ir.Constant(_WORD, TOTAL_ROW)), align=8)
        # From the lowest digit up: less where this digit is less, or is equal and the digits
        # below it are less.
        bit = builder.sext(builder.trunc(builder.lshr(bound, digit), ir.IntType(1)), _WORD)
        bits = _broadcast(builder, bit)
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
        row = ir.Constant(_WORD, NEARER_ROW)
        builder.store(
            nearer, _plane_pointer(builder, context, signature.args[0], planes, row), align=8
        )

    return types.void(numbers, *[types.uint64] * 4), generate


def _broadcast(builder: ir.IRBuilder, word: Any) -> Any:
    """Return a plane whose words are all `word`."""
    first = builder.insert_element(_ZEROS_PLANE, word, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, _ZEROS_PLANE, mask)


def _plane_pointer(builder: ir.IRBuilder, context: Any, kind: Any, array: Any, row: Any) -> Any:
    """Return a pointer to a plane in a uint64 array of planes."""
    data = context.make_array(kind)(context, builder, array).data
    address = builder.gep(data, [builder.mul(row, ir.Constant(_WORD, LANES))])
    return builder.bitcast(address, _PLANE.as_pointer())


def _full_adder(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Return (sum, carry) of three bits in every column."""
    total = builder.xor(builder.xor(a, b), c)
    carry = builder.or_(builder.and_(a, b), builder.and_(c, builder.or_(a, b)))
    return total, carry


def _sum_planes(
    builder: ir.IRBuilder, planes: Iterator[tuple[int, Any]], digit_count: int
) -> list[Any]:
    """Return the sum of (b, plane), each worth 2^b, as a number of `digit_count` planes.

    Few planes wait at a time, so they stay in registers.
    """
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
