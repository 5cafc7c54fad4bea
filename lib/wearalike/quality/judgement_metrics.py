"""Metrics of people's judgements: precision of the lists, and agreement between judges."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike.metrics.agreement import agreed_ratio, cohen_kappa, wilson_interval
from wearalike.quality.judgements import Judgement, LookVerdict, RelevanceVerdict, Verdict


@dataclass(frozen=True, slots=True)
class JudgedPrecision:
    """Share of judged pairs that are alike, with its 95 % interval.

    Attributes:
        category: Leaf category; None for all together.
        value: The share, 0..1.
        low: Lower end of the interval.
        high: Upper end of the interval.
        pairs: Number of pairs with a verdict other than UNSURE.
        verdicts: How often each verdict was given. With several judges their sum exceeds pairs.
    """

    category: str | None
    value: float
    low: float
    high: float
    pairs: int
    verdicts: Mapping[Verdict, int]


def precision_by_category(judgements: Sequence[Judgement]) -> list[JudgedPrecision]:
    """Compute precision of all pairs, then of each category, the lowest first.

    A pair counts once, by the share of its judges who call it alike. The interval is Wilson's: it
    holds for a few pairs, and if all of them are alike, where a bootstrap would show certainty.

    Args:
        judgements: Judgements of any pairs.

    Returns:
        The precisions; empty if no pair has a verdict other than UNSURE.
    """
    by_category: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_category[judgement.category].append(judgement)
    each = [
        p
        for category, group in sorted(by_category.items())
        for p in _estimate_precision(category, group)
    ]
    return [
        *_estimate_precision(None, judgements),
        *sorted(each, key=lambda p: (p.value, p.category)),
    ]


def _estimate_precision(
    category: str | None, judgements: Sequence[Judgement]
) -> list[JudgedPrecision]:
    """Return one precision, or none if no pair has a verdict."""
    shares = alike_shares(judgements)
    if not shares:
        return []
    value = sum(shares.values()) / len(shares)
    return [
        JudgedPrecision(
            category,
            value,
            *wilson_interval(value, len(shares)),
            len(shares),
            Counter(j.verdict for j in judgements),
        )
    ]


def alike_shares(judgements: Iterable[Judgement]) -> dict[tuple[str, str], float]:
    """Return for each pair the share of its judges who call it alike, 0..1.

    Pairs with no verdict other than UNSURE are left out.
    """
    votes: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for judgement in judgements:
        if judgement.verdict is not RelevanceVerdict.UNSURE:
            votes[judgement.pair].append(judgement.verdict is RelevanceVerdict.ALIKE)
    return {pair: sum(alike) / len(alike) for pair, alike in votes.items()}


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """Agreement of two judges on the pairs that both judged.

    Attributes:
        judges: Their names, in order.
        pairs: Number of pairs.
        agreed_ratio: Share of pairs with the same verdict, 0..1.
        kappa: Cohen's kappa, -1..1: 1 is full agreement, 0 no more than chance. None if both
            always gave the same single verdict.
    """

    judges: tuple[str, str]
    pairs: int
    agreed_ratio: float
    kappa: float | None


def judge_agreements(judgements: Iterable[Judgement]) -> list[JudgeAgreement]:
    """Return the agreement of every two judges who judged the same pairs, by name.

    Pairs of which either is unsure are left out.
    """
    by_judge: dict[str, dict[tuple[str, str], Verdict]] = defaultdict(dict)
    for judgement in judgements:
        if judgement.verdict is not RelevanceVerdict.UNSURE:
            by_judge[judgement.judge][judgement.pair] = judgement.verdict
    agreements = []
    for one, other in itertools.combinations(sorted(by_judge), 2):
        both = sorted(by_judge[one].keys() & by_judge[other].keys())
        if both:
            verdicts = [(by_judge[one][pair], by_judge[other][pair]) for pair in both]
            agreement = JudgeAgreement(
                (one, other), len(both), agreed_ratio(verdicts), cohen_kappa(verdicts)
            )
            agreements.append(agreement)
    return agreements


def filter_recommended(judgements: Sequence[Judgement], similar: ds.Dataset) -> list[Judgement]:
    """Return the judgements of pairs that a run recommends.

    Args:
        judgements: Judgements of any pairs.
        similar: The run's tables.SIMILAR_PRODUCTS.
    """
    product_ids = pa.array(sorted({j.product_id for j in judgements}), pa.string())
    rows = similar.to_table(
        columns=["product_id", "similar_product_id"],
        filter=pc.field("product_id").isin(product_ids),
    )
    pairs = set(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    return [j for j in judgements if j.pair in pairs]


def quality_rows(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Return precision and agreement as rows of tables.QUALITY, without verdicts.

    Args:
        judgements: Judgements of pairs of one run.

    Returns:
        Rows as dicts, ready for JSON; empty if nothing was judged.
    """
    rows: list[dict[str, Any]] = []
    for p in precision_by_category(judgements):
        scope = f"category={p.category}" if p.category else "all"
        rows.append(
            _quality_row("judged_precision", scope, p.value, "ratio")
            | {"low": p.low, "high": p.high}
        )
        rows.append(_quality_row("judged_pairs_count", scope, float(p.pairs), "count"))
    for a in judge_agreements(judgements):
        scope = f"judges={','.join(a.judges)}"
        rows.append(_quality_row("judges_pairs_count", scope, float(a.pairs), "count"))
        rows.append(_quality_row("judges_agreed_ratio", scope, a.agreed_ratio, "ratio"))
        if a.kappa is not None:
            rows.append(_quality_row("judges_kappa", scope, a.kappa, "score"))
    return rows


