"""The require rules that compare products with the product of the page: same or different."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.catalog.product_conditions import base_colour, fold_words
from wearalike.search.candidates import ranges_to_indices
from wearalike.search.product_attributes import ProductAttributes

# The column of words that an attribute compares; two products are the same if they share one.
WORD_COLUMNS = {"colour": "colour_names", "pattern": "patterns"}
_FOLDS: dict[str, Callable[[str], str]] = {"colour": base_colour, "pattern": fold_words}


class SharedWords:
    """The words of products and of pages as numbers, so that what they share is found at once.

    Attributes:
        starts: int64 (n + 1,). Where the words of each product begin in `numbers`.
        numbers: int64. Equal numbers for equal words.
        page_starts: int64 (p + 1,). The same of pages.
        page_numbers: int64.
    """

    def __init__(
        self, rule: MerchandisingRule, shown: ProductAttributes, pages: ProductAttributes
    ) -> None:
        """Number the words.

        Args:
            rule: The rule; it compares one of WORD_COLUMNS.
            shown: The products that may be shown.
            pages: The pages.
        """
        attribute = str(rule.attribute)
        fold, column = _FOLDS[attribute], WORD_COLUMNS[attribute]
        known: dict[str, int] = {}
        self.starts, self.numbers = _number_words(shown, column, fold, known)
        self.page_starts, self.page_numbers = self.starts, self.numbers
        if pages is not shown:
            self.page_starts, self.page_numbers = _number_words(pages, column, fold, known)

    def of_page(self, page: int) -> NDArray[np.int64]:
        """Return the words of a page, int64; none where it does not say them."""
        return self.page_numbers[self.page_starts[page] : self.page_starts[page + 1]]

    def share(self, own: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which products have one of some words, bool (m,)."""
        counts = self.starts[rows + 1] - self.starts[rows]
        _, indices = ranges_to_indices(self.starts[rows], counts)
        positions = np.repeat(np.arange(len(rows)), counts)
        shared = positions[np.isin(self.numbers[indices], own)]
        return np.bincount(shared, minlength=len(rows)) > 0


def _number_words(
    attributes: ProductAttributes, column: str, fold: Callable[[str], str], known: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return starts and numbers of the words of products; new words are added to known."""
    lists = attributes.more.get(column)
    if lists is None or not len(lists):
        return np.zeros(len(attributes.shop) + 1, np.int64), np.empty(0, np.int64)
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    encoded = pc.list_flatten(lists).dictionary_encode()
    words = [fold(text) for text in encoded.dictionary.to_pylist()]
    numbers = np.array([known.setdefault(word, len(known)) for word in words], np.int64)
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return starts, numbers[encoded.indices.to_numpy()]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A require rule on one page that compares products with it.

    Attributes:
        rule: The rule.
        shown: The products that may be shown.
        pages: The pages.
        page: Number of the page.
        words: The words that it compares; None for an attribute of one value.
    """

    rule: MerchandisingRule
    shown: ProductAttributes
    pages: ProductAttributes
    page: int
    words: SharedWords | None = None

    def is_met(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which of the rows shown agree with the page, bool (m,).

        All do where the page does not say what the rule compares.
        """
        if self.words is not None:
            words = self.words.of_page(self.page)
            if not len(words):
                return np.ones(len(rows), bool)
            return np.asarray(self.words.share(words, rows) == self.rule.is_same)
        own = {
            "shop": self.pages.shop,
            "brand": self.pages.brand,
            "category": self.pages.category,
            "price_band": self.pages.currency,
        }[str(self.rule.attribute)][self.page]
        if own is None:
            return np.ones(len(rows), bool)
        return np.asarray(self._has_same_attribute(own, rows) == self.rule.is_same)

    def _has_same_attribute(self, own: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows have the page's attribute; for a price band, own is the currency."""
        if self.rule.attribute == "shop":
            return np.asarray(self.shown.shop[rows] == own)
        if self.rule.attribute == "category":
            return np.asarray(self.shown.category[rows] == own)
        if self.rule.attribute == "brand":
            # A product without a brand shares it with none.
            return np.asarray((self.shown.brand[rows] == own) & (own != ""))
        price = self.shown.price_cents[rows]
        own_price = self.pages.price_cents[self.page]
        is_near = np.maximum(price, own_price) <= self.rule.factor * np.minimum(price, own_price)
        return np.asarray(is_near & (self.shown.currency[rows] == own))
