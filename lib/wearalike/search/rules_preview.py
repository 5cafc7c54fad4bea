"""Show what a changed rules file does to the lists of a run, before anything is published.

Each list is searched three times: without rules, by the run's rules and by the new ones. The search
is that of the nightly run, so the new lists are those that it would publish.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.search import gallery_store
from wearalike.search.gallery import Gallery
from wearalike.search.gallery_search import search_gallery
from wearalike.search.page_rules import CompiledRules
from wearalike.search.ranked_lists import ListRules
from wearalike.storage import run_tables
from wearalike.tables import MATCHES

# Up to this many pages are searched one by one; more are cheaper with their whole super-category.
_MAX_SINGLE_PAGES = 64
_ABOUT_PRODUCTS = (
    MerchandisingRuleKind.PIN,
    MerchandisingRuleKind.HIDE,
    MerchandisingRuleKind.PREFER,
    MerchandisingRuleKind.BURY,
)
_MOVING = (MerchandisingRuleKind.PREFER, MerchandisingRuleKind.BURY)


@dataclass(frozen=True, slots=True)
class PreviewEntry:
    """One place of a list: the product, and the rule that placed it."""

    product_id: str
    rule: str | None


@dataclass(frozen=True, slots=True)
class ChangedList:
    """A list that the new rules alter, by the run's rules and by the new ones."""

    product_id: str
    before: tuple[PreviewEntry, ...]
    after: tuple[PreviewEntry, ...]

    @property
    def gone(self) -> set[str]:
        """Products that are in the list no more."""
        return {e.product_id for e in self.before} - {e.product_id for e in self.after}

    @property
    def new(self) -> set[str]:
        """Products that were not in the list."""
        return {e.product_id for e in self.after} - {e.product_id for e in self.before}


@dataclass(slots=True)
class RuleEffect:
    """Counts of one rule of the new file.

    Attributes:
        rule: The rule.
        is_active: It holds on the day.
        pages_count: Pages on which it acts.
        products_count: Products that it has conditions on; 0 for other rules.
        rows_count: Rows of lists that it places, moves or keeps out.
    """

    rule: MerchandisingRule
    is_active: bool
    pages_count: int = 0
    products_count: int = 0
    rows_count: int = 0

    @property
    def idle_reason(self) -> str | None:
        """Why the rule changes nothing; None if it does."""
        if not self.is_active:
            return f"not on this day: {self.rule.starts or '...'} to {self.rule.ends or '...'}"
        if not self.pages_count:
            return "no product of the run has such a page"
        if self.rule.kind in _ABOUT_PRODUCTS and not self.products_count:
            return "no product of the run is meant by it"
        if self.rows_count:
            return None
        if self.rule.kind in _MOVING:
            return "what it means is too far from every list, or other rules outweigh it"
        return "no list is other than without it"


@dataclass(slots=True)
class RulesPreview:
    """The effect of a rules file on a run.

    Attributes:
        run: The run.
        day: The day by which rules are active.
        lists_count: Lists of the run that are searched.
        changed: The altered lists, by product_id.
        effects: One for each rule, in the order of the file.
        contradictions: Pairs of rules of which one undoes the other, a text each.
    """

    run: str
    day: date
    lists_count: int = 0
    changed: list[ChangedList] = field(default_factory=list)
    effects: list[RuleEffect] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)


