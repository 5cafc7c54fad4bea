"""Keep a warehouse in PostgreSQL: schema `wearalike`, one partition a run, and a publication log.

A load is one transaction. The rows of each table go by COPY into a table of their own, which is
indexed and analysed. At the very end it is attached as the partition of its run. So readers wait
only for the instant in which a loaded run is replaced or dropped. Publishing inserts one row into
`publications`; its last row is the pointer, and the views follow it.

`quality` keeps the runs that were pruned, so all its runs share one partition: what a reader plans
and locks does not grow with the nights.

COPY takes PostgreSQL's binary format (copy.py). The server's parsing is the limit, and it parses
binary in two thirds of the time of CSV or text. Encoding ahead in a thread gained nothing on two
cores.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import psycopg
import pyarrow.dataset as ds
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Json
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from wearalike.tables import LOADED_TABLES, QUALITY, Table
from wearalike.warehouse.base import (
    PointerMove,
    PublicationKind,
    Rejected,
    RunLoad,
    StateCheck,
    Unreachable,
    WarehouseState,
    plan_publish,
)
from wearalike.warehouse.loaded_rows import check_row_count, check_run_and_tables, find_rows
from wearalike.warehouse.postgres.partitions import (
    copy_rows,
    describe_lock_holders,
    drop_partitions,
    find_partitions,
    find_quality_partitions,
    merge_quality_partitions,
    refresh_partition_lists,
    replace_quality,
    wait_for_planned_statements,
)
from wearalike.warehouse.postgres.schema import (
    CONNECTION_OPTIONS,
    PARENT_TABLES,
    Connection,
    create_schema,
    identifier_list,
    read_state,
    recorded_ddl,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_TRIES = 5
# A server that was reached and is gone is probably being restarted.
RESTART_WAIT_S = 60.0
LOCK_WAIT_S = 60.0
# The tables that have a partition for each run.
_RUN_TABLES = [table for table in LOADED_TABLES if table is not QUALITY]
_RUN_TABLE_NAMES = [table.name for table in _RUN_TABLES]


# $1: the table, which exists after the first publication.
_MAY_RECORD_SQL = """
SELECT current_setting('transaction_read_only') = 'off' AND CASE
    WHEN to_regclass($1) IS NULL THEN has_schema_privilege('wearalike', 'CREATE')
    ELSE has_table_privilege(to_regclass($1), 'INSERT')
        AND has_table_privilege(to_regclass($1), 'UPDATE')
