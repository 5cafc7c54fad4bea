"""People's judgements of recommended pairs: sampling of the pairs, recording and reading.

Two questions are asked: if a product of a list is alike, and if a product of a look goes with it.
The verdict tells which question it answers.

The pairs of a run are sampled by a seeded hash: the same number of products from every category,
and one rank of each product, the ranks in turn. A product gives at most one pair, so pairs are
independent and intervals are valid. Results placed by a merchandiser's rule or a fallback are not
the models' choice, and are not sampled. Judges see neither score nor rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from wearalike.tables import JUDGEMENTS
from wearalike.warehouse.base import Warehouse
from wearalike.warehouse.person_name import normalize_person_name


class RelevanceVerdict(StrEnum):
    """A judge's verdict on a pair."""

    ALIKE = "alike"
    NOT_ALIKE = "not_alike"
    WRONG_CATEGORY = "wrong_category"  # should never be compared, e.g. a shoe and a dress
    UNSURE = "unsure"  # counted, and left out of every metric


class LookVerdict(StrEnum):
    """A judge's verdict on a pair of a look."""

    GOES_WITH = "goes_with"
    DOES_NOT_GO = "does_not_go"
    UNSURE = "unsure_if_it_goes"  # counted, and left out of every metric


Verdict = RelevanceVerdict | LookVerdict


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """How pairs are sampled.

    Attributes:
        per_category: Products of each category; of looks for each source and super-category.
        ranks: Pairs come from the first so many ranks of a list; of looks from all.
        seed: Another seed gives other pairs.
    """

    per_category: int = 20
    ranks: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class JudgementPair:
    """A pair to judge.

    Attributes:
        product_id: The query product.
        similar_product_id: The recommended product.
        category: Leaf category of the query product.
        rank: Rank of the recommendation; recorded, not shown to the judge.
        score: Its score; recorded, not shown to the judge. 0 where it has none.
    """

    product_id: str
    similar_product_id: str
    category: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's verdict on a pair; if there are several, the last."""

    judge: str
    product_id: str
    similar_product_id: str
    verdict: Verdict
    category: str

    @property
    def pair(self) -> tuple[str, str]:
        """product_id and similar_product_id."""
        return self.product_id, self.similar_product_id


# $1: the run. $2: the seed, as text. $3: products of a category. $4: ranks.
SAMPLE_SQL = """
WITH turns AS (
    SELECT p.product_id, p.category, l.similar_count,
        row_number() OVER (
            PARTITION BY p.category ORDER BY md5($2 || p.product_id), p.product_id) AS turn
    FROM products AS p JOIN similar_lists AS l ON l.run = p.run AND l.product_id = p.product_id
    WHERE p.run = $1 AND l.similar_count > 0)
SELECT t.product_id, s.similar_product_id, t.category, s.rank, s.score
FROM turns AS t
JOIN similar_products AS s
    ON s.run = $1 AND s.product_id = t.product_id
    AND s.rank = 1 + (t.turn - 1) % least(CAST($4 AS integer), t.similar_count)
WHERE t.turn <= $3 AND s.rule IS NULL AND s.fallback IS NULL
ORDER BY md5($2 || t.product_id || s.similar_product_id)
"""

# One row of each source of a product's look. The score of a row that a feed names is 0. $1: the
# run. $2: the seed, as text. $3: products of a source and super-category.
SAMPLE_LOOKS_SQL = """
WITH ranked AS (
    SELECT k.product_id, k.look_product_id, p.category, p.super_category, k.rank, k.score, k.source,
        row_number() OVER (
            PARTITION BY k.product_id, k.source ORDER BY md5($2 || k.look_product_id)) AS place
    FROM look_products AS k JOIN products AS p ON p.run = k.run AND p.product_id = k.product_id
    WHERE k.run = $1),
turns AS (
    SELECT *, row_number() OVER (
        PARTITION BY source, super_category ORDER BY md5($2 || product_id), product_id) AS turn
    FROM ranked WHERE place = 1)
SELECT product_id, look_product_id AS similar_product_id, category, rank,
    coalesce(score, 0) AS score
FROM turns WHERE turn <= $3
ORDER BY md5($2 || product_id || look_product_id)
"""

