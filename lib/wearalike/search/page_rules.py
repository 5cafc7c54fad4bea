"""The merchandiser's rules compiled for one gallery: what acts on each product's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.search.product_attributes import ProductAttributes
from wearalike.tables import CODE_BITS


@dataclass(frozen=True, slots=True)
class PageRules:
    """The rules of one page, as masks and rows of the gallery.

    Attributes:
        is_hidden: bool (n,). Products that the page must not show.
        preferences: (boost in score, bool (n,) products, "prefer:<id>"), strongest first.
        pins: (rank, row, "pin:<id>"), by rank.
        is_filled: True if a short list is to be filled up.
    """

    is_hidden: NDArray[np.bool_]
    preferences: tuple[tuple[float, NDArray[np.bool_], str], ...]
    pins: tuple[tuple[int, int, str], ...]
    is_filled: bool

    def distance_boosts(
        self, rows: NDArray[np.int64], weight_sum: int
    ) -> tuple[NDArray[np.int64], list[str | None]]:
        """Return by how much weighted distance each product is preferred, and by which rule.

        Args:
            rows: int64 (m,). Rows of products.
            weight_sum: Sum of the three weights of the page's product.

        Returns:
            int64 (m,), and m texts; 0 and None where nothing prefers the product.
        """
        boosts = np.zeros(len(rows), np.int64)
        texts = np.full(len(rows), None, dtype=object)
        # The strongest is written last.
        for boost, mask, text in reversed(self.preferences):
            boosts[mask[rows]] = _score_to_distance(boost, weight_sum)
            texts[mask[rows]] = text
        return boosts, texts.tolist()

    def largest_boost(self, weight_sum: int) -> int:
        """Return the largest distance by which any product is preferred."""
        return _score_to_distance(self.preferences[0][0], weight_sum) if self.preferences else 0


def _score_to_distance(boost: float, weight_sum: int) -> int:
    """Return a difference of scores as weighted distance; see `scores` for the formula."""
    return int(boost * CODE_BITS * weight_sum / 2)


class CompiledRules:
    """The merchandiser's rules, ready for the pages of one gallery.

    Attributes:
        is_ruled: bool (n,). The products on whose pages any rule acts.
    """

    def __init__(self, rules: Sequence[MerchandisingRule], attributes: ProductAttributes) -> None:
        """Compile the rules that hold on the run's day for the products of a gallery."""
        self._attributes = attributes
        self._rules_with_pages = [(rule, _affected_pages(rule, attributes)) for rule in rules]
        self.is_ruled = np.zeros(len(attributes.shop), bool)
        for _, is_affected in self._rules_with_pages:
            self.is_ruled |= is_affected
        about_products = (
            MerchandisingRuleKind.PIN,
            MerchandisingRuleKind.HIDE,
            MerchandisingRuleKind.PREFER,
        )
        self._products_by_rule = {
            rule.id: _affected_products(rule, attributes)
            for rule in rules
            if rule.kind in about_products
        }

    def rules_for_page(self, row: int) -> PageRules:
        """Return the rules that act on the page of a row of the gallery."""
        active = [rule for rule, is_affected in self._rules_with_pages if is_affected[row]]
        is_hidden = np.zeros(len(self._attributes.shop), bool)
        preferences = []
        pins = []
        for rule in active:
            text = f"{rule.kind}:{rule.id}"
            if rule.kind == MerchandisingRuleKind.HIDE:
                is_hidden |= self._products_by_rule[rule.id]
            elif rule.kind == MerchandisingRuleKind.REQUIRE:
                is_hidden |= _has_same_attribute(rule, self._attributes, row) != rule.is_same
            elif rule.kind == MerchandisingRuleKind.PREFER:
                preferences.append((rule.boost, self._products_by_rule[rule.id], text))
            elif rule.kind == MerchandisingRuleKind.PIN:
                pinned = np.flatnonzero(self._products_by_rule[rule.id]).tolist()
                pins += [(rule.at, pinned_row, text) for pinned_row in pinned]
        return PageRules(
            is_hidden,
            tuple(sorted(preferences, key=lambda p: (-p[0], p[2]))),
            tuple(sorted(pins)),
            any(rule.kind == MerchandisingRuleKind.FILL for rule in active),
        )


def _affected_pages(rule: MerchandisingRule, attributes: ProductAttributes) -> NDArray[np.bool_]:
    """Tell on whose pages the rule acts, bool (n,)."""
    is_affected = np.ones(len(attributes.shop), bool)
    if rule.on_category is not None:
        inside = [
            category
            for category in set(attributes.category)
            if category == rule.on_category or category.startswith(f"{rule.on_category}.")
        ]
        is_affected &= np.isin(attributes.category, inside)
    if rule.on_shop is not None:
        is_affected &= attributes.shop == rule.on_shop
    if rule.on_product is not None:
        is_affected &= attributes.product_id == rule.on_product
    return is_affected


def _affected_products(rule: MerchandisingRule, attributes: ProductAttributes) -> NDArray[np.bool_]:
    """Tell which products the rule pins, hides or prefers, bool (n,)."""
    if rule.product is not None:
        return np.asarray(attributes.product_id == rule.product)
    if rule.brand is not None:
        return np.asarray(attributes.brand == rule.brand.lower())
    return np.asarray(attributes.shop == rule.shop)


def _has_same_attribute(
    rule: MerchandisingRule, attributes: ProductAttributes, row: int
) -> NDArray[np.bool_]:
    """Tell which products equal the row in the attribute that the rule compares, bool (n,)."""
    if rule.attribute == "shop":
        return np.asarray(attributes.shop == attributes.shop[row])
    if rule.attribute == "brand":
        # A product without a brand shares it with none.
        return np.asarray((attributes.brand == attributes.brand[row]) & (attributes.brand != ""))
    price = attributes.price_cents
    own = attributes.price_cents[row]
    is_near = np.maximum(price, own) <= rule.factor * np.minimum(price, own)
    return np.asarray(is_near & (attributes.currency == attributes.currency[row]))
