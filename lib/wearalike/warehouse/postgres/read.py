"""A few connections to PostgreSQL that only read; a glance is one transaction, which sees one moment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from wearalike.warehouse.base import Rejected, State, Unreachable
from wearalike.warehouse.postgres.load import Postgres, read_state
from wearalike.warehouse.reader import Glance, NotPublished

CONNECTIONS = 8
WAIT_S = 5.0
# In the transaction, so that it holds behind a pooler that changes connections too.
_BEGIN = "SET LOCAL search_path TO wearalike; SET LOCAL timezone TO 'UTC'; SET LOCAL statement_timeout TO '10s'"
_PUBLISHED = (
    "SELECT p.run, p.published_at, l.signature FROM published AS p JOIN loads AS l ON l.run = p.run"
)
Connection = psycopg.Connection[dict[str, Any]]


class PostgresReader:
    def __init__(self, address: str) -> None:
        self._warehouse = Postgres(address)
        self._pool: ConnectionPool[Connection] | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def glance(self) -> Iterator[Glance]:
        with self._transaction() as con:
            if not (found := con.execute(_PUBLISHED).fetchall()):
                raise NotPublished(f"{self._warehouse.place}: nothing is published yet")
            yield Glance(**found[0], ask=lambda s, p: con.execute(s.encode(), list(p)).fetchall())

    def state(self) -> State:
        try:
            with self._transaction() as con:
                return read_state(con)
        except NotPublished:
            return State()

    def quality(self, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        with self.glance() as glance:
            return glance.ask(statement, parameters)

    def close(self) -> None:
        with self._lock:
            if self._pool:
                self._pool.close()
            self._pool = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._connections().connection() as con, con.transaction():
                con.execute(_BEGIN)
                yield con
        except psycopg.errors.UndefinedTable:
            raise NotPublished(f"{self._warehouse.place}: nothing is published yet") from None
        except psycopg.OperationalError as error:
            raise Unreachable(self._warehouse.text(error)) from None
        except psycopg.Error as error:
            raise Rejected(self._warehouse.text(error)) from None

    def _connections(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                # No prepared statements: they do not outlive a pooler's change of connection.
                options: dict[str, Any] = {
                    "autocommit": True,
                    "prepare_threshold": None,
                    "cursor_factory": psycopg.RawCursor,
                }
                self._pool = ConnectionPool(
                    self._warehouse.conninfo,
                    kwargs={**options, "row_factory": dict_row},
                    configure=_read_only,
                    check=ConnectionPool.check_connection,
                    min_size=0,
                    max_size=CONNECTIONS,
                    timeout=WAIT_S,
                    open=True,
                )
            return self._pool


def _read_only(con: Connection) -> None:
    con.isolation_level, con.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
