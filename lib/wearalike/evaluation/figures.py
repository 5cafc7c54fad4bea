"""Every number of every version as one long table, for Parquet and for the workbook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.metrics.categories import ALL, CategoryMetrics
from wearalike.reports import spreadsheet
from wearalike.storage import atomic

FIGURES_SCHEMA = pa.schema(
    [
        # encoder, detector or classifier
        pa.field("kind", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        # distance that an encoder ranks by; else empty
        pa.field("distance", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        # categories.ALL for all of them
        pa.field("category", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("k", pa.int32()),
        # null where there was nothing to measure
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        # number of queries, images or truths behind the value
        pa.field("count", pa.int64()),
    ]
)
# Columns that tell one figure of a version and distance from another.
FIGURE_KEY = ("dataset", "split", "category", "measure", "k")
_COPIED_COLUMNS = ("distance", "dataset", "split", "measure", "k", "value", "low", "high")

Figure = Mapping[str, Any]


def retrieval_figures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return an encoder's results as figures.

    Args:
        rows: Rows of evaluation.json.

    Returns:
        Rows of FIGURES_SCHEMA.
    """
    figures = []
    for row in rows:
        figure = {
            "kind": "encoder",
            "version": row["encoder"],
            "category": ALL,
            "count": row["queries"],
        }
        figures.append(figure | {name: row[name] for name in _COPIED_COLUMNS})
    return figures


def category_figures(
    kind: str, version: str, dataset: str, split: str, rows: Iterable[CategoryMetrics]
) -> list[dict[str, Any]]:
    """Return a detector's or classifier's metrics as figures.

    Metrics that are NaN for every category do not apply and are left out.

    Args:
        kind: "detector" or "classifier".
        version: Its version.
        dataset: Name of the labelled set.
        split: Its split.
        rows: Metrics of every category.

    Returns:
        Rows of FIGURES_SCHEMA.
    """
    metrics = [asdict(row) for row in rows]
    fields = list(metrics[0]) if metrics else []
    names = [
        name
        for name in fields
        if name != "category" and not all(np.isnan(each[name]) for each in metrics)
    ]
    return [
        {
            "kind": kind,
            "version": version,
            "distance": "",
            "dataset": dataset,
            "split": split,
            "category": each["category"],
            "measure": name,
            "k": None,
            "value": float(each[name]),
            "low": None,
            "high": None,
            "count": each["truths"],
        }
        for each in metrics
        for name in names
    ]


def write_parquet(path: Path, figures: Iterable[Figure]) -> None:
    """Write the long table; NaN becomes null.

    Args:
        path: Parquet file to write.
        figures: Rows of FIGURES_SCHEMA.

    Raises:
        KeyError: A row lacks a column.
    """
    rows = [{name: _null_if_nan(f[name]) for name in FIGURES_SCHEMA.names} for f in figures]
    with atomic.replace_file(path) as hidden:
        pq.write_table(pa.Table.from_pylist(rows, FIGURES_SCHEMA), hidden)


def _null_if_nan(value: Any) -> Any:
    """Return None for NaN, and anything else as it is."""
    return spreadsheet.finite_or_none(value) if isinstance(value, float) else value
