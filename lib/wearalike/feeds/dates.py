"""Read days as shops write them."""

from __future__ import annotations

import email.utils
import re
from datetime import date, datetime
from functools import lru_cache

_YEAR_FIRST = re.compile(r"(\d{4})[-./](\d\d?)[-./](\d\d?)(?!\d)")
# Not with slashes: whether 03/04/2026 is in March or in April, nobody can tell.
_DAY_FIRST = re.compile(r"(\d\d?)[-.](\d\d?)[-.](\d{4})(?!\d)")
# How databases write that there is no day: "0000-00-00", and what languages make of it.
_NO_DAY = re.compile(r"-?000[01]-\d\d-\d\d|00[-./]00[-./]0000|-?0+$")
# An earlier day is the zero of a clock, such as 1970-01-01.
_FIRST_YEAR = 1990
# ISO 8601 parts two dates by "/" or "--"; plug-ins write dashes between blanks and commas, too.
_BETWEEN_DATES = re.compile(r"\s*(?:--|[–—]|(?<=\s)-(?=\s)|[,;]|(?<=\s)(?:to|bis|до|по)(?=\s))\s*")


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


def parse_limit(text: str) -> date | None:
    """Return the day of a limit in time, or None for a text that sets none.

        >>> parse_limit("0000-00-00 00:00:00"), parse_limit("1970-01-01T00:00:00+0000")
        (None, None)

    Args:
        text: A date, as `parse_day` reads it; empty, or the zero of a clock, for no limit.

    Raises:
        ValueError: The text is no date, or could be two.
    """
    text = text.strip()
    if not text or _NO_DAY.match(text):
        return None
    day = parse_day(text)
    return day if day.year >= _FIRST_YEAR else None


def split_period(text: str) -> tuple[str, str]:
    """Return the two dates of a period; either may be empty.

        >>> split_period("2026-11-01 / 2026-11-30"), split_period("2026-11-01 - 2026-11-30")
        (('2026-11-01', '2026-11-30'), ('2026-11-01', '2026-11-30'))

    Args:
        text: Two dates, parted by "/", a dash, a comma or a word.

    Raises:
        ValueError: The text is anything else.
    """
    parts = text.split("/") if text.count("/") == 1 else _BETWEEN_DATES.split(text.strip())
    if len(parts) != 2:
        raise ValueError(f"{text[:80]!r}; wanted two dates, parted by '/'")
    start, end = (part.strip() for part in parts)
    return start, end
