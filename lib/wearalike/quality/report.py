"""The verdict on one page that opens from disk: nothing in it is fetched from anywhere, everything in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import duckdb
import jinja2

from wearalike.categories import CategoryReason
from wearalike.quality.floors import Verdict
from wearalike.quality.gate import Outcome, verdict
from wearalike.quality.measures import K, Measure
from wearalike.tables import SIMILAR_PRODUCTS

EXAMPLES = 3
WORDS = 200

REFUSED = """
SELECT stage, reason, shop_id, count(*) AS count, min(key, $examples) AS keys FROM refused GROUP BY ALL
ORDER BY stage, count DESC, reason, shop_id
"""

UNMAPPED = """
SELECT shop_id, detail, count(*) AS count FROM refused WHERE reason = $reason AND detail IS NOT NULL GROUP BY ALL
ORDER BY shop_id, count DESC, detail
"""


def page(
    con: duckdb.DuckDBPyConnection, run: str, last: str | None, outcomes: list[Outcome], measures: list[Measure], made: Mapping[str, Any]
) -> str:
    """The page, HTML. con: the opened night. last: the run it was held against. made: made.json of each table, by name."""
    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": lambda v: "" if v is None else f"{v:,.0f}", "share": _share}
    by_scope: dict[str, dict[str, Measure]] = {}
    for measure in measures:
        by_scope.setdefault(measure.scope, {})[measure.measure] = measure
    return environment.from_string(source).render(
        run=run,
        last=last,
        verdict=verdict(outcomes),
        failed=[o for o in outcomes if o.verdict is Verdict.FAIL],
        warned=[o for o in outcomes if o.verdict is Verdict.WARN],
        outcomes=outcomes,
        by_scope=by_scope,
        most=max([1, *(facts["rows"]["written"] for name, facts in made.items() if name != SIMILAR_PRODUCTS.name)]),
        groups=[s for s in by_scope if s == "all" or s.startswith(("shop=", "super_category="))],
        categories=_worst_first(by_scope),
        k=K,
        made=made,
        refused=_rows(con, REFUSED, {"examples": EXAMPLES}),
        unmapped=_unmapped(con),
        words=WORDS,
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _rows(con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = con.execute(sql, parameters)
    names = [c[0] for c in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _worst_first(by_scope: Mapping[str, Mapping[str, Measure]]) -> list[str]:
    """Scopes of our leaf categories, those least better than chance first."""
    name = f"leaf_precision@{K}_gain"
    found = [s for s, measures in by_scope.items() if s.startswith("category=") and name in measures]
    return sorted(found, key=lambda s: (by_scope[s][name].value, s))


def _unmapped(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, int]]]:
    """For each shop the lines its mapping lacks, ready to paste, each with its number of offers, most first."""
    lines: dict[str, list[tuple[str, int]]] = {}
    for row in _rows(con, UNMAPPED, {"reason": CategoryReason.UNMAPPED_CATEGORY.value}):
        # As categories.word_of writes it: a path, or "#" and an id where the feed has no path. An attribute may hold a bare ">".
        word = row["detail"]
        what = (f"id={quoteattr(word[1:])}" if word.startswith("#") else f"path={quoteattr(word)}").replace("&gt;", ">")
        lines.setdefault(row["shop_id"], []).append((f'<map {what} to=""/>', row["count"]))
    return lines
