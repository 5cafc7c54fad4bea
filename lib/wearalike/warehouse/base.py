"""DuckDB and PostgreSQL: the same six verbs, and one way to ask.

load      takes every published table of a run, all or nothing; the same run again replaces itself in one step
publish   moves the pointer to a loaded run in one step; readers see all-old or all-new
rollback  moves it back to the run published before
state     what is loaded, what was published, where the pointer stands
prune     drops old runs, never the published one nor the one that rollback would go to
record    keeps rows of what people do with a run (tables.RECORDED_TABLES), whichever runs come and go

A reader sees, in both warehouses, `products`, `similar_products`, `similar_lists`, `look_products` and `quality` with every loaded
run (quality also keeps the runs that were pruned), the views `current_<table>` with the published run alone,
`photo_queries` and `judgements` with all that was recorded, and `publications`. `ask` runs one statement of sql/
against them; parameters are spelled $1, $2 in both engines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.settings import RUN_PATTERN
from wearalike.tables import PUBLISHED_TABLES, Table

BATCH_ROWS = 16_384


class Rejected(ValueError):
    """The warehouse answered no: rows that break a rule, a run that is not loaded, a statement it cannot run."""


class Unreachable(ConnectionError):
    """The warehouse did not answer, or others kept it busy, for all of the bounded retries. Nothing was changed."""


class PublicationKind(StrEnum):
    PUBLISH = "publish"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class RunLoad:
    """A run that is in the warehouse. counts: rows by table; struck_count: texts that held NUL or half characters."""

    run: str
    signature: str
    loaded_at: datetime
    counts: dict[str, int]
    struck_count: int


@dataclass(frozen=True, slots=True)
class PublicationEvent:
    """One move of the pointer; note: who overrode the gate, and why."""

    run: str
    published_at: datetime
    kind: PublicationKind
    note: str | None


@dataclass(frozen=True, slots=True)
class PointerMove:
    from_run: str | None
    to_run: str

    def __str__(self) -> str:
        return f"{self.to_run}, before it {self.from_run or 'nothing'}"


@dataclass(frozen=True, slots=True)
class WarehouseState:
    """loads: newest first. publications: oldest first; the last one is the pointer."""

    loads: tuple[RunLoad, ...] = ()
    publications: tuple[PublicationEvent, ...] = ()

    @property
    def published_run(self) -> str | None:
        return self.publications[-1].run if self.publications else None

    @property
    def rollback_target(self) -> str | None:
        """The run that rollback would go to: published before the published one, and still loaded."""
        stack: list[str] = []
        for move in self.publications:
            while move.kind is PublicationKind.ROLLBACK and stack and stack[-1] != move.run:
                stack.pop()
            if not stack or stack[-1] != move.run:
                stack.append(move.run)
        return next(
            (
                run
                for run in reversed(stack[:-1])
                if run != self.published_run and self.find_load(run)
            ),
            None,
        )

    def find_load(self, run: str) -> RunLoad | None:
        return next((load for load in self.loads if load.run == run), None)

    def publish_move(self, run: str) -> PointerMove:
        """The move that publishing the run is. Raises Rejected for a run that is not loaded."""
        if not self.find_load(run):
            raise Rejected(
                f"run {run!r} is not loaded; loaded: {', '.join(load.run for load in self.loads) or 'none'}"
            )
        return PointerMove(self.published_run, run)

    def rollback_move(self) -> PointerMove:
        """The move that a rollback is. Raises Rejected where there is nothing to go back to."""
        if self.rollback_target is None:
            raise Rejected(
                f"no rollback: published is {self.published_run or 'nothing'}, and no loaded run was published before it"
            )
        return PointerMove(self.published_run, self.rollback_target)

    def prunable_runs(self, keep: int) -> list[str]:
        """The runs that go when the `keep` newest stay. Raises ValueError below 1."""
        if keep < 1:
            raise ValueError(f"keep: wanted 1 or more, got {keep}")
        return [
            load.run
            for load in self.loads[keep:]
            if load.run not in (self.published_run, self.rollback_target)
        ]


class Warehouse(Protocol):
    """What both engines do. Every verb raises Unreachable; each is all or nothing and may be repeated."""

    def load(
        self, run: str, rows: Mapping[str, ds.Dataset], counts: Mapping[str, int], signature: str
    ) -> RunLoad:
        """Takes the rows of every table of PUBLISHED, by table name. A killed load leaves nothing that shows.

        counts: the rows wanted of each. Raises Rejected for other counts, a key that comes twice, a null where none may be.
        """

    def publish(self, run: str, note: str | None = None) -> PointerMove:
        """Moves the pointer to a loaded run. Raises Rejected."""

    def rollback(self) -> PointerMove:
        """Moves the pointer to the run published before. Raises Rejected where there is none."""

    def state(self) -> WarehouseState: ...

    def prune(self, keep: int) -> list[str]:
        """Drops all but the `keep` newest runs, the published one and the one before it; returns the dropped."""

    def record(self, run: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps rows of one of tables.RECORDED_TABLES, over those of the same run and key; without rows it makes the table."""

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of one reading statement, parameters bound to $1, $2, ... Raises Rejected."""


def open_warehouse(address: str) -> Warehouse:
    """The warehouse at "duckdb:<folder>" or "postgresql://user:password@host:port/database"; connects when used.

    Raises ValueError, which never repeats the address: it may hold a password.
    """
    scheme, _, rest = address.partition(":")
    if scheme == "duckdb" and rest:
        from wearalike.warehouse.duckdb.load import DuckDBWarehouse

        return DuckDBWarehouse(Path(rest))
    if scheme in ("postgresql", "postgres"):
        from wearalike.warehouse.postgres.load import PostgresWarehouse

        return PostgresWarehouse(address)
    raise ValueError(
        f"warehouse: wanted duckdb:<folder> or postgresql://user:password@host/database, got one of scheme {scheme[:20]!r}"
    )


def read_warehouse_table(warehouse: Warehouse, run: str, table: Table) -> pa.Table:
    """A published table of a loaded run, the run as first column, ordered by key as bytes. For tests and small exports."""
    found = warehouse.query(
        f"SELECT run, {', '.join(table.column_names)} FROM {table.name} WHERE run = $1", [run]
    )
    schema = pa.schema([pa.field("run", pa.string(), nullable=False), *table.arrow_schema])
    return pa.Table.from_pylist(found, schema=schema).sort_by(
        [(name, "ascending") for name in table.key]
    )


# What both engines share


def current_view_ddl(table: Table) -> str:
    """DDL of the view that shows the published run alone."""
    return f"CREATE VIEW current_{table.name} AS SELECT * FROM {table.name} WHERE run = (SELECT run FROM published)"


def check_run_and_tables(run: str, rows: Mapping[str, ds.Dataset]) -> None:
    """Raises ValueError for a run that cannot be one, or for other tables than PUBLISHED."""
    if not RUN_PATTERN.fullmatch(run):
        raise ValueError(
            f"run {run!r}: wanted letters, digits, '_', '.', '-', at most 64, e.g. 2026-11-21"
        )
    wanted = {table.name for table in PUBLISHED_TABLES}
    if set(rows) != wanted:
        raise ValueError(f"run {run}: wanted the tables {sorted(wanted)}, got {sorted(rows)}")


def check_row_count(run: str, table: Table, found: int, counts: Mapping[str, int]) -> None:
    if found != counts[table.name]:
        raise Rejected(
            f"{table.name} of run {run}: {found} rows loaded, wanted {counts[table.name]}"
        )


def clean_batches(
    table: Table, rows: ds.Dataset, struck: Counter[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The table's rows in batches, with text that both engines can hold; texts that were changed are counted in `struck`."""
    for batch in rows.to_batches(columns=table.column_names, batch_size=batch_rows):
        cleaned = [_clean_column(column) for column in batch.columns]
        struck[table.name] += sum(count for _, count in cleaned)
        yield pa.RecordBatch.from_arrays(
            [column for column, _ in cleaned], schema=table.arrow_schema
        )


