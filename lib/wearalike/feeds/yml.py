"""Yandex YML, and the dialects of it, such as Admitad's, with deletions and elements of their own.

One feed may mix the simplified form of an offer (`name`) and the form vendor.model (`typePrefix`,
`vendor`, `model`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from types import SimpleNamespace
from typing import Any

from lxml.etree import _Element as Element

from wearalike.feeds.addresses import picture_texts
from wearalike.feeds.category_path import read_category_paths
from wearalike.feeds.category_tree import CategoryTree
from wearalike.feeds.collected import (
    CollectedTexts,
    FieldFinder,
    inner_text,
    value_texts,
)
from wearalike.feeds.dialect import UNIT_MARK, RawOffer, Texts, WithdrawnOffer
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.fields import MAX_KNOWN_TAGS, Slot
from wearalike.feeds.normalize import MAX_WORD_CHARS
from wearalike.feeds.stock import is_false, is_true
from wearalike.feeds.store_stock import iter_stock_texts
from wearalike.feeds.supplement import Supplement
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.feeds.yml_fields import YML_SLOTS
from wearalike.settings import ShopSettings
from wearalike.tables import Availability

# The slots by name: a member of an enumeration is found ten times slower by its class.
_SLOTS = SimpleNamespace(**Slot.__members__)
_IN_STOCK = Availability.IN_STOCK
# The slots whose elements are lists of values.
_LIST_SLOTS = frozenset((Slot.COLOUR, Slot.MATERIAL, Slot.PATTERN, Slot.GENDER))
# The slots whose elements are read in a way of their own, even if they hold no others.
_SPECIAL_SLOTS = frozenset((Slot.OUTLETS, Slot.TITLE_PART, Slot.CONDITION, Slot.RELATED_LIST))
# The slots of params whose unit counts.
_UNIT_SLOTS = frozenset((Slot.SIZE, Slot.AGE))
# The attributes of an offer that need no look-up.
_PLAIN_ATTRIBUTES = {"id": Slot.ID, "available": Slot.AVAILABILITY, "group_id": Slot.GROUP}
_NOTHING = (None,)
# Nearly every offer says this of its availability.
_IS_THERE = ["@true"]


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
        self._categories = CategoryTree(warning_counts, reread_categories)
        self._currency = ""
        self._unavailable = Availability(shop.available_false)
        self.supplement: Supplement | None = None
        # The slots of the fields and params met so far whose text alone counts.
        self._plain_fields: dict[str, Slot] = {}
        self._plain_params: dict[str | None, Slot] = {}

    def parse_element(self, element: Element) -> RawOffer | WithdrawnOffer | None:
        """Return the offer of an offer element; remember a category or currency.

        Args:
            element: An element with one of the tags.
        """
        tag = element.tag
        if str(tag).startswith("{"):
            _drop_namespaces(element)
            tag = element.tag
        if tag == "offer":
            deleted = element.get("deleted")
            if deleted and is_true(deleted):
                return WithdrawnOffer(element.get("id", "").strip())
            return self._build_from_texts(self._collect_texts(element))
        if tag == "category":
            self._categories.add(element)
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
        # Most of an offer's elements hold a text alone; a call for each would double the time.
        by_slot, plain_fields, plain_params = texts.own, self._plain_fields, self._plain_params
        for child in element:
            tag: Any = child.tag
            if tag == "param":
                slot = plain_params.get(child.get("name"))
                if slot is None or len(child):
                    self._add_param(child, texts)
                    continue
                text = child.text
                if slot in _UNIT_SLOTS and (unit := child.get("unit")):
                    text = _append_unit(slot, text or "", unit)
            else:
                slot = plain_fields.get(tag)
                if slot is None or len(child) or not (text := child.text):
                    if tag.__class__ is str:
                        self._add_field(tag, child, texts)
                    continue
            if not text or text.isspace():
                continue
            if slot in by_slot:
                by_slot[slot].append(text)
            else:
                by_slot[slot] = [text]
        return texts

    def _add_field(self, tag: str, element: Element, texts: CollectedTexts) -> None:
        """Add the texts of an element of an offer to the slot of its field."""
        found = self.finder.find(tag)
        if found is None:
            return
        slot, is_fallback = found
        if slot is Slot.PICTURE:
            for address in picture_texts(element):
                texts.add(slot, address, is_fallback)
        elif slot is Slot.OUTLETS or (slot is Slot.STOCK and len(element)):
            for text in iter_stock_texts(element, YML_SLOTS):
                texts.add(Slot.STOCK, text)
        elif slot is Slot.TITLE_PART:
            texts.add(Slot.TITLE_PART, f"{tag}\n{inner_text(element)}")
        elif slot is Slot.AGE and tag == "age":
            if "mon" in element.get("unit", ""):
                texts.add(slot, f"{element.text or ''} months")
            return
        elif slot is Slot.CONDITION:
            texts.add(slot, element.get("type") or element.text)
        elif slot is Slot.RELATED_LIST:
            for ident in (element.text or "").split(","):
                texts.add(Slot.RELATED, ident)
        elif slot in _LIST_SLOTS and len(element):
            for text in value_texts(element):
                texts.add(slot, text, is_fallback)
        else:
            texts.add(slot, inner_text(element) if len(element) else element.text, is_fallback)
        if not is_fallback and slot not in _SPECIAL_SLOTS:
            if len(self._plain_fields) >= MAX_KNOWN_TAGS:
                self._plain_fields.clear()
            self._plain_fields[tag] = slot

    def _add_attributes(self, element: Element, texts: CollectedTexts) -> None:
        """Add the attributes of an offer element."""
        availability, by_slot = _SLOTS.AVAILABILITY, texts.own
        for name, value in element.items():
            slot = _PLAIN_ATTRIBUTES.get(name)
            if slot is None or not value or value.isspace():
                found = self.finder.find(f"@{name}")
                if found is None:
                    continue
                slot = found[0]
                texts.add(slot, f"@{value}" if slot is availability else value)
            else:
                by_slot.setdefault(slot, []).append(f"@{value}" if slot is availability else value)

    def _add_param(self, element: Element, texts: CollectedTexts) -> None:
        """Add a param to the attribute that its name means."""
        name = element.get("name") or ""
        slot = self.finder.find_attribute(name)
        if slot is None:
            return
        if len(name) <= MAX_WORD_CHARS and len(self._plain_params) < MAX_KNOWN_TAGS:
            self._plain_params[name] = slot
        unit = element.get("unit") if slot in _UNIT_SLOTS else None
        for text in value_texts(element):
            texts.add(slot, _append_unit(slot, text, unit) if unit else text)

    def _build_from_texts(self, texts: CollectedTexts) -> RawOffer:
        """Return the offer of an offer's texts."""
        if self.supplement:
            self.supplement.apply(texts)
        slots = _SLOTS
        many = texts.by_slot().get
        ids, paths = self._categories.find_paths(many(slots.CATEGORY_ID, ()))
        if (names := many(slots.CATEGORY)) and not any(paths):
            # A category that the offer names in words counts where the tree says nothing.
            named = chain.from_iterable(read_category_paths(name) for name in names if name)
            paths = list(dict.fromkeys(named)) or paths
        brand = many(slots.BRAND, _NOTHING)[0]
        return RawOffer(  # by position: by name it takes three times as long
            (many(slots.ID, _NOTHING)[0] or "").strip(),
            many(slots.GROUP, ()),
            many(slots.TITLE, _NOTHING)[0] or _join_title(many(slots.TITLE_PART, ()), brand),
            many(slots.URL, _NOTHING)[0],
            brand,
            many(slots.VENDOR_CODE, _NOTHING)[0],
            many(slots.GTIN, ()),
            ids,
            paths,
            many(slots.GOOGLE_CATEGORY, _NOTHING)[0],
            many(slots.PRICE, _NOTHING)[0],
            many(slots.SALE_PRICE, ()),
            None,
            many(slots.OLD_PRICE, ()),
            many(slots.CURRENCY, _NOTHING)[0],
            self._currency,
            self._read_availability(many(slots.AVAILABILITY, ())),
            many(slots.STOCK, ()),
            many(slots.EXPIRY, ()),
            many(slots.DISABLED, ()),
            many(slots.STATUS, ()),
            many(slots.GENDER, ()),
            many(slots.AGE, ()),
            many(slots.COLOUR, ()),
            many(slots.SIZE, ()),
            many(slots.MATERIAL, ()),
            many(slots.PATTERN, ()),
            many(slots.PICTURE, ()),
            many(slots.DESCRIPTION, _NOTHING)[0],
            many(slots.RELATED, ()),
            many(slots.CONDITION, ()),
            many(slots.ADULT, ()),
            many(slots.DESTINATION, ()),
        )

    def _read_availability(self, texts: Texts) -> Availability:
        """Return IN_STOCK unless an attribute, then an element, says otherwise.

        An attribute that is there and empty stands for no, as in the feeds of Prom.
        """
        if not texts or texts == _IS_THERE:
            return _IN_STOCK
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


def _append_unit(slot: Slot, text: str, unit: str) -> str:
    """Return a text of sizes or of an age with its unit."""
    return f"{text} {unit}" if slot is _SLOTS.AGE else f"{text}{UNIT_MARK}{unit}"


def _join_title(parts: Iterable[str | None], brand: str | None) -> str:
    """Return a title of typePrefix, brand and model."""
    named = dict(part.split("\n", 1) for part in parts if part)
    return " ".join(filter(None, (named.get("typePrefix"), brand, named.get("model"))))
