"""The quality of all runs in a DuckDB warehouse: no run's file grows, however many nights."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
from tests.warehouse.test_warehouse import assert_holds, load
from tests.warehouse.test_warehouse import night as drawn_night

from wearalike.warehouse.base import Warehouse, open_warehouse
from wearalike.warehouse.duckdb import quality_history


def quality_runs(warehouse: Warehouse) -> list[str]:
    return [row["run"] for row in warehouse.query("SELECT run FROM quality ORDER BY run")]


def test_nights_leave_files_of_one_size(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(quality_history, "MERGED_RUNS", 8)
    warehouse = open_warehouse(f"duckdb:{tmp_path}")
    nights = [f"2026-11-{number:02}" for number in range(1, 25)]
    for run in nights:
        load(warehouse, run, drawn_night(run))
        warehouse.publish(run)
        warehouse.prune(3)
    with duckdb.connect(tmp_path / "wearalike.duckdb", read_only=True) as con:
        assert con.execute("SELECT run FROM quality").fetchall() == [("2026-11-24",)]
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert quality_runs(warehouse) == nights
    of_one = "SELECT run, metric FROM quality WHERE run = $1"
    assert warehouse.query(of_one, ["2026-11-02"]) == [
        {"run": "2026-11-02", "metric": "products_count"}
    ]
    assert warehouse.query("SELECT run FROM current_quality") == [{"run": "2026-11-24"}]
    # Those of 21 pruned runs are two files of 8, and 5.
    merged = sorted((tmp_path / "quality" / "merged").iterdir())
    assert [path.name for path in merged] == ["000001.parquet", "000002.parquet"]
    assert len(list((tmp_path / "quality").glob("*.parquet"))) == 8
    # A run that was merged comes again, and stays alone when it is merged again.
    load(warehouse, nights[1], drawn_night(nights[1], 7))
    for number in range(1, 9):
        load(warehouse, f"n{number}", drawn_night(f"n{number}"))
        warehouse.prune(3)
        value = "SELECT value FROM quality WHERE run = $1"
        assert warehouse.query(value, [nights[1]]) == [{"value": 7.0}]
    assert len(list((tmp_path / "quality" / "merged").iterdir())) == 3
    assert quality_runs(warehouse) == [*nights, *(f"n{number}" for number in range(1, 9))]
    merged[0].write_bytes(merged[0].read_bytes()[:-40])
    assert len(quality_runs(warehouse)) == 24 + 8 - 7
    assert f"{merged[0]} is damaged and left out of the answer" in caplog.text


def make_earlier_version(folder: Path, runs: list[str]) -> None:
    """Put the quality of the runs before into the file of each, and nowhere else."""
    for number, run in enumerate(runs):
        with duckdb.connect(folder / "runs" / f"{run}.duckdb") as con:
            for former in runs[:number]:
                kept = folder / "quality" / f"{former}.parquet"
                con.execute("INSERT INTO quality SELECT * FROM read_parquet($1)", [str(kept)])
    shutil.rmtree(folder / "quality")


def test_files_that_hold_the_quality_of_all_runs_are_taken_over(tmp_path):
    warehouse = open_warehouse(f"duckdb:{tmp_path}")
    runs = ["r1", "r2", "r3", "r4"]
    for run in runs:
        load(warehouse, run, drawn_night(run))
        warehouse.publish(run)
    make_earlier_version(tmp_path, runs)
    assert warehouse.prune(1) == ["r2", "r1"]
    assert quality_runs(warehouse) == runs
    load(warehouse, "r5", drawn_night("r5"))
    assert_holds(warehouse, "r4", drawn_night("r4"))
    warehouse.publish("r5")
    warehouse.prune(1)
    assert quality_runs(warehouse) == [*runs, "r5"]
    # A load that was killed at its very end.
    (tmp_path / "quality" / "r5.parquet").unlink()
    assert quality_runs(warehouse) == [*runs, "r5"]
    load(warehouse, "r6", drawn_night("r6"))
    assert (tmp_path / "quality" / "r5.parquet").exists()


def test_a_damaged_quality_of_an_old_run_is_told_and_left_out(tmp_path, caplog):
    warehouse = open_warehouse(f"duckdb:{tmp_path}")
    for run in ("r1", "r2", "r3", "r4"):
        load(warehouse, run, drawn_night(run))
        warehouse.publish(run)
    warehouse.prune(1)
    path = tmp_path / "quality" / "r1.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    assert quality_runs(warehouse) == ["r2", "r3", "r4"]
    assert f"{path} is damaged and left out of the answer: " in caplog.text
    load(warehouse, "r1", drawn_night("r1"))
    assert quality_runs(warehouse) == ["r1", "r2", "r3", "r4"]
