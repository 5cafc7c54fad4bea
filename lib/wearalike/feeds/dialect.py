"""The interface of a feed dialect, and the raw offers that every dialect returns.

A dialect only tells which element has which meaning. `offers.normalize_offer` tells the meaning of
the words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lxml.etree import _Element as Element

from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.normalize import parse_availability
from wearalike.tables import Availability


class RawOffer(NamedTuple):
    """One offer in the shop's own words.

    Texts may contain markup. Lists keep the order of the feed. A value the feed lacks is None or
    empty.
    """

    offer_id: str
    group_id: str | None
    title: str | None
    url: str | None
    brand: str | None
    vendor_code: str | None
    category_ids: list[str]
    category_paths: list[str]
    google_category: str | None
    price: str | None
    sale_prices: Sequence[str | None]
    sale_dates: str | None
    old_prices: Sequence[str | None]
    currency: str | None
    feed_currency: str
    availability: Availability
    genders: Sequence[str | None]
    age_groups: Sequence[str | None]
    colours: Sequence[str | None]
    sizes: Sequence[str | None]
    materials: Sequence[str | None]
    image_urls: Sequence[str | None]
    description: str | None
    related_offer_ids: Sequence[str | None]


class WithdrawnOffer(NamedTuple):
    """An offer that its shop marks as deleted."""

    offer_id: str


class Dialect(Protocol):
    """Reads the elements of one feed, in the order of the feed."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The elements to read, "{namespace}name" where they have a namespace."""

    def parse_element(self, element: Element) -> RawOffer | WithdrawnOffer | None:
        """Return the offer an element describes, or None for another element.

        Args:
            element: A whole element with one of the tags.
        """


def parse_known_availability(text: str, warning_counts: Counter[FeedWarning]) -> Availability:
    """Return the availability that words name; count a warning and return UNKNOWN for others.

    Args:
        text: The shop's words.
        warning_counts: Counts UNKNOWN_AVAILABILITY.
    """
    availability = parse_availability(text)
    if availability is None:
        warning_counts[FeedWarning.UNKNOWN_AVAILABILITY] += 1
        return Availability.UNKNOWN
    return availability
