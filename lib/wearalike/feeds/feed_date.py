"""Read the day on which a feed says that it was made."""

from __future__ import annotations

import email.utils
import re
from datetime import date

# A feed that was made so long ago is read, and the operator is warned.
MAX_FEED_AGE_DAYS = 30

_YML_DATE = re.compile(rb"""<yml_catalog\b[^>]*?\sdate\s*=\s*["']([^"'<>]{6,60})["']""")
_RSS_DATE = re.compile(rb"<(?:lastBuildDate|pubDate|(?:\w+:)?updated)>([^<>]{6,60})<")
_FIRST_OFFER = re.compile(rb"<(?:\w+:)?(?:item|entry)[\s>]")
_ISO_DAY = re.compile(r"\s*(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?!\d)")
_LOCAL_DAY = re.compile(r"\s*(\d{1,2})[-./](\d{1,2})[-./](\d{4})(?!\d)")


def read_feed_date(head: bytes) -> date | None:
    """Return the day that the head of a feed names; None if it names none.

    Args:
        head: The first bytes in UTF-8, from the root element on. A YML feed names its day there, an
            RSS or Atom feed before its first offer.
    """
    found = _YML_DATE.search(head)
    if not found:
        first_offer = _FIRST_OFFER.search(head)
        found = _RSS_DATE.search(head, 0, first_offer.start() if first_offer else len(head))
    return parse_day(found[1].decode("utf-8", "replace")) if found else None


def parse_day(text: str) -> date | None:
    """Return the day of a date as feeds write it; None for other text.

    Args:
        text: Such as "2026-11-20 10:00", "20.11.2026" or "Fri, 20 Nov 2026 10:00:00 GMT".
    """
    try:
        if match := _ISO_DAY.match(text):
            return date(int(match[1]), int(match[2]), int(match[3]))
        if match := _LOCAL_DAY.match(text):
            return date(int(match[3]), int(match[2]), int(match[1]))
        return email.utils.parsedate_to_datetime(text).date()
    except (ValueError, OverflowError):
        return None
