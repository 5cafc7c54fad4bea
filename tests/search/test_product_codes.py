"""One code from several pictures of a product: which pictures vote, and what the vote gives."""

import numpy as np
import pyarrow as pa
import pytest

from wearalike.search import product_codes

RNG = np.random.default_rng(7)


def ranked(*rows) -> pa.Table:
    names = ("product_id", "image_id", "is_second_choice")
    return pa.table(
        {
            n: pa.chunked_array([list(c)])
            for n, c in zip(names, zip(*rows, strict=True), strict=True)
        }
    )


def images(*pairs) -> pa.Table:
    return pa.table({"product_id": [p for p, _ in pairs], "image_id": [i for _, i in pairs]})


def by_hand(rows: list[np.ndarray]) -> np.ndarray:
    """The vote, a bit at a time."""
    bits = np.unpackbits(np.stack(rows), axis=1).astype(int)
    voted = []
    for column in bits.T:
        ones = int(column.sum())
        is_tie = 2 * ones == len(column)
        voted.append(column[0] if is_tie else int(2 * ones > len(column)))
    return np.packbits(np.array(voted, np.uint8))


@pytest.mark.parametrize("block", [1, 5, 10_000])
def test_each_bit_is_what_most_pictures_have_and_the_best_one_decides_a_tie(block, monkeypatch):
    monkeypatch.setattr(product_codes, "_ROWS_PER_BLOCK", block)
    counts = [1, 2, 3, 4, 8, 1, 5]
    codes = RNG.integers(0, 256, (sum(counts), 32), dtype=np.uint8)
    ids = pa.chunked_array([[f"p{n}" for n, c in enumerate(counts) for _ in range(c)]])
    voted = product_codes.vote_codes(ids, codes)
    parts = np.split(codes, np.cumsum(counts)[:-1])
    np.testing.assert_array_equal(voted, [by_hand(list(part)) for part in parts])
    # One picture, or two, are as if nobody had voted.
    np.testing.assert_array_equal(voted[[0, 1, 5]], codes[[0, 1, 18]])
    assert (voted[2] != parts[2][0]).any()


def test_an_odd_picture_is_outvoted():
    own = RNG.integers(0, 256, 32, dtype=np.uint8)
    ids = pa.chunked_array([["p"] * 3])
    np.testing.assert_array_equal(product_codes.vote_codes(ids, np.stack([~own, own, own])), [own])


def test_of_each_picture_one_item_votes_and_details_and_second_choices_do_not():
    table = ranked(
        ("a", "front", False),
        ("a", "front", False),  # a smaller item of the same picture
        ("a", "side", False),
        ("a", "seam", False),
        ("a", "busy", True),
        ("b", "seam", False),  # all that there is
        ("b", "seam", False),
    )
    shown = images(*(("a", i) for i in ("front", "side", "seam-a", "busy")), ("a", "seam"))
    shown = pa.concat_tables([shown, images(("b", "seam"))])
    voting = product_codes.voting_rows(table, shown, pa.array(["seam"]))
    assert voting.tolist() == [0, 2, 5]


def test_pictures_that_other_products_show_have_no_vote_but_sizes_share_theirs():
    rows, pairs = [], []
    for size in ("red-s", "red-m"):
        pairs += [(size, "red-front"), (size, "red-side"), (size, "all-colours")]
        rows += [(size, i, False) for i in ("red-front", "red-side", "all-colours")]
    pairs.append(("blue-s", "all-colours"))
    voting = product_codes.voting_rows(ranked(*rows), images(*pairs), pa.array([], pa.string()))
    assert voting.tolist() == [0, 1, 3, 4]


def test_no_more_than_the_best_pictures_vote():
    rows = [("a", f"i{n}", False) for n in range(product_codes.MAX_VOTING_IMAGES + 3)]
    voting = product_codes.voting_rows(
        ranked(*rows), images(*((p, i) for p, i, _ in rows)), pa.array([], pa.string())
    )
    assert voting.tolist() == list(range(product_codes.MAX_VOTING_IMAGES))


def test_no_products_have_no_codes():
    empty = ranked(("a", "i", False)).slice(0, 0)
    assert not len(product_codes.voting_rows(empty, images(("a", "i")), pa.array([], pa.string())))
    assert product_codes.vote_codes(empty["product_id"], np.empty((0, 32), np.uint8)).shape == (
        0,
        32,
    )
