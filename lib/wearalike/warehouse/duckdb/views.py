"""The names that readers find over the attached files of runs, of earlier versions too."""

from __future__ import annotations

import duckdb

from wearalike.tables import (
    PUBLISHED_TABLES,
    QUALITY,
    RECORDED_TABLES,
    RENAMED_COLUMNS,
    Table,
    ddl_columns,
)
from wearalike.warehouse.base import WarehouseState
from wearalike.warehouse.duckdb.recorded import RecordedRows


def renamed_columns(con: duckdb.DuckDBPyConnection, catalog: str, table: Table) -> dict[str, str]:
    """Return the columns of a run's table that an earlier version named otherwise: old to new."""
    names = RENAMED_COLUMNS.get(table.name, {})
    present = con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = $1 AND table_name = $2",
        [catalog, table.name],
    ).fetchall()
    return {old: new for old, new in names.items() if (old,) in present}


def select_renamed(
    con: duckdb.DuckDBPyConnection, catalog: str, table: Table, view: str | None = None
) -> str:
    """Return a SELECT of a run's table, or of a view on it, with the present column names."""
    renames = renamed_columns(con, catalog, table)
    listed = ", ".join(f"{old} AS {new}" for old, new in renames.items())
    columns = f"* RENAME ({listed})" if renames else "*"
    return f"SELECT {columns} FROM {catalog}.{view or table.name}"


def create_views(
    con: duckdb.DuckDBPyConnection,
    state: WarehouseState,
    catalogs: dict[str, str],
    recorded: RecordedRows,
) -> None:
    """Give the connection the names that PostgreSQL has, over the attached files.

    A file of an earlier version may lack a table.
    """
    there = set(con.execute("SELECT database_name, table_name FROM duckdb_tables()").fetchall())
    for table in PUBLISHED_TABLES:
        con.execute(f"CREATE TABLE no_{table.name} (\n    {ddl_columns(table, 'duckdb')}\n)")
        # The newest file holds the quality of every run, pruned ones too.
        held = [
            c
            for c in list(catalogs.values())[: 1 if table is QUALITY else None]
            if (c, table.name) in there
        ]
        parts = [
            f"SELECT * FROM no_{table.name}",
            *(select_renamed(con, catalog, table) for catalog in held),
        ]
        con.execute(f"CREATE VIEW {table.name} AS {' UNION ALL BY NAME '.join(parts)}")
        published = catalogs.get(state.published_run or "")
        shown = f"SELECT * FROM no_{table.name}"
        if published in held:
            shown = select_renamed(con, published, table, f"current_{table.name}")
        con.execute(f"CREATE VIEW current_{table.name} AS {shown}")
    for table in RECORDED_TABLES:
        con.register(table.name, recorded.read(table))
    con.execute(
        "CREATE TABLE publications"
        " (run VARCHAR, published_at TIMESTAMPTZ, kind VARCHAR, note VARCHAR)"
    )
    for move in state.publications:
        con.execute(
            "INSERT INTO publications VALUES ($1, $2, $3, $4)",
            [move.run, move.published_at, str(move.kind), move.note],
        )
