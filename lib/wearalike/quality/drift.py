"""How far a night has moved from the last one: the distribution of its scores, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from wearalike.quality.metrics import Metric

# Of a histogram of scores, 0 to 1.
SCORE_BINS = 20
# What chance alone may give a PSI; see `psi`.
MAX_CHANCE_PSI = 0.05

_SCORE_BINS_SQL = """
SELECT scope(NULL, super_category) AS scope, least(floor(score * $bins), $bins - 1)::INT AS bin, count(*) AS n
FROM {prefix}similar_products JOIN {prefix}products USING (product_id) GROUP BY GROUPING SETS ((bin), (super_category, bin))
"""

_CATEGORY_COUNTS_SQL = """
WITH now AS (SELECT category, super_category, count(*) AS n FROM products GROUP BY ALL),
    before AS (SELECT category, super_category, count(*) AS n FROM last_products GROUP BY ALL)
SELECT category, super_category, coalesce(before.n, 0) AS last_count, coalesce(now.n, 0) AS count
FROM now FULL JOIN before USING (category, super_category) ORDER BY category, super_category
"""


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How many recommendations have a score in each twentieth of 0..1, this run and the last: int64 (20,) both."""

    now: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CategoryGrowth:
    """A leaf category's products, this run and the last."""

    category: str
    super_category: str
    last_count: int
    count: int

    @property
    def growth(self) -> int:
        return self.count - self.last_count


def score_histograms(con: duckdb.DuckDBPyConnection) -> dict[str, ScoreHistogram]:
    """The scores of an opened night by scope: all, then each super-category that this run recommends anything in."""
    now, last = (_score_counts(con, prefix) for prefix in ("", "last_"))
    nothing = np.zeros(SCORE_BINS, np.int64)
    return {
        scope: ScoreHistogram(counts, last.get(scope, nothing))
        for scope, counts in sorted(now.items())
    }


def _score_counts(con: duckdb.DuckDBPyConnection, prefix: str) -> dict[str, NDArray[np.int64]]:
    found: dict[str, NDArray[np.int64]] = {}
    for scope, number, count in con.execute(
        _SCORE_BINS_SQL.format(prefix=prefix), {"bins": SCORE_BINS}
    ).fetchall():
        found.setdefault(scope, np.zeros(SCORE_BINS, np.int64))[number] = count
    return found


def category_growths(con: duckdb.DuckDBPyConnection) -> list[CategoryGrowth]:
    """Every leaf category that either run has products in, by name."""
    return [CategoryGrowth(*row) for row in con.execute(_CATEGORY_COUNTS_SQL).fetchall()]


def psi(now: Iterable[int], last: Iterable[int]) -> float | None:
    """The population stability index of two histograms over the same bins: the sum over bins of (p - q) * ln(p / q).

    It is the symmetric Kullback-Leibler divergence of the two (Jeffreys 1946); below 0.1 is by custom called little, above 0.25
    much (Siddiqi, Credit Risk Scorecards, 2006). Half a row is added to each bin, so that an empty one is not infinitely far.
    None where two samples of this size from the same source would differ by more than MAX_NOISE on average: by about
    (bins - 1) * (1 / n + 1 / m) (Yurdakul, Statistical properties of population stability index, 2018). Bins that are
    empty in both say nothing, and are left out.
    """
    counts = np.array([list(now), list(last)], np.float64).reshape(2, -1)
    counts = counts[:, counts.any(axis=0)]
    sums = counts.sum(axis=1)
    if not sums.all() or (counts.shape[1] - 1) * (1 / sums).sum() > MAX_CHANCE_PSI:
        return None
    p, q = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return float(((p - q) * np.log(p / q)).sum())


def drift_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """score_psi of all and of each super-category, category_psi of all: of an opened night against the last; none on a first night."""
    found = [("score_psi", scope, psi(h.now, h.last)) for scope, h in score_histograms(con).items()]
    grown = category_growths(con)
    found.append(
        ("category_psi", "all", psi((g.count for g in grown), (g.last_count for g in grown)))
    )
    return [Metric(name, scope, value, "psi") for name, scope, value in found if value is not None]
