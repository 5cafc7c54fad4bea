"""How good ranked lists are. All measures are 0..1, bigger is better, one value a query.

`relevant` is always bool (n, m): row i is query i, column j whether its result of rank j + 1 shares the labels under
test. Beyond a list's end, and beyond m, nothing is relevant: a list shorter than k is divided by k all the same.
The query itself is never among its results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_RESAMPLES = 1000


def _first_k(relevant: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """The first k columns, bool (n, k), filled up with False."""
    if relevant.ndim != 2 or relevant.dtype != np.bool_ or k < 1:
        raise ValueError(
            f"wanted bool (n, m) and k >= 1, got {relevant.dtype} {relevant.shape} and k = {k}"
        )
    first = relevant[:, :k]
    return np.pad(first, ((0, 0), (0, k - first.shape[1])))


def precision(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """precision@k, float64 (n,): relevant results in the first k, divided by k."""
    return _first_k(relevant, k).sum(axis=1) / k


def hit_rate(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """hit@k, float64 (n,): 1 if any of the first k is relevant, else 0."""
    return np.any(_first_k(relevant, k), axis=1).astype(np.float64)


def recall(
    relevant: NDArray[np.bool_], relevant_count: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """recall@k, float64 (n,): relevant results in the first k, divided by R; NaN where R = 0.

    relevant_count: int64 (n,), R, the relevant items in the whole gallery, the query itself not among them.
    """
    return _first_k(relevant, k).sum(axis=1) / _zero_to_nan(relevant_count)


def average_precision(
    relevant: NDArray[np.bool_], relevant_count: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """AP@k, float64 (n,): sum over ranks i <= k of relevant(i) * precision@i, divided by min(R, k); NaN where R = 0.

    relevant_count as in `recall`. mAP@k is the mean over the queries that have any relevant item: `mean` leaves out NaN.
    """
    first = _first_k(relevant, k)
    precisions = first.cumsum(axis=1) / np.arange(1, k + 1)
    return (first * precisions).sum(axis=1) / np.minimum(_zero_to_nan(relevant_count), k)


def relevance(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """relevance@k, float64 (n,): hits weighed by rank, k for the first result, 1 for the k-th; all relevant gives 1."""
    weights = np.arange(k, 0, -1)
    return (_first_k(relevant, k) @ weights) / weights.sum()


def _zero_to_nan(relevant_count: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(relevant_count > 0, relevant_count, np.nan)


@dataclass(frozen=True, slots=True)
class BootstrapEstimate:
    """A mean over queries with its 95 % bootstrap interval. queries: how many it is of; left_out: those that were NaN."""

    value: float
    low: float
    high: float
    queries: int
    left_out: int = 0


def bootstrap_mean(values: NDArray[np.float64], seed: int = 0) -> BootstrapEstimate:
    """The mean of one measure over its queries. values: float64 (n,), NaN for a query to leave out.

    The interval is the 2.5th and 97.5th percentile of the means of 1,000 seeded resamples of the queries. Without any
    query everything is NaN.
    """
    kept = values[~np.isnan(values)]
    if not len(kept):
        return BootstrapEstimate(np.nan, np.nan, np.nan, 0, len(values))
    low, high = np.percentile(_bootstrap_means(kept, np.random.default_rng(seed)), [2.5, 97.5])
    return BootstrapEstimate(
        float(kept.mean()), float(low), float(high), len(kept), len(values) - len(kept)
    )


def _bootstrap_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The means of RESAMPLES draws of n of the n values with replacement, float64 (RESAMPLES,).

    A draw takes each distinct value a multinomial number of times. Where few are distinct, as precisions are, these numbers are
    drawn, a few dozen instead of a million; drawing one costs about as much as picking eight values.
    """
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    is_few = 8 * len(distinct) < n
    step = max(1, 4_000_000 // (len(distinct) if is_few else n))
    sizes = [
        min(step, BOOTSTRAP_RESAMPLES - start) for start in range(0, BOOTSTRAP_RESAMPLES, step)
    ]
    if is_few:
        return np.concatenate(
            [rng.multinomial(n, counts / n, size) @ distinct / n for size in sizes]
        )
    return np.concatenate([values[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])


def bootstrap_difference(
    values: NDArray[np.float64], baseline: NDArray[np.float64], seed: int = 0
) -> BootstrapEstimate:
    """The mean of values - others over the same queries in the same order, both float64 (n,).

    The first is better than the second only where the interval lies above 0.
    """
    if values.shape != baseline.shape:
        raise ValueError(
            f"wanted the same queries in both, got {values.shape} and {baseline.shape}"
        )
    return bootstrap_mean(values - baseline, seed)
