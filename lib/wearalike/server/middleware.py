"""What stands between the network and every answer: ASGI middleware, for the API and the pages alike."""

from __future__ import annotations

import math
import time
from urllib.parse import unquote

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wearalike.server import errors

# Pages bring all they need with them, but for the pictures, which lie in the shops; a page inside Airflow is in a frame of its host.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' https: http: data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


# No camera makes a larger photo that a phone would send; a form's own lines are beside it.
MAX_BODY_BYTES = 16_000_000


class ClientRateLimiter:
    """So many requests a minute of one client."""

    def __init__(self, per_minute: int, noun: str) -> None:
        self._rate, self._noun = RateLimitItemPerMinute(per_minute), noun
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count_request(self, scope: Scope) -> None:
        """Counts one. Raises HTTPException 429 where it is one too many."""
        client = scope["client"][0] if scope.get("client") else "unknown"
        if not self._limiter.hit(self._rate, client):
            wait_s = max(
                1,
                math.ceil(
                    self._limiter.get_window_stats(self._rate, client).reset_time - time.time()
                ),
            )
            raise HTTPException(
                429,
                f"more than {self._rate.amount} {self._noun} a minute",
                {"Retry-After": str(wait_s)},
            )


class RateLimitMiddleware:
    """Lets no client ask more often than the limit says."""

    def __init__(self, app: ASGIApp, limit: ClientRateLimiter) -> None:
        self.app, self._limiter = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._limiter.count_request(scope)
            except HTTPException as error:
                return await errors.problem_response(
                    error.status_code, error.detail, error.headers
                )(scope, receive, send)
        await self.app(scope, receive, send)


class BodySizeMiddleware:
    """Reads no body beyond the limit, whatever its header says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if said.isdecimal() and int(said) > MAX_BODY_BYTES:
            return await errors.problem_response(
                413, _body_too_large_detail(), {"Connection": "close"}
            )(scope, receive, send)
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY_BYTES:
                raise HTTPException(413, _body_too_large_detail(), {"Connection": "close"})
            return message

        await self.app(scope, counted, send)


def _body_too_large_detail() -> str:
    return f"the body: wanted at most {MAX_BODY_BYTES:,} bytes"


class SecurityHeadersMiddleware:
    """Gives every answer the headers that keep a browser from doing what nobody asked for; an answer's own come first."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, told if scope["type"] == "http" else send)


class HeadMiddleware:
    """Answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)

        async def bare(message: Message) -> None:
            await send(
                {**message, "body": b""} if message["type"] == "http.response.body" else message
            )

        await self.app({**scope, "method": "GET"}, receive, bare)


class EncodedSlashMiddleware:
    """Lets a path's parameter hold a slash: what was sent as %2F reaches the routes as %2F, and a percent sign as %25.

    A shop writes what it likes into an offer's id, and so it stands in product_id. `decoded` gives back what was meant.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path"):
            try:
                segments = [
                    unquote(part, errors="strict")
                    for part in scope["raw_path"].decode("ascii").split("/")
                ]
            except UnicodeDecodeError:
                return await errors.problem_response(
                    400, "the path: wanted UTF-8, percent-encoded"
                )(scope, receive, send)
            scope = {
                **scope,
                "path": "/".join(part.replace("%", "%25").replace("/", "%2F") for part in segments),
            }
        await self.app(scope, receive, send)


def decode_segment(parameter: str) -> str:
    """A path's parameter as it was meant, from what `Segments` made of it."""
    return parameter.replace("%2F", "/").replace("%25", "%")
