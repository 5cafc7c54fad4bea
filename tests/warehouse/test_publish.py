from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.change_settings import change
from tests.support.full_disk import mount_disk
from tests.support.postgres_server import create_database_in, drop_warehouse, start_server
from tests.warehouse.test_warehouse import assert_holds, night

from wearalike import settings
from wearalike.pipeline import publish_tables
from wearalike.storage import run_tables
from wearalike.tables import PUBLISHED_TABLES, QUALITY, SIMILAR_PRODUCTS
from wearalike.warehouse import publish
from wearalike.warehouse.base import Rejected, Unreachable, WarehouseState, open_warehouse

JOB = Path(__file__).parents[2] / "jobs" / "publish_tables.py"


@pytest.fixture(scope="module")
def postgres():
    with start_server() as address:
        yield address


@pytest.fixture(params=["duckdb", "postgresql"])
def place(request, tmp_path) -> settings.Settings:
    """Settings of an empty root and an empty warehouse of each engine."""
    folder = f"duckdb:{tmp_path / 'warehouse'}"
    return _place(
        tmp_path,
        folder
        if request.param == "duckdb"
        else drop_warehouse(request.getfixturevalue("postgres")),
    )


def _place(folder: Path, address: str) -> settings.Settings:
    (folder / "wearalike.toml").write_text(
        f'data_dir = "root"\nwarehouse = "{address}"\n', encoding="utf-8"
    )
    return settings.read_settings(folder / "wearalike.toml", {})


def make(root: Path, run: str, parts: dict[str, pa.Table], sign: str = "s") -> None:
    for table in PUBLISHED_TABLES:
        with run_tables.write_table(root, table, run, sign) as out:
            out.write(parts[table.name])


def arguments(place: settings.Settings, run: str, *more: str) -> list[str]:
    return ["--config", str(place.data_dir.parent / "wearalike.toml"), "--run", run, *more]


def judged(parts: dict[str, pa.Table], *verdicts: str | None) -> dict[str, pa.Table]:
    """The parts with a measure of each verdict."""
    rows = [
        {
            "metric": f"measure_{n}",
            "scope": "shop=moda",
            "value": 0.25,
            "unit": "ratio",
            "verdict": v,
            "threshold": ">= 0.5",
        }
        for n, v in enumerate(verdicts)
    ]
    return parts | {"quality": pa.Table.from_pylist(rows, schema=QUALITY.arrow_schema)}


def test_a_judged_run_is_published(place, caplog):
    caplog.set_level("INFO")
    for run in ("r1", "r2"):
        make(place.data_dir, run, night(run))
        assert publish_tables.main(arguments(place, run)) == 0
    assert (
        "published r2, before it r1: 6 products, 2 product_variants, 18 similar_products, "
        "6 similar_lists, 3 look_products, 1 quality" in caplog.text
    )
    warehouse = open_warehouse(place.warehouse)
    assert publish.published_run(place) == "r2"
    for run in ("r1", "r2"):
        assert_holds(warehouse, run, night(run))
    assert str(publish.rollback(place)) == "r1, before it r2"
    assert publish.published_run(place) == "r1"


def test_publishing_again_does_nothing_unless_the_tables_changed(place, caplog):
    caplog.set_level("INFO")
    warehouse = open_warehouse(place.warehouse)
    make(place.data_dir, "r1", night("r1"))
    publish_tables.main(arguments(place, "r1"))
    before = warehouse.state()
    assert publish_tables.main(arguments(place, "r1")) == 0
    assert "r1 is published already, nothing to do" in caplog.text
    assert warehouse.state() == before
    assert publish_tables.main(arguments(place, "r1", "--force")) == 0
    assert warehouse.state().loads[0].loaded_at > before.loads[0].loaded_at
    make(place.data_dir, "r1", night("r1", 9), "other")
    assert publish_tables.main(arguments(place, "r1")) == 0
    assert_holds(warehouse, "r1", night("r1", 9))


