"""The price of an offer on a day: regular, on sale, and before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from wearalike.feeds.dialect import RawOffer
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.money import (
    NO_CURRENCY,
    is_no_amount,
    is_within_dates,
    parse_currency,
    parse_price,
)
from wearalike.feeds.normalize import InvalidOffer
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.settings import ShopSettings

_Amount = tuple[int, str]


class OfferPrice(NamedTuple):
    """The price of an offer.

    Attributes:
        cents: The price now, hundredths of the currency.
        old_cents: The higher price before, if there is one.
        currency: ISO 4217, "XXX" for none.
    """

    cents: int
    old_cents: int | None
    currency: str


def read_offer_price(
    raw: RawOffer,
    shop: ShopSettings,
    day: date,
    vocabulary: Vocabulary,
    warning_counts: Counter[FeedWarning],
) -> OfferPrice:
    """Return the price of an offer on a day.

    A sale counts on the days that the feed names, if it is below the price. The price is then the
    old one. An unusable sale, date, old price or currency is counted, and never costs the offer.

    Args:
        raw: The offer in the shop's words.
        shop: The shop, whose settings tell the decimal mark and what no feed says.
        day: The run's day.
        vocabulary: Counts currencies that are not known.
        warning_counts: Counts what cannot be used; this function adds to it.

    Raises:
        InvalidOffer: BAD_PRICE for an offer without a price.
    """
    style = (shop.decimal_mark, shop.default_currency)
    stated_sale = sale = None
    if raw.sale_prices:
        stated_sale = _read_first(
            raw.sale_prices, style, FeedWarning.BAD_SALE_PRICE, warning_counts
        )
        is_on = stated_sale is not None and _is_sale_on(raw.sale_dates, day, warning_counts)
        sale = stated_sale if is_on else None
    try:
        regular: _Amount = parse_price(raw.price or "", *style)
    except InvalidOffer:
        if sale is None or not is_no_amount(raw.price):
            raise
        regular = sale
    old = None
    if raw.old_prices:
        old = _read_first(raw.old_prices, style, FeedWarning.BAD_OLD_PRICE, warning_counts)
    now, before = regular, old
    if sale and sale is not regular:
        if sale[0] <= regular[0] and _may_be_compared(sale, regular):
            now, before = sale, regular
        else:
            warning_counts[FeedWarning.BAD_SALE_PRICE] += 1
    currency = _find_currency(raw, shop, vocabulary, warning_counts) if raw.currency else ""
    for amount in (now, regular, stated_sale, before):
        currency = currency or (amount[1] if amount else "")
    currency = currency or _known_currency(raw.feed_currency) or shop.default_currency or ""
    if not currency:
        if not raw.currency:
            warning_counts[FeedWarning.NO_CURRENCY] += 1
        currency = NO_CURRENCY
    is_dearer = before is not None and before[0] > now[0] and _may_be_compared(before, now)
    return OfferPrice(now[0], before[0] if before and is_dearer else None, currency)


def _is_sale_on(text: str | None, day: date, warning_counts: Counter[FeedWarning]) -> bool:
    """Tell if a sale of these dates counts on a day; one without dates does."""
    if not text or not text.strip():
        return True
    try:
        return is_within_dates(text, day)
    except ValueError:
        # A price that may not hold today is worse than the regular one.
        warning_counts[FeedWarning.BAD_SALE_DATES] += 1
        return False


def _read_first(
    texts: Sequence[str | None],
    style: tuple[str | None, str | None],
    fault: FeedWarning,
    warning_counts: Counter[FeedWarning],
) -> _Amount | None:
    """Return the first amount that can be read; count the texts before it that cannot."""
    for text in texts:
        if not text or is_no_amount(text):
            continue
        try:
            return parse_price(text, *style)
        except InvalidOffer:
            warning_counts[fault] += 1
    return None


def _may_be_compared(one: _Amount, other: _Amount) -> bool:
    """Tell if two amounts may be of one currency."""
    return not (one[1] and other[1]) or one[1] == other[1]


def _find_currency(
    raw: RawOffer,
    shop: ShopSettings,
    vocabulary: Vocabulary,
    warning_counts: Counter[FeedWarning],
) -> str:
    """Return the currency that an offer names in an element of its own, or ""."""
    text = raw.currency or ""
    currency = parse_currency(text, shop.default_currency)
    if not currency and text.strip():
        warning_counts[FeedWarning.UNKNOWN_CURRENCY] += 1
        vocabulary.count_unknown("currency", text)
    return currency


@lru_cache(maxsize=64)
def _known_currency(text: str) -> str:
    """Return the main currency of a feed, or "" for none that is known."""
    return parse_currency(text) if text else ""
