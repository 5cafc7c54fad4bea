"""Fetch addresses politely, and never from where we must not go.

Feeds and images come from addresses that others wrote. So an AddressGuard checks each connection at
the last moment, when the socket is created for one resolved address. Literals in any spelling, each
answer of DNS and each hop of a redirect pass the same check.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import email.utils
import hashlib
import io
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import aiohttp
from yarl import URL

from wearalike import __version__
from wearalike.net.address_guard import NOT_PUBLIC_ERRNO, AddressGuard, redact_url
from wearalike.net.content_encoding import (
    BrokenContent,
    TooMuchContent,
    undo_content_encoding,
    undo_file_encoding,
)
from wearalike.net.host_throttle import (
    DEFAULT_OUTAGE_POLICY,
    HostGivenUp,
    HostThrottle,
    OutagePolicy,
)
from wearalike.net.web_address import parse_address

MAX_REDIRECTS = 5
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_HEADERS: Mapping[str, str] = {}


class FetchReason(StrEnum):
    """Why an address gave no bytes."""

    BAD_URL = "bad_url"
    PRIVATE_ADDRESS = "private_address"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    UNKNOWN_HOST = "unknown_host"
    CONNECTION = "connection"
    TLS = "tls"
    TIMEOUT = "timeout"
    HTTP_400 = "http_400"
    HTTP_401 = "http_401"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_408 = "http_408"
    HTTP_410 = "http_410"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    HOST_UNAVAILABLE = "host_unavailable"

    @property
    def is_permanent(self) -> bool:
        """True if asking again in a moment is pointless."""
        return self not in _TRANSIENT_REASONS


_TRANSIENT_REASONS = {
    FetchReason.UNKNOWN_HOST,
    FetchReason.CONNECTION,
    FetchReason.TIMEOUT,
    FetchReason.HTTP_408,
    FetchReason.HTTP_429,
    FetchReason.HTTP_5XX,
    FetchReason.TRUNCATED,
}


# Failures of a host, not of an address.
_OUTAGE_REASONS = _TRANSIENT_REASONS - {FetchReason.TRUNCATED} | {FetchReason.TLS}


class FetchError(Exception):
    """An address gave no bytes.

    Attributes:
        reason: The reason.
        detail: The findings and the expectation, with credentials redacted.
    """

    def __init__(self, reason: FetchReason, detail: str) -> None:
        self.reason, self.detail = reason, _replace_surrogates(redact_url(detail))
        super().__init__(f"{reason}: {self.detail}")

    @property
    def is_permanent(self) -> bool:
        """True if asking again in a moment is pointless."""
        return self.reason.is_permanent

    @property
    def is_outage(self) -> bool:
        """True if the host is away, and nothing is known of the address."""
        return self.reason in (*_OUTAGE_REASONS, FetchReason.HOST_UNAVAILABLE)


def _replace_surrogates(text: str) -> str:
    """Return the text with a question mark for every half character.

    The headers that a server sends need not be text.
    """
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """How politely and how long a host is asked.

    Attributes:
        max_connections_per_host: Requests to one host at the same time.
        min_request_interval_s: Least time between the starts of two requests to a host, seconds.
        max_attempts: Requests for one address, the first included. Permanent errors are not
            retried.
        timeout_s: For one request, from connecting to the last byte, seconds.
        idle_timeout_s: For one request, without a byte, seconds.
        retry_wait_s: Before the second attempt, doubled for each further one, ± 50 %, seconds.
        max_retry_wait_s: Cap of that wait, seconds. A Retry-After is waited for as long as
            `outages` allow.
        outages: When a host that fails is left alone, and when it is given up.
        contact: An address in the User-Agent, at which a shop can ask who asks; "" for none.
        keeps_cookies: Send the cookies that a host sets back to it within one chain of redirects.
    """

    max_connections_per_host: int = 8
    min_request_interval_s: float = 0.0
    max_attempts: int = 4
    timeout_s: float = 30.0
    idle_timeout_s: float = 30.0
    retry_wait_s: float = 0.5
    max_retry_wait_s: float = 60.0
    outages: OutagePolicy = DEFAULT_OUTAGE_POLICY
    contact: str = ""
    keeps_cookies: bool = False


DEFAULT_FETCH_POLICY = FetchPolicy()
# A feed is one large file.
FEED_FETCH_POLICY = FetchPolicy(timeout_s=300.0)


def user_agent(contact: str) -> str:
    """Return the User-Agent that names wearalike, and whom to ask."""
    return f"wearalike/{__version__}" + (f" (+{contact})" if contact else "")


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of a host.

    Attributes:
        status: 200, or 304 where a condition was sent.
        url: The address after redirects, credentials redacted.
        sha256: Hash of the body as it came over the wire, hex.
        headers: Values by name, names in lower case.
        size_bytes: Length of the body as it came over the wire.
        content: The body, unpacked; empty if it went into a file.
    """

    status: int
    url: str
    sha256: str
    headers: Mapping[str, str]
    size_bytes: int
    content: builtins.bytes = field(default=b"", repr=False)


