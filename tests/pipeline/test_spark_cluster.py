"""A job does on a Spark standalone cluster what it does on one machine,
also where an executor is lost on the way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support.s3_server import serve_s3
from tests.support.spark_cluster import START_TIMEOUT_S, SparkCluster, start_cluster

from wearalike import sample
from wearalike.pipeline import match_plan, match_products, spark_package
from wearalike.storage import atomic, mirror, run_tables
from wearalike.storage_settings import StorageSettings
from wearalike.tables import (
    FEEDS,
    INDEXES,
    MATCHES,
    OFFERS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
)

REPOSITORY = Path(__file__).resolve().parents[2]
MAPPINGS = REPOSITORY / "mappings"
MADE = (MATCHES, SIMILAR_PRODUCTS, SIMILAR_LISTS)
TO_COMPILE = "ranking._select_allowed_in_block-"


@pytest.fixture(scope="module")
def two_workers(night, tmp_path_factory):
    """Executors find compiled what the night has compiled, but for one small function;
    else the tests take half a minute more.
    """
    folder = tmp_path_factory.mktemp("cluster")
    with spark_package.build_library_zip() as library:
        for path in (REPOSITORY / "lib" / "wearalike").rglob("__pycache__/*.nb[ic]"):
            held = (
                folder / "numba" / library.stem / path.parent.parent.relative_to(REPOSITORY / "lib")
            )
            held.mkdir(parents=True, exist_ok=True)
            if not path.name.startswith(TO_COMPILE):
                shutil.copy(path, held)
    with start_cluster(folder, 2) as running:
        yield running


@pytest.fixture
def place(night, night_port, tmp_path):
    """A copy of the night, and its settings."""
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    sample.write_settings(
        tmp_path / "wearalike.toml",
        f"http://127.0.0.1:{night_port}",
        tmp_path / "root",
        REPOSITORY / "mappings",
    )
    return tmp_path / "wearalike.toml"


def started(two_workers: SparkCluster, place: Path, program: str) -> subprocess.Popen[str]:
    """A process that runs a program on the cluster: `options` in it are those of any job,
    all of whose work is done again.
    """
    options = [
        "--run",
        "day-1",
        "--config",
        str(place),
        "--force",
        "--spark-master",
        two_workers.master,
    ]
    jobs = (
        "import sys\nfrom wearalike.pipeline import ingest_feeds, match_products\n"
        f"options = {options!r}\n"
    )
    path = place.parent / "program.py"
    path.write_text(
        f"{jobs}if __name__ == '__main__':\n    sys.exit({program})\n", encoding="utf-8"
    )
    return subprocess.Popen(
        [sys.executable, path], env=two_workers.env, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it has said, when it has done its work."""
    try:
        _, said = process.communicate(timeout=START_TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    return said


def assert_same(one: Path, other: Path, *tables) -> None:
    for table in tables:
        assert run_tables.read_table(one, table, "day-1").num_rows > 100
        assert run_tables.read_table(one, table, "day-1").equals(
            run_tables.read_table(other, table, "day-1")
        ), table.name
        run_tables.check_files(one, table, "day-1")


def test_both_jobs_of_spark_do_on_a_cluster_what_they_do_here(
    two_workers, night, serve_shops, place
):
    python = two_workers.env["PYSPARK_PYTHON"]
    without = subprocess.run(
        [python, "-c", "import numba, pyarrow, wearalike"], capture_output=True, text=True
    )
    assert "ModuleNotFoundError: No module named 'wearalike'" in without.stderr
    with serve_shops(1):
        said = ended(
            started(
                two_workers, place, "ingest_feeds.main(options) or match_products.main(options)"
            )
        )
    root = place.parent / "root"
    assert (
        run_tables.read_manifest(root, MATCHES, "day-1")["searched"]["since"] is None
        and "done in" in said
    )
    assert_same(root, night / "root", OFFERS, *MADE)
    assert run_tables.read_table(
        root, FEEDS, "day-1", ["shop_id", "status", "written_count"]
    ).equals(
        run_tables.read_table(
            night / "root", FEEDS, "day-1", ["shop_id", "status", "written_count"]
        )
    )
    # What is remembered for the next night is the same too.
    near = {
        path: value
        for path, value in run_tables.read_manifest(root, MATCHES, "day-1")["files"].items()
        if path.startswith("candidates/")
    }
    assert (
        near
        and near.items()
        <= run_tables.read_manifest(night / "root", MATCHES, "day-1")["files"].items()
    )
    assert all(two_workers.executor_ids(worker) for worker in (0, 1)), "both worked"
    # What executors compile is kept under the library's own name,
    # where those of the next job find it.
    with spark_package.build_library_zip() as library:
        assert list((two_workers.folder / "numba" / library.stem).rglob(f"{TO_COMPILE}*.nbc"))


def test_machines_that_share_no_folder_match_through_the_object_store(two_workers, night, tmp_path):
    with serve_s3() as server:
        root = tmp_path / "cache"
        place = StorageSettings(url=server.url("data"), endpoint=server.endpoint)
        mirror.open_cache(root, place)
        for table in (PRODUCTS, INDEXES):
            made = run_tables.table_dir(night / "root", table, "day-1")
            with atomic.staging_dir(run_tables.table_dir(root, table, "day-1")) as hidden:
                shutil.copytree(made, hidden, dirs_exist_ok=True)
                mirror.find_mirror(root).tables.commit(hidden, table.name, "day-1", None)
        config = tmp_path / "wearalike.toml"
        sample.write_settings(config, "http://127.0.0.1:9", server.url("data"), MAPPINGS)
        text = config.read_text(encoding="utf-8")
        config.write_text(
            f'warehouse = "duckdb:{tmp_path / "warehouse"}"\n{text}\n[storage]\n'
            f'endpoint = "{server.endpoint}"\ncache = "{root}"\n',
            encoding="utf-8",
        )
        credentials = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
        defaults = two_workers.folder / "conf" / "spark-defaults.conf"
        before = defaults.read_text(encoding="utf-8")
        lines = [f"spark.executorEnv.{name} {value}\n" for name, value in credentials.items()]
        defaults.write_text(before + "".join(lines), encoding="utf-8")
        server.requests.clear()
        try:
            cluster = replace(two_workers, env=two_workers.env | credentials)
            ended(started(cluster, config, "match_products.main(options)"))
        finally:
            defaults.write_text(before, encoding="utf-8")
        mirror.find_mirror(root).refresh()
        assert_same(root, night / "root", *MADE)
        near = [
            {name: digest for name, digest in files.items() if name.startswith("candidates/")}
            for r in (root, night / "root")
            for files in (run_tables.read_manifest(r, MATCHES, "day-1")["files"],)
        ]
        assert near[0] == near[1] and near[0]
        # Each task's rows came through the store, and nothing of them is left there.
        keys = [path for method, path in server.requests if method == "PUT" and "/rows/" in path]
        assert len(keys) == len(near[0]) == len(set(keys))
        assert not mirror.find_mirror(root).list_unnamed()
        assert all(two_workers.executor_ids(worker) for worker in (0, 1)), "both worked"


def test_an_executor_killed_in_mid_job_costs_no_row(two_workers, night, place):
    root = place.parent / "root"
    process = started(two_workers, place, "match_products.main(options)")
    end = time.monotonic() + START_TIMEOUT_S
    while not (at_work := two_workers.busy_executors(0)):
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()
        time.sleep(0.02)
    at_work[0].kill()
    had = two_workers.executor_ids(0)
    assert not list((root / "matches").glob(".run=*/spark/_SUCCESS")) and process.poll() is None
    ended(process)
    assert len(had) == 1 and len(two_workers.executor_ids(0)) > 1, "another took its place"
    assert_same(root, night / "root", *MADE)


def test_the_rows_do_not_depend_on_the_tasks(night, place, monkeypatch):
    monkeypatch.setattr(match_plan, "QUERIES_A_TASK", 7)
    assert match_products.main(["--run", "day-1", "--config", str(place), "--force"]) == 0
    root = place.parent / "root"
    counts = (
        run_tables.read_table(root, INDEXES, "day-1")["super_category"].value_counts().to_pylist()
    )
    tasks = len(list(run_tables.table_dir(root, MATCHES, "day-1").glob("candidates/*/*.parquet")))
    assert tasks == sum(-(-count["counts"] // 7) for count in counts) > 3 * len(counts)
    assert_same(root, night / "root", *MADE)


def test_local_spark_does_what_one_process_does(night, place, caplog):
    caplog.set_level("INFO", "wearalike")
    options = ["--run", "day-1", "--config", str(place), "--force"]
    with place.open("a", encoding="utf-8") as config:
        config.write("\n[spark]\nmin_products = 1\n")
    assert match_products.main([*options, "--spark-master", "local[2]"]) == 0
    assert "by Spark on local[2]" in caplog.text
    assert_same(place.parent / "root", night / "root", *MADE)


def test_one_large_super_category_keeps_every_worker_busy():
    counts = {"upper_wear": 500_000, "bags": 1, "foot_wear": 200_000, "full_body": 299_999}
    tasks = match_plan.split_queries(counts)
    rows = {name: [stop - start for held, start, stop in tasks if held == name] for name in counts}
    assert [name for name, *_ in tasks] == sorted(name for name, *_ in tasks)
    assert {name: sum(of_one) for name, of_one in rows.items()} == counts
    assert next(start for name, start, _ in tasks if name == "upper_wear") == 0
    assert all(stop == start for (a, _, stop), (b, start, _) in pairwise(tasks) if a == b)
    assert len(rows["upper_wear"]) >= 30 and max(rows["upper_wear"]) - min(rows["upper_wear"]) <= 1
    assert max(max(of_one) for of_one in rows.values()) <= match_plan.QUERIES_A_TASK
    assert match_plan.split_queries({}) == []
