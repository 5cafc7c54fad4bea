"""Fields of feeds: one declaration for each dialect, which its reader obeys and the docs print.

A field is read into a slot of an offer's texts, or ignored on purpose. Elements that no declaration
names are counted by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

# Bounds what a hostile feed, which names each element otherwise, may fill.
MAX_KNOWN_TAGS = 10_000


class Slot(StrEnum):
    """The part of an offer that a field is read into."""

    ID = "offer_id"
    GROUP = "group_id"
    TITLE = "title"
    TITLE_PART = "title, where there is no name"
    URL = "url"
    BRAND = "brand"
    VENDOR_CODE = "vendor_code"
    GTIN = "gtins"
    CATEGORY_ID = "category_ids"
    CATEGORY = "category_paths"
    GOOGLE_CATEGORY = "google_category"
    PRICE = "price_cents"
    SALE_PRICE = "price_cents, if it is lower and on"
    SALE_DATES = "days of the sale price"
    SALE_START = "first day of the sale price"
    SALE_END = "last day of the sale price"
    OLD_PRICE = "old_price_cents"
    CURRENCY = "currency"
    AVAILABILITY = "availability"
    STOCK = "availability, by numbers"
    OUTLETS = "availability, by the stock of outlets"
    EXPIRY = "availability: none after this day"
    DISABLED = "availability: none if true"
    STATUS = "availability: none if archived or hidden"
    GENDER = "gender"
    AGE = "age_group"
    COLOUR = "colours"
    SIZE = "sizes"
    SIZE_SYSTEM = "sizes, appended"
    MATERIAL = "materials"
    PATTERN = "patterns"
    PICTURE = "image_urls"
    FURTHER_PICTURE = "image_urls, after image_link"
    DESCRIPTION = "description"
    RELATED = "related_offer_ids"
    RELATED_LIST = "related_offer_ids, comma-separated"
    CONDITION = "setting excluded_conditions"
    ADULT = "setting exclude_adult"
    DESTINATION = "setting excluded_destinations"
    PARAM = "an attribute, by its name in attributes.xml"
    DELETED = "withdraws the offer"
    IGNORED = ""


class Field(NamedTuple):
    """A field of a dialect.

    Attributes:
        name: Its name as the dialect's documents write it; "@" before that of an attribute.
        slot: The part of an offer it is read into; IGNORED for none.
        note: Why it is ignored, or how it is read.
    """

    name: str
    slot: Slot
    note: str = ""


def fold_tag(name: str) -> str:
    """Return a name as names of fields are compared: no letter case, "_", "-" or blank.

    >>> fold_tag("oldPrice") == fold_tag("old_price")
    True
    """
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")


def index_fields(fields: Iterable[Field]) -> Mapping[str, tuple[Slot, bool]]:
    """Return the fields by their folded names: slot, and if another field goes first."""
    return {
        fold_tag(field.name): (field.slot, field.note.startswith("where there is no"))
        for field in fields
    }


def fields_of(slot: Slot, *names: str, note: str = "") -> tuple[Field, ...]:
    """Return fields that are read into one slot, or ignored for one reason."""
    return tuple(Field(name, slot, note) for name in names)


def markdown(dialect_names: str, fields: Iterable[Field]) -> str:
    """Return the fields of a dialect as a table in Markdown.

    Args:
        dialect_names: The dialects, for the heading.
        fields: The fields.
    """
    lines = [f"### {dialect_names}", "", "| field | read into | note |", "|---|---|---|"]
    for field in sorted(fields, key=lambda field: (not field.slot, field.name.casefold())):
        name = f"attribute {field.name[1:]}" if field.name.startswith("@") else field.name
        lines.append(f"| `{name}` | {field.slot or 'ignored'} | {field.note} |")
    return "\n".join(lines)
