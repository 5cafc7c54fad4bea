"""Read the stock of several stores from one element of an offer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml.etree import _Element as Element

from wearalike.feeds.fields import Slot, fold_tag

_STOCK_ATTRIBUTES = ("instock", "in_stock", "quantity", "count", "available")
_STOCK_SLOTS = (Slot.STOCK, Slot.AVAILABILITY)


def iter_stock_texts(
    element: Element, slots: Mapping[str, tuple[Slot, bool]]
) -> Iterator[str | None]:
    """Yield what an element says of the stock of each store: words, or numbers of pieces.

    A store's name, price or address says nothing.

    Args:
        element: Such as <outlets> of several <outlet instock="3"/>.
        slots: The fields of the dialect, by `index_fields`.
    """
    for node in element.iter("*"):
        told = next(filter(None, map(node.get, _STOCK_ATTRIBUTES)), None)
        if told is not None:
            yield told
        elif not len(node):
            slot = slots.get(fold_tag(str(node.tag)))
            is_store = slot is None and node.getparent() is element
            if is_store or (slot and slot[0] in _STOCK_SLOTS):
                yield node.text
