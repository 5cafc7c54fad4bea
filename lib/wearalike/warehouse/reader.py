"""Read what is published through a connection that stays open.

A server asks many times a second, from many threads. A snapshot answers all its questions from the
publication that stood when it began; the next snapshot sees the pointer where it stands then. No
snapshot blocks a publish or is blocked by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from wearalike.warehouse.base import WarehouseState

QueryFunction = Callable[[str, Sequence[Any]], list[dict[str, Any]]]


class NotPublished(LookupError):
    """No run has been published in the warehouse yet."""


@dataclass(frozen=True, slots=True)
class PublicationSnapshot:
    """A publication and how to query it.

    Attributes:
        run: The published run.
        published_at: UTC.
        signature: Equal signatures promise equal tables.
        query: Returns the rows of one reading statement, with parameters for $1, $2, ... In
            PostgreSQL the tables also hold other runs, so name the run. Raises Unreachable or
            Rejected.
    """

    run: str
    published_at: datetime
    signature: str
    query: QueryFunction


@dataclass(frozen=True, slots=True)
class LoadedRuns:
    """Every run that a warehouse holds, at one moment, and how to query them.

    Attributes:
        state: The loads and publications.
        query: As that of a publication's snapshot. The published tables hold every loaded run.
    """

    state: WarehouseState
    query: QueryFunction

    def snapshot_of(self, run: str) -> PublicationSnapshot:
        """Return a loaded run as if it were the published one, of when it was loaded.

        Raises:
            LookupError: The run is not loaded.
        """
        load = self.state.find_load(run)
        if load is None:
            raise LookupError(run)
        return PublicationSnapshot(run, load.loaded_at, load.signature, self.query)


class WarehouseReader(Protocol):
    """The interface of both engines. Threads may share a reader; it connects when asked."""

    def snapshot(self) -> AbstractContextManager[PublicationSnapshot]:
        """Open a snapshot. Raises NotPublished or Unreachable."""

    def state(self) -> WarehouseState:
        """Return all loads and publications. Raises Unreachable."""

    def query_quality(self, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the rows of one statement on the table quality with all runs ever loaded.

        Raises:
            Unreachable: The warehouse does not answer.
        """

    def loaded_runs(self) -> AbstractContextManager[LoadedRuns]:
        """Open every loaded run. Raises NotPublished or Unreachable."""

    def close(self) -> None:
        """Let go of the connections."""


def open_reader(address: str | SecretStr) -> WarehouseReader:
    """Return the reader of a warehouse.

    Args:
        address: As for `open_warehouse`.

    Raises:
        ValueError: No such address. The text never repeats it.
    """
    from wearalike.warehouse.base import open_warehouse, read_address

    address = read_address(address)
    open_warehouse(address)  # raises ValueError for a bad address
    scheme, _, rest = address.partition(":")
    if scheme == "duckdb":
        from wearalike.warehouse.duckdb.read import DuckDBReader

        return DuckDBReader(Path(rest))
    from wearalike.warehouse.postgres.read import PostgresReader

    return PostgresReader(address)
