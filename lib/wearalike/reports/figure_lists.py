"""The products behind the figures of a run's page, as pages beside it that open from disk.

figures/<figure>.html     a section a scope, each with its first products; sections have the anchors
                          by which the run's page leads to them
figures/refused.html      what was refused, by stage and reason

A section is bounded, whatever the run's size. With `serve.public_url` a page leads to the viewer,
which lists all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb

from wearalike.quality.metrics import Metric
from wearalike.reports import html
from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.reports.product_figures import (
    FIGURE_OF_METRIC,
    FIGURES,
    HUBS,
    LISTED_TABLES,
    VIEW_PREFIX,
    ProductFigure,
)

FOLDER = "figures"
REFUSED_LIST = "refused"
HUBS_LIST = "hubs"
ROWS_PER_SECTION = 50
ROWS_PER_CATEGORY = 20
MAX_HUBS = 480
# The page shows these of every leaf category; other lists have shops and super-categories alone.
_CATEGORY_LISTS = ("other_leaf",)
_LISTS = (
    "products",
    "compared",
    "not_compared",
    "with_list",
    "five_matches",
    "fewer_matches",
    "other_shop",
    "other_category",
    "other_leaf",
    "best_score",
    "recommended",
    "never_recommended",
    "looks",
)
_HUBS_SQL = f"""
SELECT similar_product_id AS product_id, count(*) AS n FROM {VIEW_PREFIX}similar_products
WHERE run = $run GROUP BY ALL ORDER BY n DESC, product_id LIMIT {MAX_HUBS}
"""
_SECTIONS_SQL = """
WITH listed AS ({sql}),
    known AS (
        SELECT f.n, p.product_id, p.shop_id, p.title, p.url, p.category, p.super_category
        FROM listed AS f JOIN products AS p ON p.product_id = f.product_id),
    scoped AS (
        SELECT 'all' AS scope, * FROM known
        UNION ALL SELECT 'shop=' || shop_id, * FROM known
        UNION ALL SELECT 'super_category=' || super_category, * FROM known
        UNION ALL SELECT 'category=' || category, * FROM known WHERE {has_categories})
SELECT *, count(*) OVER (PARTITION BY scope) AS total FROM scoped
QUALIFY row_number() OVER (PARTITION BY scope ORDER BY n DESC, product_id)
    <= CASE WHEN scope LIKE 'category=%' THEN {category_rows} ELSE {rows} END
ORDER BY scope, n DESC, product_id
"""
_REFUSED_SQL = """
SELECT stage, reason, shop_id, key, detail, count(*) OVER (PARTITION BY stage, reason) AS total
FROM refused QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY shop_id, key) <= $rows
ORDER BY stage, reason, shop_id, key
"""
# Parameters of the viewer's list by the name of a scope.
_SCOPE_PARAMETERS = {"shop": "shop", "super_category": "super", "category": "category"}
# The list behind a step of the funnel.
_LIST_OF_STEP = {
    "offers": REFUSED_LIST,
    "products": "products",
    "with image": "compared",
    "with item": "compared",
    "with code": "compared",
    "indexed": "compared",
    "with a match": "with_list",
    "with 5 matches": "five_matches",
}


@dataclass(frozen=True, slots=True)
class FigureLists:
    """The lists that were written beside a page; knows where each figure leads.

    Attributes:
        sections: Scopes that each list has a section for, by its name.
    """

    sections: Mapping[str, frozenset[str]]

    def address(self, metric: str, scope: str) -> str | None:
        """Return the address of the products behind a metric, relative to the page.

        Args:
            metric: Name of the metric.
            scope: Its scope, e.g. "all" or "shop=moda".

        Returns:
            The address; None if there is no such list.
        """
        if metric == "refused_offers_ratio":
            return self._address(REFUSED_LIST, None)
        if metric == "short_lists_count":
            return self._address(f"short_list-{scope.partition('=')[2]}", "all")
        base = metric.removesuffix("_queries_count").removesuffix("_random").removesuffix("_gain")
        return self._address(FIGURE_OF_METRIC.get(base, "products"), scope)

    def step_address(self, step: str) -> str | None:
        """Return the address of what reached a step of the funnel, or stopped at it."""
        name = _LIST_OF_STEP.get(step, "products")
        return self._address(name, None if name == REFUSED_LIST else "all")

    def refused_address(self, stage: str, reason: str) -> str | None:
        """Return the address of what a stage refused for a reason."""
        address = self._address(REFUSED_LIST, None)
        return f"{address}#{stage}-{reason}" if address else None

    def _address(self, name: str, scope: str | None) -> str | None:
        if name not in self.sections or (scope and scope not in self.sections[name]):
            return None
        return f"{FOLDER}/{name}.html" + (f"#{scope}" if scope else "")


NO_LISTS = FigureLists({})


def write_figure_lists(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    run: str,
    last: str | None,
    run_metrics: Sequence[Metric],
    public_url: str,
) -> FigureLists:
    """Write the lists of a run.

    Args:
        con: The run's tables, opened by quality.metrics.open_run_tables.
        folder: Folder of the run's page; the lists go into FOLDER in it.
        run: The run.
        last: The run it is compared with; None on the first.
        run_metrics: Its metrics; their scopes become sections.
        public_url: Address of the viewer; empty for none.
    """
    (folder / FOLDER).mkdir()
    _create_views(con, run, last)
    scopes = list(dict.fromkeys(metric.scope for metric in run_metrics))
    groups = [s for s in scopes if s == "all" or s.startswith(("shop=", "super_category="))]
    leaves = [s for s in scopes if s.startswith("category=")]
    reasons = [
        metric.scope.partition("=")[2]
        for metric in run_metrics
        if metric.metric == "short_lists_count"
    ]
    lists: dict[str, tuple[str, ProductFigure, str | None]] = {
        name: (name, FIGURES[name], None) for name in _LISTS
    }
    lists |= {
        f"short_list-{reason}": ("short_list", FIGURES["short_list"], reason) for reason in reasons
    }
    lists[HUBS_LIST] = (HUBS_LIST, HUBS, None)
    if last:
        lists["changed"] = ("changed", FIGURES["changed"], last)
    sections: dict[str, frozenset[str]] = {}
    for file_name, (name, figure, value) in lists.items():
        wanted = groups + (leaves if name in _CATEGORY_LISTS else [])
        rows = _query_sections(con, name, figure, run, value)
        page = _render_list(run, name, figure, value, wanted, rows, public_url)
        (folder / FOLDER / f"{file_name}.html").write_text(page, encoding="utf-8")
        sections[file_name] = frozenset(wanted)
    page = _render_refused(con, run, public_url)
    (folder / FOLDER / f"{REFUSED_LIST}.html").write_text(page, encoding="utf-8")
    sections[REFUSED_LIST] = frozenset()
    return FigureLists(sections)


def _create_views(con: duckdb.DuckDBPyConnection, run: str, last: str | None) -> None:
    """Create the views that the figures' statements read, with the run of each row."""
    for table in LISTED_TABLES:
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW {VIEW_PREFIX}{table.name} AS "
            f"SELECT {_literal(run)} AS run, * FROM {table.name}"
        )
    if last:
        similar = f"{VIEW_PREFIX}similar_products"
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW {similar} AS "
            f"SELECT {_literal(run)} AS run, * FROM similar_products UNION ALL BY NAME "
            f"SELECT {_literal(last)} AS run, * FROM last_similar_products"
        )


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _query_sections(
    con: duckdb.DuckDBPyConnection,
    name: str,
    figure: ProductFigure,
    run: str,
    value: str | None,
) -> dict[str, list[dict[str, Any]]]:
    """Return the first products of each scope."""
    sql = _SECTIONS_SQL.format(
        sql=_HUBS_SQL if name == HUBS_LIST else figure.sql_over_views(),
        has_categories=str(name in _CATEGORY_LISTS).lower(),
        category_rows=ROWS_PER_CATEGORY,
        rows=ROWS_PER_SECTION,
    )
    parameters = {"run": run} | ({"value": value} if figure.value_name else {})
    return _group_rows(con.execute(sql, parameters), "scope")


