"""One code for a product that several pictures show: a vote of the pictures on each bit.

A code of one picture is also of that picture's pose, crop and light. A bit that most pictures agree
on is of the product. docs/evidence/quality.md has the figures.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Pictures of a product that vote, the best ones.
MAX_VOTING_IMAGES = 8
# Rows whose bits are in memory at a time: 256 bytes each.
_ROWS_PER_BLOCK = 262_144
# An odd number that spreads small integers over 64 bits (Knuth's multiplicative hash).
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def voting_rows(ranked: pa.Table, images: pa.Table, detail_images: pa.Array) -> NDArray[np.int64]:
    """Return the rows whose codes vote for their product's code.

    They are the best row of each image of a product that is as good a choice as its best row. An
    image that shows a detail has no vote, nor has one that other products show than those that
    show the best: among pictures shared by several colours nobody knows which is whose.

    Args:
        ranked: Rows with product_id, image_id and is_second_choice, the best of each product first.
        images: product_id and image_id of tables.IMAGES.
        detail_images: Ids of images that show a detail.

    Returns:
        Positions in `ranked`, ascending; the best row of each product is always one of them.
    """
    products = _numbers(ranked["product_id"])
    starts = _first_positions(products)
    best_of_row = starts[np.cumsum(np.isin(np.arange(len(products)), starts)) - 1]
    image_numbers = _numbers(ranked["image_id"])
    audience = _product_sets(images)[
        pc.index_in(ranked["image_id"], pc.unique(images["image_id"])).to_numpy()
    ]
    is_second = ranked["is_second_choice"].to_numpy(zero_copy_only=False).astype(bool)
    is_detail = pc.is_in(ranked["image_id"], detail_images).to_numpy(zero_copy_only=False)
    may_vote = (
        (audience == audience[best_of_row])
        & (is_second == is_second[best_of_row])
        & ~is_detail.astype(bool)
    )
    may_vote[starts] = True
    rows = np.flatnonzero(may_vote)
    pairs = np.stack([products[rows], image_numbers[rows]], axis=1)
    rows = rows[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]
    first = _first_positions(products[rows])
    turn = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    return rows[turn < MAX_VOTING_IMAGES]


def vote_codes(product_ids: pa.ChunkedArray, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one code a product: of each bit what most of its rows have, in a tie the first row's.

    Args:
        product_ids: Product of each row; rows of one product are neighbours, the best first.
        codes: uint8 (n, bytes).

    Returns:
        uint8 (products, bytes), in the order of the rows.
    """
    starts = _first_positions(_numbers(product_ids))
    counts = np.diff(np.r_[starts, len(codes)])
    voted = codes[starts].copy()
    # One or two rows cannot outvote the first.
    asked = np.flatnonzero(counts > 2)
    block_numbers = np.cumsum(counts[asked]) // _ROWS_PER_BLOCK
    for block in np.split(asked, np.flatnonzero(np.diff(block_numbers)) + 1):
        if len(block):
            voted[block] = _vote_block(codes, starts[block], counts[block])
    return voted


def _vote_block(
    codes: NDArray[np.uint8], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the voted codes of some products, uint8 (products, bytes)."""
    offsets = np.r_[0, np.cumsum(counts)[:-1]]
    rows = np.repeat(starts - offsets, counts) + np.arange(counts.sum())
    bits = np.unpackbits(codes[rows], axis=1)
    # Twice the votes for 1, against all votes; the first row decides a tie.
    balance = 2 * np.add.reduceat(bits, offsets, axis=0, dtype=np.int16) - counts[:, None]
    return np.packbits(np.where(balance == 0, bits[offsets], balance > 0), axis=1)


def _first_positions(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each run of equal numbers begins."""
    if not len(numbers):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])


def _numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for each value, equal for equal values."""
    found = pc.index_in(column, pc.unique(column))
    return found.to_numpy().astype(np.int64)


def _product_sets(images: pa.Table) -> NDArray[np.uint64]:
    """Return a number for each distinct image in turn, equal where the same products show it."""
    pairs = images.select(["product_id", "image_id"]).group_by(["product_id", "image_id"])
    distinct = pairs.aggregate([])
    at = pc.index_in(distinct["image_id"], pc.unique(images["image_id"])).to_numpy()
    sums = np.zeros(len(pc.unique(images["image_id"])), np.uint64)
    hashes = (_numbers(distinct["product_id"]).astype(np.uint64) + np.uint64(1)) * _HASH_FACTOR
    np.add.at(sums, at, hashes ^ (hashes >> np.uint64(29)))
    return sums
