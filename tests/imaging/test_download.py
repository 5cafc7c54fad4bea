"""Products to images: every image becomes a row or a refusal; a later run requests only changes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from wearalike.imaging import decode, ledger
from wearalike.imaging import download as images
from wearalike.pipeline import download_images
from wearalike.storage import content_cache, run_tables
from wearalike.tables import IMAGES, PRODUCTS, REFUSED

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_SHOPS = REPOSITORY.parent / "shared" / "shops" / "serve.py"
DAY_1, DAY_2 = "2026-11-21", "2026-11-22"


def jpeg(seed: int, kind: str = "JPEG", side: int = 24) -> bytes:
    """Two colours: one colour alone is refused as blank."""
    colour = ((seed * 37) % 256, (seed * 91) % 256, (seed * 13) % 256)
    image = Image.new("RGB", (side, side + 8), colour)
    image.paste(tuple((c + 128) % 256 for c in colour), (0, 0, side, side // 2))
    out = io.BytesIO()
    image.save(out, kind, comment=str(seed).encode())
    return out.getvalue()


def blank() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(out, "PNG")
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    """/<shop>/<name>: what `pages` says, else the picture of `content`, with its ETag."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        with self.server.lock:
            self.server.asked[self.path] += 1
            count = self.server.asked[self.path]
        with contextlib.suppress(OSError):
            if page := self.server.pages.get(path):
                page(self, count)
            else:
                time.sleep(self.server.pause_s)
                self.answer(
                    self.server.content.get(path)
                    or jpeg(int(hashlib.sha256(path.encode()).hexdigest()[:6], 16))
                )

    def answer(self, body: bytes, status: int = 200, has_tag: bool = True, **headers: str) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        if has_tag and self.headers["If-None-Match"] == tag:
            status, body = 304, b""
        self.server.bodies += bool(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {**({"ETag": tag} if has_tag else {}), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.bodies, self.pause_s = threading.Lock(), 0, 0.0
        self.asked: Counter[str] = Counter()
        self.pages: dict[str, Callable[[Handler, int], None]] = {}
        self.content: dict[str, bytes] = {}

    def handle_error(self, request: object, address: object) -> None:
        """A client that was killed or has heard enough is no news."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def forget(self) -> None:
        self.asked.clear()
        self.bodies = 0


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def product(
    shop_id: str,
    offer_id: str,
    urls: list[str],
    group_id: str | None = None,
    article_id: str | None = None,
) -> dict[str, Any]:
    texts = {f.name: "" for f in PRODUCTS.arrow_schema if f.type == pa.string() and not f.nullable}
    lists = {f.name: [] for f in PRODUCTS.arrow_schema if pa.types.is_list(f.type)}
    mine = {
        "product_id": f"{shop_id}:{offer_id}",
        "shop_id": shop_id,
        "offer_id": offer_id,
        "group_id": group_id,
        "article_id": article_id,
        "image_urls": urls,
    }
    weights = {"shape_weight": 1, "colour_weight": 1, "kind_weight": 1}
    return {**texts, **lists, "price_cents": 1, **weights, **mine}


def prepare(root: Path, products: list[dict[str, Any]], run: str = DAY_1, **more: object) -> None:
    """The products table of a run, and settings that let their shops be on loopback."""
    with run_tables.write_table(root, PRODUCTS, run, f"{len(products)}") as table:
        table.write(pa.Table.from_pylist(products, PRODUCTS.arrow_schema))
    keys = {"feed": '"http://127.0.0.1/"', "allowed_networks": '["127.0.0.1/32"]', **more}
    shops = [
        "\n".join(["[[shops]]", f'id = "{shop}"', *(f"{k} = {v}" for k, v in keys.items())])
        for shop in {p["shop_id"] for p in products}
    ]
    (root / "wearalike.toml").write_text("\n".join(shops), encoding="utf-8")


def download(root: Path, run: str = DAY_1, *more: str) -> int:
    return download_images.main(
        ["--data-dir", str(root), "--config", str(root / "wearalike.toml"), "--run", run, *more]
    )


def refusals(root: Path, run: str = DAY_1) -> dict[str, str]:
    rows = run_tables.read_refused(root, run).to_pylist()
    assert all(
        r["stage"] == "images" and r["kind"] == "image" and r["shop_id"] == r["key"].split(":")[0]
        for r in rows
    )
    return {r["key"]: r["reason"] for r in rows}


def assert_same_tables(one: Path, other: Path, run: str) -> None:
    rows = run_tables.read_table(one, IMAGES, run)
    assert rows.equals(run_tables.read_table(other, IMAGES, run)) and rows.num_rows
    assert run_tables.read_refused(one, run).equals(run_tables.read_refused(other, run))
    assert run_tables.input_hash(one, IMAGES, run) == run_tables.input_hash(other, IMAGES, run)


def test_pictures_become_rows_and_files(server: Server, tmp_path: Path) -> None:
    server.content = {"/a/1": jpeg(1), "/a/2": jpeg(2, "PNG"), "/b/1": jpeg(1)}
    prepare(
        tmp_path,
        [
            product("a", "z", [server.url("/a/1"), server.url("/a/2"), server.url("/a/1")]),
            product("a", "b", [server.url("/a/2")]),
            product("a", "none", []),
            product("b", "1", [server.url("/b/1")]),
        ],
    )
    assert download(tmp_path) == 0
    one, two = (hashlib.sha256(server.content[p]).hexdigest() for p in ("/a/1", "/a/2"))

    def row(product_id: str, position: int, path: str, kind: str) -> dict[str, Any]:
        sizes = {"width_px": 24, "height_px": 32, "bytes": len(server.content[path])}
        image_id = hashlib.sha256(server.content[path]).hexdigest()
        return {
            "product_id": product_id,
            "position": position,
            "image_url": server.url(path),
            "image_id": image_id,
            "format": kind,
            **sizes,
        }

    assert run_tables.read_table(tmp_path, IMAGES, DAY_1).to_pylist() == [
        row("a:b", 0, "/a/2", "PNG"),
        row("a:z", 0, "/a/1", "JPEG"),
        row("a:z", 1, "/a/2", "PNG"),
        row("a:z", 2, "/a/1", "JPEG"),
        row("b:1", 0, "/b/1", "JPEG"),
    ]
    assert server.asked == {"/a/1": 1, "/a/2": 1, "/b/1": 1}
    assert {p.name for p in (tmp_path / "cache" / "images").glob("??/*")} == {one, two}
    assert content_cache.image_path(tmp_path, one).read_bytes() == server.content["/a/1"]
    assert download(tmp_path) == 0 and sum(server.asked.values()) == 3


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def endless(h: Handler) -> None:
    h.send_response(200)
    h.end_headers()
    for _ in range(1000):
        h.wfile.write(b"\0" * 65536)


def break_off(h: Handler, body: bytes) -> None:
    h.send_response(200)
    h.send_header("Content-Length", str(len(body) + 10))
    h.end_headers()
    h.wfile.write(body)
    h.close_connection = True


FAULTS: dict[str, tuple[Callable[[Handler, int], object], str | None]] = {
    "404": (lambda h, n: h.answer(b"gone", 404), "http_404"),
    "410": (lambda h, n: h.answer(b"gone", 410), "http_410"),
    "403": (lambda h, n: h.answer(b"no", 403), "http_403"),
    "500": (lambda h, n: h.answer(b"oops", 500), "http_5xx"),
    "500-once": (lambda h, n: h.answer(b"oops", 500) if n == 1 else h.answer(jpeg(1)), None),
    "503-once": (
        lambda h, n: h.answer(b"", 503, Retry_After="1") if n == 1 else h.answer(jpeg(2)),
        None,
    ),
    "429-once": (
        lambda h, n: h.answer(b"", 429, Retry_After="1") if n == 1 else h.answer(jpeg(3)),
        None,
    ),
    "broken-off": (lambda h, n: break_off(h, jpeg(4)), "truncated"),
    "half": (lambda h, n: h.answer(jpeg(5, "JPEG", 200)[:700]), "truncated"),
    "empty": (lambda h, n: h.answer(b""), "empty"),
    "html": (
        lambda h, n: h.answer(b"<html>Please log in</html>", Content_Type="image/jpeg"),
        "not_a_picture",
    ),
    "slow": (lambda h, n: time.sleep(3), "timeout"),
    "moved": (lambda h, n: h.answer(b"", 302, False, Location="/a/good"), None),
    "loop": (lambda h, n: h.answer(b"", 302, False, Location="/a/loop"), "too_many_redirects"),
    "neighbour": (
        lambda h, n: h.answer(b"", 302, False, Location="http://127.0.0.9:9/latest/meta-data/"),
        "private_address",
    ),
    "cloud": (
        lambda h, n: h.answer(b"", 302, False, Location="http://169.254.169.254/latest/meta-data/"),
        "private_address",
    ),
    "file": (lambda h, n: h.answer(b"", 302, False, Location="file:///etc/passwd"), "bad_url"),
    "blank": (lambda h, n: h.answer(blank()), "blank"),
    "heic": (lambda h, n: h.answer(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), "unsupported"),
    "avif-as-jpeg": (
        lambda h, n: h.answer(jpeg(8, "AVIF", 64), Content_Type="image/jpeg"),
        None,
    ),
    "gzip-unasked": (
        lambda h, n: h.answer(gzip.compress(jpeg(9)), Content_Encoding="gzip"),
        None,
    ),
    "gzip-untold": (lambda h, n: h.answer(gzip.compress(jpeg(10))), None),
    "gzip-of-nothing": (lambda h, n: h.answer(jpeg(11), Content_Encoding="gzip"), None),
    "deflate-unasked": (
        lambda h, n: h.answer(zlib.compress(jpeg(12)), Content_Encoding="deflate"),
        None,
    ),
    "gzip-cut": (
        lambda h, n: h.answer(gzip.compress(jpeg(13))[:-20], Content_Encoding="gzip"),
        "truncated",
    ),
    "gzip-bomb": (
        lambda h, n: h.answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
        "too_large",
    ),
    "own-encoding": (lambda h, n: h.answer(b"\1\2\3", Content_Encoding="x-own"), "truncated"),
    "without-end": (lambda h, n: h.answer(jpeg(14)[:-2]), None),
    "png-as-jpeg": (lambda h, n: h.answer(jpeg(6, "PNG"), Content_Type="image/jpeg"), None),
    "reset": (lambda h, n: setattr(h, "close_connection", True), "connection"),
    "endless": (lambda h, n: endless(h), "too_large"),
    "bomb": (lambda h, n: h.answer(bomb()), "too_many_pixels"),
    "dot": (lambda h, n: h.answer(jpeg(7, "GIF", 1)), "too_small"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_misbehaving_picture_is_a_row_with_its_reason(
    server: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("inputs", len(FAULTS) + 2)
    server.pages = {f"/a/{name}": page for name, (page, _) in FAULTS.items()}
    addresses = {name: server.url(f"/a/{name}") for name in FAULTS}
    addresses |= {
        "ftp": "ftp://127.0.0.1/x",
        "login": server.url("/a/good").replace("//", "//me:hush@"),
        "good": server.url("/a/good"),
    }
    prepare(
        tmp_path,
        [product("a", name, [url]) for name, url in addresses.items()],
        max_image_bytes=1_000_000,
    )
    # A second of a busy machine is no fault of a server that answers at once.
    assert download(tmp_path, DAY_1, "--attempts", "3", "--timeout-s", "2") == 0
    wanted = {name: reason for name, (_, reason) in FAULTS.items()} | {
        "ftp": "bad_url",
        "login": "bad_url",
        "good": None,
    }
    assert refusals(tmp_path) == {
        f"a:{name}#0": reason for name, reason in wanted.items() if reason
    }
    taken = run_tables.read_table(tmp_path, IMAGES, DAY_1).to_pylist()
    assert [r["product_id"] for r in taken] == sorted(
        f"a:{name}" for name, reason in wanted.items() if not reason
    )
    formats = {r["product_id"]: r["format"] for r in taken}
    assert (formats["a:png-as-jpeg"], formats["a:avif-as-jpeg"]) == ("PNG", "AVIF")
    ids = {r["product_id"]: r["image_id"] for r in taken}
    for name, seed in (("gzip-unasked", 9), ("deflate-unasked", 12), ("without-end", 14)):
        assert ids[f"a:{name}"] == hashlib.sha256(jpeg(seed)).hexdigest()
    assert run_tables.read_manifest(tmp_path, IMAGES, DAY_1)["rows"]["taken"] == len(wanted)
    assert {p.name for p in (tmp_path / "cache" / "images").glob("*/*")} == {
        r["image_id"] for r in taken
    }
    assert server.asked["/a/404"] == server.asked["/a/html"] == 1 and server.asked["/a/500"] == 3
    assert not any(
        "hush" in str(r["detail"]) for r in run_tables.read_refused(tmp_path, DAY_1).to_pylist()
    )


def test_a_host_is_told_who_asks_and_for_which_formats(server: Server, tmp_path: Path) -> None:
    heard: list[dict[str, str]] = []

    def page(h: Handler, n: int) -> None:
        heard.append(dict(h.headers))
        if "Cookie" in h.headers:
            h.answer(jpeg(1))
        else:
            h.answer(b"", 302, False, Location=h.path, Set_Cookie="seen=1; Path=/")

    server.pages["/a/1"] = page
    prepare(tmp_path, [product("a", "1", [server.url("/a/1")])])
    assert download(tmp_path) == 0
    assert refusals(tmp_path) == {"a:1#0": "too_many_redirects"}
    accepted = heard[0]["Accept"]
    assert accepted.startswith("image/jpeg,image/png,image/webp") and "image/avif" in accepted
    assert "heic" not in accepted and accepted.endswith("*/*;q=0.1")
    assert heard[0]["User-Agent"].startswith("wearalike/") and "+" not in heard[0]["User-Agent"]

    heard.clear()
    more = {"keeps_cookies": "true", "contact": '"https://shop.example/bot"'}
    prepare(tmp_path, [product("a", "1", [server.url("/a/1")])], DAY_2, **more)
    assert download(tmp_path, DAY_2) == 0 and refusals(tmp_path, DAY_2) == {}
    assert [h.get("Cookie") for h in heard] == [None, "seen=1"]
    assert heard[0]["User-Agent"].endswith(" (+https://shop.example/bot)")


def night(server: Server, count: int = 40) -> list[dict[str, Any]]:
    return [
        product("a", f"{i:04}", [server.url(f"/a/{i}"), server.url(f"/a/{i}?view=2")])
        for i in range(count)
    ]


def raw_page(h: Handler, etag: bytes, body: bytes) -> None:
    """An answer with a header as it is, which the server's library would not write."""
    h.wfile.write(
        b"HTTP/1.1 200 OK\r\nETag: " + etag + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    h.close_connection = True


def test_a_validator_that_cannot_be_sent_stops_no_later_night(
    server: Server, tmp_path: Path
) -> None:
    server.pages["/a/1"] = lambda h, n: raw_page(h, b'"a\x0bb"', jpeg(1))
    products = [product("a", "1", [server.url("/a/1")]), product("a", "2", [server.url("/a/2")])]
    prepare(tmp_path, products)
    assert download(tmp_path) == 0
    # As an earlier version kept it.
    rows = ledger.read_ledger(tmp_path, "a").to_pylist()
    for row in rows:
        row |= {"etag": '"a\nb"', "last_modified": "never\x00", "run": "2026-11-20"}
    ledger.append_to_ledger(tmp_path, "a", pa.Table.from_pylist(rows, ledger.LEDGER_SCHEMA))
    prepare(tmp_path, products, DAY_2)
    assert download(tmp_path, DAY_2) == 0 and refusals(tmp_path, DAY_2) == {}
    taken = run_tables.read_table(tmp_path, IMAGES, DAY_2)["product_id"].to_pylist()
    assert taken == ["a:1", "a:2"] or taken == ["a:2"]


def test_an_image_over_which_our_code_fails_is_refused_and_the_others_go_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The fault is put into the decoder's caller: no image is known to find one."""
    caplog.set_level(logging.INFO)
    bad = {jpeg(seed) for seed in range(100, 104)}
    complete = decode.complete_jpeg

    def fail(content: bytes) -> bytes:
        if content in bad:
            raise ZeroDivisionError("a fault of ours")
        return complete(content)

    monkeypatch.setattr(decode, "complete_jpeg", fail)
    server.content = {f"/a/{seed}": jpeg(seed) for seed in range(100, 110)}
    prepare(tmp_path, [product("a", p[3:], [server.url(p)]) for p in server.content])
    assert download(tmp_path) == 0
    assert refusals(tmp_path) == {f"a:{seed}#0": "unexpected" for seed in range(100, 104)}
    assert "Traceback" in caplog.text and "4 unexpected" in caplog.text
    # Past the ceiling the night ends, and says why.
    monkeypatch.setattr(images, "MAX_UNEXPECTED_IMAGES", 3)
    assert download(tmp_path, DAY_1, "--force") == 1
    assert "4 images failed unexpectedly" in caplog.text


@pytest.mark.parametrize("fault", ["503", "hang", "gone"])
def test_kept_images_are_used_while_their_host_is_away(
    server: Server, tmp_path: Path, fault: str, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    shown = night(server)
    prepare(tmp_path, shown)
    assert download(tmp_path) == 0
    first = run_tables.read_table(tmp_path, IMAGES, DAY_1)

    def away(h: Handler, n: int) -> None:
        if fault == "hang":
            time.sleep(0.5)
        elif fault == "gone":
            h.reset()
        else:
            h.answer(b"", 503)

    server.pages = {f"/a/{i}": away for i in range(41)}
    prepare(tmp_path, [*shown, product("a", "new", [server.url("/a/40")])], DAY_2)
    server.forget()
    options = ("--attempts", "1", "--timeout-s", "0.3", "--max-outage-s", "2")
    started_at = time.monotonic()
    assert download(tmp_path, DAY_2, *options) == 0
    assert time.monotonic() - started_at < 30 and sum(server.asked.values()) <= 60
    assert run_tables.read_table(tmp_path, IMAGES, DAY_2).equals(first)
    assert set(refusals(tmp_path, DAY_2)) == {"a:new#0"} and "80 kept" in caplog.text

    # Back again: every picture is asked for with the validators of the first night.
    server.pages = {}
    server.forget()
    prepare(tmp_path, shown, "2026-11-23")
    assert download(tmp_path, "2026-11-23") == 0
    assert run_tables.read_table(tmp_path, IMAGES, "2026-11-23").equals(first)
    assert (sum(server.asked.values()), server.bodies) == (80, 0)


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_an_image_that_rots_on_the_disk_is_healed_by_the_next_fetch(
    server: Server, tmp_path: Path, damage: str
) -> None:
    products = [product("a", str(i), [server.url(f"/a/{i}")]) for i in range(3)]
    prepare(tmp_path, products)
    assert download(tmp_path) == 0
    first = run_tables.read_table(tmp_path, IMAGES, DAY_1)
    image_id = first["image_id"][1].as_py()
    path = content_cache.image_path(tmp_path, image_id)
    good = path.read_bytes()

    def rot() -> None:
        path.write_bytes(good[:-9] if damage == "cut" else good[:40] + b"rot" + good[43:])

    # Asked for again: the right bytes come, and replace the wrong ones.
    rot()
    assert download(tmp_path, DAY_1, "--force") == 0 and path.read_bytes() == good
    # Found when it is read: it is removed, and the next night requests it anew, and it alone.
    rot()
    with pytest.raises(content_cache.LostImage, match="its bytes have changed"):
        content_cache.read_image(tmp_path, image_id)
    assert not path.exists()
    if damage == "cut":
        rot()  # and one of another size is found without being read
    server.forget()
    prepare(tmp_path, products, DAY_2)
    assert download(tmp_path, DAY_2) == 0 and path.read_bytes() == good and server.bodies == 1
    assert run_tables.read_table(tmp_path, IMAGES, DAY_2).equals(first)


def test_the_second_night_downloads_only_what_changed(server: Server, tmp_path: Path) -> None:
    root, fresh = tmp_path / "root", tmp_path / "fresh"
    server.pages = {
        "/a/3": lambda h, n: h.answer(b"gone", 404),
        "/a/4": lambda h, n: h.answer(b"<html>"),
    }
    prepare(root, night(server))
    assert download(root) == 0 and len(refusals(root)) == 4
    server.forget()
    prepare(root, night(server), DAY_2)
    assert download(root, DAY_2) == 0
    # Two addresses of each refused image are requested in full; all others answer 304.
    assert (
        sum(server.asked.values()) == 80
        and server.bodies == 4
        and set(server.asked.values()) == {1}
    )
    assert run_tables.read_table(root, IMAGES, DAY_1).equals(
        run_tables.read_table(root, IMAGES, DAY_2)
    )

    server.forget()
    server.pages, server.content = {}, {"/a/7": jpeg(1000, side=64)}
    lost = run_tables.read_table(root, IMAGES, DAY_2).to_pylist()[0]["image_id"]
    content_cache.image_path(root, lost).unlink()
    prepare(root, night(server), "2026-11-23")
    assert download(root, "2026-11-23") == 0
    # /a/3 and /a/4 came back, /a/7 changed, the lost file of /a/0 came again: two addresses each.
    assert (
        server.bodies == 8
        and sum(server.asked.values()) == 80
        and refusals(root, "2026-11-23") == {}
    )
    prepare(fresh, night(server), "2026-11-23")
    assert download(fresh, "2026-11-23") == 0
    assert_same_tables(root, fresh, "2026-11-23")


def test_last_modified_is_a_condition_too(server: Server, tmp_path: Path) -> None:
    since = "Sat, 21 Nov 2026 04:30:00 GMT"

    def page(h: Handler, n: int) -> None:
        known = h.headers["If-Modified-Since"] == since
        h.answer(b"" if known else jpeg(1), 304 if known else 200, False, Last_Modified=since)

    server.pages["/a/1"] = page
    for run in (DAY_1, DAY_2):
        prepare(tmp_path, [product("a", "1", [server.url("/a/1")])], run)
        assert download(tmp_path, run) == 0
    assert (
        server.asked["/a/1"] == 2
        and server.bodies == 1
        and run_tables.read_table(tmp_path, IMAGES, DAY_2).num_rows == 1
    )


def test_redo_asks_everything_again(server: Server, tmp_path: Path) -> None:
    prepare(tmp_path, night(server, 5))
    assert download(tmp_path) == 0 and server.bodies == 10
    before = run_tables.input_hash(tmp_path, IMAGES, DAY_1)
    assert download(tmp_path, DAY_1, "--force") == 0
    assert server.bodies == 20 and run_tables.input_hash(tmp_path, IMAGES, DAY_1) == before


def test_chunks_fill_what_the_last_call_needs(server: Server, tmp_path: Path) -> None:
    root, whole = tmp_path / "chunks", tmp_path / "whole"
    prepare(root, night(server))
    for chunk in ("1/3", "2/3", "3/3"):
        assert download(root, DAY_1, "--shard", chunk) == 0
        assert DAY_1 not in run_tables.list_runs(root, IMAGES) and sum(server.asked.values())
    assert sum(server.asked.values()) == 80 and set(server.asked.values()) == {1}
    server.forget()
    assert download(root) == 0 and not server.asked
    prepare(whole, night(server))
    assert download(whole) == 0
    assert_same_tables(root, whole, DAY_1)


def test_a_picture_that_many_models_share_is_a_placeholder(server: Server, tmp_path: Path) -> None:
    server.content = dict.fromkeys(["/a/none", "/a/also-none", "/b/none"], jpeg(1)) | {
        "/a/popular": jpeg(2),
        "/a/sizes": jpeg(3),
    }
    prepare(
        tmp_path,
        [
            product("a", f"n{i}", [server.url("/a/none" if i % 2 else "/a/also-none")])
            for i in range(4)
        ]
        + [
            product("a", f"p{i}", [server.url("/a/popular")], group_id="one model")
            for i in range(9)
        ]
        + [product("a", f"s{i}", [server.url("/a/sizes")], article_id="a:s0") for i in range(25)]
        + [product("b", f"n{i}", [server.url("/b/none")]) for i in range(3)],
    )
    assert download(tmp_path, DAY_1, "--placeholder-groups", "3") == 0
    assert refusals(tmp_path) == {f"a:n{i}#0": "placeholder" for i in range(4)}
    assert run_tables.read_table(tmp_path, IMAGES, DAY_1).num_rows == 12 + 25
    assert download(tmp_path, DAY_1, "--placeholder-groups", "4") == 0
    assert refusals(tmp_path) == {} and set(server.asked.values()) == {1}


def test_a_night_without_products_and_a_shop_nobody_knows(server: Server, tmp_path: Path) -> None:
    prepare(tmp_path, [])
    assert download(tmp_path) == 0 and run_tables.read_table(tmp_path, IMAGES, DAY_1).num_rows == 0
    prepare(tmp_path, night(server, 1), DAY_2)
    (tmp_path / "wearalike.toml").write_text("")
    assert (
        download(tmp_path, DAY_2) == 1
        and DAY_2 not in run_tables.list_runs(tmp_path, IMAGES)
        and not server.asked
    )
    assert download(tmp_path, "2026-11-23") == 1


def test_a_killed_job_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    root, undisturbed, count = tmp_path / "killed", tmp_path / "undisturbed", 600
    products = [product("a", f"{i:04}", [server.url(f"/a/{i}")]) for i in range(count)]
    prepare(root, products, max_connections_per_host=4)
    server.pause_s = 0.01
    command = [
        sys.executable,
        "-m",
        "wearalike.pipeline",
        "download_images",
        "--data-dir",
        root,
        "--config",
        root / "wearalike.toml",
        "--run",
        DAY_1,
    ]
    job = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(root.glob("cache/downloads/a/[!.]*.parquet")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    assert DAY_1 not in run_tables.list_runs(root, IMAGES)
    server.pause_s = 0.0
    known = ledger.read_ledger(root, "a", DAY_1)
    assert 0 < known.num_rows < count
    for image_id in known["image_id"].to_pylist():
        assert (
            hashlib.sha256(content_cache.image_path(root, image_id).read_bytes()).hexdigest()
            == image_id
        )
    server.forget()
    assert download(root) == 0
    assert sum(server.asked.values()) == count - known.num_rows
    prepare(undisturbed, products)
    assert download(undisturbed) == 0
    assert_same_tables(root, undisturbed, DAY_1)


def test_a_full_disk_is_said_and_nothing_is_written(server: Server, tmp_path: Path) -> None:
    prepare(tmp_path, night(server, 3))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "images").write_text("a file where the folder goes")
    assert download(tmp_path) == 1
    assert (
        DAY_1 not in run_tables.list_runs(tmp_path, IMAGES)
        and ledger.read_ledger(tmp_path, "a").num_rows == 0
    )
    (tmp_path / "cache" / "images").unlink()
    assert download(tmp_path) == 0 and run_tables.read_table(tmp_path, IMAGES, DAY_1).num_rows == 6


def test_a_ledger_of_many_parts_becomes_one(server: Server, tmp_path: Path) -> None:
    prepare(tmp_path, night(server, 3))
    assert download(tmp_path) == 0
    known = ledger.read_ledger(tmp_path, "a")
    parts = tmp_path / "cache" / "downloads" / "a"
    for i in range(70):
        older = known.set_column(1, "run", pa.array([f"old-{i}"] * 6)).set_column(
            2,
            "checked_at",
            pa.array([i] * 6, ledger.LEDGER_SCHEMA.field("checked_at").type),
        )
        content_cache.cache_rows(tmp_path, "downloads", "a", older)
    assert len(list(parts.glob("*.parquet"))) == 71
    ledger.compact_ledger(tmp_path, "a")
    assert len(list(parts.glob("*.parquet"))) == 1
    assert ledger.read_ledger(tmp_path, "a").sort_by("url").equals(known.sort_by("url"))
    ledger.compact_ledger(tmp_path, "a")
    assert ledger.read_ledger(tmp_path, "a").num_rows == 6


LEDGER_PROCESS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from wearalike.imaging import ledger
root, name = Path(sys.argv[1]), sys.argv[2]
for number in range(40):
    row = {"url": f"http://a.example/{name}/{number}", "run": "r1", "checked_at": datetime.now(UTC)}
    ledger.append_to_ledger(root, "a", pa.Table.from_pylist([row], ledger.LEDGER_SCHEMA))
    mine = ledger.read_ledger(root, "a")["url"].to_pylist()
    assert sum(f"/{name}/" in url for url in mine) == number + 1
    ledger.compact_ledger(root, "a")
"""


def test_processes_that_read_and_append_survive_a_compaction(tmp_path: Path) -> None:
    """As two copies of the stage do; each compacts whenever there are files enough."""
    others = [
        subprocess.Popen([sys.executable, "-c", LEDGER_PROCESS, str(tmp_path), str(number)])
        for number in range(4)
    ]
    assert [other.wait(200) for other in others] == [0] * 4
    assert ledger.read_ledger(tmp_path, "a").num_rows == 160
    assert len(list((tmp_path / "cache" / "downloads" / "a").glob("*.parquet"))) < 160


def test_a_ledger_whose_newest_part_has_all_becomes_that_part(
    server: Server, tmp_path: Path
) -> None:
    prepare(tmp_path, night(server, 3))
    assert download(tmp_path) == 0
    parts = tmp_path / "cache" / "downloads" / "a"
    newest = ledger.read_ledger(tmp_path, "a").sort_by("url")
    for part in parts.glob("*.parquet"):
        part.unlink()
    content_cache.cache_rows(tmp_path, "downloads", "a", newest)
    for i in range(70):
        times = pa.array([i] * newest.num_rows, ledger.LEDGER_SCHEMA.field("checked_at").type)
        older = newest.set_column(2, "checked_at", times)
        content_cache.cache_rows(tmp_path, "downloads", "a", older)
    ledger.compact_ledger(tmp_path, "a")
    assert len(list(parts.glob("*.parquet"))) == 1
    assert ledger.read_ledger(tmp_path, "a").sort_by("url").equals(newest)


# The real shops


REAL_REASONS = {
    "404": "http_404",
    "410": "http_410",
    "500-once": None,
    "503-retry-after": None,
    "429-retry-after": None,
    "truncated": "truncated",
    "empty": "empty",
    "html-as-jpeg": "not_a_picture",
    "slow-5s": "timeout",
    "redirect-ok": None,
    "redirect-loop": "too_many_redirects",
    "redirect-inside": "private_address",
    # The server sends a small PNG of one colour.
    "png": "blank",
    "webp-type": None,
    "reset": "connection",
    "endless": "too_large",
    "bomb": "too_many_pixels",
}


@pytest.mark.skipif(
    not REAL_SHOPS.is_file(),
    reason="the real shops are not beside the repository (../shared/shops/serve.py)",
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_real_shops_faults_have_their_reasons(tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("serve", REAL_SHOPS)
    assert spec and spec.loader
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    command = [sys.executable, str(REAL_SHOPS), "--port", "0", "--faults", "--limit", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        base = process.stdout.readline().strip()
        try:
            shops = {
                name: serve.Shop(name, REAL_SHOPS.parents[1] / "data", 60, 1)
                for name in ("moda", "bazaar", "closet")
            }
            ids = [(name, offer["id"]) for name, shop in shops.items() for offer in shop.offers]
            prepare(
                tmp_path,
                [product(name, i, [f"{base}{name}/img/{i}.jpg"]) for name, i in ids],
                max_image_bytes=2_000_000,
            )
            urllib.request.urlopen(base).close()
            assert download(tmp_path, DAY_1, "--timeout-s", "2", "--attempts", "2") == 0
        finally:
            process.terminate()
    faulty = {
        (name, i): serve.FAULTS[serve.number("kind", i, mod=17)]
        for name, i in ids
        if serve.number("fault", name, i) < 600
    }
    assert len(ids) == 180 and len(faulty) >= 5
    wanted = {f"{name}:{i}#0": REAL_REASONS[fault] for (name, i), fault in faulty.items()}
    assert refusals(tmp_path) == {key: reason for key, reason in wanted.items() if reason}
    assert run_tables.read_table(tmp_path, IMAGES, DAY_1).num_rows + len(refusals(tmp_path)) == 180
    assert run_tables.read_refused(tmp_path, DAY_1).schema.equals(REFUSED.arrow_schema)
