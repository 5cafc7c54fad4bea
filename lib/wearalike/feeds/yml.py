"""Yandex YML, and the dialects of it, such as Admitad's, with deletions and elements of their own.

One feed may mix the simplified form of an offer (`name`) and the form vendor.model (`typePrefix`,
`vendor`, `model`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from lxml.etree import _Element as Element

from wearalike.feeds.addresses import picture_texts
from wearalike.feeds.category_path import read_category_paths
from wearalike.feeds.collected import (
    CollectedTexts,
    FieldFinder,
    inner_text,
    value_texts,
    with_unit,
)
from wearalike.feeds.dialect import RawOffer, WithdrawnOffer
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.fields import Slot, fold_tag
from wearalike.feeds.normalize import MAX_WORD_CHARS, plain_text
from wearalike.feeds.stock import is_false, is_true
from wearalike.feeds.store_stock import iter_stock_texts
from wearalike.feeds.supplement import Supplement
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.feeds.yml_fields import YML_SLOTS
from wearalike.settings import ShopSettings
from wearalike.tables import Availability

# A deeper category tree counts as a cycle; no shop's tree comes near this.
MAX_CATEGORY_DEPTH = 64
# The slots whose elements are lists of values.
_LIST_SLOTS = frozenset((Slot.COLOUR, Slot.MATERIAL, Slot.PATTERN, Slot.GENDER))
# The attributes of an offer that need no look-up.
_PLAIN_ATTRIBUTES = frozenset(("id", "available", "group_id"))
# The attributes that name a category's parent.
_PARENT_ATTRIBUTES = frozenset(("parentid", "parent"))
_BETWEEN_IDS = re.compile(r"[\s,;|]+")


def _drop_namespaces(element: Element) -> None:
    """Remove the namespaces from an element and everything in it; YML has none."""
    for node in element.iter("{*}*"):
        if str(node.tag).startswith("{"):
            node.tag = str(node.tag).rpartition("}")[2]


class YmlDialect:
    """Reads the elements of one YML feed: currencies and categories, then offers."""

    tags = ("offer", "category", "currency")

    def __init__(
        self,
        shop: ShopSettings,
        vocabulary: Vocabulary,
        warning_counts: Counter[FeedWarning],
        reread_categories: Callable[[], Iterable[Element]],
    ) -> None:
        """Prepare to read one feed.

        Args:
            shop: The shop; its available_false tells what available="false" means.
            vocabulary: Reads the shop's words.
            warning_counts: Counts the repairs; this class adds to it.
            reread_categories: Reads the feed anew and yields its category elements. It is called
                only if an offer comes before every category.
        """
        self.finder = FieldFinder(YML_SLOTS, vocabulary)
        self._vocabulary = vocabulary
        self._warning_counts = warning_counts
        self._reread_categories = reread_categories
        # id -> (name, id of the parent)
        self._categories: dict[str, tuple[str, str]] = {}
        self._path_by_category_id: dict[str, str] = {}
        self._currency = ""
        self._unavailable = Availability(shop.available_false)
        self.supplement: Supplement | None = None

    def parse_element(self, element: Element) -> RawOffer | WithdrawnOffer | None:
        """Return the offer of an offer element; remember a category or currency.

        Args:
            element: An element with one of the tags.
        """
        if str(element.tag).startswith("{"):
            _drop_namespaces(element)
        if element.tag == "offer":
            if is_true(element.get("deleted")):
                return WithdrawnOffer(element.get("id", "").strip())
            return self._build_from_texts(self._collect_texts(element))
        if element.tag == "category":
            self._add_category(element)
        elif element.get("rate") in ("1", "1.0", "1.00"):
            self._currency = self._currency or element.get("id") or ""
        return None

    def collect_texts(self, element: Element) -> CollectedTexts | None:
        """Return the texts of an offer element; None for another element.

        Args:
            element: An element with one of the tags.
        """
        if str(element.tag).startswith("{"):
            _drop_namespaces(element)
        return self._collect_texts(element) if element.tag == "offer" else None

    def _collect_texts(self, element: Element) -> CollectedTexts:
        """Return the texts of an offer element by slot."""
        texts = CollectedTexts()
        self._add_attributes(element, texts)
        for child in element:
            tag: Any = child.tag
            if tag.__class__ is not str:
                continue
            if tag == "param":
                self._add_param(child, texts)
                continue
            found = self.finder.find(tag)
            if found is None:
                continue
            slot, is_fallback = found
            if slot is Slot.PICTURE:
                for address in picture_texts(child):
                    texts.add(slot, address, is_fallback)
            elif slot is Slot.OUTLETS or (slot is Slot.STOCK and len(child)):
                for text in iter_stock_texts(child, YML_SLOTS):
                    texts.add(Slot.STOCK, text)
            elif slot is Slot.TITLE_PART:
                texts.add(Slot.TITLE_PART, f"{tag}\n{inner_text(child)}")
            elif slot is Slot.AGE and tag == "age":
                if "mon" in child.get("unit", ""):
                    texts.add(slot, f"{child.text or ''} months")
            elif slot is Slot.CONDITION:
                texts.add(slot, child.get("type") or child.text)
            elif slot is Slot.RELATED_LIST:
                for ident in (child.text or "").split(","):
                    texts.add(Slot.RELATED, ident)
            elif slot in _LIST_SLOTS and len(child):
                for text in value_texts(child):
                    texts.add(slot, text, is_fallback)
            else:
                texts.add(slot, inner_text(child) if len(child) else child.text, is_fallback)
        return texts

    def _split_category_ids(self, text: str) -> list[str]:
        """Return the ids in a text; several are parted by commas, semicolons, bars or blanks."""
        if text in self._categories or not _BETWEEN_IDS.search(text):
            return [text]
        parts = [part for part in _BETWEEN_IDS.split(text) if part]
        self._read_all_categories()
        is_list = text not in self._categories and all(part in self._categories for part in parts)
        return parts if is_list else [text]

    def _add_attributes(self, element: Element, texts: CollectedTexts) -> None:
        """Add the attributes of an offer element."""
        for name, value in element.items():
            if name not in _PLAIN_ATTRIBUTES or not value.strip():
                found = self.finder.find(f"@{name}")
                if found is None:
                    continue
                slot = found[0]
                if slot is Slot.AVAILABILITY:
                    texts.add(slot, f"@{value}")
                    continue
            else:
                slot = YML_SLOTS["@" + name.replace("_", "")][0]
                value = f"@{value}" if slot is Slot.AVAILABILITY else value
            texts.add(slot, value)

    def _add_param(self, element: Element, texts: CollectedTexts) -> None:
        """Add a param to the attribute that its name means."""
        slot = self.finder.find_attribute(element.get("name") or "")
        if slot is None:
            return
        unit = element.get("unit")
        for text in value_texts(element) if len(element) else [element.text or ""]:
            if unit and slot is Slot.SIZE:
                text = with_unit(text, unit)
            elif unit and slot is Slot.AGE:
                text = f"{text} {unit}"
            texts.add(slot, text)

    def _build_from_texts(self, texts: CollectedTexts) -> RawOffer:
        """Return the offer of an offer's texts."""
        if self.supplement:
            self.supplement.apply(texts)
        first = texts.first
        many = texts.all_of
        texts_of_ids = [ident.strip() for ident in dict.fromkeys(many(Slot.CATEGORY_ID)) if ident]
        ids = [ident for text in texts_of_ids for ident in self._split_category_ids(text)]
        paths = [self._category_path(ident) for ident in ids]
        if not any(paths):
            # A category that the offer names in words counts where the tree says nothing.
            named = [read_category_paths(text) for text in many(Slot.CATEGORY) if text]
            paths = list(dict.fromkeys(chain.from_iterable(named))) or paths
        brand = first(Slot.BRAND)
        return RawOffer(  # by position: by name it takes three times as long
            (first(Slot.ID) or "").strip(),
            many(Slot.GROUP),
            first(Slot.TITLE) or _join_title(many(Slot.TITLE_PART), brand),
            first(Slot.URL),
            brand,
            first(Slot.VENDOR_CODE),
            many(Slot.GTIN),
            ids,
            paths,
            first(Slot.GOOGLE_CATEGORY),
            first(Slot.PRICE),
            many(Slot.SALE_PRICE),
            None,
            many(Slot.OLD_PRICE),
            first(Slot.CURRENCY),
            self._currency,
            self._read_availability(many(Slot.AVAILABILITY)),
            many(Slot.STOCK),
            many(Slot.EXPIRY),
            many(Slot.DISABLED),
            many(Slot.STATUS),
            many(Slot.GENDER),
            many(Slot.AGE),
            many(Slot.COLOUR),
            many(Slot.SIZE),
            many(Slot.MATERIAL),
            many(Slot.PATTERN),
            many(Slot.PICTURE),
            first(Slot.DESCRIPTION),
            many(Slot.RELATED),
            many(Slot.CONDITION),
            many(Slot.ADULT),
            many(Slot.DESTINATION),
        )

    def _read_availability(self, texts: Iterable[str | None]) -> Availability:
        """Return IN_STOCK unless an attribute, then an element, says otherwise.

        An attribute that is there and empty stands for no, as in the feeds of Prom.
        """
        said = []
        for text in texts:
            word = (text or "").removeprefix("@")
            if word == "true":
                continue
            if is_false(word):
                return self._unavailable
            if not word.strip():
                return Availability.OUT_OF_STOCK
            said.append(self._vocabulary.read_availability(word))
        if not said:
            return Availability.IN_STOCK
        for availability in said:
            if availability not in (Availability.IN_STOCK, Availability.UNKNOWN):
                return availability
        return Availability.IN_STOCK if Availability.IN_STOCK in said else Availability.UNKNOWN

    def _add_category(self, element: Element) -> None:
        """Remember a category of the tree; a category element elsewhere has another meaning."""
        parent = element.getparent()
        if parent is None or str(parent.tag).rpartition("}")[2] != "categories":
            return
        name = plain_text("".join(element.itertext())[:MAX_WORD_CHARS])
        ident = (element.get("id") or "").strip()
        parents = (value for key, value in element.items() if fold_tag(key) in _PARENT_ATTRIBUTES)
        self._categories[ident] = (name, next(filter(None, map(str.strip, parents)), ""))

    def _category_path(self, ident: str) -> str:
        """Return the names from the root to a category, joined by " > ".

        An undeclared category has the path "".
        """
        self._read_all_categories()
        if ident not in self._path_by_category_id:
            self._path_by_category_id[ident] = self._build_category_path(ident)
        path = self._path_by_category_id[ident]
        if not path:
            self._warning_counts[FeedWarning.UNKNOWN_CATEGORY] += 1
        return path

    def _read_all_categories(self) -> None:
        """Read the feed anew for its categories, once, if an offer comes before all of them."""
        if not self._categories:
            for element in self._reread_categories():
                self._add_category(element)
            self._categories[""] = ("", "")

    def _build_category_path(self, ident: str) -> str:
        """Return the path of a category, as far up as its parents are declared."""
        names: list[str] = []
        seen: set[str] = set()
        while ident and ident not in seen and len(names) < MAX_CATEGORY_DEPTH:
            if ident not in self._categories:
                if names:
                    self._warning_counts[FeedWarning.MISSING_PARENT] += 1
                break
            seen.add(ident)
            name, ident = self._categories[ident]
            names.append(name)
        else:
            if ident:
                self._warning_counts[FeedWarning.CATEGORY_CYCLE] += 1
        return " > ".join(filter(None, reversed(names)))


def _join_title(parts: Iterable[str | None], brand: str | None) -> str:
    """Return a title of typePrefix, brand and model."""
    named = dict(part.split("\n", 1) for part in parts if part)
    return " ".join(filter(None, (named.get("typePrefix"), brand, named.get("model"))))
