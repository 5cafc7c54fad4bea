"""Partitions in PostgreSQL: copy a run's rows into one, find, wait and drop.

Every published table has a partition for each loaded run, but `quality`, which keeps the runs that
were pruned: it has one for all.
"""

from __future__ import annotations

import time
from collections import Counter

import pyarrow as pa
import pyarrow.dataset as ds
from psycopg import sql
from psycopg.sql import SQL, Identifier

from wearalike.tables import QUALITY, Table
from wearalike.warehouse.loaded_rows import clean_batches
from wearalike.warehouse.postgres.copy import encode_binary_copy
from wearalike.warehouse.postgres.schema import (
    PARENT_TABLES,
    QUALITY_PARTITION,
    Connection,
    attach_quality_rows,
    columns_ddl,
    create_quality_rows,
    identifier_list,
)

PLANNED_STATEMENTS_WAIT_S = 2.0


def wait_for_planned_statements(con: Connection) -> None:
    """Wait until statements that were planned before the load was attached have ended.

    They would find the new run empty. Between planning and taking its snapshot a statement of a
    busy server may sleep. A reader whose transaction stays open for longer has its snapshot, so it
    is not waited for.

    Args:
        con: A connection in a transaction.
    """
    held = (
        "relation = ANY($1::text[]::regclass[])"
        " AND mode = 'AccessShareLock' AND pid <> pg_backend_pid()"
    )
    database = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    readers = con.execute(
        f"SELECT virtualtransaction AS id FROM pg_locks WHERE {held} AND {database}".encode(),
        [PARENT_TABLES],
    ).fetchall()
    deadline = time.monotonic() + PLANNED_STATEMENTS_WAIT_S
    while readers and time.monotonic() < deadline:
        time.sleep(0.01)
        ids = [reader["id"] for reader in readers]
        readers = con.execute(
            "SELECT virtualtransaction AS id FROM pg_locks WHERE virtualtransaction = ANY($1)",
            [ids],
        ).fetchall()


def refresh_partition_lists(con: Connection) -> None:
    """Make every session read the lists of partitions anew from the commit on.

    A session keeps the list of a table until it hears that the table has changed. PostgreSQL (seen
    in 15.18) loses that news when it comes while the session reads the list. The session would
    then find the new run empty until the next load. Setting a default again is such news, and
    keeps no reader waiting.

    Args:
        con: A connection in a transaction.
    """
    # First, as loads do: two that lock in another order would wait for each other.
    con.execute("LOCK TABLE publications IN SHARE ROW EXCLUSIVE MODE")
    for name in PARENT_TABLES:
        con.execute(
            SQL("ALTER TABLE ONLY {} ALTER COLUMN run SET STATISTICS -1").format(Identifier(name))
        )


def describe_lock_holders(con: Connection) -> str:
    """Return who holds locks on our tables, the longest transaction first, at most three.

    Args:
        con: A connection, in a transaction that still works or in none.
    """
    holders = con.execute(
        """SELECT DISTINCT l.pid, a.usename, a.application_name AS program, a.state,
            round(extract(epoch FROM clock_timestamp() - a.xact_start)) AS held_s
        FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
        JOIN pg_stat_activity AS a ON a.pid = l.pid
        WHERE c.relnamespace = to_regnamespace('wearalike') AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.pid <> pg_backend_pid()
        ORDER BY held_s DESC NULLS LAST, l.pid LIMIT 3"""
    ).fetchall()
    told = [
        f"process {row['pid']} of {row['usename']} ({row['program'] or 'no name'},"
        f" {row['state'] or 'unknown state'}"
        + (f", its transaction is {row['held_s']} s old)" if row["held_s"] is not None else ")")
        for row in holders
    ]
    return f"held by {'; '.join(told)}" if told else "its holder has let go meanwhile"


def find_partitions(con: Connection, parents: list[str], runs: list[str]) -> list[str]:
    """Return the partitions of the tables that hold the runs."""
    found = con.execute(
        """SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = ANY($1::text[]::regclass[])
        AND pg_get_expr(c.relpartbound, c.oid) IN (
            SELECT format('FOR VALUES IN (%L)', run) FROM unnest($2::text[]) AS run
        )""",
        [parents, runs],
    )
    return [row["name"] for row in found]


