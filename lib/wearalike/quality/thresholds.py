"""Thresholds of a run's metrics, and the verdict on a metric outside its threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from wearalike.quality.metrics import K, Metric
from wearalike.quality_settings import GateSettings, ListSettings
from wearalike.settings import ShopSettings


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
        other_scopes: Scopes with the metric that need not comply; they have their own thresholds.
    """

    metric: str
    low: float | None = None
    high: float | None = None
    scope: str | None = None
    is_critical: bool = True
    other_scopes: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """The metric's name, with the shop's scope where the threshold is a shop's own."""
        return self.metric if self.scope in (None, "all") else f"{self.metric}[{self.scope}]"

    def applies_to(self, metric: Metric) -> bool:
        """Return whether the metric has this name, and a scope that must comply."""
        if metric.metric != self.metric or metric.scope in self.other_scopes:
            return False
        return self.scope in (None, metric.scope)

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


class Thresholds(GateSettings):
    """The thresholds of a run's metrics, from the settings of the gate."""

    def as_list(
        self,
        *,
        are_models_of_last_run: bool = True,
        shops: Iterable[ShopSettings] = (),
        list_length: int = ListSettings().k,
    ) -> list[Threshold]:
        """Return a Threshold for each metric.

        Args:
            are_models_of_last_run: If false, churn only gives a warning. The distance counts as a
                model.
            shops: The shops; one may have thresholds of its own.
            list_length: Recommendations a product, at most. No product has 5 where it is less.
        """
        shops = tuple(shops)
        coverage = [
            name
            for name in _COVERAGE_METRICS
            if list_length >= _MATCHES_WANTED or name != "with_5_matches_ratio"
        ]
        return [
            Threshold("offers_unaccounted_count", 0, 0),
            Threshold("products_count", low=self.min_products_count, scope="all"),
            *_shop_thresholds(
                Threshold("products_kept_ratio", low=self.min_products_kept_ratio),
                {shop.id: shop.min_products_kept_ratio for shop in shops},
            ),
            *(Threshold(name, low=getattr(self, f"min_{name}"), scope="all") for name in coverage),
            Threshold(
                f"churn@{K}",
                high=self.max_churn_ratio,
                scope="all",
                is_critical=are_models_of_last_run,
            ),
            *_shop_thresholds(
                Threshold(
                    "refused_offers_ratio", high=self.max_refused_offers_ratio, is_critical=False
                ),
                {shop.id: shop.max_refused_offers_ratio for shop in shops},
            ),
            Threshold("stale_feeds_count", high=self.max_stale_feeds_count, is_critical=False),
            Threshold("missing_feeds_count", high=self.max_missing_feeds_count, is_critical=False),
            Threshold(
                "unbalanced_bits_count", high=self.max_unbalanced_bits_count, is_critical=False
            ),
            Threshold("score_psi", high=self.max_score_psi, is_critical=False),
            Threshold("category_psi", high=self.max_category_psi, is_critical=False),
        ]


# Recommendations that a product should have, as in the name of its metric.
_MATCHES_WANTED = 5
_COVERAGE_METRICS = (
    "with_image_ratio",
    "with_code_ratio",
    "with_5_matches_ratio",
    "distinct_codes_ratio",
)


def _shop_thresholds(
    threshold: Threshold, value_by_shop: Mapping[str, float | None]
) -> list[Threshold]:
    """Return a threshold, and one for each shop that has a value of its own."""
    own = {f"shop={shop}": v for shop, v in sorted(value_by_shop.items()) if v is not None}
    is_floor = threshold.low is not None
    return [
        replace(threshold, other_scopes=tuple(own)),
        *(
            replace(threshold, scope=scope, low=value)
            if is_floor
            else replace(threshold, scope=scope, high=value)
            for scope, value in own.items()
        ),
    ]


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
