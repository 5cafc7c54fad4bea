"""All metrics of a run, computed by DuckDB over its tables, whatever their size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from wearalike.metrics.bootstrap import bootstrap_mean
from wearalike.quality import exposure, look_metrics, metric_queries
from wearalike.quality.category_precision import precision_metrics
from wearalike.quality.code_agreement import agreement_metrics
from wearalike.quality.code_statistics import code_health_metrics
from wearalike.quality.drift import drift_metrics
from wearalike.quality.feed_ages import feed_age_metrics
from wearalike.quality.metrics import K, Metric, RunTables, estimate_metric, split_by_scope
from wearalike.quality.normal_week import RunValues, comparison_metrics
from wearalike.quality.shop_changes import change_metrics
from wearalike.quality.shop_shares import share_metrics
from wearalike.settings import day_of_run
from wearalike.tables import CODES, LOOK_PRODUCTS, LOOKS

_QUERIES = (
    metric_queries.COVERAGE_SQL,
    metric_queries.LEAF_CATEGORIES_SQL,
    metric_queries.REPRESENTATIVE_VIEWS_SQL,
    metric_queries.PRODUCTS_KEPT_SQL,
    metric_queries.OFFER_ACCOUNTS_SQL,
    metric_queries.FEED_FRESHNESS_SQL,
    metric_queries.REFUSALS_SQL,
    metric_queries.SHORT_LISTS_SQL,
    metric_queries.SCORE_QUANTILES_SQL,
    metric_queries.CROSS_SHOP_SQL,
    exposure.EXPOSURE_SQL,
    exposure.SPREAD_SQL,
)
_LOOK_QUERIES = (look_metrics.LOOK_COVERAGE_SQL, look_metrics.LOOK_AGREEMENT_SQL)


@dataclass(frozen=True, slots=True)
class EarlierRuns:
    """The runs that a run is compared with.

    Attributes:
        last: The last run before it that passed.
        week: Values of the passed runs of a week, newest first; the first one is the last run.
        are_models_of_last_run: False if the last run had other models or another distance.
    """

    last: str
    week: Sequence[RunValues]
    are_models_of_last_run: bool = True


def measure_run(
    con: duckdb.DuckDBPyConnection,
    run_tables: RunTables,
    manifests: Mapping[str, Mapping[str, Any]],
    run: str,
    earlier: EarlierRuns | None,
    day_of: Callable[[str], date] = day_of_run,
) -> list[Metric]:
    """Compute every metric of a run, on its own and beside earlier runs.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.
        run_tables: The same tables.
        manifests: _manifest.json of each table of the run, by table name.
        run: The run.
        earlier: The runs to compare it with; None on the first.
        day_of: Returns the day of a run.

    Returns:
        Metrics in a fixed order, without verdicts.
    """
    metrics = [
        *run_metrics(con, run_tables, manifests),
        *feed_age_metrics(con, run, day_of),
        *agreement_metrics(con),
        *share_metrics(con),
    ]
    if earlier is None:
        return metrics
    return [
        *metrics,
        *change_metrics(con, earlier.last, are_models_of_last_run=earlier.are_models_of_last_run),
        *drift_metrics(con),
        *comparison_metrics(metrics, earlier.last, earlier.week[0], earlier.week),
    ]


def run_metrics(
    con: duckdb.DuckDBPyConnection,
    run_tables: RunTables,
    manifests: Mapping[str, Mapping[str, Any]],
) -> list[Metric]:
    """Compute the metrics of a run's tables.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.
        run_tables: The same tables.
        manifests: _manifest.json of each table of the run, by table name.

    Returns:
        Metrics in a fixed order, without verdicts. There are none of looks that the run did not
        search.
    """
    queries: tuple[str, ...] = _QUERIES
    if LOOK_PRODUCTS.name in manifests and "why_empty" not in manifests[LOOK_PRODUCTS.name]:
        queries += (look_metrics.LOOK_SOURCES_SQL,)
    if LOOKS.name in manifests and "why_empty" not in manifests[LOOKS.name]:
        queries += _LOOK_QUERIES
    return [
        *(m for name, facts in manifests.items() for m in _row_count_metrics(name, facts["rows"])),
        *(m for sql in queries for m in _query_metrics(con, sql)),
        *churn_metrics(con),
        *code_health_metrics(run_tables[CODES.name]),
        *precision_metrics(con),
    ]


def churn_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """Compute churn@10: the share of a product's last first ten that left its first ten.

    It is averaged over products that both runs have and that had recommendations in the last run.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        The metric by scope; none on the first run.
    """
    frame = con.execute(metric_queries.CHURN_SQL, {"k": K}).df()
    return [
        estimate_metric(f"churn@{K}", scope, bootstrap_mean(rows["churn"].to_numpy()))
        for scope, rows in split_by_scope(frame, "shop_id", "super_category")
    ]


def _row_count_metrics(name: str, rows: Mapping[str, Any]) -> list[Metric]:
    """Return the counts of a table's manifest as metrics."""
    counts = {
        "taken": rows["taken"],
        "written": rows["written"],
        "refused": sum(rows["refused"].values()),
    }
    return [
        Metric(f"rows_{column}_count", f"table={name}", count, "count")
        for column, count in counts.items()
    ]


def _query_metrics(con: duckdb.DuckDBPyConnection, sql: str) -> list[Metric]:
    """Return a metric for every cell after the first column, the scope; nulls are left out."""
    cursor = con.execute(sql)
    names = [c[0] for c in cursor.description][1:]
    return [
        Metric(name, scope, float(value), _unit(name))
        for scope, *values in cursor.fetchall()
        for name, value in zip(names, values, strict=True)
        if value is not None
    ]


def _unit(name: str) -> str:
    """Return the unit that a metric's name tells."""
    if name.endswith("_count"):
        return "count"
    return "score" if name.startswith("score_") else "ratio"
