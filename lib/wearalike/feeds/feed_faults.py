"""Tell what an error means for one feed, so that it costs its shop alone."""

from __future__ import annotations

import logging

import duckdb

from wearalike.feeds.errors import BadFeed, FeedReason
from wearalike.net.http_client import FetchError, FetchReason
from wearalike.settings import ShopSettings

log = logging.getLogger("wearalike.feeds")


def find_bad_feed(error: Exception, shop: ShopSettings) -> BadFeed:
    """Return the BadFeed of an error; one of our own faults is one, too, with its traceback logged.

    The disk and the memory of this machine are no part of a feed: their errors are raised again.

    Args:
        error: An error of fetching or reading the feed.
        shop: The shop.
    """
    if isinstance(error, BadFeed):
        return error
    if isinstance(error, FetchError):
        return _find_unfetched_feed(error, shop)
    if isinstance(error, OSError | MemoryError | duckdb.IOException | duckdb.OutOfMemoryException):
        raise error
    log.error("%s: the feed failed unexpectedly", shop.id, exc_info=error)
    return BadFeed(FeedReason.UNEXPECTED, f"{type(error).__name__}: {error}"[:500])


def _find_unfetched_feed(error: FetchError, shop: ShopSettings) -> BadFeed:
    """Return the BadFeed that a failed download means."""
    if error.reason is FetchReason.HTTP_400 and shop.dialect == "admitad":
        # Admitad answers 400 for a shop it has closed.
        return BadFeed(FeedReason.CLOSED, error.detail)
    same_reason = next((reason for reason in FeedReason if reason == error.reason), None)
    return BadFeed(same_reason or FeedReason.NOT_FETCHED, f"{error.reason}: {error.detail}")
