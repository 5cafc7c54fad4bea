"""Yandex YML, and Admitad's XML: YML with deletions and with elements of each shop's own.

One feed may mix the simplified form of an offer (`name`) and the form vendor.model (`typePrefix`,
`vendor`, `model`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from wearalike.feeds.addresses import PICTURE_ELEMENTS, picture_texts
from wearalike.feeds.dialect import RawOffer, WithdrawnOffer, parse_known_availability
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.normalize import MAX_WORD_CHARS, plain_text
from wearalike.settings import ShopSettings
from wearalike.tables import Availability

# A deeper category tree counts as a cycle; no shop's tree comes near this.
MAX_CATEGORY_DEPTH = 64
# Shops write unescaped tags inside these.
_MARKUP_ELEMENTS = frozenset(("name", "model", "typePrefix", "description"))
# The list of an offer that an element, or a param of that name, adds a value to.
_LIST_BY_ELEMENT = {
    "categoryId": "categoryId",
    "related_offer": "related",
    **dict.fromkeys(("oldprice", "oldPrice", "old_price", "price_old"), "old_prices"),
    "price_promo": "sale_prices",
    **dict.fromkeys(("gender", "Gender"), "genders"),
    **dict.fromkeys(("color", "Color", "colour", "Colour"), "colours"),
    **dict.fromkeys(("size", "Size"), "sizes"),
    **dict.fromkeys(("material", "Material"), "materials"),
}
_LIST_BY_PARAM = {
    **dict.fromkeys(("цвет", "color", "colour"), "colours"),
    **dict.fromkeys(("пол", "gender", "sex"), "genders"),
    **dict.fromkeys(("возраст", "возрастная группа", "age", "age group"), "ages"),
    **dict.fromkeys(("размер", "size"), "sizes"),
    **dict.fromkeys(("материал", "состав", "material", "composition"), "materials"),
}
_TRUE_WORDS = ("true", "1", "yes")
_FALSE_WORDS = ("false", "0", "no")


@lru_cache(maxsize=4096)
def _list_of_param(name: str | None) -> str | None:
    """Return the list that a param adds to, or None for the many params that are not used."""
    return _LIST_BY_PARAM.get(" ".join((name or "").split()).lower())


def _drop_namespaces(element: Element) -> None:
    """Remove the namespaces from an element and everything in it; YML has none."""
    for node in element.iter("{*}*"):
        node.tag = etree.QName(node).localname


class YmlDialect:
    """Reads the elements of one YML feed: currencies and categories, then offers."""

    tags = ("offer", "category", "currency")

    def __init__(
        self,
        shop: ShopSettings,
        warning_counts: Counter[FeedWarning],
        reread_categories: Callable[[], Iterable[Element]],
    ) -> None:
        """Prepare to read one feed.

        Args:
            shop: The shop; its available_false tells what available="false" means.
            warning_counts: Counts the repairs; this class adds to it.
            reread_categories: Reads the feed anew and yields its category elements. It is called
                only if an offer comes before every category.
        """
        self._warning_counts = warning_counts
        self._reread_categories = reread_categories
        # id -> (name, id of the parent)
        self._categories: dict[str, tuple[str, str]] = {}
        self._path_by_category_id: dict[str, str] = {}
        self._currency = ""
        self._unavailable = Availability(shop.available_false)

    def parse_element(self, element: Element) -> RawOffer | WithdrawnOffer | None:
        """Return the offer of an offer element; remember a category or currency.

        Args:
            element: An element with one of the tags.
        """
        if str(element.tag).startswith("{"):
            _drop_namespaces(element)
        if element.tag == "offer":
            if element.get("deleted", "").strip().lower() in _TRUE_WORDS:
                return WithdrawnOffer(element.get("id", "").strip())
            return self._build_raw_offer(element)
        if element.tag == "category":
            self._add_category(element)
        elif element.get("rate") in ("1", "1.0", "1.00"):
            self._currency = self._currency or element.get("id") or ""
        return None

    def _build_raw_offer(self, element: Element) -> RawOffer:
        """Return the offer of an offer element in the shop's words."""
        texts: dict[str, str | None] = {}
        lists: dict[str, list[str | None]] = defaultdict(list)
        for child in element:
            tag: Any = child.tag
            if tag.__class__ is not str:
                continue
            text = child.text
            if tag == "param":
                if kind := _list_of_param(child.get("name")):
                    unit = child.get("unit") if kind == "sizes" else None
                    lists[kind].append(f"{text} {unit}" if unit and text else text)
            elif tag == "rec":
                lists["related"] += (text or "").split(",")
            elif tag in PICTURE_ELEMENTS:
                lists["pictures"] += picture_texts(child)
            elif tag in _LIST_BY_ELEMENT:
                lists[_LIST_BY_ELEMENT[tag]].append(text)
            elif tag in _MARKUP_ELEMENTS and len(child):
                texts[tag] = " ".join(child.itertext())
            else:
                texts[tag] = text
        one = texts.get
        many = lists.get
        title = one("name") or " ".join(
            filter(None, (one("typePrefix"), one("vendor"), one("model")))
        )
        ids = [ident.strip() for ident in dict.fromkeys(many("categoryId", ())) if ident]
        return RawOffer(  # by position: by name it takes three times as long
            element.get("id", "").strip(),
            element.get("group_id"),
            title,
            one("url"),
            one("vendor"),
            one("vendorCode"),
            ids,
            [self._category_path(ident) for ident in ids],
            None,
            one("price"),
            many("sale_prices", ()),
            None,
            many("old_prices", ()),
            one("currencyId"),
            self._currency,
            self._parse_availability(element.get("available"), one("available")),
            many("genders", ()),
            many("ages", ()),
            many("colours", ()),
            many("sizes", ()),
            many("materials", ()),
            many("pictures", ()),
            one("description"),
            many("related", ()),
        )

    def _parse_availability(self, attribute: str | None, text: str | None) -> Availability:
        """Return IN_STOCK unless the attribute or the element `available` contradicts."""
        if attribute and attribute != "true" and attribute.strip().lower() in _FALSE_WORDS:
            return self._unavailable
        if not text:
            return Availability.IN_STOCK
        if text.strip().lower() == "false":
            return self._unavailable
        return parse_known_availability(text, self._warning_counts)

    def _add_category(self, element: Element) -> None:
        """Remember a category of the tree; a category element elsewhere has another meaning."""
        parent = element.getparent()
        if parent is None or etree.QName(parent).localname != "categories":
            return
        name = plain_text("".join(element.itertext())[:MAX_WORD_CHARS])
        ident = (element.get("id") or "").strip()
        self._categories[ident] = (name, (element.get("parentId") or "").strip())

    def _category_path(self, ident: str) -> str:
        """Return the names from the root to a category, joined by " > ".

        An undeclared category has the path "".
        """
        if not self._categories:
            for element in self._reread_categories():
                self._add_category(element)
            self._categories[""] = ("", "")  # so that the feed is read again only once
        if ident not in self._path_by_category_id:
            self._path_by_category_id[ident] = self._build_category_path(ident)
        path = self._path_by_category_id[ident]
        if not path:
            self._warning_counts[FeedWarning.UNKNOWN_CATEGORY] += 1
        return path

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
