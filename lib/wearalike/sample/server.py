"""Serve the sample shops on loopback: feeds and pictures, with ETags."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from wearalike.sample import feeds
from wearalike.sample.catalogue import (
    SHOPS,
    OfferFlaw,
    SampleProduct,
    list_products,
)
from wearalike.sample.painting import encode_jpeg
from wearalike.sample.pictures import OutfitPicture, Packshot, draw_picture

_SIGN_IN_PAGE = b"<!DOCTYPE html><title>Sign in</title><p>Please sign in to see this picture.</p>"


@contextlib.contextmanager
def serve_shops(day: int = 1, port: int = 0) -> Iterator[str]:
    """Serve the shops of a day on 127.0.0.1 while the block lasts.

    GET / lists the shops as JSON. Pictures are drawn at the first request.

        with serve_shops() as address:
            write_settings(Path("wearalike.toml"), address, Path("data"))

    Args:
        day: 1 or 2.
        port: 0 takes a free one.

    Yields:
        The address, without a slash at the end.

    Raises:
        ValueError: Another day.
    """
    with serve_responses(ShopResponses(day).respond, port) as address:
        yield address


# (path, address) -> (body, content type), or None for a path that does not exist.
Responder = Callable[[str, str], tuple[bytes, str] | None]


@contextlib.contextmanager
def serve_responses(respond: Responder, port: int = 0) -> Iterator[str]:
    """Serve responses on 127.0.0.1 while the block lasts.

    Args:
        respond: Returns the response to a path.
        port: 0 takes a free one.

    Yields:
        The address, without a slash at the end.
    """
    with ThreadingHTTPServer(("127.0.0.1", port), _make_handler(respond)) as server:
        threading.Thread(target=server.serve_forever, name="sample shops", daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def settings_text(
    feed_addresses: Mapping[str, str],
    root: Path,
    mappings: Path | None = None,
    compared_encoders: Sequence[str] = (),
) -> str:
    """Return a wearalike.toml for shops served on loopback.

    Args:
        feed_addresses: The address of each shop's feed.
        root: The data directory.
        mappings: The folder of mappings; None for the default.
        compared_encoders: Encoders for the page Compare.
    """
    encoders = ", ".join(map(_toml_string, compared_encoders))
    lines = [
        f"data_dir = {_toml_string(root)}",
        *([f"mappings = {_toml_string(mappings)}"] if mappings else []),
        *([f"compared_encoders = [{encoders}]"] if encoders else []),
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
        # Admitad's XML looks like YML; the other dialects are detected.
        lines += ['dialect = "admitad"'] if dialects.get(shop_id) == "admitad" else []
    return "\n".join(lines) + "\n"


def write_settings(
    path: Path,
    address: str,
    root: Path,
    mappings: Path | None = None,
    compared_encoders: Sequence[str] = (),
) -> None:
    """Write a wearalike.toml for the sample shops.

    Args:
        path: The file.
        address: The address of the server, as `serve_shops` yields it.
        root: The data directory.
        mappings: The folder of mappings; None for the default.
        compared_encoders: Encoders for the page Compare.
    """
    feeds = {shop.id: f"{address}/{shop.id}/feed.xml" for shop in SHOPS}
    path.write_text(settings_text(feeds, root, mappings, compared_encoders), encoding="utf-8")


def _toml_string(text: object) -> str:
    """Return text as a TOML basic string, which JSON strings are."""
    return json.dumps(str(text), ensure_ascii=False)


class ShopResponses:
    """The responses of a day.

    Attributes:
        day: 1 or 2.
        offers: The offers of each shop.
    """

    def __init__(self, day: int) -> None:
        """List the offers of a day; ValueError if it is not 1 or 2."""
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
        """The path of every picture."""
        return list(self._pictures)

    def respond(self, path: str, address: str) -> tuple[bytes, str] | None:
        """Return the response to a path, as a Responder."""
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
    """Return a picture, or the faulty response that its offer's flaw wants."""
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
    """Return a picture as JPEG; each is drawn once."""
    return encode_jpeg(draw_picture(picture))


def _one_pixel_gif() -> bytes:
    """Return a GIF that is too small to be a product image."""
    out = io.BytesIO()
    Image.new("L", (1, 1), 255).save(out, "GIF")
    return out.getvalue()


def _make_handler(respond: Responder) -> type[BaseHTTPRequestHandler]:
    """Return a handler class that serves the responses."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "wearalike-sample"

        def do_GET(self) -> None:
            address = f"http://127.0.0.1:{self.connection.getsockname()[1]}"
            response = respond(self.path.split("?")[0], address)
            body, kind = response or (b"not found\n", "text/plain")
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            status = 200
            if response is None:
                status = 404
            elif self.headers.get("If-None-Match") == tag:
                status = 304
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
            """Log nothing: a run requests hundreds of pictures."""

    return Handler
