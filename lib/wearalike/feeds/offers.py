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
    OfferReason,
    Unusable,
    age_group_of,
    currency_of,
    gender_of,
    money,
    plain,
    web_url,
)
from wearalike.feeds.sanitize import Repair
from wearalike.settings import Shop
from wearalike.tables import Availability

MAX_ID_CHARS, MAX_TITLE_CHARS, MAX_DESCRIPTION_CHARS = 200, 1_000, 5_000
MAX_IMAGES, MAX_VALUES = 50, 200
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


class Refused(NamedTuple):
    """An offer that cannot be used; offer_id is None where it has none."""

    offer_id: str | None
    reason: OfferReason
    detail: str


class Withdrawn(NamedTuple):
    """An offer that its shop marks deleted."""

    offer_id: str


class Raw(NamedTuple):
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
    ages: Sequence[str | None]
    colours: Sequence[str | None]
    sizes: Sequence[str | None]
    materials: Sequence[str | None]
    images: Sequence[str | None]
    description: str | None
    related: Sequence[str | None]


def offer(raw: Raw, shop: Shop, repairs: Counter[Repair]) -> Offer:
    """The offer that the shop's words describe; what is mended is counted. Raises Unusable."""
    ident, currency, genders = raw.offer_id, raw.currency, raw.genders
    if not ident or len(ident) > MAX_ID_CHARS:
        raise Unusable(
            OfferReason.MISSING_ID, f"id {ident[:40]!r}; wanted 1 to {MAX_ID_CHARS} characters"
        )
    title = _text(raw.title, MAX_TITLE_CHARS, repairs)
    if not title:
        raise Unusable(
            OfferReason.MISSING_TITLE,
            f"{(raw.title or '')[:80]!r}; wanted a name, or a type, vendor and model",
        )
    price_cents, told = money(raw.price or "")
    old_price_cents = _old_price(raw.old_price, repairs) if raw.old_price else 0
    if not (currency or told):
        repairs[Repair.NO_CURRENCY] += 1
    return Offer(  # by position: by name it takes three times as long
        f"{shop.id}:{ident}",
        shop.id,
        ident,
        _word(raw.group_id),
        title,
        web_url(raw.url) if raw.url else None,
        _word(raw.brand),
        _word(raw.vendor_code),
        _categories(raw.category_ids, MAX_ID_CHARS, repairs),
        _categories(raw.category_paths, MAX_PATH_CHARS, repairs),
        _word(raw.google_category),
        price_cents,
        old_price_cents if old_price_cents > price_cents else None,
        currency_of(currency) if currency else told or NO_CURRENCY,
        raw.availability,
        gender_of(*genders) if genders else None,
        age_group_of(*raw.ages, *genders) if raw.ages or genders else None,
        _words(raw.colours, repairs),
        _words(raw.sizes, repairs),
        _words(raw.materials, repairs),
        _images(raw.images, repairs),
        _text(raw.description, MAX_DESCRIPTION_CHARS, repairs) or None,
        _related(raw.related, ident, repairs) if raw.related else [],
    )


def _text(text: str | None, most: int, repairs: Counter[Repair]) -> str:
    """At most `most` characters of plain text; of markup so many times more that any sane page fits."""
    if not text:
        return ""
    made = plain(text[: 20 * most])
    if len(made) > most or len(text) > 20 * most:
        repairs[Repair.LONG_TEXT] += 1
        return made[:most].rstrip()
    return made


def _word(text: str | None) -> str | None:
    """A short text cleaned; None where nothing is left of it."""
    if text and len(text) <= MAX_WORD_CHARS and text.isalnum() and text.isascii():
        return text
    return _cleaned(text) if text else None


@lru_cache(maxsize=16384)
def _cleaned(text: str) -> str | None:
    return plain(text[: 2 * MAX_WORD_CHARS])[:MAX_WORD_CHARS].rstrip() or None


def _categories(texts: list[str], most: int, repairs: Counter[Repair]) -> list[str]:
    """At most MAX_CATEGORIES ids or paths, each of at most `most` characters; ids and paths stay side by side."""
    if len(texts) > MAX_CATEGORIES:
        repairs[Repair.MANY_VALUES] += 1
        texts = texts[:MAX_CATEGORIES]
    if any(len(text) > most for text in texts):
        repairs[Repair.LONG_TEXT] += 1
        return [text[:most] for text in texts]
    return texts


def _words(texts: Sequence[str | None], repairs: Counter[Repair]) -> list[str]:
    if len(texts) > MAX_VALUES:
        repairs[Repair.MANY_VALUES] += 1
    return (
        list(dict.fromkeys([word for text in texts[:MAX_VALUES] if (word := _word(text))]))
        if texts
        else []
    )


def _related(texts: Sequence[str | None], own: str, repairs: Counter[Repair]) -> list[str]:
    """The ids of other offers, each once, at most MAX_VALUES. That the feed has these offers is not asked."""
    if len(texts) > MAX_VALUES:
        repairs[Repair.MANY_VALUES] += 1
    ids = dict.fromkeys(
        ident for text in texts[:MAX_VALUES] if (ident := (text or "").strip()) and ident != own
    )
    usable = [ident for ident in ids if len(ident) <= MAX_ID_CHARS]
    if len(usable) < len(ids):
        repairs[Repair.BAD_RELATED_ID] += 1
    return usable


def _old_price(text: str, repairs: Counter[Repair]) -> int:
    try:
        return money(text)[0]
    except Unusable:
        repairs[Repair.BAD_OLD_PRICE] += 1
        return 0


def _images(texts: Sequence[str | None], repairs: Counter[Repair]) -> list[str]:
    """The usable addresses, each once, at most MAX_IMAGES. Raises Unusable (NO_PICTURE) where none is left."""
    if len(texts) > MAX_IMAGES:
        repairs[Repair.MANY_VALUES] += 1
    urls: dict[str, None] = {}
    bad = "no picture; wanted at least one http or https address"
    for text in texts[:MAX_IMAGES]:
        try:
            urls[web_url(text or "")] = None
        except Unusable as error:
            repairs[Repair.BAD_IMAGE_URL] += 1
            bad = error.detail
    if not urls:
        raise Unusable(OfferReason.NO_PICTURE, bad)
    return list(urls)
