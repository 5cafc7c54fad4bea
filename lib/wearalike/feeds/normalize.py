"""Turn a shop's words into ours: text, prices, genders, ages and availability."""

from __future__ import annotations

import html
import re
import unicodedata
from enum import StrEnum
from functools import lru_cache

from wearalike.tables import AgeGroup, Availability, Gender


class OfferReason(StrEnum):
    """Why an offer cannot be used."""

    MISSING_ID = "missing_id"
    MISSING_TITLE = "missing_title"
    BAD_PRICE = "bad_price"
    BAD_URL = "bad_url"
    NO_PICTURE = "no_picture"
    DUPLICATE_ID = "duplicate_id"
    UNEXPECTED = "unexpected"


class InvalidOffer(ValueError):
    """An offer, or a value it needs, that cannot be used.

    Attributes:
        reason: Why.
        detail: The value found and the value wanted.
    """

    def __init__(self, reason: OfferReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


MAX_WORD_CHARS = 500

# Control, format and surrogate characters.
_HIDDEN_UNICODE_CATEGORIES = ("Cc", "Cf", "Cs")
_TAG = re.compile(r"<[a-zA-Z/!][^<>]*>")
_INVISIBLE_MARKUP = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.IGNORECASE
)


def plain_text(text: str) -> str:
    """Return text as people read it.

    Entities are resolved, characters normalised (NFKC), tags and hidden characters removed, and
    spaces reduced to single ones.

        >>> plain_text("<b>H&amp;M</b>  ﬁt")
        'H&M fit'

    Args:
        text: Text with or without markup.
    """
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if not text.isprintable():
        text = " ".join(text.split())
        if not text.isprintable():
            text = "".join(
                c for c in text if unicodedata.category(c) not in _HIDDEN_UNICODE_CATEGORIES
            )
    if "<" in text:
        if "<s" in text or "<S" in text or "<!--" in text:
            text = _INVISIBLE_MARKUP.sub(" ", text)
        text = _TAG.sub(" ", text)
    if "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join(text.split())
    return text


_MALE = re.compile(r"\b(?:муж|мальч|male|m[ae]n|boy|gentlem|[mм]\b)", re.IGNORECASE)
_FEMALE = re.compile(
    r"\b(?:жен|девоч|девуш|female|wom[ae]n|girl|lad(?:y|ies)|[fwж]\b)", re.IGNORECASE
)
_UNISEX = re.compile(r"\b(?:унисекс|unisex)", re.IGNORECASE)
# From the youngest to the oldest: the first that matches counts.
_AGES = (
    (AgeGroup.NEWBORN, re.compile(r"\b(?:новорожд|newborn)", re.IGNORECASE)),
    (AgeGroup.INFANT, re.compile(r"\b(?:младен|infant|bab(?:y|ies))", re.IGNORECASE)),
    (AgeGroup.TODDLER, re.compile(r"\b(?:малыш|toddler)", re.IGNORECASE)),
    (
        AgeGroup.KIDS,
        re.compile(
            r"\b(?:дет[исяе]|детск|реб[её]н|мальч|девоч|подрост|kid|child|boy|girl|junior|teen)",
            re.IGNORECASE,
        ),
    ),
    (AgeGroup.ADULT, re.compile(r"\b(?:взросл|adult)", re.IGNORECASE)),
)


@lru_cache(maxsize=4096)
def parse_gender(*words: str | None) -> Gender | None:
    """Return the gender that words name; both genders together are unisex.

        >>> parse_gender("м/ж")
        <Gender.UNISEX: 'unisex'>

    Args:
        words: Such as "Мужской", "girls" or "м/ж".

    Returns:
        The gender, or None if the words name none.
    """
    text = _join_words(words)
    is_male = bool(_MALE.search(text))
    is_female = bool(_FEMALE.search(text))
    if _UNISEX.search(text) or (is_male and is_female):
        return Gender.UNISEX
    if is_male:
        return Gender.MALE
    return Gender.FEMALE if is_female else None


@lru_cache(maxsize=4096)
def parse_age_group(*words: str | None) -> AgeGroup | None:
    """Return the youngest age group that words name.

    Args:
        words: Such as "Детский", "newborn" or "для мальчиков".

    Returns:
        The age group, or None if the words name none.
    """
    text = _join_words(words)
    return next((group for group, pattern in _AGES if pattern.search(text)), None)


def _join_words(words: tuple[str | None, ...]) -> str:
    """Return the words as one text, each cut to MAX_WORD_CHARS."""
    return " / ".join(word[:MAX_WORD_CHARS] for word in words if word)


_AVAILABILITY = {
    **dict.fromkeys(
        ("in stock", "instock", "available", "true", "yes", "1", "в наличии", "есть"),
        Availability.IN_STOCK,
    ),
    **dict.fromkeys(
        ("out of stock", "outofstock", "not available", "false", "no", "0", "нет в наличии", "нет"),
        Availability.OUT_OF_STOCK,
    ),
    **dict.fromkeys(("preorder", "pre order", "предзаказ"), Availability.PREORDER),
    **dict.fromkeys(("backorder", "back order"), Availability.BACKORDER),
    **dict.fromkeys(
        ("available for order", "on order", "под заказ", "на заказ"), Availability.ON_ORDER
    ),
}


def parse_availability(text: str) -> Availability | None:
    """Return the availability that words name.

    Args:
        text: Such as "In Stock", "out_of_stock" or "под заказ".

    Returns:
        The availability, or None for unknown words.
    """
    return _AVAILABILITY.get(" ".join(re.split(r"[\s_-]+", text.strip().lower())))
