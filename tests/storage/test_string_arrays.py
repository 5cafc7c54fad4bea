"""Texts answer as an object array of the same texts does."""

import bisect
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike.storage.string_arrays import Texts, intern_texts, unpack_hex

WORDS = st.text(max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(WORDS, min_size=1, max_size=30, unique=True),
    asked=st.lists(WORDS, max_size=8),
    seed=st.integers(0, 2**32 - 1),
)
def test_they_are_asked_as_an_object_array_is(words, asked, seed):
    words = sorted(words)
    cut = seed % len(words)
    texts = Texts(pa.chunked_array([words[:cut], words[cut:]], pa.string()))
    objects = np.array(words, dtype=object)
    rows = np.random.default_rng(seed).integers(0, len(words), 9)
    assert len(texts) == len(objects) and list(texts) == texts.tolist() == words
    for at in (rows, rows % 2 == 0, slice(2, 5), rows[:0]):
        at = at if not isinstance(at, np.ndarray) or at.dtype != bool else np.resize(at, len(words))
        assert texts[at].dtype == object and texts[at].tolist() == objects[at].tolist()
    assert [texts[int(i)] for i in rows] == [texts[i] for i in rows] == objects[
        rows
    ].tolist() and texts[-1] == objects[-1]
    for text in [*asked, *words]:
        assert (texts == text).tolist() == [word == text for word in words]
        assert np.searchsorted(texts, text) == bisect.bisect_left(words, text)
    assert np.searchsorted(texts, np.array(asked, dtype=object)).tolist() == [
        bisect.bisect_left(words, text) for text in asked
    ]
    assert np.asarray(texts).tolist() == words and (np.array(texts) == texts).all()
    assert (
        pa.array(texts).equals(pa.array(words, pa.string()))
        and pa.array(texts, pa.large_string()).to_pylist() == words
    )


@given(words=st.lists(st.none() | st.sampled_from(["shoes", "bags", ""]), max_size=20))
def test_few_texts_are_few_objects(words):
    column = intern_texts(pa.chunked_array([words[:3], words[3:]], pa.string()))
    assert column.dtype == object and column.tolist() == words
    assert len({id(word) for word in column}) == len(set(words))


def test_they_take_little_room():
    words = [f"shop:{i:09}" for i in range(10_000)]
    texts, column = Texts(pa.chunked_array([words])), pa.array(words)
    assert (
        pa.array(texts).nbytes
        <= 20 * len(words)
        < column.nbytes + sys.getsizeof(words[0]) * len(words)
    )
    with pytest.raises(ValueError, match="wanted 'left'"):
        np.searchsorted(texts, "a", side="right")


@given(st.lists(st.binary(min_size=3, max_size=3), max_size=9), st.integers(0, 9))
def test_texts_of_hex_digits_are_their_bytes(contents, start):
    texts = pa.array([content.hex() for content in contents], pa.string())
    found = unpack_hex(texts.slice(start), 3)
    assert found.dtype == np.uint8 and found.shape[1] == 3
    assert [row.tobytes() for row in found] == contents[start:]


@pytest.mark.parametrize("text", [None, "", "00ff1", "00ff122", "00FF12", "0x0f12", "00ff1é"])
def test_texts_that_write_no_such_bytes_are_not_unpacked(text):
    assert unpack_hex(pa.array(["00ff12", text], pa.string()), 3) is None
