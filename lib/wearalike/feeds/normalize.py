"""Turn markup into plain text, and say why an offer cannot be used."""

from __future__ import annotations

import html
import re
import unicodedata
from enum import StrEnum


class OfferReason(StrEnum):
    """Why an offer cannot be used."""

    MISSING_ID = "missing_id"
    MISSING_TITLE = "missing_title"
    BAD_PRICE = "bad_price"
    BAD_URL = "bad_url"
    NO_PICTURE = "no_picture"
    DUPLICATE_ID = "duplicate_id"
    EXCLUDED = "excluded"
    BROKEN_ROW = "broken_row"
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
