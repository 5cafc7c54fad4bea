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

from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.search import ShortfallReason
from wearalike.server.snapshot import PublishedRepository
from wearalike.server.thumbnails import ProductImageIndex

VIEWER_DIR = Path(__file__).resolve().parents[1]
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors "
)
STATIC_MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def render_page(
    request: Request, template: str, *, status: int = 200, **context: Any
) -> HTMLResponse:
    """A template as an answer that the browser asks for again each time: what is published may have moved."""
    text = (
        jinja_environment()
        .get_template(template)
        .render(at=PageUrls(request), section=template.removesuffix(".html"), **context)
    )
    return HTMLResponse(text, status, page_headers(request))


def page_headers(request: Request) -> dict[str, str]:
    """Alone, no page may show these in a frame; mounted in another app, that app's pages may. The referrer stays within: without
    one a browser would hide where a form was sent from."""
    framed_by = "'self'" if request.scope.get("root_path") else "'none'"
    return {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY + framed_by,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


class PageUrls:
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
        return self(f"/static/{read_static(name)[1]}/{name}")


@cache
def read_static(name: str) -> tuple[bytes, str]:
    """A file of static/ and the beginning of its hash. Raises LookupError."""
    path = VIEWER_DIR / "static" / name
    if (
        path.suffix not in STATIC_MEDIA_TYPES
        or path.parent != VIEWER_DIR / "static"
        or not path.is_file()
    ):
        raise LookupError(name)
    content = path.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def immutable_response(content: bytes, media_type: str) -> Response:
    """Bytes whose address changes when they do."""
    return Response(
        content,
        media_type=media_type,
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )


@cache
def jinja_environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(VIEWER_DIR / "templates"),
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
        "money": format_price,
        "shop_link": safe_shop_url,
    }
    made.globals |= {
        "why_short": {reason.value: SHORTFALL_TEXTS[reason] for reason in ShortfallReason}
    }
    return made


def format_price(cents: int, currency: str) -> str:
    """ "1,999 RUB", hundredths only where there are any."""
    return f"{cents / 100:,.2f}".removesuffix(".00") + f" {currency}"


def safe_shop_url(address: str | None) -> str | None:
    """The address where it is one that a link may lead to; None for any other, such as javascript:."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def app_repository_and_images(request: Request) -> tuple[PublishedRepository, ProductImageIndex]:
    return request.app.state.published, request.app.state.pictures


def require_same_origin(request: Request) -> None:
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


def clamped_int(text: str | None, low: int, high: int, default: int) -> int:
    """A whole number of an address, put between its bounds; `usual` for anything else."""
    return (
        min(high, max(low, int(text))) if text and text.isdecimal() and len(text) < 10 else default
    )


def query_param(params: Mapping[str, str], name: str, limit: int = 200) -> str | None:
    """A text of an address, cut; None where it is empty."""
    return params.get(name, "").strip()[:limit] or None
