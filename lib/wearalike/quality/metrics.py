"""A night in numbers: rows of tables.QUALITY, computed by DuckDB over the run's tables, however big they are.

A night is a mapping of names to Arrow datasets or tables: those of tables.TABLES that the run has, `refused`, and
`last_products` and `last_similar_products` of the run it is held against (empty on the first night).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike.catalog.eligibility import GENDERS_FIT_SQL
from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean
from wearalike.quality import code_statistics, look_metrics
from wearalike.tables import CODES, LOOKS, QUALITY

RunTables = Mapping[str, ds.Dataset | pa.Table]
# "First k" of precision and churn: what fits above the fold.
K = 10


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of tables.QUALITY."""

    metric: str
    scope: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    threshold: str | None = None


def metrics_table(metrics: list[Metric]) -> pa.Table:
    """The measures as tables.QUALITY, in their order."""
    return pa.Table.from_pylist([asdict(m) for m in metrics], schema=QUALITY.arrow_schema)


@contextmanager
def open_run_tables(run_tables: RunTables) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection in which every table of the night is a view of its name; it spills to a folder of its own."""
    options = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with (
        tempfile.TemporaryDirectory(prefix="wearalike-") as spill,
        duckdb.connect(config={**options, "temp_directory": spill}) as con,
    ):
        for name, rows in run_tables.items():
            con.register(name, rows)
        con.execute(
            "CREATE MACRO scope(shop, super) AS coalesce('shop=' || shop, 'super_category=' || super, 'all')"
        )
        con.execute(GENDERS_FIT_SQL)
        yield con


def run_metrics(
    con: duckdb.DuckDBPyConnection, run_tables: RunTables, made: Mapping[str, Mapping[str, Any]]
) -> list[Metric]:
    """Every measure of an opened night, in a fixed order, without verdicts.

    made: what _manifest.json says of each table of the run, by the table's name.
    """
    queries = [
        COVERAGE_SQL,
        LEAF_CATEGORIES_SQL,
        REPRESENTATIVE_VIEWS_SQL,
        PRODUCTS_KEPT_SQL,
        OFFER_ACCOUNTS_SQL,
        FEED_FRESHNESS_SQL,
        REFUSALS_SQL,
        SHORT_LISTS_SQL,
        SCORE_QUANTILES_SQL,
        CROSS_SHOP_SQL,
    ]
    if LOOKS.name in made and "why_empty" not in made[LOOKS.name]:
        queries += [look_metrics.LOOK_COVERAGE_SQL, look_metrics.LOOK_AGREEMENT_SQL]
    return [
        *(m for name, facts in made.items() for m in _row_count_metrics(name, facts["rows"])),
        *(m for sql in queries for m in _query_metrics(con, sql)),
        *churn_metrics(con),
        *code_health_metrics(run_tables[CODES.name]),
        *precision_metrics(con),
    ]


def _row_count_metrics(name: str, rows: Mapping[str, Any]) -> list[Metric]:
    counts = {
        "taken": rows["taken"],
        "written": rows["written"],
        "refused": sum(rows["refused"].values()),
    }
    return [
        Metric(f"rows_{what}_count", f"table={name}", count, "count")
        for what, count in counts.items()
    ]


def _unit(measure: str) -> str:
    return (
        "count"
        if measure.endswith("_count")
        else "score"
        if measure.startswith("score_")
        else "ratio"
    )


def _query_metrics(con: duckdb.DuckDBPyConnection, sql: str) -> list[Metric]:
    """One measure for every cell but the first column, which is the scope; a null is a measure of nothing, and left out."""
    cursor = con.execute(sql)
    names = [c[0] for c in cursor.description][1:]
    rows = cursor.fetchall()
    return [
        Metric(n, row[0], float(v), _unit(n))
        for row in rows
        for n, v in zip(names, row[1:], strict=True)
        if v is not None
    ]


# Products that got so far. with_code: an item of one of its pictures has a code; indexed: one of them can stand for it.
COVERAGE_SQL = """
WITH facts AS (
    SELECT product_id, shop_id, super_category,
        product_id IN (SELECT product_id FROM images) AS has_image,
        product_id IN (SELECT product_id FROM images JOIN items USING (image_id)) AS has_item,
        product_id IN (SELECT product_id FROM images JOIN items USING (image_id) JOIN codes USING (item_id)) AS has_code,
        product_id IN (SELECT product_id FROM indexes) AS is_indexed,
        product_id IN (SELECT product_id FROM similar_lists WHERE similar_count >= 5) AS has_matches
    FROM products)
