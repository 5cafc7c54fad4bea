"""The records every dialect ends in, and what makes an offer unusable.

A dialect only says which element means what (`Raw`, words as the shop wrote them); `offer` says what the words mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from wearalike.feeds.normalize import (
    MAX_WORD_CHARS,
    NO_CURRENCY,
    InvalidOffer,
    OfferReason,
    age_group_of,
    currency_of,
    gender_of,
    normalize_url,
    parse_price,
    plain_text,
)
from wearalike.feeds.sanitize import FeedWarning
from wearalike.settings import ShopSettings
from wearalike.tables import Availability

MAX_ID_CHARS, MAX_TITLE_CHARS, MAX_DESCRIPTION_CHARS = 200, 1_000, 5_000
MAX_IMAGES, MAX_LIST_VALUES = 50, 200
MAX_CATEGORIES, MAX_PATH_CHARS = 50, 1_000


class Offer(NamedTuple):
    """A usable offer: the columns of tables.OFFERS, in their order."""

    product_id: str
    shop_id: str
    offer_id: str
    group_id: str | None
    title: str
    url: str | None
    brand: str | None
    vendor_code: str | None
    category_ids: list[str]
    category_paths: list[str]
    google_category: str | None
    price_cents: int
    old_price_cents: int | None
    currency: str
    availability: str
    gender: str | None
    age_group: str | None
    colours: list[str]
    sizes: list[str]
    materials: list[str]
    image_urls: list[str]
    description: str | None
    related_offer_ids: list[str]


class RefusedOffer(NamedTuple):
    """An offer that cannot be used; offer_id is None where it has none."""

    offer_id: str | None
    reason: OfferReason
    detail: str


class WithdrawnOffer(NamedTuple):
    """An offer that its shop marks deleted."""

    offer_id: str


class RawOffer(NamedTuple):
    """One offer in the shop's own words: texts may hold markup, lists keep the feed's order, what it does not say is None or empty."""

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
    old_price: str | None
    currency: str | None
    availability: Availability
    genders: Sequence[str | None]
    age_groups: Sequence[str | None]
    colours: Sequence[str | None]
    sizes: Sequence[str | None]
    materials: Sequence[str | None]
    image_urls: Sequence[str | None]
    description: str | None
    related_offer_ids: Sequence[str | None]


def normalize_offer(
    raw: RawOffer, shop: ShopSettings, warning_counts: Counter[FeedWarning]
) -> Offer:
    """The offer that the shop's words describe; what is mended is counted. Raises Unusable."""
    ident, currency, genders = raw.offer_id, raw.currency, raw.genders
    if not ident or len(ident) > MAX_ID_CHARS:
        raise InvalidOffer(
            OfferReason.MISSING_ID, f"id {ident[:40]!r}; wanted 1 to {MAX_ID_CHARS} characters"
        )
    title = _clean_text(raw.title, MAX_TITLE_CHARS, warning_counts)
    if not title:
        raise InvalidOffer(
            OfferReason.MISSING_TITLE,
            f"{(raw.title or '')[:80]!r}; wanted a name, or a type, vendor and model",
        )
    price_cents, told = parse_price(raw.price or "")
    old_price_cents = _old_price_cents(raw.old_price, warning_counts) if raw.old_price else 0
    if not (currency or told):
        warning_counts[FeedWarning.NO_CURRENCY] += 1
    return Offer(  # by position: by name it takes three times as long
        f"{shop.id}:{ident}",
        shop.id,
        ident,
        _clean_word(raw.group_id),
        title,
        normalize_url(raw.url) if raw.url else None,
        _clean_word(raw.brand),
        _clean_word(raw.vendor_code),
        _limit_categories(raw.category_ids, MAX_ID_CHARS, warning_counts),
        _limit_categories(raw.category_paths, MAX_PATH_CHARS, warning_counts),
        _clean_word(raw.google_category),
        price_cents,
        old_price_cents if old_price_cents > price_cents else None,
        currency_of(currency) if currency else told or NO_CURRENCY,
        raw.availability,
        gender_of(*genders) if genders else None,
        age_group_of(*raw.age_groups, *genders) if raw.age_groups or genders else None,
        _clean_words(raw.colours, warning_counts),
        _clean_words(raw.sizes, warning_counts),
        _clean_words(raw.materials, warning_counts),
        _usable_image_urls(raw.image_urls, warning_counts),
        _clean_text(raw.description, MAX_DESCRIPTION_CHARS, warning_counts) or None,
        _related_offer_ids(raw.related_offer_ids, ident, warning_counts)
        if raw.related_offer_ids
        else [],
    )


