"""make bench: how fast it is, each figure beside its peer's of the same run. It prints a table and
writes build/bench.json and build/bench.png. A figure that does not reach its target is told, and is
no failure; a line that cannot be measured here says why.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    approximate,
    cluster,
    detecting,
    downloading,
    encoding,
    feeds,
    gpu,
    matching,
    memory,
    night,
    photo_speed,
    publish,
    report,
    site,
    year,
)
from tests.benchmarks.measure import BenchOptions, BenchResult, SkippedBench

BUILD = Path(__file__).resolve().parents[2] / "build"
# In the table's order.
MODULES = (
    matching,
    gpu,
    memory,
    encoding,
    detecting,
    downloading,
    feeds,
    publish,
    site,
    photo_speed,
    approximate,
    night,
    year,
    cluster,
)
Bench = Callable[[BenchOptions], BenchResult | SkippedBench | list[BenchResult | SkippedBench]]


def build_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    made.add_argument(
        "--only",
        metavar="NAME",
        nargs="+",
        help="benches whose name has one of these in it: feeds, matching.memory",
    )
    made.add_argument(
        "--add",
        action="store_true",
        help="keep the lines of build/bench.json that are not measured now",
    )
    made.add_argument("--full", action="store_true", help="at the sizes of a million products")
    made.add_argument(
        "--photos",
        type=Path,
        metavar="FOLDER",
        help="real photos to encode, detect and download; default: drawn ones",
    )
    made.add_argument(
        "--shops",
        metavar="COMMAND",
        help="serves the night's shops, {day} and {port} in it; default: the sample shops",
    )
    return made


def main() -> int:
    args = build_parser().parse_args()
    options, before = BenchOptions(args.full, args.photos, args.shops), time.monotonic()
    lines: list[BenchResult | SkippedBench] = []
    for name, bench in select_benches(args.only):
        start = time.monotonic()
        told = bench(options)
        lines += told if isinstance(told, list) else [told]
        print(
            f"{name}: {time.monotonic() - start:.0f} s, load {os.getloadavg()[0]:.1f}",
            file=sys.stderr,
            flush=True,
        )
    BUILD.mkdir(exist_ok=True)
    if args.add and (BUILD / "bench.json").exists():
        lines = report.merge_results(report.read_results(BUILD / "bench.json"), lines)
    (BUILD / "bench.json").write_text(report.as_json(lines), encoding="utf-8")
    report.plot_ratios(lines, BUILD / "bench.png")
    print(report.results_table(lines))
    print(f"{time.monotonic() - before:.0f} s in all")
    return 0


def select_benches(only: list[str] | None) -> list[tuple[str, Bench]]:
    """The benches by name, those asked for."""
    named = [
        (f"{module.__name__.rpartition('.')[2]}.{bench.__name__}", bench)
        for module in MODULES
        for bench in module.BENCHES
    ]
    return [
        (name, bench) for name, bench in named if not only or any(part in name for part in only)
    ]


if __name__ == "__main__":
    sys.exit(main())
