"""Shared by all pages: rendering, addresses, headers, and the check of who may post."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from wearalike.reports import html
from wearalike.server.snapshot import PublishedRepository
from wearalike.server.thumbnails import ProductImageIndex

STATIC_DIR = Path(__file__).resolve().parents[1] / "static"
# Ends with frame-ancestors, whose value depends on where the app is mounted.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors "
)
STATIC_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def render_page(
    request: Request, template: str, *, status: int = 200, **context: Any
) -> HTMLResponse:
    """Render a template as a response.

    Browsers ask for it again each time, because another run may have been published.

    Args:
        request: The request; gives templates their addresses.
        template: Name of the template, e.g. "product.html".
        status: The HTTP status.
        context: Variables of the template.

    Returns:
        The page with its headers.
    """
    section = template.removesuffix(".html")
    text = html.render(template, at=PageUrls(request), section=section, **context)
    return HTMLResponse(text, status, page_headers(request))


def page_headers(request: Request) -> dict[str, str]:
    """Return the headers of a page.

    No other page may frame it, except those of an app that mounts this one. The referrer is sent
    to this site only; without it, browsers would hide the origin of a posted form.
    """
    framed_by = "'self'" if request.scope.get("root_path") else "'none'"
    return {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY + framed_by,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


class PageUrls:
    """Addresses of this server as browsers see them, below root_path.

    Example:
        >>> at = PageUrls(request)
        >>> at("/", q="dress")
        '/?q=dress'
        >>> at.product("moda:10/42")
        '/products/moda%3A10%2F42'
    """

    def __init__(self, request: Request) -> None:
        self._root = request.scope.get("root_path", "").rstrip("/")

    def __call__(self, path: str, **query: Any) -> str:
        """Return the address of a path; query values that are None or "" are left out."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{self._root}{path}" + (f"?{urlencode(given)}" if given else "")

    def product(self, product_id: str, below: str = "", **query: Any) -> str:
        """Return the address of a product's page, or of a path below it."""
        return self(f"/products/{quote(product_id, safe='')}{below}", **query)

    def thumbnail(self, image_id: str, side_px: int) -> str:
        """Return the address of a thumbnail, one of THUMBNAIL_SIDES_PX."""
        return self(f"/thumbnails/{side_px}/{image_id}.jpg")

    def static(self, name: str) -> str:
        """Return the address of a static file; it contains the file's hash."""
        return self(f"/static/{read_static(name)[1]}/{name}")


@cache
def read_static(name: str) -> tuple[bytes, str]:
    """Read a file of static/.

    Args:
        name: File name, without folders.

    Returns:
        Its bytes, and the first 12 hex digits of its sha256.

    Raises:
        LookupError: There is no such file.
    """
    path = STATIC_DIR / name
    is_inside = path.parent == STATIC_DIR
    if path.suffix not in STATIC_MEDIA_TYPES or not is_inside or not path.is_file():
        raise LookupError(name)
    content = path.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def immutable_response(content: bytes, media_type: str) -> Response:
    """Return a response that caches keep for a year: its address changes with its bytes."""
    return Response(
        content,
        media_type=media_type,
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )


def app_repository_and_images(request: Request) -> tuple[PublishedRepository, ProductImageIndex]:
    """Return the app's published runs and its images of products."""
    return request.app.state.published, request.app.state.product_images


def require_same_origin(request: Request, *, may_be_shared: bool = False) -> None:
    """Refuse a form that another site's page posts (cross-site request forgery).

    Browsers send Sec-Fetch-Site on secure origins and loopback, and Origin everywhere.

    Args:
        request: The request.
        may_be_shared: The browser itself may post the form, as it does for what a phone shares
            with an installed page. No page of another site can.

    Raises:
        HTTPException: 403; the form does not come from this site.
    """
    if may_be_shared and request.headers.get("sec-fetch-site") == "none":
        return
    if not _is_same_origin(request):
        raise HTTPException(403, "this form can be sent from this site's own pages only")


def _is_same_origin(request: Request) -> bool:
    """Return whether the browser names this site as the origin of the request."""
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site:
        return fetch_site == "same-origin"
    origin = request.headers.get("origin")
    return bool(origin) and urlsplit(str(origin)).netloc == request.headers.get("host")


def clamped_int(text: str | None, low: int, high: int, default: int) -> int:
    """Parse a whole number of an address.

    Args:
        text: Text of the query parameter; None if absent.
        low: Smallest result.
        high: Largest result.
        default: Result for a text that is no number.

    Returns:
        The number, between low and high.
    """
    if text and text.isdecimal() and len(text) < 10:
        return min(high, max(low, int(text)))
    return default


def query_param(params: Mapping[str, str], name: str, limit: int = 200) -> str | None:
    """Return a query parameter, stripped and cut to `limit` letters; None if it is empty."""
    return params.get(name, "").strip()[:limit] or None
