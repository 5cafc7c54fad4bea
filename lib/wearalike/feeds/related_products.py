"""The field related_product of Google's feeds: products that are sold beside one, by their ids.

The format: https://support.google.com/merchants/answer/17085213
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping

from lxml.etree import _Element as Element

from wearalike.feeds.collected import named_parts
from wearalike.feeds.errors import FeedWarning

# Relationships that are cross-sell, and those to what may be bought in place of it.
_CROSS_SELL = frozenset(("part_of_set", "required_part", "often_bought_with", "accessory"))
_REPLACEMENTS = frozenset(("substitute", "different_brand"))
_PARTS = ("relationship_type", "identifier_type", "identifier")


class RelatedProducts:
    """Reads the ids of related products of one feed; whatever else they say is counted."""

    def __init__(
        self, ignored_fields: MutableMapping[str, int], warning_counts: Counter[FeedWarning]
    ) -> None:
        """Prepare to read one feed.

        Args:
            ignored_fields: Counts replacements and GTINs; this class adds to it.
            warning_counts: Counts what cannot be read; this class adds to it.
        """
        self._ignored_fields = ignored_fields
        self._warning_counts = warning_counts

    def read_element(self, element: Element) -> Iterator[str]:
        """Yield the ids that an element names, in three elements or as text."""
        parts = named_parts(element)
        if parts:
            yield from self._read_product(*(parts.get(name, "").strip() for name in _PARTS))
        else:
            yield from self.read_text(element.text or "")

    def read_text(self, text: str) -> Iterator[str]:
        """Yield the ids that a text names, such as "accessory:id:A1,required_part:id:B2"."""
        for part in filter(str.strip, text.split(",")):
            named = [*(word.strip() for word in part.split(":", 2)), "", ""]
            yield from self._read_product(*named[:3])

    def _read_product(self, relationship: str, kind: str, identifier: str) -> Iterator[str]:
        """Yield the id of a product that is sold beside this one."""
        relationship, kind = relationship.lower(), kind.lower()
        is_cross_sell = relationship in _CROSS_SELL
        if relationship in _REPLACEMENTS:
            self._count_ignored(relationship)
        elif is_cross_sell and kind == "gtin":
            self._count_ignored(kind)
        elif is_cross_sell and kind == "id" and identifier:
            yield identifier
        else:
            self._warning_counts[FeedWarning.BAD_RELATED_ID] += 1

    def _count_ignored(self, what: str) -> None:
        name = f"related_product:{what}"
        self._ignored_fields[name] = self._ignored_fields.get(name, 0) + 1
