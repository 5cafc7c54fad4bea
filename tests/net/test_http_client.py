"""Addresses to bytes: a server that really misbehaves, and a guard under which nothing is
connected that must not be.
"""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import hashlib
import ipaddress
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest

from wearalike.net import address_guard, http_client
from wearalike.net.http_client import FetchReason

LOOPBACK = address_guard.AddressGuard(allowed_networks=("127.0.0.1/32",))
BODY = bytes(range(256)) * 40
QUICK = http_client.FetchPolicy(
    max_attempts=3, timeout_s=1.0, idle_timeout_s=0.5, retry_wait_s=0.01, max_retry_wait_s=0.3
)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked.append((time.monotonic(), self.path, dict(self.headers)))
            self.server.now += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.now)
            count = len(self.server.paths(self.path))
        try:
            self.server.pages[self.path.split("?")[0]](self, count)
        except OSError:
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.now -= 1

    def answer(
        self, status: int = 200, body: bytes = BODY, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def reset(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.now, self.most_at_once = threading.Lock(), 0, 0
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.pages: dict[str, Callable[[Handler, int], None]] = {"/good": lambda h, n: h.answer()}

    def handle_error(self, request: object, address: object) -> None:
        pass

    def paths(self, path: str) -> list[str]:
        return [p for _, p, _ in self.asked if p == path]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


def serve() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serve()


def fetch(
    *urls: str,
    guard: address_guard.AddressGuard = LOOPBACK,
    manners: http_client.FetchPolicy = QUICK,
    **more: object,
) -> list[http_client.Response | http_client.FetchError]:
    async def all_of_them() -> list[http_client.Response | http_client.FetchError]:
        async with http_client.Client(guard, manners) as client:
            return await asyncio.gather(
                *(client.fetch(u, 100_000, **more) for u in urls), return_exceptions=True
            )  # type: ignore

    return asyncio.run(all_of_them())


def reason(url: str, **more: object) -> FetchReason:
    refused = fetch(url, **more)[0]
    assert isinstance(refused, http_client.FetchError), refused
    return refused.reason


def endless(h: Handler, n: int) -> None:
    h.send_response(200)
    h.end_headers()
    for _ in range(2000):
        h.wfile.write(b"\0" * 65536)


def chunked(h: Handler, is_whole: bool) -> None:
    h.send_response(200)
    h.send_header("Transfer-Encoding", "chunked")
    h.end_headers()
    h.wfile.write(b"%x\r\n%s\r\n" % (len(BODY), BODY) + (b"0\r\n\r\n" if is_whole else b""))
    h.close_connection = True


def slow(h: Handler, n: int) -> None:
    h.send_response(200)
    h.send_header("Content-Length", "1000")
    h.end_headers()
    for _ in range(20):
        h.wfile.write(b"x")
        time.sleep(0.2)


def test_a_body_is_written_as_it_came(server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    server.pages["/packed"] = lambda h, n: h.answer(
        body=packed, Content_Encoding="gzip", ETag='"x"'
    )
    answer = http_client.download(
        server.url("/packed?code=hush"), tmp_path / "feed", guard=LOOPBACK, max_bytes=10_000
    )
    assert (tmp_path / "feed").read_bytes() == packed
    assert (answer.status, answer.size_bytes, answer.sha256) == (
        200,
        len(packed),
        hashlib.sha256(packed).hexdigest(),
    )
    assert answer.headers["etag"] == '"x"' and answer.url == server.url("/packed?code=***")
    _, path, headers = server.asked[0]
    assert (
        path == "/packed?code=hush"
        and headers["Accept-Encoding"] == "gzip"
        and headers["User-Agent"].startswith("wearalike/")
    )


def test_pictures_are_asked_for_unpacked_and_held(server: Server) -> None:
    server.pages["/chunked"] = lambda h, n: chunked(h, True)
    good, in_pieces = fetch(server.url("/good"), server.url("/chunked"))
    assert isinstance(good, http_client.Response) and isinstance(in_pieces, http_client.Response)
    assert (
        good.content == in_pieces.content == BODY
        and good.sha256 == hashlib.sha256(BODY).hexdigest()
    )
    assert {h["Accept-Encoding"] for _, _, h in server.asked} == {"identity"}


@pytest.mark.parametrize(
    ("page", "wanted", "requests"),
    [
        (lambda h, n: h.answer(400), FetchReason.HTTP_400, 1),
        (lambda h, n: h.answer(403), FetchReason.HTTP_403, 1),
        (lambda h, n: h.answer(404), FetchReason.HTTP_404, 1),
        (lambda h, n: h.answer(410), FetchReason.HTTP_410, 1),
        (lambda h, n: h.answer(418), FetchReason.HTTP_4XX, 1),
        (lambda h, n: h.answer(206), FetchReason.HTTP_OTHER, 1),
        (lambda h, n: h.answer(304, b""), FetchReason.HTTP_OTHER, 1),
        (lambda h, n: h.answer(302, b""), FetchReason.HTTP_OTHER, 1),
        (lambda h, n: h.answer(200, b""), FetchReason.EMPTY, 1),
        (lambda h, n: h.answer(200, b"x" * 100_001), FetchReason.TOO_LARGE, 1),
        (lambda h, n: h.answer(200, b"x", length=10**12), FetchReason.TOO_LARGE, 1),
        (endless, FetchReason.TOO_LARGE, 1),
        (lambda h, n: h.answer(500), FetchReason.HTTP_5XX, 3),
        (lambda h, n: h.answer(408), FetchReason.HTTP_408, 3),
        (lambda h, n: h.answer(429), FetchReason.HTTP_429, 3),
        # aiohttp itself asks once more where a connection it kept open broke, or any: three times
        # two.
        (lambda h, n: h.reset(), FetchReason.CONNECTION, 6),
        (lambda h, n: h.wfile.write(b"SSH-2.0-x\r\n"), FetchReason.CONNECTION, 3),
        (slow, FetchReason.TIMEOUT, 3),
        (lambda h, n: time.sleep(1.0), FetchReason.TIMEOUT, 3),
        (lambda h, n: h.answer(200, BODY, length=len(BODY) + 1), FetchReason.TRUNCATED, 2),
        (lambda h, n: chunked(h, False), FetchReason.TRUNCATED, 2),
    ],
)
def test_each_fault_has_its_reason_and_only_what_may_pass_is_asked_again(
    server: Server, tmp_path: Path, page: Callable, wanted: FetchReason, requests: int
) -> None:
    server.pages["/bad"] = page
    assert reason(server.url("/bad")) is wanted
    assert len(server.asked) == requests
    assert wanted.is_permanent == (requests == 1)
    with pytest.raises(http_client.FetchError) as refused:
        http_client.download(
            server.url("/bad"),
            tmp_path / "feed",
            guard=LOOPBACK,
            max_bytes=100_000,
            policy=http_client.FetchPolicy(max_attempts=1, timeout_s=0.5),
        )
    assert refused.value.reason is wanted and not (tmp_path / "feed").exists()


def raw(head: bytes, body: bytes = BODY) -> Callable:
    """A page of these header lines, which need not be text."""

    def page(h: Handler, n: int) -> None:
        h.wfile.write(
            b"HTTP/1.1 "
            + head
            + b"\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        h.close_connection = True

    return page


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (raw(b"302 x\r\nLocation: htp://:[:]:@"), FetchReason.BAD_URL),
        (raw(b"302 x\r\nLocation: http://\xff\xfe/"), FetchReason.BAD_URL),
        (raw(b"302 x\r\nLocation: http://" + b"a" * 300 + b".example/"), FetchReason.BAD_URL),
        (raw(b"503 x\r\nRetry-After: Mon, 01 Jan 99999999999 00:00:00 GMT"), FetchReason.HTTP_5XX),
        (raw(b"503 x\r\nRetry-After: " + b"9" * 5000), FetchReason.HTTP_5XX),
        (raw(b"200 x\r\nX: " + b"y" * 100_000), FetchReason.CONNECTION),
        (raw(b"200 x\r\nContent-Length: 3"), FetchReason.CONNECTION),
        (raw(b"999 x"), FetchReason.HTTP_OTHER),
    ],
)
def test_headers_that_no_server_should_send_stop_nothing(
    server: Server, page: Callable, wanted: FetchReason
) -> None:
    server.pages["/bad"] = page
    refused, good = fetch(
        server.url("/bad"), server.url("/good"), manners=http_client.FetchPolicy(max_attempts=1)
    )
    assert (
        isinstance(refused, http_client.FetchError)
        and refused.reason is wanted
        and isinstance(good, http_client.Response)
    )
    refused.detail.encode()


def test_a_header_that_is_no_text_is_not_kept(server: Server) -> None:
    server.pages["/bytes"] = raw(
        b'200 x\r\nETag: "\xff\xfe"\r\nLast-Modified: Sat, 21 Nov 2026 04:30:00 GMT'
    )
    answer = fetch(server.url("/bytes"))[0]
    assert isinstance(answer, http_client.Response) and answer.content == BODY
    assert "etag" not in answer.headers and answer.headers["last-modified"].startswith("Sat")


@pytest.mark.parametrize("character", [b"\x01", b"\x0b", b"\x1b", b"\x7f"])
def test_a_header_with_a_control_character_is_not_kept(server: Server, character: bytes) -> None:
    """Some parsers refuse such an answer; none may hand on what cannot be sent back."""
    server.pages["/odd"] = raw(b'200 x\r\nETag: "a' + character + b'b"\r\nX-Other: fine')
    (answer,) = fetch(server.url("/odd"), manners=http_client.FetchPolicy(max_attempts=1))
    if isinstance(answer, http_client.Response):
        assert "etag" not in answer.headers and answer.headers["x-other"] == "fine"
    else:
        assert answer.reason is FetchReason.CONNECTION


@pytest.mark.parametrize(
    "first",
    [
        lambda h: h.answer(500),
        lambda h: h.answer(503, Retry_After="soon"),
        lambda h: h.reset(),
        lambda h: h.answer(200, BODY[:-1], length=len(BODY)),
        lambda h: time.sleep(0.8),
    ],
)
def test_what_passes_is_taken_whole_at_the_second_time(
    server: Server, tmp_path: Path, first: Callable
) -> None:
    server.pages["/once"] = lambda h, n: first(h) if n == 1 else h.answer()
    with (tmp_path / "body").open("wb") as file:
        answer = fetch(server.url("/once"), file=file)[0]
    assert isinstance(answer, http_client.Response) and answer.content == b""
    assert (tmp_path / "body").read_bytes() == BODY and len(server.asked) == 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_the_whole_host(server: Server, status: int, form: str) -> None:
    after = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    server.pages["/busy"] = lambda h, n: (
        h.answer(status, Retry_After=after) if n == 1 else h.answer()
    )
    answers = fetch(
        server.url("/busy"),
        server.url("/good"),
        manners=http_client.FetchPolicy(max_connections_per_host=1, retry_wait_s=0.01),
    )
    assert all(isinstance(a, http_client.Response) for a in answers)
    (first, *_), *others = server.asked
    assert len(others) == 2 and all(at - first > 0.9 for at, *_ in others)


def test_a_retry_after_of_a_day_is_not_waited_for(server: Server) -> None:
    server.pages["/busy"] = lambda h, n: h.answer(503, Retry_After="86400")
    start = time.monotonic()
    assert reason(server.url("/busy")) is FetchReason.HTTP_5XX
    assert time.monotonic() - start < 3 and len(server.asked) == 1


def test_a_host_is_asked_no_faster_and_no_more_at_once_than_wanted(server: Server) -> None:
    def page(h: Handler, n: int) -> None:
        time.sleep(0.1)
        h.answer()

    server.pages["/slow"] = page
    fetch(
        *[server.url(f"/slow?{i}") for i in range(12)],
        manners=http_client.FetchPolicy(max_connections_per_host=3),
    )
    assert server.most_at_once == 3 and len(server.asked) == 12
    server.asked.clear()
    fetch(
        *[server.url(f"/good?{i}") for i in range(6)],
        manners=http_client.FetchPolicy(max_connections_per_host=3, min_request_interval_s=0.15),
    )
    starts = sorted(at for at, *_ in server.asked)
    assert len(starts) == 6 and all(b - a > 0.1 for a, b in itertools.pairwise(starts))


def test_conditions_bring_word_that_nothing_changed(server: Server, tmp_path: Path) -> None:
    server.pages["/tagged"] = lambda h, n: (
        h.answer(304, b"") if h.headers["If-None-Match"] == '"1"' else h.answer()
    )
    server.pages["/moved"] = lambda h, n: h.answer(301, b"", Location="/tagged")
    for path in ("/tagged", "/moved"):
        answer = fetch(server.url(path), headers={"If-None-Match": '"1"'})[0]
        assert isinstance(answer, http_client.Response) and (answer.status, answer.content) == (
            304,
            b"",
        )
        changed = fetch(server.url(path), headers={"If-None-Match": '"2"'})[0]
        assert isinstance(changed, http_client.Response) and (changed.status, changed.content) == (
            200,
            BODY,
        )


def test_redirects_are_followed_five_times_and_no_more(server: Server) -> None:
    for i in range(6):
        server.pages[f"/{i}"] = lambda h, n, i=i: h.answer(
            302, b"", Location=f"/{i + 1}" if i < 5 else "/good"
        )
    server.pages["/loop"] = lambda h, n: h.answer(302, b"", Location="/loop")
    five, six, loop = fetch(server.url("/1"), server.url("/0"), server.url("/loop"))
    assert (
        isinstance(five, http_client.Response)
        and five.content == BODY
        and five.url == server.url("/good")
    )
    assert [isinstance(r, http_client.FetchError) and r.reason for r in (six, loop)] == [
        FetchReason.TOO_MANY_REDIRECTS
    ] * 2
    assert len(server.paths("/loop")) == 6


SIGNED = (
    "/a%2Fb.jpg?m=%2Fm.png&sig=%28x%2Cy%29&t=a+b%7E",
    "/unsafe/https%3A%2F%2Fshop.example%2F1.jpg",
    "/unsafe/https://shop.example/1.jpg?x=100%&y={w}|[1]",
    "/a//b/./c.jpg?Policy=eyJ_&Signature=a-b~c__",
)


@pytest.mark.parametrize("path", SIGNED)
def test_an_address_is_asked_byte_for_byte_in_redirects_too(server: Server, path: str) -> None:
    bare = path.split("?")[0]
    server.pages[bare] = lambda h, n: h.answer()
    server.pages["/at"] = lambda h, n: h.answer(302, b"", Location=path)
    server.pages["/away"] = lambda h, n: h.answer(302, b"", Location=server.url(path))
    for first in (path, "/at", "/away"):
        server.asked.clear()
        (answer,) = fetch(server.url(first))
        assert isinstance(answer, http_client.Response) and answer.content == BODY
        assert server.asked[-1][1] == path


def test_a_cookie_stays_with_its_host_and_its_chain(server: Server) -> None:
    policy = replace(QUICK, keeps_cookies=True)
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        # Another address of this machine is another host.
        away = other.url("/good").replace("127.0.0.1", "localhost")
        server.pages["/set"] = lambda h, n: h.answer(302, b"", Location="/on", Set_Cookie="a=1")
        server.pages["/on"] = lambda h, n: h.answer(302, b"", Location=away)
        guard = address_guard.AddressGuard(allowed_networks=("127.0.0.1/32", "::1/128"))
        (answer,) = fetch(server.url("/set"), manners=policy, guard=guard)
        assert isinstance(answer, http_client.Response)
        other.shutdown()
        thread.join()
    assert [h.get("Cookie") for _, _, h in server.asked] == [None, "a=1"]
    assert "Cookie" not in other.asked[0][2]
    server.asked.clear()
    fetch(server.url("/good"), manners=policy)
    assert "Cookie" not in server.asked[0][2]


def packings() -> Iterator[tuple[str, bytes]]:
    raw_deflate = zlib.compressobj(wbits=-15)
    yield "gzip", gzip.compress(BODY[:99]) + gzip.compress(BODY[99:])
    yield "x-gzip", gzip.compress(BODY)
    yield "deflate", zlib.compress(BODY)
    yield "deflate", raw_deflate.compress(BODY) + raw_deflate.flush()
    yield "br", pa.compress(BODY, "brotli", asbytes=True)
    yield "zstd", pa.compress(BODY, "zstd", asbytes=True)
    yield "deflate, gzip", gzip.compress(zlib.compress(BODY))
    yield "", gzip.compress(BODY)
    yield "identity", BODY


@pytest.mark.parametrize(("name", "packed"), packings())
def test_a_content_encoding_that_nobody_asked_for_is_undone(
    server: Server, tmp_path: Path, name: str, packed: bytes
) -> None:
    headers = {"Content_Encoding": name} if name else {}
    server.pages["/packed"] = lambda h, n: h.answer(body=packed, **headers)
    server.pages["/cut"] = lambda h, n: h.answer(body=packed[:-5], **headers)
    whole, cut = fetch(server.url("/packed"), server.url("/cut"))
    assert isinstance(whole, http_client.Response) and whole.content == BODY
    if name != "identity":
        assert isinstance(cut, http_client.FetchError) and cut.reason is FetchReason.TRUNCATED
    path = tmp_path / "feed"
    http_client.download(server.url("/packed"), path, guard=LOOPBACK, max_bytes=100_000)
    is_left = "gzip" in name or not name
    assert path.read_bytes() == (packed if is_left else BODY)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_of_a_content_encoding_is_not_unpacked(
    server: Server, tmp_path: Path, name: str
) -> None:
    zeros = bytes(20_000_000)
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(
        name, lambda b: pa.compress(b, {"br": "brotli"}.get(name, name), asbytes=True)
    )
    server.pages["/bomb"] = lambda h, n: h.answer(body=pack(zeros), Content_Encoding=name)
    assert reason(server.url("/bomb")) is FetchReason.TOO_LARGE
    if name != "gzip":  # which the reader of feeds unpacks, with limits of its own
        with pytest.raises(http_client.FetchError, match="too_large"):
            http_client.download(
                server.url("/bomb"), tmp_path / "feed", guard=LOOPBACK, max_bytes=100_000
            )
        assert list(tmp_path.iterdir()) == []


def test_only_what_cannot_be_sent_is_encoded(server: Server) -> None:
    server.pages["/a%20b/%C3%A9,%2F.jpg"] = lambda h, n: h.answer()
    server.pages["/sub/%C3%A9"] = lambda h, n: h.answer()
    server.pages["/sub/at"] = raw(b"302 x\r\nLocation: \xc3\xa9")
    for path in ("/a b/é,%2F.jpg?q=%28", "\\a b/é,%2F.jpg?q=%28", "/sub/at"):
        (answer,) = fetch(server.url(path))
        assert isinstance(answer, http_client.Response) and answer.content == BODY, answer
    assert server.asked[0][1] == "/a%20b/%C3%A9,%2F.jpg?q=%28"


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("http://127.0.0.9:9/latest/meta-data/", FetchReason.PRIVATE_ADDRESS),
        ("http://169.254.169.254/latest/meta-data/", FetchReason.PRIVATE_ADDRESS),
        ("http://[::1]/", FetchReason.PRIVATE_ADDRESS),
        ("//10.0.0.1/", FetchReason.PRIVATE_ADDRESS),
        ("file:///etc/passwd", FetchReason.BAD_URL),
        ("ftp://127.0.0.1/", FetchReason.BAD_URL),
        ("javascript:alert(1)", FetchReason.BAD_URL),
        ("http://127.0.0.1:99999/", FetchReason.BAD_URL),
        ("http://user:hush@127.0.0.1/", FetchReason.BAD_URL),
    ],
)
def test_no_redirect_leads_inside(
    server: Server, connected: list[str], location: str, wanted: FetchReason
) -> None:
    server.pages["/in"] = lambda h, n: h.answer(302, b"", Location=location)
    refused = fetch(server.url("/in"))[0]
    assert isinstance(refused, http_client.FetchError) and refused.reason is wanted
    assert "hush" not in str(refused) and len(server.asked) == 1
    assert connected == ["127.0.0.1"]


