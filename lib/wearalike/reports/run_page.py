"""The quality page of a run: one HTML file that opens from disk and loads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

import duckdb

from wearalike.catalog import CategoryReason
from wearalike.feeds.articles import ArticleEvidence
from wearalike.quality import drift, funnel
from wearalike.quality.gate import ExpectationOutcome, worst_verdict
from wearalike.quality.metrics import K, Metric
from wearalike.quality.thresholds import GateVerdict
from wearalike.reports import contradicted_mappings, html
from wearalike.reports.figure_lists import NO_LISTS, FigureLists
from wearalike.tables import OFFERS, SIMILAR_PRODUCTS

MAX_EXAMPLE_KEYS = 3
MAX_UNMAPPED_LINES = 200
MAX_UNKNOWN_WORDS = 30
# At most 160 * 6 thumbnails of about 3 kB: the page stays below 8 MB whatever the run's size.
CONTACT_SHEET_OPTIONS = {"per_category": 2, "rows": 160, "matches": 5, "thumbnail_px": 96}
MAX_GROWTH_ROWS = 16

# Metrics of the drift table with their captions; precision and churn are of the first K.
DRIFT_METRICS = (
    ("products_count", "products"),
    ("with_image_ratio", "with an image"),
    ("with_item_ratio", "with an item"),
    ("with_code_ratio", "with a code"),
    ("with_5_matches_ratio", "with 5 or more matches"),
    ("cross_shop_ratio", "recommendations from another shop"),
    ("recommended_ratio", "products in stock ever recommended"),
    ("hub_share_ratio", "recommendations to the top 1 % of products"),
    ("spread@10", "bits that differ between two results of a list"),
    ("score_p05", "score, 5 %"),
    ("score_p50", "score, median"),
    ("score_p95", "score, 95 %"),
    (f"precision@{K}", f"precision@{K}"),
    (f"precision@{K}_lift", "times random precision"),
    (f"leaf_precision@{K}", f"precision@{K} by our leaf category"),
    (f"churn@{K}", f"churn@{K}"),
    ("distinct_codes_ratio", "distinct codes"),
    ("most_shared_code_ratio", "items with the most common code"),
)
CODE_DRIFT_METRICS = (
    ("distinct_codes_ratio", "distinct codes"),
    ("unbalanced_bits_count", "bits outside 0.5 ± 0.2"),
    ("bit_balance_min_ratio", "smallest share of ones in a bit"),
    ("bit_balance_max_ratio", "largest share of ones in a bit"),
    ("bit_correlation_ratio", "mean correlation of two bits"),
)

REFUSED_SQL = """
SELECT stage, reason, shop_id, count(*) AS count, min(key, $examples) AS keys
FROM refused GROUP BY ALL
ORDER BY stage, count DESC, reason, shop_id
"""

UNMAPPED_SQL = """
SELECT shop_id, detail, count(*) AS count
FROM refused WHERE reason = $reason AND detail IS NOT NULL GROUP BY ALL
ORDER BY shop_id, count DESC, detail
"""

# For each shop the products that share an article with others, and how many by each evidence.
ARTICLES_SQL = f"""
WITH joined AS (
    SELECT shop_id, article_id, article_evidence,
        min(shop_id) OVER article < max(shop_id) OVER article AS is_shared
    FROM products WHERE article_id IS NOT NULL WINDOW article AS (PARTITION BY article_id)
)
SELECT shop_id, count(DISTINCT article_id) AS articles, count(*) AS products,
    count(*) FILTER (is_shared) AS shared,
    {
    ", ".join(
        f"count(*) FILTER (list_contains(article_evidence, '{kind}')) AS {kind}"
        for kind in ArticleEvidence
    )
}
FROM joined GROUP BY shop_id ORDER BY shop_id
"""

# A shop's products in each super-category, and the share of them with five matches.
COVERAGE_BY_SHOP_SQL = """
SELECT shop_id, super_category, count(*) AS count,
    avg((coalesce(similar_count, 0) >= 5)::INT) AS covered
FROM products LEFT JOIN similar_lists USING (product_id) GROUP BY ALL
"""

MetricsByScope = dict[str, dict[str, Metric]]


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run with the gate's findings.

    Attributes:
        run: Name of the run.
        last: The run it was compared with; None on the first.
        outcomes: Outcome of each expectation.
        metrics: The run's metrics; empty if its tables have other columns than tables.py.
        last_metrics: Metrics of the last run.
        manifests: _manifest.json of each table, by table name.
        sheets: Result of contact_sheet.select_recommendations.
        contradictions: Products whose pictures contradict their mapping, with pictures.
        contradictions_count: How many there are.
        workbook: Link from the page to the workbook of all runs.
        lists: Lists of products beside the page, to which its figures lead.
    """

    run: str
    last: str | None
    outcomes: Sequence[ExpectationOutcome]
    metrics: Sequence[Metric]
    last_metrics: Sequence[Metric]
    manifests: Mapping[str, Any]
    sheets: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    contradictions: Sequence[Mapping[str, Any]] = ()
    contradictions_count: int = 0
    workbook: str | None = None
    lists: FigureLists = NO_LISTS


@dataclass(frozen=True, slots=True)
class DriftRow:
    """A row of the drift table: a metric of this run and of the last."""

    name: str
    unit: str
    now: float
    last: float | None

    @property
    def change_text(self) -> str:
        """The change with its sign; "0" if it rounds to nothing, "" without a last value."""
        if self.last is None:
            return ""
        decimals = 0 if self.unit == "count" else 3
        text = f"{self.now - self.last:+,.{decimals}f}"
        return text if text.strip("+-0.") else "0"