SELECT scope(shop_id, super_category) AS scope, count(*) AS products_count,
    avg(has_image::INT) AS with_image_ratio, avg(has_item::INT) AS with_item_ratio, avg(has_code::INT) AS with_code_ratio,
    avg(is_indexed::INT) AS indexed_ratio, avg(has_matches::INT) AS with_5_matches_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""

LEAF_CATEGORIES_SQL = "SELECT 'category=' || category AS scope, count(*) AS products_count FROM products GROUP BY ALL ORDER BY scope"

# What the pictures that stand for products show: many details or backs are a shop whose feed has no better ones.
REPRESENTATIVE_VIEWS_SQL = """
SELECT 'view=' || view || coalesce(',shop=' || shop_id, '') AS scope, count(*) AS representative_count
FROM indexes JOIN codes USING (item_id) JOIN products USING (product_id) WHERE view IS NOT NULL
GROUP BY GROUPING SETS ((view), (view, shop_id)) ORDER BY scope
"""

# Of the last run's products, in shops this run still asks, the share that is here again.
PRODUCTS_KEPT_SQL = """
SELECT scope(shop_id, NULL) AS scope, avg((product_id IN (SELECT product_id FROM products))::INT) AS products_kept_ratio
FROM last_products WHERE shop_id IN (SELECT shop_id FROM feeds)
GROUP BY GROUPING SETS ((), (shop_id)) ORDER BY scope
"""

# Every offer of a feed is a product, refused with a reason, or withdrawn by its shop.
OFFER_ACCOUNTS_SQL = """
WITH written AS (SELECT shop_id, count(*) AS n FROM products GROUP BY shop_id),
    turned_away AS (SELECT shop_id, count(*) AS n FROM refused WHERE stage IN ('offers', 'products') AND kind = 'offer' GROUP BY shop_id)
SELECT 'shop=' || shop_id AS scope, offers_count, withdrawn_count,
    coalesce(turned_away.n, 0) / nullif(offers_count, 0) AS refused_offers_ratio,
    offers_count - withdrawn_count - coalesce(written.n, 0) - coalesce(turned_away.n, 0) AS offers_unaccounted_count
FROM feeds LEFT JOIN written USING (shop_id) LEFT JOIN turned_away USING (shop_id) ORDER BY scope
"""

FEED_FRESHNESS_SQL = """
SELECT scope(shop_id, NULL) AS scope, count(*) FILTER (status = 'stale') AS stale_feeds_count,
    count(*) FILTER (status = 'missing') AS missing_feeds_count
FROM feeds GROUP BY GROUPING SETS ((), (shop_id)) ORDER BY scope
"""

REFUSALS_SQL = """
SELECT 'stage=' || stage || ',reason=' || reason || coalesce(',shop=' || shop_id, '') AS scope, count(*) AS refused_count
FROM refused GROUP BY ALL ORDER BY scope
"""

SHORT_LISTS_SQL = """
SELECT 'reason=' || shortfall_reason AS scope, count(*) AS short_lists_count
FROM similar_lists WHERE shortfall_reason IS NOT NULL GROUP BY ALL ORDER BY scope
"""

SCORE_QUANTILES_SQL = """
WITH quantiles AS (
    SELECT scope(NULL, super_category) AS scope, quantile_cont(score, [0.05, 0.25, 0.5, 0.75, 0.95]) AS q
    FROM similar_products JOIN products USING (product_id) GROUP BY GROUPING SETS ((), (super_category)))
SELECT scope, q[1] AS score_p05, q[2] AS score_p25, q[3] AS score_p50, q[4] AS score_p75, q[5] AS score_p95 FROM quantiles ORDER BY scope
"""

CROSS_SHOP_SQL = """
SELECT scope(p.shop_id, p.super_category) AS scope, avg((a.shop_id <> p.shop_id)::INT) AS cross_shop_ratio
FROM similar_products s JOIN products p USING (product_id) JOIN products a ON a.product_id = s.similar_product_id
GROUP BY GROUPING SETS ((), (p.shop_id), (p.super_category)) ORDER BY scope
"""

