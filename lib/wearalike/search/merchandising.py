"""The merchandiser's rules on the pages of one super-category: which products a rule acts on, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.models.registry import CODE_BITS
from wearalike.storage.string_arrays import Texts, intern_texts

# The columns of tables.PRODUCTS that rules look at.
ATTRIBUTE_COLUMNS = ["product_id", "shop_id", "brand", "category", "price_cents", "currency"]


@dataclass(frozen=True, slots=True)
class ProductAttributes:
    """Rows of COLUMNS, row i of every array the same product. texts (n,); brand in lower case, "" where there is none."""

    product_id: Texts | NDArray[np.object_]
    shop: NDArray[np.object_]
    brand: NDArray[np.object_]
    category: NDArray[np.object_]
    price_cents: NDArray[np.int64]
    currency: NDArray[np.object_]


def build_attributes(
    column: Callable[[str], pa.ChunkedArray], product_ids: Texts
) -> ProductAttributes:
    """column: one of COLUMNS by its name, row i that of row i of the product_ids."""
    shop, category, currency = (
        intern_texts(column(name)) for name in ("shop_id", "category", "currency")
    )
    brand = intern_texts(pc.fill_null(pc.utf8_lower(column("brand")), ""))
    return ProductAttributes(
        product_ids,
        shop,
        brand,
        category,
        column("price_cents").to_numpy().astype(np.int64),
        currency,
    )


@dataclass(frozen=True, slots=True)
class PageRules:
    """What the rules say of one page, each with the rows it is about (bool (n,)): what is kept out, what goes before, what is pinned.

    pins: (rank, row, what the published row says). preferences: (boost in score, rows, what the published row says), the strongest first.
    """

    is_hidden: NDArray[np.bool_]
    preferences: tuple[tuple[float, NDArray[np.bool_], str], ...]
    pins: tuple[tuple[int, int, str], ...]
    is_filled: bool

    def distance_boosts(
        self, rows: NDArray[np.int64], weights: int
    ) -> tuple[NDArray[np.int64], list[str | None]]:
        """By how much weighted distance each of the rows goes before, int64 (m,), and the rule that says so.

        weights: shape_weight + colour_weight of the page's product.
        """
        boosts, said = np.zeros(len(rows), np.int64), np.full(len(rows), None, dtype=object)
        for boost, mask, text in reversed(self.preferences):
            boosts[mask[rows]], said[mask[rows]] = _score_to_distance(boost, weights), text
        return boosts, said.tolist()

    def largest_boost(self, weights: int) -> int:
        return _score_to_distance(self.preferences[0][0], weights) if self.preferences else 0


def _score_to_distance(boost: float, weights: int) -> int:
    """A difference of scores as one of weighted distances: score = 1 - 2 * distance / (128 * weights)."""
    return int(boost * CODE_BITS * weights / 2)


class MerchandisingRules:
    """The rules of a gallery, asked page by page. is_ruled: bool (n,), the rows for which any of them holds."""

    def __init__(self, rules: Sequence[MerchandisingRule], attributes: ProductAttributes) -> None:
        self._pages = attributes
        self._asking = [(rule, _affected_pages(rule, attributes)) for rule in rules]
        self.is_ruled = np.zeros(len(attributes.shop), bool)
        for _, asking in self._asking:
            self.is_ruled |= asking
        self._about = {
            rule.id: _affected_products(rule, attributes)
            for rule in rules
            if rule.kind
            in (MerchandisingRuleKind.PIN, MerchandisingRuleKind.HIDE, MerchandisingRuleKind.PREFER)
        }

    def rules_for_page(self, row: int) -> PageRules:
        held = [rule for rule, asking in self._asking if asking[row]]
        hidden = np.zeros(len(self._pages.shop), bool)
        for rule in held:
            if rule.kind == MerchandisingRuleKind.HIDE:
                hidden |= self._about[rule.id]
            elif rule.kind == MerchandisingRuleKind.REQUIRE:
                hidden |= _has_same_attribute(rule, self._pages, row) != rule.is_same
        preferences = [
            (r.boost, self._about[r.id], f"{r.kind}:{r.id}")
            for r in held
            if r.kind == MerchandisingRuleKind.PREFER
        ]
        pins = [
            (r.at, int(i), f"{r.kind}:{r.id}")
            for r in held
            if r.kind == MerchandisingRuleKind.PIN
            for i in np.flatnonzero(self._about[r.id])
        ]
        return PageRules(
            hidden,
            tuple(sorted(preferences, key=lambda p: (-p[0], p[2]))),
            tuple(sorted(pins)),
            any(r.kind == MerchandisingRuleKind.FILL for r in held),
        )


def _affected_pages(rule: MerchandisingRule, attributes: ProductAttributes) -> NDArray[np.bool_]:
    """The rows on whose pages the rule holds."""
    asking = np.ones(len(attributes.shop), bool)
    if rule.on_category is not None:
        inside = {
            c
            for c in set(attributes.category)
            if c == rule.on_category or c.startswith(f"{rule.on_category}.")
        }
        asking &= np.isin(attributes.category, list(inside))
    if rule.on_shop is not None:
        asking &= attributes.shop == rule.on_shop
    if rule.on_product is not None:
        asking &= attributes.product_id == rule.on_product
    return asking


def _affected_products(rule: MerchandisingRule, attributes: ProductAttributes) -> NDArray[np.bool_]:
    if rule.product is not None:
        return np.asarray(attributes.product_id == rule.product)
    return np.asarray(
        attributes.brand == rule.brand.lower()
        if rule.brand is not None
        else attributes.shop == rule.shop
    )


def _has_same_attribute(
    rule: MerchandisingRule, attributes: ProductAttributes, row: int
) -> NDArray[np.bool_]:
    """Which products are like the row in what the rule compares. Without a brand there is no other of the same."""
    if rule.attribute == "shop":
        return np.asarray(attributes.shop == attributes.shop[row])
    if rule.attribute == "brand":
        return np.asarray((attributes.brand == attributes.brand[row]) & (attributes.brand != ""))
    price, own = attributes.price_cents, attributes.price_cents[row]
    return np.asarray(
        (np.maximum(price, own) <= rule.factor * np.minimum(price, own))
        & (attributes.currency == attributes.currency[row])
    )