class Client:
    """Fetch many addresses, with the same limits for each host.

    The retry loop is our own and not tenacity's: it keeps the body of each attempt apart, and the
    number of attempts depends on the error.

    Example:
        >>> async with Client(AddressGuard()) as client:
        ...     response = await client.fetch("https://shop.example/1.jpg", 16_000_000)
    """

    def __init__(self, guard: AddressGuard, policy: FetchPolicy = DEFAULT_FETCH_POLICY) -> None:
        self._guard, self._policy = guard, policy
        self._hosts: dict[str, HostThrottle] = defaultdict(
            lambda: HostThrottle(
                policy.max_connections_per_host, policy.min_request_interval_s, policy.outages
            )
        )

    async def __aenter__(self) -> Client:
        timeout = aiohttp.ClientTimeout(
            total=self._policy.timeout_s, sock_read=self._policy.idle_timeout_s
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=60, socket_factory=self._guard.create_socket
            ),
            headers={"User-Agent": user_agent(self._policy.contact)},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def fetch(
        self,
        url: str,
        max_bytes: int,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        file: BinaryIO | None = None,
        may_log_in: bool = False,
    ) -> Response:
        """Fetch the body behind an address.

        Up to 5 redirects are followed. Headers other than conditions (If-*) and Accept stay with
        the first host. A content encoding that nobody asked for is undone, but not in a file. The
        time is bounded by max_attempts × (redirects + 1) × timeout_s, plus the waits in between and
        for the host's turn.

        Args:
            url: The address.
            max_bytes: Longest body to accept.
            headers: Further request headers.
            file: Where to write the body, from the file's start; None keeps it in `content`.
            may_log_in: Allow a login in the address. In a redirect it is always refused.

        Raises:
            FetchError: The address gave no bytes.
        """
        first, attempt = _parse_url(url, may_log_in), 0
        failure: FetchError | None = None
        while True:
            held, attempt = io.BytesIO(), attempt + 1
            try:
                answer = await self._follow_redirects(first, headers, max_bytes, file or held)
                return replace(answer, content=_unpack(answer, held.getvalue(), max_bytes))
            except FetchError as error:
                if failure and error.reason is FetchReason.HOST_UNAVAILABLE:
                    raise failure from error  # which says more
                failure = error
                most = self._policy.max_attempts
                if error.is_permanent or attempt >= (
                    min(2, most) if error.reason is FetchReason.TRUNCATED else most
                ):
                    raise
            wait_s = min(
                self._policy.retry_wait_s * 2 ** (attempt - 1), self._policy.max_retry_wait_s
            )
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))

    async def _follow_redirects(
        self, first: URL, headers: Mapping[str, str], max_bytes: int, body: BinaryIO
    ) -> Response:
        url = first
        away = {k: v for k, v in headers.items() if k.lower().startswith(("if-", "accept"))}
        # Some hosts set a cookie, redirect to the same address, and want the cookie back.
        jar = aiohttp.CookieJar(unsafe=True) if self._policy.keeps_cookies else None
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._request(
                url, headers if url.origin() == first.origin() else away, max_bytes, body, jar
            )
            if answer.status not in _REDIRECT_STATUSES:
                return answer
            if "location" not in answer.headers:
                raise FetchError(FetchReason.BAD_URL, f"{url}: a redirect to what is no text")
            url = _parse_url(answer.headers["location"], False, url)
        raise FetchError(
            FetchReason.TOO_MANY_REDIRECTS,
            f"{first}: more than {MAX_REDIRECTS} redirects, the last to {url}",
        )

    async def _request(
        self,
        url: URL,
        headers: Mapping[str, str],
        max_bytes: int,
        body: BinaryIO,
        jar: aiohttp.CookieJar | None,
    ) -> Response:
        sent = {"Accept-Encoding": "identity", **headers}
        if jar and (cookies := jar.filter_cookies(url)):
            sent["Cookie"] = "; ".join(f"{c.key}={c.value}" for c in cookies.values())
        host = self._hosts[url.authority]
        async with host.slots:
            try:
                is_trial = await host.wait_for_turn()
            except HostGivenUp as error:
                raise FetchError(
                    FetchReason.HOST_UNAVAILABLE,
                    f"{url.authority} has failed too long; it is not asked again in this run",
                ) from error
            started_at = time.monotonic()
            try:
                answer = await self._ask(host, url, sent, max_bytes, body, jar)
            except FetchError as error:
                if error.reason in _OUTAGE_REASONS:
                    host.note_failure(started_at, is_trial)
                else:
                    host.note_answer()
                raise
            except BaseException:
                host.release_trial(is_trial)
                raise
            host.note_answer()
            return answer

    async def _ask(
        self,
        host: HostThrottle,
        url: URL,
        headers: Mapping[str, str],
        max_bytes: int,
        body: BinaryIO,
        jar: aiohttp.CookieJar | None,
    ) -> Response:
        """Send one request and read its answer. Raises FetchError."""
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if jar is not None:
                    jar.update_cookies(response.cookies, url)
                self._check_status(host, response, headers)
                if response.status != 200:
                    return _build_response(response, 0, hashlib.sha256())
                return await _read_body(response, max_bytes, body)
        except (aiohttp.ClientError, TimeoutError, UnicodeError) as error:
            raise _fetch_error(url, error) from error

    def _check_status(
        self, host: HostThrottle, response: aiohttp.ClientResponse, headers: Mapping[str, str]
    ) -> None:
        """Raise FetchError unless the status brings a body, a redirect or "not modified"."""
        status = response.status
        if status == 200 or (status in _REDIRECT_STATUSES and "Location" in response.headers):
            return
        if status == 304 and any(name.lower().startswith("if-") for name in headers):
            return
        if (
            status in (429, 503)
            and (wait_s := _retry_after_s(response.headers.get("Retry-After", ""))) is not None
        ):
            host.pause(wait_s)
        raise FetchError(_status_reason(status), f"{response.url}: status {status}, wanted 200")