def look_precision(
    judgements: Iterable[Judgement], looks: ds.Dataset
) -> list[tuple[str | None, JudgedPrecision]]:
    """Compute the precision of a run's looks, of all pairs and by source.

    A pair counts once, by the share of its judges who say that it goes together.

    Args:
        judgements: Judgements of pairs of any looks.
        looks: The run's tables.LOOK_PRODUCTS.

    Returns:
        The source, None for all, with its precision; empty if no pair of the run was judged.
    """
    judgements = list(judgements)
    rows = looks.to_table(
        columns=["product_id", "look_product_id", "source"],
        filter=pc.field("product_id").isin(
            pa.array(sorted({j.product_id for j in judgements}), pa.string())
        ),
    )
    columns = (rows[name].to_pylist() for name in rows.column_names)
    sources = {(product, look): source for product, look, source in zip(*columns, strict=True)}
    by_source: dict[str | None, list[Judgement]] = {None: []}
    for judgement in judgements:
        if source := sources.get(judgement.pair):
            by_source[None].append(judgement)
            by_source.setdefault(source, []).append(judgement)
    found = []
    for source, group in sorted(by_source.items(), key=lambda entry: entry[0] or ""):
        votes: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for judgement in group:
            if judgement.verdict is not LookVerdict.UNSURE:
                votes[judgement.pair].append(judgement.verdict is LookVerdict.GOES_WITH)
        shares = [sum(goes) / len(goes) for goes in votes.values()]
        if shares:
            value = sum(shares) / len(shares)
            interval = wilson_interval(value, len(shares))
            verdicts = Counter(j.verdict for j in group)
            precision = JudgedPrecision(None, value, *interval, len(shares), verdicts)
            found.append((source, precision))
    return found


def look_quality_rows(judgements: Iterable[Judgement], looks: ds.Dataset) -> list[dict[str, Any]]:
    """Return `look_precision` as rows of tables.QUALITY, without verdicts."""
    rows: list[dict[str, Any]] = []
    for source, p in look_precision(judgements, looks):
        scope = f"source={source}" if source else "all"
        rows.append(
            _quality_row("judged_look_precision", scope, p.value, "ratio")
            | {"low": p.low, "high": p.high}
        )
        rows.append(_quality_row("judged_look_pairs_count", scope, float(p.pairs), "count"))
    return rows


def _quality_row(name: str, scope: str, value: float, unit: str) -> dict[str, Any]:
    """Return a row of tables.QUALITY without interval and verdict."""
    return {"metric": name, "scope": scope, "value": value, "unit": unit}
