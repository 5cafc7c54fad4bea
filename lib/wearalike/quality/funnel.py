"""How far a night's offers and products got, step by step, and why they got no further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

# Offers of a feed without those the shop withdrew, then the products that got so far.
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

# A product's furthest step, as its place in STEPS.
_REACHED_STEP_SQL = """
CREATE OR REPLACE TEMP TABLE reached AS
SELECT product_id, shop_id, shortfall_reason, CASE
    WHEN product_id NOT IN (SELECT product_id FROM images) THEN 1
    WHEN product_id NOT IN (SELECT product_id FROM images JOIN items USING (image_id)) THEN 2
    WHEN product_id NOT IN (SELECT product_id FROM images JOIN items USING (image_id) JOIN codes USING (item_id)) THEN 3
    WHEN product_id NOT IN (SELECT product_id FROM indexes) THEN 4
    WHEN coalesce(similar_count, 0) = 0 THEN 5
    WHEN similar_count < 5 THEN 6
    ELSE 7 END AS step
FROM products LEFT JOIN similar_lists USING (product_id)
"""

# A product with several pictures may have several reasons: the one that comes first by name is told.
_LOSSES_SQL = """
WITH pictures AS (SELECT regexp_replace(key, '#[0-9]+$', '') AS product_id, reason FROM refused WHERE stage = 'images'),
    unseen AS (SELECT product_id, reason FROM refused JOIN images ON image_id = key WHERE stage = 'items'),
    uncoded AS (
        SELECT product_id, reason FROM refused JOIN items ON item_id = key JOIN images USING (image_id) WHERE stage = 'codes'),
    unindexed AS (SELECT key AS product_id, reason FROM refused WHERE stage = 'indexes' AND kind = 'product'),
    why AS (
        SELECT 1 AS step, * FROM pictures UNION ALL SELECT 2, * FROM unseen
        UNION ALL SELECT 3, * FROM uncoded UNION ALL SELECT 4, * FROM unindexed),
    first AS (SELECT step, product_id, min(reason) AS reason FROM why GROUP BY ALL)
SELECT step, shop_id, coalesce(first.reason, CASE WHEN step >= 5 THEN shortfall_reason END, 'no_image_url') AS reason, count(*) AS n
FROM reached LEFT JOIN first USING (step, product_id) WHERE step < 7 GROUP BY ALL
UNION ALL
SELECT 0, shop_id, reason, count(*) FROM refused WHERE stage IN ('offers', 'products') AND kind = 'offer' GROUP BY ALL
"""

_STEP_COUNTS_SQL = """
SELECT 0 AS step, shop_id, offers_count - withdrawn_count AS n FROM feeds
UNION ALL SELECT step, shop_id, count(*) FROM reached GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """counts: offers or products that got here, by shop. lost: those that got no further, by shop and reason."""

    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why, whatever the shop, most first."""
        total: dict[str, int] = {}
        for by_reason in self.lost.values():
            for reason, count in by_reason.items():
                total[reason] = total.get(reason, 0) + count
        return sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))


def funnel_steps(con: duckdb.DuckDBPyConnection) -> list[FunnelStep]:
    """One Step for each of STEPS, of an opened night. What a step loses is what the next one lacks."""
    con.execute(_REACHED_STEP_SQL)
    counts: list[dict[str, int]] = [{} for _ in STEP_NAMES]
    lost: list[dict[str, dict[str, int]]] = [{} for _ in STEP_NAMES]
    for at, shop_id, count in con.execute(_STEP_COUNTS_SQL).fetchall():
        # Who got to a step was at every product step before it.
        for number in range(min(at, 1), at + 1):
            counts[number][shop_id] = counts[number].get(shop_id, 0) + count
    for at, shop_id, reason, count in con.execute(_LOSSES_SQL).fetchall():
        lost[at].setdefault(shop_id, {})[reason] = count
    return [
        FunnelStep(name, dict(sorted(c.items())), dict(sorted(w.items())))
        for name, c, w in zip(STEP_NAMES, counts, lost, strict=True)
    ]
