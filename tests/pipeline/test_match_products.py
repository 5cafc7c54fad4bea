"""The job goes on from another run's candidates, and writes the table of a full search."""

import shutil
from pathlib import Path

import pytest

from wearalike import sample
from wearalike.pipeline import match_products
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, MATCHES

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(night, tmp_path):
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    sample.write_settings(
        tmp_path / "wearalike.toml",
        "http://127.0.0.1:1",
        tmp_path / "root",
        REPOSITORY / "mappings",
    )
    return tmp_path / "wearalike.toml"


def run_job(config, *more):
    """Run the job; return the table `matches` and its manifest's `searched`."""
    assert match_products.main(["--run", "day-1", "--config", str(config), *more]) == 0
    root = config.parent / "root"
    return run_tables.read_table(root, MATCHES, "day-1"), run_tables.read_manifest(
        root, MATCHES, "day-1"
    )["searched"]


def test_other_rules_search_nothing_anew_and_damaged_candidates_search_everything(config):
    root = config.parent / "root"
    count = run_tables.read_table(root, INDEXES, "day-1").num_rows
    first, searched = (
        run_tables.read_table(root, MATCHES, "day-1"),
        run_tables.read_manifest(root, MATCHES, "day-1")["searched"],
    )
    assert count > 200 and searched == {"since": None, "anew": count, "remembered": 0}
    longer, searched = run_job(config, "--k", "25", "--max-per-brand", "3")
    assert searched == {"since": "day-1", "anew": 0, "remembered": count}
    assert not longer.equals(first)
    whole, searched = run_job(config, "--k", "25", "--max-per-brand", "3", "--force")
    assert searched == {"since": None, "anew": count, "remembered": 0} and whole.equals(longer)
    damaged = sorted(
        (run_tables.table_dir(root, MATCHES, "day-1") / "candidates").glob("*/*.parquet")
    )[0]
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"PAR0")
    again, searched = run_job(config)
    assert 0 < searched["anew"] < count and again.equals(first)