def preview_rules(
    root: Path,
    run: str,
    rules: Sequence[MerchandisingRule],
    day: date,
    load_gallery: Callable[[str], Gallery] | None = None,
) -> RulesPreview:
    """Compare the lists of a run by its own rules with those by other rules.

    Args:
        root: The data folder.
        run: The run, matched.
        rules: All rules of the new file.
        day: The day on which they are to act.
        load_gallery: Returns the gallery of a super-category; None reads it from the run.

    Raises:
        TableNotFound: The run is not matched.
    """
    parameters = dict(run_tables.read_manifest(root, MATCHES, run)["parameters"])
    parameters.pop("merchandise", None)
    list_rules = ListRules(**parameters)
    former = gallery_store.load_merchandising_rules(root, run)
    active = tuple(rule.of_day(day) for rule in rules if rule.is_active_on(day))
    columns = {column for rule in (*former, *active) for column in rule.columns}
    effects = {rule.id: RuleEffect(rule, rule.is_active_on(day)) for rule in rules}
    preview = RulesPreview(run, day, effects=list(effects.values()))
    contradictions: set[str] = set()
    for super_category in gallery_store.list_super_categories(root, run):
        if load_gallery:
            gallery = load_gallery(super_category)
        else:
            gallery = gallery_store.load_gallery(root, run, super_category, columns)
        preview.lists_count += len(gallery)
        _preview_gallery(preview, effects, gallery, list_rules, former, active)
        contradictions |= set(_find_contradictions(gallery, active))
    contradictions |= set(_find_lost_pins(preview.effects))
    preview.changed.sort(key=lambda one: one.product_id)
    preview.contradictions = sorted(contradictions)
    return preview


def _preview_gallery(
    preview: RulesPreview,
    effects: dict[str, RuleEffect],
    gallery: Gallery,
    list_rules: ListRules,
    former: Sequence[MerchandisingRule],
    active: Sequence[MerchandisingRule],
) -> None:
    """Add the changed lists and the counts of one super-category."""
    old, new = (CompiledRules(rules, gallery.attributes) for rules in (former, active))
    for rule in active:
        is_page, is_product = _masks(rule, gallery)
        effects[rule.id].pages_count += int(is_page.sum())
        effects[rule.id].products_count += int(is_product.sum())
    pages = np.flatnonzero(old.is_ruled | new.is_ruled)
    if not len(pages):
        return
    plain, before, after = (
        _search_lists(gallery, pages, list_rules, rules) for rules in ((), former, active)
    )
    ids = gallery.product_ids
    for page in pages.tolist():
        _count_rows(effects, new, page, plain[page], after[page])
        if before[page] != after[page]:
            entries = (
                tuple(PreviewEntry(ids[row], rule) for row, rule in found[page])
                for found in (before, after)
            )
            preview.changed.append(ChangedList(ids[page], *entries))


def _count_rows(
    effects: dict[str, RuleEffect],
    compiled: CompiledRules,
    page: int,
    plain: list[tuple[int, str | None]],
    after: list[tuple[int, str | None]],
) -> None:
    """Count the rows that each rule places on a page, or keeps out of it."""
    placed = Counter(text.partition(":")[2] for _, text in after if text and ":" in text)
    filled_count = sum(text == _FILLED for _, text in after)
    rows = np.array([row for row, _ in plain], np.int64)
    rules = compiled.rules_on_page(page)
    allowed = rows
    for rule in rules:
        if rule.kind in (MerchandisingRuleKind.HIDE, MerchandisingRuleKind.REQUIRE):
            allowed = allowed[compiled.may_show_by(rule, page, allowed)]
    for rule in rules:
        if rule.kind == MerchandisingRuleKind.FILL:
            effects[rule.id].rows_count += filled_count
        elif rule.kind in (MerchandisingRuleKind.PIN, MerchandisingRuleKind.PREFER):
            effects[rule.id].rows_count += placed[rule.id]
        elif rule.kind == MerchandisingRuleKind.BURY:
            # Rows that another rule keeps out are not gone because this one buries them.
            buried = allowed[compiled.products_of(rule)[allowed]]
            left = set(buried.tolist()) - {row for row, _ in after}
            effects[rule.id].rows_count += placed[rule.id] + len(left)
        elif len(rows):
            shown = compiled.may_show_by(rule, page, rows)
            effects[rule.id].rows_count += int((~shown).sum())


# Stands for a row that fills a short list: no rule is named in it.
_FILLED = "fill"


