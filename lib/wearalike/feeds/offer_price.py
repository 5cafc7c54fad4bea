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
from wearalike.feeds.normalize import InvalidOffer, OfferReason
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
    found, faults, detail = _find_price(
        raw.price,
        tuple(raw.sale_prices),
        raw.sale_dates,
        tuple(raw.old_prices),
        raw.currency,
        raw.feed_currency,
        shop.decimal_mark,
        shop.default_currency,
        day,
    )
    for fault in faults:
        warning_counts[fault] += 1
        if fault is FeedWarning.UNKNOWN_CURRENCY:
            vocabulary.count_unknown("currency", raw.currency or "")
    if found is None:
        raise InvalidOffer(OfferReason.BAD_PRICE, detail)
    return found


@lru_cache(maxsize=16384)
def _find_price(
    price: str | None,
    sale_prices: tuple[str | None, ...],
    sale_dates: str | None,
    old_prices: tuple[str | None, ...],
    currency_text: str | None,
    feed_currency: str,
    decimal_mark: str | None,
    shop_currency: str | None,
    day: date,
) -> tuple[OfferPrice | None, tuple[FeedWarning, ...], str]:
    """Return the price, the faults to be counted, and why there is no price; offers repeat prices.

    The arguments are what `read_offer_price` takes of an offer, of the shop, and the day.
    """
    style = (decimal_mark, shop_currency)
    faults: list[FeedWarning] = []
    stated_sale = sale = None
    if sale_prices:
        stated_sale = _read_first(sale_prices, style, FeedWarning.BAD_SALE_PRICE, faults)
        is_on = stated_sale is not None and _is_sale_on(sale_dates, day, faults)
        sale = stated_sale if is_on else None
    try:
        regular: _Amount = parse_price(price or "", *style)
    except InvalidOffer as error:
        if sale is None or not is_no_amount(price):
            return None, tuple(faults), error.detail
        regular = sale
    old = _read_first(old_prices, style, FeedWarning.BAD_OLD_PRICE, faults) if old_prices else None
    now, before = regular, old
    if sale and sale is not regular:
        if sale[0] <= regular[0] and _may_be_compared(sale, regular):
            now, before = sale, regular
        else:
            faults.append(FeedWarning.BAD_SALE_PRICE)
    currency = _find_currency(currency_text, shop_currency, faults) if currency_text else ""
    for amount in (now, regular, stated_sale, before):
        currency = currency or (amount[1] if amount else "")
    currency = currency or _known_currency(feed_currency) or shop_currency or ""
    if not currency:
        if not currency_text:
            faults.append(FeedWarning.NO_CURRENCY)
        currency = NO_CURRENCY
    is_dearer = before is not None and before[0] > now[0] and _may_be_compared(before, now)
    found = OfferPrice(now[0], before[0] if before and is_dearer else None, currency)
    return found, tuple(faults), ""


def _is_sale_on(text: str | None, day: date, faults: list[FeedWarning]) -> bool:
    """Tell if a sale of these dates counts on a day; one without dates does."""
    if not text or not text.strip():
        return True
    try:
        return is_within_dates(text, day)
    except ValueError:
        # A price that may not hold today is worse than the regular one.
        faults.append(FeedWarning.BAD_SALE_DATES)
        return False


def _read_first(
    texts: Sequence[str | None],
    style: tuple[str | None, str | None],
    fault: FeedWarning,
    faults: list[FeedWarning],
) -> _Amount | None:
    """Return the first amount that can be read; count the texts before it that cannot."""
    for text in texts:
        if not text or is_no_amount(text):
            continue
        try:
            return parse_price(text, *style)
        except InvalidOffer:
            faults.append(fault)
    return None


def _may_be_compared(one: _Amount, other: _Amount) -> bool:
    """Tell if two amounts may be of one currency."""
    return not (one[1] and other[1]) or one[1] == other[1]


def _find_currency(text: str, shop_currency: str | None, faults: list[FeedWarning]) -> str:
    """Return the currency that an offer names in an element of its own, or ""."""
    currency = parse_currency(text, shop_currency)
    if not currency and text.strip():
        faults.append(FeedWarning.UNKNOWN_CURRENCY)
    return currency


@lru_cache(maxsize=64)
def _known_currency(text: str) -> str:
    """Return the main currency of a feed, or "" for none that is known."""
    return parse_currency(text) if text else ""
