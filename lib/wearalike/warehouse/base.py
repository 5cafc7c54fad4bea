"""Define the interface of a warehouse, its state, and the code that both engines share.

| verb | effect |
|---|---|
| load | take every published table of a run, all or nothing; the same run again replaces itself |
| publish | move the pointer to a loaded run in one step; readers see all old or all new |
| rollback | move it back to the run published before |
| state | list what is loaded, what was published and where the pointer stands |
| prune | drop old runs, never the published one nor the one that a rollback would go to |
| record | keep rows of what people do with a run (tables.RECORDED_TABLES), whichever runs exist |

Readers find the same names in both engines. The published tables hold every loaded run; `quality`
also keeps the runs that were pruned. The views `current_<table>` show the published run alone.
`photo_queries` and `judgements` hold what was recorded, and `publications` the moves of the
pointer.

`query` runs one statement of sql/ on them. Parameters are spelled $1, $2 in both engines.
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
from pydantic import SecretStr

from wearalike.extras import explain_missing
from wearalike.settings import RUN_PATTERN
from wearalike.tables import PUBLISHED_TABLES, Table

# Rows that a load takes at a time.
BATCH_ROWS = 16_384


class Rejected(ValueError):
    """The warehouse refused: rows that break a rule, a run not loaded, or a failing statement."""


class Unreachable(ConnectionError):
    """The warehouse did not answer, or stayed busy, for all bounded retries. Nothing was
    changed."""


class PublicationKind(StrEnum):
    """How the pointer was moved."""

    PUBLISH = "publish"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class RunLoad:
    """A run that the warehouse holds.

    Attributes:
        run: The run.
        signature: See `publish.run_signature`.
        loaded_at: UTC.
        counts: Rows by table.
        struck_count: Texts from which NUL bytes or half characters were removed.
    """

    run: str
    signature: str
    loaded_at: datetime
    counts: dict[str, int]
    struck_count: int


@dataclass(frozen=True, slots=True)
class PublicationEvent:
    """One move of the pointer.

    Attributes:
        run: The run that the pointer moved to.
        published_at: UTC.
        kind: Publication or rollback.
        note: Who overrode the gate, and why.
    """

    run: str
    published_at: datetime
    kind: PublicationKind
    note: str | None


@dataclass(frozen=True, slots=True)
class PointerMove:
    """A move of the pointer, from None where nothing was published."""

    from_run: str | None
    to_run: str

    def __str__(self) -> str:
        return f"{self.to_run}, before it {self.from_run or 'nothing'}"


@dataclass(frozen=True, slots=True)
class WarehouseState:
    """The loads and publications of a warehouse.

    Attributes:
        loads: Newest first.
        publications: Oldest first; the last one is the pointer.
    """

    loads: tuple[RunLoad, ...] = ()
    publications: tuple[PublicationEvent, ...] = ()

    @property
    def published_run(self) -> str | None:
        """The run that readers see; None before the first publication."""
        return self.publications[-1].run if self.publications else None

    @property
    def rollback_target(self) -> str | None:
        """The run that a rollback would go to; None if there is none.

        It was published before the published run and is still loaded.
        """
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
        """Return the load of a run; None if it is not loaded."""
        return next((load for load in self.loads if load.run == run), None)

    def publish_move(self, run: str) -> PointerMove:
        """Return the move that publishes a run.

        Raises:
            Rejected: The run is not loaded.
        """
        if not self.find_load(run):
            loaded = ", ".join(load.run for load in self.loads) or "none"
            raise Rejected(f"run {run!r} is not loaded; loaded: {loaded}")
        return PointerMove(self.published_run, run)

    def rollback_move(self) -> PointerMove:
        """Return the move of a rollback.

        Raises:
            Rejected: No loaded run was published before.
        """
        if self.rollback_target is None:
            raise Rejected(
                f"no rollback: published is {self.published_run or 'nothing'}, and no loaded run"
                " was published before it"
            )
        return PointerMove(self.published_run, self.rollback_target)

    def prunable_runs(self, keep: int) -> list[str]:
        """Return the runs to drop so that the newest ones stay.

        Args:
            keep: Number of newest runs to keep, 1 or more.

        Raises:
            ValueError: `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep: wanted 1 or more, got {keep}")
        return [
            load.run
            for load in self.loads[keep:]
            if load.run not in (self.published_run, self.rollback_target)
        ]


class Warehouse(Protocol):
    """The interface of both engines.

    Every verb is all or nothing, may be repeated, and raises Unreachable.
    """

    def load(
        self, run: str, rows: Mapping[str, ds.Dataset], counts: Mapping[str, int], signature: str
    ) -> RunLoad:
        """Take the rows of every published table. A killed load leaves nothing that shows.

        Args:
            run: The run.
            rows: Datasets by table name, one for each of tables.PUBLISHED_TABLES.
            counts: Expected rows by table name.
            signature: See `publish.run_signature`.

        Raises:
            Rejected: Other counts, a key that comes twice, or a null where none is allowed.
        """

    def publish(self, run: str, note: str | None = None) -> PointerMove:
        """Move the pointer to a loaded run. Raises Rejected if it is not loaded."""

    def rollback(self) -> PointerMove:
        """Move the pointer to the run published before. Raises Rejected if there is none."""

    def state(self) -> WarehouseState: ...

    def prune(self, keep: int) -> list[str]:
        """Drop all but the newest runs, the published one and the rollback's; return the
        dropped."""

    def record(self, run: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows of one of tables.RECORDED_TABLES, over rows of the same run and key.

        Without rows it creates the table.
        """

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of one reading statement, with parameters for $1, $2, ...

        Raises:
            Rejected: The statement cannot run.
        """


def open_warehouse(address: str | SecretStr) -> Warehouse:
    """Return the warehouse at an address; it connects when used.

    Args:
        address: "duckdb:<folder>" or "postgresql://user:password@host:port/database".

    Raises:
        ValueError: No such address. The text never repeats it: it may hold a password.
        MissingExtra: A PostgreSQL address without the extra `postgres`.
    """
    address = read_address(address)
    scheme, _, rest = address.partition(":")
    if scheme == "duckdb" and rest:
        from wearalike.warehouse.duckdb.load import DuckDBWarehouse

        return DuckDBWarehouse(Path(rest))
    if scheme in ("postgresql", "postgres"):
        with explain_missing():
            from wearalike.warehouse.postgres.load import PostgresWarehouse

        return PostgresWarehouse(address)
    raise ValueError(
        "warehouse: wanted duckdb:<folder> or postgresql://user:password@host/database, got one of"
        f" scheme {scheme[:20]!r}"
    )


def read_address(address: str | SecretStr) -> str:
    """Return the text of an address that may hold a password."""
    return address.get_secret_value() if isinstance(address, SecretStr) else address


def read_warehouse_table(warehouse: Warehouse, run: str, table: Table) -> pa.Table:
    """Read a published table of a loaded run, for tests and small exports.

    Returns:
        The run as first column, then the table's columns; ordered by the bytes of the key.
    """
    found = warehouse.query(
        f"SELECT run, {', '.join(table.column_names)} FROM {table.name} WHERE run = $1", [run]
    )
    schema = pa.schema([pa.field("run", pa.string(), nullable=False), *table.arrow_schema])
    return pa.Table.from_pylist(found, schema=schema).sort_by(
        [(name, "ascending") for name in table.key]
    )


# Shared by both engines.


def current_view_ddl(table: Table) -> str:
    """Return the DDL of the view that shows the published run alone."""
    return (
        f"CREATE VIEW current_{table.name} AS SELECT * FROM {table.name}"
        " WHERE run = (SELECT run FROM published)"
    )


def check_run_and_tables(run: str, rows: Mapping[str, ds.Dataset]) -> None:
    """Raise ValueError for a bad run name, or for other tables than the published ones."""
    if not RUN_PATTERN.fullmatch(run):
        raise ValueError(
            f"run {run!r}: wanted letters, digits, '_', '.', '-', at most 64, e.g. 2026-11-21"
        )
    wanted = {table.name for table in PUBLISHED_TABLES}
    if set(rows) != wanted:
        raise ValueError(f"run {run}: wanted the tables {sorted(wanted)}, got {sorted(rows)}")


def check_row_count(run: str, table: Table, found: int, counts: Mapping[str, int]) -> None:
    """Raise Rejected where the rows loaded are not as many as expected."""
    if found != counts[table.name]:
        raise Rejected(
            f"{table.name} of run {run}: {found} rows loaded, wanted {counts[table.name]}"
        )


def clean_batches(
    table: Table, rows: ds.Dataset, struck: Counter[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield a table's rows in batches, with text that both engines can hold.

    Args:
        table: The table.
        rows: Its rows.
        struck: Counts the changed texts by table name.
        batch_rows: Rows in a batch.
    """
    for batch in rows.to_batches(columns=table.column_names, batch_size=batch_rows):
        cleaned = [_clean_column(column) for column in batch.columns]
        struck[table.name] += sum(count for _, count in cleaned)
        yield pa.RecordBatch.from_arrays(
            [column for column, _ in cleaned], schema=table.arrow_schema
        )


def _clean_column(column: pa.Array) -> tuple[pa.Array, int]:
    """Return the column without NUL bytes and invalid UTF-8, and how many values that changed.

    Lone surrogates are the invalid UTF-8 that occurs.
    """
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
    """Remove NUL bytes and what is not UTF-8."""
    return value.replace(b"\0", b"").decode("utf-8", "ignore").encode()


def _has_invalid_text(text: pa.StringArray) -> bool:
    """Return True if a value holds a NUL byte or is not UTF-8.

    It looks at the whole buffer at once, since nearly no column has such a value.
    """
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
