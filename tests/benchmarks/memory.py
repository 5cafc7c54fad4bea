"""Peak memory of a worker for one task of matching, beside the bytes of the codes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import catalogue
from tests.benchmarks.measure import BenchOptions, BenchResult, exponent, peak_bytes

from wearalike import search

CODES = (100_000, 300_000, 1_000_000)
CODES_FULL = (*CODES, 10_000_000)
ROWS = 1024


def worker(options: BenchOptions) -> BenchResult:
    """Measure the peak over that of a process that has searched a small gallery."""
    sizes = CODES_FULL if options.full else CODES
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for size in sizes:
            command = [sys.executable, "-m", "tests.benchmarks.memory", folder, str(size)]
            peaks.append(
                float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
                / 1e6
            )
    at = sizes.index(1_000_000)
    ours, codes = peaks[at], 32 * sizes[at] / 1e6
    note = ", ".join(
        f"{size / 1e6:g} M products {peak:,.0f} MB" for size, peak in zip(sizes, peaks, strict=True)
    )
    settings = (
        "the bytes of the codes of 1 M products; "
        "the job's own task, ids, rules and rows with it, one thread"
    )
    reached = ours <= 4 * codes
    return BenchResult(
        "match, a worker",
        ours,
        codes,
        "MB",
        ours / codes,
        "≤ 4",
        reached,
        1,
        settings,
        exponent(sizes, peaks),
        note,
    )


def measure_peak_bytes(folder: Path, size: int) -> int:
    from wearalike.pipeline.match_task import MatchTask, run_match_task

    def task(count: int) -> None:
        root = folder / str(count)
        run_match_task(
            MatchTask(
                str(root),
                catalogue.RUN,
                None,
                str(root / "candidates"),
                "cpu",
                catalogue.SUPER_CATEGORY,
                0,
                min(ROWS, count),
                **asdict(search.ListRules()),
                merchandising_rules="[]",
            )
        )

    for count in (1000, size):
        if not (folder / str(count)).exists():
            # Another process writes the tables: their memory does not count.
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.catalogue",
                    folder / str(count),
                    str(count),
                ],
                check=True,
            )
    task(1000)
    before = peak_bytes()
    task(size)
    return peak_bytes() - before


BENCHES = (worker,)

if __name__ == "__main__":
    print(measure_peak_bytes(Path(sys.argv[1]), int(sys.argv[2])))
