"""Read and write the tables of a run: in batches, whole or not at all, counted.

| path | content |
|---|---|
| <data_dir>/<table>/run=<run>/part-*.parquet | the rows |
| <data_dir>/<table>/run=<run>/_refused.parquet | rows refused on the way to this table |
| <data_dir>/<table>/run=<run>/_manifest.json | counts, parameters, file hashes; written last |

A table's folder is filled under a hidden name, synced, and renamed when whole. A reader sees all of
it or nothing. The data folder may be the cache of an object store (`storage.mirror`). Then the
manifest in the store is the commit, and files come when they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike import tables
from wearalike.operator_error import OperatorError
from wearalike.settings import RUN_PATTERN
from wearalike.storage import atomic, mirror, run_order
from wearalike.storage.checked_files import hash_file
from wearalike.storage.object_store import ObjectVersion
from wearalike.storage.stored_tables import WriterConflict
from wearalike.storage.table_writer import TableWriter
from wearalike.tables import REFUSED, Table

log = logging.getLogger("wearalike.storage")

# Rows that readers take at a time.
BATCH_ROWS = 8192


class TableNotFound(FileNotFoundError):
    """No stage has finished this table of the run."""


class CorruptTable(ValueError):
    """A file of a finished table differs from the one that was written."""


class RowCountMismatch(OperatorError):
    """Rows taken differ from rows written plus refused: a row got lost or came twice."""


def table_dir(root: Path, table: Table, run: str) -> Path:
    """Return the folder of a run's table, which need not exist.

    Raises:
        ValueError: The run cannot be the name of a folder.
    """
    if not RUN_PATTERN.fullmatch(run):
        raise ValueError(
            f"run {run!r}: wanted letters, digits, '_', '.', '-', at most 64, e.g. 2026-11-21"
        )
    return root / table.name / f"run={run}"


def read_manifest(root: Path, table: Table, run: str) -> dict[str, Any]:
    """Return the manifest (`_manifest.json`) of a finished table.

    Raises:
        TableNotFound: The table is not finished.
        CorruptTable: The file is damaged.
    """
    path = table_dir(root, table, run) / "_manifest.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(facts["files"], dict):
            raise TypeError
        return facts
    except (ValueError, TypeError, LookupError) as error:
        raise CorruptTable(f"{path}: damaged; run the table's job again with --force") from error
    except FileNotFoundError as error:
        raise TableNotFound(
            f"{path}: table {table.name} of run {run} is not made; run its job first"
        ) from error


def is_complete(root: Path, table: Table, run: str, signature: str | None = None) -> bool:
    """Return True if the table is finished.

    Args:
        root: The data folder.
        table: The table.
        run: The run.
        signature: If given, the table must also have this signature: same inputs and parameters.
    """
    try:
        facts = read_manifest(root, table, run)
        return signature is None or facts["signature"] == signature
    except TableNotFound:
        return False


def list_runs(root: Path, table: Table) -> list[str]:
    """Return the runs that have finished this table, oldest first; see `run_order`."""
    names = (
        p.parent.name.removeprefix("run=") for p in (root / table.name).glob("run=*/_manifest.json")
    )
    return sorted(names, key=run_order.name_order)


def list_earlier_runs(root: Path, table: Table, run: str) -> list[str]:
    """Return the runs before one that have finished this table, oldest first.

    Args:
        root: The data folder.
        table: The table.
        run: The run, which need not have the table.
    """
    own = run_order.name_order(run)
    return [other for other in list_runs(root, table) if run_order.name_order(other) < own]


def fetch_files(
    root: Path, table: Table, run: str, is_wanted: Callable[[str], bool] = lambda name: True
) -> Path:
    """Return the folder of a table once files that its manifest names are there.

    Nothing is to be done where the data folder is no cache of an object store.

    Args:
        root: The data folder.
        table: The table, which need not be finished.
        run: The run.
        is_wanted: Chooses files by their names; default: all.

    Raises:
        StoreFault: A file cannot be fetched.
    """
    if found := mirror.find_mirror(root):
        found.tables.fetch(table.name, run, is_wanted)
    return table_dir(root, table, run)


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def open_dataset(root: Path, table: Table, run: str) -> ds.Dataset:
    """Open a finished table as an Arrow dataset, which is read lazily.

    Only the parts named in the manifest are read; other files in the folder are ignored.

    Raises:
        TableNotFound: The table is not finished.
    """
    folder = fetch_files(root, table, run, _is_part)
    parts = sorted(name for name in read_manifest(root, table, run)["files"] if _is_part(name))
    return ds.dataset(
        [str(folder / name) for name in parts], schema=table.arrow_schema, format="parquet"
    )


def read_table(root: Path, table: Table, run: str, columns: list[str] | None = None) -> pa.Table:
    """Read a finished table into memory, in file order.

    Args:
        root: The data folder.
        table: The table.
        run: The run.
        columns: Names of the columns to read; None for all.

    Raises:
        TableNotFound: The table is not finished.
    """
    return open_dataset(root, table, run).to_table(columns=columns)


def read_refused(root: Path, run: str) -> pa.Table:
    """Return the refused rows (tables.REFUSED) of all finished stages, in the data's order."""
    parts = []
    for table in tables.TABLES:
        path = fetch_files(root, table, run, "_refused.parquet".__eq__)
        if (path / "_manifest.json").exists() and (path / "_refused.parquet").exists():
            parts.append(pq.read_table(path / "_refused.parquet", schema=REFUSED.arrow_schema))
    return pa.concat_tables(parts) if parts else REFUSED.arrow_schema.empty_table()


