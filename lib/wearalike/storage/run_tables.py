"""Where a run's tables lie: read in batches, written whole or not at all, counted.

    <root>/<table>/run=<run>/part-*.parquet     the rows
    <root>/<table>/run=<run>/_refused.parquet    what was meant for the table and did not go on
    <root>/<table>/run=<run>/_manifest.json          written last: counts, parameters, hashes of the inputs
    <root>/cache/<kind>/<version>/*.parquet      work kept by content, whatever the night
    <root>/cache/images/<first two>/<sha256>     the pictures

A table's folder is filled under a hidden name, synced, and renamed when whole: whoever sees it sees all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike import tables
from wearalike.settings import RUN_PATTERN
from wearalike.storage import atomic
from wearalike.tables import REFUSED, Table

BATCH_ROWS = 8192


class TableNotFound(FileNotFoundError):
    """A table of a run is asked for that no stage has finished."""


class CorruptTable(ValueError):
    """A file of a finished table is not the one that was written."""


class RowCountMismatch(RuntimeError):
    """Rows taken do not equal rows written and refused: a row got lost or came twice."""


def table_dir(root: Path, table: Table, run: str) -> Path:
    """The folder of a table of a run, there or not. Raises ValueError for a run that cannot be a folder's name."""
    if not RUN_PATTERN.fullmatch(run):
        raise ValueError(
            f"run {run!r}: wanted letters, digits, '_', '.', '-', at most 64, e.g. 2026-11-21"
        )
    return root / table.name / f"run={run}"


def read_manifest(root: Path, table: Table, run: str) -> dict[str, Any]:
    """What _manifest.json of a finished table says. Raises TableNotFound."""
    path = table_dir(root, table, run) / "_manifest.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TableNotFound(
            f"{path}: table {table.name} of run {run} is not made; run its job first"
        ) from error


def is_complete(root: Path, table: Table, run: str, signature: str | None = None) -> bool:
    """Whether the table is finished and, where a signature is given, was made from the same inputs and parameters."""
    try:
        facts = read_manifest(root, table, run)
        return signature is None or facts["signature"] == signature
    except TableNotFound:
        return False


def list_runs(root: Path, table: Table) -> list[str]:
    """Runs whose table is finished, in the order of their names."""
    return sorted(
        p.parent.name.removeprefix("run=") for p in (root / table.name).glob("run=*/_manifest.json")
    )


def open_dataset(root: Path, table: Table, run: str) -> ds.Dataset:
    """The table as an Arrow dataset, read lazily: the parts that _manifest.json names, and no file beside them. Raises TableNotFound."""
    held = table_dir(root, table, run)
    parts = sorted(
        name
        for name in read_manifest(root, table, run)["files"]
        if name.startswith("part-") and name.endswith(".parquet")
    )
    return ds.dataset(
        [str(held / name) for name in parts], schema=table.arrow_schema, format="parquet"
    )


def read_table(root: Path, table: Table, run: str, columns: list[str] | None = None) -> pa.Table:
    """The whole table, or some columns of it, in file order. Raises TableNotFound."""
    return open_dataset(root, table, run).to_table(columns=columns)


def read_refused(root: Path, run: str) -> pa.Table:
    """What every finished stage of the run refused (tables.REFUSED), in the data's order."""
    parts = []
    for table in tables.TABLES:
        path = table_dir(root, table, run)
        if (path / "_manifest.json").exists() and (path / "_refused.parquet").exists():
            parts.append(pq.read_table(path / "_refused.parquet", schema=REFUSED.arrow_schema))
    return pa.concat_tables(parts) if parts else REFUSED.arrow_schema.empty_table()


def check_files(root: Path, table: Table, run: str) -> None:
    """Raises CorruptTable where a file of a finished table is not the one that _manifest.json names, TableNotFound."""
    for name, wanted in read_manifest(root, table, run)["files"].items():
        path = table_dir(root, table, run) / name
        if not path.is_file() or (found := sha256(path)) != wanted:
            said = (
                f"sha256 {found}, _manifest.json says {wanted}"
                if path.is_file()
                else "gone, and _manifest.json names it"
            )
            raise CorruptTable(f"{path}: {said}; run the table's job again with --force")


