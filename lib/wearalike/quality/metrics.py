"""Metrics of a run, as rows of tables.QUALITY, and the run's tables opened in DuckDB."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.catalog.eligibility import GENDERS_FIT_SQL
from wearalike.metrics.bootstrap import BootstrapEstimate
from wearalike.tables import IMAGES, INDEXES, PRODUCTS, QUALITY, SIMILAR_PRODUCTS

# A run's tables by name: those of tables.TABLES that it has, `refused`, and the COMPARED_TABLES of
# the run it is compared with as last_<table> (empty on the first run).
RunTables = Mapping[str, ds.Dataset | pa.Table]
COMPARED_TABLES = (PRODUCTS, SIMILAR_PRODUCTS, IMAGES, INDEXES)
# Precision and churn look at the first K of a list: those that a page shows without scrolling.
K = 10
# Expressions that several queries need, beside genders_fit of catalog.eligibility.
# scope: of a grouping set by shop and super-category.
# model_key: products with the same key are one article, in its sizes or colours.
_MACROS_SQL = """
CREATE MACRO scope(shop, super) AS
    coalesce('shop=' || shop, 'super_category=' || super, 'all');
CREATE MACRO model_key(article, shop, group_name) AS
    coalesce(article, shop || ':' || lower(group_name));
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of tables.QUALITY.

    Attributes:
        metric: Name, e.g. "precision@10".
        scope: "all", or e.g. "shop=moda".
        value: The value.
        unit: count, ratio, score, psi, days, factor or price.
        low: Lower end of the 95 % interval; None without one.
        high: Upper end of the interval.
        verdict: A GateVerdict; None without a threshold.
        threshold: The threshold as text, e.g. ">= 0.5".
        note: Shop, place and figures in words, for messages. Not in the table.
    """

    metric: str
    scope: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    threshold: str | None = None
    note: str | None = None


def metrics_table(metrics: list[Metric]) -> pa.Table:
    """Return metrics as tables.QUALITY, in their order."""
    names = [f.name for f in fields(Metric) if f.name in QUALITY.column_names]
    rows = [{name: getattr(m, name) for name in names} for m in metrics]
    return pa.Table.from_pylist(rows, schema=QUALITY.arrow_schema)


@contextmanager
def open_run_tables(run_tables: RunTables) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a run's tables in DuckDB, each as a view of its name.

    Tables larger than memory spill to a temporary folder. The macros scope, genders_fit and
    model_key are defined.

    Args:
        run_tables: The run's tables.

    Yields:
        The connection, closed after the block.
    """
    options = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with (
        tempfile.TemporaryDirectory(prefix="wearalike-") as spill,
        duckdb.connect(config={**options, "temp_directory": spill}) as con,
    ):
        for name, rows in run_tables.items():
            con.register(name, rows)
        con.execute(_MACROS_SQL)
        con.execute(GENDERS_FIT_SQL)
        yield con


def estimate_metric(name: str, scope: str, estimate: BootstrapEstimate) -> Metric:
    """Return a ratio with its 95 % interval."""
    return Metric(name, scope, estimate.value, "ratio", estimate.low, estimate.high)


def split_by_scope(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Split rows into scopes.

    Args:
        frame: The rows.
        columns: Columns to split by, e.g. shop_id.

    Yields:
        ("all", frame), unless it is empty; then for each column ("shop=moda", rows), by value.
    """
    if len(frame):
        yield "all", frame
    for column in columns:
        name = column.removesuffix("_id")
        for value, rows in frame.groupby(column):
            yield f"{name}={value}", rows
