"""Floors and ceilings of a night's measures, and what it means to miss one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from wearalike.quality.metrics import K, Metric


class GateVerdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a measure has to lie, in every scope that has it, or in `scope` alone. A critical bound stops publishing."""

    metric: str
    low: float | None = None
    high: float | None = None
    scope: str | None = None
    is_critical: bool = True

    def applies_to(self, measure: Metric) -> bool:
        return measure.metric == self.metric and self.scope in (None, measure.scope)

    def verdict(self, value: float) -> GateVerdict:
        if (self.low is None or value >= self.low) and (self.high is None or value <= self.high):
            return GateVerdict.OK
        return GateVerdict.FAIL if self.is_critical else GateVerdict.WARN

    def __str__(self) -> str:
        if self.low == self.high:
            return f"= {self.low:g}"
        return f">= {self.low:g}" if self.low is not None else f"<= {self.high:g}"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a night has to reach: `min_` floors stop publishing, `max_` ceilings warn, but for max_churn_ratio. Ratios are 0..1; see
    measures.py.

    min_products_kept_ratio: of the last run's products, in all and in each shop that is still asked.
    max_refused_offers_ratio: of the offers of each shop.
    max_churn_ratio: of the recommendations on pages that the last run had; stops publishing where the models are those of the last
        run, and warns where one has changed, which changes what is alike.
    max_score_psi, max_category_psi: how far scores and categories may have moved from the last run; see drift.psi.
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
    """The measures, those with a bound with their verdict and it."""
    held = {m: b for b in thresholds for m in metrics if b.applies_to(m)}
    return [
        replace(m, verdict=str(held[m].verdict(m.value)), threshold=str(held[m]))
        if m in held
        else m
        for m in metrics
    ]
