"""People's judgements of recommended pairs: sampling of the pairs, recording and reading.

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

MAX_JUDGE_NAME_LETTERS = 40


class RelevanceVerdict(StrEnum):
    """A judge's verdict on a pair."""

    ALIKE = "alike"
    NOT_ALIKE = "not_alike"
    WRONG_CATEGORY = "wrong_category"  # should never be compared, e.g. a shoe and a dress
    UNSURE = "unsure"  # counted, and left out of every metric


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """How pairs are sampled.

    Attributes:
        per_category: Products of each category.
        ranks: Pairs come from the first so many ranks of a list.
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
        score: Its score; recorded, not shown to the judge.
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
    verdict: RelevanceVerdict
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


def read_judgements(warehouse: Warehouse) -> list[Judgement]:
    """Read all judgements, whichever run showed the pair.

    Args:
        warehouse: The warehouse.

    Returns:
        The last judgement of each judge and pair.

    Raises:
        Unreachable: The warehouse does not answer.
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
    """Return a judge's name without unprintable characters and repeated spaces.

    Args:
        text: The name as entered.

    Returns:
        1 to MAX_JUDGE_NAME_LETTERS letters.

    Raises:
        ValueError: The name is empty or too long.
    """
    name = " ".join("".join(c for c in text if c.isprintable()).split())
    if not 1 <= len(name) <= MAX_JUDGE_NAME_LETTERS:
        raise ValueError(
            f"judge: wanted a name of 1 to {MAX_JUDGE_NAME_LETTERS} letters, got {len(name)}"
        )
    return name
