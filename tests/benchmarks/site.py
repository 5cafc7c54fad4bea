"""The site: one product's recommendations from PostgreSQL for 16 clients,
with and without a publish beside them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from tests.benchmarks.measure import RUNS, BenchOptions, BenchResult, SkippedBench, exponent
from tests.benchmarks.publish import recommendations
from tests.support.postgres_server import create_database, programs_dir, start_server

from wearalike.tables import PRODUCTS, PUBLISHED_TABLES, SIMILAR_PRODUCTS, Availability
from wearalike.warehouse.base import Warehouse, open_warehouse

COUNT, COUNT_FULL = 20_000, 1_000_000
CLIENTS, ASKED, ASKED_FULL = 16, 400, 4_000
TARGET = "≤ 1.5"
QUERY = Path(__file__).resolve().parents[2] / "sql" / "site_similar_products.sql"


def products_table(count: int) -> pa.Table:
    """In stock, named as `recommendations` names them."""
    known = {
        "product_id": pa.array([f"shop:{n:08}" for n in range(count)]),
        "availability": pa.repeat(Availability.IN_STOCK, count),
    }
    columns = {}
    for field in PRODUCTS.arrow_schema:
        is_text = pa.types.is_string(field.type)
        filler = "text" if is_text else [] if pa.types.is_list(field.type) else None
        plain = (
            pa.array([filler] * count, field.type)
            if filler is not None
            else pa.array(np.ones(count)).cast(field.type, safe=False)
        )
        columns[field.name] = known.get(field.name, plain)
    return pa.table(columns).cast(PRODUCTS.arrow_schema)


class RepeatedRuns:
    """Runs that are loaded and published one after the other, the same tables each time."""

    def __init__(self, warehouse: Warehouse, count: int) -> None:
        made = {
            PRODUCTS.name: products_table(count + 100),
            SIMILAR_PRODUCTS.name: recommendations(20 * count),
        }
        self.tables = {
            t.name: made.get(t.name, t.arrow_schema.empty_table()) for t in PUBLISHED_TABLES
        }
        self.warehouse, self.numbers = warehouse, itertools.count(1)

    def publish(self) -> None:
        run, counts = (
            f"night-{next(self.numbers)}",
            {name: t.num_rows for name, t in self.tables.items()},
        )
        self.warehouse.load(
            run, {name: ds.dataset(t) for name, t in self.tables.items()}, counts, run
        )
        self.warehouse.publish(run)
        self.warehouse.prune(2)

    @contextlib.contextmanager
    def publish_repeatedly(self) -> Iterator[None]:
        """Publishes one run after the other as long as the block lasts;
        what goes wrong is raised at its end.
        """
        is_over, errors = threading.Event(), []

        def work() -> None:
            try:
                while not is_over.is_set():
                    self.publish()
            except Exception as error:  # noqa: BLE001  raised below, in the thread that waits
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
        if errors:
            raise errors[0]


def p99_ms(address: str, count: int, each: int) -> float:
    """16 clients ask without a pause, each for any product, by a statement prepared once."""
    with tempfile.TemporaryDirectory() as folder:
        asked = QUERY.read_text(encoding="utf-8").replace(
            "WHERE s.product_id = $1", "WHERE s.product_id = 'shop:' || lpad(:n::text, 8, '0')"
        )
        lines = [line for line in asked.splitlines() if not line.startswith("--")]
        (Path(folder) / "query.sql").write_text(
            f"\\set n random(0, {count - 1})\n{' '.join(lines)};\n", encoding="utf-8"
        )
        options = [
            "-n",
            "-M",
            "prepared",
            "-c",
            str(CLIENTS),
            "-j",
            "1",
            "-t",
            str(each),
            "-l",
            "-f",
            "query.sql",
        ]
        env = {**os.environ, "PGOPTIONS": "-c search_path=wearalike"}
        subprocess.run(
            [str(programs_dir() / "pgbench"), *options, address],
            cwd=folder,
            env=env,
            check=True,
            capture_output=True,
        )
        took = [
            int(line.split()[2])
            for log in Path(folder).glob("pgbench_log.*")
            for line in log.read_text(encoding="ascii").splitlines()
        ]
    return float(np.percentile(took, 99)) / 1e3


def site(options: BenchOptions) -> BenchResult | SkippedBench:
    count, each = (COUNT_FULL, ASKED_FULL) if options.full else (COUNT, ASKED)
    if not shutil.which("psql") or not (programs_dir() / "pgbench").exists():
        return SkippedBench("site", TARGET, "no PostgreSQL here: apt-get install postgresql")
    with start_server() as superuser:
        address = create_database(superuser, "bench")
        warehouse, costs = open_warehouse(address), []
        sizes = [count // 4, count // 2, count]
        for size in sizes:
            runs = RepeatedRuns(warehouse, size)
            runs.publish()
            costs.append(p99_ms(address, size, each))
        pairs = []
        for _ in range(RUNS):
            with runs.publish_repeatedly():
                during = p99_ms(address, count, each)
            pairs.append((during, p99_ms(address, count, each)))
    during, alone = (statistics.median(of_one) for of_one in zip(*pairs, strict=True))
    ratio, growth = during / alone, exponent(sizes, costs)
    settings = (
        "the same query with no publish running: pgbench, "
        f"{CLIENTS} clients without a pause, each {each} times, {count} products"
    )
    return BenchResult(
        "site", during, alone, "ms p99", ratio, TARGET, ratio <= 1.5, RUNS, settings, growth
    )


BENCHES = (site,)
