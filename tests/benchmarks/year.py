"""Nights on end: what the data folder takes, and how long a night takes, once the policy's days are
over. Codes are drawn; tables, caches, candidates and the warehouse are written, searched, published
and pruned by the code that a night runs.

    python -m tests.benchmarks.year NIGHTS PRODUCTS DAYS    # a line a night, as JSON
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.measure import BenchOptions, BenchResult, seconds
from tests.support.drawn_deployment import DrawnDeployment

from wearalike.ops.disk_usage import measure_disk
from wearalike.ops.retention.prune import prune_data
from wearalike.retention_settings import RetentionSettings
from wearalike.settings import Settings

NIGHTS, NIGHTS_FULL = 40, 400
PRODUCTS, PRODUCTS_FULL = 2_000, 10_000
# For runs, pictures, models and photos; reports are kept for twice as long.
DAYS, DAYS_FULL = 10, 30
TARGET = 1.05
# Nights at either end of the flat part, of which the median counts.
SPAN = 7


@dataclass(frozen=True, slots=True)
class NightCost:
    """The cost of one night. night_s: to write, search and publish. prune_s: to prune. cpu_s: all
    of it on the processor, which others at work on the machine change less.
    """

    number: int
    bytes: int
    files: int
    night_s: float
    prune_s: float
    cpu_s: float


def iter_nights(nights: int, products: int, days: int) -> Iterator[NightCost]:
    keep = RetentionSettings(
        **{f"{name}_days": days for name in ("runs", "pictures", "models", "photos")},
        reports_days=2 * days,
    )
    with tempfile.TemporaryDirectory() as folder:
        made = DrawnDeployment(Settings(data_dir=Path(folder) / "data", keep=keep), products)
        for number in range(1, nights + 1):
            began_at = time.process_time()
            night_s = seconds(made.add_night)
            prune_s = seconds(lambda: prune_data(made.settings, now=made.now))
            cpu_s = time.process_time() - began_at
            usage = measure_disk(made.root).values()
            yield NightCost(
                number,
                sum(kind.bytes for kind in usage),
                sum(kind.files for kind in usage),
                round(night_s, 2),
                round(prune_s, 2),
                round(cpu_s, 2),
            )


def growth_of_nights(options: BenchOptions) -> BenchResult:
    nights, products, days = (
        (NIGHTS_FULL, PRODUCTS_FULL, DAYS_FULL) if options.full else (NIGHTS, PRODUCTS, DAYS)
    )
    costs = list(iter_nights(nights, products, days))
    flat = costs[2 * days + 1 :]
    first, last = flat[:SPAN], flat[-SPAN:]

    def growth(name: str) -> float:
        return _median(last, name) / _median(first, name)

    ratio = growth("bytes")
    note = (
        f"files x {growth('files'):.2f}, seconds a night x {growth('night_s'):.2f}, on the"
        f" processor x {growth('cpu_s'):.2f}; at the end"
        f" {_median(last, 'files'):,.0f} files, {_median(last, 'night_s'):.1f} s a night and"
        f" {_median(last, 'prune_s'):.1f} s to prune"
    )
    return BenchResult(
        "a year of nights",
        _median(last, "bytes") / 1e9,
        _median(first, "bytes") / 1e9,
        "GB",
        ratio,
        f"≤ {TARGET}",
        ratio <= TARGET,
        1,
        f"itself after {2 * days} nights; {nights} nights of {products:,} products, 1 % new"
        f" a night, tables and pictures kept {days} days, reports {2 * days}",
        None,
        note,
    )


def _median(costs: list[NightCost], name: str) -> float:
    return statistics.median(getattr(cost, name) for cost in costs)


BENCHES = (growth_of_nights,)

if __name__ == "__main__":
    for cost in iter_nights(*map(int, sys.argv[1:4])):
        print(json.dumps(asdict(cost)), flush=True)