def signature(inputs: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """A hash over what a table is made from; equal hashes promise equal rows."""
    text = json.dumps(
        {"inputs": dict(inputs), "parameters": dict(parameters)}, sort_keys=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class TableWriter:
    """Fills the hidden folder of one table. Rows go to `write`, refusals to `refuse`, files beside them to `path`."""

    table: Table
    path: Path
    rows_written: int = 0
    rows_taken: int | None = None

    def __post_init__(self) -> None:
        self._parts_writer: pq.ParquetWriter | None = None
        self._refusals_writer: pq.ParquetWriter | None = None
        self.refusal_counts: Counter[str] = Counter()
        self.manifest_extras: dict[str, Any] = {}

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Adds rows of exactly the table's schema, nulls only where it allows them. Raises ValueError."""
        schema = self.table.arrow_schema
        rows = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        rows = rows.select(schema.names).cast(schema)
        for column in self.table.columns:
            if not column.nullable and rows[column.name].null_count:
                raise ValueError(
                    f"{self.table.name}.{column.name}: {rows[column.name].null_count} nulls in a column that has none"
                )
        if self._parts_writer is None:
            number = len(list(self.path.glob("part-*.parquet")))
            self._parts_writer = pq.ParquetWriter(
                self.path / f"part-{number:05}.parquet", schema, compression="zstd"
            )
        self._parts_writer.write_table(rows)
        self.rows_written += rows.num_rows

    def refuse(self, rows: pa.Table) -> None:
        """Adds rows of tables.REFUSED; `stage` is filled in here."""
        if not rows.num_rows:
            return
        rows = rows.drop_columns(["stage"]) if "stage" in rows.column_names else rows
        rows = rows.add_column(0, "stage", pa.array([self.table.name] * rows.num_rows))
        rows = rows.select(REFUSED.column_names).cast(REFUSED.arrow_schema)
        if self._refusals_writer is None:
            self._refusals_writer = pq.ParquetWriter(
                self.path / "_refused.parquet", REFUSED.arrow_schema, compression="zstd"
            )
        self._refusals_writer.write_table(rows)
        self.refusal_counts.update(rows["reason"].to_pylist())

    def adopt_parts(self, parts: Path) -> None:
        """Takes the Parquet files that Spark left in a folder, in their order, as this table's parts."""
        for number, part in enumerate(sorted(parts.glob("part-*.parquet"))):
            os.replace(part, self.path / f"part-{number:05}.parquet")
        shutil.rmtree(parts)
        found = ds.dataset(sorted(map(str, self.path.glob("part-*.parquet"))), format="parquet")
        if found.schema.names != self.table.column_names:
            raise ValueError(
                f"{self.table.name}: columns {found.schema.names}, wanted {self.table.column_names}"
            )
        self.rows_written = found.count_rows()

    def close(self) -> None:
        if self._parts_writer is None and not any(self.path.glob("part-*.parquet")):
            pq.write_table(self.table.arrow_schema.empty_table(), self.path / "part-00000.parquet")
        for writer in (self._parts_writer, self._refusals_writer):
            if writer is not None:
                writer.close()


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
    """Writes a table of a run whole or not at all.

    On leaving the block the counts are checked (`rows_taken`, if set, = written + refused), everything is
    synced, _manifest.json is written and the folder renamed into place, replacing a table made from other inputs.
    After an exception nothing is left. Two writers of the same signature: the first to finish wins. A table of another
    signature that came since `seen` (default: since the block began) stays, and placing.Superseded is raised.
    Raises RowCountMismatch, atomic.DiskFull.
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
                f"{table.name} of run {run}: {taken} taken, {writer.rows_written} written, {refused_count} refused"
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
        atomic.commit_dir(
            hidden, target, version_before.identity, lambda: _read_signature(target) == signature
        )


@dataclass(frozen=True, slots=True)
class TableVersion:
    """What stood in a table's place at one moment."""

    identity: atomic.DirIdentity | None


def table_version(root: Path, table: Table, run: str) -> TableVersion:
    """What stands there now: a job that works long before it writes looks before it reads its inputs."""
    return TableVersion(atomic.dir_identity(table_dir(root, table, run)))


def _read_signature(target: Path) -> str | None:
    try:
        return json.loads((target / "_manifest.json").read_text(encoding="utf-8"))["signature"]
    except FileNotFoundError:
        return None


def input_hash(root: Path, table: Table, run: str) -> str:
    """What a later stage records of a table it read: the hash over its files. Raises TableNotFound."""
    files = read_manifest(root, table, run)["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Work kept by content


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, synced; a file that stands is left as it is."""
    if not path.exists():
        atomic.write_bytes(path, content, sync_folder=False)


def image_path(root: Path, image_id: str) -> Path:
    """Where the picture of that sha256 lies, there or not."""
    return root / "cache" / "images" / image_id[:2] / image_id


def cache_rows(root: Path, kind: str, version: str, rows: pa.Table) -> None:
    """Adds rows to what is kept of a kind under a version, whole or not at all. Rows of one key must be equal."""
    if not rows.num_rows:
        return
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    write_atomic(
        root / "cache" / kind / version / f"{hashlib.sha256(content).hexdigest()[:32]}.parquet",
        content,
    )


def read_cached(
    root: Path, kind: str, version: str, schema: pa.Schema, keys: pa.Array | None = None
) -> pa.Table:
    """What is kept of a kind under a version, equal rows once; only rows whose first column is in `keys`, if given."""
    paths = sorted(map(str, (root / "cache" / kind / version).glob("[!.]*.parquet")))
    if not paths:
        return schema.empty_table()
    wanted = None if keys is None else pc.field(schema.names[0]).isin(keys)
    rows = ds.dataset(paths, schema=schema, format="parquet").to_table(filter=wanted)
    return rows.group_by(schema.names, use_threads=False).aggregate([]).select(schema.names)
