"""Why a feed is refused, and which faults of a feed are repaired and counted."""

from __future__ import annotations

from enum import StrEnum


class FeedReason(StrEnum):
    """Why a shop's feed is not used; its last good offers stay."""

    NOT_FETCHED = "not_fetched"
    CLOSED = "closed"
    EMPTY = "empty"
    HTML_PAGE = "html_page"
    NOT_XML = "not_xml"
    WRONG_ROOT = "wrong_root"
    BROKEN = "broken"
    TRUNCATED = "truncated"
    ENTITIES = "entities"
    TOO_LARGE = "too_large"
    ARCHIVE = "archive"
    BAD_ENCODING = "bad_encoding"
    TOO_FEW = "too_few"
    TOO_MANY_LOST = "too_many_lost"
    TOO_MANY_NEW = "too_many_new"
    TOO_MANY_UNMAPPED = "too_many_unmapped"
    UNEXPECTED = "unexpected"


# The advice to an operator whose feed was not used.
ADVICE = {
    FeedReason.NOT_FETCHED: "check the address, the credentials and the shop's server, "
    "then run again with --force",
    FeedReason.CLOSED: "the affiliate network has closed the shop: remove it from the settings, "
    "or ask for a new feed address",
    FeedReason.EMPTY: "ask the shop why its feed is empty",
    FeedReason.HTML_PAGE: "the address returns a web page: check it and its credentials "
    "in a browser",
    FeedReason.NOT_XML: "choose the shop's XML export, or Google's TSV or CSV; JSON is not read",
    FeedReason.WRONG_ROOT: "check the address, and the shop's dialect in the settings",
    FeedReason.BROKEN: "ask the shop to repair its export at the named line; "
    "the fault may stand some lines above it",
    FeedReason.TRUNCATED: "the feed was cut off: run again later with --force; "
    "ask the shop if it happens again",
    FeedReason.ENTITIES: "ask the shop for a feed without a DTD of its own; a DTD is never read",
    FeedReason.TOO_LARGE: "if the size is right, raise max_feed_bytes of the shop; "
    "a bomb of gzip or zip stays refused",
    FeedReason.ARCHIVE: "ask the shop for a zip with one feed in it and no password, or for gzip",
    FeedReason.BAD_ENCODING: "ask the shop for a feed in UTF-8, or to declare the encoding "
    "that it writes",
    FeedReason.TOO_FEW: "see the refused rows of the table feeds for the reasons; "
    "if the shop is that small now, lower min_offers of the shop",
    FeedReason.TOO_MANY_LOST: "if the loss is real, raise max_drop_ratio of the shop for one run",
    FeedReason.TOO_MANY_NEW: "if the shop has grown so much, raise max_growth_ratio of the shop "
    "for one run",
    FeedReason.TOO_MANY_UNMAPPED: "map the shop's new words, then run again with --force; "
    "if it does sell other things now, raise max_drop_ratio of the shop for one run",
    FeedReason.UNEXPECTED: "this is a fault of wearalike: report it with the traceback in the log",
}


class BadFeed(ValueError):
    """A feed none of whose offers may be used.

    Attributes:
        reason: Why.
        detail: The value found and the value wanted.
    """

    def __init__(self, reason: FeedReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FeedWarning(StrEnum):
    """A fault of a feed or of one of its offers that was repaired and counted."""

    ENCODING = "encoding"
    LEADING_CHARACTERS = "leading_characters"
    TRAILING_CHARACTERS = "trailing_characters"
    TABLE_QUOTES = "table_quotes"
    UNDECLARED_NAMESPACE = "undeclared_namespace"
    STRAY_BYTES = "stray_bytes"
    AMPERSAND = "ampersand"
    BARE_MARKUP = "bare_markup"
    HTML_TAG = "html_tag"
    INSTRUCTION = "instruction"
    ENTITY = "entity"
    CONTROL_CHARACTER = "control_character"
    LONG_TEXT = "long_text"
    OLD_DATE = "old_date"
    MANY_VALUES = "many_values"
    BAD_IMAGE_URL = "bad_image_url"
    BAD_URL = "bad_url"
    REPAIRED_IMAGE_URL = "repaired_image_url"
    BAD_OLD_PRICE = "bad_old_price"
    BAD_SALE_PRICE = "bad_sale_price"
    BAD_SALE_DATES = "bad_sale_dates"
    BAD_EXPIRY = "bad_expiry"
    BAD_GTIN = "bad_gtin"
    BAD_RELATED_ID = "bad_related_id"
    NO_CURRENCY = "no_currency"
    UNKNOWN_CURRENCY = "unknown_currency"
    UNKNOWN_AVAILABILITY = "unknown_availability"
    UNKNOWN_WORD = "unknown_word"
    BAD_SUPPLEMENT = "bad_supplement"
    UNUSED_SUPPLEMENT = "unused_supplement"
    UNKNOWN_CATEGORY = "unknown_category"
    MISSING_PARENT = "missing_parent"
    CATEGORY_CYCLE = "category_cycle"
