"""Faults of the machine, made for real: a disk that is full or read-only,
copies of one job at once, a task that wakes too late.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.imaging import test_download
from tests.imaging.test_download import (
    DAY_1,
    Server,
    assert_same_tables,
    download,
    jpeg,
    prepare,
    product,
)
from tests.support.full_disk import SmallDisk, mount_disk
from tests.warehouse.test_publish import _place, arguments, make
from tests.warehouse.test_warehouse import assert_holds, night

from wearalike.imaging import ledger
from wearalike.pipeline import detect_items, ingest_feeds, publish_tables
from wearalike.storage import run_tables
from wearalike.tables import FEEDS, IMAGES, ITEMS, OFFERS, PRODUCTS
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
# Serves pictures as it is told.
server = test_download.server


@pytest.fixture
def small(tmp_path: Path):
    with mount_disk(tmp_path / "disk", "400k") as made:
        yield made


def hidden(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if not path.name.endswith(".lock")]


def large_pictures(server: Server, count: int) -> list[dict]:
    """Products of a picture each, of about 30 KB."""
    for i in range(count):
        server.content[f"/a/{i}"] = jpeg(i, "BMP", 96)
    return [product("a", f"{i:03}", [server.url(f"/a/{i}")]) for i in range(count)]


def test_pictures_on_a_full_disk(small: SmallDisk, tmp_path: Path, server: Server, caplog) -> None:
    products = large_pictures(server, 30)
    root, undisturbed = small.path / "root", tmp_path / "undisturbed"
    for place in (root, undisturbed):
        place.mkdir()
        prepare(place, products)
    assert download(root) == 1
    assert (
        "no space left on device" in caplog.text
        and "bytes free. make room there, or move data_dir, then run the same again" in caplog.text
    )
    assert str(root) in caplog.text
    assert not run_tables.is_complete(root, IMAGES, DAY_1) and hidden(root) == []
    kept = [path for path in (root / "cache" / "images").rglob("*") if path.is_file()]
    assert 5 < len(kept) < 30 and all(
        hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in kept
    )
    small.remount("size=8m")
    assert download(root) == 0 and download(undisturbed) == 0
    assert_same_tables(root, undisturbed, DAY_1)


def test_a_table_and_a_publication_on_a_full_disk(small: SmallDisk, caplog) -> None:
    """What was published before stands and is read,
    and a table that did not fit is not there at all.
    """
    place = _place(small.path, f"duckdb:{small.path / 'warehouse'}")
    small.remount("size=20m")
    make(place.data_dir, "r1", night("r1"))
    assert publish_tables.main(arguments(place, "r1")) == 0
    make(place.data_dir, "r2", night("r2", 2000, 20))
    (small.path / "filler").write_bytes(
        bytes(os.statvfs(small.path).f_bavail * os.statvfs(small.path).f_frsize - 300_000)
    )
    assert publish_tables.main(arguments(place, "r2")) == 1
    assert (
        "run r2 is in Parquet only and not published" in caplog.text
        and str(small.path) in caplog.text
    )
    with pytest.raises(OSError, match=r"No space left on device: [\d,]+ bytes free"):
        make(
            place.data_dir,
            "r3",
            {name: _unlike(part, 200_000) for name, part in night("r3").items()},
        )
    assert hidden(small.path) == [] and not run_tables.is_complete(place.data_dir, PRODUCTS, "r3")
    warehouse = open_warehouse(place.warehouse)
    assert warehouse.state().published_run == "r1"
    assert_holds(warehouse, "r1", night("r1"))
    (small.path / "filler").unlink()
    assert publish_tables.main(arguments(place, "r2")) == 0
    assert_holds(warehouse, "r2", night("r2", 2000, 20))


def _unlike(part: pa.Table, count: int) -> pa.Table:
    """Many rows that do not pack well."""
    rows = part.take(pa.array([0] * count))
    name = next(f.name for f in rows.schema if f.type == pa.string() and not f.nullable)
    words = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]
    return rows.set_column(
        rows.schema.get_field_index(name), rows.schema.field(name), pa.array(words)
    )


@pytest.mark.parametrize("min_offers", [0, 1])
def test_a_feed_on_a_full_disk(
    small: SmallDisk, server: Server, caplog, monkeypatch, min_offers
) -> None:
    """Pulled inside Spark's worker or by the job, and the job's last line says it all the same."""
    monkeypatch.setenv("WEARALIKE_MAPPINGS", str(REPOSITORY / "mappings"))
    root = small.path / "root"
    root.mkdir()
    noise = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(8000))
    server.content["/s"] = (
        f"<yml_catalog><shop><offers><!--{noise}--></offers></shop></yml_catalog>".encode()
    )
    prepare(root, [product("s", "1", [])], feed=f'"{server.url("/s")}"')
    with (root / "wearalike.toml").open("a", encoding="utf-8") as config:
        config.write(f"\n[spark]\nmin_offers = {min_offers}\n")
    options = [
        "--data-dir",
        str(root),
        "--config",
        str(root / "wearalike.toml"),
        "--run",
        "n1",
        "--spark-master",
        "local[1]",
    ]
    assert ingest_feeds.main(options) == 1
    assert (
        "no space left on device" in caplog.text
        and "make room" in caplog.text
        and str(root) in caplog.text
    )
    assert (
        not run_tables.is_complete(root, OFFERS, "n1")
        and not run_tables.is_complete(root, FEEDS, "n1")
        and hidden(root) == []
    )


def test_a_read_only_disk(small: SmallDisk, server: Server, caplog) -> None:
    place = _place(small.path, f"duckdb:{small.path / 'warehouse'}")
    small.remount("size=8m")
    make(place.data_dir, "r1", night("r1"))
    assert publish_tables.main(arguments(place, "r1")) == 0
    make(place.data_dir, "r2", night("r2"))
    root = small.path / "pictures"
    root.mkdir()
    prepare(root, large_pictures(server, 3))
    small.remount("ro")
    assert download(root) == 1 and publish_tables.main(arguments(place, "r2")) == 1
    assert (
        caplog.text.count("read-only file system") >= 2
        and str(root / "cache") in caplog.text
        and str(small.path / "warehouse") in caplog.text
    )
    with duckdb.connect(str(small.path / "warehouse" / "wearalike.duckdb"), read_only=True) as site:
        assert site.execute("SELECT count(*) FROM current_products").fetchall() == [(6,)]
    small.remount("rw")
    assert download(root) == 0 and publish_tables.main(arguments(place, "r2")) == 0


def job(root: Path) -> subprocess.Popen[bytes]:
    command = [
        "wearalike.pipeline",
        "download_images",
        "--data-dir",
        str(root),
        "--config",
        str(root / "wearalike.toml"),
        "--run",
        DAY_1,
    ]
    return subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE)


def test_three_copies_of_one_job_at_once_leave_one_table(server: Server, tmp_path: Path) -> None:
    products = large_pictures(server, 40)
    root, undisturbed = tmp_path / "root", tmp_path / "undisturbed"
    for place in (root, undisturbed):
        place.mkdir()
        prepare(place, products)
    server.pause_s = 0.02
    copies = [job(root) for _ in range(3)]
    told = [copy.communicate(timeout=120)[1].decode() for copy in copies]
    assert [copy.returncode for copy in copies] == [0, 0, 0], told
    assert max(server.asked.values()) > 1, "the copies did not meet"
    assert download(undisturbed) == 0
    assert_same_tables(root, undisturbed, DAY_1)
    assert hidden(root / "images") == [] and os.listdir(root / "images") == [f"run={DAY_1}"]


def test_a_stalled_task_that_wakes_after_its_successor_writes_nothing(
    server: Server, tmp_path: Path
) -> None:
    """As when a machine sleeps for longer than the scheduler waits for its heartbeat."""
    products = large_pictures(server, 6)
    prepare(tmp_path, products)
    woken = threading.Event()
    server.pages["/a/5"] = lambda h, n: (
        (woken.wait(120), h.reset()) if n == 1 else h.answer(jpeg(5))
    )
    stalled = job(tmp_path)
    deadline = time.monotonic() + 90
    while not server.asked["/a/5"]:
        assert time.monotonic() < deadline and stalled.poll() is None
        time.sleep(0.02)
    os.kill(stalled.pid, signal.SIGSTOP)
    prepare(tmp_path, products[:3])  # its inputs are made again, from a newer feed
    assert download(tmp_path) == 0
    made = run_tables.read_manifest(tmp_path, IMAGES, DAY_1)
    assert made["rows"]["written"] == 3
    woken.set()
    os.kill(stalled.pid, signal.SIGCONT)
    told = stalled.communicate(timeout=120)[1].decode()
    assert stalled.returncode == 1
    assert "another process has finished it from other inputs since this one began" in told, told
    assert (
        run_tables.read_manifest(tmp_path, IMAGES, DAY_1) == made
        and hidden(tmp_path / "images") == []
    )
    assert ledger.read_ledger(tmp_path, "a", DAY_1).num_rows >= 6, (
        "what it fetched is kept by content all the same"
    )


def test_what_is_looked_at_again_is_new_content_not_a_new_address(
    server: Server, tmp_path: Path
) -> None:
    def night_of(run: str, urls: list[str]) -> set[str]:
        prepare(
            tmp_path, [product("a", str(n), [server.url(url)]) for n, url in enumerate(urls)], run
        )
        assert download(tmp_path, run) == 0
        assert detect_items.main(["--data-dir", str(tmp_path), "--run", run]) == 0
        return set(run_tables.read_table(tmp_path, ITEMS, run)["image_id"].to_pylist())

    def looked_at() -> int:
        return sum(
            pq.read_metadata(path).num_rows
            for path in (tmp_path / "cache" / "items").rglob("*.parquet")
        )

    server.content = {f"/a/{n}": jpeg(n, side=64) for n in (1, 2)} | {"/b/2": jpeg(2, side=64)}
    first = night_of("n1", ["/a/1", "/a/2"])
    rows = looked_at()
    assert len(first) == 2 and rows >= 2
    assert night_of("n2", ["/a/1", "/b/2"]) == first and looked_at() == rows, (
        "the same picture under another address"
    )
    server.content["/a/1"] = jpeg(3, side=64)
    third = night_of("n3", ["/a/1", "/b/2"])
    assert len(third - first) == len(first - third) == 1 and looked_at() > rows, (
        "another picture under the same address"
    )
