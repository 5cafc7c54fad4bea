"""What an upgrade asks of a PostgreSQL warehouse, which keeps its tables for ever; DuckDB makes a new file each run."""

from __future__ import annotations

from collections.abc import Iterator

from wearalike.tables import PUBLISHED, Table, ddl_columns
from wearalike.warehouse.base import current_view

# (table, column) of what is there.
Columns = set[tuple[str, str]]
COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'wearalike'"
# What the runs before get in a new column that refuses nulls; 0 in one of numbers.
_NOTHING = {"text": "''", "text[]": "'{}'"}


def differences(there: Columns) -> list[str]:
    """What is missing and what is unknown in the published tables, for people; empty where they are those of this version."""
    missing, extra = _missing(there), _extra(there)
    return [f"no {table}.{name}" for table, name in sorted(missing)] + [
        f"{table}.{name} is unknown" for table, name in sorted(extra)
    ]


def statements(there: Columns) -> Iterator[str]:
    """What brings the tables to those of this version, in one transaction, the published run with them.

    A view of a changed table is made anew, and what others built upon it is dropped. A changed type is not seen.
    """
    missing, extra = _missing(there), _extra(there)
    yield "BEGIN; SET search_path TO wearalike;"
    for table in (t for t in PUBLISHED if t.name in {name for name, _ in missing | extra}):
        if (table.name, "run") not in there:
            yield f"CREATE TABLE {table.name} ({', '.join(_lines(table).values())}) PARTITION BY LIST (run); {current_view(table)};"
            continue
        yield f"DROP VIEW IF EXISTS current_{table.name} CASCADE;"
        yield from (
            f"ALTER TABLE {table.name} DROP COLUMN {name};"
            for t, name in sorted(extra)
            if t == table.name
        )
        for name in (name for name in table.column_names if (table.name, name) in missing):
            yield from _addition(table, name)
        yield f"{current_view(table)};"
    yield "COMMIT;"


def _addition(table: Table, name: str) -> Iterator[str]:
    line = _lines(table)[name]
    if not line.endswith(" NOT NULL"):
        yield f"ALTER TABLE {table.name} ADD COLUMN {line};"
        return
    nothing = _NOTHING.get(line.removeprefix(f"{name} ").removesuffix(" NOT NULL"), "0")
    yield f"ALTER TABLE {table.name} ADD COLUMN {line} DEFAULT {nothing};"
    yield f"ALTER TABLE {table.name} ALTER COLUMN {name} DROP DEFAULT;"


def _lines(table: Table) -> dict[str, str]:
    """The DDL of each column, the run's first, by name."""
    lines = [line.strip() for line in ddl_columns(table, "postgresql").split(",\n")]
    return {line.split(" ")[0]: line for line in lines}


def _missing(there: Columns) -> Columns:
    return {
        (table.name, name) for table in PUBLISHED for name in ("run", *table.column_names)
    } - there


def _extra(there: Columns) -> Columns:
    known = {table.name: {"run", *table.column_names} for table in PUBLISHED}
    return {(table, name) for table, name in there if table in known and name not in known[table]}