def _search_lists(
    gallery: Gallery,
    pages: NDArray[np.int64],
    list_rules: ListRules,
    rules: Sequence[MerchandisingRule],
) -> dict[int, list[tuple[int, str | None]]]:
    """Return (row, rule) of each place of the lists of some pages, by page."""
    spans: Iterable[tuple[int, int]] = [(0, len(gallery))]
    if len(pages) <= _MAX_SINGLE_PAGES:
        spans = [(page, page + 1) for page in pages.tolist()]
    wanted = set(pages.tolist())
    found: dict[int, list[tuple[int, str | None]]] = {page: [] for page in wanted}
    for start, stop in spans:
        for lists in search_gallery(gallery, start, stop, list_rules, rules):
            for one in lists:
                if one.query_row in wanted:
                    texts = [
                        _FILLED if fallback else rule
                        for rule, fallback in zip(one.rules, one.fallbacks, strict=True)
                    ]
                    found[one.query_row] = list(zip(one.results.tolist(), texts, strict=True))
    return found


def _masks(
    rule: MerchandisingRule, gallery: Gallery
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pages on which a rule acts, and the products it is about, bool (n,) each."""
    compiled = CompiledRules([rule], gallery.attributes)
    return compiled.is_ruled, compiled.products_of(rule)


def _find_contradictions(gallery: Gallery, rules: Sequence[MerchandisingRule]) -> Iterator[str]:
    """Yield a text for each two rules that act on one page, and of which one undoes the other."""
    masks = {rule.id: _masks(rule, gallery) for rule in rules}
    for i, one in enumerate(rules):
        for other in rules[i + 1 :]:
            if not (masks[one.id][0] & masks[other.id][0]).any():
                continue
            kinds = {one.kind, other.kind}
            share_products = bool((masks[one.id][1] & masks[other.id][1]).any())
            pin, hide = MerchandisingRuleKind.PIN, MerchandisingRuleKind.HIDE
            names = f"{one.kind} {one.id!r} and {other.kind} {other.id!r}"
            if kinds == {pin, hide} and share_products:
                yield f"{names}: the pin wins, so the product stays on its pages"
            elif kinds == {MerchandisingRuleKind.PREFER, hide} and share_products:
                yield f"{names}: a hidden product is not preferred"
            elif kinds == {MerchandisingRuleKind.BURY, hide} and share_products:
                yield f"{names}: a hidden product is not buried"
            elif kinds == {MerchandisingRuleKind.PREFER, MerchandisingRuleKind.BURY} and (
                share_products
            ):
                yield f"{names}: they pull at the same products, which move by the difference"
            elif kinds == {pin} and one.at == other.at:
                yield f"{names}: both want rank {one.at}, so one moves on"
            elif (
                kinds == {MerchandisingRuleKind.REQUIRE}
                and one.attribute == other.attribute not in (None, "price_band")
                and one.is_same != other.is_same
            ):
                yield f"{names}: nothing has both the same and a different {one.attribute}"
            elif kinds <= {MerchandisingRuleKind.REQUIRE, hide}:
                yield from _find_nothing_left(masks, names, one, other)


def _find_nothing_left(
    masks: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    names: str,
    one: MerchandisingRule,
    other: MerchandisingRule,
) -> Iterator[str]:
    """Yield a text if a required condition leaves no product beside the other rule."""
    required, second = sorted((one, other), key=lambda rule: rule.kind, reverse=True)
    if required.kind != MerchandisingRuleKind.REQUIRE or required.attribute is not None:
        return
    one_meets, other_meets = masks[required.id][1], masks[second.id][1]
    if second.kind == MerchandisingRuleKind.HIDE:
        if one_meets.any() and not (one_meets & ~other_meets).any():
            yield f"{names}: all that is required is hidden, so lists are empty"
    elif second.attribute is None and not (one_meets & other_meets).any():
        yield f"{names}: no product meets both, so lists are empty"


def _find_lost_pins(effects: Iterable[RuleEffect]) -> Iterator[str]:
    """Yield a text for each pin that has pages and a product, but never a place."""
    for effect in effects:
        if (
            effect.rule.kind == MerchandisingRuleKind.PIN
            and effect.is_active
            and effect.pages_count
            and effect.products_count
            and not effect.rows_count
        ):
            yield (
                f"pin {effect.rule.id!r}: {effect.rule.product or effect.rule.gtin} has another "
                "super-category or "
                "audience than its pages, or is not in stock"
            )