def test_a_login_stays_with_its_host(server: Server, tmp_path: Path) -> None:
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        server.pages["/away"] = lambda h, n: h.answer(302, b"", Location=other.url("/good"))
        address = server.url("/away").replace("http://", "http://me:hush@")
        http_client.download(
            address,
            tmp_path / "feed",
            guard=LOOPBACK,
            max_bytes=100_000,
            headers={"X-Key": "hush", "If-None-Match": '"1"'},
        )
        other.shutdown()
        thread.join()
    (_, _, here), (_, _, there) = server.asked[0], other.asked[0]
    assert here["Authorization"].startswith("Basic ") and here["X-Key"] == "hush"
    assert "Authorization" not in there and "X-Key" not in there and there["If-None-Match"] == '"1"'
    assert reason(address) is FetchReason.BAD_URL


def test_a_proxy_of_the_environment_is_not_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.9:9/")
    assert isinstance(fetch(server.url("/good"))[0], http_client.Response)


def test_a_full_or_missing_disk_is_no_fault_of_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        http_client.download(
            server.url("/good"), tmp_path / "none" / "feed", guard=LOOPBACK, max_bytes=100_000
        )
    with Path("/dev/full").open("wb", buffering=0) as full:
        assert isinstance(fetch(server.url("/good"), file=full)[0], OSError)


