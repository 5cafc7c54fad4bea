"""A second choice among the nearest candidates, so that a list is less of the same.

It is maximal marginal relevance (Carbonell and Goldstein, 1998) on the distances of the search. The
pool of a list is its nearest candidates, the product itself among them. Results are chosen from it
one by one, each time the one with the least

    (100 - D) * d(q, c) - D * min d(s, c)

where d is the weighted distance by the weights of the product q that asks. s are the results chosen
so far, and D is the diversity in percent. Among equals the nearer is chosen, then the smaller row.
All numbers are whole, so the choice is exact. The list shows what is chosen by likeness.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wearalike.search.candidates import (
    CANDIDATES_PER_RESULT,
    NearestCandidates,
    weighted_distances,
)
from wearalike.search.gallery import Gallery
from wearalike.search.kernels.distances import shape_colour_distances
from wearalike.search.ranked_lists import ListRules

_PERCENT = 100
# A pool that leaves too few results becomes so many times as large.
POOL_WIDENING_FACTOR = 8


def diversity_percent(diversity: float) -> int:
    """Return a diversity of 0..1 in whole percent."""
    return round(_PERCENT * diversity)


def select_diverse(
    gallery: Gallery,
    query_row: int,
    rows: NDArray[np.int64],
    distances: NDArray[np.int64],
    excluded_groups: NDArray[np.int64],
    k: int,
    max_per_brand: int,
    percent: int,
) -> NDArray[np.int64]:
    """Return the positions of at most k rows that are near and unlike each other, ascending.

    Args:
        gallery: The products.
        query_row: Row of the product that asks.
        rows: int64 (m,). The pool, by distance.
        distances: int64 (m,). How far each counts as, ascending.
        excluded_groups: int64. Groups that have a result already, and the product's own.
        k: Results, at most.
        max_per_brand: Results of one brand, at most.
        percent: 0..100. How much the distance to other results counts.
    """
    return np.asarray(
        _select(
            query_row,
            rows,
            distances,
            gallery.groups,
            gallery.brands,
            excluded_groups,
            k,
            max_per_brand,
            percent,
            *gallery.distance_arrays,
        )
    )


def first_pool_count(rules: ListRules) -> int:
    """Return how many candidates a list is chosen from at first."""
    return CANDIDATES_PER_RESULT * rules.k


def select_diverse_lists(
    gallery: Gallery,
    rules: ListRules,
    nearest: NearestCandidates,
    is_complete: NDArray[np.bool_],
    max_per_brand: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return `select_diverse` of the lists of m products.

    The pool of a list depends on nothing else that is known: where it leaves too few, a larger one
    is looked at.

    Args:
        gallery: The products.
        rules: The list rules.
        nearest: The nearest candidates.
        is_complete: bool (m,). True if there are no more within min_score.
        max_per_brand: int64 (m,). Results of one brand, at most.

    Returns:
        Positions of the results in nearest.rows, int64 (m, k); their numbers, int64 (m,); numbers
        of the candidates looked at, int64 (m,); True for finished lists, bool (m,).
    """
    m, k = len(nearest), rules.k
    selected = np.zeros((m, k), np.int64)
    counts = np.zeros(m, np.int64)
    used = np.zeros(m, np.int64)
    is_finished = np.zeros(m, bool)
    query_rows = np.repeat(nearest.query_rows, nearest.counts)
    distances = weighted_distances(gallery, query_rows, nearest.rows)
    pool_count = first_pool_count(rules)
    percent = diversity_percent(rules.diversity)
    while True:
        is_known = is_complete | (nearest.counts >= pool_count)
        asking = np.flatnonzero(is_known & ~is_finished)
        if not len(asking):
            return selected, counts, used, is_finished
        selected[asking], counts[asking] = _select_in_block(
            nearest.query_rows[asking],
            nearest.starts[asking],
            nearest.starts[asking + 1],
            nearest.rows,
            distances,
            pool_count,
            gallery.groups,
            gallery.brands,
            k,
            max_per_brand[asking],
            percent,
            *gallery.distance_arrays,
        )
        used[asking] = np.minimum(nearest.counts[asking], pool_count)
        is_all = is_complete & (nearest.counts <= pool_count)
        is_finished[asking] = ((counts == k) | is_all)[asking]
        pool_count *= POOL_WIDENING_FACTOR


@njit(nogil=True, cache=True)
def _select(  # type: ignore[no-untyped-def]
    query_row, rows, distances, groups, brands, excluded_groups, k, max_per_brand, percent,
    codes, shape_weight, colour_weight, kind_weight, kind, kind_distances, name, name_distances,
):  # fmt: skip
    """Return `select_diverse` of plain arrays."""
    count = len(rows)
    may_stand = np.ones(count, np.bool_)
    # The distance to the nearest result chosen so far; 0 while there is none.
    nearest = np.zeros(count, np.int64)
    for i in range(count):
        may_stand[i] = rows[i] != query_row
        for excluded in excluded_groups:
            if groups[rows[i]] == excluded:
                may_stand[i] = False
    chosen = np.empty(k, np.int64)
    chosen_count = 0
    while chosen_count < k:
        best = -1
        best_value = np.int64(0)
        for i in range(count):
            if may_stand[i]:
                value = (100 - percent) * np.int64(distances[i]) - percent * nearest[i]
                # Candidates are ordered by distance, then row: of equal ones the first wins.
                if best < 0 or value < best_value:
                    best, best_value = i, value
        if best < 0:
            break
        chosen[chosen_count] = best
        chosen_count += 1
        row = rows[best]
        same_brand = 0
        for j in range(chosen_count):
            same_brand += brands[rows[chosen[j]]] == brands[row]
        for i in range(count):
            if not may_stand[i]:
                continue
            other = rows[i]
            is_full = brands[other] == brands[row] and same_brand >= max_per_brand
            if groups[other] == groups[row] or is_full:
                may_stand[i] = False
                continue
            shape, colour = shape_colour_distances(codes[row], codes[other])
            between = (
                np.int64(shape_weight[query_row]) * np.int64(shape)
                + np.int64(colour_weight[query_row])
                * (np.int64(colour) + name_distances[name[row], name[other]])
                + np.int64(kind_weight[query_row]) * kind_distances[kind[row], kind[other]]
            )
            if chosen_count == 1 or between < nearest[i]:
                nearest[i] = between
    return np.sort(chosen[:chosen_count])


@njit(nogil=True, cache=True)
def _select_in_block(  # type: ignore[no-untyped-def]
    query_rows, starts, ends, rows, distances, pool_count, groups, brands, k, max_per_brand,
    percent,
    codes, shape_weight, colour_weight, kind_weight, kind, kind_distances, name, name_distances,
):  # fmt: skip
    """Return positions and counts of lists whose candidates are rows[starts[i] : ends[i]]."""
    selected = np.zeros((len(query_rows), k), np.int64)
    counts = np.zeros(len(query_rows), np.int64)
    own_group = np.empty(1, np.int64)
    for i in range(len(query_rows)):
        own_group[0] = groups[query_rows[i]]
        stop = min(ends[i], starts[i] + pool_count)
        allowed = _select(
            query_rows[i], rows[starts[i] : stop], distances[starts[i] : stop], groups, brands,
            own_group, k, max_per_brand[i], percent,
            codes, shape_weight, colour_weight, kind_weight, kind, kind_distances, name,
            name_distances,
        )  # fmt: skip
        selected[i, : len(allowed)] = allowed + starts[i]
        counts[i] = len(allowed)
    return selected, counts
