"""Read PostgreSQL through a few connections. A snapshot is one transaction: it sees one moment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from wearalike.warehouse.base import Rejected, Unreachable, WarehouseState
from wearalike.warehouse.postgres.load import PostgresWarehouse
from wearalike.warehouse.postgres.schema import CONNECTION_OPTIONS, read_state
from wearalike.warehouse.reader import LoadedRuns, NotPublished, PublicationSnapshot

MAX_CONNECTIONS = 8
# For a free connection of the pool, seconds.
WAIT_S = 5.0
# In the transaction, so that it holds behind a pooler that changes connections too.
_TRANSACTION_SETTINGS_SQL = (
    "SET LOCAL search_path TO wearalike; SET LOCAL timezone TO 'UTC';"
    " SET LOCAL statement_timeout TO '10s'"
)
_PUBLISHED_RUN_SQL = (
    "SELECT p.run, p.published_at, l.signature FROM published AS p JOIN loads AS l ON l.run = p.run"
)
Connection = psycopg.Connection[dict[str, Any]]


class PostgresReader:
    """Reader of a PostgreSQL warehouse; see `reader.WarehouseReader`."""

    def __init__(self, address: str) -> None:
        self._warehouse = PostgresWarehouse(address)
        self._pool: ConnectionPool[Connection] | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[PublicationSnapshot]:
        with self._transaction() as con:
            rows = con.execute(_PUBLISHED_RUN_SQL).fetchall()
            if not rows:
                raise NotPublished(f"{self._warehouse.location}: nothing is published yet")
            yield PublicationSnapshot(
                **rows[0], query=lambda s, p: con.execute(s.encode(), list(p)).fetchall()
            )

    def state(self) -> WarehouseState:
        try:
            with self._transaction() as con:
                return read_state(con)
        except NotPublished:
            return WarehouseState()

    def query_quality(self, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        with self.snapshot() as snapshot:
            return snapshot.query(statement, parameters)

    @contextlib.contextmanager
    def loaded_runs(self) -> Iterator[LoadedRuns]:
        with self._transaction() as con:
            state = read_state(con)
            if not state.publications:
                raise NotPublished(f"{self._warehouse.location}: nothing is published yet")
            yield LoadedRuns(state, lambda s, p: con.execute(s.encode(), list(p)).fetchall())

    def close(self) -> None:
        with self._lock:
            if self._pool:
                self._pool.close()
            self._pool = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._get_pool().connection() as con, con.transaction():
                con.execute(_TRANSACTION_SETTINGS_SQL)
                yield con
        except psycopg.errors.UndefinedTable:
            raise NotPublished(f"{self._warehouse.location}: nothing is published yet") from None
        except psycopg.OperationalError as error:
            raise Unreachable(self._warehouse.error_text(error)) from None
        except psycopg.Error as error:
            raise Rejected(self._warehouse.error_text(error)) from None

    def _get_pool(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._warehouse.conninfo,
                    kwargs={**CONNECTION_OPTIONS, "row_factory": dict_row},
                    configure=_make_read_only,
                    check=ConnectionPool.check_connection,
                    min_size=0,
                    max_size=MAX_CONNECTIONS,
                    timeout=WAIT_S,
                    open=True,
                )
            return self._pool


def _make_read_only(con: Connection) -> None:
    con.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    con.read_only = True
