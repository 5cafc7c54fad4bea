"""What people say of recommended pairs: which pairs they are shown, how precise that makes the lists, how far judges agree.

The pairs of a run are drawn once, by a seeded hash: from every category so many products, and of each product one rank, the
ranks in turn. A product gives one pair at most, so the pairs are independent and an interval means what it says. What a
merchandiser's rule or a fallback put into a list is not the models' choice, and is not drawn. Whoever judges sees neither
score nor rank.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike.metrics.agreement import agreed_ratio, cohen_kappa, wilson_interval
from wearalike.tables import JUDGEMENTS
from wearalike.warehouse.base import Warehouse

MAX_JUDGE_NAME_LETTERS = 40


class RelevanceVerdict(StrEnum):
    ALIKE = "alike"
    NOT_ALIKE = "not_alike"
    WRONG_CATEGORY = "wrong_category"  # what is compared should never be: a shoe and a dress
    UNSURE = "unsure"  # counted, and left out of every measure


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Which pairs are drawn. per_category: products of a category. ranks: the first so many of a list. seed: another one draws others."""

    per_category: int = 20
    ranks: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class JudgementPair:
    """A pair to judge; category: of the product that asks. rank and score are for the record, not for the judge."""

    product_id: str
    similar_product_id: str
    category: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict of one judge; the last one where a judge has judged a pair again."""

    judge: str
    product_id: str
    similar_product_id: str
    verdict: RelevanceVerdict
    category: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.product_id, self.similar_product_id


# $1: the run. $2: the seed, as text. $3: products a category. $4: ranks.
SAMPLE_SQL = """
WITH turns AS (
    SELECT p.product_id, p.category, l.similar_count,
        row_number() OVER (PARTITION BY p.category ORDER BY md5($2 || p.product_id), p.product_id) AS turn
    FROM products AS p JOIN similar_lists AS l ON l.run = p.run AND l.product_id = p.product_id
    WHERE p.run = $1 AND l.similar_count > 0)
SELECT t.product_id, s.similar_product_id, t.category, s.rank, s.score
FROM turns AS t
JOIN similar_products AS s
    ON s.run = $1 AND s.product_id = t.product_id AND s.rank = 1 + (t.turn - 1) % least(CAST($4 AS integer), t.similar_count)
WHERE t.turn <= $3 AND s.rule IS NULL AND s.fallback IS NULL
ORDER BY md5($2 || t.product_id || s.similar_product_id)
"""

# PostgreSQL has the table once something is recorded.
TABLE_EXISTS_SQL = "SELECT 1 AS found FROM information_schema.tables WHERE table_name = $1"
JUDGEMENTS_SQL = """
SELECT judge, product_id, similar_product_id, verdict, category FROM judgements ORDER BY judged_at, run
"""


def sample_pairs(
    warehouse: Warehouse, run: str, plan: SamplingPlan | None = None
) -> list[JudgementPair]:
    """The pairs of a loaded run to be judged, categories and ranks mixed; the same run and plan give the same pairs."""
    plan = plan or SamplingPlan()
    return [
        JudgementPair(**row)
        for row in warehouse.query(SAMPLE_SQL, [run, str(plan.seed), plan.per_category, plan.ranks])
    ]


def read_judgements(warehouse: Warehouse) -> list[Judgement]:
    """Every judgement there is, whatever the run that showed the pair; of a judge's verdicts on one pair the last.

    Raises warehouse.Unreachable.
    """
    if not warehouse.query(TABLE_EXISTS_SQL, [JUDGEMENTS.name]):
        return []
    last = {
        (row["judge"], row["product_id"], row["similar_product_id"]): row
        for row in warehouse.query(JUDGEMENTS_SQL)
    }
    return [
        Judgement(**{**row, "verdict": RelevanceVerdict(row["verdict"])}) for row in last.values()
    ]


def record_judgement(
    warehouse: Warehouse,
    run: str,
    judge: str,
    pair: JudgementPair,
    verdict: RelevanceVerdict,
    judged_at: datetime,
) -> Judgement:
    """Keeps a verdict on a pair that the run showed. Raises ValueError for a judge without a name, or with one that is too long."""
    name = normalize_judge_name(judge)
    row = {
        "judge": name,
        "product_id": pair.product_id,
        "similar_product_id": pair.similar_product_id,
        "verdict": str(verdict),
        "category": pair.category,
        "rank": pair.rank,
        "score": pair.score,
        "judged_at": judged_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    warehouse.record(run, JUDGEMENTS, [row])
    return Judgement(name, pair.product_id, pair.similar_product_id, verdict, pair.category)


def normalize_judge_name(text: str) -> str:
    """The name, white space made even. Raises ValueError where nothing is left, or too much."""
    name = " ".join("".join(c for c in text if c.isprintable()).split())
    if not 1 <= len(name) <= MAX_JUDGE_NAME_LETTERS:
        raise ValueError(
            f"judge: wanted a name of 1 to {MAX_JUDGE_NAME_LETTERS} letters, got {len(name)}"
        )
    return name


@dataclass(frozen=True, slots=True)
class JudgedPrecision:
    """Of the judged pairs the share that is alike, with its 95 % interval. category: None for all together.

    pairs: those with a verdict. verdicts: how often each was given; with several judges they add up to more than the pairs.
    """

    category: str | None
    value: float
    low: float
    high: float
    pairs: int
    verdicts: Mapping[RelevanceVerdict, int]


def precision_by_category(judgements: Sequence[Judgement]) -> list[JudgedPrecision]:
    """All together, then each category, the least precise first. Nothing where nothing was judged but "unsure".

    A pair counts once: by the share of its judges who call it alike. The interval is Wilson's, which holds for a handful of
    pairs, and where all of them are alike; a bootstrap would call that certain.
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
    """One, or none where no pair has a verdict."""
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
    """Of each pair with a verdict, the share of its judges who call it alike, 0..1."""
    votes: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for judgement in judgements:
        if judgement.verdict is not RelevanceVerdict.UNSURE:
            votes[judgement.pair].append(judgement.verdict is RelevanceVerdict.ALIKE)
    return {pair: sum(alike) / len(alike) for pair, alike in votes.items()}


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """How far two judges agree on the pairs that both judged. agreed_ratio: 0..1. kappa: -1..1, 1 is one mind, 0 no more than
    chance; None where both gave one and the same verdict throughout, and chance explains everything."""

    judges: tuple[str, str]
    pairs: int
    agreed_ratio: float
    kappa: float | None


