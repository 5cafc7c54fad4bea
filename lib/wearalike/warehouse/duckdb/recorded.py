"""Rows that people add beside the runs, such as judgements: one SQLite file a table.

They come one at a time, from several processes, while others read; a DuckDB file has one writer and
no reader beside it. An earlier version wrote a Parquet file for each row. These are still read, and
moved into the SQLite file by the next row.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.tables import Table
from wearalike.warehouse.base import Rejected, Unreachable

# Another process writes one row, or moves an earlier version's.
_LOCK_WAIT_S = 60.0


def recorded_schema(table: Table) -> pa.Schema:
    """Return the schema of a recorded table: the run, then its columns."""
    return pa.schema([pa.field("run", pa.string(), nullable=False), *table.arrow_schema])


class RecordedRows:
    """The recorded rows of a warehouse; processes and threads may share its folder.

    Args:
        folder: Where the files are; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def may_add(self) -> bool:
        """Return True if this process may write the files."""
        there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        return os.access(there, os.W_OK)

    def add(self, run: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows, over rows of the same run and key, all of them or none.

        Args:
            run: The run.
            table: One of tables.RECORDED_TABLES.
            rows: Dicts with the table's columns.

        Raises:
            Unreachable: The file cannot be written.
            Rejected: A row lacks a column or a value.
        """
        schema = recorded_schema(table)
        added = pa.Table.from_pylist([{"run": run, **row} for row in rows], schema)
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._open(table, "rwc") as con:
            con.execute(_create_table_sql(table))
            con.execute("BEGIN IMMEDIATE")
            former_paths = self._former_paths(table)
            former = ds.dataset(former_paths, schema=schema, format="parquet").to_table()
            _insert_rows(con, table, former, "IGNORE")
            _insert_rows(con, table, added, "REPLACE")
            con.execute("COMMIT")
        # Until here readers have these rows from both, and take the file's.
        for path in former_paths:
            Path(path).unlink(missing_ok=True)

    def read(self, table: Table) -> pa.Table:
        """Return all rows, in the order of run and key.

        Args:
            table: One of tables.RECORDED_TABLES.

        Raises:
            Unreachable: The file cannot be read.
        """
        schema = recorded_schema(table)
        key = ["run", *table.key]
        while True:
            paths = self._former_paths(table)
            try:
                # First these: a process that moves them removes them at the end.
                former = ds.dataset(paths, schema=schema, format="parquet").to_table()
                break
            except FileNotFoundError:
                continue
        rows = {tuple(row[name] for name in key): row for row in former.to_pylist()}
        if self._path(table).exists():
            with self._open(table, "ro") as con:
                columns = ", ".join(schema.names)
                for values in con.execute(f"SELECT {columns} FROM {table.name}"):
                    row = dict(zip(schema.names, values, strict=True))
                    rows[tuple(row[name] for name in key)] = row
        return pa.Table.from_pylist([rows[at] for at in sorted(rows)], schema)

    def _path(self, table: Table) -> Path:
        return self._folder / f"{table.name}.sqlite"

    def _former_paths(self, table: Table) -> list[str]:
        """Return the files of an earlier version."""
        return sorted(map(str, (self._folder / table.name).glob("[!.]*.parquet")))

    @contextlib.contextmanager
    def _open(self, table: Table, mode: str) -> Iterator[sqlite3.Connection]:
        """Open the file of a table; an error rolls back. Raise Unreachable or Rejected."""
        path = self._path(table)
        try:
            with contextlib.closing(
                sqlite3.connect(
                    f"{path.absolute().as_uri()}?mode={mode}",
                    uri=True,
                    timeout=_LOCK_WAIT_S,
                    isolation_level=None,
                )
            ) as con:
                yield con
        except sqlite3.OperationalError as error:
            raise Unreachable(f"{path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Rejected(f"{path}: {error}") from error


def _create_table_sql(table: Table) -> str:
    columns = [f"{field.name} {_sqlite_type(field.type)}" for field in recorded_schema(table)]
    key = ", ".join(["run", *table.key])
    names = ", ".join(columns)
    return f"CREATE TABLE IF NOT EXISTS {table.name} ({names}, PRIMARY KEY ({key})) WITHOUT ROWID"


def _sqlite_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "INTEGER"
    return "REAL" if pa.types.is_floating(kind) else "TEXT"


def _insert_rows(con: sqlite3.Connection, table: Table, rows: pa.Table, on_conflict: str) -> None:
    """Insert rows; `on_conflict` is IGNORE or REPLACE."""
    places = ", ".join("?" * rows.num_columns)
    con.executemany(
        f"INSERT OR {on_conflict} INTO {table.name} ({', '.join(rows.column_names)})"
        f" VALUES ({places})",
        (tuple(row.values()) for row in rows.to_pylist()),
    )
