"""From nearest candidates to lists under the list rules: one result a group, few of a brand."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wearalike.search.candidates import (
    CANDIDATES_PER_RESULT,
    REMEMBERED_PER_RESULT,
    NearestCandidates,
)
from wearalike.search.diversity import diversity_percent, select_diverse_lists
from wearalike.search.gallery import CandidateSet, Gallery
from wearalike.search.ranked_lists import ListRules, RankedLists, shortfall_reasons
from wearalike.search.scores import distance_limits, pair_distances


def min_score_limits(
    candidates: CandidateSet, rules: ListRules, query_rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the largest weighted distance at min_score of products that ask, int64 (m,)."""
    return distance_limits(candidates.gallery.weight_sums(query_rows), rules.min_score)


def rank_plain(
    candidates: CandidateSet,
    rules: ListRules,
    nearest: NearestCandidates,
    is_complete: NDArray[np.bool_],
) -> tuple[RankedLists, NDArray[np.int64]]:
    """Rank the lists on which no merchandising rule acts.

    Args:
        candidates: The products that the audience may be shown.
        rules: The list rules.
        nearest: The nearest candidates of m products.
        is_complete: bool (m,). True if there are no more within min_score.

    Returns:
        The lists that are finished, and the rows of the products that need more candidates.
    """
    gallery = candidates.gallery
    k = rules.k
    limits = brand_limits(gallery, rules, nearest.query_rows)
    if diversity_percent(rules.diversity):
        selected, counts, used, is_finished = select_diverse_lists(
            gallery, rules, nearest, is_complete, limits
        )
    else:
        selected, counts = _select_allowed_in_block(
            nearest.query_rows,
            nearest.starts,
            nearest.rows,
            gallery.groups,
            gallery.brands,
            k,
            limits,
        )
        is_full = counts == k
        is_finished = is_full | is_complete
        used = np.where(is_full, selected[:, -1] - nearest.starts[:-1] + 1, nearest.counts)
    counts = counts[is_finished]
    is_result = np.arange(k) < counts[:, None]
    results = nearest.rows[selected[is_finished][is_result]].astype(np.int64)
    nothing = np.full(len(results), None, dtype=object)
    ranked = build_lists(
        candidates,
        rules,
        nearest.take(np.flatnonzero(is_finished)),
        used[is_finished],
        counts,
        results,
        (nothing, nothing),
    )
    return ranked, nearest.query_rows[~is_finished]


def build_lists(
    candidates: CandidateSet,
    rules: ListRules,
    nearest: NearestCandidates,
    used_counts: NDArray[np.int64],
    counts: NDArray[np.int64],
    results: NDArray[np.int64],
    explanations: tuple[NDArray[np.object_], NDArray[np.object_]],
) -> RankedLists:
    """Add distances, reasons and what the next run remembers to the results of lists.

    Args:
        candidates: The products that the audience may be shown.
        rules: The list rules.
        nearest: The candidates that m lists were ranked from.
        used_counts: int64 (m,). Candidates that each list looked at; twice as many are remembered.
        counts: int64 (m,). Results in each list.
        results: int64 (t,). Rows of the results, one list after another.
        explanations: The rule and the fallback of each result, object (t,) each.
    """
    gallery = candidates.gallery
    # The product itself is a candidate if it is in stock.
    all_count = len(candidates.whole or candidates)
    other_counts = all_count - gallery.is_in_stock[nearest.query_rows]
    group_counts = _count_groups_of_short(nearest, counts, gallery.groups, rules.k)
    reasons = shortfall_reasons(
        counts, nearest.counts, group_counts, other_counts, len(candidates), rules.k
    )
    remembered_counts = np.clip(
        2 * used_counts, CANDIDATES_PER_RESULT * rules.k, REMEMBERED_PER_RESULT * rules.k
    )
    starts = np.concatenate([[0], np.cumsum(counts)])
    shape, colour = pair_distances(gallery.codes, nearest.query_rows, starts, results)
    kind = gallery.kind_distances(np.repeat(nearest.query_rows, counts), results)
    colour_name = gallery.name_distances(np.repeat(nearest.query_rows, counts), results)
    remembered = nearest.truncate(remembered_counts, gallery)
    distances = shape, colour, kind, colour_name
    return RankedLists(remembered, starts, results, *distances, reasons, *explanations)


def brand_limits(
    gallery: Gallery, rules: ListRules, query_rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many results of one brand the pages of products may show, int64 (m,)."""
    is_free = gallery.is_of_one_brand_shop(rules.max_brand_share)[query_rows]
    return np.where(is_free, rules.k, rules.max_per_brand)


def _count_groups_of_short(
    nearest: NearestCandidates, counts: NDArray[np.int64], groups: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Return for each short list the groups among its candidates but its own; 0 for full lists."""
    group_counts = np.zeros(len(counts), np.int64)
    for i in np.flatnonzero(counts < k).tolist():
        own_group = groups[nearest.query_rows[i]]
        found = np.unique(groups[nearest.candidates_of(i)])
        group_counts[i] = len(found) - np.isin(own_group, found)
    return group_counts


@njit(nogil=True, cache=True)
def select_allowed(query_row, rows, groups, brands, excluded_groups, k, max_per_brand):  # type: ignore[no-untyped-def]
    """Return the positions of the first k rows that the list rules allow, int64.

    Args:
        query_row: Row of the product that asks, which is never a result; -1 for none.
        rows: int32 (m,). Candidates in the order of preference.
        groups: int64 (n,). The gallery's groups.
        brands: int64 (n,). The gallery's brands.
        excluded_groups: int64. Groups that already have a result, and the product's own.
        k: Results, at most.
        max_per_brand: Results of one brand, at most.
    """
    selected = np.empty(k, np.int64)
    selected_groups = np.empty(k, np.int64)
    selected_brands = np.empty(k, np.int64)
    count = 0
    for position in range(len(rows)):
        if count == k:
            break
        row = rows[position]
        group = groups[row]
        brand = brands[row]
        is_excluded = row == query_row
        for excluded in excluded_groups:
            is_excluded |= excluded == group
        same_brand = 0
        for i in range(count):
            is_excluded |= selected_groups[i] == group
            same_brand += selected_brands[i] == brand
        if is_excluded or same_brand >= max_per_brand:
            continue
        selected[count] = position
        selected_groups[count] = group
        selected_brands[count] = brand
        count += 1
    return selected[:count]


@njit(nogil=True, cache=True)
def _select_allowed_in_block(query_rows, starts, rows, groups, brands, k, max_per_brand):  # type: ignore[no-untyped-def]
    """Return `select_allowed` of m lists: positions in `rows`, int64 (m, k), and how many.

    max_per_brand is that of each list, int64 (m,).
    """
    selected = np.zeros((len(query_rows), k), np.int64)
    counts = np.zeros(len(query_rows), np.int64)
    own_group = np.empty(1, np.int64)
    for i in range(len(query_rows)):
        own_group[0] = groups[query_rows[i]]
        candidates = rows[starts[i] : starts[i + 1]]
        allowed = select_allowed(
            query_rows[i], candidates, groups, brands, own_group, k, max_per_brand[i]
        )
        selected[i, : len(allowed)] = allowed + starts[i]
        counts[i] = len(allowed)
    return selected, counts
