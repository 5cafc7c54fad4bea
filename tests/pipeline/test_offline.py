"""A night in a network that has loopback alone: nobody but shops and warehouse is asked,
and no secret is told.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from wearalike import tables
from wearalike.storage import run_tables

pytestmark = pytest.mark.timeout(1800)
REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "hush-hush_7361"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> tuple[Path, dict]:
    """(folder, what the night printed) of a night under `unshare`."""
    folder = tmp_path_factory.mktemp("sealed")
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode
    ):
        pytest.skip("no network of one's own may be made here (unshare -n)")
    command = [
        "unshare",
        "-n",
        sys.executable,
        str(REPOSITORY / "tests" / "support" / "offline.py"),
        str(folder),
        SECRET,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_nothing_phones_home(sealed):
    """The kernel counts whatever has no way to go, a look-up of a name as well,
    of every process of the night, Java's too.
    """
    folder, told = sealed
    assert told["codes"] == [0, 1, 0] and told["no_route"] == 0
    assert (
        run_tables.read_table(folder / "root", tables.SIMILAR_PRODUCTS, "night-1").num_rows > 1000
    )


def test_no_secret_is_told(sealed):
    folder, _ = sealed
    said = (folder / "said").read_text(errors="replace")
    assert "night-1 is in Parquet only and not published: PostgreSQL 127.0.0.1" in said
    statuses = {
        row["shop_id"]: row
        for row in run_tables.read_table(folder / "root", tables.FEEDS, "night-2").to_pylist()
    }
    assert len(statuses) == 3 and all(
        row["status"] == "stale" and "http_404" in row["detail"] for row in statuses.values()
    )
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "wearalike.toml"]
    assert len(files) > 300 and any(path.suffix == ".html" for path in files)
    assert [path for path in files if SECRET in _text(path)] == []


def _text(path: Path) -> str:
    """The bytes as they are; of a packed table its rows."""
    return (
        str(pq.read_table(path).to_pylist())
        if path.suffix == ".parquet"
        else path.read_bytes().decode("latin-1")
    )