def render_run_page(con: duckdb.DuckDBPyConnection, judged: JudgedRun) -> str:
    """Render the quality page of a run.

    Args:
        con: The run's tables, opened by quality.metrics.open_run_tables.
        judged: The run with the gate's findings. Without metrics the page has only the verdict
            and what was refused.

    Returns:
        The page, HTML.
    """
    outcomes = judged.outcomes
    by_scope = _group_by_scope(judged.metrics)
    table_sizes = [
        manifest["rows"]["written"]
        for name, manifest in judged.manifests.items()
        if name != SIMILAR_PRODUCTS.name
    ]
    return html.render(
        "run_page.html",
        judged=judged,
        lists=judged.lists,
        run=judged.run,
        last=judged.last,
        manifests=judged.manifests,
        verdict=worst_verdict(list(outcomes)),
        failed=[o for o in outcomes if o.verdict is GateVerdict.FAIL],
        warned=[o for o in outcomes if o.verdict is GateVerdict.WARN],
        by_scope=by_scope,
        most=max([1, *table_sizes]),
        groups=[s for s in by_scope if s == "all" or s.startswith(("shop=", "super_category="))],
        categories=_worst_categories(by_scope),
        k=K,
        refused=_query_rows(con, REFUSED_SQL, {"examples": MAX_EXAMPLE_KEYS}),
        unmapped=_unmapped_lines(con),
        max_unmapped=MAX_UNMAPPED_LINES,
        unknown_words=judged.manifests.get(OFFERS.name, {}).get("unknown_words", {}),
        max_words=MAX_UNKNOWN_WORDS,
        repairs=_feed_repairs(judged.manifests.get(OFFERS.name, {})),
        **(
            _table_facts(con, judged, by_scope)
            if judged.metrics
            else {"steps": [], "articles": [], "contradicted_lines": []}
        ),
    )


def _table_facts(
    con: duckdb.DuckDBPyConnection, judged: JudgedRun, by_scope: MetricsByScope
) -> dict[str, Any]:
    """Compute what only the page shows; needs tables with the columns of tables.py."""
    growths = [g for g in drift.category_growths(con) if g.growth] if judged.last else []
    growths.sort(key=lambda g: (-abs(g.growth), g.category))
    coverage: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _query_rows(con, COVERAGE_BY_SHOP_SQL, {}):
        coverage.setdefault(row["shop_id"], {})[row["super_category"]] = row
    prefix = "super_category="
    return {
        "steps": funnel.funnel_steps(con),
        "articles": _query_rows(con, ARTICLES_SQL, {}),
        "contradicted_lines": contradicted_mappings.list_contradicted_lines(con)[
            : contradicted_mappings.MAX_PAGE_LINES
        ],
        "evidence": list(ArticleEvidence),
        "coverage": dict(sorted(coverage.items())),
        "supers": [s.removeprefix(prefix) for s in by_scope if s.startswith(prefix)],
        "histograms": drift.score_histograms(con),
        "drift_rows": _drift_rows(by_scope, _group_by_scope(judged.last_metrics)),
        "growths": growths[:MAX_GROWTH_ROWS],
    }


def _feed_repairs(manifest: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return how often each fault of a feed was repaired, by shop, the most frequent first."""
    repairs: Mapping[str, Mapping[str, int]] = manifest.get("repairs", {})
    return {
        shop: dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        for shop, counts in sorted(repairs.items())
        if counts
    }


def _group_by_scope(metrics: Sequence[Metric]) -> MetricsByScope:
    """Return metrics by scope and name."""
    by_scope: MetricsByScope = {}
    for metric in metrics:
        by_scope.setdefault(metric.scope, {})[metric.metric] = metric
    return by_scope


def _drift_rows(now: MetricsByScope, last: MetricsByScope) -> list[DriftRow]:
    """Return the metrics that this run has, in the order of DRIFT_METRICS."""
    wanted = [("all", *names) for names in DRIFT_METRICS]
    wanted += [
        (f"code={code}", name, f"{code}: {caption}")
        for code in ("shape", "colour")
        for name, caption in CODE_DRIFT_METRICS
    ]
    rows = []
    for scope, name, caption in wanted:
        metric = now.get(scope, {}).get(name)
        last_metric = last.get(scope, {}).get(name)
        if metric:
            last_value = last_metric.value if last_metric else None
            rows.append(DriftRow(caption, metric.unit, metric.value, last_value))
    return rows


def _query_rows(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts."""
    cursor = con.execute(sql, parameters)
    names = [c[0] for c in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _worst_categories(by_scope: MetricsByScope) -> list[str]:
    """Return the scopes of leaf categories, the least gain over random first."""
    name = f"leaf_precision@{K}_gain"
    scopes = [s for s, metrics in by_scope.items() if s.startswith("category=") and name in metrics]
    return sorted(scopes, key=lambda s: (by_scope[s][name].value, s))


def _unmapped_lines(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, int]]]:
    """Return for each shop the lines its mapping lacks, with their offers, most first.

    The detail of a refusal is written by catalog.category_word: a path, or "#" and an id where
    the feed has no path. A bare ">" is legal in an attribute and easier to read.
    """
    lines: dict[str, list[tuple[str, int]]] = {}
    for row in _query_rows(con, UNMAPPED_SQL, {"reason": CategoryReason.UNMAPPED_CATEGORY.value}):
        word = row["detail"]
        key = f"id={quoteattr(word[1:])}" if word.startswith("#") else f"path={quoteattr(word)}"
        line = f'<map {key.replace("&gt;", ">")} to=""/>'
        lines.setdefault(row["shop_id"], []).append((line, row["count"]))
    return lines
