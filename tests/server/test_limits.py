"""Limits of connections, memory and time that clients meet, on a real server."""

import asyncio
import contextlib
import hashlib
import http.client
import io
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from PIL import Image
from starlette.exceptions import HTTPException
from tests.support.http_server import serve_site
from tests.support.pictures import transparent_png

from wearalike.server.clients import ProxyAddresses, client_key
from wearalike.server.fair_queue import FairQueue, QueueLimits
from wearalike.storage import content_cache

# Limits that a test can wait for.
FAST = """
from wearalike.server import connections
connections.PHASE_LIMITS_S.update(head=1.0, body=1.5)
connections.UNSENT_LIMIT_S = 1.0
"""
FREE_PATH = "/v1/openapi.json"  # needs no published run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "wearalike.toml"
    path.write_text('data_dir = "data"\n[serve]\nrequests_a_minute = 1000000\n', encoding="utf-8")
    return path


def connect(address: str, source: str = "127.0.0.1", buffer_bytes: int = 0) -> socket.socket:
    parts = urlsplit(address)
    connection = socket.socket()
    if buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.settimeout(30)
    connection.bind((source, 0))
    connection.connect((parts.hostname, parts.port))
    return connection


def ask(address: str, source: str = "127.0.0.1") -> int:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port, timeout=20, source_address=(source, 0)
    )
    with contextlib.closing(connection):
        connection.request("GET", FREE_PATH)
        return connection.getresponse().status


def is_cut(connection: socket.socket) -> bool:
    """Wait until the server ends the connection; whatever it sends before is read."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n"])
def test_request_headers_without_end_take_no_memory(config, begin):
    with serve_site(config) as (address, process):
        assert ask(address) == 200
        before = psutil.Process(process.pid).memory_info().rss
        with connect(address) as connection:
            connection.sendall(begin)
            piece = b"x" * (1 << 20) if not begin.endswith(b"\n") else b"a: b\r\n" * (1 << 17)
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    connection.sendall(piece)
            assert is_cut(connection)
        assert psutil.Process(process.pid).memory_info().rss - before < 20 << 20
        assert ask(address) == 200


def test_idle_connections_shut_nobody_out(config):
    with serve_site(config, max_files=256) as (address, _), contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(connect(address))
        began = time.monotonic()
        assert ask(address, "127.0.0.2") == 200
        assert ask(address) == 200, "nor the client that holds them"
        # Ten clients together hold all places, each less than its own.
        for number in range(400):
            stack.enter_context(connect(address, f"127.0.1.{number % 10}"))
        assert ask(address, "127.0.0.2") == 200
        assert time.monotonic() - began < 30


def test_a_client_gets_no_more_than_its_connections(config):
    config.write_text('data_dir = "data"\n[serve]\nconnections_a_client = 4\n', encoding="utf-8")
    upload = b"POST /v1/photo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    with serve_site(config) as (address, _), contextlib.ExitStack() as stack:
        for _ in range(4):
            held = stack.enter_context(connect(address))
            held.sendall(upload + b"Content-Length: 1000\r\n\r\nx")
        # The four are sent before it, so the server has them first.
        with connect(address) as more:
            more.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert more.recv(100).startswith(b"HTTP/1.1 503")
        assert ask(address, "127.0.0.2") == 200


def test_slow_clients_are_cut(config):
    with serve_site(config, before=FAST) as (address, process):
        began = time.monotonic()
        silent, trickling, unfinished = (connect(address) for _ in range(3))
        greedy = connect(address, buffer_bytes=4096)
        trickling.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        unfinished.sendall(
            b"POST /v1/photo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\n\r\nx"
        )
        request = f"GET {FREE_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        greedy.sendall(request * 500)  # and takes none of the answers
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                trickling.sendall(b"a: b\r\n")
                trickling.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if not trickling.recv(100):
                        break
        assert time.monotonic() - began < 20
        assert is_cut(silent) and is_cut(unfinished)
        mine = greedy.getsockname()
        while any(c.raddr == mine for c in psutil.Process(process.pid).net_connections()):
            assert time.monotonic() - began < 60
            time.sleep(0.2)
        assert ask(address) == 200
        for connection in (silent, trickling, unfinished, greedy):
            connection.close()


def test_thumbnails_of_large_pictures_take_memory_for_one(tmp_path):
    """64 million pixels with transparency in a file of 70 kB: each takes 1 GB while it is made."""
    root = tmp_path / "root"
    ids = []
    for number in range(3):
        content = transparent_png(8000, (200, 80 * number, 60))
        ids.append(hashlib.sha256(content).hexdigest())
        path = content_cache.image_path(root, ids[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = tmp_path / "wearalike.toml"
    config.write_text(f'data_dir = "{root}"\n', encoding="utf-8")
    with serve_site(config) as (address, process), ThreadPoolExecutor(12) as threads:

        def fetch(image_id: str) -> bytes:
            with urllib.request.urlopen(f"{address}/thumbnails/360/{image_id}.jpg") as answer:
                return answer.read()

        family = psutil.Process(process.pid)
        made = [threads.submit(fetch, image_id) for image_id in ids * 4]
        most = 0
        while not all(future.done() for future in made):
            with contextlib.suppress(psutil.NoSuchProcess):
                processes = [family, *family.children(recursive=True)]
                most = max(most, sum(one.memory_info().rss for one in processes))
        assert len({future.result() for future in made}) == 3
        assert most < 2 << 30, most
        assert Image.open(io.BytesIO(made[0].result())).size == (360, 360)


def test_a_client_is_an_address_or_the_network_of_an_ipv6_host():
    assert client_key("192.0.2.7") == client_key("::ffff:192.0.2.7") != client_key("192.0.2.8")
    assert (
        client_key("2001:db8::1") == client_key("2001:db8::ffff:2") != client_key("2001:db8:0:1::")
    )
    assert "10.1.2.3" in ProxyAddresses(["10.1.2.0/24"]) and "x" not in ProxyAddresses(["::1"])


def test_a_queue_takes_clients_in_turn():
    queue = FairQueue(QueueLimits("photos", 16, 4, 1, wait_s=5.0))
    turns: list[str] = []

    async def work(client: str) -> None:
        async with queue.reserve_place(client), queue.wait_for_turn(client):
            turns.append(client)
            await asyncio.sleep(0)

    async def work_all() -> None:
        async with asyncio.TaskGroup() as group:
            for client in "aaaabbc":
                group.create_task(work(client))

    asyncio.run(work_all())
    assert turns == list("aabcaba")


def test_a_queue_survives_those_that_give_up():
    queue = FairQueue(QueueLimits("photos", 16, 4, 1, wait_s=0.05))

    async def wait(client: str) -> bool:
        try:
            async with queue.wait_for_turn(client):
                return True
        except HTTPException as error:
            assert "no turn for your photos" in str(error)
            return False

    async def work_all() -> None:
        async with queue.wait_for_turn("first"):
            gone = [asyncio.create_task(wait("a")) for _ in range(3)]
            await asyncio.sleep(0)
            gone[1].cancel()
            assert not await gone[0] and not await gone[2]
        assert await wait("b") and await wait("a"), "the slot is free again"

    asyncio.run(work_all())
