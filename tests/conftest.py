"""What several test files look at: one night of the sample shops, undisturbed.
Nobody writes into it; copy it to change it.
"""

import contextlib
import fcntl
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep other workers out while the block lasts."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory) -> Path:
    """A folder that all workers of this test run see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def night_port(shared_dir) -> int:
    """One port for every day and worker, so that a picture's address stays what it was."""
    path = shared_dir / "night_port"
    with hold(path.with_suffix(".lock")):
        if not path.exists():
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                path.write_text(str(s.getsockname()[1]))
        return int(path.read_text())


ServeShops = Callable[[int], contextlib.AbstractContextManager[str]]


@pytest.fixture(scope="session")
def serve_shops(shared_dir, night_port) -> ServeShops:
    """Serve the shops of a day at the night's addresses, in one worker at a time."""

    @contextlib.contextmanager
    def serve(day: int) -> Iterator[str]:
        with (
            hold(shared_dir / "shops.lock"),
            sample.serve_shops(day=day, port=night_port) as address,
        ):
            yield address

    return serve


# A file goes to one worker as a whole. The longest come first, so that none is left over at the end
# while the other worker has nothing to do.
LONGEST_FILES = (
    "airflow/test_dags.py",
    # These two need no night, which the first file runs meanwhile.
    "training/test_detector.py",
    "warehouse/test_warehouse.py",
    "pipeline/test_night.py",
    "pipeline/test_report_quality.py",
    # It serves the shops, as the tests of the night do, which end meanwhile.
    "pipeline/test_spark_cluster.py",
    "pipeline/test_offline.py",
    "storage/test_object_storage.py",
    "server/test_warm_up.py",
    "server/test_photo_page.py",
    "training/test_likeness_recipe.py",
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
def night(shared_dir, serve_shops) -> Path:
    """The first day's night, run and published as "day-1": a folder of wearalike.toml and root/.
    The worker that needs it first runs it for all.
    """
    folder, done = shared_dir / "night", shared_dir / "night.done"
    with hold(shared_dir / "night.lock"):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            config = folder / "wearalike.toml"
            with serve_shops(1) as address:
                sample.write_settings(config, address, folder / "root", REPOSITORY / "mappings")
                assert app.main(["run", "--run", "day-1", "--config", str(config)]) == 0
            done.touch()
    return folder
