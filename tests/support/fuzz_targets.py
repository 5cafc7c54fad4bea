"""Properties of any bytes: no crash, no hang, bounded memory, and a reason for each refusal.

Each target takes bytes and raises only if it finds a defect. test_fuzzing.py gives them inputs that
once failed and inputs from hypothesis; tests/long/fuzz.py uses a coverage-guided fuzzer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from wearalike import catalog, feeds
from wearalike.feeds import addresses, normalize
from wearalike.imaging import decode
from wearalike.net import address_guard, http_client
from wearalike.settings import ShopSettings
from wearalike.tables import OFFERS

REPOSITORY = Path(__file__).resolve().parents[2]
SEEDS_DIR = Path(__file__).resolve().parents[1] / "data" / "fuzz"
SHOPS = {
    kind: ShopSettings(id="s", feed="http://shop.example/", dialect=kind, max_feed_bytes=1 << 22)
    for kind in (None, "admitad")
}
_MEMORY_DIR = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
_SCRATCH_FILE = _MEMORY_DIR / f"wearalike-fuzz-{os.getpid()}.xml"
_TAXONOMY_CACHE: list[catalog.Taxonomy] = []


def fuzz_feed(content: bytes) -> None:
    """A feed is read to its end or refused with a reason; every offer fits the table."""
    _SCRATCH_FILE.write_bytes(content[1:])
    shop = SHOPS["admitad" if content[:1] == b"A" else None]
    charset = {b"1": "windows-1251", b"k": "koi8-r"}.get(content[:1])
    try:
        records = list(feeds.read_offers(_SCRATCH_FILE, shop, charset))
    except feeds.BadFeed as error:
        assert error.detail and str(error).isprintable() is not None
        return
    finally:
        _SCRATCH_FILE.unlink()
    offers = [record._asdict() for record in records if isinstance(record, feeds.Offer)]
    table = pa.Table.from_pylist(offers, OFFERS.arrow_schema)
    table.validate(full=True)
    assert all(
        offer["image_urls"] and offer["price_cents"] > 0 and offer["title"] for offer in offers
    )
    for offer in offers:
        for url in (*offer["image_urls"], *([offer["url"]] if offer["url"] else [])):
            assert url.startswith(("http://", "https://")), url


def fuzz_picture(content: bytes) -> None:
    """An image is decoded as its header says or refused; a coarse decode accepts the same."""
    try:
        header = decode.read_header(content)
        rgb = decode.decode_image(content)
    except decode.BadPixels as error:
        assert error.detail
        return
    assert rgb.dtype == np.uint8 and rgb.shape == (header.height_px, header.width_px, 3)
    coarse = decode.decode_image(content, 32)
    assert max(coarse.shape[:2]) <= 32 and coarse.shape[2] == 3


def fuzz_mapping(content: bytes) -> None:
    """A mapping is read, or every mistake has its file and line."""
    if not _TAXONOMY_CACHE:
        _TAXONOMY_CACHE.append(catalog.read_taxonomy(REPOSITORY / "mappings" / "taxonomy.xml"))
    _SCRATCH_FILE.write_bytes(content)
    try:
        mapping = catalog.read_mapping(_SCRATCH_FILE, _TAXONOMY_CACHE[0])
        mapping.find_line(["1", "30"], ["Женщинам > Платья", "a > b"], "female", None)
    except catalog.BadMapping as error:
        assert error.mistakes and all(
            mistake.startswith(f"{_SCRATCH_FILE}:") for mistake in error.mistakes
        )
    finally:
        _SCRATCH_FILE.unlink()


def fuzz_address(content: bytes) -> None:
    """An address is a web address or refused; Retry-After is a number; no login is ever shown."""
    text = content.decode("utf-8", "surrogateescape")
    try:
        url = addresses.normalize_url(text)
    except normalize.InvalidOffer:
        pass
    else:
        assert (
            url.isascii()
            and url.startswith(("http://", "https://"))
            and addresses.normalize_url(url) == url
        )
    try:
        target = http_client._parse_url(text, False)
    except http_client.FetchError as error:
        error.detail.encode()
    else:
        assert (
            target.scheme in ("http", "https")
            and target.host
            and target.user is None
            and target.password is None
        )
    wait_s = http_client._retry_after_s(text)
    assert wait_s is None or wait_s >= 0
    if text.isprintable() and not any(c in "/?#@:&;= " for c in text):
        assert (
            address_guard.redact_url(f"http://me:{text}@h.example/x?code={text}")
            == "http://***@h.example/x?code=***"
        )


TARGETS: dict[str, Callable[[bytes], None]] = {
    "feed": fuzz_feed,
    "picture": fuzz_picture,
    "mapping": fuzz_mapping,
    "address": fuzz_address,
}