def test_a_rollback_stands_until_somebody_says_otherwise(place, caplog):
    """A retry, or a cleared task, runs the same command again."""
    for run in ("r1", "r2"):
        make(place.data_dir, run, night(run))
        assert publish_tables.main(arguments(place, run)) == 0
    publish.rollback(place)
    for again in ((), ("--force",)):
        caplog.clear()
        assert publish_tables.main(arguments(place, "r2", *again)) == 1
        assert "run r2 was rolled back to r1 at" in caplog.text and "--again" in caplog.text
        assert publish.published_run(place) == "r1"
    make(place.data_dir, "r2", night("r2", 9), "other")
    assert publish_tables.main(arguments(place, "r2")) == 1
    assert publish_tables.main(arguments(place, "r2", "--again")) == 0
    assert publish.published_run(place) == "r2"
    # It is a run like any other since; and another run needs no word.
    assert publish_tables.main(arguments(place, "r2")) == 0
    publish.rollback(place)
    make(place.data_dir, "r3", night("r3"))
    assert publish_tables.main(arguments(place, "r3")) == 0


def test_a_run_that_was_loaded_before_a_kill_is_not_loaded_again(place):
    warehouse = open_warehouse(place.warehouse)
    make(place.data_dir, "r1", night("r1"))
    first = publish.publish_run(place.data_dir, "r1", warehouse)
    make(place.data_dir, "r2", night("r2"))
    publish.publish_run(place.data_dir, "r2", warehouse)
    publish.rollback(
        place
    )  # as where the job was killed before it moved the pointer: r2 is loaded, r1 published
    loads = warehouse.state().loads
    again = publish.publish_run(place.data_dir, "r2", warehouse, is_again=True)
    assert str(again.move) == "r2, before it r1"
    assert warehouse.state().loads == loads == (again.load, first.load)


def test_the_gate_names_what_failed_and_keeps_the_site_as_it_was(place, caplog):
    make(place.data_dir, "r1", night("r1"))
    publish_tables.main(arguments(place, "r1"))
    make(place.data_dir, "r2", judged(night("r2"), "ok", "fail", "warn", None, "fail"))
    assert publish_tables.main(arguments(place, "r2")) == 1
    assert (
        "measure_1 of shop=moda is 0.25 ratio, wanted >= 0.5; measure_4 of shop=moda" in caplog.text
    )
    assert not any(f"measure_{n}" in caplog.text for n in (0, 2, 3))
    state = open_warehouse(place.warehouse).state()
    assert state.published_run == "r1" and [made.run for made in state.loads] == ["r1"]


def test_a_day_before_the_published_one_is_loaded_and_the_site_stays_where_it_is(place, caplog):
    """A backfill, a night cleared late, a zombie of the night before: none takes the site back."""
    for run in ("2026-11-21", "2026-11-20"):
        make(place.data_dir, run, night(run))
        assert publish_tables.main(arguments(place, run)) == 0
    assert (
        "2026-11-20 is loaded and not published: the site reads 2026-11-21, a later day"
        in caplog.text
    )
    warehouse = open_warehouse(place.warehouse)
    assert publish.published_run(place) == "2026-11-21" and [
        made.run for made in warehouse.state().loads
    ] == ["2026-11-20", "2026-11-21"]
    assert_holds(warehouse, "2026-11-20", night("2026-11-20"))
    assert (
        publish_tables.main(arguments(place, "2026-11-20", "--override", "anna: the 21st is wrong"))
        == 0
    )
    assert (
        publish.published_run(place) == "2026-11-20"
        and warehouse.state().publications[-1].note == "anna: the 21st is wrong"
    )
    # A trial whose day nobody knows stands in no order.
    state = warehouse.state()
    assert publish.later_published_run(place.data_dir, "a", state) is None
    assert publish.later_published_run(place.data_dir, "2026-11-19", state) == "2026-11-20"
    assert publish.later_published_run(place.data_dir, "2026-11-19", WarehouseState()) is None


