"""Decide whether a candidate model is better than the one in use.

Both are compared on the same queries: the mean difference of their values, with its 95 %
bootstrap interval (metrics.bootstrap.bootstrap_difference).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pandas as pd
import pyarrow as pa

from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference
from wearalike.models.files import ModelKind

# Dataset, split, distance, measure and k.
MetricKey = tuple[str, str, str, str, int]

# queries.parquet of an evaluation: one row a query, measure and k.
QUERIES_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("encoder", pa.string()),  # version of the encoder or detector
        ("distance", pa.string()),  # empty for a detector
        ("measure", pa.string()),
        ("k", pa.int32()),  # 0 where the measure has no cut-off rank
        ("query", pa.string()),  # unique in its dataset and split
        ("value", pa.float64()),  # 0..1, bigger is better; NaN where the query has none
    ]
)
_METRIC_KEY_COLUMNS = ["dataset", "split", "distance", "measure", "k"]


class BadEvaluation(ValueError):
    """An evaluation that cannot say which of candidate and promoted model is better."""


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """When a candidate counts as better than the promoted model.

    A metric is (measure, distance). It counts in each dataset, split and k of the evaluation.

    Attributes:
        primary_metrics: The candidate must be better by one of these: its interval lies above 0.
        guardrail_metrics: By none of these, nor of the primary ones, may it be worse.
        tolerance: Worse means that the interval reaches below minus this.
        min_queries: An evaluation with fewer queries is refused.
        tolerances: Tolerance of metrics that have one of their own.
        optional_queries: Queries that a metric needs to count. One with fewer is left out and
            named, because not every set has products, colours and patterns enough.
    """

    primary_metrics: tuple[tuple[str, str], ...]
    guardrail_metrics: tuple[tuple[str, str], ...] = ()
    tolerance: float = 0.02
    min_queries: int = 50
    tolerances: Mapping[tuple[str, str], float] = field(default_factory=dict)
    optional_queries: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def tolerance_of(self, key: MetricKey) -> float:
        """Return the tolerance of a metric.

        Args:
            key: Dataset, split, distance, measure and k.
        """
        return self.tolerances.get((key[3], key[2]), self.tolerance)


_PRODUCT = ("recall product", "hamming 1:1")
_SIBLING = ("recall sibling", "hamming 1:0")
_COLOUR_ALONE = ("colour", "hamming 0:1")
_PATTERN_ALONE = ("pattern", "hamming 0:1")
_PATTERN = ("pattern", "hamming 1:1")
_DISTINCT = ("distinct codes", "hamming 1:1")

PROMOTION_POLICIES = {
    # The shape-to-colour weights that categories have, each with the label that it serves.
    ModelKind.ENCODER: PromotionPolicy(
        primary_metrics=(
            ("both", "hamming 1:1"),
            ("type", "hamming 1:1"),
            ("type+gender", "hamming 8:2"),
            ("colour", "hamming 2:8"),
            _PRODUCT,
            _SIBLING,
            _COLOUR_ALONE,
            _PATTERN_ALONE,
        ),
        guardrail_metrics=(("colour", "hamming 1:1"), _PATTERN, _DISTINCT),
        # One answer a query is right or wrong, so the interval of a recall is wider than that of a
        # precision over ten answers. Patterns have the fewest queries.
        tolerances={_PRODUCT: 0.03, _SIBLING: 0.04, _PATTERN_ALONE: 0.04, _PATTERN: 0.04},
        optional_queries={
            _PRODUCT: 200,
            _SIBLING: 200,
            _COLOUR_ALONE: 50,
            _PATTERN_ALONE: 100,
            _PATTERN: 100,
            _DISTINCT: 50,
        },
    ),
    # For single photos at the confidence used: F1 = 2 TP / (2 TP + FP + FN), and TPR, the share of
    # the truths that were found. If no boxes are known: is the best item's super-category right?
    ModelKind.DETECTOR: PromotionPolicy(
        primary_metrics=(("f1", ""), ("super-category", "")), guardrail_metrics=(("tpr", ""),)
    ),
    # Is the likeliest kind right, and is the likeliest super-category?
    ModelKind.LEAVES: PromotionPolicy(
        primary_metrics=(("leaf", ""),),
        guardrail_metrics=(("leaf among five", ""), ("leaf super-category", "")),
    ),
}


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model that was measured; `sha256` is its file's, None if it needs no file."""

    version: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """By how much the candidate exceeds the former model.

    Attributes:
        key: Dataset, split, distance, measure and k.
        is_primary: True for a primary metric of the policy.
        estimate: Mean difference with its 95 % interval.
        tolerance: By so much it may be worse.
    """

    key: MetricKey
    is_primary: bool
    estimate: BootstrapEstimate
    tolerance: float

    def __str__(self) -> str:
        by = self.estimate
        interval = f"{by.low:+.3f} to {by.high:+.3f}, {by.queries} queries"
        return f"{_metric_name(self.key)} {by.value:+.3f} ({interval})"


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """A decision (`is_better`) and its reason for people (`why`), which names every metric."""

    is_better: bool
    why: str
    differences: tuple[MetricDifference, ...]
    left_out: tuple[MetricKey, ...] = ()


