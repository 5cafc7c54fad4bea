"""Read the published run's file through a connection that stays open.

Another file is opened as soon as the link leads to it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from wearalike.tables import LOADED_TABLES
from wearalike.warehouse.base import WarehouseState
from wearalike.warehouse.duckdb.connection import CONNECTION_CONFIG, fetch_rows, translate_errors
from wearalike.warehouse.duckdb.load import DuckDBWarehouse
from wearalike.warehouse.duckdb.views import is_current, select_current
from wearalike.warehouse.reader import LoadedRuns, NotPublished, PublicationSnapshot

# The server also searches and runs detectors. The queries of a page need a few MB.
_RESOURCE_LIMITS: dict[str, Any] = {"threads": 2, "memory_limit": "1GB"}


@dataclass(frozen=True, slots=True)
class _OpenRun:
    """The file that is open.

    Attributes:
        file_identity: Inodes, times and size of link and file when it was opened.
        connection: Has the file attached as `shown`.
        catalog: The catalog to read, see `_choose_catalog`.
        run: The published run.
        published_at: UTC.
        signature: Equal signatures promise equal tables.
    """

    file_identity: tuple[Any, ...]
    connection: duckdb.DuckDBPyConnection
    catalog: str
    run: str
    published_at: datetime
    signature: str


class DuckDBReader:
    """Reader of a DuckDB warehouse; see `reader.WarehouseReader`."""

    def __init__(self, folder: Path) -> None:
        self._warehouse = DuckDBWarehouse(folder)
        self._open_run: _OpenRun | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[PublicationSnapshot]:
        with translate_errors(f"{self._warehouse.folder}: "):
            with self._lock:
                opened = self._reopen_if_moved()
                cursor = opened.connection.cursor()
            with cursor, translate_errors(f"{self._warehouse.run_file(opened.run)}: "):
                cursor.execute(f"USE {opened.catalog}")
                yield PublicationSnapshot(
                    opened.run,
                    opened.published_at,
                    opened.signature,
                    lambda s, p: fetch_rows(cursor.execute(s, list(p))),
                )

    def state(self) -> WarehouseState:
        return self._warehouse.state()

    def query_quality(self, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        return self._warehouse.query(statement, parameters)

    @contextlib.contextmanager
    def loaded_runs(self) -> Iterator[LoadedRuns]:
        self._published_file_identity()  # raises NotPublished
        with self._warehouse.open_tables() as (con, state):
            for name, value in _RESOURCE_LIMITS.items():
                con.execute(f"SET {name} = '{value}'")
            yield LoadedRuns(state, lambda s, p: fetch_rows(con.execute(s, list(p))))

    def close(self) -> None:
        with self._lock:
            self._open_run = None

    def _reopen_if_moved(self) -> _OpenRun:
        """Return the file that the link leads to now; open it only if it is another one."""
        opened = self._open_run
        if opened is None or opened.file_identity != self._published_file_identity():
            # Closing the former connection would close the cursors that others still hold. The file
            # is released with the last of them.
            opened = self._open_run = self._open_published()
        return opened

    def _open_published(self) -> _OpenRun:
        while True:
            seen = self._published_file_identity()
            publication = self._warehouse.read_publications()[-1]
            # DuckDB caches files by path: an opened path would give the file that this process saw
            # last, not the one that replaced it. So it is attached.
            connection = duckdb.connect(config={**CONNECTION_CONFIG, **_RESOURCE_LIMITS})
            connection.execute(
                "ATTACH $1 AS shown (READ_ONLY)", [str(self._warehouse.run_file(publication.run))]
            )
            catalog = _choose_catalog(connection)
            (signature,) = connection.execute("SELECT signature FROM shown.load").fetchall()[0]
            if seen == self._published_file_identity():
                return _OpenRun(
                    seen, connection, catalog, publication.run, publication.published_at, signature
                )
            connection.close()

    def _published_file_identity(self) -> tuple[Any, ...]:
        try:
            link, file = self._warehouse.link.lstat(), self._warehouse.link.stat()
        except FileNotFoundError:
            raise NotPublished(f"{self._warehouse.folder}: nothing is published yet") from None
        return link.st_ino, link.st_mtime_ns, file.st_ino, file.st_mtime_ns, file.st_size


def _choose_catalog(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the catalog to read: the file itself, or views on it with the present columns.

    A file of an earlier version is read after an upgrade until the next run, and after a rollback.
    """
    if all(is_current(connection, "shown", table) for table in LOADED_TABLES):
        return "shown"
    connection.execute("CREATE VIEW load AS SELECT * FROM shown.load")
    for table in LOADED_TABLES:
        for name in (table.name, f"current_{table.name}"):
            select = select_current(connection, "shown", table, name)
            connection.execute(f"CREATE VIEW {name} AS {select}")
    return "memory"
