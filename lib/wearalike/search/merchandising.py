"""From nearest candidates to the lists of pages on which the merchandiser's rules act.

Hidden products leave room for the next. Preferred products are ranked as if nearer, and buried ones
as if farther, by a bounded distance. Pinned products take their rank. A list that a fill rule
completes says so in each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.search.candidates import NearestCandidates, weighted_distances
from wearalike.search.diversity import (
    POOL_WIDENING_FACTOR,
    diversity_percent,
    first_pool_count,
    select_diverse,
)
from wearalike.search.gallery import CandidateSet
from wearalike.search.page_rules import CompiledRules, PageRules
from wearalike.search.ranked_lists import Fallback, ListRules, RankedLists
from wearalike.search.ranking import brand_limits, build_lists, select_allowed
from wearalike.search.scores import distance_limit


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One result of a list.

    Attributes:
        row: Row of the gallery.
        rule: The merchandising rule that moved it, or None.
        fallback: The kind of fallback it is, or None.
    """

    row: int
    rule: str | None = None
    fallback: Fallback | None = None


def rank_merchandised(
    candidates: CandidateSet,
    rules: ListRules,
    compiled_rules: CompiledRules,
    nearest: NearestCandidates,
    is_complete: NDArray[np.bool_],
) -> tuple[RankedLists, NDArray[np.int64]]:
    """Rank the lists of pages on which merchandising rules act.

    Args:
        candidates: The products that the audience may be shown.
        rules: The list rules.
        compiled_rules: The merchandiser's rules for the gallery.
        nearest: The nearest candidates of m products.
        is_complete: bool (m,). True if there are no more within min_score.

    Returns:
        The lists that are finished, and the rows of the products that need more candidates.
    """
    finished = []
    entries_by_list: list[list[ListEntry]] = []
    for i, row in enumerate(nearest.query_rows.tolist()):
        page = _RuledPage(candidates, rules, compiled_rules.rules_for_page(row), row)
        entries = page.rank(nearest.candidates_of(i), bool(is_complete[i]))
        if entries is not None:
            finished.append(i)
            entries_by_list.append(entries)
    is_finished = np.zeros(len(nearest), bool)
    is_finished[finished] = True
    ranked = nearest.take(np.flatnonzero(is_finished))
    all_entries = [entry for entries in entries_by_list for entry in entries]
    explanations = (
        np.array([entry.rule for entry in all_entries], dtype=object),
        np.array([entry.fallback for entry in all_entries], dtype=object),
    )
    lists = build_lists(
        candidates,
        rules,
        ranked,
        ranked.counts,
        np.array([len(entries) for entries in entries_by_list], np.int64),
        np.array([entry.row for entry in all_entries], np.int64),
        explanations,
    )
    return lists, nearest.query_rows[~is_finished]


