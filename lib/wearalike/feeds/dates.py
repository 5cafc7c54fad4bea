"""Read days as shops write them."""

from __future__ import annotations

import email.utils
import re
from datetime import date, datetime
from functools import lru_cache

_YEAR_FIRST = re.compile(r"(\d{4})[-./](\d\d?)[-./](\d\d?)(?!\d)")
# Not with slashes: whether 03/04/2026 is in March or in April, nobody can tell.
_DAY_FIRST = re.compile(r"(\d\d?)[-.](\d\d?)[-.](\d{4})(?!\d)")


@lru_cache(maxsize=4096)
def parse_day(text: str) -> date:
    """Return the day of a date, with or without a time.

        >>> parse_day("2026-11-20 10:00"), parse_day("Fri, 20 Nov 2026 10:00:00 GMT")
        (datetime.date(2026, 11, 20), datetime.date(2026, 11, 20))

    Args:
        text: A date of ISO 8601 or RFC 5322, or day, month and year as "20.11.2026".

    Raises:
        ValueError: The text is no date, or could be two.
    """
    text = text.strip()
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        if match := _YEAR_FIRST.match(text):
            return date(*map(int, match.groups()))
        if match := _DAY_FIRST.match(text):
            return date(*map(int, match.groups()[::-1]))
        return email.utils.parsedate_to_datetime(text).date()
