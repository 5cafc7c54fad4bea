"""What several test files look at: one night of the sample shops, undisturbed.
Nobody writes into it; copy it to change it.
"""

import importlib.util
import os
import socket
import sys
from pathlib import Path

import pytest

from wearalike import sample
from wearalike.commands import app

REPOSITORY = Path(__file__).resolve().parents[1]
# Spark's JVM lives for seconds here: its second compiler would take a
# third of them and never earn it back.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")
os.environ.setdefault("SPARK_LAUNCHER_OPTS", "-XX:TieredStopAtLevel=1")


# A worker of pytest-xdist has no main module, and pyspark ends such a
# process with status 0, taking it for its doctests. It gets the one that
# `python -m pytest` has.
if sys.modules["__main__"].__spec__ is None:
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("pytest.__main__")


@pytest.fixture(scope="session")
def night_port() -> int:
    """One port for every day, so that a picture's address stays what it was."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# A file goes to one worker as a whole. The longest come first, so that none is left over at the end
# while the other worker has nothing to do.
LONGEST_FILES = (
    "airflow/test_dags.py",
    "airflow/test_gate_operator.py",
    "pipeline/test_report_quality.py",
    "pipeline/test_night.py",
    "training/test_detector.py",
    "pipeline/test_spark_cluster.py",
    "warehouse/test_warehouse.py",
    "training/test_likeness_recipe.py",
    "server/test_photo_page.py",
    "pipeline/test_offline.py",
    "server/test_warm_up.py",
    "server/test_pages.py",
    "commands/test_query_photo.py",
    "training/test_view_classifier.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the others keep their order."""
    paths = [Path(__file__).parent / name for name in LONGEST_FILES]
    assert all(path.exists() for path in paths), "LONGEST_FILES names a file that is not there"
    ranks = {str(path): n for n, path in enumerate(paths)}
    items.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))


@pytest.fixture(scope="session")
def night(tmp_path_factory, night_port) -> Path:
    """The first day's night, run and published as "day-1": a folder of wearalike.toml and root/."""
    folder = tmp_path_factory.mktemp("night")
    with sample.serve_shops(day=1, port=night_port) as address:
        sample.write_settings(
            folder / "wearalike.toml", address, folder / "root", REPOSITORY / "mappings"
        )
        assert app.main(["run", "--run", "day-1", "--config", str(folder / "wearalike.toml")]) == 0
    return folder
