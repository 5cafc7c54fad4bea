"""The merchandiser's rules compiled for one gallery: what acts on each page.

Lists, looks, live lists and photo answers all ask `PageRules.may_show`. A page is that of a
product, of this super-category or another, or a photo's answer, of which less is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.search.product_attributes import ProductAttributes
from wearalike.tables import CODE_BITS


@dataclass(frozen=True, slots=True)
class Requirement:
    """A require rule on one page.

    Attributes:
        rule: The rule.
        shown: The products that may be shown.
        pages: The pages.
        page: Number of the page.
    """

    rule: MerchandisingRule
    shown: ProductAttributes
    pages: ProductAttributes
    page: int

    def is_met(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which of the rows shown agree with the page, bool (m,).

        All do where the page does not say what the rule compares.
        """
        own = {
            "shop": self.pages.shop,
            "brand": self.pages.brand,
            "price_band": self.pages.currency,
        }[str(self.rule.attribute)][self.page]
        if own is None:
            return np.ones(len(rows), bool)
        return np.asarray(self._has_same_attribute(own, rows) == self.rule.is_same)

    def _has_same_attribute(self, own: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows have the page's attribute; for a price band, own is the currency."""
        if self.rule.attribute == "shop":
            return np.asarray(self.shown.shop[rows] == own)
        if self.rule.attribute == "brand":
            # A product without a brand shares it with none.
            return np.asarray((self.shown.brand[rows] == own) & (own != ""))
        price = self.shown.price_cents[rows]
        own_price = self.pages.price_cents[self.page]
        is_near = np.maximum(price, own_price) <= self.rule.factor * np.minimum(price, own_price)
        return np.asarray(is_near & (self.shown.currency[rows] == own))


@dataclass(frozen=True, slots=True)
class PageRules:
    """The rules of one page, as masks and rows of the gallery.

    Attributes:
        hidden: bool (n,) each. The products that a hide rule of the page names.
        requirements: The require rules of the page.
        preferences: (boost in score, bool (n,) products, "prefer:<id>"), strongest first.
        pins: (rank, row, "pin:<id>"), by rank.
        is_filled: True if a short list is to be filled up.
    """

    hidden: tuple[NDArray[np.bool_], ...]
    requirements: tuple[Requirement, ...]
    preferences: tuple[tuple[float, NDArray[np.bool_], str], ...]
    pins: tuple[tuple[int, int, str], ...]
    is_filled: bool

    def may_show(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which products hide and require let the page show.

        Args:
            rows: int64 (m,). Rows of products.

        Returns:
            bool (m,).
        """
        may_show = np.ones(len(rows), bool)
        for mask in self.hidden:
            may_show &= ~mask[rows]
        for requirement in self.requirements:
            may_show &= requirement.is_met(rows)
        return may_show

    def distance_boosts(
        self, rows: NDArray[np.int64], weight_sum: float
    ) -> tuple[NDArray[np.int64], list[str | None]]:
        """Return by how much weighted distance each product is preferred, and by which rule.

        Args:
            rows: int64 (m,). Rows of products.
            weight_sum: `scores.weight_sum` of the page's product.

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

    def largest_boost(self, weight_sum: float) -> int:
        """Return the largest distance by which any product is preferred."""
        return _score_to_distance(self.preferences[0][0], weight_sum) if self.preferences else 0


def _score_to_distance(boost: float, weight_sum: float) -> int:
    """Return a difference of scores as weighted distance; see `scores` for the formula.

    Exactly: a float of 0.07 would make 67 of 67.2 and also 66 of 67.
    """
    return int(Fraction(str(boost)) * CODE_BITS * Fraction(weight_sum) / 2)


class CompiledRules:
    """The merchandiser's rules, ready for pages that show products of one gallery.

    Attributes:
        is_ruled: bool (p,). The pages on which any rule acts.
    """

    def __init__(
        self,
        rules: Sequence[MerchandisingRule],
        attributes: ProductAttributes,
        pages: ProductAttributes | None = None,
    ) -> None:
        """Compile rules for a gallery.

        Args:
            rules: The rules that hold on the run's day.
            attributes: The n products of the gallery.
            pages: The p products whose pages show them; default: the gallery's own.
        """
        self._attributes = attributes
        self._pages = attributes if pages is None else pages
        self._rules_with_pages = [(rule, _affected_pages(rule, self._pages)) for rule in rules]
        self.is_ruled = np.zeros(len(self._pages.shop), bool)
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

    def rules_on_page(self, page: int) -> list[MerchandisingRule]:
        """Return the rules that act on a page, as they were written."""
        return [rule for rule, is_affected in self._rules_with_pages if is_affected[page]]

    def products_of(self, rule: MerchandisingRule) -> NDArray[np.bool_]:
        """Tell which products a rule pins, hides or prefers, bool (n,); none for other kinds."""
        none = np.zeros(len(self._attributes.shop), bool)
        return self._products_by_rule.get(rule.id, none)

    def may_show_by(
        self, rule: MerchandisingRule, page: int, rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell which products one hide or require rule lets a page show, bool (m,)."""
        if rule.kind == MerchandisingRuleKind.HIDE:
            return np.asarray(~self._products_by_rule[rule.id][rows])
        return Requirement(rule, self._attributes, self._pages, page).is_met(rows)

    def rules_for_page(self, page: int) -> PageRules:
        """Return the rules that act on a page, given by its number."""
        active = [rule for rule, is_affected in self._rules_with_pages if is_affected[page]]
        hidden = []
        requirements = []
        preferences = []
        pins = []
        for rule in active:
            text = f"{rule.kind}:{rule.id}"
            if rule.kind == MerchandisingRuleKind.HIDE:
                hidden.append(self._products_by_rule[rule.id])
            elif rule.kind == MerchandisingRuleKind.REQUIRE:
                requirements.append(Requirement(rule, self._attributes, self._pages, page))
            elif rule.kind == MerchandisingRuleKind.PREFER:
                preferences.append((rule.boost, self._products_by_rule[rule.id], text))
            elif rule.kind == MerchandisingRuleKind.PIN:
                pinned = np.flatnonzero(self._products_by_rule[rule.id]).tolist()
                pins += [(rule.at, pinned_row, text) for pinned_row in pinned]
        return PageRules(
            tuple(hidden),
            tuple(requirements),
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
            if f"{category}.".startswith(f"{rule.on_category}.")
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
        # Lower case as Arrow has it, like the attributes; Python's differs for some letters.
        return np.asarray(attributes.brand == pc.utf8_lower(pa.scalar(rule.brand)).as_py())
    return np.asarray(attributes.shop == rule.shop)
