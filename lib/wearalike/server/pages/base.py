"""What every page has: its templates and addresses, its headers, and who may post to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jinja2
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from wearalike.reports.contact_sheet import WHY_SHORT
from wearalike.search import ShortReason
from wearalike.server.snapshot import Published
from wearalike.server.thumbnails import Pictures

FOLDER = Path(__file__).resolve().parents[1]
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors "
)
STATIC = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A template as an answer that the browser asks for again each time: what is published may have moved."""
    text = (
        templates()
        .get_template(template)
        .render(at=Addresses(request), section=template.removesuffix(".html"), **context)
    )
    return HTMLResponse(text, status, headers(request))


def headers(request: Request) -> dict[str, str]:
    """Alone, no page may show these in a frame; mounted in another app, that app's pages may. The referrer stays within: without
    one a browser would hide where a form was sent from."""
    framed_by = "'self'" if request.scope.get("root_path") else "'none'"
    return {
        "Content-Security-Policy": POLICY + framed_by,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


class Addresses:
    """Addresses of this server as they are spelled from outside: `at("/quality")`, `at.product(id)`."""

    def __init__(self, request: Request) -> None:
        self._root = request.scope.get("root_path", "").rstrip("/")

    def __call__(self, path: str, **query: Any) -> str:
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{self._root}{path}" + (f"?{urlencode(given)}" if given else "")

    def product(self, product_id: str, below: str = "", **query: Any) -> str:
        return self(f"/products/{quote(product_id, safe='')}{below}", **query)

    def thumbnail(self, image_id: str, side_px: int) -> str:
        return self(f"/thumbnails/{side_px}/{image_id}.jpg")

    def static(self, name: str) -> str:
        return self(f"/static/{static(name)[1]}/{name}")


@cache
def static(name: str) -> tuple[bytes, str]:
    """A file of static/ and the beginning of its hash. Raises LookupError."""
    path = FOLDER / "static" / name
    if path.suffix not in STATIC or path.parent != FOLDER / "static" or not path.is_file():
        raise LookupError(name)
    content = path.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def kept_for_ever(content: bytes, media_type: str) -> Response:
    """Bytes whose address changes when they do."""
    return Response(
        content,
        media_type=media_type,
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )


@cache
def templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": lambda value: f"{value:,.0f}",
        "share": lambda value: "" if value is None else f"{value:.2f}",
        "percent": lambda value: f"{100 * value:.4g}%",
        "words": lambda text: str(text).replace("_", " "),
        "money": money,
        "shop_link": shop_link,
    }
    made.globals |= {"why_short": {reason.value: WHY_SHORT[reason] for reason in ShortReason}}
    return made


def money(cents: int, currency: str) -> str:
    """ "1,999 RUB", hundredths only where there are any."""
    return f"{cents / 100:,.2f}".removesuffix(".00") + f" {currency}"


def shop_link(address: str | None) -> str | None:
    """The address where it is one that a link may lead to; None for any other, such as javascript:."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def sources(request: Request) -> tuple[Published, Pictures]:
    return request.app.state.published, request.app.state.pictures


def same_origin(request: Request) -> None:
    """Refuses what another site's page posts (cross-site request forgery). Raises HTTPException 403.

    A browser says where a post comes from: Sec-Fetch-Site on secure origins and loopback, Origin everywhere.
    """
    said, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_ours = (
        said == "same-origin"
        if said
        else bool(origin) and urlsplit(str(origin)).netloc == request.headers.get("host")
    )
    if not is_ours:
        raise HTTPException(403, "this can be sent from this site's own pages only")


def whole(text: str | None, low: int, high: int, usual: int) -> int:
    """A whole number of an address, put between its bounds; `usual` for anything else."""
    return min(high, max(low, int(text))) if text and text.isdecimal() and len(text) < 10 else usual


def chosen(given: Mapping[str, str], name: str, limit: int = 200) -> str | None:
    """A text of an address, cut; None where it is empty."""
    return given.get(name, "").strip()[:limit] or None
