"""Google Merchant feeds: RSS 2.0 and Atom 1.0. Elements go by their namespace, never by its prefix."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from lxml.etree import _Element as Element

from wearalike.feeds.normalize import availability_of
from wearalike.feeds.offers import RawOffer
from wearalike.feeds.sanitize import FeedWarning
from wearalike.tables import Availability

GOOGLE_NAMESPACE = "{http://base.google.com/ns/1.0}"
ATOM_NAMESPACE = "{http://www.w3.org/2005/Atom}"


class GoogleDialect:
    """Reads the items of an RSS 2.0 feed, or the entries of an Atom feed, in their order."""

    tags = ("item", f"{ATOM_NAMESPACE}entry")

    def __init__(self, warning_counts: Counter[FeedWarning]) -> None:
        self._warning_counts = warning_counts

    def parse_element(self, element: Element) -> RawOffer:
        """The offer in the shop's words. Google's elements win over RSS's and Atom's own of the same name."""
        own: dict[str, list[str]] = defaultdict(list)
        other: dict[str, list[str]] = defaultdict(list)
        for child in element:
            tag: Any = child.tag
            text = " ".join(child.itertext()) if len(child) else child.text
            if tag.startswith(GOOGLE_NAMESPACE):
                if text:
                    own[tag[len(GOOGLE_NAMESPACE) :]].append(text)
            elif tag == f"{ATOM_NAMESPACE}link" and child.get("href"):
                if child.get("rel", "alternate") == "alternate":
                    other["link"].append(child.get("href", ""))
            elif text:
                other[tag.removeprefix(ATOM_NAMESPACE)].append(text)
        return self._build_raw_offer(other | own)

    def _build_raw_offer(self, texts: dict[str, list[str]]) -> RawOffer:
        def one(*names: str) -> str:
            return next((texts[name][0] for name in names if name in texts), "")

        def many(*names: str) -> list[str]:
            return [text for name in names for text in texts.get(name, ())]

        price, sale_price, system = one("price"), one("sale_price"), one("size_system")
        return RawOffer(
            offer_id=one("id").strip(),
            group_id=one("item_group_id").lower(),  # Google compares it without case
            title=one("title"),
            url=one("link").strip(),
            brand=one("brand"),
            vendor_code=one("mpn"),
            category_ids=[],
            category_paths=[
                " > ".join(" ".join(part.split()) for part in path.split(">"))
                for path in many("product_type")
            ],
            google_category=one("google_product_category"),
            price=sale_price or price,
            old_price=price if sale_price else "",
            currency="",
            availability=self._parse_availability(one("availability")),
            genders=many("gender"),
            age_groups=many("age_group"),
            colours=_split_values(many("color")),
            sizes=[f"{size} {system}" for size in many("size")] if system else many("size"),
            materials=_split_values(many("material")),
            image_urls=many("image_link", "additional_image_link"),
            description=one("description", "summary", "content"),
            related_offer_ids=(),  # its feeds have no word for it
        )

    def _parse_availability(self, text: str) -> Availability:
        told = availability_of(text)
        if told is None:
            self._warning_counts[FeedWarning.UNKNOWN_AVAILABILITY] += 1
            return Availability.UNKNOWN
        return told


def _split_values(texts: Iterable[str]) -> list[str]:
    """The parts of "red/green": Google's way of several values in one element."""
    return [part for text in texts for part in text.split("/")]