def test_a_later_day_that_is_published_meanwhile_stays(place):
    """The 22nd comes between the look of the 21st's process and its move of the pointer."""
    for run in ("2026-11-20", "2026-11-21", "2026-11-22"):
        make(place.data_dir, run, night(run))
    assert publish_tables.main(arguments(place, "2026-11-20")) == 0
    warehouse = open_warehouse(place.warehouse)
    move = warehouse.publish

    def publish_late(*given, **named):
        other = [sys.executable, JOB, *arguments(place, "2026-11-22")]
        subprocess.run(other, check=True, timeout=120)
        return move(*given, **named)

    warehouse.publish = publish_late
    result = publish.publish_run(place.data_dir, "2026-11-21", warehouse)
    assert (result.move, result.later_run) == (None, "2026-11-22")
    state = warehouse.state()
    assert state.published_run == "2026-11-22" and state.find_load("2026-11-21")
    assert [event.run for event in state.publications] == ["2026-11-20", "2026-11-22"]


def test_two_days_published_at_once_leave_the_later_one(place):
    runs = ("2026-11-21", "2026-11-22")
    for run in runs:
        make(place.data_dir, run, night(run))
    others = [subprocess.Popen([sys.executable, JOB, *arguments(place, run)]) for run in runs]
    assert [other.wait(120) for other in others] == [0, 0]
    assert publish.published_run(place) == "2026-11-22"


def test_a_trial_that_is_published_does_not_open_the_way_for_earlier_days(place):
    make(place.data_dir, "2026-11-22", night("2026-11-22"))
    make(place.data_dir, "try-1", night("try-1"))
    make(place.data_dir, "2026-11-21", night("2026-11-21"))
    for run in ("2026-11-22", "try-1", "2026-11-21"):
        assert publish_tables.main(arguments(place, run)) == 0
    assert publish.published_run(place) == "try-1"


def test_a_run_without_measures_is_not_published(place, caplog):
    parts = night("r1")
    make(place.data_dir, "r1", judged(parts))
    assert publish_tables.main(arguments(place, "r1")) == 1
    assert "no measure" in caplog.text
    make(place.data_dir, "r2", night("r2"))
    (run_tables.table_dir(place.data_dir, QUALITY, "r2") / "_manifest.json").unlink()
    assert publish_tables.main(arguments(place, "r2")) == 1
    assert "table quality of run r2 is not made; run its job first" in caplog.text
    assert open_warehouse(place.warehouse).state().loads == ()


def test_an_override_publishes_and_is_kept(place, caplog):
    make(place.data_dir, "r1", judged(night("r1"), "fail"))
    assert (
        publish_tables.main(
            arguments(place, "r1", "--override", "anna: the shop closed: its shoes are gone")
        )
        == 0
    )
    assert "against the gate by anna: the shop closed: its shoes are gone: measure_0" in caplog.text
    make(place.data_dir, "r2", night("r2"))
    assert publish_tables.main(arguments(place, "r2", "--override", "anna: not needed")) == 0
    told = open_warehouse(place.warehouse).query("SELECT run, note FROM publications ORDER BY run")
    assert told == [
        {"run": "r1", "note": "anna: the shop closed: its shoes are gone"},
        {"run": "r2", "note": None},
    ]
    # What an override let through stands when the job is repeated.
    publish.rollback(place)
    assert publish_tables.main(arguments(place, "r1")) == 0


@pytest.mark.parametrize("text", ["", "anna", "anna:", ": why", "  :  "])
def test_an_override_needs_a_name_and_a_reason(text, capsys):
    with pytest.raises(ValueError, match="wanted 'who: why'"):
        publish.parse_override(text)
    with pytest.raises(SystemExit) as caught:
        publish_tables.main(["--run", "r1", "--override", text])
    assert caught.value.code == 2 and "override" in capsys.readouterr().err


def test_rows_that_were_lost_since_are_not_published(place):
    make(place.data_dir, "r1", night("r1"))
    path = run_tables.table_dir(place.data_dir, SIMILAR_PRODUCTS, "r1") / "_manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["rows"]["written"] += 1
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(Rejected, match="similar_products of run r1: 18 rows loaded, wanted 19"):
        publish.publish_run(place.data_dir, "r1", open_warehouse(place.warehouse))
    assert open_warehouse(place.warehouse).state().loads == ()


def test_old_runs_are_pruned(place, caplog):
    caplog.set_level("INFO")
    for run in ("r1", "r2", "r3", "r4"):
        make(place.data_dir, run, night(run))
        assert publish_tables.main(arguments(place, run, "--keep", "2")) == 0
    assert "pruned r2" in caplog.text
    assert [made.run for made in open_warehouse(place.warehouse).state().loads] == ["r4", "r3"]


