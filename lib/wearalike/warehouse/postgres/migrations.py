"""What an upgrade asks of a PostgreSQL warehouse, which keeps its tables for ever; DuckDB makes a new file each run."""

from __future__ import annotations

from collections.abc import Iterator

from wearalike.tables import PUBLISHED_TABLES, Table, ddl_columns
from wearalike.warehouse.base import current_view_ddl

# (table, column) of what is there.
TableColumns = set[tuple[str, str]]
COLUMNS_SQL = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'wearalike'"
# What the runs before get in a new column that refuses nulls; 0 in one of numbers.
_EMPTY_VALUES = {"text": "''", "text[]": "'{}'"}


def schema_differences(existing: TableColumns) -> list[str]:
    """What is missing and what is unknown in the published tables, for people; empty where they are those of this version."""
    missing, extra = _missing_columns(existing), _unknown_columns(existing)
    return [f"no {table}.{name}" for table, name in sorted(missing)] + [
        f"{table}.{name} is unknown" for table, name in sorted(extra)
    ]


def migration_statements(existing: TableColumns) -> Iterator[str]:
    """What brings the tables to those of this version, in one transaction, the published run with them.

    A view of a changed table is made anew, and what others built upon it is dropped. A changed type is not seen.
    """
    missing, extra = _missing_columns(existing), _unknown_columns(existing)
    yield "BEGIN; SET search_path TO wearalike;"
    for table in (t for t in PUBLISHED_TABLES if t.name in {name for name, _ in missing | extra}):
        if (table.name, "run") not in existing:
            yield f"CREATE TABLE {table.name} ({', '.join(_column_definitions(table).values())}) PARTITION BY LIST (run); {current_view_ddl(table)};"
            continue
        yield f"DROP VIEW IF EXISTS current_{table.name} CASCADE;"
        yield from (
            f"ALTER TABLE {table.name} DROP COLUMN {name};"
            for t, name in sorted(extra)
            if t == table.name
        )
        for name in (name for name in table.column_names if (table.name, name) in missing):
            yield from _add_column_statements(table, name)
        yield f"{current_view_ddl(table)};"
    yield "COMMIT;"


def _add_column_statements(table: Table, name: str) -> Iterator[str]:
    line = _column_definitions(table)[name]
    if not line.endswith(" NOT NULL"):
        yield f"ALTER TABLE {table.name} ADD COLUMN {line};"
        return
    nothing = _EMPTY_VALUES.get(line.removeprefix(f"{name} ").removesuffix(" NOT NULL"), "0")
    yield f"ALTER TABLE {table.name} ADD COLUMN {line} DEFAULT {nothing};"
    yield f"ALTER TABLE {table.name} ALTER COLUMN {name} DROP DEFAULT;"


def _column_definitions(table: Table) -> dict[str, str]:
    """The DDL of each column, the run's first, by name."""
    lines = [line.strip() for line in ddl_columns(table, "postgresql").split(",\n")]
    return {line.split(" ")[0]: line for line in lines}


def _missing_columns(existing: TableColumns) -> TableColumns:
    return {
        (table.name, name) for table in PUBLISHED_TABLES for name in ("run", *table.column_names)
    } - existing


def _unknown_columns(existing: TableColumns) -> TableColumns:
    known = {table.name: {"run", *table.column_names} for table in PUBLISHED_TABLES}
    return {
        (table, name) for table, name in existing if table in known and name not in known[table]
    }