def check_files(root: Path, table: Table, run: str) -> None:
    """Compare the files of a finished table with the hashes in its manifest.

    Raises:
        CorruptTable: A file is missing or differs.
        TableNotFound: The table is not finished.
    """
    folder = fetch_files(root, table, run)
    for name, wanted in read_manifest(root, table, run)["files"].items():
        path = folder / name
        if not path.is_file():
            fault = "gone, and _manifest.json names it"
        elif (found := sha256(path)) != wanted:
            fault = f"sha256 {found}, _manifest.json says {wanted}"
        else:
            continue
        raise CorruptTable(f"{path}: {fault}; run the table's job again with --force")


def signature(inputs: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """Return a hash (SHA-256, hex) over what a table is made from. Equal hashes promise equal rows.

    Args:
        inputs: Input hash by name, see `input_hash`.
        parameters: Everything else that changes the rows; values must be JSON or have a stable
            `str`.
    """
    text = json.dumps(
        {"inputs": dict(inputs), "parameters": dict(parameters)}, sort_keys=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def write_table(
    root: Path,
    table: Table,
    run: str,
    signature: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    version_before: TableVersion | None = None,
) -> Iterator[TableWriter]:
    """Write a run's table whole or not at all.

    At the end of the block the counts are checked and everything is synced. Then the manifest is
    written and the folder renamed into place, over a table made from other inputs. After an
    exception nothing is left. If two writers have the same signature, the first to finish wins.

    Args:
        root: The data folder.
        table: The table.
        run: The run.
        signature: See `signature`.
        parameters: Written into the manifest.
        version_before: The table's version when the work began; default: now. A table with another
            signature that came since then stays.

    Yields:
        The writer of the table.

    Raises:
        RowCountMismatch: `rows_taken` differs from rows written plus refused.
        atomic.Superseded: Another process finished the table from other inputs meanwhile.
        atomic.DiskFull: The disk has no room.

    Example:
        >>> with write_table(root, CODES, run, signature(inputs, parameters)) as writer:
        ...     writer.write(rows)
    """
    target = table_dir(root, table, run)
    version_before = version_before or table_version(root, table, run)
    with atomic.staging_dir(target) as hidden:
        writer = TableWriter(table, hidden)
        yield writer
        writer.close()
        refused_count = sum(writer.refusal_counts.values())
        taken = (
            writer.rows_written + refused_count if writer.rows_taken is None else writer.rows_taken
        )
        if taken != writer.rows_written + refused_count:
            raise RowCountMismatch(
                f"{table.name} of run {run}: {taken} taken, {writer.rows_written} written,"
                f" {refused_count} refused"
            )
        files = {
            p.relative_to(hidden).as_posix(): sha256(p)
            for p in sorted(hidden.rglob("*"))
            if p.is_file()
        }
        facts = {
            "table": table.name,
            "run": run,
            "signature": signature,
            "rows": {
                "taken": taken,
                "written": writer.rows_written,
                "refused": dict(sorted(writer.refusal_counts.items())),
            },
            "parameters": dict(parameters or {}),
            "files": files,
            **writer.manifest_extras,
        }
        (hidden / "_manifest.json").write_text(
            json.dumps(facts, indent=1, sort_keys=True, default=str) + "\n", encoding="utf-8"
        )
        atomic.fsync_tree(hidden)
        if store := mirror.find_mirror(root):
            _commit_to_store(store, hidden, table, run, signature, version_before)
            return
        atomic.commit_dir(
            hidden, target, version_before.identity, lambda: _read_signature(target) == signature
        )


def _commit_to_store(
    store: mirror.Mirror,
    hidden: Path,
    table: Table,
    run: str,
    signature: str,
    version_before: TableVersion,
) -> None:
    """Commit a filled folder to the store; another writer's table of equal signature is taken."""
    target = table_dir(store.root, table, run)
    try:
        store.tables.commit(hidden, table.name, run, version_before.stored)
    except WriterConflict:
        if _read_signature(target) != signature:
            raise atomic.superseded_error(target) from None
        log.info("%s: another writer finished it first; its table is taken", target)


@dataclass(frozen=True, slots=True)
class TableVersion:
    """A table as it stood at one moment, or its absence.

    Attributes:
        identity: That of its folder.
        stored: That of its manifest in the object store.
    """

    identity: atomic.DirIdentity | None
    stored: ObjectVersion | None = None


def table_version(root: Path, table: Table, run: str) -> TableVersion:
    """Return the present version of a run's table.

    A job that works for long before it writes takes the version before it reads its inputs.
    """
    store = mirror.find_mirror(root)
    stored = store.tables.refresh(table.name, run) if store else None
    return TableVersion(atomic.dir_identity(table_dir(root, table, run)), stored)


def _read_signature(target: Path) -> str | None:
    """Return the signature of the table in a folder; None if there is none."""
    try:
        return json.loads((target / "_manifest.json").read_bytes())["signature"]
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return None


def remove_table(root: Path, table: Table, run: str) -> None:
    """Remove a run's table, which need not exist."""
    if store := mirror.find_mirror(root):
        store.tables.remove(table.name, run)
    atomic.remove_dir(table_dir(root, table, run))


def input_hash(root: Path, table: Table, run: str) -> str:
    """Return the hash over a table's files that a later stage records for its input.

    Raises:
        TableNotFound: The table is not finished.
    """
    files = read_manifest(root, table, run)["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    return hash_file(path)
