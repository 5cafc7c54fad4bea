"""Storage without locks: what needs none works, and what needs one says so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the number of flock is not known here"
)


def run_without_locks(program: str, folder: Path) -> str:
    """Return what a program prints whose kernel refuses flock."""
    text = textwrap.dedent(program)
    head = "from tests.support.no_locks import refuse_flock\nrefuse_flock()\n"
    head += "import sys\nfrom pathlib import Path\nroot = Path(sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", head + text, str(folder)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tables_are_written_whole_and_nothing_of_others_is_removed(tmp_path):
    left = tmp_path / "quality" / ".run=r1.0123456789abcdef0123456789abcdef"
    left.mkdir(parents=True)
    said = run_without_locks(
        """
        from wearalike.storage import atomic, data_lock, run_tables
        from wearalike.tables import QUALITY

        for signature in ("a", "b"):
            with data_lock.use_data(root), run_tables.write_table(
                root, QUALITY, "r1", signature
            ) as writer:
                writer.write(QUALITY.arrow_schema.empty_table())
        print(run_tables.read_manifest(root, QUALITY, "r1")["signature"])
        """,
        tmp_path,
    )
    assert said == "b\n"
    assert left.is_dir(), "nobody knows whose it is"
    assert sorted(p.name for p in left.parent.iterdir()) == [left.name, "run=r1"]


def test_a_ledger_is_kept_as_it_is(tmp_path):
    said = run_without_locks(
        """
        import pyarrow as pa
        from wearalike.imaging import ledger

        for number in range(70):
            row = {"url": f"https://moda.example/{number}.jpg", "run": "r1"}
            rows = pa.Table.from_pylist([row], ledger.LEDGER_SCHEMA)
            ledger.append_to_ledger(root, "moda", rows)
        ledger.compact_ledger(root, "moda")
        print(ledger.read_ledger(root, "moda").num_rows)
        """,
        tmp_path,
    )
    assert said == "70\n"
    assert len(list((tmp_path / "cache" / "downloads" / "moda").glob("*.parquet"))) == 70


@pytest.mark.parametrize(
    "work",
    [
        "DuckDBWarehouse(root / 'warehouse').publish('r1')",
        "prune_data(Settings(data_dir=root))",
        "atomic.lock_file(root / 'lock').__enter__()",
        "atomic.lock_file(root / 'lock', 1.0).__enter__()",
    ],
)
def test_what_needs_a_lock_says_that_there_is_none(tmp_path, work):
    said = run_without_locks(
        f"""
        from wearalike.ops.retention.prune import prune_data
        from wearalike.pipeline import command_frame
        from wearalike.settings import Settings
        from wearalike.storage import atomic
        from wearalike.warehouse.duckdb.load import DuckDBWarehouse

        try:
            {work}
        except command_frame.OPERATOR_ERRORS as error:
            print(type(error).__name__, command_frame.describe_error(error))
        """,
        tmp_path,
    )
    assert said.startswith("LocksUnsupported ") and str(tmp_path) in said
    assert "no locks available: this file system has no locks of files" in said