# Where may be connected to


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were connected; none but those of our own server really is."""
    seen: list[str] = []
    real = asyncio.SelectorEventLoop.sock_connect

    async def recorded(
        loop: asyncio.SelectorEventLoop, sock: socket.socket, address: tuple
    ) -> None:
        seen.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError("recorded, not connected")
        await real(loop, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", recorded)
    return seen


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/",
        "http://100.64.0.1/",
        "http://198.18.0.1/",
        "http://192.0.0.8/",
        "http://192.88.99.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::1]/",
        "http://[2001:db8::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25lo]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[3fff::1]/",
        "http://93.184.215.14:22/",
        "http://93.184.215.14:8080/",
        "http://[2606:2800::1]:6379/",
        "https://127.0.0.1/",
        "http://good.example@127.0.0.1/",
        "http://127.0.0.1\\@93.184.215.14/",
        "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "data:,x",
        "http:///x",
        "//127.0.0.1/",
        "127.0.0.1",
        "http://[::1",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:http/",
    ],
)
def test_no_spelling_of_an_inside_address_is_connected(connected: list[str], url: str) -> None:
    refused = fetch(url, guard=address_guard.AddressGuard(), may_log_in=True)[0]
    assert isinstance(refused, http_client.FetchError) and refused.reason in (
        FetchReason.PRIVATE_ADDRESS,
        FetchReason.BAD_URL,
    ), refused
    assert connected == []


def test_public_addresses_are_connected(connected: list[str]) -> None:
    for url in ("http://93.184.215.14/", "https://93.184.215.14/", "http://[2606:2800::1]/"):
        assert reason(url, guard=address_guard.AddressGuard()) is FetchReason.CONNECTION
    assert set(connected) == {"93.184.215.14", "2606:2800::1"}


def test_a_name_is_judged_by_every_answer_it_gives(
    connected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [
        ["93.184.215.14"],
        ["169.254.169.254"],
        ["10.0.0.1", "fd00::1"],
        ["10.0.0.1", "93.184.215.15"],
    ]

    def resolve(host: str, port: int, *args: object, **more: object) -> list[tuple]:
        ips = map(
            ipaddress.ip_address, answers[int(host.removeprefix("shop").removesuffix(".example"))]
        )
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (
                kinds[i.version],
                socket.SOCK_STREAM,
                6,
                "",
                (str(i), port, *((0, 0) if i.version == 6 else ())),
            )
            for i in ips
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    reasons = [
        reason(f"http://shop{i}.example/", guard=address_guard.AddressGuard()) for i in range(4)
    ]
    assert reasons[:3] == [
        FetchReason.CONNECTION,
        FetchReason.PRIVATE_ADDRESS,
        FetchReason.PRIVATE_ADDRESS,
    ]
    assert set(connected) == {"93.184.215.14", "93.184.215.15"}


def test_what_is_allowed_is_allowed_and_nothing_beside_it() -> None:
    guard = address_guard.AddressGuard(allowed_networks=("127.0.0.0/30", "fd00::/64"))
    assert (
        guard.refusal_reason("127.0.0.1", 8765) is None
        and guard.refusal_reason("::ffff:127.0.0.1", 80) is None
    )
    assert (
        guard.refusal_reason("fd00::5", 1234) is None
        and guard.refusal_reason("93.184.215.14", 443) is None
    )
    assert guard.refusal_reason("127.0.0.5", 80) == "127.0.0.5 is not a public address"
    assert (
        guard.refusal_reason("93.184.215.14", 8765) == "port 8765 of 93.184.215.14 is not allowed"
    )
    narrow = address_guard.AddressGuard(allowed_networks=("127.0.0.0/30",), allowed_ports=(8765,))
    assert (
        narrow.refusal_reason("127.0.0.1", 8765) is None
        and narrow.refusal_reason("93.184.215.14", 8765) is None
    )
    assert narrow.refusal_reason("127.0.0.1", 80) == "port 80 of 127.0.0.1 is not allowed"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "https://export.example/x?user=me&code=abc&feed_id=7",
            "https://export.example/x?user=***&code=***&feed_id=7",
        ),
        (
            "got http://u:p@h/a and //v@h/b?api_key=1#x",
            "got http://***@h/a and //***@h/b?api_key=***#x",
        ),
        ("http://u:p@ss@h/", "http://***@h/"),
        (
            "/x?X-Amz-Signature=1&X-Amz-Credential=2&Access_Token=3",
            "/x?X-Amz-Signature=***&X-Amz-Credential=***&Access_Token=***",
        ),
        ("http://h/?barcode=1&monkey=2&a=code=3", "http://h/?barcode=1&monkey=2&a=code=3"),
        ("http://h/me@example.org/?q=1", "http://h/me@example.org/?q=1"),
    ],
)
def test_credentials_are_struck_out(text: str, wanted: str) -> None:
    assert address_guard.redact_url(text) == wanted
