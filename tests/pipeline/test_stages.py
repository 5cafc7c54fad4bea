"""A run as data: every table is written by one stage, and read after it was written."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from wearalike import tables
from wearalike.pipeline import stages

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def test_every_table_of_a_run_is_written_once_and_before_it_is_read():
    written: list[str] = []
    for stage in stages.STAGES:
        assert set(stage.reads) <= set(written), stage.name
        written += stage.writes
    assert sorted(written) == sorted(
        table.name for table in tables.TABLES if table is not tables.REFUSED
    )


def test_the_published_tables_are_those_of_the_schema():
    assert [table.name for table in tables.PUBLISHED_TABLES] == list(stages.PUBLISHED_TABLES)


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_every_stage_is_a_module_with_the_options_it_says(stage):
    module = importlib.import_module(f"wearalike.pipeline.{stage.name}")
    options = {parameter.name for parameter in module.command().params}
    assert {"run", "data_dir", "config", "force"} <= options
    assert ("shard" in options) == stage.is_sharded
    assert inspect.getdoc(module)


def test_a_stage_is_run_by_its_name():
    command = [sys.executable, "-m", "wearalike.pipeline"]
    unknown = subprocess.run([*command, "nosuch"], capture_output=True, text=True, timeout=60)
    assert unknown.returncode == 2 and "ingest_feeds" in unknown.stderr
    known = subprocess.run(
        [*command, "map_products", "--help"], capture_output=True, text=True, timeout=60
    )
    assert known.returncode == 0 and "--run" in known.stdout


def test_every_job_file_is_thin_and_starts_its_stage():
    files = sorted(JOBS.glob("*.py"))
    assert [path.stem for path in files] == sorted(stages.STAGE_NAMES)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 25
        assert f"from wearalike.pipeline.{path.stem} import main" in text
