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
