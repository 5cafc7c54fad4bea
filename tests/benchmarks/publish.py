"""Publishing: rows into PostgreSQL beside psql's COPY of them, and into DuckDB."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    exponent,
    median_seconds,
    seconds,
)
from tests.support.postgres_server import create_database, start_server

from wearalike.models import registry
from wearalike.search.reasons import describe_likeness
from wearalike.tables import PUBLISHED_TABLES, SIMILAR_PRODUCTS
from wearalike.warehouse.base import Warehouse, open_warehouse

ROWS, ROWS_FULL = 400_000, 20_000_000
# DuckDB takes them in less time than a load costs whatever its size, if they are few.
DUCKDB_ROWS = 2_000_000
DUCKDB_ROWS_S = 2_000_000


def recommendations(rows: int) -> pa.Table:
    """Lists of 20, as a night writes them."""
    numbers = np.arange(rows)
    products = pa.array([f"shop:{n:08}" for n in range(-(-rows // 20) + 100)])
    texts = {
        "detector": registry.DETECTORS["garments"].version,
        "encoder": registry.ENCODERS[registry.DEFAULT_ENCODER].version,
        "reason": describe_likeness(32, 30, 30, "en"),
        "reason_ru": describe_likeness(32, 30, 30, "ru"),
    }
    columns = {
        "product_id": products.take(pa.array(numbers // 20)),
        "rank": numbers % 20 + 1,
        "similar_product_id": products.take(pa.array(numbers // 20 + numbers % 20 + 1)),
        "item_id": products.take(pa.array(numbers // 20)),
        "similar_item_id": products.take(pa.array(numbers // 20 + numbers % 20 + 1)),
        **{name: 1 - numbers % 20 / 20 for name in ("score", "shape_score", "colour_score")},
        **{name: numbers % 128 for name in ("shape_distance", "colour_distance")},
        "shape_weight": np.full(rows, 2),
        "colour_weight": np.full(rows, 8),
        "kind_weight": np.full(rows, 5),
        "kind_score": np.full(rows, 0.5),
        "kind_distance": np.full(rows, 32),
        "colour_name_distance": np.full(rows, 8),
        **{name: pa.repeat(text, rows) for name, text in texts.items()},
        **{name: pa.nulls(rows, pa.string()) for name in ("rule", "fallback")},
    }
    return pa.table({name: columns[name] for name in SIMILAR_PRODUCTS.column_names}).cast(
        SIMILAR_PRODUCTS.arrow_schema
    )


def load_warehouse(warehouse: Warehouse, rows: pa.Table) -> None:
    tables = {table.name: table.arrow_schema.empty_table() for table in PUBLISHED_TABLES} | {
        SIMILAR_PRODUCTS.name: rows
    }
    counts = {name: table.num_rows for name, table in tables.items()}
    warehouse.load(
        "night", {name: ds.dataset(table) for name, table in tables.items()}, counts, "bench"
    )


def copy_with_psql(address: str, columns: str, csv: Path) -> None:
    """The same rows into a table of the same columns, with the same indexes:
    all that a reader of them needs.
    """
    key, names = ", ".join(SIMILAR_PRODUCTS.key), ", ".join(SIMILAR_PRODUCTS.column_names)
    script = [
        "DROP TABLE IF EXISTS copied",
        "BEGIN",
        f"CREATE TABLE copied ({columns}, run text NOT NULL DEFAULT 'night')",
        f"\\copy copied ({names}) FROM '{csv}' (FORMAT csv, FREEZE)",
        f"CREATE UNIQUE INDEX ON copied ({key})",
        *(f"CREATE INDEX ON copied ({column})" for column in SIMILAR_PRODUCTS.lookup_columns),
        "ANALYZE copied",
        "COMMIT",
    ]
    commands = [part for command in script for part in ("-c", command)]
    subprocess.run(
        ["psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", address, *commands],
        check=True,
        capture_output=True,
    )


def postgres(options: BenchOptions) -> BenchResult:
    count = ROWS_FULL if options.full else ROWS
    rows, types = (
        recommendations(count),
        {pa.int32(): "integer", pa.float64(): "double precision", pa.string(): "text"},
    )
    columns = ", ".join(
        f"{c.name} {types[c.type]}{'' if c.nullable else ' NOT NULL'}"
        for c in SIMILAR_PRODUCTS.columns
    )
    with tempfile.TemporaryDirectory() as folder, start_server() as address:
        csv = Path(folder) / "rows.csv"
        pyarrow.csv.write_csv(rows, csv, pyarrow.csv.WriteOptions(include_header=False))
        here = create_database(address, "bench")
        warehouse = open_warehouse(here)
        sizes = [count // 4, count // 2, count]
        growth = exponent(
            sizes,
            [
                seconds(lambda size=size: load_warehouse(warehouse, rows.slice(0, size)))
                for size in sizes
            ],
        )
        ours_s, peer_s = median_seconds(
            [lambda: load_warehouse(warehouse, rows), lambda: copy_with_psql(here, columns, csv)]
        )
    version = subprocess.run(
        ["psql", "--version"], check=True, capture_output=True, text=True
    ).stdout.split()[2]
    settings = (
        f"psql {version} \\copy of CSV with FREEZE, the same indexes and ANALYZE, "
        f"{count} rows, fsync off for both"
    )
    ratio = peer_s / ours_s
    return BenchResult(
        "publish",
        count / ours_s,
        count / peer_s,
        "rows/s",
        ratio,
        "≥ 0.8",
        ratio >= 0.8,
        RUNS,
        settings,
        growth,
    )


def in_duckdb(options: BenchOptions) -> BenchResult:
    count = ROWS_FULL if options.full else DUCKDB_ROWS
    rows = recommendations(count)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = open_warehouse(f"duckdb:{folder}")
        sizes = [count // 4, count // 2, count]
        growth = exponent(
            sizes,
            [
                seconds(lambda size=size: load_warehouse(warehouse, rows.slice(0, size)))
                for size in sizes
            ],
        )
        (ours_s,) = median_seconds([lambda: load_warehouse(warehouse, rows)])
    rate = count / ours_s
    settings = f"2 M rows/s, duckdb {duckdb.__version__}, {count} rows, synced"
    reached = rate >= DUCKDB_ROWS_S
    return BenchResult(
        "publish, DuckDB",
        rate,
        DUCKDB_ROWS_S,
        "rows/s",
        rate / DUCKDB_ROWS_S,
        "≥ 1",
        reached,
        RUNS,
        settings,
        growth,
    )


BENCHES = (postgres, in_duckdb)
