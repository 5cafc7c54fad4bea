"""Keep a warehouse in a folder: one immutable DuckDB file a run, and one link to the published one.

| path in the folder | content |
|---|---|
| wearalike.duckdb | the pointer: a link to the published run's file; readers open it read-only |
| runs/<run>.duckdb | a run's tables, the views current_<table>, the quality of runs loaded before |
| publications.jsonl | every move of the pointer, oldest first |
| recorded/<table>.sqlite | what people do with a run, a row each |

DuckDB lets one process write a file or many read it. So nothing is ever written to a file that can
be read: a file is built under a hidden name, synced and renamed. Publishing replaces the link. No
reader blocks a publish or is blocked by one. A move is noted before the link is replaced; where the
two differ, the link is right.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.storage import atomic
from wearalike.tables import (
    PUBLISHED_TABLES,
    QUALITY,
    Table,
    ddl_columns,
)
from wearalike.warehouse.base import (
    PointerMove,
    PublicationEvent,
    PublicationKind,
    Rejected,
    RunLoad,
    StateCheck,
    Unreachable,
    WarehouseState,
    plan_publish,
)
from wearalike.warehouse.duckdb.connection import CONNECTION_CONFIG, translate_errors
from wearalike.warehouse.duckdb.recorded import RecordedRows
from wearalike.warehouse.duckdb.views import create_views, select_renamed
from wearalike.warehouse.loaded_rows import (
    check_row_count,
    check_run_and_tables,
    clean_batches,
    current_view_ddl,
)

log = logging.getLogger(__name__)

LOCK_WAIT_S = 60.0
# Rows of a row group, which DuckDB writes at once. Batches of this size cost a quarter less than
# small ones, which it first has to join.
ROW_GROUP_ROWS = 122_880
# number counts the loads of the folder.
_LOAD_TABLE_DDL = """CREATE TABLE load (
    run VARCHAR, signature VARCHAR, loaded_at TIMESTAMPTZ, counts JSON, struck_count BIGINT,
    number BIGINT
)"""


class DuckDBWarehouse:
    """A warehouse in a folder; see `base.Warehouse`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = folder / "wearalike.duckdb"
        self._runs_dir = folder / "runs"
        self._publications_path = folder / "publications.jsonl"
        self._recorded = RecordedRows(folder / "recorded")

    def load(
        self, run: str, rows: Mapping[str, ds.Dataset], counts: Mapping[str, int], signature: str
    ) -> RunLoad:
        check_run_and_tables(run, rows)
        with self._hold_lock("load"):
            for left in self._runs_dir.glob(".*"):  # by a killed load: this one holds the lock
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            hidden = self._runs_dir / f".{run}.duckdb"
            try:
                made = self._build_run_file(hidden, run, rows, counts, signature)
                with self._hold_lock("pointer"):
                    atomic.commit_file(hidden, self.run_file(run))
            finally:
                for left in (hidden, hidden.with_name(f"{hidden.name}.wal")):
                    left.unlink(missing_ok=True)
        return made

    def publish(
        self,
        run: str,
        note: str | None = None,
        check: StateCheck | None = None,
        *,
        is_again: bool = True,
    ) -> PointerMove:
        return self._move_pointer(
            PublicationKind.PUBLISH, plan_publish(run, check, is_again=is_again), note
        )

    def rollback(self) -> PointerMove:
        return self._move_pointer(PublicationKind.ROLLBACK, WarehouseState.rollback_move, None)

    def state(self) -> WarehouseState:
        with self._open_runs() as (_, state, _):
            return state

    def prune(self, keep: int) -> list[str]:
        with self._hold_lock("pointer"):
            gone = self.state().prunable_runs(keep)
            for run in gone:
                self.run_file(run).unlink()
        return gone

    def record(self, run: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        self._recorded.add(run, table, rows)

    def may_record(self, table: Table) -> bool:
        return self._recorded.may_add()

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._open_runs() as (con, state, catalogs):
            if state.published_run and state.published_run not in catalogs:
                raise Unreachable(
                    f"{self.run_file(state.published_run)}: the published run cannot be read;"
                    " publish it again with --force, or `wearalike rollback`"
                )
            create_views(con, state, catalogs, self._recorded)
            cursor = con.execute(statement, list(parameters))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _build_run_file(
        self,
        path: Path,
        run: str,
        rows: Mapping[str, ds.Dataset],
        counts: Mapping[str, int],
        signature: str,
    ) -> RunLoad:
        with self._open_runs() as (con, state, catalogs):
            newest = next(iter(state.loads), None)
            number = 1 + max(
                (_read_load_number(con, catalog) for catalog in catalogs.values()), default=0
            )
        struck: Counter[str] = Counter()
        with translate_errors(f"{path}: "), duckdb.connect(path, config=CONNECTION_CONFIG) as con:
            # The run that the views of this file show.
            con.execute("CREATE TABLE published AS SELECT $1 AS run", [run])
            for table in PUBLISHED_TABLES:
                con.execute(f"CREATE TABLE {table.name} (\n    {ddl_columns(table, 'duckdb')}\n)")
                check_row_count(
                    run, table, _copy_rows(con, run, table, rows[table.name], struck), counts
                )
                con.execute(current_view_ddl(table))
            con.execute(_LOAD_TABLE_DDL)
            made = RunLoad(run, signature, datetime.now(UTC), dict(counts), struck.total())
            con.execute(
                "INSERT INTO load VALUES ($1, $2, $3, $4, $5, $6)",
                [
                    run,
                    signature,
                    made.loaded_at,
                    json.dumps(made.counts),
                    made.struck_count,
                    number,
                ],
            )
            if newest:
                self._copy_former_quality(con, newest.run, run)
            con.execute("FORCE CHECKPOINT")
        return made

    def _copy_former_quality(self, con: duckdb.DuckDBPyConnection, newest: str, run: str) -> None:
        """Copy the quality of all runs from the newest file into that of a run."""
        path = self.run_file(newest)
        con.execute("ATTACH $1 AS newest (READ_ONLY)", [str(path)])
        try:
            former = select_renamed(con, "newest", QUALITY)
            con.execute(f"INSERT INTO quality BY NAME {former} WHERE run <> $1", [run])
        except (duckdb.IOException, duckdb.SerializationException) as error:
            log.warning("%s: its quality cannot be read and is lost: %s", path, _first_line(error))
        con.execute("DETACH newest")

    def _move_pointer(
        self,
        kind: PublicationKind,
        plan_move: Callable[[WarehouseState], PointerMove],
        note: str | None,
    ) -> PointerMove:
        with self._hold_lock("pointer"):
            state = self.state()
            move = plan_move(state)
            moves = [
                *state.publications,
                PublicationEvent(move.to_run, datetime.now(UTC), kind, note),
            ]
            lines = "".join(
                json.dumps(asdict(m), default=datetime.isoformat, ensure_ascii=False) + "\n"
                for m in moves
            )
            atomic.write_bytes(self._publications_path, lines.encode())
            with atomic.replace_file(self.link) as hidden:
                hidden.symlink_to(self.run_file(move.to_run).relative_to(self.folder))
        return move

    def read_publications(self) -> list[PublicationEvent]:
        """Read the log and make it agree with the link.

        A last move that was noted but not made did not happen.
        """
        if not self.link.is_symlink():
            return []
        lines = (
            self._publications_path.read_text(encoding="utf-8").splitlines()
            if self._publications_path.exists()
            else []
        )
        moves = [
            PublicationEvent(
                m["run"],
                datetime.fromisoformat(m["published_at"]),
                PublicationKind(m["kind"]),
                m["note"],
            )
            for m in map(json.loads, lines)
        ]
        run = self.link.readlink().stem
        if moves and moves[-1].run != run:
            moves.pop()
        if not moves or moves[-1].run != run:
            moved_at = datetime.fromtimestamp(self.link.lstat().st_mtime, UTC)
            moves.append(PublicationEvent(run, moved_at, PublicationKind.PUBLISH, "not in the log"))
        return moves

    @contextlib.contextmanager
    def _open_runs(
        self,
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, WarehouseState, dict[str, str]]]:
        """Yield a new connection with every run's file attached, the state, and each run's catalog.

        The runs are newest first. The connection is new because DuckDB caches files by path: an
        opened path would give the file that this process saw last, not the one that replaced it.
        """
        with translate_errors(f"{self.folder}: "), duckdb.connect(config=CONNECTION_CONFIG) as con:
            found: list[tuple[int, RunLoad, str]] = []
            for number, path in enumerate(sorted(self._runs_dir.glob("[!.]*.duckdb"))):
                catalog = f"run_{number}"
                try:
                    con.execute(f"ATTACH $1 AS {catalog} (READ_ONLY)", [str(path)])
                    load = _read_load(con, catalog)
                    found.append((_read_load_number(con, catalog), load, catalog))
                except (duckdb.Error, IndexError, ValueError) as error:
                    if not path.exists():
                        continue  # pruned since it was listed
                    if _is_held(error):
                        raise
                    # Its blocks or its header are damaged. The other runs go on without it.
                    log.warning("%s cannot be read and is left out: %s", path, _first_line(error))
            found.sort(key=lambda one: (one[0], one[1].loaded_at, one[1].run), reverse=True)
            state = WarehouseState(
                tuple(load for _, load, _ in found), tuple(self.read_publications())
            )
            yield con, state, {load.run: catalog for _, load, catalog in found}

    def run_file(self, run: str) -> Path:
        """Return the path of a run's file."""
        return self._runs_dir / f"{run}.duckdb"

    @contextlib.contextmanager
    def _hold_lock(self, lock_name: str) -> Iterator[None]:
        """Keep other processes from loading, or from moving the pointer, during the block."""
        self._runs_dir.mkdir(parents=True, exist_ok=True)
        lock = atomic.lock_file(self.folder / f".{lock_name}.lock", LOCK_WAIT_S)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock)
            except atomic.LockTimeout as error:
                holder = atomic.find_lock_holder(self.folder / f".{lock_name}.lock")
                raise Unreachable(
                    f"{self.folder}: another process holds the {lock_name} lock for"
                    f" {LOCK_WAIT_S:.0f} s" + (f": {holder}" if holder else "")
                ) from error
            yield