async def fetch_file(
    url: str,
    path: Path,
    *,
    guard: AddressGuard,
    max_bytes: int,
    policy: FetchPolicy = FEED_FETCH_POLICY,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> Response:
    """Fetch the body behind an address into a file, as it came over the wire.

    A gzip encoding is not undone, others are. Status 304, possible where `headers` hold a
    condition, leaves an empty file. After an error there is no file.

    Args:
        url: The address; it may hold a login.
        path: File to write.
        guard: Where connections may go.
        max_bytes: Longest body to accept.
        policy: How politely and how long the host is asked.
        headers: Further request headers.

    Raises:
        FetchError: The address gave no bytes.
    """
    try:
        async with Client(guard, policy) as client:
            with path.open("wb") as file:
                answer = await client.fetch(
                    url,
                    max_bytes,
                    headers={"Accept-Encoding": "gzip", **headers},
                    file=file,
                    may_log_in=True,
                )
        with _content_errors(answer.url):
            undo_file_encoding(path, answer.headers.get("content-encoding", ""), max_bytes)
        return answer
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        raise


def download(
    url: str,
    path: Path,
    *,
    guard: AddressGuard,
    max_bytes: int,
    policy: FetchPolicy = FEED_FETCH_POLICY,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> Response:
    """Do `fetch_file`, and wait for its end."""
    return asyncio.run(
        fetch_file(url, path, guard=guard, max_bytes=max_bytes, policy=policy, headers=headers)
    )


def _parse_url(text: str, may_log_in: bool, base: URL | None = None) -> URL:
    """Return the absolute address to ask. Raises FetchError."""
    try:
        url = parse_address(text, base)
        has_login = url.user is not None or url.password is not None
        is_web = url.scheme in ("http", "https") and url.host and url.port
    except (ValueError, TypeError, LookupError) as error:  # the last from yarl, for "htp://:[:]:@"
        raise FetchError(FetchReason.BAD_URL, f"{text}: {error}") from error
    if not is_web:
        raise FetchError(FetchReason.BAD_URL, f"{text}: wanted http:// or https:// and a host")
    if has_login and not may_log_in:
        raise FetchError(
            FetchReason.BAD_URL, f"{text}: a login in an address that was not ours to write"
        )
    return url


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int, body: BinaryIO) -> Response:
    too_large = FetchError(FetchReason.TOO_LARGE, f"{response.url}: more than {max_bytes:,} bytes")
    if (response.content_length or 0) > max_bytes:
        raise too_large
    body.seek(0)
    body.truncate()
    digest, count = hashlib.sha256(), 0
    async for piece in response.content.iter_any():
        count += len(piece)
        if count > max_bytes:
            raise too_large
        digest.update(piece)
        body.write(piece)
    if not count:
        raise FetchError(FetchReason.EMPTY, f"{response.url}: an empty body with status 200")
    return _build_response(response, count, digest)


def _unpack(answer: Response, content: builtins.bytes, max_bytes: int) -> builtins.bytes:
    """Return a body without content encodings. Raises FetchError."""
    with _content_errors(answer.url):
        header = answer.headers.get("content-encoding", "")
        return undo_content_encoding(content, header, max_bytes) if content else content


@contextlib.contextmanager
def _content_errors(url: str) -> Iterator[None]:
    """Turn the errors of content encodings into FetchErrors."""
    try:
        yield
    except TooMuchContent as error:
        raise FetchError(FetchReason.TOO_LARGE, f"{url}: {error}") from error
    except BrokenContent as error:
        raise FetchError(FetchReason.TRUNCATED, f"{url}: {error}") from error


def _build_response(
    response: aiohttp.ClientResponse, count: int, digest: hashlib._Hash
) -> Response:
    # A value that is no text, or has control characters, could neither be kept nor sent back.
    headers = {
        name.lower(): value
        for name, value in response.headers.items()
        if value == _replace_surrogates(value) and is_header_value(value)
    }
    return Response(
        response.status, redact_url(str(response.url)), digest.hexdigest(), headers, count
    )


def is_header_value(text: str) -> bool:
    """Return True for a text that may be sent as the value of a header."""
    return not _CONTROL_CHARACTER.search(text)


def _status_reason(status: int) -> FetchReason:
    exact = f"http_{status}"
    return (
        FetchReason(exact)
        if exact in set(FetchReason)
        else {4: FetchReason.HTTP_4XX, 5: FetchReason.HTTP_5XX}.get(
            status // 100, FetchReason.HTTP_OTHER
        )
    )


def _retry_after_s(text: str) -> float | None:
    """Return the seconds that a Retry-After asks for; None if it cannot be read.

    It is given in seconds or as an HTTP date.
    """
    text = text.strip()  # of what float() does not strip, too
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _fetch_error(url: URL, error: Exception) -> FetchError:
    """Return the FetchError for an error of aiohttp.

    The same fault gives the same words, whichever of two races it lost.
    """
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno == NOT_PUBLIC_ERRNO:
        return FetchError(FetchReason.PRIVATE_ADDRESS, f"{url}: {error.strerror}")
    reason, words = next(
        (reason, words) for kind, reason, words in _CLIENT_ERROR_REASONS if isinstance(error, kind)
    )
    return FetchError(reason, f"{url}: {words or error}")


# The first class that fits decides. None: the error's own words.
_CLIENT_ERROR_REASONS: tuple[tuple[type[Exception], FetchReason, str | None], ...] = (
    (TimeoutError, FetchReason.TIMEOUT, "no whole answer in time"),
    (aiohttp.InvalidURL, FetchReason.BAD_URL, None),
    (UnicodeError, FetchReason.BAD_URL, None),
    (aiohttp.ClientConnectorDNSError, FetchReason.UNKNOWN_HOST, "no address of that name"),
    (aiohttp.ClientSSLError, FetchReason.TLS, None),
    (aiohttp.ClientPayloadError, FetchReason.TRUNCATED, "the body ended too early"),
    (aiohttp.ClientConnectorError, FetchReason.CONNECTION, "no connection"),
    (
        aiohttp.ClientError,
        FetchReason.CONNECTION,
        "the connection broke before the answer, or the answer is not HTTP",
    ),
)
