"""Drift since the last run: the distribution of scores, and the products by category."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from wearalike.quality.metrics import Metric

# Bins of a histogram of scores, 0 to 1.
SCORE_BINS = 20
# Largest PSI that chance may give on average; see `psi`.
MAX_CHANCE_PSI = 0.05

_SCORE_BINS_SQL = """
SELECT scope(NULL, super_category) AS scope,
    least(floor(score * $bins), $bins - 1)::INT AS bin, count(*) AS n
FROM {prefix}similar_products JOIN {prefix}products USING (product_id)
GROUP BY GROUPING SETS ((bin), (super_category, bin))
"""

_CATEGORY_COUNTS_SQL = """
WITH now AS (SELECT category, super_category, count(*) AS n FROM products GROUP BY ALL),
    before AS (SELECT category, super_category, count(*) AS n FROM last_products GROUP BY ALL)
SELECT category, super_category,
    coalesce(before.n, 0) AS last_count, coalesce(now.n, 0) AS count
FROM now FULL JOIN before USING (category, super_category) ORDER BY category, super_category
"""


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """Number of recommendations in each twentieth of the score range 0..1.

    Attributes:
        now: int64 (20,), this run.
        last: int64 (20,), the last run.
    """

    now: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CategoryGrowth:
    """Number of products of a leaf category, in this run and in the last.

    Attributes:
        category: The leaf.
        super_category: Its super-category.
        last_count: Products in the last run.
        count: Products in this run.
    """

    category: str
    super_category: str
    last_count: int
    count: int

    @property
    def growth(self) -> int:
        """Change in the number of products."""
        return self.count - self.last_count


def score_histograms(con: duckdb.DuckDBPyConnection) -> dict[str, ScoreHistogram]:
    """Count the scores of this run and of the last.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        Histograms by scope: all, and each super-category with recommendations in this run.
    """
    now = _score_counts(con, "")
    last = _score_counts(con, "last_")
    empty = np.zeros(SCORE_BINS, np.int64)
    return {
        scope: ScoreHistogram(counts, last.get(scope, empty))
        for scope, counts in sorted(now.items())
    }


def _score_counts(con: duckdb.DuckDBPyConnection, prefix: str) -> dict[str, NDArray[np.int64]]:
    """Return the histogram of each scope, of this run (prefix "") or the last ("last_")."""
    counts: dict[str, NDArray[np.int64]] = {}
    rows = con.execute(_SCORE_BINS_SQL.format(prefix=prefix), {"bins": SCORE_BINS}).fetchall()
    for scope, bin_, count in rows:
        counts.setdefault(scope, np.zeros(SCORE_BINS, np.int64))[bin_] = count
    return counts


def category_growths(con: duckdb.DuckDBPyConnection) -> list[CategoryGrowth]:
    """Return every leaf category with products in either run, by name.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.
    """
    return [CategoryGrowth(*row) for row in con.execute(_CATEGORY_COUNTS_SQL).fetchall()]


def psi(now: Iterable[int], last: Iterable[int]) -> float | None:
    """Compute the population stability index: the sum over bins of (p - q) * ln(p / q).

    It is the symmetric Kullback-Leibler divergence of two histograms (Jeffreys 1946). By
    convention, below 0.1 is a small change and above 0.25 a large one (Siddiqi, Credit Risk
    Scorecards, 2006). Half a row is added to each bin, so that an empty bin gives no infinity.
    Bins that are empty in both are left out.

    Args:
        now: Rows in each bin, this run.
        last: Rows in each bin, the last run.

    Returns:
        The index, or None if the samples are too small. Samples of n and m rows from one source
        differ by about (bins - 1) * (1 / n + 1 / m), which must not exceed MAX_CHANCE_PSI.
        See Yurdakul, Statistical properties of population stability index, 2018.
    """
    counts = np.array([list(now), list(last)], np.float64).reshape(2, -1)
    counts = counts[:, counts.any(axis=0)]
    sums = counts.sum(axis=1)
    if not sums.all() or (counts.shape[1] - 1) * (1 / sums).sum() > MAX_CHANCE_PSI:
        return None
    p, q = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return float(((p - q) * np.log(p / q)).sum())


def drift_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """Compute score_psi of all and of each super-category, and category_psi of all.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        Metrics; one whose samples are too small is left out, on the first run all of them.
    """
    values = [
        ("score_psi", scope, psi(h.now, h.last)) for scope, h in score_histograms(con).items()
    ]
    growths = category_growths(con)
    category_psi = psi((g.count for g in growths), (g.last_count for g in growths))
    values.append(("category_psi", "all", category_psi))
    return [Metric(name, scope, value, "psi") for name, scope, value in values if value is not None]
