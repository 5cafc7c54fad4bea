"""The search of a gallery: for every product the most alike ones of its super-category, exactly.

Order: smaller distance first, then smaller product_id. The rules act before the cut to the best k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.search.candidates import (
    CANDIDATES_PER_RESULT,
    REMEMBERED_PER_RESULT,
    NearestCandidates,
    find_candidates,
)
from wearalike.search.diversity import diversity_percent
from wearalike.search.gallery import CandidateSet, Gallery
from wearalike.search.incremental import PreviousSearch, merge_candidates
from wearalike.search.merchandising import rank_merchandised
from wearalike.search.page_rules import CompiledRules
from wearalike.search.ranked_lists import ListRules, RankedLists
from wearalike.search.ranking import min_score_limits, rank_plain

# Queries that are searched together.
_BLOCK_QUERIES = 1024
# A list that needs more candidates gets this many times as many.
_WIDENING_FACTOR = 8


def search_gallery(
    gallery: Gallery,
    start: int,
    stop: int,
    rules: ListRules,
    merchandising_rules: Sequence[MerchandisingRule] = (),
    previous_search: PreviousSearch | None = None,
) -> Iterator[RankedLists]:
    """Yield the lists of the rows start..stop, each row once, some at a time, in any order.

    Args:
        gallery: The products of one super-category.
        start: First row that asks.
        stop: Row after the last; rows beyond the gallery are left out.
        rules: The rules of every list.
        merchandising_rules: The merchandiser's rules of the run's day.
        previous_search: Another run's search. Without it the lists are the same, and take longer.

    Example:
        >>> lists = search_gallery(gallery, 0, len(gallery), ListRules(k=20))
        >>> {gallery.product_ids[one.query_row]: one.results for some in lists for one in some}
    """
    compiled_rules = CompiledRules(merchandising_rules, gallery.attributes)
    for query_rows, candidates in gallery.split_by_audience(start, stop):
        changed = query_rows
        # Products that ask the same as before: their old candidates, and the nearest new ones.
        if previous_search is not None:
            is_unchanged = previous_search.is_unchanged(query_rows)
            changed = query_rows[~is_unchanged]
            new_candidates = previous_search.new_candidates(candidates)
            for block in _split_blocks(query_rows[is_unchanged]):
                known = previous_search.surviving_candidates(block)
                limits = min_score_limits(candidates, rules, block)
                search_limits = np.minimum(limits, known.bound_distance)
                new = _find_first(new_candidates, rules, block, search_limits)
                nearest = merge_candidates(gallery, known, limits, new)
                yield from _rank_lists(candidates, rules, compiled_rules, nearest)
        # New and changed products: everything.
        for block in _split_blocks(changed):
            limits = min_score_limits(candidates, rules, block)
            nearest = _find_first(candidates, rules, block, limits)
            yield from _rank_lists(candidates, rules, compiled_rules, nearest)


def _find_first(
    candidates: CandidateSet,
    rules: ListRules,
    query_rows: NDArray[np.int64],
    limits: NDArray[np.int64],
) -> NearestCandidates:
    """Return as many of the nearest candidates as most lists need."""
    return find_candidates(candidates, query_rows, limits, CANDIDATES_PER_RESULT * rules.k)


def _rank_lists(
    candidates: CandidateSet,
    rules: ListRules,
    compiled_rules: CompiledRules,
    nearest: NearestCandidates,
) -> Iterator[RankedLists]:
    """Yield the lists of a block of queries; where the rules leave too few, fetch more candidates.

    `build_lists` adds to each list why it is short. Lists that need more candidates than the next
    run remembers are ranked without twins: else hundreds of sizes stand between two articles.
    """
    count = CANDIDATES_PER_RESULT * rules.k
    while True:
        limits = min_score_limits(candidates, rules, nearest.query_rows)
        is_complete = nearest.bound_distance > limits
        is_ruled = compiled_rules.is_ruled[nearest.query_rows]
        plain = np.flatnonzero(~is_ruled)
        lists, unfinished = rank_plain(candidates, rules, nearest.take(plain), is_complete[plain])
        yield lists
        if is_ruled.any():
            ruled = np.flatnonzero(is_ruled)
            lists, unfinished_ruled = rank_merchandised(
                candidates, rules, compiled_rules, nearest.take(ruled), is_complete[ruled]
            )
            yield lists
            unfinished = np.concatenate([unfinished, unfinished_ruled])
        if not len(unfinished):
            return
        is_remembered = count >= REMEMBERED_PER_RESULT * rules.k
        if is_remembered and len(plain) and not diversity_percent(rules.diversity):
            is_plain = np.isin(unfinished, nearest.query_rows[plain])
            asking = np.flatnonzero(np.isin(nearest.query_rows, unfinished[is_plain]))
            yield from _rank_without_twins(candidates, rules, nearest.take(asking))
            unfinished = unfinished[~is_plain]
            if not len(unfinished):
                return
        count *= _WIDENING_FACTOR
        limits = min_score_limits(candidates, rules, unfinished)
        nearest = find_candidates(candidates, unfinished, limits, count)


def _rank_without_twins(
    candidates: CandidateSet, rules: ListRules, remembered: NearestCandidates
) -> Iterator[RankedLists]:
    """Yield the plain lists of queries, which the next run's candidates leave unfinished.

    Args:
        candidates: The products that the audience may be shown.
        rules: The rules of every list.
        remembered: As many of the nearest candidates of the queries as the next run remembers.
    """
    distinct = candidates.without_twins
    count, asking = REMEMBERED_PER_RESULT * rules.k, remembered.query_rows
    while len(asking):
        limits = min_score_limits(candidates, rules, asking)
        nearest = find_candidates(distinct, asking, limits, count)
        lists, unfinished = rank_plain(distinct, rules, nearest, nearest.bound_distance > limits)
        done = np.flatnonzero(np.isin(remembered.query_rows, lists.candidates.query_rows))
        yield replace(lists, candidates=remembered.take(done))
        asking = unfinished
        count *= _WIDENING_FACTOR


def _split_blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows in order, a block at a time."""
    for start in range(0, len(rows), _BLOCK_QUERIES):
        yield rows[start : start + _BLOCK_QUERIES]