def decide_promotion(
    values: pa.Table,
    sha256_by_version: Mapping[str, str | None],
    candidate: EvaluatedModel,
    former: EvaluatedModel,
    policy: PromotionPolicy,
) -> PromotionDecision:
    """Decide whether a candidate is better than the former model.

    Args:
        values: QUERY_COLUMNS of these two models, and maybe of others.
        sha256_by_version: Hash of each file that was measured, by version.
        candidate: The candidate.
        former: The model promoted now.
        policy: When the candidate counts as better.

    Raises:
        BadEvaluation: Another file was measured, the two had different queries, or no metric of
            the policy was measured.
    """
    if missing := [name for name in QUERIES_SCHEMA.names if name not in values.column_names]:
        raise BadEvaluation(
            f"values: no column {missing[0]!r}; wanted {', '.join(QUERIES_SCHEMA.names)}"
        )
    frame = values.select(QUERIES_SCHEMA.names).to_pandas()
    for one in (candidate, former):
        if one.version not in sha256_by_version or one.version not in set(frame["encoder"]):
            raise BadEvaluation(
                f"{one.version} was not measured, "
                f"only {', '.join(sorted(sha256_by_version)) or 'nothing'}: measure both"
            )
        if sha256_by_version[one.version] != one.sha256:
            raise BadEvaluation(
                f"measured as {one.version} was the file of sha256 "
                f"{sha256_by_version[one.version]}, not {one.sha256}: measure again"
            )
    ours, theirs = (
        _values_by_key(frame[frame["encoder"] == one.version], policy)
        for one in (candidate, former)
    )
    if unpaired := sorted(set(ours) ^ set(theirs)):
        raise BadEvaluation(
            f"{unpaired[0]}: measured of "
            f"{(candidate if unpaired[0] in ours else former).version} alone"
        )
    left_out = tuple(trial for trial in sorted(ours) if _has_too_few(trial, ours[trial], policy))
    differences = tuple(
        _metric_difference(trial, ours[trial], theirs[trial], policy)
        for trial in sorted(ours)
        if trial not in left_out
    )
    if not any(d.is_primary for d in differences):
        wanted = ", ".join(" ".join(filter(None, goal)) for goal in policy.primary_metrics)
        raise BadEvaluation(f"nothing was measured that counts: wanted one of {wanted}")
    return _build_decision(differences, left_out, former.version, policy)


def _has_too_few(trial: MetricKey, values: pd.Series, policy: PromotionPolicy) -> bool:
    """Tell if a metric that need not count has fewer queries than it takes."""
    return values.count() < policy.optional_queries.get((trial[3], trial[2]), 0)


def _values_by_key(frame: pd.DataFrame, policy: PromotionPolicy) -> dict[MetricKey, pd.Series]:
    """Return the values by query of each metric that the policy names."""
    goals = {*policy.primary_metrics, *policy.guardrail_metrics}
    groups = ((cast(MetricKey, trial), rows) for trial, rows in frame.groupby(_METRIC_KEY_COLUMNS))
    return {
        trial: rows.set_index("query")["value"]
        for trial, rows in groups
        if (trial[3], trial[2]) in goals
    }


def _metric_difference(
    trial: MetricKey, ours: pd.Series, theirs: pd.Series, policy: PromotionPolicy
) -> MetricDifference:
    if not (ours.index.is_unique and theirs.index.is_unique):
        raise BadEvaluation(f"{trial}: a query stands in it twice")
    ours, theirs = ours.sort_index(), theirs.sort_index()
    if not ours.index.equals(theirs.index) or not ours.isna().equals(theirs.isna()):
        raise BadEvaluation(
            f"{trial}: the two were not asked the same queries "
            f"({ours.count()} and {theirs.count()} with a value)"
        )
    by = bootstrap_difference(ours.to_numpy(), theirs.to_numpy())
    if by.queries < policy.min_queries:
        raise BadEvaluation(f"{trial}: {by.queries} queries, wanted at least {policy.min_queries}")
    is_primary = (trial[3], trial[2]) in policy.primary_metrics
    return MetricDifference(trial, is_primary, by, policy.tolerance_of(trial))


def _build_decision(
    differences: tuple[MetricDifference, ...],
    left_out: tuple[MetricKey, ...],
    former: str,
    policy: PromotionPolicy,
) -> PromotionDecision:
    better = [d for d in differences if d.is_primary and d.estimate.low > 0]
    worse = [d for d in differences if d.estimate.low < -d.tolerance]
    lowest = min(differences, key=lambda d: d.estimate.low + d.tolerance)
    named = better
    if worse:
        why = f"not better than {former}: maybe worse by more than {_join_worse(worse)}"
        named = worse
    elif better:
        why = (
            f"better than {former}: {'; '.join(map(str, better))}; "
            f"least: {lowest}; tolerance {lowest.tolerance:g}"
        )
        named = [*better, lowest]
    else:
        named = [d for d in differences if d.is_primary]
        tried = "; ".join(map(str, named))
        why = f"not better than {former}: no interval lies above 0: {tried}"
    if others := [str(d) for d in differences if d not in named]:
        why += f"; also measured: {'; '.join(others)}"
    if left_out:
        why += f"; too few queries to count: {'; '.join(map(_metric_name, left_out))}"
    return PromotionDecision(bool(better) and not worse, why, differences, left_out)


def _join_worse(worse: list[MetricDifference]) -> str:
    """Return the metrics that are maybe worse, below each tolerance that they have."""
    tolerances = dict.fromkeys(d.tolerance for d in worse)
    return "; more than ".join(
        f"{tolerance:g}: {'; '.join(str(d) for d in worse if d.tolerance == tolerance)}"
        for tolerance in tolerances
    )


def _metric_name(key: MetricKey) -> str:
    """Return a metric's name for people."""
    dataset, split, distance, measure, k = key
    name = " ".join(filter(None, (f"{measure}@{k}" if k else measure, distance)))
    return f"{name} of {dataset}/{split}"
