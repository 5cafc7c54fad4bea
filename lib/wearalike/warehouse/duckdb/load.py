"""Keep a warehouse in a folder: one immutable DuckDB file a run, and one link to the published one.

| path in the folder | content |
|---|---|
| wearalike.duckdb | the pointer: a link to the published run's file; readers open it read-only |
| runs/<run>.duckdb | a run's tables, and the views current_<table> |
| quality/ | the quality of every run that was ever loaded; see `quality_history` |
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
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.storage import atomic
from wearalike.tables import LOADED_TABLES, QUALITY, Table
from wearalike.warehouse.base import (
    PointerMove,
    PublicationEvent,
    PublicationKind,
    RunLoad,
    StateCheck,
    Unreachable,
    WarehouseState,
    plan_publish,
)
from wearalike.warehouse.duckdb.attached_runs import AttachedRuns, attach_runs
from wearalike.warehouse.duckdb.connection import fetch_rows, first_line
from wearalike.warehouse.duckdb.damage import DamagedFiles, may_be_damage, read_to_end
from wearalike.warehouse.duckdb.quality_history import QualityHistory, split_by_run
from wearalike.warehouse.duckdb.recorded import RecordedRows
from wearalike.warehouse.duckdb.run_file import build_run_file
from wearalike.warehouse.duckdb.views import create_views, select_current
from wearalike.warehouse.loaded_rows import check_run_and_tables

log = logging.getLogger(__name__)

LOCK_WAIT_S = 60.0
# A table of which each run's file holds that run alone.
_RUN_TABLE_NAME = re.compile(
    rf"\b({'|'.join(table.name for table in LOADED_TABLES if table is not QUALITY)})\b"
)


class DuckDBWarehouse:
    """A warehouse in a folder; see `base.Warehouse`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = folder / "wearalike.duckdb"
        self._runs_dir = folder / "runs"
        self._publications_path = folder / "publications.jsonl"
        self._recorded = RecordedRows(folder / "recorded")
        self._quality = QualityHistory(folder / "quality")
        self._damaged = DamagedFiles()

    def load(
        self, run: str, rows: Mapping[str, ds.Dataset], counts: Mapping[str, int], signature: str
    ) -> RunLoad:
        check_run_and_tables(run, rows)
        with self._hold_lock("load"):
            for left in self._runs_dir.glob(".*"):  # by a killed load: this one holds the lock
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            hidden = self._runs_dir / f".{run}.duckdb"
            with self._attach_runs() as runs:
                self._keep_missing_quality(runs)
                number = runs.next_load_number()
            try:
                made, quality = build_run_file(hidden, run, rows, counts, signature, number)
                with self._hold_lock("pointer"):
                    atomic.commit_file(hidden, self.run_file(run))
                # After it: a run that shows has its own quality, whatever is kept.
                self._quality.keep(run, quality)
                self._quality.merge({*runs.catalogs, run})
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
        return self._move_pointer(PublicationKind.ROLLBACK, self._plan_rollback, None)

    def state(self) -> WarehouseState:
        with self._attach_runs() as runs:
            return runs.state

    def prune(self, keep: int) -> list[str]:
        with self._hold_lock("pointer"):
            with self._attach_runs() as runs:
                gone = runs.state.prunable_runs(keep)
                if self._quality.is_begun:
                    for run in gone:
                        self._keep_quality(runs, run)
            for run in gone:
                self.run_file(run).unlink()
        return gone

    def record(self, run: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        self._recorded.add(run, table, rows)

    def may_record(self, table: Table) -> bool:
        return self._recorded.may_add()

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        left_out: dict[Path, str] = {}
        while True:
            with self._attach_runs() as runs:
                self._check_left_out(runs, left_out, statement, parameters)
                kept = self._quality.list_paths()
                catalogs = self._create_views(runs, left_out, statement)
                try:
                    return fetch_rows(runs.connection.execute(statement, list(parameters)))
                except duckdb.Error as error:
                    found = self._find_damage(error, catalogs, left_out)
                    # Files that were merged meanwhile are listed anew.
                    is_moved = may_be_damage(error) and not all(path.exists() for path in kept)
                    if not found and not is_moved:
                        raise
                    left_out |= found

    @contextlib.contextmanager
    def open_tables(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, WarehouseState]]:
        """Yield a connection whose tables hold the runs of the state, for several statements.

        Files that are known to be damaged are left out. One that shows its damage in the block ends
        it; the next block goes without it.

        Raises:
            Unreachable: The published run's file cannot be read, or a file is damaged.
        """
        left_out = self._damaged.known(self.list_files())
        with self._attach_runs() as runs:
            self._check_left_out(runs, left_out, "", ())
            catalogs = self._create_views(runs, left_out, "")
            loads = tuple(load for load in runs.state.loads if load.run in catalogs)
            try:
                yield runs.connection, replace(runs.state, loads=loads)
            except duckdb.Error as error:
                found = self._find_damage(error, catalogs, left_out)
                if not found:
                    raise
                names = ", ".join(map(str, found))
                raise Unreachable(f"{names}: damaged; the next question goes without") from error

    def _create_views(
        self, runs: AttachedRuns, left_out: Mapping[Path, str], statement: str
    ) -> dict[str, str]:
        """Create the views for a statement to come; return the name of each run's file in them."""
        catalogs = {
            run: catalog
            for run, catalog in runs.catalogs.items()
            if self.run_file(run) not in left_out
        }
        former = None
        if self._quality.is_begun:
            former = self._quality.open_datasets(catalogs, left_out)
        create_views(runs.connection, runs.state, catalogs, self._recorded, former, statement)
        return catalogs

    def _find_damage(
        self, error: duckdb.Error, catalogs: Mapping[str, str], left_out: Mapping[Path, str]
    ) -> dict[Path, str]:
        """Return the damaged files behind an error; none where it comes from something else."""
        if not may_be_damage(error):
            return {}
        paths = [*map(self.run_file, catalogs), *self._quality.list_paths()]
        return self._damaged.search(path for path in paths if path not in left_out)

    def list_files(self) -> list[Path]:
        """Return the files of runs, then those of kept quality."""
        return [*sorted(self._runs_dir.glob("[!.]*.duckdb")), *self._quality.list_paths()]

    def find_faults(self) -> dict[Path, str]:
        """Read every file to its end; return the faults of those that are damaged."""
        return {path: fault for path in self.list_files() if (fault := read_to_end(path))}

    def _check_left_out(
        self,
        runs: AttachedRuns,
        left_out: Mapping[Path, str],
        statement: str,
        parameters: Sequence[Any],
    ) -> None:
        """Say which files a question goes without. Raise Unreachable where it asks for them."""
        faults = runs.faults | {
            path.stem: fault for path, fault in left_out.items() if path.suffix != ".parquet"
        }
        published = runs.state.published_run
        if published and (published in faults or published not in runs.catalogs):
            raise Unreachable(
                f"{self.run_file(published)}: the published run cannot be read;"
                " publish it again with --force, or `wearalike rollback`"
            )
        for run, fault in faults.items():
            is_named = run in parameters or f"'{run}'" in statement
            if is_named and _RUN_TABLE_NAME.search(statement):
                raise Unreachable(
                    f"{self.run_file(run)}: the file is damaged ({fault}); to load run {run} again:"
                    f" python -m wearalike.pipeline publish_tables --run {run} --force"
                )
        for path, fault in left_out.items():
            log.warning("%s is damaged and left out of the answer: %s", path, fault)

    def _plan_rollback(self, state: WarehouseState) -> PointerMove:
        """Return the move to the last run published before whose file is whole."""
        while target := state.rollback_target:
            fault = read_to_end(self.run_file(target))
            if not fault:
                break
            log.warning("%s is damaged; rolling back past it: %s", self.run_file(target), fault)
            state = replace(state, loads=tuple(one for one in state.loads if one.run != target))
        return state.rollback_move()

    def _keep_missing_quality(self, runs: AttachedRuns) -> None:
        """Keep the quality of runs of which none is kept yet.

        Earlier versions wrote the quality of all runs into every file. A load may also have been
        killed at its end.
        """
        if self._quality.is_begun:
            for run in runs.catalogs.keys() - self._quality.list_runs():
                self._keep_quality(runs, run)
            return
        found: dict[str, pa.Table] = {}
        for run in runs.catalogs:
            if rows := self._read_quality(runs, run, "run = $1", run):
                found[run] = rows
        for run in runs.catalogs:
            rows = self._read_quality(runs, run, "NOT list_contains($1, run)", list(found))
            found |= split_by_run(rows) if rows else {}
        self._quality.begin(found)

    def _keep_quality(self, runs: AttachedRuns, run: str) -> None:
        if rows := self._read_quality(runs, run, "run = $1", run):
            self._quality.keep(run, rows)

    def _read_quality(
        self, runs: AttachedRuns, run: str, condition: str, parameter: Any
    ) -> pa.Table | None:
        """Return rows of a file's quality; None for none, and where it is damaged."""
        con, catalog = runs.connection, runs.catalogs[run]
        try:
            select = select_current(con, catalog, QUALITY)
            found = con.sql(f"{select} WHERE {condition}", params=[parameter])
            rows: pa.Table = found.to_arrow_table()
        except duckdb.Error as error:
            path = self.run_file(run)
            log.warning("%s: its quality cannot be read: %s", path, first_line(error))
            return None
        return rows if len(rows) else None

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

    def _attach_runs(self) -> contextlib.AbstractContextManager[AttachedRuns]:
        return attach_runs(self._runs_dir, self.read_publications)

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
