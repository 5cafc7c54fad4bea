"""The merchandiser's rules on the pages of one super-category: which products a rule acts on, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import Rule, RuleKind
from wearalike.models.registry import CODE_BITS
from wearalike.storage.string_arrays import Texts, shared

# The columns of tables.PRODUCTS that rules look at.
COLUMNS = ["product_id", "shop_id", "brand", "category", "price_cents", "currency"]


@dataclass(frozen=True, slots=True)
class Pages:
    """Rows of COLUMNS, row i of every array the same product. texts (n,); brand in lower case, "" where there is none."""

    product_id: Texts | NDArray[np.object_]
    shop: NDArray[np.object_]
    brand: NDArray[np.object_]
    category: NDArray[np.object_]
    price_cents: NDArray[np.int64]
    currency: NDArray[np.object_]


def pages(column: Callable[[str], pa.ChunkedArray], product_ids: Texts) -> Pages:
    """column: one of COLUMNS by its name, row i that of row i of the product_ids."""
    shop, category, currency = (
        shared(column(name)) for name in ("shop_id", "category", "currency")
    )
    brand = shared(pc.fill_null(pc.utf8_lower(column("brand")), ""))
    return Pages(
        product_ids,
        shop,
        brand,
        category,
        column("price_cents").to_numpy().astype(np.int64),
        currency,
    )


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of one page, each with the rows it is about (bool (n,)): what is kept out, what goes before, what is pinned.

    pins: (rank, row, what the published row says). preferences: (boost in score, rows, what the published row says), the strongest first.
    """

    hidden: NDArray[np.bool_]
    preferences: tuple[tuple[float, NDArray[np.bool_], str], ...]
    pins: tuple[tuple[int, int, str], ...]
    is_filled: bool

    def boosts(
        self, rows: NDArray[np.int64], weights: int
    ) -> tuple[NDArray[np.int64], list[str | None]]:
        """By how much weighted distance each of the rows goes before, int64 (m,), and the rule that says so.

        weights: w_shape + w_colour of the page's product.
        """
        boosts, said = np.zeros(len(rows), np.int64), np.full(len(rows), None, dtype=object)
        for boost, mask, text in reversed(self.preferences):
            boosts[mask[rows]], said[mask[rows]] = _in_distance(boost, weights), text
        return boosts, said.tolist()

    def largest_boost(self, weights: int) -> int:
        return _in_distance(self.preferences[0][0], weights) if self.preferences else 0


def _in_distance(boost: float, weights: int) -> int:
    """A difference of scores as one of weighted distances: score = 1 - 2 * distance / (128 * weights)."""
    return int(boost * CODE_BITS * weights / 2)


class Rulings:
    """The rules of a gallery, asked page by page. is_ruled: bool (n,), the rows for which any of them holds."""

    def __init__(self, rules: Sequence[Rule], pages: Pages) -> None:
        self._pages = pages
        self._asking = [(rule, _asking(rule, pages)) for rule in rules]
        self.is_ruled = np.zeros(len(pages.shop), bool)
        for _, asking in self._asking:
            self.is_ruled |= asking
        self._about = {
            rule.id: _about(rule, pages)
            for rule in rules
            if rule.kind in (RuleKind.PIN, RuleKind.HIDE, RuleKind.PREFER)
        }

    def of(self, row: int) -> Ruling:
        held = [rule for rule, asking in self._asking if asking[row]]
        hidden = np.zeros(len(self._pages.shop), bool)
        for rule in held:
            if rule.kind == RuleKind.HIDE:
                hidden |= self._about[rule.id]
            elif rule.kind == RuleKind.REQUIRE:
                hidden |= _is_same(rule, self._pages, row) != rule.is_same
        preferences = [
            (r.boost, self._about[r.id], f"{r.kind}:{r.id}")
            for r in held
            if r.kind == RuleKind.PREFER
        ]
        pins = [
            (r.at, int(i), f"{r.kind}:{r.id}")
            for r in held
            if r.kind == RuleKind.PIN
            for i in np.flatnonzero(self._about[r.id])
        ]
        return Ruling(
            hidden,
            tuple(sorted(preferences, key=lambda p: (-p[0], p[2]))),
            tuple(sorted(pins)),
            any(r.kind == RuleKind.FILL for r in held),
        )


def _asking(rule: Rule, pages: Pages) -> NDArray[np.bool_]:
    """The rows on whose pages the rule holds."""
    asking = np.ones(len(pages.shop), bool)
    if rule.on_category is not None:
        inside = {
            c
            for c in set(pages.category)
            if c == rule.on_category or c.startswith(f"{rule.on_category}.")
        }
        asking &= np.isin(pages.category, list(inside))
    if rule.on_shop is not None:
        asking &= pages.shop == rule.on_shop
    if rule.on_product is not None:
        asking &= pages.product_id == rule.on_product
    return asking


def _about(rule: Rule, pages: Pages) -> NDArray[np.bool_]:
    if rule.product is not None:
        return np.asarray(pages.product_id == rule.product)
    return np.asarray(
        pages.brand == rule.brand.lower() if rule.brand is not None else pages.shop == rule.shop
    )


def _is_same(rule: Rule, pages: Pages, row: int) -> NDArray[np.bool_]:
    """Which products are like the row in what the rule compares. Without a brand there is no other of the same."""
    if rule.attribute == "shop":
        return np.asarray(pages.shop == pages.shop[row])
    if rule.attribute == "brand":
        return np.asarray((pages.brand == pages.brand[row]) & (pages.brand != ""))
    price, own = pages.price_cents, pages.price_cents[row]
    return np.asarray(
        (np.maximum(price, own) <= rule.factor * np.minimum(price, own))
        & (pages.currency == pages.currency[row])
    )
