"""The search of a gallery, and what the rules do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.search import merchandising
from wearalike.search.gallery import Candidates, Gallery
from wearalike.search.incremental import (
    NearestCandidates,
    PreviousSearch,
    choose_allowed,
    merge_candidates,
    weighted_distances,
)
from wearalike.search.scores import (
    distance_limit,
    distance_limits,
    distance_matrices,
    pair_distances,
)


class ShortfallReason(StrEnum):
    NO_CODE = "no_code"  # the product has no code; `refused` says why
    FEW_CANDIDATES = (
        "few_candidates"  # too few products in stock for this audience in the super-category
    )
    RULES = "rules"  # one result a group, max_per_brand and the merchandiser's rules left no more
    MIN_SCORE = "min_score"  # the rest is not alike enough


class Fallback(StrEnum):
    LESS_ALIKE = "less_alike"  # its score is below min_score
    SAME_BRAND = "same_brand"  # beyond max_per_brand


@dataclass(frozen=True, slots=True)
class ListRules:
    """What may stand in a list. k: its length. min_score: 0..1, less alike is left out. max_per_brand: of one brand."""

    k: int = 20
    min_score: float = 0.1
    max_per_brand: int = 10


@dataclass(frozen=True, slots=True)
class RankedList:
    """The list of one product: rows of the gallery, best first, with their distances, int arrays of one length.

    rules, fallbacks: for each result the merchandiser's rule that moved it, and the kind of fallback it is; None for neither.
    """

    query_row: int
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    shortfall_reason: ShortfallReason | None
    rules: list[str | None]
    fallbacks: list[Fallback | None]


@dataclass(frozen=True, slots=True)
class RankedLists:
    """The lists of m products, near.asking, as Found holds that of one: what is of a result has t entries, one list's after another's.

    starts: int64 (m + 1,), where each list starts. shortfall_reasons: object (m,); rules, fallbacks: object (t,). near: what they
    were chosen from, as far as the next run is to remember it.
    """

    candidates: NearestCandidates
    starts: NDArray[np.int64]
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    shortfall_reasons: NDArray[np.object_]
    rules: NDArray[np.object_]
    fallbacks: NDArray[np.object_]

    def __iter__(self) -> Iterator[RankedList]:
        for i, row in enumerate(self.candidates.asking.tolist()):
            its = slice(self.starts[i], self.starts[i + 1])
            listed = self.results[its], self.shape[its], self.colour[its]
            yield RankedList(
                row,
                *listed,
                self.shortfall_reasons[i],
                self.rules[its].tolist(),
                self.fallbacks[its].tolist(),
            )


@dataclass(slots=True)
class ListEntry:
    """One place of a list: a row of the gallery, and what put it there."""

    row: int
    rule: str | None = None
    fallback: Fallback | None = None


# Queries that are searched for together.
_BLOCK_QUERIES = 1024
# A list is chosen from this many times its length of candidates; of what has arrived since the last run as many may be nearer.
_CANDIDATES_PER_RESULT = 4
# So many of the nearest in shape say what a code is of that no category is known of.
_VOTING_NEIGHBOURS = 10


def search_gallery(
    gallery: Gallery,
    start: int,
    stop: int,
    rules: ListRules,
    merchandising_rules: Sequence[MerchandisingRule] = (),
    previous_search: PreviousSearch | None = None,
) -> Iterator[RankedLists]:
    """The lists of rows start..stop of the gallery, each once, in no promised order, some at a time.

    merchandise: the merchandiser's rules. recall: what another run remembers; the lists are the same without it, and take longer.
    """
    rows = np.arange(start, min(stop, len(gallery)))
    rulings = merchandising.MerchandisingRules(merchandising_rules, gallery.attributes)
    audiences, audience = gallery.audiences
    for number in sorted(np.unique(audience[rows]).tolist(), key=audiences.__getitem__):
        asking = rows[audience[rows] == number]
        hunt = Ranker(gallery, gallery.candidates_for_audience(*audiences[number]), rules, rulings)
        known = (
            np.zeros(len(asking), bool)
            if previous_search is None
            else previous_search.diff.previous_row[asking] >= 0
        )
        if previous_search is not None and known.any():
            came = hunt.candidate_rows[previous_search.diff.is_new_candidate[hunt.candidate_rows]]
            arrived = Ranker(gallery, Candidates(gallery, came), rules, rulings)
            for block in _split_blocks(asking[known]):
                remembered, limits = (
                    previous_search.surviving_candidates(block),
                    hunt.distance_limits(block),
                )
                news = arrived.find_candidates(
                    block, _CANDIDATES_PER_RESULT * rules.k, np.minimum(limits, remembered.farthest)
                )
                yield from hunt.rank_candidates(
                    merge_candidates(gallery, remembered, limits, news),
                    _CANDIDATES_PER_RESULT * rules.k,
                )
        for block in _split_blocks(asking[~known]):
            yield from hunt.rank_candidates(
                hunt.find_candidates(block, _CANDIDATES_PER_RESULT * rules.k),
                _CANDIDATES_PER_RESULT * rules.k,
            )


def _split_blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(rows, range(_BLOCK_QUERIES, len(rows), _BLOCK_QUERIES)) if len(rows) else []


def search_code(
    gallery: Gallery,
    candidates: NDArray[np.int64],
    code: NDArray[np.uint64],
    shape_weight: int,
    colour_weight: int,
    rules: ListRules,
) -> RankedList:
    """The list for a code that no product of the gallery has, such as a photo's; its row is -1.

    candidates: int64 (m,), ascending rows of the gallery that may be shown. code: uint64 (4,).
    """
    return next(
        search_codes(
            gallery,
            candidates,
            code[None],
            np.array([shape_weight], np.int32),
            np.array([colour_weight], np.int32),
            rules,
        )
    )


def search_codes(
    gallery: Gallery,
    candidates: NDArray[np.int64],
    codes: NDArray[np.uint64],
    shape_weight: NDArray[np.int32],
    colour_weight: NDArray[np.int32],
    rules: ListRules,
) -> Iterator[RankedList]:
    """The lists that `alike` gives for each of several codes in turn. codes: uint64 (n, 4). shape_weight, colour_weight: int32 (n,)."""
    hunt = Ranker(
        gallery,
        Candidates(gallery, candidates),
        rules,
        merchandising.MerchandisingRules((), gallery.attributes),
    )
    for start in range(0, len(codes), _BLOCK_QUERIES):
        block = slice(start, start + _BLOCK_QUERIES)
        yield from hunt.rank_codes(
            codes[block],
            shape_weight[block],
            colour_weight[block],
            _CANDIDATES_PER_RESULT * rules.k,
        )


def vote_category_weights(
    gallery: Gallery, candidates: NDArray[np.int64], codes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """For each code a row of the gallery that says of which category such a thing is, and so how it is weighted: the nearest in
    shape of the category that most of the ten nearest have; of the nearest's where several have as many.

    candidates: int64 (m,), m >= 1, as for `alike`. codes: uint64 (n, 4). int64 (n,).
    """
    ones = np.ones(len(codes), np.int32)
    rules = ListRules(_VOTING_NEIGHBOURS, min_score=0, max_per_brand=_VOTING_NEIGHBOURS)
    rows = np.empty(len(codes), np.int64)
    for i, found in enumerate(search_codes(gallery, candidates, codes, ones, 0 * ones, rules)):
        category = Counter(gallery.attributes.category[found.results].tolist()).most_common(1)[0][0]
        rows[i] = next(r for r in found.results if gallery.attributes.category[r] == category)
    return rows


@dataclass(frozen=True)
class Ranker:
    """The search for one audience, which may be shown what is `shown`."""

    gallery: Gallery
    eligible: Candidates
    list_rules: ListRules
    merchandising_rules: merchandising.MerchandisingRules

    @property
    def candidate_rows(self) -> NDArray[np.int64]:
        return self.eligible.rows

    def distance_limits(self, query_rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The distance of min_score for each of the rows, int64 (m,)."""
        return distance_limits(
            self.gallery.shape_weight[query_rows] + self.gallery.colour_weight[query_rows],
            self.list_rules.min_score,
        )

    def find_candidates(
        self,
        query_rows: NDArray[np.int64],
        candidate_count: int,
        limits: NDArray[np.int64] | None = None,
    ) -> NearestCandidates:
        """The best `looked_at` candidates of each of the rows, within its limit."""
        gallery, limits = (
            self.gallery,
            self.distance_limits(query_rows) if limits is None else limits,
        )
        shape_weight, colour_weight = (
            gallery.shape_weight[query_rows],
            gallery.colour_weight[query_rows],
        )
        counts, nearest = self.eligible.find_nearest(
            gallery.codes[query_rows], shape_weight, colour_weight, limits, candidate_count
        )
        starts, rows = np.concatenate([[0], np.cumsum(counts)]), nearest.astype(np.int32)
        farthest, before, is_cut = (
            (limits + 1).astype(np.int32),
            np.zeros(len(query_rows), np.int32),
            counts == candidate_count,
        )
        last = rows[starts[1:][is_cut] - 1]
        farthest[is_cut], before[is_cut] = (
            weighted_distances(gallery, query_rows[is_cut], last),
            last + 1,
        )
        return NearestCandidates(query_rows, starts, rows, farthest, before)

    def rank_candidates(
        self, near: NearestCandidates, candidate_count: int
    ) -> Iterator[RankedLists]:
        """The lists of a block of rows from their best `looked_at` candidates; where the rules leave too few, from more."""
        is_all, is_ruled = (
            near.farthest > self.distance_limits(near.asking),
            self.merchandising_rules.is_ruled[near.asking],
        )
        plain, ruled = np.flatnonzero(~is_ruled), np.flatnonzero(is_ruled)
        lists, is_short = self._rank_plain(near.take(plain), is_all[plain])
        yield lists
        unfinished = [near.asking[plain[is_short]]]
        if len(ruled):
            picks = [
                self._rank_merchandised(int(near.asking[i]), near.candidates_of(i), bool(is_all[i]))
                for i in ruled.tolist()
            ]
            is_done = np.array([found is not None for found in picks])
            yield self._build_merchandised_lists(
                near.take(ruled[is_done]), [found for found in picks if found is not None]
            )
            unfinished.append(near.asking[ruled[~is_done]])
        if len(again := np.concatenate(unfinished)):
            yield from self.rank_candidates(
                self.find_candidates(again, 8 * candidate_count), 8 * candidate_count
            )

    def _rank_plain(
        self, near: NearestCandidates, is_all: NDArray[np.bool_]
    ) -> tuple[RankedLists, NDArray[np.bool_]]:
        """The lists on which no rule of the merchandiser acts, and which rows need more candidates, bool (m,)."""
        gallery, k = self.gallery, self.list_rules.k
        chosen, counts = choose_allowed(
            near.asking,
            near.starts,
            near.rows,
            gallery.groups,
            gallery.brands,
            k,
            self.list_rules.max_per_brand,
        )
        is_done = (counts == k) | is_all
        is_listed = np.arange(k) < counts[is_done, None]
        results = near.rows[chosen[is_done][is_listed]].astype(np.int64)
        used = np.where(counts == k, chosen[:, -1] - near.starts[:-1] + 1, np.diff(near.starts))[
            is_done
        ]
        nothing = np.full(len(results), None, dtype=object)
        return self._build_lists(
            near.take(np.flatnonzero(is_done)), counts[is_done], results, nothing, nothing, used
        ), ~is_done

    def _build_merchandised_lists(
        self, near: NearestCandidates, entries_by_query: list[list[ListEntry]]
    ) -> RankedLists:
        """The lists as the merchandiser's rules made them."""
        places = [place for of_one in entries_by_query for place in of_one]
        results = np.array([place.row for place in places], np.int64)
        rules, fallbacks = (
            np.array([getattr(place, name) for place in places], dtype=object)
            for name in ("rule", "fallback")
        )
        counts = np.array([len(of_one) for of_one in entries_by_query], np.int64)
        return self._build_lists(near, counts, results, rules, fallbacks, np.diff(near.starts))

    def _build_lists(
        self,
        near: NearestCandidates,
        counts: NDArray[np.int64],
        results: NDArray[np.int64],
        rules: NDArray[np.object_],
        fallbacks: NDArray[np.object_],
        used_counts: NDArray[np.int64],
    ) -> RankedLists:
        """counts: of results in each list. used: how many candidates it took; the next run is to remember twice as many."""
        k, candidates = self.list_rules.k, self.candidate_rows
        others = len(candidates) - self.gallery.is_in_stock[near.asking]
        reasons = np.full(len(near), None, dtype=object)
        reasons[counts < k] = ShortfallReason.MIN_SCORE
        reasons[(counts < k) & (np.diff(near.starts) == len(candidates))] = ShortfallReason.RULES
        reasons[(counts < k) & (others < k)] = ShortfallReason.FEW_CANDIDATES
        known = near.truncate(
            np.clip(2 * used_counts, _CANDIDATES_PER_RESULT * k, 8 * _CANDIDATES_PER_RESULT * k),
            self.gallery,
        )
        starts = np.concatenate([[0], np.cumsum(counts)])
        shape, colour = pair_distances(self.gallery.codes, near.asking, starts, results)
        return RankedLists(known, starts, results, shape, colour, reasons, rules, fallbacks)

    def rank_codes(
        self,
        codes: NDArray[np.uint64],
        shape_weight: NDArray[np.int32],
        colour_weight: NDArray[np.int32],
        candidate_count: int,
    ) -> Iterator[RankedList]:
        """The lists of codes that are nobody's, as `lists`; see `alike`."""
        counts, nearest = self.eligible.find_nearest(
            codes,
            shape_weight,
            colour_weight,
            distance_limits(shape_weight + colour_weight, self.list_rules.min_score),
            candidate_count,
        )
        for i, (code, rows) in enumerate(
            zip(codes, np.split(nearest, np.cumsum(counts)[:-1]), strict=True)
        ):
            chosen = self._select_allowed(-1, rows, self.list_rules.k, set())
            if len(rows) == candidate_count and len(chosen) < self.list_rules.k:
                yield from self.rank_codes(
                    codes[i : i + 1],
                    shape_weight[i : i + 1],
                    colour_weight[i : i + 1],
                    8 * candidate_count,
                )
                continue
            results = np.array(chosen, np.int64)
            shape, colour = distance_matrices(code[None], self.gallery.codes[results])
            reason = _shortfall_reason(
                len(results),
                len(self.candidate_rows),
                len(rows) == len(self.candidate_rows),
                self.list_rules,
            )
            yield RankedList(
                -1,
                results,
                shape[0],
                colour[0],
                reason,
                [None] * len(results),
                [None] * len(results),
            )

    def _select_allowed(
        self, row: int, ordered_rows: NDArray[np.int64], count: int, groups: set[int]
    ) -> list[int]:
        """The first `count` of the ordered rows that the rules allow beside `groups`, which it adds to."""
        brands: dict[int, int] = {}
        chosen: list[int] = []
        for candidate in ordered_rows.tolist() if count else []:
            group, brand = int(self.gallery.groups[candidate]), int(self.gallery.brands[candidate])
            if (
                candidate == row
                or group in groups
                or brands.get(brand, 0) >= self.list_rules.max_per_brand
            ):
                continue
            groups.add(group)
            brands[brand] = brands.get(brand, 0) + 1
            chosen.append(candidate)
            if len(chosen) == count:
                break
        return chosen

    def _weighted_distances(self, row: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weighted, int64 (m,)."""
        return weighted_distances(self.gallery, np.full(len(rows), row), rows).astype(np.int64)

    def _rank_merchandised(
        self, row: int, candidate_rows: NDArray[np.int64], is_all: bool
    ) -> list[ListEntry] | None:
        """The list as the merchandiser's rules want it; None where candidates not looked at could stand in it."""
        ruling = self.merchandising_rules.rules_for_page(row)
        weights = int(self.gallery.shape_weight[row] + self.gallery.colour_weight[row])
        groups = {int(self.gallery.groups[row])}
        pins = self._select_pins(ruling, groups)
        wanted = self.list_rules.k - len(pins)
        far = self._weighted_distances(row, candidate_rows)
        boosts, said = ruling.distance_boosts(candidate_rows, weights)
        order = np.lexsort((candidate_rows, far - boosts))
        order = order[~ruling.is_hidden[candidate_rows[order]]]
        chosen = self._select_allowed(row, candidate_rows[order], wanted, groups)
        at = {int(candidate): i for i, candidate in enumerate(candidate_rows)}
        if not is_all:
            # What was not looked at is at least as far as the last seen, and could go before by the largest boost.
            least = (int(far[-1]) if len(far) else 0) - ruling.largest_boost(weights)
            last = max((int(far[at[c]] - boosts[at[c]]) for c in chosen), default=0)
            if len(chosen) < wanted or (ruling.preferences and wanted and last >= least):
                return None
        picks = [ListEntry(candidate, said[at[candidate]]) for candidate in chosen]
        if ruling.is_filled and len(picks) < wanted:
            picks += self._select_fills(
                row,
                ruling,
                groups,
                wanted - len(picks),
                distance_limit(weights, self.list_rules.min_score),
            )
        for rank, candidate, text in pins:
            picks.insert(rank - 1, ListEntry(candidate, text))
        return picks

    def _select_pins(
        self, ruling: merchandising.PageRules, groups: set[int]
    ) -> list[tuple[int, int, str]]:
        """(rank, row, rule) of the pins that this audience may be shown, by rank; adds their groups to `groups`."""
        pins: list[tuple[int, int, str]] = []
        for rank, candidate, text in ruling.pins:
            position, group = (
                int(np.searchsorted(self.candidate_rows, candidate)),
                int(self.gallery.groups[candidate]),
            )
            is_shown = (
                position < len(self.candidate_rows) and self.candidate_rows[position] == candidate
            )
            if (
                is_shown
                and group not in groups
                and rank <= self.list_rules.k
                and len(pins) < self.list_rules.k
            ):
                groups.add(group)
                pins.append((rank, candidate, text))
        return pins

    def _select_fills(
        self, row: int, ruling: merchandising.PageRules, groups: set[int], count: int, limit: int
    ) -> list[ListEntry]:
        """What fills a short list: the most alike of the rest, whatever its score or brand. limit: distance of min_score."""
        far = self._weighted_distances(row, self.candidate_rows)
        picks: list[ListEntry] = []
        for position in np.argsort(far, kind="stable").tolist():
            candidate = int(self.candidate_rows[position])
            group = int(self.gallery.groups[candidate])
            if len(picks) == count:
                break
            if candidate == row or group in groups or ruling.is_hidden[candidate]:
                continue
            groups.add(group)
            picks.append(
                ListEntry(
                    candidate,
                    None,
                    Fallback.LESS_ALIKE if far[position] > limit else Fallback.SAME_BRAND,
                )
            )
        return picks


def _shortfall_reason(
    count: int, others: int, is_all_found: bool, rules: ListRules
) -> ShortfallReason | None:
    if count >= rules.k:
        return None
    if others < rules.k:
        return ShortfallReason.FEW_CANDIDATES
    return ShortfallReason.RULES if is_all_found else ShortfallReason.MIN_SCORE