def _copy_rows(
    con: duckdb.DuckDBPyConnection, run: str, table: Table, rows: ds.Dataset, struck: Counter[str]
) -> int:
    """Copy the rows and return how many. Raises Rejected where a key comes twice."""
    con.register(
        "incoming",
        pa.RecordBatchReader.from_batches(
            table.arrow_schema, clean_batches(table, rows, struck, ROW_GROUP_ROWS)
        ),
    )
    (count,) = con.execute(
        f"INSERT INTO {table.name} SELECT $1, * FROM incoming", [run]
    ).fetchall()[0]
    con.unregister("incoming")
    key = ", ".join(table.key)
    # As many distinct hashes as rows means that no key comes twice, at two thirds of the cost of
    # comparing keys. With fewer, two different keys may still share a hash.
    (hashes_count,) = con.execute(
        f"SELECT count(DISTINCT hash({key})) FROM {table.name}"
    ).fetchall()[0]
    if hashes_count == count:
        return count
    twice = con.execute(
        f"SELECT {key} FROM {table.name} GROUP BY {key} HAVING count(*) > 1 ORDER BY {key} LIMIT 1"
    ).fetchall()
    if twice:
        values = dict(zip(table.key, twice[0], strict=True))
        raise Rejected(f"{table.name} of run {run}: the key {values} comes twice")
    return count


def _read_load(con: duckdb.DuckDBPyConnection, catalog: str) -> RunLoad:
    """Return the load that a run's file holds."""
    run, signature, loaded_at, counts, struck_count = con.execute(
        f"SELECT run, signature, loaded_at, counts, struck_count FROM {catalog}.load"
    ).fetchall()[0]
    return RunLoad(run, signature, loaded_at, json.loads(counts), struck_count)


def _is_held(error: Exception) -> bool:
    """Return whether another process has the file open for writing."""
    return isinstance(error, duckdb.IOException) and "lock" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


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