# PostgreSQL has the table only after the first judgement.
TABLE_EXISTS_SQL = "SELECT 1 AS found FROM information_schema.tables WHERE table_name = $1"
JUDGEMENTS_SQL = """
SELECT judge, product_id, similar_product_id, verdict, category
FROM judgements ORDER BY judged_at, run
"""


def sample_pairs(
    warehouse: Warehouse, run: str, plan: SamplingPlan | None = None
) -> list[JudgementPair]:
    """Sample the pairs of a run to be judged, in an order that mixes categories and ranks.

    Args:
        warehouse: The warehouse.
        run: A run that is loaded into it.
        plan: How to sample; None for the default. The same run and plan give the same pairs.

    Returns:
        The pairs.

    Raises:
        Unreachable: The warehouse does not answer.
    """
    plan = plan or SamplingPlan()
    return [
        JudgementPair(**row)
        for row in warehouse.query(SAMPLE_SQL, [run, str(plan.seed), plan.per_category, plan.ranks])
    ]


def sample_look_pairs(
    warehouse: Warehouse, run: str, plan: SamplingPlan | None = None
) -> list[JudgementPair]:
    """Sample the pairs of a run's looks to be judged, in an order that mixes them.

    Args:
        warehouse: The warehouse.
        run: A run that is loaded into it.
        plan: How to sample; None for the default. The same run and plan give the same pairs.

    Returns:
        The pairs.

    Raises:
        Unreachable: The warehouse does not answer.
    """
    plan = plan or SamplingPlan()
    rows = warehouse.query(SAMPLE_LOOKS_SQL, [run, str(plan.seed), plan.per_category])
    return [JudgementPair(**row) for row in rows]


def read_judgements(warehouse: Warehouse) -> list[Judgement]:
    """Read all judgements of lists, whichever run showed the pair.

    Args:
        warehouse: The warehouse.

    Returns:
        The last judgement of each judge and pair.

    Raises:
        Unreachable: The warehouse does not answer.
    """
    found = _read_all_judgements(warehouse)
    return [j for j in found if isinstance(j.verdict, RelevanceVerdict)]


def read_look_judgements(warehouse: Warehouse) -> list[Judgement]:
    """Read all judgements of looks, as `read_judgements` does those of lists."""
    return [j for j in _read_all_judgements(warehouse) if isinstance(j.verdict, LookVerdict)]


def _read_all_judgements(warehouse: Warehouse) -> list[Judgement]:
    """Read the last judgement of each judge, pair and question."""
    if not warehouse.query(TABLE_EXISTS_SQL, [JUDGEMENTS.name]):
        return []
    rows = warehouse.query(JUDGEMENTS_SQL)
    found = [Judgement(**{**row, "verdict": parse_verdict(row["verdict"])}) for row in rows]
    last = {(j.judge, j.product_id, j.similar_product_id, type(j.verdict)): j for j in found}
    return list(last.values())


def parse_verdict(text: str) -> Verdict:
    """Return the verdict that a text names. Raises ValueError."""
    kind = LookVerdict if text in set(LookVerdict) else RelevanceVerdict
    return kind(text)


def record_judgement(
    warehouse: Warehouse,
    run: str,
    judge: str,
    pair: JudgementPair,
    verdict: Verdict,
    judged_at: datetime,
) -> Judgement:
    """Record a verdict on a pair of a run.

    Args:
        warehouse: The warehouse.
        run: The run that showed the pair.
        judge: Name of the judge.
        pair: The pair.
        verdict: The verdict.
        judged_at: Time of the judgement, UTC.

    Returns:
        The judgement.

    Raises:
        ValueError: The judge's name is empty or too long.
        Unreachable: The warehouse does not answer.
    """
    name = normalize_person_name(judge, "judge")
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