# A product's share of its last first k that is not in its first k now.
CHURN_SQL = """
SELECT p.product_id, p.shop_id, p.super_category, avg((s.rank IS NULL)::INT) AS churn
FROM last_similar_products l JOIN products p USING (product_id)
LEFT JOIN similar_products s ON s.product_id = l.product_id AND s.similar_product_id = l.similar_product_id AND s.rank <= $k
WHERE l.rank <= $k GROUP BY ALL ORDER BY p.product_id
"""


def churn_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """churn@10: of a product's first ten of the last run, the share that is no longer among its first ten.

    Over products that both runs have and the last one gave anything; nothing on the first night.
    """
    frame = con.execute(CHURN_SQL, {"k": K}).df()
    return [
        _estimate_metric(f"churn@{K}", scope, bootstrap_mean(rows["churn"].to_numpy()))
        for scope, rows in _split_by_scope(frame, "shop_id", "super_category")
    ]


def _estimate_metric(measure: str, scope: str, estimate: BootstrapEstimate) -> Metric:
    return Metric(measure, scope, estimate.value, "ratio", estimate.low, estimate.high)


def _split_by_scope(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The whole frame, if it has rows, then one part a value of each column, by name."""
    if len(frame):
        yield "all", frame
    for column in columns:
        yield from (
            (f"{column.removesuffix('_id')}={value}", rows) for value, rows in frame.groupby(column)
        )


def code_health_metrics(codes: ds.Dataset | pa.Table) -> list[Metric]:
    """Whether the codes say anything: bits that are nearly always the same, bits that repeat others, codes many items share. An
    encoder that has learned its labels by heart gives all of a kind one shape: few shape codes are then distinct.

    codes: tables.CODES. A bit is unbalanced where its share of ones lies outside 0.5 ± 0.2; the correlation is the mean
    of |Pearson's r| over all pairs of bits of one code that vary at all.
    """
    columns = (
        codes.to_table(columns=["shape", "colour"])
        if isinstance(codes, ds.Dataset)
        else codes.select(["shape", "colour"])
    )
    if not columns.num_rows:
        return []
    pairs = columns.group_by(["shape", "colour"]).aggregate([([], "count_all")])
    health = [
        Metric("distinct_codes_ratio", "all", pairs.num_rows / columns.num_rows, "ratio"),
        Metric(
            "most_shared_code_ratio",
            "all",
            max(pairs["count_all"].to_pylist()) / columns.num_rows,
            "ratio",
        ),
    ]
    for name in ("shape", "colour"):
        ones, correlation = code_statistics.bit_statistics(
            np.frombuffer(b"".join(columns[name].to_pylist()), np.uint8).reshape(-1, 16)
        )
        health += [
            Metric(
                "distinct_codes_ratio",
                f"code={name}",
                len(pc.unique(columns[name])) / columns.num_rows,
                "ratio",
            ),
            Metric(
                "unbalanced_bits_count",
                f"code={name}",
                int((np.abs(ones - 0.5) > 0.2).sum()),
                "count",
            ),
            Metric("bit_balance_min_ratio", f"code={name}", float(ones.min()), "ratio"),
            Metric("bit_balance_max_ratio", f"code={name}", float(ones.max()), "ratio"),
        ]
        if correlation is not None:
            health.append(Metric("bit_correlation_ratio", f"code={name}", correlation, "ratio"))
    return health


# Each indexed product twice, as it is judged. realm: products of two realms bear no label that could be compared. model: the
# product and its siblings, which are never its alternatives.
JUDGED_PRODUCTS_SQL = """
CREATE OR REPLACE TEMP TABLE asked AS
WITH found AS (
    SELECT product_id, shop_id, super_category, category, age_group, gender, availability = 'in_stock' AS can_answer,
        category_paths[1] AS path, coalesce(shop_id || ':' || lower(group_id), product_id) AS model
    FROM products WHERE product_id IN (SELECT product_id FROM indexes))
SELECT 'precision' AS kind, shop_id AS realm, path AS label, * EXCLUDE (path) FROM found WHERE path IS NOT NULL
UNION ALL SELECT 'leaf_precision', '', category, * EXCLUDE (path) FROM found
"""

# What the first k hold, and what k drawn blindly would hold on average. With `pool` products to draw from, of them `home` of the
# asking product's realm and `alike` with its label, alike / home of the k's own realm are relevant; a pool below k is answered whole.
PRECISION_SQL = """
WITH answered AS (
    SELECT q.kind, q.product_id, count(*) FILTER (a.realm <> q.realm) AS foreign_count,
        count(*) FILTER (a.realm = q.realm AND a.label = q.label) AS relevant_count
    FROM asked q LEFT JOIN similar_products s ON s.product_id = q.product_id AND s.rank <= $k
    LEFT JOIN asked a ON a.kind = q.kind AND a.product_id = s.similar_product_id
    GROUP BY ALL),
reach AS (
    SELECT kind, super_category, age_group, g.gender, realm, label, count(*) FILTER (can_answer) AS alike
    FROM asked JOIN (SELECT DISTINCT gender FROM asked) g ON genders_fit(asked.gender, g.gender) GROUP BY ALL),
pools AS (
    SELECT *, sum(alike) OVER (PARTITION BY kind, super_category, age_group, gender) AS pool,
        sum(alike) OVER (PARTITION BY kind, super_category, age_group, gender, realm) AS home FROM reach),
siblings AS (
    SELECT q.kind, q.product_id, count(*) FILTER (a.can_answer) AS pool, count(*) FILTER (a.can_answer AND a.label = q.label) AS alike
    FROM asked q JOIN asked a ON a.kind = q.kind AND a.model = q.model AND a.super_category = q.super_category
        AND a.age_group = q.age_group AND genders_fit(a.gender, q.gender)
    GROUP BY ALL),
drawn AS (
    SELECT q.*, foreign_count, relevant_count, p.pool - s.pool AS pool, p.home - s.pool AS home, p.alike - s.alike AS alike
    FROM asked q JOIN answered USING (kind, product_id) JOIN siblings s USING (kind, product_id)
    JOIN pools p USING (kind, super_category, age_group, gender, realm, label))
SELECT kind, shop_id, super_category, category, relevant_count / nullif($k - foreign_count, 0) AS precision,
    CASE WHEN pool < $k THEN alike / nullif($k - pool + home, 0) ELSE alike / nullif(home, 0) END AS chance
FROM drawn ORDER BY kind DESC, product_id
"""


def precision_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """precision@10 of indexed products, what chance would give them, and how much better we are, by scope.

    `precision@10`: relevant is what the shop itself files under the same category, by the first category path of its feed
    as written. Another shop's words cannot be compared, so its results count neither for nor against: the relevant ones
    are divided by 10 less those. `leaf_precision@10`: relevant is what has the same leaf category of ours, whatever the
    shop, divided by 10. A missing place in a short list counts against both. Products of which all ten are of other
    shops are left out; `_queries_count` says how many remain.
    `_random`: the expected precision of ten drawn blindly from the products that could have been answered: indexed, in
    stock, of the same super-category and age group and a compatible gender, neither the product itself nor its siblings.
    Exact but for the rules that cut our lists and not these: min_score, one result a model, at most so many of a brand. So
    chance is flattered where our lists are short.
    `_gain`: the mean of the paired differences; better than chance only where its interval lies above 0.
    `_lift`: precision over random.
    """
    con.execute(JUDGED_PRODUCTS_SQL)
    frame = con.execute(PRECISION_SQL, {"k": K}).df().dropna(subset=["precision", "chance"])
    measures = []
    for kind, judged in frame.groupby("kind", sort=False):
        for scope, rows in _split_by_scope(judged, "shop_id", "super_category", "category"):
            ours, chance = rows["precision"].to_numpy(), rows["chance"].to_numpy()
            measures += [
                _estimate_metric(f"{kind}@{K}", scope, bootstrap_mean(ours)),
                _estimate_metric(f"{kind}@{K}_random", scope, bootstrap_mean(chance)),
                _estimate_metric(f"{kind}@{K}_gain", scope, bootstrap_difference(ours, chance)),
                Metric(f"{kind}@{K}_queries_count", scope, len(rows), "count"),
            ]
            if chance.any():
                measures.append(
                    Metric(f"{kind}@{K}_lift", scope, ours.mean() / chance.mean(), "ratio")
                )
    return measures
