"""Split texts into values: colours, sizes, materials, patterns, and numbers of articles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from wearalike.feeds.dialect import UNIT_MARK
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.normalize import MAX_WORD_CHARS, plain_text

MAX_LIST_VALUES = 200
# Longer lists of texts are split each time.
_MAX_REMEMBERED_TEXTS = 16

# Between two values in one text. A comma or slash between digits may belong to a number.
_BREAKS = r"<\s*/?\s*(?:br|hr|p|li|ul|div|tr)\b[^<>]*>|[;|\n]"
_WORD_SEPARATORS = re.compile(rf"{_BREAKS}|(?<!\d),|,(?!\d)|(?<!\d)/|/(?!\d)", re.IGNORECASE)
# "42,5" is one size and "42,44" are two; "S/M" and "44/46" are one.
_SIZE_SEPARATORS = re.compile(
    rf"{_BREAKS}|,(?=\s)|(?<!\d),|,(?!\d)|,(?=\d\d)|(?<=\d,5),|(?<=\s)/(?=\s)", re.IGNORECASE
)
_NUMBER = re.compile(r"\d+")


def split_words(
    texts: Sequence[str | None], warning_counts: Counter[FeedWarning], is_size: bool = False
) -> list[str]:
    """Return the distinct values of texts as plain text, at most MAX_LIST_VALUES of them.

    A text may hold several, separated by a comma, semicolon, bar, slash or break.

    Args:
        texts: The texts; a size may have its unit behind UNIT_MARK.
        warning_counts: Counts MANY_VALUES; this function adds to it.
        is_size: The texts are sizes, in which a slash does not separate.
    """
    if not texts:
        return []
    if len(texts) == 1 and texts[0] and len(texts[0]) <= MAX_LIST_VALUES:
        return [*dict.fromkeys(_split_text(texts[0], is_size))]
    short = tuple(filter(None, texts))
    if len(short) <= _MAX_REMEMBERED_TEXTS and sum(map(len, short)) <= MAX_WORD_CHARS:
        values = _split_short_texts(short, is_size)
    else:
        values = _split_texts(texts[: MAX_LIST_VALUES + 1], is_size)
    if len(texts) > MAX_LIST_VALUES or len(values) > MAX_LIST_VALUES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
    return [*values[:MAX_LIST_VALUES]]


@lru_cache(maxsize=8192)
def _split_short_texts(texts: tuple[str, ...], is_size: bool) -> tuple[str, ...]:
    """Return the distinct values of texts; feeds repeat the same lists."""
    return _split_texts(texts, is_size)


def _split_texts(texts: Sequence[str | None], is_size: bool) -> tuple[str, ...]:
    """Return the distinct values of texts."""
    values: dict[str, None] = {}
    for text in texts:
        if text:
            values.update(dict.fromkeys(_split_text(text[: 4 * MAX_WORD_CHARS], is_size)))
    return tuple(values)


@lru_cache(maxsize=16384)
def _split_text(text: str, is_size: bool) -> tuple[str, ...]:
    """Return the values of a text; feeds repeat the same words."""
    text, _, unit = text.partition(UNIT_MARK)
    if text.isalnum() and text.isascii():
        return (f"{text} {unit}" if unit else text,)
    parts = (_SIZE_SEPARATORS if is_size else _WORD_SEPARATORS).split(text)
    words = (plain_text(part)[:MAX_WORD_CHARS].rstrip() for part in parts if part)
    return tuple(f"{word} {unit}" if unit else word for word in words if word)


def read_gtins(texts: Sequence[str | None], warning_counts: Counter[FeedWarning]) -> list[str]:
    """Return the valid numbers of GS1 in texts, in 14 digits: GTIN, EAN, UPC, ISBN.

    Args:
        texts: Texts of one or several numbers each.
        warning_counts: Counts BAD_GTIN for a text without a valid one; this function adds to it.
    """
    found: dict[str, None] = {}
    for text in texts[:MAX_LIST_VALUES]:
        numbers = _valid_gtins(text or "")
        if not numbers and text and text.strip():
            warning_counts[FeedWarning.BAD_GTIN] += 1
        found.update(dict.fromkeys(numbers))
    return list(found)


@lru_cache(maxsize=4096)
def _valid_gtins(text: str) -> tuple[str, ...]:
    """Return the numbers in a text whose check digit is right."""
    text = text[:MAX_WORD_CHARS].replace("-", "")
    numbers = [*_NUMBER.findall(text), "".join(text.split())]
    return tuple(dict.fromkeys(number.zfill(14) for number in numbers if is_gtin(number)))


def is_gtin(number: str) -> bool:
    """Tell if a number is a GTIN of 8, 12, 13 or 14 digits with a right check digit.

    >>> is_gtin("4006381333931"), is_gtin("0000000000000")
    (True, False)
    """
    if len(number) not in (8, 12, 13, 14) or not number.isascii() or len(set(number)) == 1:
        return False
    digits = [int(digit) for digit in number.zfill(14)]
    return sum(digit * (3, 1)[i % 2] for i, digit in enumerate(digits)) % 10 == 0