def _clean_text(text: str | None, max_chars: int, warning_counts: Counter[FeedWarning]) -> str:
    """At most `most` characters of plain text; of markup so many times more that any sane page fits."""
    if not text:
        return ""
    made = plain_text(text[: 20 * max_chars])
    if len(made) > max_chars or len(text) > 20 * max_chars:
        warning_counts[FeedWarning.LONG_TEXT] += 1
        return made[:max_chars].rstrip()
    return made


def _clean_word(text: str | None) -> str | None:
    """A short text cleaned; None where nothing is left of it."""
    if text and len(text) <= MAX_WORD_CHARS and text.isalnum() and text.isascii():
        return text
    return _clean_word_cached(text) if text else None


@lru_cache(maxsize=16384)
def _clean_word_cached(text: str) -> str | None:
    return plain_text(text[: 2 * MAX_WORD_CHARS])[:MAX_WORD_CHARS].rstrip() or None


def _limit_categories(
    texts: list[str], max_chars: int, warning_counts: Counter[FeedWarning]
) -> list[str]:
    """At most MAX_CATEGORIES ids or paths, each of at most `most` characters; ids and paths stay side by side."""
    if len(texts) > MAX_CATEGORIES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
        texts = texts[:MAX_CATEGORIES]
    if any(len(text) > max_chars for text in texts):
        warning_counts[FeedWarning.LONG_TEXT] += 1
        return [text[:max_chars] for text in texts]
    return texts


def _clean_words(texts: Sequence[str | None], warning_counts: Counter[FeedWarning]) -> list[str]:
    if len(texts) > MAX_LIST_VALUES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
    return (
        list(
            dict.fromkeys([word for text in texts[:MAX_LIST_VALUES] if (word := _clean_word(text))])
        )
        if texts
        else []
    )


def _related_offer_ids(
    texts: Sequence[str | None], own_offer_id: str, warning_counts: Counter[FeedWarning]
) -> list[str]:
    """The ids of other offers, each once, at most MAX_VALUES. That the feed has these offers is not asked."""
    if len(texts) > MAX_LIST_VALUES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
    ids = dict.fromkeys(
        ident
        for text in texts[:MAX_LIST_VALUES]
        if (ident := (text or "").strip()) and ident != own_offer_id
    )
    usable = [ident for ident in ids if len(ident) <= MAX_ID_CHARS]
    if len(usable) < len(ids):
        warning_counts[FeedWarning.BAD_RELATED_ID] += 1
    return usable


def _old_price_cents(text: str, warning_counts: Counter[FeedWarning]) -> int:
    try:
        return parse_price(text)[0]
    except InvalidOffer:
        warning_counts[FeedWarning.BAD_OLD_PRICE] += 1
        return 0


def _usable_image_urls(
    texts: Sequence[str | None], warning_counts: Counter[FeedWarning]
) -> list[str]:
    """The usable addresses, each once, at most MAX_IMAGES. Raises Unusable (NO_PICTURE) where none is left."""
    if len(texts) > MAX_IMAGES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
    urls: dict[str, None] = {}
    bad = "no picture; wanted at least one http or https address"
    for text in texts[:MAX_IMAGES]:
        try:
            urls[normalize_url(text or "")] = None
        except InvalidOffer as error:
            warning_counts[FeedWarning.BAD_IMAGE_URL] += 1
            bad = error.detail
    if not urls:
        raise InvalidOffer(OfferReason.NO_PICTURE, bad)
    return list(urls)
