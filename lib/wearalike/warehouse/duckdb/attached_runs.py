"""Attach the files of all runs to one connection."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from wearalike.warehouse.base import PublicationEvent, RunLoad, WarehouseState
from wearalike.warehouse.duckdb.connection import (
    CONNECTION_CONFIG,
    first_line,
    is_held,
    translate_errors,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttachedRuns:
    """The files of a warehouse's runs, attached to a connection.

    Attributes:
        connection: The connection.
        state: The loads that can be read, and the publications.
        catalogs: The name of each run's file in the connection, the newest load first.
        faults: Runs whose file could not be attached, each with DuckDB's words.
    """

    connection: duckdb.DuckDBPyConnection
    state: WarehouseState
    catalogs: dict[str, str]
    faults: dict[str, str]

    def next_load_number(self) -> int:
        """Return the number of the next load of this folder."""
        numbers = (_read_load_number(self.connection, name) for name in self.catalogs.values())
        return 1 + max(numbers, default=0)


@contextlib.contextmanager
def attach_runs(
    runs_dir: Path, read_publications: Callable[[], list[PublicationEvent]]
) -> Iterator[AttachedRuns]:
    """Yield a new connection with every run's file attached.

    The connection is new because DuckDB caches files by path: an opened path would give the file
    that this process saw last, not the one that replaced it.

    Args:
        runs_dir: The folder of the files.
        read_publications: Reads the moves of the pointer, once the files are attached.
    """
    with (
        translate_errors(f"{runs_dir.parent}: "),
        duckdb.connect(config=CONNECTION_CONFIG) as con,
    ):
        found: list[tuple[int, RunLoad, str]] = []
        faults = {}
        for number, path in enumerate(sorted(runs_dir.glob("[!.]*.duckdb"))):
            catalog = f"run_{number}"
            try:
                con.execute(f"ATTACH $1 AS {catalog} (READ_ONLY)", [str(path)])
                load = _read_load(con, catalog)
                found.append((_read_load_number(con, catalog), load, catalog))
            except (duckdb.Error, IndexError, ValueError) as error:
                if not path.exists():
                    continue  # pruned since it was listed
                if is_held(error):
                    raise
                # Its blocks or its header are damaged. The other runs go on without it.
                faults[path.stem] = first_line(error)
                log.warning("%s cannot be read and is left out: %s", path, faults[path.stem])
        found.sort(key=lambda one: (one[0], one[1].loaded_at, one[1].run), reverse=True)
        state = WarehouseState(tuple(load for _, load, _ in found), tuple(read_publications()))
        catalogs = {load.run: catalog for _, load, catalog in found}
        yield AttachedRuns(con, state, catalogs, faults)


def _read_load(con: duckdb.DuckDBPyConnection, catalog: str) -> RunLoad:
    """Return the load that a run's file holds."""
    run, signature, loaded_at, counts, struck_count = con.execute(
        f"SELECT run, signature, loaded_at, counts, struck_count FROM {catalog}.load"
    ).fetchall()[0]
    return RunLoad(run, signature, loaded_at, json.loads(counts), struck_count)


def _read_load_number(con: duckdb.DuckDBPyConnection, catalog: str) -> int:
    """Return the number of a file's load in this folder; 0 where an earlier version wrote it.

    Loads are ordered by it, whatever the clock said.
    """
    has_number = (
        "SELECT 1 FROM duckdb_columns()"
        " WHERE database_name = $1 AND table_name = 'load' AND column_name = 'number'"
    )
    if not con.execute(has_number, [catalog]).fetchall():
        return 0
    return int(con.execute(f"SELECT number FROM {catalog}.load").fetchall()[0][0])
