"""Bootstrap confidence intervals of means over queries, and of paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_RESAMPLES = 1000
# Percentiles of the resampled means that bound the 95 % interval.
_INTERVAL_PERCENTILES = (2.5, 97.5)
# Elements that one block of resamples may hold: 32 MB of float64.
_MAX_BLOCK_ELEMENTS = 4_000_000
# One multinomial draw costs about as much as picking this many values.
_PICKS_PER_MULTINOMIAL_DRAW = 8


@dataclass(frozen=True, slots=True)
class BootstrapEstimate:
    """Mean over queries with its 95 % bootstrap interval.

    Attributes:
        value: Mean. NaN without any query.
        low: Lower end of the interval.
        high: Upper end of the interval.
        queries: Number of queries that have a value.
        left_out: Number of queries left out because their value is NaN.
    """

    value: float
    low: float
    high: float
    queries: int
    left_out: int = 0


def bootstrap_mean(values: NDArray[np.float64], seed: int = 0) -> BootstrapEstimate:
    """Return the mean of one measure over its queries, with a 95 % interval.

    The interval spans the 2.5th to the 97.5th percentile of the means of 1,000 seeded resamples.

    Args:
        values: float64 (n,). One value a query; NaN leaves the query out.
        seed: Seed of the resamples.

    Returns:
        The estimate. All its numbers are NaN where no query has a value.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return BootstrapEstimate(np.nan, np.nan, np.nan, 0, len(values))
    means = _bootstrap_means(known, np.random.default_rng(seed))
    low, high = np.percentile(means, _INTERVAL_PERCENTILES)
    return BootstrapEstimate(
        value=float(known.mean()),
        low=float(low),
        high=float(high),
        queries=len(known),
        left_out=len(values) - len(known),
    )


def bootstrap_difference(
    values: NDArray[np.float64], baseline: NDArray[np.float64], seed: int = 0
) -> BootstrapEstimate:
    """Return the mean paired difference, values - baseline, with a 95 % interval.

    The first model is better than the second only where the interval lies above 0.

    Args:
        values: float64 (n,). One value a query.
        baseline: float64 (n,). Values of the same queries in the same order.
        seed: Seed of the resamples.

    Returns:
        The estimate of the mean difference.

    Raises:
        ValueError: The shapes differ, so the queries cannot be the same.
    """
    if values.shape != baseline.shape:
        raise ValueError(
            f"wanted the same queries in both, got {values.shape} and {baseline.shape}"
        )
    return bootstrap_mean(values - baseline, seed)


def _bootstrap_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the means of the resamples, float64 (BOOTSTRAP_RESAMPLES,).

    A resample takes each distinct value a multinomial number of times. Precisions have few
    distinct values: drawing their counts is a few dozen draws instead of a million picks.
    """
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    draws_counts = _PICKS_PER_MULTINOMIAL_DRAW * len(distinct) < n
    row_width = len(distinct) if draws_counts else n
    step = max(1, _MAX_BLOCK_ELEMENTS // row_width)
    sizes = [
        min(step, BOOTSTRAP_RESAMPLES - start) for start in range(0, BOOTSTRAP_RESAMPLES, step)
    ]
    if draws_counts:
        shares = counts / n
        return np.concatenate([rng.multinomial(n, shares, size) @ distinct / n for size in sizes])
    return np.concatenate([values[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])
