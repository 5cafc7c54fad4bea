"""The names that readers find over the attached files of runs, of earlier versions too."""

from __future__ import annotations

from dataclasses import asdict

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.tables import (
    LOADED_TABLES,
    QUALITY,
    RECORDED_TABLES,
    RENAMED_COLUMNS,
    Table,
    ddl_columns,
    former_value,
)
from wearalike.warehouse.base import WarehouseState
from wearalike.warehouse.duckdb.recorded import RecordedRows, recorded_schema

_PUBLICATIONS_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("published_at", pa.timestamp("us", "UTC")),
        ("kind", pa.string()),
        ("note", pa.string()),
    ]
)


def is_current(con: duckdb.DuckDBPyConnection, catalog: str, table: Table) -> bool:
    """Return whether a run's file has the table with the columns of this version."""
    return _column_names(con, catalog, table) == ["run", *table.column_names]


def select_current(
    con: duckdb.DuckDBPyConnection, catalog: str, table: Table, view: str | None = None
) -> str:
    """Return a SELECT of a run's table, or of a view on it, with the columns of this version.

    A file of an earlier version may name a column otherwise, or lack it: it is then null, or empty
    where it must not be null. A table that is not there has no rows.
    """
    if is_current(con, catalog, table):
        return f"SELECT * FROM {catalog}.{view or table.name}"
    present = _column_names(con, catalog, table)
    former = {new: old for old, new in RENAMED_COLUMNS.get(table.name, {}).items()}
    definitions = [line.split() for line in ddl_columns(table, "duckdb").split(",")]
    types = {name: sql_type for name, sql_type, *_ in definitions}
    columns = ["run" if present else "CAST(NULL AS VARCHAR) AS run"]
    for column in table.columns:
        name = column.name
        if name in present:
            columns.append(name)
        elif former.get(name) in present:
            columns.append(f"{former[name]} AS {name}")
        else:
            value = _quote_value(former_value(table, column))
            columns.append(f"CAST({value} AS {types[name]}) AS {name}")
    source = f"FROM {catalog}.{view or table.name}" if present else "WHERE false"
    return f"SELECT {', '.join(columns)} {source}"


def _column_names(con: duckdb.DuckDBPyConnection, catalog: str, table: Table) -> list[str]:
    """Return the columns of a run's table in their order; none where it is not there."""
    rows = con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = $1 AND table_name = $2"
        " ORDER BY column_index",
        [catalog, table.name],
    ).fetchall()
    return [name for (name,) in rows]


def create_views(
    con: duckdb.DuckDBPyConnection,
    state: WarehouseState,
    catalogs: dict[str, str],
    recorded: RecordedRows,
    former_quality: tuple[ds.Dataset, ds.Dataset, list[str]] | None,
    statement: str,
) -> None:
    """Give the connection the names that PostgreSQL has, over the attached files.

    A file of an earlier version may lack a table.

    Args:
        con: The connection.
        state: The loads and publications.
        catalogs: The name of each run's file in the connection, the newest load first.
        recorded: The recorded rows.
        former_quality: The quality of other runs, of `QualityHistory.open_datasets`; None where the
            newest file has that of all.
        statement: The statement to come. Recorded tables that it does not name are not read.
    """
    there = set(con.execute("SELECT database_name, table_name FROM duckdb_tables()").fetchall())
    for table in LOADED_TABLES:
        con.execute(f"CREATE TABLE no_{table.name} (\n    {ddl_columns(table, 'duckdb')}\n)")
        held = {run: c for run, c in catalogs.items() if (c, table.name) in there}
        selects = {run: select_current(con, c, table) for run, c in held.items()}
        parts = [f"SELECT * FROM no_{table.name}"]
        if table is not QUALITY:
            parts += selects.values()
        elif former_quality is None:
            parts += list(selects.values())[:1]
        else:
            # The file of an earlier version has the quality of other runs, too.
            parts += [f"{select} WHERE run = {_quote(run)}" for run, select in selects.items()]
            own, merged, counted = former_quality
            con.register("former_quality", own)
            con.register("merged_quality", merged)
            parts.append("SELECT * FROM former_quality")
            is_other = f"WHERE run NOT IN ({', '.join(map(_quote, counted))})" if counted else ""
            parts.append(f"SELECT * FROM merged_quality {is_other}")
        con.execute(f"CREATE VIEW {table.name} AS {' UNION ALL BY NAME '.join(parts)}")
        shown = f"SELECT * FROM no_{table.name}"
        if state.published_run in held:
            view = f"current_{table.name}"
            shown = select_current(con, held[state.published_run], table, view)
        con.execute(f"CREATE VIEW current_{table.name} AS {shown}")
    for table in RECORDED_TABLES:
        # One that is not read is there all the same, for statements that ask if it exists.
        is_named = table.name in statement.lower()
        rows = recorded.read(table) if is_named else recorded_schema(table).empty_table()
        con.register(table.name, rows)
    moves = [asdict(move) | {"kind": str(move.kind)} for move in state.publications]
    con.register("publications", pa.Table.from_pylist(moves, _PUBLICATIONS_SCHEMA))


def _quote_value(value: str | int | list[str] | None) -> str:
    """Return a value of `former_value` as a literal of SQL."""
    if value is None:
        return "NULL"
    return _quote(value) if isinstance(value, str) else str(value)


def _quote(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
