"""Downloading: every guard and the ledger on, beside img2dataset, which keeps what it is sent,
both from an nginx on loopback.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    SkippedBench,
    exponent,
    seconds,
)
from tests.benchmarks.pictures import describe_pictures, load_pictures

from wearalike.imaging import download, ledger
from wearalike.settings import ShopSettings

IMAGES, IMAGES_FULL, CONNECTIONS = 1_000, 5_000, 32
TARGET = "≥ 1.25"
# An environment of its own, made by `make bench`: it wants other versions of what we use.
PEERS_PYTHON = Path(__file__).resolve().parents[2] / "build" / "bench-peers" / "bin" / "python"
_NGINX_CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000; types {{ image/jpeg jpg; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
  fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/shop; }}
}}
"""
_PEER_SCRIPT = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format="txt",
             output_format="files", processes_count=1, thread_count=32, resize_mode="no",
             disable_all_reencoding=True, number_sample_per_shard=100_000, retries=0)
"""


@contextlib.contextmanager
def start_nginx(contents: list[bytes]) -> Iterator[list[str]]:
    """The addresses of the pictures on a server that lives as long as the block."""
    # Its workers give up their rights, and are to read the pictures.
    folder = Path(tempfile.mkdtemp(prefix="wearalike-nginx-"))
    folder.chmod(0o755)
    (folder / "shop").mkdir()
    for number, content in enumerate(contents):
        (folder / "shop" / f"{number}.jpg").write_bytes(content)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (folder / "nginx.conf").write_text(
        _NGINX_CONF.format(folder=folder, port=port), encoding="utf-8"
    )
    command = [
        "nginx",
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
        "-c",
        str(folder / "nginx.conf"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"nginx did not start: {(folder / 'error.log').read_text(encoding='utf-8')}"
                )
            time.sleep(0.05)
        yield [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(len(contents))]
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def download_ours(root: Path, urls: list[str]) -> None:
    """Everything the night does for a picture: guard, decoding to its end in another process,
    sha256, sync, ledger.
    """
    shop = ShopSettings(
        id="bench",
        feed=urls[0],
        allowed_networks=("127.0.0.1/32",),
        max_connections_per_host=CONNECTIONS,
        min_request_interval_s=0.0,
    )
    rows = ledger.pending_downloads(
        root, "run", pa.chunked_array([urls]), ledger.read_ledger(root, shop.id, "run")
    )
    counts = download.download_images(
        root, "run", {shop: rows}, download.DownloadPolicy(), lambda done: None
    )
    if counts != {"fetched": len(urls)}:
        raise RuntimeError(f"{len(urls)} pictures were asked for, and came: {dict(counts)}")


def download_peer(folder: Path, urls: list[str]) -> None:
    folder.mkdir()
    (folder / "urls.txt").write_text("\n".join(urls) + "\n", encoding="utf-8")
    (folder / "peer.py").write_text(_PEER_SCRIPT, encoding="utf-8")
    command = [
        str(PEERS_PYTHON),
        str(folder / "peer.py"),
        str(folder / "urls.txt"),
        str(folder / "out"),
    ]
    # A library of its would ask the internet for a newer one.
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=900,
        env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"},
    )
    if (came := len(list((folder / "out").rglob("*.jpg")))) != len(urls):
        raise RuntimeError(f"{len(urls)} pictures were asked of img2dataset, and came: {came}")


def rate(options: BenchOptions) -> BenchResult | SkippedBench:
    if not shutil.which("nginx"):
        return SkippedBench("download", TARGET, "no nginx here: apt-get install nginx-light")
    if not PEERS_PYTHON.exists():
        return SkippedBench(
            "download",
            TARGET,
            "no img2dataset here: make bench installs it where a package registry is",
        )
    count = IMAGES_FULL if options.full else IMAGES
    contents, runs = load_pictures(options, count), 3 if options.full else RUNS
    with tempfile.TemporaryDirectory() as folder, start_nginx(contents) as urls:
        fresh = (Path(folder) / str(number) for number in itertools.count())
        sizes = [count // 4, count // 2, count]
        growth = exponent(
            sizes,
            [seconds(lambda size=size: download_ours(next(fresh), urls[:size])) for size in sizes],
        )
        download_peer(next(fresh), urls[:1])
        times = []
        for _ in range(runs):
            whole = seconds(lambda: download_peer(next(fresh), urls))
            # It starts two interpreters and imports much before it asks:
            # that is not held against it.
            times.append(
                (
                    seconds(lambda: download_ours(next(fresh), urls)),
                    whole - seconds(lambda: download_peer(next(fresh), urls[:1])),
                )
            )
    ours_s, peer_s = (statistics.median(of_one) for of_one in zip(*times, strict=True))
    asked = [
        str(PEERS_PYTHON),
        "-c",
        "from importlib.metadata import version; print(version('img2dataset'))",
    ]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    settings = (
        f"img2dataset {version}, {CONNECTIONS} threads of one process, no resize, "
        f"no re-encoding, less its start; {describe_pictures(options, contents)}"
    )
    ratio = peer_s / ours_s
    return BenchResult(
        "download",
        count / ours_s,
        count / peer_s,
        "images/s",
        ratio,
        TARGET,
        ratio >= 1.25,
        runs,
        settings,
        growth,
    )


BENCHES = (rate,)
