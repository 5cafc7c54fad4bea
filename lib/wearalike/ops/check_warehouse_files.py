"""The doctor's deep check of the files of a DuckDB warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wearalike.ops.check_result import CheckResult, CheckStatus, Environment, ok_result
from wearalike.ops.disk_usage import describe_bytes
from wearalike.warehouse.duckdb.load import DuckDBWarehouse


def check_warehouse_files(environment: Environment) -> Iterator[CheckResult]:
    """Read every file of a DuckDB warehouse to its end, with `--deep`."""
    scheme, _, folder = environment.settings.warehouse.get_secret_value().partition(":")
    if scheme != "duckdb" or not Path(folder).is_dir():
        return
    warehouse = DuckDBWarehouse(Path(folder))
    paths = warehouse.list_files()
    total = describe_bytes(sum(path.stat().st_size for path in paths))
    seen = f"{len(paths)} files of {total} in {folder}"
    faults = warehouse.find_faults()
    if not faults:
        yield ok_result("warehouse files", f"{seen}; all whole")
    for path, fault in faults.items():
        if path.suffix == ".parquet":
            advice = "move it away, its metrics of earlier runs are lost"
        else:
            advice = (
                f"python -m wearalike.pipeline publish_tables --run {path.stem} --force loads the"
                " run again"
            )
        yield CheckResult(
            "warehouse files",
            CheckStatus.WARN,
            f"{path} is damaged: {fault}",
            f"{advice}; check the disk",
        )