def drop_partitions(con: Connection, partitions: list[str]) -> None:
    for name in partitions:
        con.execute(SQL("DROP TABLE {}").format(Identifier(name)))


def copy_rows(
    con: Connection, run: str, table: Table, number: int, rows: ds.Dataset, struck: Counter[str]
) -> int:
    """Copy the rows into a new table, ready to be attached, and return how many.

    The run is a default of its column and is not sent.
    """
    name = Identifier(f"{table.name}_{number}")
    # Not LIKE its parent, which would lock the parent until the load is committed.
    con.execute(SQL("CREATE TABLE {} ({})").format(name, columns_ddl(table)))
    con.execute(
        SQL("ALTER TABLE {0} ALTER run SET DEFAULT {1}, ADD CHECK (run = {1})").format(
            name, sql.Literal(run)
        )
    )
    copy = SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(
        name, identifier_list(table.column_names)
    )
    with con.cursor() as cursor:
        with cursor.copy(copy) as stream:
            for part in encode_binary_copy(clean_batches(table, rows, struck)):
                stream.write(memoryview(part))
        count = cursor.rowcount
    con.execute(SQL("CREATE UNIQUE INDEX ON {} ({})").format(name, identifier_list(table.key)))
    for column in table.lookup_columns:
        con.execute(SQL("CREATE INDEX ON {} ({})").format(name, Identifier(column)))
    con.execute(SQL("ANALYZE {}").format(name))
    return count


def find_quality_partitions(con: Connection) -> list[str]:
    """Return the partitions of `quality` that hold one run, as an earlier version made them."""
    found = con.execute(
        """SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = $1::text::regclass
        AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT' ORDER BY c.oid""",
        [QUALITY.name],
    )
    return [row["name"] for row in found]


def merge_quality_partitions(con: Connection, partitions: list[str]) -> None:
    """Move the quality of runs from partitions of their own into the one of all runs.

    Args:
        con: A connection in a transaction that holds the lock of `quality`.
        partitions: See `find_quality_partitions`.
    """
    is_made = bool(
        con.execute(
            "SELECT 1 AS found FROM pg_inherits WHERE inhparent = $1::text::regclass"
            " AND inhrelid = to_regclass($2)",
            [QUALITY.name, QUALITY_PARTITION],
        ).fetchall()
    )
    if is_made and not partitions:
        return
    # The partition of all runs takes no row of a run that has one of its own.
    target = f"{QUALITY_PARTITION}_moved" if is_made else QUALITY_PARTITION
    create_quality_rows(con, target)
    columns = identifier_list(["run", *QUALITY.column_names])
    insert = SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    for name in partitions:
        con.execute(insert.format(Identifier(target), columns, columns, Identifier(name)))
    drop_partitions(con, partitions)
    if is_made:
        con.execute(insert.format(Identifier(QUALITY.name), columns, columns, Identifier(target)))
        drop_partitions(con, [target])
    else:
        attach_quality_rows(con)


def replace_quality(con: Connection, run: str, rows: ds.Dataset, struck: Counter[str]) -> int:
    """Replace the quality of a run, and return the number of rows.

    Args:
        con: A connection in a transaction that keeps other loads out.
        run: The run.
        rows: Rows of tables.QUALITY.
        struck: Counts the changed texts by table name.
    """
    con.execute("DELETE FROM quality WHERE run = $1", [run])
    names = ["run", *QUALITY.column_names]
    copy = SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        Identifier(QUALITY.name), identifier_list(names)
    )
    batches = (
        pa.RecordBatch.from_arrays([pa.array([run] * len(batch)), *batch.columns], names)
        for batch in clean_batches(QUALITY, rows, struck)
    )
    with con.cursor() as cursor:
        with cursor.copy(copy) as stream:
            for part in encode_binary_copy(batches):
                stream.write(memoryview(part))
        return cursor.rowcount
