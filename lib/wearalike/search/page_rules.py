"""The merchandiser's rules compiled for one gallery: what acts on each page.

Lists, looks, live lists and photo answers all ask `PageRules.may_show`. A page is that of a
product, of this super-category or another, or a photo's answer, of which less is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.search.condition_masks import match_conditions
from wearalike.search.product_attributes import ProductAttributes
from wearalike.search.requirements import WORD_COLUMNS, Requirement, SharedWords
from wearalike.tables import CODE_BITS


@dataclass(frozen=True, slots=True)
class PageRules:
    """The rules of one page, as masks and rows of the gallery.

    Attributes:
        hidden: bool (n,) each. The products that a hide rule of the page names, or that do not meet
            the conditions of a require rule.
        requirements: The require rules of the page that compare products with it.
        preferences: (boost in score, bool (n,) products, "prefer:<id>"), strongest first.
        burials: (loss in score, bool (n,) products, "bury:<id>"), strongest first.
        pins: (rank, row, "pin:<id>"), by rank.
        is_filled: True if a short list is to be filled up.
    """

    hidden: tuple[NDArray[np.bool_], ...]
    requirements: tuple[Requirement, ...]
    preferences: tuple[tuple[float, NDArray[np.bool_], str], ...]
    burials: tuple[tuple[float, NDArray[np.bool_], str], ...]
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
        """Return how much nearer each product is ranked, and by which rule.

        A product that one rule prefers and another buries is moved by the difference; the stronger
        of the two is named, the preference if they are equal.

        Args:
            rows: int64 (m,). Rows of products.
            weight_sum: `scores.weight_sum` of the page's product.

        Returns:
            int64 (m,), below 0 where it is buried, and m texts; 0 and None where no rule moves it.
        """
        boosts, texts = _strongest(self.preferences, rows, weight_sum)
        losses, burying = _strongest(self.burials, rows, weight_sum)
        return boosts - losses, np.where(losses > boosts, burying, texts).tolist()

    @property
    def moves(self) -> bool:
        """True if it ranks products otherwise than by distance."""
        return bool(self.preferences or self.burials)

    def largest_boost(self, weight_sum: float) -> int:
        """Return the largest distance by which any product is preferred."""
        return _score_to_distance(self.preferences[0][0], weight_sum) if self.preferences else 0


def _strongest(
    shifts: Sequence[tuple[float, NDArray[np.bool_], str]],
    rows: NDArray[np.int64],
    weight_sum: float,
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return the largest shift of each row as a distance, and its rule; 0 and None for none."""
    distances = np.zeros(len(rows), np.int64)
    texts = np.full(len(rows), None, dtype=object)
    # The strongest is written last.
    for shift, mask, text in reversed(shifts):
        distances[mask[rows]] = _score_to_distance(shift, weight_sum)
        texts[mask[rows]] = text
    return distances, texts


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
        self._rules_with_pages = [
            (rule, match_conditions(rule.page_conditions, self._pages)) for rule in rules
        ]
        self.is_ruled = np.zeros(len(self._pages.shop), bool)
        for _, is_affected in self._rules_with_pages:
            self.is_ruled |= is_affected
        self._products_by_rule = {
            rule.id: match_conditions(rule.conditions, attributes)
            for rule in rules
            if rule.kind != MerchandisingRuleKind.FILL and rule.attribute is None
        }
        self._shared_words = {
            rule.id: SharedWords(rule, attributes, self._pages)
            for rule in rules
            if rule.attribute in WORD_COLUMNS
        }

    def rules_on_page(self, page: int) -> list[MerchandisingRule]:
        """Return the rules that act on a page, as they were written."""
        return [rule for rule, is_affected in self._rules_with_pages if is_affected[page]]

    def products_of(self, rule: MerchandisingRule) -> NDArray[np.bool_]:
        """Tell which products a rule has conditions on, bool (n,); none for other rules."""
        none = np.zeros(len(self._attributes.shop), bool)
        return self._products_by_rule.get(rule.id, none)

    def _requirement(self, rule: MerchandisingRule, page: int) -> Requirement:
        words = self._shared_words.get(rule.id)
        return Requirement(rule, self._attributes, self._pages, page, words)

    def may_show_by(
        self, rule: MerchandisingRule, page: int, rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell which products one hide or require rule lets a page show, bool (m,)."""
        if rule.kind == MerchandisingRuleKind.HIDE:
            return np.asarray(~self._products_by_rule[rule.id][rows])
        if rule.attribute is None:
            return np.asarray(self._products_by_rule[rule.id][rows])
        return self._requirement(rule, page).is_met(rows)

    def rules_for_page(self, page: int) -> PageRules:
        """Return the rules that act on a page, given by its number."""
        active = [rule for rule, is_affected in self._rules_with_pages if is_affected[page]]
        hidden = []
        requirements = []
        preferences = []
        burials = []
        pins = []
        for rule in active:
            text = f"{rule.kind}:{rule.id}"
            if rule.kind == MerchandisingRuleKind.HIDE:
                hidden.append(self._products_by_rule[rule.id])
            elif rule.kind == MerchandisingRuleKind.REQUIRE and rule.attribute is None:
                hidden.append(~self._products_by_rule[rule.id])
            elif rule.kind == MerchandisingRuleKind.REQUIRE:
                requirements.append(self._requirement(rule, page))
            elif rule.kind == MerchandisingRuleKind.PREFER:
                preferences.append((rule.boost, self._products_by_rule[rule.id], text))
            elif rule.kind == MerchandisingRuleKind.BURY:
                burials.append((rule.boost, self._products_by_rule[rule.id], text))
            elif rule.kind == MerchandisingRuleKind.PIN:
                pinned = np.flatnonzero(self._products_by_rule[rule.id]).tolist()
                pins += [(rule.at, pinned_row, text) for pinned_row in pinned]
        return PageRules(
            tuple(hidden),
            tuple(requirements),
            tuple(sorted(preferences, key=lambda p: (-p[0], p[2]))),
            tuple(sorted(burials, key=lambda p: (-p[0], p[2]))),
            tuple(sorted(pins)),
            any(rule.kind == MerchandisingRuleKind.FILL for rule in active),
        )