def _group_rows(cursor: duckdb.DuckDBPyConnection, *keys: str) -> dict[str, list[dict[str, Any]]]:
    """Return rows as dicts, by the values of keys with a hyphen between them."""
    names = [column[0] for column in cursor.description]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        grouped.setdefault("-".join(str(row[key]) for key in keys), []).append(row)
    return grouped


def _render_list(
    run: str,
    name: str,
    figure: ProductFigure,
    value: str | None,
    scopes: Iterable[str],
    rows: Mapping[str, list[dict[str, Any]]],
    public_url: str,
) -> str:
    """Return a page of products."""
    sections = []
    for scope in scopes:
        found = rows.get(scope, [])
        kind, _, of = scope.partition("=")
        query = {"figure": name, "run": run}
        query |= {figure.value_name: value or ""} if figure.value_name else {}
        query |= {_SCOPE_PARAMETERS[kind]: of} if kind in _SCOPE_PARAMETERS else {}
        sections.append(
            {
                "id": scope,
                "total": found[0]["total"] if found else 0,
                "viewer": _viewer_address(public_url, "/quality/products", query),
                "rows": [{**row, "caption": figure.caption.format(n=row["n"])} for row in found],
            }
        )
    opposite = figure.opposite if figure.opposite in _LISTS else None
    reasons = {str(reason): text for reason, text in SHORTFALL_TEXTS.items()}
    is_short = figure.value_name == "reason"
    return html.render(
        "figure_list.html",
        run=run,
        title=figure.title.format(value=value or "none"),
        note=reasons.get(value or "", "") if is_short else "",
        opposite=(opposite, FIGURES[opposite].title) if opposite else None,
        sections=sections,
        is_refused=False,
    )


def _render_refused(con: duckdb.DuckDBPyConnection, run: str, public_url: str) -> str:
    """Return the page of what was refused."""
    grouped = _group_rows(con.execute(_REFUSED_SQL, {"rows": ROWS_PER_SECTION}), "stage", "reason")
    sections = [
        {
            "id": name,
            "total": rows[0]["total"],
            "viewer": _viewer_address(public_url, "/quality/refused", {"run": run}),
            "rows": rows,
        }
        for name, rows in grouped.items()
    ]
    return html.render(
        "figure_list.html",
        run=run,
        title="Refused",
        note="",
        opposite=None,
        sections=sections,
        is_refused=True,
    )


def _viewer_address(public_url: str, path: str, query: Mapping[str, str]) -> str | None:
    """Return an address of the viewer; None without one."""
    return f"{public_url.rstrip('/')}{path}?{urlencode(query)}" if public_url else None
