"""make bench: how fast it is, each figure beside its peer's of the same run. It prints a table and writes build/bench.json and
build/bench.png. A figure that does not reach its target is told, and is no failure."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from tests.benchmarks import approximate, feeds, gpu, matching, publish
from tests.benchmarks.measure import Line

BUILD = Path(__file__).resolve().parents[2] / "build"
# What bench.json says of each line.
TOLD = ("bench", "ours", "peer", "unit", "ratio", "target", "reached", "runs")
BENCHES = (*matching.BENCHES, *gpu.BENCHES, *approximate.BENCHES, *feeds.BENCHES, *publish.BENCHES)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--only", metavar="NAME", help="only benches whose name has this in it: feeds, publish, matching.memory")
    made.add_argument("--full", action="store_true", help="feeds of 1,000,000 offers, 20,000,000 rows to publish")
    return made


def main() -> int:
    args = parser().parse_args()
    wanted = [bench for bench in BENCHES if not args.only or args.only in f"{bench.__module__}.{bench.__name__}"]
    lines: list[Line] = []
    for bench in wanted:
        start = time.monotonic()
        lines.append(bench(args.full))
        print(f"{lines[-1].bench}: {time.monotonic() - start:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    BUILD.mkdir(exist_ok=True)
    told = [{name: getattr(line, name) for name in TOLD} for line in lines]
    (BUILD / "bench.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(lines, BUILD / "bench.png")
    print(table(lines))
    return 0


def table(lines: list[Line]) -> str:
    """For people: the figures, then what each was held against."""
    head = ["bench", "ours", "peer", "unit", "ratio", "target", "reached", "runs", "growth"]
    rows = [
        [
            line.bench,
            f"{line.ours:.3g}",
            f"{line.peer:.3g}",
            line.unit,
            f"{line.ratio:.3g}",
            line.target,
            "yes" if line.reached else "no",
            str(line.runs),
            "" if line.exponent is None else f"n^{line.exponent:.2f}",
        ]
        for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    shown = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]]
    peers = [f"{line.bench}: {line.settings}{'; ' + line.note if line.note else ''}" for line in lines]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return "\n".join([shown[0], "-|-".join("-" * width for width in widths), *shown[1:], "", *peers, machine])


def draw(lines: list[Line], path: Path) -> None:
    """Each line's ratio as a part of its target: 1 and more is reached."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.5 * len(lines)), layout="constrained")
    parts = [_part(line) for line in lines]
    axes.barh([line.bench for line in lines], parts, color=["#2a7f62" if line.reached else "#c0504d" for line in lines])
    axes.axvline(1, color="black", linewidth=1)
    for i, (line, part) in enumerate(zip(lines, parts, strict=True)):
        axes.text(part, i, f" {line.ratio:.3g} (target {line.target})", va="center")
    axes.set_xlim(0, 1.45 * max([1.0, *parts]))
    axes.invert_yaxis()
    axes.set_xlabel("of the target; the line is 1, further right is better")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _part(line: Line) -> float:
    sign, _, bound = line.target.partition(" ")
    return line.ratio / float(bound) if sign == "≥" else float(bound) / max(line.ratio, 1e-9)


if __name__ == "__main__":
    sys.exit(main())
