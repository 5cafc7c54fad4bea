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
