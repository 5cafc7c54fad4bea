"""Google Merchant feeds: RSS 2.0 and Atom 1.0.

Elements are recognised by their namespace, whatever its prefix is. Shops write the namespaces with
https, with a slash at the end, or not at all; each is understood.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from lxml.etree import _Element as Element

from wearalike.feeds.dialect import RawOffer, parse_known_availability
from wearalike.feeds.errors import FeedWarning

_GOOGLE_NAMESPACE = re.compile(r"(?:https?:)?//base\.google\.com/ns(?:/1\.0)?/?", re.IGNORECASE)
_ATOM_NAMESPACE = re.compile(r"(?:https?:)?//(?:www\.)?w3\.org/2005/atom/?", re.IGNORECASE)


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
    if _GOOGLE_NAMESPACE.fullmatch(namespace) or (not namespace and name.startswith("g:")):
        return True, name.removeprefix("g:")
    if namespace == own_namespace or not namespace or _ATOM_NAMESPACE.fullmatch(namespace):
        return False, name
    return False, tag


class GoogleDialect:
    """Reads the items of an RSS 2.0 feed or the entries of an Atom feed."""

    tags = ("item", "entry")

    def __init__(self, warning_counts: Counter[FeedWarning]) -> None:
        """Prepare to read one feed.

        Args:
            warning_counts: Counts the repairs; this class adds to it.
        """
        self._warning_counts = warning_counts

    def parse_element(self, element: Element) -> RawOffer:
        """Return the offer in the shop's words.

        An element of Google's namespace wins over one of RSS or Atom with the same name.

        Args:
            element: An item or entry.
        """
        own_namespace = str(element.tag).removeprefix("{").rpartition("}")[0]
        google_texts: dict[str, list[str]] = defaultdict(list)
        other_texts: dict[str, list[str]] = defaultdict(list)
        for child in element:
            tag: Any = child.tag
            if tag.__class__ is not str:
                continue
            text = " ".join(child.itertext()) if len(child) else child.text
            is_google, name = _split_tag(tag, own_namespace)
            if is_google:
                if text:
                    google_texts[name].append(text)
            elif name == "link" and child.get("href"):
                if child.get("rel", "alternate") == "alternate":
                    other_texts["link"].append(child.get("href", ""))
            elif text:
                other_texts[name].append(text)
        return self._build_raw_offer(other_texts | google_texts)

    def _build_raw_offer(self, texts: dict[str, list[str]]) -> RawOffer:
        """Return the offer of an item's texts by element name."""

        def first(*names: str) -> str:
            return next((texts[name][0] for name in names if name in texts), "")

        def all_of(*names: str) -> list[str]:
            return [text for name in names for text in texts.get(name, ())]

        size_system = first("size_system")
        sizes = all_of("size")
        return RawOffer(
            offer_id=first("id").strip(),
            group_id=first("item_group_id").lower(),  # Google ignores its case
            title=first("title"),
            url=first("link").strip(),
            brand=first("brand"),
            vendor_code=first("mpn"),
            category_ids=[],
            category_paths=[_clean_path(path) for path in all_of("product_type")],
            google_category=first("google_product_category"),
            price=first("price"),
            sale_prices=all_of("sale_price"),
            sale_dates=first("sale_price_effective_date"),
            old_prices=(),
            currency="",
            feed_currency="",
            availability=parse_known_availability(first("availability"), self._warning_counts),
            genders=all_of("gender"),
            age_groups=all_of("age_group"),
            colours=_split_values(all_of("color")),
            sizes=[f"{size} {size_system}" for size in sizes] if size_system else sizes,
            materials=_split_values(all_of("material")),
            image_urls=all_of("image_link", "additional_image_link"),
            description=first("description", "summary", "content"),
            related_offer_ids=(),  # the format has no element for them
        )


def _clean_path(path: str) -> str:
    """Return a category path with " > " between its parts and single spaces within them."""
    return " > ".join(" ".join(part.split()) for part in path.split(">"))


def _split_values(texts: Iterable[str]) -> list[str]:
    """Return the parts of texts such as "red/green": Google's way to give several values."""
    return [part for text in texts for part in text.split("/")]
