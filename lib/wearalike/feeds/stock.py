"""Tell if an offer can be bought, by all that its feed says of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date

from wearalike.feeds.dates import parse_limit
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.tables import Availability

TRUE_WORDS = frozenset(("true", "1", "yes", "да", "так"))
FALSE_WORDS = frozenset(("false", "0", "no"))
# Meta's words for an item that is not shown.
_HIDDEN_WORDS = frozenset(("archived", "hidden", "staging", "whitelist_only", "deleted"))
_NUMBER = re.compile(r"\D{0,12}?(?P<number>-?\d{1,9})(?:[.,]\d+)?\s?\+?[^\d]{0,12}")


def is_true(text: str | None) -> bool:
    """Tell if a text says yes."""
    return (text or "").strip().casefold() in TRUE_WORDS


def is_false(text: str | None) -> bool:
    """Tell if a text says no as a truth value, not in words."""
    return (text or "").strip().casefold() in FALSE_WORDS


def parse_stock(text: str) -> int | None:
    """Return the number of pieces that a text names, or None.

    >>> parse_stock("> 10 шт."), parse_stock("много")
    (10, None)
    """
    match = _NUMBER.fullmatch(text.strip())
    return int(match["number"]) if match else None


def combine_stock(
    said: Availability | None,
    stocks: Sequence[str | None],
    vocabulary: Vocabulary,
) -> Availability | None:
    """Return the availability that words and numbers together tell.

    Goods that are in stock by words and have no piece are out of stock. Numbers alone decide where
    no word does. Goods that are ordered for the buyer need no stock.

    Args:
        said: The availability that words say, None for nothing.
        stocks: Texts of elements that hold a number of pieces.
        vocabulary: Reads words that stand for a number; counts those that it does not know.
    """
    counts: list[int] = []
    for text in stocks:
        if not text or not text.strip():
            continue
        number = parse_stock(text)
        if number is None:
            word = vocabulary.read_availability(text)
            if word is Availability.UNKNOWN:
                continue
            number = int(word is Availability.IN_STOCK)
        counts.append(number)
    if not counts:
        return said
    if max(counts) > 0:
        return Availability.IN_STOCK if said in (None, Availability.UNKNOWN) else said
    may_be_ordered = (Availability.PREORDER, Availability.BACKORDER, Availability.ON_ORDER)
    return said if said in may_be_ordered else Availability.OUT_OF_STOCK


def is_over(
    expiries: Sequence[str | None],
    disabled: Sequence[str | None],
    statuses: Sequence[str | None],
    day: date,
    warning_counts: Counter[FeedWarning],
) -> bool:
    """Tell if an offer has expired, is disabled, or is hidden.

    Args:
        expiries: The last days of the offer.
        disabled: Texts of elements that take it off sale if true.
        statuses: Meta's status and visibility.
        day: The run's day.
        warning_counts: Counts BAD_EXPIRY; this function adds to it.
    """
    if any(is_true(text) for text in disabled):
        return True
    if any((text or "").strip().casefold() in _HIDDEN_WORDS for text in statuses):
        return True
    for text in expiries:
        try:
            last_day = parse_limit(text or "")
            if last_day and last_day < day:
                return True
        except ValueError:
            warning_counts[FeedWarning.BAD_EXPIRY] += 1
    return False