@pytest.mark.parametrize("keep", ["0", "-1", "x"])
def test_keeping_no_run_is_bad_usage(keep):
    with pytest.raises(SystemExit) as caught:
        publish_tables.main(["--run", "r1", f"--keep={keep}"])
    assert caught.value.code == 2


def test_a_job_killed_in_mid_load_finishes_when_repeated(place):
    warehouse = open_warehouse(place.warehouse)
    make(place.data_dir, "r1", night("r1"))
    assert publish_tables.main(arguments(place, "r1")) == 0
    parts = night("r2", 4000, 30)
    make(place.data_dir, "r2", parts)
    job = subprocess.Popen(
        [sys.executable, str(JOB), *arguments(place, "r2")], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not _is_loading(place.warehouse.get_secret_value(), warehouse):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.002)
    job.kill()
    job.communicate()
    assert job.returncode == -signal.SIGKILL
    assert warehouse.state().published_run == "r1"
    assert [made.run for made in warehouse.state().loads] == ["r1"], (
        "killed too late: the load was whole"
    )
    assert_holds(warehouse, "r1", night("r1"))
    assert publish_tables.main(arguments(place, "r2")) == 0
    assert publish.published_run(place) == "r2"
    assert_holds(warehouse, "r2", parts)
    if (address := place.warehouse.get_secret_value()).startswith("duckdb:"):
        left = sorted(path.name for path in (Path(address[7:]) / "runs").iterdir())
        assert left == ["r1.duckdb", "r2.duckdb"]


def _is_loading(address: str, warehouse) -> bool:
    if address.startswith("duckdb:"):
        return (Path(address[7:]) / "runs" / ".r2.duckdb").exists()
    return bool(
        warehouse.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE 'COPY %similar_products%'"
        )
    )


@pytest.fixture
def small():
    """A small disk where the server's user may come to."""
    with tempfile.TemporaryDirectory(prefix="wearalike-disk-") as folder:
        Path(folder).chmod(0o755)
        with mount_disk(Path(folder) / "disk", "12m") as made:
            yield made


def test_postgresql_on_a_full_disk(postgres, small, tmp_path, caplog):
    """What was published stays, nothing of the load is left behind, and with room the same command
    publishes.
    """
    with create_database_in(postgres, "small", small.path) as address:
        place, parts = _place(tmp_path, address), night("r2", 4000, 20)
        make(place.data_dir, "r1", night("r1"))
        assert publish_tables.main(arguments(place, "r1")) == 0
        make(place.data_dir, "r2", parts)
        assert publish_tables.main(arguments(place, "r2")) == 1
        assert (
            "run r2 is in Parquet only and not published" in caplog.text
            and "No space left on device" in caplog.text
        )
        assert "another follows" not in caplog.text, "a full disk is not tried again and again"
        warehouse = open_warehouse(address)
        assert warehouse.state().published_run == "r1" and [
            load.run for load in warehouse.state().loads
        ] == ["r1"]
        assert_holds(warehouse, "r1", night("r1"))
        left = warehouse.query(
            "SELECT count(*) AS count FROM pg_class WHERE relname ~ '^similar_products_[0-9]+$'"
        )
        assert left == [{"count": 1}], "the broken load left a table behind"
        small.remount("size=200m")
        assert publish_tables.main(arguments(place, "r2")) == 0
        assert_holds(warehouse, "r2", parts)


def test_an_unreachable_warehouse_leaves_parquet_and_says_so(tmp_path, caplog):
    pytest.importorskip("psycopg")
    place = _place(tmp_path, "postgresql://u:s3cret@127.0.0.1:1/shop")
    make(place.data_dir, "r1", night("r1"))
    assert publish_tables.main(arguments(place, "r1")) == 1
    assert (
        "run r1 is in Parquet only and not published: PostgreSQL 127.0.0.1:1/shop: " in caplog.text
    )
    assert "s3cret" not in caplog.text
    with pytest.raises(Unreachable):
        publish.published_run(place)
    with pytest.raises(ValueError, match="wanted duckdb:<folder>"):
        publish.rollback(change(place, warehouse="nowhere"))
