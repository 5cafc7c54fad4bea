"""Read the day on which a feed says that it was made."""

from __future__ import annotations

import re
from datetime import date

from wearalike.feeds.dates import parse_day

# A feed that was made so long ago is read, and the operator is warned.
MAX_FEED_AGE_DAYS = 30

_YML_DATE = re.compile(rb"""<yml_catalog\b[^>]*?\sdate\s*=\s*["']([^"'<>]{6,60})["']""")
_RSS_DATE = re.compile(rb"<(?:lastBuildDate|pubDate|(?:\w+:)?updated)>([^<>]{6,60})<")
_FIRST_OFFER = re.compile(rb"<(?:\w+:)?(?:item|entry)[\s>]")


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
    if not found:
        return None
    try:
        return parse_day(found[1].decode("utf-8", "replace"))
    except (ValueError, OverflowError):
        return None