END AS may_record
"""


class PostgresWarehouse:
    """A warehouse in PostgreSQL; see `base.Warehouse`."""

    def __init__(self, address: str) -> None:
        """Take the address; nothing is connected yet.

        Args:
            address: "postgresql://user:password@host:port/database".

        Raises:
            ValueError: libpq cannot read the address. The text never repeats it.
        """
        try:
            self.conninfo = make_conninfo(
                address, application_name="wearalike", connect_timeout=10, client_encoding="utf8"
            )
        except psycopg.ProgrammingError:
            # Its text may repeat the password.
            raise ValueError(
                "warehouse: wanted postgresql://user:password@host:port/database, got something"
                " libpq cannot read"
            ) from None
        parts = conninfo_to_dict(self.conninfo)
        self._password = str(parts.get("password") or "")
        ports = str(parts.get("port", "5432"))
        if not all(port.isdecimal() for port in ports.split(",")):
            raise ValueError(
                "warehouse: wanted postgresql://user:password@host:port/database, got a port that"
                " is no number"
            )
        self.location = f"PostgreSQL {parts.get('host', 'here')}:{ports}/{parts.get('dbname', '')}"

    def load(
        self, run: str, rows: Mapping[str, ds.Dataset], counts: Mapping[str, int], signature: str
    ) -> RunLoad:
        check_run_and_tables(run, rows)

        def work(con: Connection) -> None:
            struck: Counter[str] = Counter()
            number = con.execute(
                "SELECT nextval(pg_get_serial_sequence('loads', 'number')) AS number"
            ).fetchall()[0]["number"]
            for table in _RUN_TABLES:
                check_row_count(
                    run,
                    table,
                    copy_rows(con, run, table, number, find_rows(rows, table), struck),
                    counts,
                )
            former = self._lock_partitions(
                con,
                lambda: [
                    *find_partitions(con, _RUN_TABLE_NAMES, [run]),
                    *find_quality_partitions(con),
                ],
            )
            former_quality = find_quality_partitions(con)
            drop_partitions(con, [name for name in former if name not in former_quality])
            merge_quality_partitions(con, former_quality)
            # Loads come one after the other from here on.
            quality_count = replace_quality(con, run, rows[QUALITY.name], struck)
            check_row_count(run, QUALITY, quality_count, counts)
            for name in _RUN_TABLE_NAMES:
                names = Identifier(name), Identifier(f"{name}_{number}"), sql.Literal(run)
                con.execute(
                    SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(*names)
                )
            con.execute("DELETE FROM loads WHERE run = $1", [run])
            con.execute(
                "INSERT INTO loads (number, run, signature, counts, struck_count)"
                " VALUES ($1, $2, $3, $4, $5)",
                [number, run, signature, Json(dict(counts)), struck.total()],
            )

        self._run_transaction(work)
        made = self.state().find_load(run)
        if made is None:
            raise Rejected(
                f"{self.location}: run {run} was dropped by another process as soon as it was"
                " loaded"
            )
        return made

    def publish(
        self,
        run: str,
        note: str | None = None,
        check: StateCheck | None = None,
        *,
        is_again: bool = True,
    ) -> PointerMove:
        # Once for those who may read the lists right now, and once for those who used an old one.
        self._run_transaction(wait_for_planned_statements)
        self._run_transaction(refresh_partition_lists)
        self._run_transaction(wait_for_planned_statements)
        return self._move_pointer(
            PublicationKind.PUBLISH, plan_publish(run, check, is_again=is_again), note
        )

    def rollback(self) -> PointerMove:
        return self._move_pointer(PublicationKind.ROLLBACK, WarehouseState.rollback_move, None)

    def state(self) -> WarehouseState:
        return self._run_transaction(read_state)

    def prune(self, keep: int) -> list[str]:
        def work(con: Connection) -> list[str]:
            # Quality is kept for ever.
            drop_partitions(
                con,
                self._lock_partitions(
                    con,
                    lambda: find_partitions(
                        con, _RUN_TABLE_NAMES, read_state(con).prunable_runs(keep)
                    ),
                ),
            )
            gone = read_state(con).prunable_runs(keep)
            con.execute("DELETE FROM loads WHERE run = ANY($1)", [gone])
            return gone

        return self._run_transaction(work)

    def record(self, run: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = ["run", *table.column_names]
        key = identifier_list(["run", *table.key])
        changed = [SQL("{0} = excluded.{0}").format(Identifier(name)) for name in columns]
        statement = SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
            Identifier(table.name),
            identifier_list(columns),
            SQL(", ").join(SQL(f"${n}") for n in range(1, len(columns) + 1)),
            key,
            SQL(", ").join(changed),
        )

        def work(con: Connection) -> None:
            # An earlier version may have created the schema without this table.
            if not con.execute(
                "SELECT to_regclass($1) AS found", [f"wearalike.{table.name}"]
            ).fetchall()[0]["found"]:
                con.execute(recorded_ddl(table))
            for row in rows:
                con.execute(statement, [{"run": run, **row}[name] for name in columns])

        self._run_transaction(work)

    def may_record(self, table: Table) -> bool:
        rows = self.query(_MAY_RECORD_SQL, [f"wearalike.{table.name}"])
        return bool(rows and rows[0]["may_record"])

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        # The statement is one of sql/ or of this library; what varies is in the parameters.
        return self._run_with_retries(
            lambda con: con.execute(statement.encode(), list(parameters)).fetchall()
        )

    def _move_pointer(
        self,
        kind: PublicationKind,
        plan_move: Callable[[WarehouseState], PointerMove],
        note: str | None,
    ) -> PointerMove:
        seen = self.state()
        move = plan_move(seen)

        def work(con: Connection) -> None:
            nonlocal move
            con.execute("LOCK TABLE publications IN SHARE ROW EXCLUSIVE MODE")
            now = read_state(con)
            is_moved = now.publications != seen.publications
            if is_moved and now.published_run == move.to_run:
                return  # an earlier try was committed although its connection broke
            move = plan_move(now)  # the run may have been pruned, or be forbidden by now
            if is_moved and kind is not PublicationKind.PUBLISH:
                raise Rejected(
                    f"{self.location}: another process moved the pointer to"
                    f" {now.published_run}; nothing was changed"
                )
            con.execute(
                "INSERT INTO publications (run, kind, note) VALUES ($1, $2, $3)",
                [move.to_run, str(kind), note],
            )

        self._run_transaction(work)
        return move

    def _lock_partitions(
        self, con: Connection, find_partitions: Callable[[], list[str]]
    ) -> list[str]:
        """Lock the tables and return the partitions to drop.

        Each try takes a tenth of a second. So readers never queue behind us for longer, nor for as
        long as the server's deadlock check (1 s) that could pick one of them. Readers are not kept
        out where nothing is to be dropped.

        Args:
            con: A connection in a transaction.
            find_partitions: Finds the partitions while other writers wait.

        Raises:
            Unreachable: Readers held the tables for LOCK_WAIT_S.
        """

        def once() -> list[str]:
            with con.transaction():
                con.execute("SET LOCAL lock_timeout = '100ms'")
                con.execute("LOCK TABLE publications IN SHARE ROW EXCLUSIVE MODE")
                chosen = find_partitions()
                mode = SQL("ACCESS EXCLUSIVE") if chosen else SQL("SHARE UPDATE EXCLUSIVE")
                names = SQL(", ").join(
                    SQL("ONLY {}").format(Identifier(name)) for name in PARENT_TABLES
                )
                con.execute(SQL("LOCK TABLE {} IN {} MODE").format(names, mode))
                # An autovacuum of an old partition gives way after the time of the deadlock check.
                con.execute("SET LOCAL lock_timeout = '3s'")
            return chosen

        tries = Retrying(
            retry=retry_if_exception_type(psycopg.errors.LockNotAvailable),
            stop=stop_after_delay(LOCK_WAIT_S),
            wait=wait_random(0.05, 0.5),
            retry_error_callback=lambda _: self._raise_tables_held(con),
        )
        return tries(once)

    def _raise_tables_held(self, con: Connection) -> NoReturn:
        raise Unreachable(
            f"{self.location}: other transactions have held the tables for {LOCK_WAIT_S:.0f} s;"
            f" {describe_lock_holders(con)}"
        )

    def _run_transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, retried as a whole, and return its result."""

        def whole(con: Connection) -> T:
            with con.transaction():
                create_schema(con)
                return work(con)

        return self._run_with_retries(whole)

    def _run_with_retries(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a connection of its own and return its result.

        It is retried a few times after errors that may pass: a broken or refused connection, a
        deadlock, a serialization failure. A server that was reached and is gone gets more time.
        """
        broken_at: list[float] = []

        def once() -> T:
            with self._connect() as con:
                started_at_s = time.monotonic()
                try:
                    return work(con)
                except psycopg.errors.LockNotAvailable as error:
                    if time.monotonic() - started_at_s < LOCK_WAIT_S:
                        broken_at.append(time.monotonic())
                        raise
                    raise Unreachable(
                        f"{self.location}: waited {LOCK_WAIT_S:.0f} s for a lock;"
                        f" {describe_lock_holders(con)}"
                    ) from error
                except psycopg.OperationalError:
                    broken_at.append(time.monotonic())
                    raise

        def is_enough(state: RetryCallState) -> bool:
            if not broken_at:
                return state.attempt_number >= MAX_TRIES
            return len(broken_at) >= MAX_TRIES or time.monotonic() - broken_at[-1] > RESTART_WAIT_S

        tries = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=is_enough,
            wait=wait_random_exponential(0.2, max=5),
            before_sleep=self._log_retry,
            reraise=True,
        )
        try:
            return tries(once)
        except psycopg.OperationalError as error:
            is_refused = _REFUSED_LOG_IN.search(str(error))
            raise (Rejected if is_refused else Unreachable)(self.error_text(error)) from None
        except psycopg.Error as error:
            raise Rejected(self.error_text(error)) from None

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Connection]:
        with psycopg.connect(self.conninfo, **CONNECTION_OPTIONS, row_factory=dict_row) as con:
            con.execute("SET search_path TO wearalike")
            # Whoever holds a table may hold it for ever.
            con.execute(f"SET lock_timeout TO {round(LOCK_WAIT_S * 1000)}".encode())
            con.execute("SET timezone TO 'UTC'")
            yield con

    def error_text(self, error: BaseException | None) -> str:
        """Return the text of an error in one line, the password redacted."""
        text = f"{self.location}: {' '.join(str(error).split())}"
        return text.replace(self._password, "***") if self._password else text

    def _log_retry(self, state: RetryCallState) -> None:
        log.warning(
            "%s; try %d, another follows",
            self.error_text(state.outcome.exception() if state.outcome else None),
            state.attempt_number,
        )


# A disk that a load filled is filled by the next try too.
_PERMANENT_ERRORS = (psycopg.errors.QueryCanceled, psycopg.errors.DiskFull)


# A refused log-in has no error class of its own; libpq passes the server's words on.
_REFUSED_LOG_IN = re.compile(
    r'(database|role|user) ".*" does not exist|authentication failed|no pg_hba.conf entry'
    r"|no password supplied|permission denied for database|is not permitted to log in"
)


def _is_transient(error: BaseException) -> bool:
    """Return True for an error that may pass; a name or password that is wrong stays wrong."""
    return (
        isinstance(error, psycopg.OperationalError)
        and not isinstance(error, _PERMANENT_ERRORS)
        and not _REFUSED_LOG_IN.search(str(error))
    )
