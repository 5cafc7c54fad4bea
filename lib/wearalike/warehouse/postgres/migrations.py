"""Bring the tables of a PostgreSQL warehouse to those of this version.

PostgreSQL keeps its tables for ever, so an upgrade must change them. DuckDB writes a new file for
each run and needs no migration.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from wearalike.tables import (
    LOADED_TABLES,
    RENAMED_COLUMNS,
    Table,
    ddl_columns,
    former_value,
)
from wearalike.warehouse.loaded_rows import current_view_ddl

# (table, column) of every column that the warehouse has.
TableColumns = set[tuple[str, str]]
COLUMNS_SQL = """
SELECT table_name, column_name, is_nullable = 'NO' AS is_required
FROM information_schema.columns WHERE table_schema = 'wearalike'
"""
_NOTHING: frozenset[tuple[str, str]] = frozenset()


def schema_differences(
    existing: TableColumns, required: AbstractSet[tuple[str, str]] = _NOTHING
) -> list[str]:
    """Return how the published tables differ from those of this version, one text for each.

    Args:
        existing: The rows of `COLUMNS_SQL`.
        required: Those of them that are required.

    Returns:
        Missing tables and columns, then unknown and renamed columns, and those that may now be
        null; empty where nothing differs.
    """
    renamed = _renamed_columns(existing)
    present = {table for table, _ in existing}
    missing = sorted(_missing_columns(existing))
    return (
        [f"no table {name}" for name in sorted({table for table, _ in missing} - present)]
        + [f"no {table}.{name}" for table, name in missing if table in present]
        + [f"{table}.{name} is unknown" for table, name in sorted(_unknown_columns(existing))]
        + [f"{table}.{old} is now named {new}" for (table, old), new in sorted(renamed.items())]
        + [f"{table}.{name} may now be null" for table, name in _freed_columns(required)]
    )


def migration_statements(
    existing: TableColumns, required: AbstractSet[tuple[str, str]] = _NOTHING
) -> Iterator[str]:
    """Yield the SQL statements that bring the tables to this version, in one transaction.

    Rows of loaded runs stay; a renamed column keeps its values. The view of a changed table is
    created again, and views that others built upon it are dropped. A column whose type changed is
    not noticed.

    Args:
        existing: The rows of `COLUMNS_SQL`.
        required: Those of them that are required.
    """
    missing = _missing_columns(existing)
    unknown = _unknown_columns(existing)
    renamed = _renamed_columns(existing)
    changed = {table for table, _ in (*missing, *unknown, *renamed)}
    yield "BEGIN; SET search_path TO wearalike;"
    for table in (t for t in LOADED_TABLES if t.name in changed):
        if (table.name, "run") not in existing:
            columns = ", ".join(_column_definitions(table).values())
            yield f"CREATE TABLE {table.name} ({columns}) PARTITION BY LIST (run);"
            yield f"{current_view_ddl(table)};"
            continue
        yield f"DROP VIEW IF EXISTS current_{table.name} CASCADE;"
        for (owner, old), new in sorted(renamed.items()):
            if owner == table.name:
                yield f"ALTER TABLE {table.name} RENAME COLUMN {old} TO {new};"
        for owner, name in sorted(unknown):
            if owner == table.name:
                yield f"ALTER TABLE {table.name} DROP COLUMN {name};"
        for name in table.column_names:
            if (table.name, name) in missing:
                yield from _add_column_statements(table, name)
        yield f"{current_view_ddl(table)};"
    for owner, name in _freed_columns(required):
        yield f"ALTER TABLE {owner} ALTER COLUMN {name} DROP NOT NULL;"
    yield "COMMIT;"


def _add_column_statements(table: Table, name: str) -> Iterator[str]:
    """Yield the statements that add a column, with an empty value in the rows that are there."""
    definition = _column_definitions(table)[name]
    if not definition.endswith(" NOT NULL"):
        yield f"ALTER TABLE {table.name} ADD COLUMN {definition};"
        return
    (column,) = [column for column in table.columns if column.name == name]
    value = former_value(table, column)
    empty = value if isinstance(value, int) else "'{}'" if value == [] else f"'{value}'"
    yield f"ALTER TABLE {table.name} ADD COLUMN {definition} DEFAULT {empty};"
    yield f"ALTER TABLE {table.name} ALTER COLUMN {name} DROP DEFAULT;"


def _column_definitions(table: Table) -> dict[str, str]:
    """Return the DDL of each column by name, the run's first."""
    lines = [line.strip() for line in ddl_columns(table, "postgresql").split(",\n")]
    return {line.split(" ")[0]: line for line in lines}


def _renamed_columns(existing: TableColumns) -> dict[tuple[str, str], str]:
    """Return the present name of every column that still has the name of an earlier version."""
    return {
        (table, old): new
        for table, names in RENAMED_COLUMNS.items()
        for old, new in names.items()
        if (table, old) in existing and (table, new) not in existing
    }


def _missing_columns(existing: TableColumns) -> TableColumns:
    """Return the columns of this version that are not there under any name."""
    wanted = {
        (table.name, name) for table in LOADED_TABLES for name in ("run", *table.column_names)
    }
    renamed = {(table, new) for (table, _), new in _renamed_columns(existing).items()}
    return wanted - existing - renamed


def _freed_columns(required: AbstractSet[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the required columns that may be null in this version, by their present names."""
    nullable = {(t.name, c.name) for t in LOADED_TABLES for c in t.columns if c.nullable}
    present = {(t, RENAMED_COLUMNS.get(t, {}).get(name, name)) for t, name in required}
    return sorted(nullable & present)


def _unknown_columns(existing: TableColumns) -> TableColumns:
    """Return the columns of published tables that this version does not know."""
    known = {table.name: {"run", *table.column_names} for table in LOADED_TABLES}
    renamed = _renamed_columns(existing)
    return {
        (table, name)
        for table, name in existing
        if table in known and name not in known[table] and (table, name) not in renamed
    }
