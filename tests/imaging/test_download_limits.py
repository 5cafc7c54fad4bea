"""Memory and requests of downloading stay within their limits, however many shops and shards."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearalike.pipeline.download_images import take_shard
from wearalike.settings import ShopSettings

LARGE_BYTES = 12 << 20
IMAGES_A_SHOP = 40


class LargeHandler(http.server.BaseHTTPRequestHandler):
    """Any address: as many bytes as a large picture has, and no picture."""

    protocol_version = "HTTP/1.1"
    body = bytes(LARGE_BYTES)

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(LARGE_BYTES))
            self.end_headers()
            self.wfile.write(self.body)
        except OSError:
            pass  # the client knows from the header that it is too large for now


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), LargeHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


DOWNLOAD = """
import sys, tempfile
from pathlib import Path
import pyarrow as pa
from wearalike.imaging import download, ledger
from wearalike.settings import ShopSettings
from tests.benchmarks.measure import peak_bytes
port, shops, count = map(int, sys.argv[1:])
pending = {}
for number in range(shops):
    shop = ShopSettings(id=f"s{number}", feed="http://127.0.0.1/", max_connections_per_host=32,
                        allowed_networks=["127.0.0.1/32"])
    rows = [{"url": f"http://127.0.0.1:{port}/{number}/{i}.jpg"} for i in range(count)]
    pending[shop] = pa.Table.from_pylist(rows, ledger.LEDGER_SCHEMA)
with tempfile.TemporaryDirectory() as folder:
    before = peak_bytes()
    counts = download.download_images(
        Path(folder), "2026-11-21", pending, download.DownloadPolicy(), lambda n: None)
assert counts == {"refused": shops * count}, counts
print((peak_bytes() - before) >> 20)
"""


def test_memory_does_not_grow_with_the_shops_by_their_large_pictures(port):
    grown_mib = []
    for shops in (1, 3):
        command = [sys.executable, "-c", DOWNLOAD, str(port), str(shops), str(IMAGES_A_SHOP)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        grown_mib.append(int(done.stdout))
    one, three = grown_mib
    # 32 requests at a time and shop: 384 MiB a shop, if each held its whole body.
    assert one < 380
    assert three < one + 150


@given(
    connections=st.integers(1, 12),
    count=st.integers(1, 8),
    hosts=st.integers(1, 5),
    interval_s=st.sampled_from([0.0, 0.5]),
)
def test_shards_together_ask_a_host_no_more_than_one_job_would(
    connections, count, hosts, interval_s
):
    shop = ShopSettings(
        id="moda",
        feed="http://moda.example/",
        max_connections_per_host=connections,
        min_request_interval_s=interval_s,
    )
    urls = [f"https://CDN{n % hosts}.example/{n}.jpg" for n in range(40)]
    taken: list[str] = []
    at_once: dict[str, int] = defaultdict(int)
    a_second: dict[str, float] = defaultdict(float)
    for number in range(1, count + 1):
        own_shop, own = take_shard(shop, pa.array(urls), (number, count))
        taken += own.to_pylist()
        for host in {url.split("/")[2] for url in own.to_pylist()}:
            at_once[host] += own_shop.max_connections_per_host
            if interval_s:
                a_second[host] += 1 / own_shop.min_request_interval_s
    assert sorted(taken) == sorted(urls)
    assert max(at_once.values()) <= connections
    assert max(a_second.values(), default=0) <= 1 / (interval_s or 1) + 1e-9
