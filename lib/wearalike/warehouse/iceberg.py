"""Register the published run as Apache Iceberg tables, for Trino, Snowflake, BigQuery or DuckDB.

Each published table becomes one Iceberg table with a column `run_version` before its own,
partitioned by it. The table `published_run` has one row: the run that is published, and its
version. A run that was made again has another version.

Iceberg commits one table at a time; of several tables at once only some catalogues know. So every
table gets the rows of the new version in one commit of its own, and `published_run` comes last. A
reader who takes the version from `published_run` first, and then the rows of that version, sees all
tables of one run. One who reads a table without naming a version sees the rows of several.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wearalike.operator_error import OperatorError
from wearalike.storage import run_order, run_tables
from wearalike.tables import LOADED_TABLES, Table
from wearalike.warehouse import publish
from wearalike.warehouse.export import find_publication

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table as IcebergTable

    from wearalike.settings import Settings

log = logging.getLogger("wearalike.warehouse")

POINTER_NAME = "published_run"
_VERSION_COLUMN = "run_version"
_SIGNATURE_CHARS = 12
_MAX_REASON_CHARS = 300
_POINTER_SCHEMA = pa.schema(
    [
        pa.field("run_version", pa.string(), nullable=False),
        pa.field("run", pa.string(), nullable=False),
        pa.field("published_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)


class NotRegistered(OperatorError):
    """The catalogue did not take the run; readers see the former one."""


def register_published_run(
    settings: Settings, catalogue: Catalog, namespace: str, keep: int
) -> str | None:
    """Register the run that the warehouse publishes.

    Args:
        settings: Name the data folder and the warehouse.
        catalogue: Iceberg's catalogue.
        namespace: The namespace of the tables, which is created.
        keep: Versions whose rows stay in the tables, at least 2: a reader may be at the former.

    Returns:
        The run; None if it is registered already.

    Raises:
        NotExported: Nothing is published, or the data folder has other tables.
        NotRegistered: Another writer was faster, or the catalogue refused.
        Unreachable: The warehouse did not answer.
    """
    publication = find_publication(settings)
    root, run = settings.data_dir, publication.run
    version = f"{run}@{publish.run_signature(root, run)[:_SIGNATURE_CHARS]}"
    with _explain_refusals(namespace):
        catalogue.create_namespace_if_not_exists(namespace)
        pointer = _open_table(catalogue, f"{namespace}.{POINTER_NAME}", _POINTER_SCHEMA)
        former = pointer.scan().to_arrow()[_VERSION_COLUMN].to_pylist()
        if former == [version]:
            return None
        registered = []
        for table in LOADED_TABLES:
            if run_tables.is_complete(root, table, run):
                name = f"{namespace}.{table.name}"
                found = _open_table(catalogue, name, _versioned_schema(table), is_versioned=True)
                _replace_rows(found, root, table, run, version)
                registered.append(found)
        row = {"run_version": version, "run": run, "published_at": publication.published_at}
        put = pointer.overwrite if pointer.current_snapshot() else pointer.append
        put(pa.Table.from_pylist([row], _POINTER_SCHEMA))
    with _explain_refusals(namespace):
        for found in registered:
            _remove_old_rows(found, {version, *former}, keep)
    return run


def _replace_rows(found: IcebergTable, root: Path, table: Table, run: str, version: str) -> None:
    """Put the rows of a version into a table by one commit; a killed call may have put them."""
    schema = _versioned_schema(table)
    with found.transaction() as transaction:
        if version in _list_versions(found):
            transaction.delete(f"{_VERSION_COLUMN} == '{version}'")
        for fragment in run_tables.open_dataset(root, table, run).get_fragments():
            rows = fragment.to_table(schema=table.arrow_schema)
            if rows.num_rows:
                named = [pa.array([version] * rows.num_rows, pa.string()), *rows.columns]
                transaction.append(pa.table(named, schema=schema))
    log.info("%s: %s", ".".join(found.name()), version)


def _remove_old_rows(found: IcebergTable, held: set[str], keep: int) -> None:
    """Remove the rows of all versions but the held ones and those that were put last.

    Args:
        found: The table.
        held: The published version, and the one before it, at which readers may be.
        keep: Versions that stay, with these.
    """
    put_at = _list_versions(found)

    def order(version: str) -> tuple[datetime, Any]:
        # Snapshots that have expired are older than all others, and tell no time.
        return put_at[version] or datetime.min, run_order.name_order(version.partition("@")[0])

    others = sorted(put_at.keys() - held, key=order)
    if gone := others[: max(0, len(others) - (keep - len(held)))]:
        # Names of runs hold no quotes.
        found.delete(f"{_VERSION_COLUMN} in ({', '.join(map(repr, gone))})")


def _list_versions(found: IcebergTable) -> dict[str, datetime | None]:
    """Return the versions that a table holds rows of, and when they were put, if that is known."""
    rows = found.inspect.partitions().to_pylist() if found.current_snapshot() else []
    return {row["partition"][_VERSION_COLUMN]: row["last_updated_at"] for row in rows}


def _open_table(
    catalogue: Catalog, name: str, schema: pa.Schema, *, is_versioned: bool = False
) -> IcebergTable:
    """Return a table with all columns of a schema; it is created if there is none."""
    found = catalogue.create_table_if_not_exists(name, schema=schema)
    if new := set(schema.names) - set(found.schema().column_names):
        # Rows of former versions lack them, so that Iceberg takes no required column.
        fields = [f.with_nullable(True) if f.name in new else f for f in schema]
        with found.update_schema() as update:
            update.union_by_name(pa.schema(fields))
    if is_versioned and not found.spec().fields:
        with found.update_spec() as spec:
            spec.add_identity(_VERSION_COLUMN)
    return found


def _versioned_schema(table: Table) -> pa.Schema:
    return pa.schema([pa.field(_VERSION_COLUMN, pa.string(), nullable=False), *table.arrow_schema])


@contextlib.contextmanager
def _explain_refusals(namespace: str) -> Iterator[None]:
    """Turn the catalogue's refusals in the block into one sentence."""
    from pyiceberg import exceptions

    try:
        yield
    except exceptions.CommitFailedException as error:  # also of a table that came meanwhile
        raise NotRegistered(
            f"{namespace}: another writer has changed a table meanwhile ({error}); run it again"
        ) from error
    except _list_refusals() as error:
        text = " ".join(str(error).split())[:_MAX_REASON_CHARS]
        raise NotRegistered(f"{namespace}: the catalogue refuses: {text}") from error


def _list_refusals() -> tuple[type[Exception], ...]:
    """Return the errors that a catalogue may raise: pyiceberg's own, and those of its database."""
    from pyiceberg import exceptions
    from sqlalchemy.exc import SQLAlchemyError

    own = [
        one
        for one in vars(exceptions).values()
        if isinstance(one, type) and issubclass(one, Exception)
    ]
    return (*own, SQLAlchemyError)
