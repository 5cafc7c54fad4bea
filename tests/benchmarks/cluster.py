"""A Spark standalone cluster: the same matching on two workers of one core each,
and on one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import astuple
from pathlib import Path

from tests.benchmarks import catalogue
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    SkippedBench,
    exponent,
    median_seconds,
    seconds,
)
from tests.support.spark_cluster import start_cluster as standalone

from wearalike import search

CODES = 1_000_000
# What a task of the job asks for at once;
# this many tasks are a share of the night's that one worker does in seconds.
ROWS_A_TASK, TASKS = 4_096, 8


def cluster(options: BenchOptions) -> BenchResult | SkippedBench:
    """In a process of its own, which can be told of the cluster before it begins."""
    if not options.full:
        return SkippedBench(
            "cluster",
            "≥ 1.8",
            "make bench-full measures it: a cluster's start and its tasks take minutes",
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        standalone(Path(folder) / "cluster", 2, "1g") as running,
    ):
        asked = [
            sys.executable,
            "-m",
            "tests.benchmarks.cluster",
            running.master,
            folder,
            str(CODES),
        ]
        told = json.loads(
            subprocess.run(
                asked,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=running.env | _python_path_env(),
            ).stdout
        )
    one_s, two_s = told["seconds"]
    pairs, ratio = CODES * ROWS_A_TASK * TASKS / 1e9, one_s / two_s
    note = (
        f"{TASKS} tasks of {ROWS_A_TASK} rows of {CODES:,}, rows written; "
        f"{two_s:.1f} s and {one_s:.1f} s"
    )
    settings = (
        "one of the two workers, the other idle: the same tasks in one part; "
        "Spark standalone, a core a worker, galleries loaded"
    )
    return BenchResult(
        "cluster",
        pairs / two_s,
        pairs / one_s,
        "G pairs/s",
        ratio,
        "≥ 1.8",
        ratio >= 1.8,
        RUNS,
        settings,
        told["exponent"],
        note,
    )


def _python_path_env() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")])
        )
    }


def measure_workers(master: str, folder: Path, codes: int) -> dict[str, object]:
    """Seconds of one worker and of two, and how the cost grows with the number of codes."""
    from wearalike.pipeline.match_task import MatchTask
    from wearalike.pipeline.spark import spark_session
    from wearalike.pipeline.spark_matching import run_tasks

    sizes = [codes // 4, codes // 2, codes]
    rules = (*astuple(search.ListRules()), "[]")

    def tasks(size: int) -> list[MatchTask]:
        root = folder / str(size)
        if not root.exists():
            catalogue.write_run(root, size)
        shares = [
            (catalogue.SUPER_CATEGORY, start, start + ROWS_A_TASK)
            for start in range(0, TASKS * ROWS_A_TASK, ROWS_A_TASK)
        ]
        return [
            MatchTask(
                str(root), catalogue.RUN, None, str(root / "candidates"), "cpu", *share, *rules
            )
            for share in shares
        ]

    with spark_session("bench", master, folder) as spark:

        def work(size: int, parts: int) -> None:
            run_tasks(spark, tasks(size), parts).write.mode("overwrite").parquet(
                f"file://{folder}/rows"
            )

        work(sizes[-1], TASKS)  # both workers have the gallery, and compiled code
        ours = median_seconds([lambda: work(sizes[-1], 1), lambda: work(sizes[-1], TASKS)])
        costs = []
        for size in sizes[:-1]:
            work(size, TASKS)
            costs.append(seconds(lambda size=size: work(size, TASKS)))
    return {"seconds": ours, "exponent": exponent(sizes, [*costs, ours[1]])}


BENCHES = (cluster,)

if __name__ == "__main__":
    print(json.dumps(measure_workers(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
