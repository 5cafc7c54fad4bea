"""Google Merchant and Meta catalogue feeds: RSS 2.0, Atom 1.0, and tables with a head line.

Elements are recognised by their namespace, whatever its prefix is. Shops write the namespaces with
https, with a slash at the end, or not at all; each is understood.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from lxml.etree import _Element as Element

from wearalike.feeds.addresses import picture_texts
from wearalike.feeds.category_path import read_category_paths
from wearalike.feeds.collected import CollectedTexts, FieldFinder, inner_text, named_parts
from wearalike.feeds.dialect import UNIT_MARK, RawOffer
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.fields import Slot
from wearalike.feeds.google_fields import GOOGLE_SLOTS
from wearalike.feeds.related_products import RelatedProducts
from wearalike.feeds.supplement import Supplement
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.tables import Availability

_GOOGLE_NAMESPACE = re.compile(
    r"\s*(?:https?:)?(?://)?(?:www\.)?base\.google\.com/ns(?:/1\.\d)?/?\s*", re.IGNORECASE
)
_ATOM_NAMESPACE = re.compile(r"(?:https?:)?//(?:www\.)?w3\.org/2005/atom/?", re.IGNORECASE)
# The elements that name an attribute and its value, and the names of both in them.
_DETAIL_NAMES = ("label", "attribute_name", "name")
_DETAIL_VALUES = ("value", "attribute_value")
_PICTURE_SLOTS = frozenset((Slot.PICTURE, Slot.FURTHER_PICTURE))
# The prefix that shops bind to Google's namespace, or to a wrong one.
_GOOGLE_PREFIXES = ("g", "G")
# "image[0].url" is image; Meta's tables number what repeats.
_COLUMN_NUMBER = re.compile(r"\[\d+\](?:\.(?P<part>\w+))?(?:\[\d+\])?")


@lru_cache(maxsize=4096)
def _split_tag(tag: str, own_namespace: str) -> tuple[bool, str]:
    """Return whether a tag is one of Google's, and its name there.

    Args:
        tag: "{namespace}name", "name", or "prefix:name" of a prefix that is not declared.
        own_namespace: The namespace of the item; a default one says nothing about its children.

    Returns:
        The name alone for Google's, Atom's and the item's own namespace, else the whole tag.
    """
    namespace, _, name = tag.removeprefix("{").rpartition("}")
    prefix, _, bare_name = name.rpartition(":")
    if _GOOGLE_NAMESPACE.fullmatch(namespace) or (not namespace and prefix in _GOOGLE_PREFIXES):
        return True, bare_name
    if namespace == own_namespace or not namespace or _ATOM_NAMESPACE.fullmatch(namespace):
        return False, name
    return False, tag


def _trust_prefix(is_google: bool, name: str, child: Element) -> tuple[bool, str, Element]:
    """Return a child with Google's name if its prefix is "g" and its namespace is nobody's.

    Shops bind the prefix to any text. It counts only where no element is in Google's namespace.
    """
    if name[:1] == "{" and child.prefix in _GOOGLE_PREFIXES:
        return True, name.rpartition("}")[2], child
    return is_google, name, child


class GoogleDialect:
    """Reads the items of an RSS 2.0 feed, the entries of an Atom feed, or the rows of a table."""

    tags = ("item", "entry")

    def __init__(self, vocabulary: Vocabulary, warning_counts: Counter[FeedWarning]) -> None:
        """Prepare to read one feed.

        Args:
            vocabulary: Reads the shop's words.
            warning_counts: Counts the repairs; this class adds to it.
        """
        self.finder = FieldFinder(GOOGLE_SLOTS, vocabulary)
        self.supplement: Supplement | None = None
        self._vocabulary = vocabulary
        self._warning_counts = warning_counts
        self._related = RelatedProducts(self.finder.ignored_fields, warning_counts)

    def parse_element(self, element: Element) -> RawOffer:
        """Return the offer in the shop's words.

        Args:
            element: An item or entry.
        """
        return self._build_raw_offer(self.collect_texts(element))

    def parse_row(self, row: Mapping[str, str]) -> RawOffer:
        """Return the offer of a row of a table.

        Args:
            row: The texts by the names of their columns.
        """
        return self._build_raw_offer(self.collect_row(row))

    def collect_texts(self, element: Element) -> CollectedTexts:
        """Return the texts of an item by slot.

        An element of Google's namespace wins over one of RSS or Atom with the same name.

        Args:
            element: An item or entry.
        """
        own_namespace = str(element.tag).removeprefix("{").rpartition("}")[0]
        children: list[tuple[bool, str, Element]] = []
        for child in element:
            tag: Any = child.tag
            if tag.__class__ is str:
                children.append((*_split_tag(tag, own_namespace), child))
        if not any(is_google for is_google, _, _ in children):
            children = [_trust_prefix(*found) for found in children]
        # RSS and Atom have elements of the same names.
        names_in_google = {name for is_google, name, child in children if is_google and child.text}
        texts = CollectedTexts()
        for is_google, name, child in children:
            if not is_google and name in names_in_google:
                continue
            if name == "link" and child.get("href"):
                if child.get("rel", "alternate") == "alternate":
                    texts.add(Slot.URL, child.get("href"))
                continue
            found = self.finder.find(name)
            if found is None:
                continue
            if found[0] is Slot.PARAM:
                self._add_detail(child, texts)
            elif found[0] is Slot.RELATED:
                for ident in self._related.read_element(child):
                    texts.add(Slot.RELATED, ident)
            elif found[0] in _PICTURE_SLOTS and not len(child) and not child.text:
                for address in picture_texts(child):
                    texts.add(found[0], address, found[1])
            else:
                texts.add(found[0], _text_of(child), found[1])
        return texts

    def collect_row(self, row: Mapping[str, str]) -> CollectedTexts:
        """Return the texts of a row by slot.

        Args:
            row: The texts by the names of their columns.
        """
        texts = CollectedTexts()
        for column, text in row.items():
            if not text:
                continue
            number = _COLUMN_NUMBER.search(column)
            name = column[: number.start()] if number else column
            if number and number["part"] not in (None, "url"):
                continue  # a picture's tags
            name = re.sub(r"^g:", "", name.strip())
            found = self.finder.find(re.sub(r"[\s-]+", "_", name))
            if found is None:
                continue
            slot, is_fallback = found
            for value in _cell_values(text, slot):
                if slot is Slot.PARAM:
                    self._add_detail_text(value, texts)
                elif slot is Slot.RELATED:
                    for ident in self._related.read_text(value):
                        texts.add(Slot.RELATED, ident)
                else:
                    texts.add(slot, value, is_fallback)
        return texts

    def _add_detail(self, element: Element, texts: CollectedTexts) -> None:
        """Add an element that names an attribute and its value."""
        parts = named_parts(element)
        if not parts:
            self._add_detail_text(element.text or "", texts)
            return
        name = next((parts[key] for key in _DETAIL_NAMES if key in parts), "")
        value = next((parts[key] for key in _DETAIL_VALUES if key in parts), "")
        self._add_named(name, value, texts)

    def _add_detail_text(self, text: str, texts: CollectedTexts) -> None:
        """Add details in one text: "section:name:value", or {label: Size, value: S}."""
        labelled = re.findall(r"label\W+([^,}\"]+)\"?\W+value\W+([^,}\"]+)", text)
        if labelled:
            for name, value in labelled:
                self._add_named(name, value, texts)
            return
        for part in text.split(","):
            *_, name, value = ["", "", *part.rsplit(":", 2)][-3:]
            self._add_named(name, value, texts)

    def _add_named(self, name: str, value: str, texts: CollectedTexts) -> None:
        """Add the value of an attribute that a text names."""
        if not name.strip() or not value.strip():
            return
        slot = self.finder.find_attribute(name)
        if slot is not None:
            texts.add(slot, value, is_fallback=True)

    def _build_raw_offer(self, texts: CollectedTexts) -> RawOffer:
        """Return the offer of an item's texts."""
        if self.supplement:
            self.supplement.apply(texts)
        first, all_of = texts.first, texts.all_of
        size_system = first(Slot.SIZE_SYSTEM)
        sizes = all_of(Slot.SIZE)
        paths = (read_category_paths(text) for text in all_of(Slot.CATEGORY) if text)
        dates = first(Slot.SALE_DATES)
        start, end = first(Slot.SALE_START), first(Slot.SALE_END)
        words = first(Slot.AVAILABILITY)
        said: Availability | None = None
        if words:
            said = self._vocabulary.read_availability(words)
        elif not all_of(Slot.STOCK):
            said = Availability.UNKNOWN
            self._vocabulary.count_unknown("availability", "")
        return RawOffer(
            offer_id=(first(Slot.ID) or "").strip(),
            group_ids=[(text or "").lower() for text in all_of(Slot.GROUP)],  # as Google does
            title=first(Slot.TITLE),
            url=(first(Slot.URL) or "").strip(),
            brand=first(Slot.BRAND),
            vendor_code=first(Slot.VENDOR_CODE),
            gtins=all_of(Slot.GTIN),
            category_ids=[],
            category_paths=list(dict.fromkeys(chain.from_iterable(paths))),
            google_category=first(Slot.GOOGLE_CATEGORY),
            price=first(Slot.PRICE),
            sale_prices=all_of(Slot.SALE_PRICE),
            sale_dates=dates or (f"{start or ''}/{end or ''}" if start or end else None),
            old_prices=all_of(Slot.OLD_PRICE),
            currency="",
            feed_currency="",
            availability=said,
            stocks=all_of(Slot.STOCK),
            expiries=all_of(Slot.EXPIRY),
            disabled=(),
            statuses=all_of(Slot.STATUS),
            genders=all_of(Slot.GENDER),
            ages=all_of(Slot.AGE),
            colours=all_of(Slot.COLOUR),
            sizes=[f"{s}{UNIT_MARK}{size_system}" for s in sizes] if size_system else sizes,
            materials=all_of(Slot.MATERIAL),
            patterns=all_of(Slot.PATTERN),
            image_urls=[*all_of(Slot.PICTURE), *all_of(Slot.FURTHER_PICTURE)],
            description=first(Slot.DESCRIPTION),
            related_offer_ids=all_of(Slot.RELATED),
            conditions=all_of(Slot.CONDITION),
            adult=all_of(Slot.ADULT),
            excluded_destinations=all_of(Slot.DESTINATION),
        )


def _text_of(element: Element) -> str | None:
    """Return the text of an element; of a structured one its content, of pictures their url."""
    if not len(element):
        return element.text
    named = {str(child.tag).rpartition("}")[2]: child for child in element}
    for name in ("content", "url"):
        if name in named:
            return inner_text(named[name])
    return " ".join(element.itertext())


def _cell_values(text: str, slot: Slot) -> Iterable[str]:
    """Return the values of a table's cell: those of a list in JSON, or the text alone."""
    if text[:1] not in "[{":
        return [text]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    if slot is Slot.PARAM:
        return [text]
    values = content if isinstance(content, list) else [content]
    return [str(v.get("url", "")) if isinstance(v, dict) else str(v) for v in values]
