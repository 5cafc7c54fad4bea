"""The clock says what it likes: a run's tables depend on its name and inputs alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wearalike import sample, tables
from wearalike.storage import run_tables

REPOSITORY = Path(__file__).resolve().parents[2]
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
# What neither starts Spark nor loads a network, each made again.
JOBS = """
import datetime, sys
from importlib import import_module
offset = lambda: datetime.datetime.now().astimezone().utcoffset()
print(datetime.datetime.now().year, offset())
for name in (
    "map_products", "download_images", "build_indexes", "report_quality", "publish_tables"
):
    options = sys.argv[1:] if name == "download_images" else [*sys.argv[1:], "--force"]
    code = import_module(f"wearalike.pipeline.{name}").main(options)
    assert code == 0, name
print(offset())
"""


@pytest.mark.skipif(
    FAKETIME is None, reason="libfaketime is not installed (Debian: apt-get install libfaketime)"
)
def test_a_clock_of_another_year_that_runs_fast_changes_nothing(night, night_port, tmp_path):
    """As on a machine whose battery is empty: it is 1999, an hour goes by in a second,
    and in the middle summer time ends.
    """
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    config = tmp_path / "wearalike.toml"
    sample.write_settings(
        config, f"http://127.0.0.1:{night_port}", tmp_path / "root", REPOSITORY / "mappings"
    )
    clock = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": "@1999-10-30 23:30:00 x3600",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    clock["TZ"] = "America/New_York"  # from 2:00 back to 1:00 on 31 October
    # A file, not -c: pyspark's connect module, which Great Expectations imports,
    # ends a process whose __main__ is none.
    script = tmp_path / "jobs.py"
    script.write_text(JOBS)
    command = [sys.executable, str(script), "--run", "day-1", "--config", str(config)]
    done = subprocess.run(
        command, env={**os.environ, **clock}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout.splitlines()
    assert (told[0], told[-1]) == ("1999 -1 day, 20:00:00", "-1 day, 19:00:00")
    made = [t for t in tables.TABLES if run_tables.is_complete(night / "root", t, "day-1")]
    assert len(made) == len(tables.TABLES) - 1
    for table in made:
        one, other = night / "root", tmp_path / "root"
        if table is tables.QUALITY:  # beside it lie pages, which say when they were made
            assert run_tables.read_table(one, table, "day-1").equals(
                run_tables.read_table(other, table, "day-1")
            )
        else:
            assert run_tables.input_hash(one, table, "day-1") == run_tables.input_hash(
                other, table, "day-1"
            ), table.name
