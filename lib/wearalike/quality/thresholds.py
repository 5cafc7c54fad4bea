"""Thresholds of a run's metrics, and the verdict on a metric outside its threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from wearalike.quality.metrics import K, Metric


class GateVerdict(StrEnum):
    """Verdict on a check or a run; `fail` stops publishing, `warn` does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The range in which a metric must lie.

    Attributes:
        metric: Name of the metric.
        low: Smallest value; None for no lower end.
        high: Largest value; None for no upper end.
        scope: The scope that must comply; None for every scope with the metric.
        is_critical: If true, a value outside stops publishing; if false, it gives a warning.
    """

    metric: str
    low: float | None = None
    high: float | None = None
    scope: str | None = None
    is_critical: bool = True

    def applies_to(self, metric: Metric) -> bool:
        """Return whether the metric has this name, and this scope if there is one."""
        return metric.metric == self.metric and self.scope in (None, metric.scope)

    def verdict(self, value: float) -> GateVerdict:
        """Return OK for a value inside the range, else FAIL or WARN."""
        is_above = self.low is None or value >= self.low
        is_below = self.high is None or value <= self.high
        if is_above and is_below:
            return GateVerdict.OK
        return GateVerdict.FAIL if self.is_critical else GateVerdict.WARN

    def __str__(self) -> str:
        if self.low == self.high:
            return f"= {self.low:g}"
        return f">= {self.low:g}" if self.low is not None else f"<= {self.high:g}"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of a run. Ratios are 0..1.

    A metric below its `min_` stops publishing; one above its `max_` gives a warning. The exception
    is max_churn_ratio, which stops publishing unless a model has changed since the last run:
    another model changes what is similar.

    Attributes:
        min_products_count: Products.
        min_products_kept_ratio: Share of the last run's products that are still here, in all and
            in each shop that is still read.
        min_with_image_ratio: Share of products with an image.
        min_with_code_ratio: Share of products with a code.
        min_with_5_matches_ratio: Share of products with five or more recommendations.
        min_distinct_codes_ratio: Share of distinct codes.
        max_churn_ratio: Share of the last run's recommendations that left their lists.
        max_refused_offers_ratio: Share of refused offers of each shop.
        max_stale_feeds_count: Feeds that were taken from an earlier run.
        max_missing_feeds_count: Feeds that are missing.
        max_unbalanced_bits_count: Bits whose share of ones is outside 0.5 ± 0.2, of 128.
        max_score_psi: Change of scores since the last run; see drift.psi.
        max_category_psi: Change of categories since the last run; see drift.psi.
    """

    min_products_count: int = 1
    min_products_kept_ratio: float = 0.5
    min_with_image_ratio: float = 0.5
    min_with_code_ratio: float = 0.5
    min_with_5_matches_ratio: float = 0.25
    min_distinct_codes_ratio: float = 0.1
    max_churn_ratio: float = 0.5
    max_refused_offers_ratio: float = 0.5
    max_stale_feeds_count: int = 0
    max_missing_feeds_count: int = 0
    max_unbalanced_bits_count: int = 64
    max_score_psi: float = 0.25
    max_category_psi: float = 0.25

    def as_list(self, *, are_models_of_last_run: bool = True) -> list[Threshold]:
        """Return a Threshold for each metric.

        Args:
            are_models_of_last_run: If false, churn only gives a warning. The distance counts as a
                model.
        """
        return [
            Threshold("offers_unaccounted_count", 0, 0),
            Threshold("products_count", low=self.min_products_count, scope="all"),
            Threshold("products_kept_ratio", low=self.min_products_kept_ratio),
            *(
                Threshold(name, low=getattr(self, f"min_{name}"), scope="all")
                for name in _COVERAGE_METRICS
            ),
            Threshold(
                f"churn@{K}",
                high=self.max_churn_ratio,
                scope="all",
                is_critical=are_models_of_last_run,
            ),
            Threshold(
                "refused_offers_ratio", high=self.max_refused_offers_ratio, is_critical=False
            ),
            Threshold("stale_feeds_count", high=self.max_stale_feeds_count, is_critical=False),
            Threshold("missing_feeds_count", high=self.max_missing_feeds_count, is_critical=False),
            Threshold(
                "unbalanced_bits_count", high=self.max_unbalanced_bits_count, is_critical=False
            ),
            Threshold("score_psi", high=self.max_score_psi, is_critical=False),
            Threshold("category_psi", high=self.max_category_psi, is_critical=False),
        ]


_COVERAGE_METRICS = (
    "with_image_ratio",
    "with_code_ratio",
    "with_5_matches_ratio",
    "distinct_codes_ratio",
)


def judge_metrics(metrics: list[Metric], thresholds: list[Threshold]) -> list[Metric]:
    """Return the metrics, those with a threshold with their verdict.

    Args:
        metrics: Metrics of a run.
        thresholds: Thresholds; of several for one metric the last counts.
    """
    threshold_of = {m: t for t in thresholds for m in metrics if t.applies_to(m)}
    judged = []
    for metric in metrics:
        threshold = threshold_of.get(metric)
        if threshold:
            verdict = str(threshold.verdict(metric.value))
            metric = replace(metric, verdict=verdict, threshold=str(threshold))
        judged.append(metric)
    return judged
