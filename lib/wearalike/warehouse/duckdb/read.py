"""The published run's file, kept open for reading; another one is opened as soon as the link leads to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from wearalike.warehouse.base import State
from wearalike.warehouse.duckdb.load import CONFIG, DuckDB, errors
from wearalike.warehouse.reader import Glance, NotPublished

# Of a server that also searches and sees photos; a page's questions take a few MB.
_LIMITS: dict[str, Any] = {"threads": 2, "memory_limit": "1GB"}


@dataclass(frozen=True, slots=True)
class _Opened:
    """seen: what told the file from others when it was opened."""

    seen: tuple[Any, ...]
    connection: duckdb.DuckDBPyConnection
    run: str
    published_at: datetime
    signature: str


class DuckDBReader:
    def __init__(self, folder: Path) -> None:
        self._warehouse = DuckDB(folder)
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def glance(self) -> Iterator[Glance]:
        with errors(f"{self._warehouse.folder}: "):
            with self._lock:
                opened = self._current()
                cursor = opened.connection.cursor()
            with cursor:
                cursor.execute("USE shown")
                yield Glance(
                    opened.run,
                    opened.published_at,
                    opened.signature,
                    lambda s, p: _rows(cursor.execute(s, list(p))),
                )

    def state(self) -> State:
        return self._warehouse.state()

    def quality(self, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        return self._warehouse.ask(statement, parameters)

    def close(self) -> None:
        with self._lock:
            self._opened = None

    def _current(self) -> _Opened:
        """The file that the link leads to now; a look at the link alone where it is the one that is open."""
        opened = self._opened
        if opened is None or opened.seen != self._seen():
            # Not closed, which would close the cursors that others still hold: the file is let go of with the last of them.
            opened = self._opened = self._open()
        return opened

    def _open(self) -> _Opened:
        while True:
            seen = self._seen()
            publication = self._warehouse.publications()[-1]
            # Attached, not opened by its path: that would be the file this process saw last, not the one that took its place.
            connection = duckdb.connect(config={**CONFIG, **_LIMITS})
            connection.execute(
                "ATTACH $1 AS shown (READ_ONLY)", [str(self._warehouse.file(publication.run))]
            )
            (signature,) = connection.execute("SELECT signature FROM shown.load").fetchall()[0]
            if seen == self._seen():
                return _Opened(
                    seen, connection, publication.run, publication.published_at, signature
                )
            connection.close()

    def _seen(self) -> tuple[Any, ...]:
        try:
            link, file = self._warehouse.link.lstat(), self._warehouse.link.stat()
        except FileNotFoundError:
            raise NotPublished(f"{self._warehouse.folder}: nothing is published yet") from None
        return link.st_ino, link.st_mtime_ns, file.st_ino, file.st_mtime_ns, file.st_size


def _rows(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
