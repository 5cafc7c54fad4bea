"""The interface of a feed dialect, and the raw offers that every dialect returns.

A dialect only tells which element has which meaning. `offers.normalize_offer` tells the meaning of
the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lxml.etree import _Element as Element

from wearalike.tables import Availability

# Between a size and its unit in a raw offer, so that "42, 44" in RU is two sizes with one unit.
UNIT_MARK = "\x1f"

Texts = Sequence[str | None]


class RawOffer(NamedTuple):
    """One offer in the shop's own words.

    Texts may contain markup. Lists keep the order of the feed. A value the feed lacks is None or
    empty.
    """

    offer_id: str
    group_ids: Texts
    title: str | None
    url: str | None
    brand: str | None
    vendor_code: str | None
    gtins: Texts
    category_ids: list[str]
    category_paths: list[str]
    google_category: str | None
    price: str | None
    sale_prices: Texts
    sale_dates: str | None
    old_prices: Texts
    currency: str | None
    feed_currency: str
    availability: Availability | None
    stocks: Texts
    expiries: Texts
    disabled: Texts
    statuses: Texts
    genders: Texts
    ages: Texts
    colours: Texts
    sizes: Texts
    materials: Texts
    patterns: Texts
    image_urls: Texts
    description: str | None
    related_offer_ids: Texts
    conditions: Texts
    adult: Texts
    excluded_destinations: Texts


class WithdrawnOffer(NamedTuple):
    """An offer that its shop marks as deleted."""

    offer_id: str


class Dialect(Protocol):
    """Reads the elements of one feed, in the order of the feed."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The elements to read, by their names without a namespace."""

    def parse_element(self, element: Element) -> RawOffer | WithdrawnOffer | None:
        """Return the offer an element describes, or None for another element.

        Args:
            element: A whole element with one of the tags.
        """
