"""What was measured, told: a table for people, JSON for programs, a plot."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.measure import BenchResult, SkippedBench

COLUMNS = ("bench", "ours", "peer", "unit", "ratio", "target", "reached", "runs", "growth")


def as_json(lines: list[BenchResult | SkippedBench]) -> str:
    """One object a line of the table; of a skipped one its figures are null, `note` says why."""
    told = [
        asdict(line) if isinstance(line, BenchResult) else {**_null_fields(), **asdict(line)}
        for line in lines
    ]
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _null_fields() -> dict[str, None]:
    return dict.fromkeys(BenchResult.__dataclass_fields__)


def read_results(path: Path) -> list[BenchResult | SkippedBench]:
    """What `as_json` wrote."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return [
        BenchResult(**t)
        if t["ours"] is not None
        else SkippedBench(t["bench"], t["target"], t["note"])
        for t in told
    ]


def merge_results(
    before: list[BenchResult | SkippedBench], now: list[BenchResult | SkippedBench]
) -> list[BenchResult | SkippedBench]:
    """The lines of before, those measured again replaced, and the new ones behind."""
    measured = {line.bench: line for line in now}
    names = {line.bench for line in before}
    return [
        *(measured.get(line.bench, line) for line in before),
        *(line for line in now if line.bench not in names),
    ]


def results_table(lines: list[BenchResult | SkippedBench]) -> str:
    """For people: the figures, then what each was held against."""
    rows = [_row(line) for line in lines]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    shown = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [COLUMNS, *rows]
    ]
    peers = [
        f"{line.bench}: {line.note if isinstance(line, SkippedBench) else _peer_text(line)}"
        for line in lines
    ]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return "\n".join(
        [shown[0], "-|-".join("-" * width for width in widths), *shown[1:], "", *peers, machine]
    )


def _peer_text(line: BenchResult) -> str:
    return f"{line.settings}{'; ' + line.note if line.note else ''}"


def _row(line: BenchResult | SkippedBench) -> list[str]:
    if isinstance(line, SkippedBench):
        return [line.bench, *[""] * 4, line.target, "skipped", "", ""]
    growth = "" if line.exponent is None else f"n^{line.exponent:.2f}"
    figures = [f"{line.ours:.3g}", f"{line.peer:.3g}", line.unit, f"{line.ratio:.3g}"]
    return [
        line.bench,
        *figures,
        line.target,
        "yes" if line.reached else "no",
        str(line.runs),
        growth,
    ]


def plot_ratios(lines: list[BenchResult | SkippedBench], path: Path) -> None:
    """Each line's ratio as a part of its target: 1 and more is reached."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    measured = [line for line in lines if isinstance(line, BenchResult)]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.4 * len(measured)), layout="constrained")
    parts = [_target_share(line) for line in measured]
    axes.barh(
        [line.bench for line in measured],
        parts,
        color=["#2a7f62" if line.reached else "#c0504d" for line in measured],
    )
    axes.axvline(1, color="black", linewidth=1)
    for i, (line, part) in enumerate(zip(measured, parts, strict=True)):
        axes.text(part, i, f" {line.ratio:.3g} (target {line.target})", va="center")
    axes.set_xlim(0, 1.45 * max([1.0, *parts]))
    axes.invert_yaxis()
    axes.set_xlabel("of the target; the line is 1, further right is better")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _target_share(line: BenchResult) -> float:
    sign, _, bound = line.target.partition(" ")
    return line.ratio / float(bound) if sign == "≥" else float(bound) / max(line.ratio, 1e-9)
