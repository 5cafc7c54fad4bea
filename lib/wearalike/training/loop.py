"""Steps of a training: the next ones made ready while one is taken, and their losses noted."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

Made = TypeVar("Made")


def prefetch(build: Callable[[int], Made], steps: range, depth: int = 2) -> Iterator[Made]:
    """make(step) for every step in order, by a thread of its own, made while the former are used."""
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Made]] = []
        for step in steps:
            waiting.append(pool.submit(build, step))
            if len(waiting) >= depth:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def append_losses_csv(csv_path: Path, step: int, losses: Sequence[Mapping[str, float]]) -> None:
    """Adds the means of the last steps' losses to a CSV; what a former sitting noted beyond its checkpoint is cut off."""
    means = {
        name: float(np.mean([row[name] for row in losses if name in row]))
        for name in {n: 0 for row in losses for n in row}
    }
    before = (
        list(csv.DictReader(csv_path.open(encoding="utf-8", newline="")))
        if csv_path.exists()
        else []
    )
    kept = [row for row in before if int(row["step"]) < step]
    names = list(dict.fromkeys([*(name for row in kept for name in row), "step", *means]))
    with csv_path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, names, restval="")
        out.writeheader()
        out.writerows(
            [*kept, {"step": step, **{name: round(value, 5) for name, value in means.items()}}]
        )
