"""Thresholds of a run's metrics, and the verdict on a metric outside its threshold."""

from __future__ import annotations

import math
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
        scope: The scope that must comply, or the start of those that must, e.g. "shop="; None for
            every scope with the metric.
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
        """The metric's name, with the scope where the threshold is not of all."""
        return self.metric if self.scope in (None, "all") else f"{self.metric}[{self.scope}]"

    def applies_to(self, metric: Metric) -> bool:
        """Return whether the metric has this name, and a scope that must comply."""
        if metric.metric != self.metric or metric.scope in self.other_scopes:
            return False
        if self.scope is not None and self.scope.endswith("="):
            return metric.scope.startswith(self.scope)
        return self.scope in (None, metric.scope)

    def verdict(self, value: float) -> GateVerdict:
        """Return OK for a value inside the range, else FAIL or WARN."""
        is_above = self.low is None or value >= self.low
        is_below = self.high is None or value <= self.high
        if is_above and is_below:
            return GateVerdict.OK
        return GateVerdict.FAIL if self.is_critical else GateVerdict.WARN

    def excess(self, value: float) -> float:
        """Return how far a value lies outside the range; 0 or less for one inside."""
        below = -math.inf if self.low is None else self.low - value
        above = -math.inf if self.high is None else value - self.high
        return max(below, above)

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
            are_models_of_last_run: If false, churn, scores and looks are not judged. The distance
                counts as a model.
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
            Threshold("with_image_ratio", self.min_with_image_ratio, None, "shop=", False),
            *self._variant_thresholds(list_length),
            *_shop_thresholds(
                Threshold(
                    "refused_offers_ratio", high=self.max_refused_offers_ratio, is_critical=False
                ),
                {shop.id: shop.max_refused_offers_ratio for shop in shops},
            ),
            Threshold("stale_feeds_count", high=self.max_stale_feeds_count, is_critical=False),
            Threshold("missing_feeds_count", high=self.max_missing_feeds_count, is_critical=False),
            # "all" has the oldest feed, whose shop may have a threshold of its own.
            *_shop_thresholds(
                Threshold("feed_age_days", high=self.max_feed_age_days, other_scopes=("all",)),
                {shop.id: shop.max_feed_age_days for shop in shops},
            ),
            Threshold(
                "unbalanced_bits_count", high=self.max_unbalanced_bits_count, is_critical=False
            ),
            Threshold("category_psi", high=self.max_category_psi, is_critical=False),
            *self._relevance_thresholds(),
            *self._share_thresholds(),
            *(self._model_thresholds() if are_models_of_last_run else ()),
        ]

    def _variant_thresholds(self, list_length: int) -> list[Threshold]:
        """Return the threshold of the lists of an experiment's variants."""
        name, low = "with_5_matches_ratio", self.min_with_5_matches_ratio
        return [Threshold(name, low, None, "variant=")] if list_length >= _MATCHES_WANTED else []

    def _relevance_thresholds(self) -> list[Threshold]:
        """Return the floors of codes and lists beside the shops' words."""
        agreement, skill = self.min_code_agreement_ratio, self.min_list_skill_ratio
        return [
            Threshold("shape_agreement_ratio", low=agreement),
            Threshold("colour_agreement_ratio", low=agreement),
            Threshold("halves_lead_ratio", low=self.min_halves_lead_ratio),
            Threshold(f"leaf_precision@{K}_skill", low=skill),
            Threshold(f"colour_precision@{K}_skill", low=skill, is_critical=False),
            Threshold("agreement_drop_ratio", high=self.max_agreement_drop_ratio),
        ]

    def _share_thresholds(self) -> list[Threshold]:
        """Return the thresholds of shares of shops, on their own and beside earlier runs."""
        warned = {
            "equal_values_ratio": self.max_equal_values_ratio,
            "one_category_ratio": self.max_one_category_ratio,
            "one_sided_weights_ratio": self.max_one_sided_weights_ratio,
            "price_level_factor": self.max_price_level_factor,
            "week_change_ratio": self.max_week_change_ratio,
            "week_price_factor": self.max_week_price_factor,
        }
        stopping = {
            "equal_codes_ratio": self.max_equal_codes_ratio,
            "equal_pictures_ratio": self.max_equal_pictures_ratio,
            "contradicted_genders_ratio": self.max_contradicted_genders_ratio,
            "price_jump_ratio": self.max_price_jump_ratio,
            "moved_pictures_ratio": self.max_moved_pictures_ratio,
            "mix_change_ratio": self.max_mix_change_ratio,
            "changed_values_ratio": self.max_changed_values_ratio,
            "shop_change_ratio": self.max_shop_change_ratio,
        }
        return [
            Threshold("in_stock_ratio", low=self.min_in_stock_ratio, is_critical=False),
            *(Threshold(name, high=high, is_critical=False) for name, high in warned.items()),
            *(Threshold(name, high=high) for name, high in stopping.items()),
        ]

    def _model_thresholds(self) -> list[Threshold]:
        """Return the thresholds that hold between two runs of the same models."""
        return [
            Threshold(f"churn@{K}", high=self.max_churn_ratio, scope="all"),
            Threshold("score_psi", high=self.max_score_psi, is_critical=False),
            Threshold("changed_looks_ratio", high=self.max_changed_looks_ratio, is_critical=False),
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
        replace(threshold, other_scopes=(*threshold.other_scopes, *own)),
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
