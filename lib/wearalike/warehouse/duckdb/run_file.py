"""Build the file of a run: its tables, and the views that show it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.tables import LOADED_TABLES, Table, ddl_columns
from wearalike.warehouse.base import Rejected, RunLoad
from wearalike.warehouse.duckdb.connection import CONNECTION_CONFIG, translate_errors
from wearalike.warehouse.loaded_rows import (
    check_row_count,
    clean_batches,
    current_view_ddl,
    find_rows,
)

# Rows of a row group, which DuckDB writes at once. Batches of this size cost a quarter less than
# small ones, which it first has to join.
ROW_GROUP_ROWS = 122_880
# number counts the loads of the folder.
_LOAD_TABLE_DDL = """CREATE TABLE load (
    run VARCHAR, signature VARCHAR, loaded_at TIMESTAMPTZ, counts JSON, struck_count BIGINT,
    number BIGINT
)"""


def build_run_file(
    path: Path,
    run: str,
    rows: Mapping[str, ds.Dataset],
    counts: Mapping[str, int],
    signature: str,
    number: int,
) -> tuple[RunLoad, pa.Table]:
    """Build the file of a run.

    Args:
        path: The file, which is not there.
        run: The run.
        rows: Datasets by table name.
        counts: Expected rows by table name.
        signature: See `publish.run_signature`.
        number: The number of the load in its folder.

    Returns:
        The load, and the run's rows of `quality`.

    Raises:
        Rejected: As of `base.Warehouse.load`.
        Unreachable: The disk has no room.
    """
    struck: Counter[str] = Counter()
    with translate_errors(f"{path}: "), duckdb.connect(path, config=CONNECTION_CONFIG) as con:
        # The run that the views of this file show.
        con.execute("CREATE TABLE published AS SELECT $1 AS run", [run])
        for table in LOADED_TABLES:
            con.execute(f"CREATE TABLE {table.name} (\n    {ddl_columns(table, 'duckdb')}\n)")
            check_row_count(
                run, table, _copy_rows(con, run, table, find_rows(rows, table), struck), counts
            )
            con.execute(current_view_ddl(table))
        con.execute(_LOAD_TABLE_DDL)
        made = RunLoad(run, signature, datetime.now(UTC), dict(counts), struck.total())
        con.execute(
            "INSERT INTO load VALUES ($1, $2, $3, $4, $5, $6)",
            [
                run,
                signature,
                made.loaded_at,
                json.dumps(made.counts),
                made.struck_count,
                number,
            ],
        )
        quality = con.sql("SELECT * FROM quality").to_arrow_table()
        con.execute("FORCE CHECKPOINT")
    return made, quality


def _copy_rows(
    con: duckdb.DuckDBPyConnection, run: str, table: Table, rows: ds.Dataset, struck: Counter[str]
) -> int:
    """Copy the rows and return how many. Raises Rejected where a key comes twice."""
    con.register(
        "incoming",
        pa.RecordBatchReader.from_batches(
            table.arrow_schema, clean_batches(table, rows, struck, ROW_GROUP_ROWS)
        ),
    )
    (count,) = con.execute(
        f"INSERT INTO {table.name} SELECT $1, * FROM incoming", [run]
    ).fetchall()[0]
    con.unregister("incoming")
    key = ", ".join(table.key)
    # As many distinct hashes as rows means that no key comes twice, at two thirds of the cost of
    # comparing keys. With fewer, two different keys may still share a hash.
    (hashes_count,) = con.execute(
        f"SELECT count(DISTINCT hash({key})) FROM {table.name}"
    ).fetchall()[0]
    if hashes_count == count:
        return count
    twice = con.execute(
        f"SELECT {key} FROM {table.name} GROUP BY {key} HAVING count(*) > 1 ORDER BY {key} LIMIT 1"
    ).fetchall()
    if twice:
        values = dict(zip(table.key, twice[0], strict=True))
        raise Rejected(f"{table.name} of run {run}: the key {values} comes twice")
    return count
