"""How a figure comes about: two ways of the same work in turn, A B A B, the median of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RUNS = 5


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is asked of every bench. full: at the sizes of a million products. photos: a folder of
    real photos, for drawn ones. shops: a command that serves the night's shops of a {day}, 1 or 2,
    at a {port} of loopback, for the sample shops.
    """

    full: bool = False
    photos: Path | None = None
    shops: str | None = None


@dataclass(frozen=True, slots=True)
class SkippedBench:
    """A line that cannot be measured here, and why."""

    bench: str
    target: str
    note: str


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One line of the table. ours, peer: in `unit`. ratio: ours to peer, or as `target` says.
    target: what it is to reach, as a person reads it. settings: the peer, its version and its
    settings. exponent: of the cost's growth, None where not measured.
    """

    bench: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: str
    reached: bool
    runs: int
    settings: str
    exponent: float | None = None
    note: str = ""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(works: Sequence[Callable[[], object]], runs: int = RUNS) -> list[float]:
    """The median seconds of each work, all run in turn, once before the clock counts."""
    for work in works:
        work()
    rounds = [[seconds(work) for work in works] for _ in range(runs)]
    return [statistics.median(of_one) for of_one in zip(*rounds, strict=True)]


def median_processor_seconds(
    works: Sequence[Callable[[], object]], runs: int = RUNS
) -> list[float]:
    """The same of processor time of all threads, which other work on the machine changes less."""
    for work in works:
        work()
    rounds = [[_processor_seconds(work) for work in works] for _ in range(runs)]
    return [statistics.median(of_one) for of_one in zip(*rounds, strict=True)]


def _processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_bytes() -> int:
    """The most memory this process has had. Not ru_maxrss,
    which begins at what the process had that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """e of cost = c * size^e, fitted to sizes and their costs."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
