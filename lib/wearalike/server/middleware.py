"""ASGI middleware for pages and API alike: limits, headers, HEAD and encoded slashes."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from urllib.parse import unquote

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wearalike.server import clients, errors

# Pages load only their own files and the pictures of shops.
# Inside Airflow a page is framed by its own host, so frame-ancestors is 'self'.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' https: http: data: blob:; style-src 'self'; "
        "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Above the largest photo that a phone sends, with room for the form around it.
MAX_BODY_BYTES = 16_000_000
# Paths that take no photo take a form of a few texts.
MAX_FORM_BYTES = 64_000
PHOTO_PATH_END = "/photo"


def scope_client_key(scope: Scope) -> str:
    """Return what counts as the client of a request; see `clients.client_key`."""
    return clients.client_key(scope["client"][0] if scope.get("client") else "unknown")


class ClientRateLimiter:
    """Count requests a client, in a sliding window of one minute.

    Args:
        per_minute: Requests that one client may send a minute.
        noun: Name of the requests in the error message, e.g. "searches".
    """

    def __init__(self, per_minute: int, noun: str) -> None:
        self._rate = RateLimitItemPerMinute(per_minute)
        self._noun = noun
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count_request(self, scope: Scope) -> None:
        """Count one request of the scope's client.

        Raises:
            HTTPException: 429 with Retry-After; the client has used up its requests.
        """
        client = scope_client_key(scope)
        if self._limiter.hit(self._rate, client):
            return
        reset_at = self._limiter.get_window_stats(self._rate, client).reset_time
        wait_s = max(1, math.ceil(reset_at - time.time()))
        raise HTTPException(
            429,
            f"more than {self._rate.amount} {self._noun} a minute",
            {"Retry-After": str(wait_s)},
        )


class RateLimitMiddleware:
    """Answer 429 to a client that exceeds the limiter's rate."""

    def __init__(self, app: ASGIApp, limiter: ClientRateLimiter) -> None:
        self.app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._limiter.count_request(scope)
            except HTTPException as error:
                response = errors.problem_response(error.status_code, error.detail, error.headers)
                return await response(scope, receive, send)
        await self.app(scope, receive, send)


class AllowedHostMiddleware:
    """Answer 421 to a request for a host that is not allowed.

    A foreign page may let its own name lead here (DNS rebinding); browsers then take it for a page
    of this site. A request by address, or for localhost, cannot come so.

    Args:
        app: The app behind.
        allowed_hosts: Names that are allowed beside these; "*" allows every name.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        self.app = app
        self._allowed = {name.lower() for name in allowed_hosts} | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "*" not in self._allowed:
            host = Headers(scope=scope).get("host", "")
            name = _host_name(host)
            if name and name not in self._allowed and not clients.is_address(name):
                detail = f"host {host[:100]!r}: wanted one of [serve] allowed_hosts"
                response = errors.problem_response(421, detail)
                return await response(scope, receive, send)
        await self.app(scope, receive, send)


def _host_name(host: str) -> str:
    """Return the name or address of a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


class BodySizeMiddleware:
    """Answer 413 to a body above the limit of its path, by its header or the bytes that arrive."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        takes_photo = scope["path"].endswith(PHOTO_PATH_END)
        max_bytes = MAX_BODY_BYTES if takes_photo else MAX_FORM_BYTES
        detail = f"the body: wanted at most {max_bytes:,} bytes"
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > max_bytes:
            response = errors.problem_response(413, detail, {"Connection": "close"})
            return await response(scope, receive, send)
        read_bytes = 0

        async def receive_counted() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > max_bytes:
                raise HTTPException(413, detail, {"Connection": "close"})
            return message

        await self.app(scope, receive_counted, send)


class SecurityHeadersMiddleware:
    """Add SECURITY_HEADERS to every response; a response's own headers win."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class HeadMiddleware:
    """Answer HEAD like GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class EncodedSlashMiddleware:
    """Let a path parameter hold a slash.

    Shops choose their offer ids freely, and these are part of product_id.
    A "%2F" of the request reaches the routes as "%2F", and a percent sign as "%25".
    `decode_segment` restores the text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path"):
            raw_segments = scope["raw_path"].decode("ascii").split("/")
            try:
                segments = [unquote(segment, errors="strict") for segment in raw_segments]
            except UnicodeDecodeError:
                response = errors.problem_response(400, "the path: wanted UTF-8, percent-encoded")
                return await response(scope, receive, send)
            path = "/".join(s.replace("%", "%25").replace("/", "%2F") for s in segments)
            scope = {**scope, "path": path}
        await self.app(scope, receive, send)


def decode_segment(parameter: str) -> str:
    """Return a path parameter as the client meant it, undoing EncodedSlashMiddleware."""
    return parameter.replace("%2F", "/").replace("%25", "%")
