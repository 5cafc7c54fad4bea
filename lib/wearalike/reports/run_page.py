"""A judged run on one page that opens from disk: nothing in it is fetched from anywhere, everything in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import duckdb
import jinja2

from wearalike.catalog import CategoryReason
from wearalike.quality import drift, funnel
from wearalike.quality.gate import ExpectationOutcome, worst_verdict
from wearalike.quality.metrics import K, Metric
from wearalike.quality.thresholds import GateVerdict
from wearalike.tables import SIMILAR_PRODUCTS

MAX_EXAMPLE_KEYS = 3
MAX_UNMAPPED_LINES = 200
# Of the contact sheets: at most 160 * 6 pictures of about 3 kB, so that the page stays below 8 MB however big the night.
CONTACT_SHEET_OPTIONS = {"per_category": 2, "rows": 160, "matches": 5, "thumbnail_px": 96}
HALF_GROWTH_ROWS = 8

# What the drift table compares, with how it is called; the precision and churn are those of the first K.
DRIFT_METRICS = (
    ("products_count", "products"),
    ("with_image_ratio", "with an image"),
    ("with_item_ratio", "with an item"),
    ("with_code_ratio", "with a code"),
    ("with_5_matches_ratio", "with 5 matches or more"),
    ("cross_shop_ratio", "recommendations of another shop"),
    ("score_p05", "score, 5 %"),
    ("score_p50", "score, median"),
    ("score_p95", "score, 95 %"),
    (f"precision@{K}", f"precision@{K}"),
    (f"precision@{K}_lift", "times a random matching"),
    (f"leaf_precision@{K}", f"precision@{K} by our leaf category"),
    (f"churn@{K}", f"churn@{K}"),
    ("distinct_codes_ratio", "distinct codes"),
    ("most_shared_code_ratio", "items of the most shared code"),
)
CODE_DRIFT_METRICS = (
    ("distinct_codes_ratio", "distinct codes"),
    ("unbalanced_bits_count", "bits outside 0.5 ± 0.2"),
    ("bit_balance_min_ratio", "least ones of a bit"),
    ("bit_balance_max_ratio", "most ones of a bit"),
    ("bit_correlation_ratio", "mean correlation of two bits"),
)

REFUSED_SQL = """
SELECT stage, reason, shop_id, count(*) AS count, min(key, $examples) AS keys FROM refused GROUP BY ALL
ORDER BY stage, count DESC, reason, shop_id
"""

UNMAPPED_SQL = """
SELECT shop_id, detail, count(*) AS count FROM refused WHERE reason = $reason AND detail IS NOT NULL GROUP BY ALL
ORDER BY shop_id, count DESC, detail
"""

# A list of a shop's products in a super-category, and the share of them with five matches.
COVERAGE_BY_SHOP_SQL = """
SELECT shop_id, super_category, count(*) AS count, avg((coalesce(similar_count, 0) >= 5)::INT) AS covered
FROM products LEFT JOIN similar_lists USING (product_id) GROUP BY ALL
"""

MetricsByScope = dict[str, dict[str, Metric]]


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """What the gate found of a run.

    last: the run it was held against, and last_measures what tables.QUALITY says of it. made: _manifest.json of each table, by name.
    sheets: what viewer.contact_sheet.recommended gives. workbook: where the workbook of all runs is, as a link of the page.
    """

    run: str
    last: str | None
    outcomes: Sequence[ExpectationOutcome]
    measures: Sequence[Metric]
    last_measures: Sequence[Metric]
    made: Mapping[str, Any]
    sheets: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    workbook: str | None = None


@dataclass(frozen=True, slots=True)
class DriftRow:
    """A line of the drift table."""

    name: str
    unit: str
    now: float | None
    last: float | None


def render_run_page(con: duckdb.DuckDBPyConnection, judged: JudgedRun) -> str:
    """The page, HTML. con: the opened night; of one whose tables have other columns than tables.py, only the verdict is told."""
    source = Path(__file__).with_name("run_page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": lambda v: "" if v is None else f"{v:,.0f}",
        "share": _format_ratio,
        "change": _format_change,
        "words": _spell_out,
    }
    scopes, outcomes = _group_by_scope(judged.measures), judged.outcomes
    return environment.from_string(source).render(
        judged=judged,
        run=judged.run,
        last=judged.last,
        made=judged.made,
        verdict=worst_verdict(list(outcomes)),
        failed=[o for o in outcomes if o.verdict is GateVerdict.FAIL],
        warned=[o for o in outcomes if o.verdict is GateVerdict.WARN],
        by_scope=scopes,
        most=max(
            [
                1,
                *(
                    facts["rows"]["written"]
                    for name, facts in judged.made.items()
                    if name != SIMILAR_PRODUCTS.name
                ),
            ]
        ),
        groups=[s for s in scopes if s == "all" or s.startswith(("shop=", "super_category="))],
        categories=_worst_categories(scopes),
        k=K,
        refused=_query_rows(con, REFUSED_SQL, {"examples": MAX_EXAMPLE_KEYS}),
        unmapped=_unmapped_lines(con),
        words=MAX_UNMAPPED_LINES,
        **(_table_facts(con, judged, scopes) if judged.measures else {"steps": []}),
    )


def _table_facts(
    con: duckdb.DuckDBPyConnection, judged: JudgedRun, scopes: MetricsByScope
) -> dict[str, Any]:
    """What is counted for the page alone, of a night whose tables are as they should be."""
    grown = (
        sorted(
            (g for g in drift.category_growths(con) if g.growth),
            key=lambda g: (-abs(g.growth), g.category),
        )
        if judged.last
        else []
    )
    covered: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _query_rows(con, COVERAGE_BY_SHOP_SQL, {}):
        covered.setdefault(row["shop_id"], {})[row["super_category"]] = row
    return {
        "steps": funnel.funnel_steps(con),
        "covered": dict(sorted(covered.items())),
        "supers": [
            s.removeprefix("super_category=") for s in scopes if s.startswith("super_category=")
        ],
        "histograms": drift.score_histograms(con),
        "moved": _drift_rows(scopes, _group_by_scope(judged.last_measures)),
        "grown": grown[: 2 * HALF_GROWTH_ROWS],
    }


def _group_by_scope(measures: Sequence[Metric]) -> MetricsByScope:
    found: MetricsByScope = {}
    for measure in measures:
        found.setdefault(measure.scope, {})[measure.metric] = measure
    return found


def _drift_rows(scopes: MetricsByScope, last: MetricsByScope) -> list[DriftRow]:
    """The measures that both runs, or this one alone, have, in the order of COMPARED."""
    wanted = [("all", *names) for names in DRIFT_METRICS]
    wanted += [
        (f"code={code}", name, f"{code}: {text}")
        for code in ("shape", "colour")
        for name, text in CODE_DRIFT_METRICS
    ]
    moved = []
    for scope, name, text in wanted:
        now, before = scopes.get(scope, {}).get(name), last.get(scope, {}).get(name)
        if now:
            moved.append(DriftRow(text, now.unit, now.value, before.value if before else None))
    return moved


def _format_ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _format_change(moved: DriftRow) -> str:
    if moved.now is None or moved.last is None:
        return ""
    text = f"{moved.now - moved.last:+,.{0 if moved.unit == 'count' else 3}f}"
    return text if text.strip("+-0.") else "0"


def _spell_out(name: str) -> str:
    return name.replace("_", " ")


def _query_rows(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    cursor = con.execute(sql, parameters)
    names = [c[0] for c in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _worst_categories(by_scope: Mapping[str, Mapping[str, Metric]]) -> list[str]:
    """Scopes of our leaf categories, those least better than chance first."""
    name = f"leaf_precision@{K}_gain"
    found = [
        s for s, measures in by_scope.items() if s.startswith("category=") and name in measures
    ]
    return sorted(found, key=lambda s: (by_scope[s][name].value, s))


def _unmapped_lines(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, int]]]:
    """For each shop the lines its mapping lacks, ready to paste, each with its number of offers, most first."""
    lines: dict[str, list[tuple[str, int]]] = {}
    for row in _query_rows(con, UNMAPPED_SQL, {"reason": CategoryReason.UNMAPPED_CATEGORY.value}):
        # As categories.word_of writes it: a path, or "#" and an id where the feed has no path. An attribute may hold a bare ">".
        word = row["detail"]
        what = (
            f"id={quoteattr(word[1:])}" if word.startswith("#") else f"path={quoteattr(word)}"
        ).replace("&gt;", ">")
        lines.setdefault(row["shop_id"], []).append((f'<map {what} to=""/>', row["count"]))
    return lines