def judge_agreements(judgements: Iterable[Judgement]) -> list[JudgeAgreement]:
    """Every two judges who judged the same pairs, by name; pairs that either is unsure of are left out."""
    by_judge: dict[str, dict[tuple[str, str], RelevanceVerdict]] = defaultdict(dict)
    for judgement in judgements:
        if judgement.verdict is not RelevanceVerdict.UNSURE:
            by_judge[judgement.judge][judgement.pair] = judgement.verdict
    found = []
    for one, other in itertools.combinations(sorted(by_judge), 2):
        both = sorted(by_judge[one].keys() & by_judge[other].keys())
        if both:
            verdicts = [(by_judge[one][pair], by_judge[other][pair]) for pair in both]
            found.append(
                JudgeAgreement(
                    (one, other),
                    len(both),
                    agreed_ratio(verdicts),
                    cohen_kappa(verdicts),
                )
            )
    return found


def filter_recommended(judgements: Sequence[Judgement], similar: ds.Dataset) -> list[Judgement]:
    """Those of pairs that a run recommends. similar: tables.SIMILAR_PRODUCTS of the run."""
    asked = pa.array(sorted({j.product_id for j in judgements}), pa.string())
    rows = similar.to_table(
        columns=["product_id", "similar_product_id"], filter=pc.field("product_id").isin(asked)
    )
    pairs = set(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    return [j for j in judgements if j.pair in pairs]


def quality_rows(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Precision, pairs and agreement as rows of tables.QUALITY, without verdicts; none where nothing was judged."""
    rows: list[dict[str, Any]] = []
    for p in precision_by_category(judgements):
        scope = f"category={p.category}" if p.category else "all"
        rows.append(
            {
                "metric": "judged_precision",
                "scope": scope,
                "value": p.value,
                "unit": "ratio",
                "low": p.low,
                "high": p.high,
            }
        )
        rows.append(
            {
                "metric": "judged_pairs_count",
                "scope": scope,
                "value": float(p.pairs),
                "unit": "count",
            }
        )
    for a in judge_agreements(judgements):
        scope = f"judges={','.join(a.judges)}"
        rows.append(
            {
                "metric": "judges_pairs_count",
                "scope": scope,
                "value": float(a.pairs),
                "unit": "count",
            }
        )
        rows.append(
            {
                "metric": "judges_agreed_ratio",
                "scope": scope,
                "value": a.agreed_ratio,
                "unit": "ratio",
            }
        )
        if a.kappa is not None:
            rows.append(
                {"metric": "judges_kappa", "scope": scope, "value": a.kappa, "unit": "score"}
            )
    return rows
