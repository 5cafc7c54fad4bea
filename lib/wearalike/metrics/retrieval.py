"""Quality of ranked lists. Every measure is one value a query, 0..1, and bigger is better.

`relevant` is always bool (n, m): row i is query i. Column j tells if the result of rank j + 1
shares the labels under test. Nothing is relevant beyond the end of a list or beyond column m, so a
list shorter than k is still divided by k. The query itself is never among its results.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def precision(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return precision@k: relevant results among the first k, divided by k.

    Args:
        relevant: bool (n, m). Row i holds the relevance of query i's results, best first.
        k: Cut-off rank, 1 or more.

    Returns:
        float64 (n,), 0..1.

    Raises:
        ValueError: `relevant` is no bool matrix, or k is below 1.

    Example:
        >>> precision(np.array([[True, False, True]]), k=4)
        array([0.5])
    """
    return first_k(relevant, k).sum(axis=1) / k


def average_precision(
    relevant: NDArray[np.bool_], relevant_count: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Return AP@k: precision@i summed over the relevant ranks i <= k, divided by min(R, k).

    mAP@k is the mean over the queries that have any relevant item: `bootstrap_mean` skips NaN.

    Args:
        relevant: bool (n, m). Row i holds the relevance of query i's results, best first.
        relevant_count: int64 (n,). R, the relevant items in the whole gallery without the query.
        k: Cut-off rank, 1 or more.

    Returns:
        float64 (n,), 0..1; NaN where R is 0.

    Raises:
        ValueError: `relevant` is no bool matrix, or k is below 1.
    """
    first = first_k(relevant, k)
    precisions = first.cumsum(axis=1) / np.arange(1, k + 1)
    return (first * precisions).sum(axis=1) / np.minimum(zero_to_nan(relevant_count), k)


def relevance(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return relevance@k: relevant results weighted by rank, k for the first, 1 for the k-th.

    Args:
        relevant: bool (n, m). Row i holds the relevance of query i's results, best first.
        k: Cut-off rank, 1 or more.

    Returns:
        float64 (n,), 0..1; 1 where all of the first k are relevant.

    Raises:
        ValueError: `relevant` is no bool matrix, or k is below 1.
    """
    weights = np.arange(k, 0, -1)
    return (first_k(relevant, k) @ weights) / weights.sum()


def first_k(relevant: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Return the first k columns, padded with False: the results that a measure at k counts.

    Args:
        relevant: bool (n, m). Row i holds the relevance of query i's results, best first.
        k: Cut-off rank, 1 or more.

    Returns:
        bool (n, k).

    Raises:
        ValueError: `relevant` is no bool matrix, or k is below 1.
    """
    if relevant.ndim != 2 or relevant.dtype != np.bool_ or k < 1:
        raise ValueError(
            f"wanted bool (n, m) and k >= 1, got {relevant.dtype} {relevant.shape} and k = {k}"
        )
    first = relevant[:, :k]
    return np.pad(first, ((0, 0), (0, k - first.shape[1])))


def zero_to_nan(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts as floats, with NaN for 0, so that a division by them leaves the query out.

    Args:
        counts: int64 (n,). Counts of 0 or more.

    Returns:
        float64 (n,).
    """
    return np.where(counts > 0, counts, np.nan)


def first_relevant_rank(
    distances: NDArray[np.floating],
    is_relevant: NDArray[np.bool_],
    is_left_out: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the rank of each query's nearest relevant answer, from 0.

    Answers as far away as it are counted by half: it stands in the middle of their span.

    Args:
        distances: (n, g). Distances to the gallery, rounded so that ties are ties.
        is_relevant: bool (n, g). The right answers.
        is_left_out: bool (n, g). Rows of the gallery that are no answers to the query.

    Returns:
        float64 (n,). NaN where nothing is relevant.

    Example:
        >>> is_right = np.array([[True, False, False]])
        >>> first_relevant_rank(np.array([[2.0, 1.0, 2.0]]), is_right, np.zeros((1, 3), bool))
        array([1.5])
    """
    is_right = is_relevant & ~is_left_out
    nearest = np.where(is_right, distances, np.inf).min(axis=1, initial=np.inf)[:, None]
    others = np.where(is_relevant | is_left_out, np.inf, distances)
    ranks = (others < nearest).sum(axis=1) + (others == nearest).sum(axis=1) / 2
    return np.where(is_right.any(axis=1), ranks, np.nan)


def recall(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return recall@k of queries with one answer to find: 1 if it is among the first k, else 0.

    Args:
        ranks: float64 (n,). Ranks from 0, as `first_relevant_rank` returns them.
        k: Cut-off rank, 1 or more.

    Returns:
        float64 (n,), 0 or 1; NaN where the rank is.
    """
    return np.where(np.isnan(ranks), np.nan, ranks < k)


def tied_precision(
    distances: NDArray[np.floating],
    is_relevant: NDArray[np.bool_],
    is_left_out: NDArray[np.bool_],
    k: int,
) -> NDArray[np.float64]:
    """Return precision@k where answers as far away as the k-th one share its remaining places.

    Args:
        distances: (n, g). Distances to the gallery, rounded so that ties are ties.
        is_relevant: bool (n, g). The right answers.
        is_left_out: bool (n, g). Rows of the gallery that are no answers to the query.
        k: Cut-off rank, 1 or more.

    Returns:
        float64 (n,), 0..1. A gallery with fewer answers than k is still divided by k.
    """
    far = np.where(is_left_out, np.inf, distances)
    last = min(k, far.shape[1]) - 1
    furthest = np.partition(far, last, axis=1)[:, last][:, None]
    is_nearer = far < furthest
    is_tied = (far == furthest) & np.isfinite(furthest)
    places = np.minimum(k - is_nearer.sum(axis=1), is_tied.sum(axis=1))
    share = places / np.maximum(is_tied.sum(axis=1), 1)
    right = is_relevant & ~is_left_out
    return ((right & is_nearer).sum(axis=1) + (right & is_tied).sum(axis=1) * share) / k