def _clean_column(column: pa.Array) -> tuple[pa.Array, int]:
    """The column without NUL bytes and without what is not UTF-8 (lone surrogates), and how many values that changed."""
    is_list = pa.types.is_list(column.type)
    text = column.flatten() if is_list else column
    if not pa.types.is_string(text.type) or not _has_invalid_text(text):
        return column, 0
    raw = pa.list_(pa.binary()) if is_list else pa.binary()
    old = column.cast(raw).to_pylist()
    new = [
        None
        if v is None
        else [_strip_invalid_bytes(e) for e in v]
        if is_list
        else _strip_invalid_bytes(v)
        for v in old
    ]
    return pa.array(new, raw).cast(column.type), sum(a != b for a, b in zip(old, new, strict=True))


def _strip_invalid_bytes(value: bytes) -> bytes:
    return value.replace(b"\0", b"").decode("utf-8", "ignore").encode()


def _has_invalid_text(text: pa.StringArray) -> bool:
    """Whether any value holds a NUL byte or is not UTF-8; looks at the buffer, since nearly none does."""
    _, offsets, data = text.buffers()
    if not len(text) or data is None:
        return False
    first, last = np.frombuffer(offsets, np.int32)[[text.offset, text.offset + len(text)]]
    if np.frombuffer(data, np.uint8)[first:last].min(initial=1) == 0:
        return True
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False
