"""The records of a feed, and the step from a shop's words to a usable offer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from wearalike.feeds.addresses import normalize_url, read_image_urls
from wearalike.feeds.dialect import RawOffer
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.filters import check_filters
from wearalike.feeds.normalize import MAX_WORD_CHARS, InvalidOffer, OfferReason, plain_text
from wearalike.feeds.offer_price import read_offer_price
from wearalike.feeds.stock import combine_stock, is_over
from wearalike.feeds.values import MAX_LIST_VALUES, read_gtins, split_words
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.settings import ShopSettings
from wearalike.tables import Availability

# Longer texts are cut and longer lists lose their end; each is counted as a warning.
MAX_ID_CHARS = 200
MAX_TITLE_CHARS = 1_000
MAX_DESCRIPTION_CHARS = 5_000
MAX_PATH_CHARS = 1_000
MAX_CATEGORIES = 50
# How shops write that an offer has no group.
_NO_GROUP_WORDS = frozenset(
    (
        *("none", "null", "nan", "n/a", "#n/a", "-1", "нет", "без группы", "no group", "false"),
        *("undefined", "#ref!", "#value!"),
    )
)
# ASCII without markup, an entity or surplus blanks is plain text already.
_PLAIN_WORD = re.compile(r"[!-%'-;=-~]+(?: [!-%'-;=-~]+)*")
# Markup may take so many times the characters of its plain text; a sane page takes far fewer.
_MAX_MARKUP_RATIO = 20


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
    gtins: list[str]
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
    patterns: list[str]
    image_urls: list[str]
    description: str | None
    related_offer_ids: list[str]


class RefusedOffer(NamedTuple):
    """An offer that cannot be used.

    Attributes:
        offer_id: The shop's id; None if the offer has none.
        reason: Why.
        detail: The value found and the value wanted.
    """

    offer_id: str | None
    reason: OfferReason
    detail: str


def normalize_offer(
    raw: RawOffer,
    shop: ShopSettings,
    day: date,
    vocabulary: Vocabulary,
    warning_counts: Counter[FeedWarning],
) -> Offer:
    """Return the offer that the shop's words describe.

    Args:
        raw: The offer in the shop's words.
        shop: The shop.
        day: The run's day, on which sales count.
        vocabulary: Reads the shop's words; counts those that it does not know.
        warning_counts: Counts the repairs; this function adds to it.

    Returns:
        The offer.

    Raises:
        InvalidOffer: The id, title, price or images cannot be used, or the settings exclude it.
    """
    offer_id = raw.offer_id
    genders = raw.genders
    sizes = raw.sizes
    if not offer_id or len(offer_id) > MAX_ID_CHARS:
        raise InvalidOffer(
            OfferReason.MISSING_ID, f"id {offer_id[:40]!r}; wanted 1 to {MAX_ID_CHARS} characters"
        )
    title = _clean_text(raw.title, MAX_TITLE_CHARS, warning_counts)
    if not title:
        raise InvalidOffer(
            OfferReason.MISSING_TITLE,
            f"{(raw.title or '')[:80]!r}; wanted a name, or a type, vendor and model",
        )
    if raw.conditions or raw.adult or raw.excluded_destinations:
        check_filters(raw, shop, vocabulary)
    money = read_offer_price(raw, shop, day, vocabulary, warning_counts)
    clean_sizes = split_words(sizes, warning_counts, is_size=True)
    brand = _clean_word(raw.brand)
    return Offer(  # by position: by name it takes three times as long
        f"{shop.id}:{offer_id}",
        shop.id,
        offer_id,
        _read_group(raw.group_ids) if raw.group_ids else None,
        title,
        _usable_url(raw.url, warning_counts) if raw.url else None,
        None if brand and vocabulary.names_no_brand(brand) else brand,
        _clean_word(raw.vendor_code),
        read_gtins(raw.gtins, warning_counts) if raw.gtins else [],
        _limit_categories(raw.category_ids, MAX_ID_CHARS, warning_counts),
        _limit_categories(raw.category_paths, MAX_PATH_CHARS, warning_counts),
        _clean_word(raw.google_category),
        money.cents,
        money.old_cents,
        money.currency,
        _read_availability(raw, day, vocabulary, warning_counts),
        vocabulary.read_gender(genders) if genders else None,
        vocabulary.read_age_group(raw.ages, genders, clean_sizes),
        split_words(raw.colours, warning_counts),
        clean_sizes,
        split_words(raw.materials, warning_counts),
        split_words(raw.patterns, warning_counts),
        read_image_urls(raw.image_urls, warning_counts),
        _clean_text(raw.description, MAX_DESCRIPTION_CHARS, warning_counts) or None,
        _related_offer_ids(raw.related_offer_ids, offer_id, warning_counts)
        if raw.related_offer_ids
        else [],
    )


def _read_group(texts: Sequence[str | None]) -> str | None:
    """Return the first group, or None where each text says that there is none."""
    for text in texts:
        group = _clean_word(text)
        if group and group.strip("0 -_.") and group.casefold() not in _NO_GROUP_WORDS:
            return group
    return None


def _read_availability(
    raw: RawOffer, day: date, vocabulary: Vocabulary, warning_counts: Counter[FeedWarning]
) -> Availability:
    """Return the availability by all that the feed says of it."""
    said = raw.availability
    if raw.stocks:
        said = combine_stock(said, raw.stocks, vocabulary)
    may_be_over = raw.expiries or raw.disabled or raw.statuses
    if may_be_over and is_over(raw.expiries, raw.disabled, raw.statuses, day, warning_counts):
        return Availability.OUT_OF_STOCK
    return said or Availability.UNKNOWN


def _clean_text(text: str | None, max_chars: int, warning_counts: Counter[FeedWarning]) -> str:
    """Return plain text of at most `max_chars` characters."""
    if not text:
        return ""
    max_markup_chars = _MAX_MARKUP_RATIO * max_chars
    plain = plain_text(text[:max_markup_chars])
    if len(plain) > max_chars or len(text) > max_markup_chars:
        warning_counts[FeedWarning.LONG_TEXT] += 1
        return plain[:max_chars].rstrip()
    return plain


def _clean_word(text: str | None) -> str | None:
    """Return a short text as plain text; None if nothing is left of it."""
    if not text:
        return None
    if len(text) <= MAX_WORD_CHARS and _PLAIN_WORD.fullmatch(text):
        return text
    return _clean_word_cached(text)


@lru_cache(maxsize=16384)
def _clean_word_cached(text: str) -> str | None:
    """Return a short text as plain text; feeds repeat the same words."""
    return plain_text(text[: 2 * MAX_WORD_CHARS])[:MAX_WORD_CHARS].rstrip() or None


def _limit_categories(
    texts: list[str], max_chars: int, warning_counts: Counter[FeedWarning]
) -> list[str]:
    """Return at most MAX_CATEGORIES ids or paths, each cut to `max_chars`.

    No entry is dropped in between, so that ids and paths stay aligned.
    """
    if len(texts) == 1 and len(texts[0]) <= max_chars:
        return texts
    if len(texts) > MAX_CATEGORIES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
        texts = texts[:MAX_CATEGORIES]
    if any(len(text) > max_chars for text in texts):
        warning_counts[FeedWarning.LONG_TEXT] += 1
        return [text[:max_chars] for text in texts]
    return texts


def _related_offer_ids(
    texts: Sequence[str | None], own_offer_id: str, warning_counts: Counter[FeedWarning]
) -> list[str]:
    """Return the distinct ids of other offers, whether or not the feed contains these offers."""
    if len(texts) > MAX_LIST_VALUES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
    stripped = ((text or "").strip() for text in texts[:MAX_LIST_VALUES])
    ids = dict.fromkeys(ident for ident in stripped if ident and ident != own_offer_id)
    usable = [ident for ident in ids if len(ident) <= MAX_ID_CHARS]
    if len(usable) < len(ids):
        warning_counts[FeedWarning.BAD_RELATED_ID] += 1
    return usable


def _usable_url(text: str, warning_counts: Counter[FeedWarning]) -> str | None:
    """Return the address of a page, or None for one that cannot be used."""
    try:
        return normalize_url(text)
    except InvalidOffer:
        warning_counts[FeedWarning.BAD_URL] += 1
        return None
