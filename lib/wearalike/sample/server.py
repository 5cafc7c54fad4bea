"""The sample shops on loopback: feeds to pull and pictures to download, with ETags."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from wearalike.sample import feeds
from wearalike.sample.catalogue import (
    SHOPS,
    OfferFlaw,
    OutfitPicture,
    Packshot,
    SampleProduct,
    draw_picture,
    list_products,
)
from wearalike.sample.painting import encode_jpeg

_SIGN_IN_PAGE = b"<!DOCTYPE html><title>Sign in</title><p>Please sign in to see this picture.</p>"


@contextlib.contextmanager
def serve_shops(day: int = 1, port: int = 0) -> Iterator[str]:
    """Serves the shops of a day on 127.0.0.1 as long as the block lasts; yields the address, without a slash at its end.

    GET / lists the shops as JSON. Pictures are drawn when they are first asked for. Raises ValueError for a day that is not 1 or 2.
    """
    with serve_responses(ShopResponses(day).respond, port) as address:
        yield address


Responder = Callable[[str, str], tuple[bytes, str] | None]


@contextlib.contextmanager
def serve_responses(respond: Responder, port: int = 0) -> Iterator[str]:
    """Serves on 127.0.0.1 what `answer` says, as long as the block lasts; yields the address, without a slash at its end.

    answer: (path, address) -> (body, content type), or None for what is not there.
    """
    with ThreadingHTTPServer(("127.0.0.1", port), _make_handler(respond)) as server:
        threading.Thread(target=server.serve_forever, name="sample shops", daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def settings_text(
    feed_addresses: Mapping[str, str], root: Path, mappings: Path | None = None
) -> str:
    """A wearalike.toml for shops served on loopback: feed address by shop. mappings: the folder, the default if None."""
    lines = [
        f"data_dir = {_toml_string(root)}",
        *([f"mappings = {_toml_string(mappings)}"] if mappings else []),
    ]
    dialects = {shop.id: shop.dialect for shop in SHOPS}
    for shop_id, address in feed_addresses.items():
        lines += [
            "",
            "[[shops]]",
            f"id = {_toml_string(shop_id)}",
            f"feed = {_toml_string(address)}",
            'allowed_networks = ["127.0.0.1/32"]',
        ]
        # Admitad's XML looks like YML; the others say themselves what they are.
        lines += ['dialect = "admitad"'] if dialects.get(shop_id) == "admitad" else []
    return "\n".join(lines) + "\n"


def write_settings(path: Path, address: str, root: Path, mappings: Path | None = None) -> None:
    """Writes a wearalike.toml that names the sample shops served at an address."""
    path.write_text(
        settings_text({shop.id: f"{address}/{shop.id}/feed.xml" for shop in SHOPS}, root, mappings),
        encoding="utf-8",
    )


def _toml_string(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False)  # a TOML basic string


class ShopResponses:
    """What is served on a day: path to what it answers."""

    def __init__(self, day: int) -> None:
        self.day = day
        self.offers = {shop.id: list_products(shop, day) for shop in SHOPS}
        self._pictures = {
            f"/{product.shop.id}/img/{feeds.picture_name(picture)}": (product, picture)
            for offers in self.offers.values()
            for product in offers
            for picture in product.pictures
        }

    @property
    def picture_paths(self) -> list[str]:
        """Of every picture."""
        return list(self._pictures)

    def respond(self, path: str, address: str) -> tuple[bytes, str] | None:
        """(body, content type), or None for what is not there."""
        if path == "/":
            shops = {
                s.id: {
                    "feed": f"{address}/{s.id}/feed.xml",
                    "offers": len(self.offers[s.id]),
                    "day": self.day,
                }
                for s in SHOPS
            }
            return json.dumps(shops, indent=1).encode(), "application/json"
        for shop in SHOPS:
            if path == f"/{shop.id}/feed.xml":
                return feeds.render_feed(shop, self.offers[shop.id], self.day, address)
        return _picture_response(*self._pictures[path]) if path in self._pictures else None


def _picture_response(
    product: SampleProduct, picture: Packshot | OutfitPicture
) -> tuple[bytes, str] | None:
    match product.flaw:
        case OfferFlaw.PICTURE_GONE:
            return None
        case OfferFlaw.PICTURE_TINY:
            return _one_pixel_gif(), "image/gif"
        case OfferFlaw.PICTURE_IS_PAGE:
            return _SIGN_IN_PAGE, "image/jpeg"
    return _drawn_jpeg(picture), "image/jpeg"


@cache
def _drawn_jpeg(picture: Packshot | OutfitPicture) -> bytes:
    return encode_jpeg(draw_picture(picture))


def _one_pixel_gif() -> bytes:
    out = io.BytesIO()
    Image.new("L", (1, 1), 255).save(out, "GIF")
    return out.getvalue()


def _make_handler(respond: Responder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "wearalike-sample"

        def do_GET(self) -> None:
            address = f"http://127.0.0.1:{self.connection.getsockname()[1]}"
            found = respond(self.path.split("?")[0], address)
            body, kind = found or (b"not found\n", "text/plain")
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            status = (
                404 if found is None else 304 if self.headers.get("If-None-Match") == tag else 200
            )
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._send(status, body, kind, tag)

        do_HEAD = do_GET

        def _send(self, status: int, body: bytes, kind: str, tag: str) -> None:
            self.send_response(status)
            if status != 304:
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
            if status != 404:
                self.send_header("ETag", tag)
            self.end_headers()
            if status != 304 and self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: a night asks for hundreds of pictures."""

    return Handler
