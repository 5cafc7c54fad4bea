"""Readers of what is published, that stay open: a server asks one many times a second, from many threads.

A glance is one look: all its questions are answered from the publication that stood when it began, and the next glance
sees the pointer where it stands then. No glance blocks a publish, or is blocked by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from wearalike.warehouse.base import WarehouseState

QueryFunction = Callable[[str, Sequence[Any]], list[dict[str, Any]]]


class NotPublished(LookupError):
    """The warehouse is there, or will be, and no run has been published in it yet."""


@dataclass(frozen=True, slots=True)
class PublicationSnapshot:
    """The publication seen, and how to ask it. signature: equal ones promise equal tables.

    ask: rows of one reading statement, parameters bound to $1, $2, ...; the tables' names stand for themselves and hold other
    runs too in PostgreSQL, so name the run. It raises Unreachable or Rejected.
    """

    run: str
    published_at: datetime
    signature: str
    query: QueryFunction


class WarehouseReader(Protocol):
    """What both engines do. May be used by several threads; connects when asked."""

    def snapshot(self) -> AbstractContextManager[PublicationSnapshot]:
        """Raises NotPublished, Unreachable."""

    def state(self) -> WarehouseState:
        """Every run that is loaded and every move of the pointer. Raises Unreachable."""

    def query_quality(self, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows of one statement over the table quality with every run that was ever loaded. Raises Unreachable."""

    def close(self) -> None: ...


def open_reader(address: str) -> WarehouseReader:
    """The reader of the warehouse at an address as `open_warehouse` takes it. Raises ValueError, which never repeats it."""
    from wearalike.warehouse.base import open_warehouse

    open_warehouse(address)  # refuses what is no address
    scheme, _, rest = address.partition(":")
    if scheme == "duckdb":
        from wearalike.warehouse.duckdb.read import DuckDBReader

        return DuckDBReader(Path(rest))
    from wearalike.warehouse.postgres.read import PostgresReader

    return PostgresReader(address)
