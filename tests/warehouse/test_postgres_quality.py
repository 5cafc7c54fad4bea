"""The quality of all runs in PostgreSQL: one partition, however many nights there were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.postgres_server import create_database, start_server
from tests.warehouse.test_warehouse import assert_holds, load
from tests.warehouse.test_warehouse import night as drawn_night

from wearalike.warehouse.base import Rejected, Warehouse, open_warehouse

RELATIONS = """
SELECT count(*) AS n FROM pg_class WHERE relnamespace = 'wearalike'::regnamespace
"""
# What the session itself holds while its statement runs.
LOCKS = """
SELECT max((
    SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND q.value IS NOT NULL
)) AS n FROM current_quality AS q
"""
PARTITIONS = """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'quality'::regclass
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with start_server() as address:
        yield address


def quality_runs(warehouse: Warehouse) -> list[str]:
    return [row["run"] for row in warehouse.query("SELECT run FROM quality ORDER BY run")]


def split_by_run(warehouse: Warehouse, runs: list[str]) -> None:
    """Give runs a partition of `quality` each, as an earlier version did."""
    for number, run in enumerate(runs):
        name = f"quality_{1000 + number}"
        execute(
            warehouse,
            f"CREATE TABLE {name} (LIKE quality);"
            f" INSERT INTO {name} SELECT * FROM quality WHERE run = '{run}';"
            f" DELETE FROM quality WHERE run = '{run}';"
            f" CREATE UNIQUE INDEX ON {name} (metric, scope);"
            f" ALTER TABLE quality ATTACH PARTITION {name} FOR VALUES IN ('{run}');",
        )


def execute(warehouse: Warehouse, statements: str) -> None:
    import psycopg

    with psycopg.connect(warehouse.conninfo, autocommit=True) as con:
        con.execute("SET search_path TO wearalike")
        con.execute(statements)


def test_nights_leave_no_more_relations_and_locks(postgres):
    warehouse = open_warehouse(create_database(postgres, "nights"))
    counted = {}
    for number in range(1, 25):
        run = f"2026-11-{number:02}"
        load(warehouse, run, drawn_night(run))
        warehouse.publish(run)
        warehouse.prune(3)
        counted[number] = [warehouse.query(q)[0]["n"] for q in (RELATIONS, LOCKS)]
    assert counted[24] == counted[8]
    assert len(quality_runs(warehouse)) == 24
    assert warehouse.query("SELECT run FROM current_quality") == [{"run": "2026-11-24"}]


def test_runs_that_had_a_partition_each_are_moved_into_one(postgres):
    warehouse = open_warehouse(create_database(postgres, "former"))
    for run in ("r1", "r2", "r3"):
        load(warehouse, run, drawn_night(run))
    warehouse.publish("r2")
    # Someone's view stands upon the table; the upgrade must not ask for its removal.
    execute(warehouse, "CREATE VIEW mine AS SELECT run, value FROM quality")
    execute(warehouse, "ALTER TABLE quality DETACH PARTITION quality_runs")
    execute(warehouse, "ALTER TABLE quality_runs RENAME TO former")
    execute(
        warehouse,
        "INSERT INTO former SELECT 'r0', metric, scope, 1, NULL, NULL, 'count',"
        " NULL, NULL FROM former LIMIT 1",
    )
    for run in ("r0", "r1", "r2", "r3"):
        execute(
            warehouse,
            f"CREATE TABLE of_{run} AS SELECT * FROM former WHERE run = '{run}';"
            f" ALTER TABLE of_{run} ALTER run SET NOT NULL, ALTER metric SET NOT NULL,"
            " ALTER scope SET NOT NULL, ALTER value SET NOT NULL, ALTER unit SET NOT NULL;"
            f" ALTER TABLE quality ATTACH PARTITION of_{run} FOR VALUES IN ('{run}')",
        )
    execute(warehouse, "DROP TABLE former")
    load(warehouse, "r4", drawn_night("r4"))
    assert warehouse.query(PARTITIONS) == [{"name": "quality_runs", "bound": "DEFAULT"}]
    assert quality_runs(warehouse) == ["r0", "r1", "r2", "r3", "r4"]
    assert len(warehouse.query("SELECT * FROM mine")) == 5
    assert warehouse.query("SELECT run FROM current_quality") == [{"run": "r2"}]
    assert_holds(warehouse, "r2", drawn_night("r2"))
    # An earlier version at work beside this one adds its partition again.
    split_by_run(warehouse, ["r4"])
    load(warehouse, "r5", drawn_night("r5"))
    assert len(warehouse.query(PARTITIONS)) == 1
    assert quality_runs(warehouse) == ["r0", "r1", "r2", "r3", "r4", "r5"]


def test_a_refused_quality_leaves_that_of_the_run_as_it_was(postgres):
    warehouse = open_warehouse(create_database(postgres, "refused"))
    load(warehouse, "r1", drawn_night("r1"))
    twice = drawn_night("r1")
    twice["quality"] = twice["quality"].take([0, 0])
    with pytest.raises(Rejected, match="quality_runs_pkey"):
        load(warehouse, "r1", twice)
    assert_holds(warehouse, "r1", drawn_night("r1"))
