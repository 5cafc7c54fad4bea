"""The funnel of a run: how many offers and products reached each step, and why others did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

# Offers without those that the shop withdrew, then the products that reached each step.
STEP_NAMES = (
    "offers",
    "products",
    "with image",
    "with item",
    "with code",
    "indexed",
    "with a match",
    "with 5 matches",
)

# The furthest step of each product, as an index into STEP_NAMES.
_REACHED_STEP_SQL = """
CREATE OR REPLACE TEMP TABLE reached AS
SELECT product_id, shop_id, shortfall_reason, CASE
    WHEN product_id NOT IN (SELECT product_id FROM images) THEN 1
    WHEN product_id NOT IN (SELECT product_id FROM images JOIN items USING (image_id)) THEN 2
    WHEN product_id NOT IN (
        SELECT product_id FROM images JOIN items USING (image_id) JOIN codes USING (item_id)
    ) THEN 3
    WHEN product_id NOT IN (SELECT product_id FROM indexes) THEN 4
    WHEN coalesce(similar_count, 0) = 0 THEN 5
    WHEN similar_count < 5 THEN 6
    ELSE 7 END AS step
FROM products LEFT JOIN similar_lists USING (product_id)
"""

# A product with several images may have several reasons: the first by name counts.
_LOSSES_SQL = """
WITH pictures AS (
        SELECT regexp_replace(key, '#[0-9]+$', '') AS product_id, reason
        FROM refused WHERE stage = 'images'),
    unseen AS (
        SELECT product_id, reason FROM refused JOIN images ON image_id = key
        WHERE stage = 'items'),
    uncoded AS (
        SELECT product_id, reason
        FROM refused JOIN items ON item_id = key JOIN images USING (image_id)
        WHERE stage = 'codes'),
    unindexed AS (
        SELECT key AS product_id, reason
        FROM refused WHERE stage = 'indexes' AND kind = 'product'),
    why AS (
        SELECT 1 AS step, * FROM pictures UNION ALL SELECT 2, * FROM unseen
        UNION ALL SELECT 3, * FROM uncoded UNION ALL SELECT 4, * FROM unindexed),
    first AS (SELECT step, product_id, min(reason) AS reason FROM why GROUP BY ALL)
SELECT step, shop_id, count(*) AS n,
    coalesce(first.reason, CASE WHEN step >= 5 THEN shortfall_reason END, 'no_image_url') AS reason
FROM reached LEFT JOIN first USING (step, product_id) WHERE step < 7 GROUP BY ALL
UNION ALL
SELECT 0, shop_id, count(*), reason
FROM refused WHERE stage IN ('offers', 'products') AND kind = 'offer' GROUP BY ALL
"""

_STEP_COUNTS_SQL = """
SELECT 0 AS step, shop_id, offers_count - withdrawn_count AS n FROM feeds
UNION ALL SELECT step, shop_id, count(*) FROM reached GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One step of the funnel.

    Attributes:
        name: One of STEP_NAMES.
        counts: Offers or products that reached the step, by shop.
        lost: Those that stopped here, by shop and reason.
    """

    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Offers or products of all shops that reached the step."""
        return sum(self.counts.values())

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Reasons with their counts over all shops, most first."""
        total: dict[str, int] = {}
        for by_reason in self.lost.values():
            for reason, count in by_reason.items():
                total[reason] = total.get(reason, 0) + count
        return sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))


def funnel_steps(con: duckdb.DuckDBPyConnection) -> list[FunnelStep]:
    """Return the funnel of a run; each step loses exactly the rows that the next one lacks.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        A step for each of STEP_NAMES.
    """
    con.execute(_REACHED_STEP_SQL)
    counts: list[dict[str, int]] = [{} for _ in STEP_NAMES]
    lost: list[dict[str, dict[str, int]]] = [{} for _ in STEP_NAMES]
    for at, shop_id, count in con.execute(_STEP_COUNTS_SQL).fetchall():
        # A product that reached a step was at every product step before it; step 0 counts offers.
        for number in range(min(at, 1), at + 1):
            counts[number][shop_id] = counts[number].get(shop_id, 0) + count
    for at, shop_id, count, reason in con.execute(_LOSSES_SQL).fetchall():
        lost[at].setdefault(shop_id, {})[reason] = count
    return [
        FunnelStep(name, dict(sorted(c.items())), dict(sorted(w.items())))
        for name, c, w in zip(STEP_NAMES, counts, lost, strict=True)
    ]
