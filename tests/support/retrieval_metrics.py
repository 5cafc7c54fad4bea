"""Retrieval metrics that only tests and benchmarks ask for: hit rate, and two kinds of recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearalike.metrics.retrieval import first_k, zero_to_nan


def hit_rate(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return hit@k, float64 (n,): 1 if any of the first k results is relevant, else 0."""
    return np.any(first_k(relevant, k), axis=1).astype(np.float64)


def recall(
    relevant: NDArray[np.bool_], relevant_count: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Return recall@k, float64 (n,): relevant results in the first k, divided by R; NaN at R = 0.

    Args:
        relevant: bool (n, m). Row i holds the relevance of query i's results, best first.
        relevant_count: int64 (n,). R, the relevant items in the whole gallery without the query.
        k: Cut-off rank, 1 or more.
    """
    return first_k(relevant, k).sum(axis=1) / zero_to_nan(relevant_count)


def distance_recall(approximate: NDArray[np.integer], exact: NDArray[np.integer]) -> float:
    """Return the share of an exact search's results that an approximate search found.

    Ties count as found: which codes at the last distance are listed does not matter. The share is
    1 where the exact search finds nothing.

    Args:
        approximate: int (n,). Distances that the approximate search found, ascending.
        exact: int (m,). Distances that the exact search found, ascending.
    """
    if not len(exact):
        return 1.0
    found_count = int(np.count_nonzero(approximate <= exact[-1]))
    return min(len(exact), found_count) / len(exact)