@dataclass(frozen=True, slots=True)
class _RuledPage:
    """The page of one product under its rules."""

    candidates: CandidateSet
    rules: ListRules
    page_rules: PageRules
    row: int

    @property
    def weight_sum(self) -> float:
        return float(self.candidates.gallery.weight_sums(np.array([self.row]))[0])

    def rank(self, nearest_rows: NDArray[np.int64], is_complete: bool) -> list[ListEntry] | None:
        """Return the list; None if candidates beyond the nearest could stand in it."""
        gallery = self.candidates.gallery
        excluded_groups = {int(gallery.groups[self.row])}
        pins = self._select_pins(excluded_groups)
        free = self.rules.k - len(pins)
        distances = self._distances(nearest_rows)
        boosts, texts = self.page_rules.distance_boosts(nearest_rows, self.weight_sum)
        # At exactly its boost a preferred product is first: it ranks before what scores that more.
        order = np.lexsort((nearest_rows, -boosts, distances - boosts))
        order = order[self.page_rules.may_show(nearest_rows[order])]
        selected = self._select_results(
            nearest_rows, distances, boosts, order, excluded_groups, free, is_complete
        )
        if selected is None:
            return None
        entries = [ListEntry(int(nearest_rows[i]), texts[i]) for i in selected]
        if self.page_rules.is_filled and len(entries) < free:
            excluded_groups.update(gallery.groups[nearest_rows[selected]].tolist())
            entries += self._select_fills(excluded_groups, free - len(entries))
        for rank, row, text in pins:
            entries.insert(rank - 1, ListEntry(row, text))
        return entries

    def _select_results(
        self,
        nearest_rows: NDArray[np.int64],
        distances: NDArray[np.int64],
        boosts: NDArray[np.int64],
        order: NDArray[np.int64],
        excluded_groups: set[int],
        free: int,
        is_complete: bool,
    ) -> NDArray[np.int64] | None:
        """Return the positions of the results in order; None if others beyond could be among them.

        A diverse list is chosen from the first candidates in order; see `diversity`.
        """
        gallery = self.candidates.gallery
        excluded = np.array(sorted(excluded_groups), np.int64)
        limit = int(brand_limits(gallery, self.rules, np.array([self.row]))[0])
        percent = diversity_percent(self.rules.diversity)
        if not percent:
            rows = nearest_rows[order].astype(np.int32)
            selected = order[
                select_allowed(
                    self.row, rows, gallery.groups, gallery.brands, excluded, free, limit
                )
            ]
            is_known = is_complete or self._is_certain(distances, boosts, selected, free)
            return selected if is_known else None
        pool_count = first_pool_count(self.rules)
        while is_complete or self._is_certain(distances, boosts, order[:pool_count], pool_count):
            pool = order[:pool_count]
            shown = (distances - boosts)[pool]
            chosen = select_diverse(
                gallery, self.row, nearest_rows[pool], shown, excluded, free, limit, percent
            )
            if len(chosen) >= free or (is_complete and len(pool) == len(order)):
                return pool[chosen]
            pool_count *= POOL_WIDENING_FACTOR
        return None

    def _is_certain(
        self,
        distances: NDArray[np.int64],
        boosts: NDArray[np.int64],
        selected: NDArray[np.int64],
        free: int,
    ) -> bool:
        """Tell if no candidate beyond the nearest could stand in the list.

        Such a candidate is at least as far as the farthest of them, less the largest boost.
        """
        if len(selected) < free:
            return False
        if not (self.page_rules.moves and free):
            return True
        farthest = int(distances[-1]) if len(distances) else 0
        least = farthest - self.page_rules.largest_boost(self.weight_sum)
        last = max((distances[selected] - boosts[selected]).tolist(), default=0)
        return last < least

    def _distances(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the weighted distances of the page's product to rows, int64 (m,)."""
        query_rows = np.full(len(rows), self.row)
        return weighted_distances(self.candidates.gallery, query_rows, rows).astype(np.int64)

    def _select_pins(self, excluded_groups: set[int]) -> list[tuple[int, int, str]]:
        """Return the (rank, row, rule) that hold, by rank; add their groups to excluded_groups."""
        pins: list[tuple[int, int, str]] = []
        for rank, row, text in self.page_rules.pins:
            group = int(self.candidates.gallery.groups[row])
            if (
                rank <= self.rules.k
                and len(pins) < self.rules.k
                # Several products may have the GTIN that a rule pins: one takes its rank.
                and text not in {placed for _, _, placed in pins}
                and group not in excluded_groups
                and self._is_candidate(row)
            ):
                excluded_groups.add(group)
                pins.append((rank, row, text))
        return pins

    def _is_candidate(self, row: int) -> bool:
        """Tell if the audience may be shown a row of the gallery."""
        rows = self.candidates.rows
        position = int(np.searchsorted(rows, row))
        return position < len(rows) and bool(rows[position] == row)

    def _select_fills(self, excluded_groups: set[int], count: int) -> list[ListEntry]:
        """Return what fills a short list: the most alike others, whatever their score or brand."""
        rows = self.candidates.rows
        distances = self._distances(rows)
        order = np.argsort(distances, kind="stable")
        order = order[self.page_rules.may_show(rows[order])]
        allowed = select_allowed(
            self.row,
            rows[order].astype(np.int32),
            self.candidates.gallery.groups,
            self.candidates.gallery.brands,
            np.array(sorted(excluded_groups), np.int64),
            count,
            count,  # of one brand: no limit
        )
        limit = distance_limit(self.weight_sum, self.rules.min_score)
        return [
            ListEntry(
                int(rows[i]),
                None,
                Fallback.LESS_ALIKE if distances[i] > limit else Fallback.SAME_BRAND,
            )
            for i in order[allowed]
        ]
