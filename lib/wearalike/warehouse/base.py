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
`photo_queries`, `judgements` and `picture_labels` hold what was recorded, and `publications` the
moves of the pointer.

`query` runs one statement of sql/ on them. Parameters are spelled $1, $2 in both engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import SecretStr

from wearalike.extras import explain_missing
from wearalike.tables import Table


class Rejected(ValueError):
    """The warehouse refused: rows that break a rule, a run not loaded, or a failing statement."""


# A publication older than this is not fresh: with one night a day, one did not publish.
MAX_FRESH_AGE_S = 36 * 3600


class RolledBack(Rejected):
    """The run was rolled back, and nobody said that it is to be published again."""


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

    def find_rollback(self, run: str) -> PublicationEvent | None:
        """Return the rollback that took a run off the site, if it was not published since."""
        found = None
        before: str | None = None
        for move in self.publications:
            if move.run == run:
                found = None
            elif before == run and move.kind is PublicationKind.ROLLBACK:
                found = move
            before = move.run
        return found

    def check_rollback(self, run: str) -> None:
        """Raise RolledBack if the run was rolled back and not published since."""
        if rollback := self.find_rollback(run):
            raise RolledBack(
                f"run {run} was rolled back to {rollback.run} at"
                f" {rollback.published_at:%Y-%m-%d %H:%M} UTC and stays off the site; to publish it"
                f" again: python -m wearalike.pipeline publish_tables --run {run} --again"
            )

    def publish_move(self, run: str, *, is_again: bool = True) -> PointerMove:
        """Return the move that publishes a run.

        Args:
            run: The run.
            is_again: False refuses a run that was rolled back.

        Raises:
            Rejected: The run is not loaded.
            RolledBack: The run was rolled back.
        """
        if not is_again:
            self.check_rollback(run)
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
                f"no rollback: {self.published_run or 'no run'} is published, and no loaded run"
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


StateCheck = Callable[[WarehouseState], None]


def plan_publish(
    run: str, check: StateCheck | None, *, is_again: bool
) -> Callable[[WarehouseState], PointerMove]:
    """Return the function that plans publishing a run from a state, checked first."""

    def plan(state: WarehouseState) -> PointerMove:
        if check:
            check(state)
        return state.publish_move(run, is_again=is_again)

    return plan


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
            rows: Datasets by table name, one for each of tables.PUBLISHED_TABLES; those of
                tables.EXPERIMENT_TABLES are empty where they are left out.
            counts: Expected rows by table name; without an entry none.
            signature: See `publish.run_signature`.

        Raises:
            Rejected: Other counts, a key that comes twice, or a null where none is allowed.
        """

    def publish(
        self,
        run: str,
        note: str | None = None,
        check: StateCheck | None = None,
        *,
        is_again: bool = True,
    ) -> PointerMove:
        """Move the pointer to a loaded run.

        Args:
            run: The run.
            note: Who overrode the gate, and why.
            check: Raises an error where the state forbids the move. It sees the state that the
                move would change: another process cannot move the pointer in between.
            is_again: A run that was rolled back may be published again.

        Raises:
            Rejected: The run is not loaded.
            RolledBack: The run was rolled back, and `is_again` is false.
        """

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

    def may_record(self, table: Table) -> bool:
        """Return True if `record` is allowed to this role; nothing is written."""

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
