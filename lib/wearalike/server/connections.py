"""Bound what clients may hold of the server by connections: their number, and their time.

uvicorn bounds idle keep-alive connections alone. Here a request's head and body must arrive in
time, an answer must be taken in time, and one client cannot hold every place. A full server closes
the connection that has waited longest for a request, of the client that has most.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from wearalike.server import clients

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

log = logging.getLogger(__name__)
MAX_CONNECTIONS = 1000
# Files that the server opens beside connections: tables, pipes of decoders, the warehouse.
RESERVED_FILES_COUNT = 130
MAX_OPEN_FILES = 65_536
_SWEEP_INTERVAL_S = 0.5
_LOG_INTERVAL_S = 60.0
_BUSY_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class ConnectionPhase(StrEnum):
    """The phases of a connection; each has a limit of time in PHASE_LIMITS_S but `answer`."""

    HEAD = "head"  # no request, or one whose headers are not complete
    BODY = "body"
    ANSWER = "answer"  # the server works, or has begun to answer


# A body of MAX_BODY_BYTES needs 4 Mbit/s.
PHASE_LIMITS_S = {ConnectionPhase.HEAD: 10.0, ConnectionPhase.BODY: 30.0}
# The client must take what was sent in this time.
UNSENT_LIMIT_S = 60.0


class ConnectionGuard:
    """Admit connections, and close those that exceed a limit; for one event loop.

    Args:
        max_connections: Most connections at a time.
        max_a_client: Most connections of one client.
        proxies: Addresses of proxies, whose connections are of many clients.
    """

    def __init__(
        self, max_connections: int, max_a_client: int, proxies: Collection[str] = ()
    ) -> None:
        self._max_connections = max_connections
        self._max_a_client = max_a_client
        self._proxies = clients.ProxyAddresses(proxies)
        self._open: dict[GuardedProtocol, None] = {}
        self._closed_counts: Counter[str] = Counter()
        self._logged_at_s = time.monotonic()
        self._sweeper: asyncio.TimerHandle | None = None

    def admit(self, connection: GuardedProtocol) -> None:
        """Count a new connection; close another, or this one, if there are too many."""
        client = connection.client_key
        mine = [one for one in self._open if one.client_key == client]
        rivals: list[GuardedProtocol] = []
        is_proxy = connection.client is not None and connection.client[0] in self._proxies
        if len(mine) >= self._max_a_client and not is_proxy:
            rivals = mine
        elif len(self._open) >= self._max_connections:
            counts = Counter(one.client_key for one in self._open)
            largest = counts.most_common(1)[0][0]
            rivals = [one for one in self._open if one.client_key == largest]
        self._open[connection] = None
        if rivals:
            waiting = [one for one in rivals if one.phase is ConnectionPhase.HEAD]
            if waiting:
                self._cut(min(waiting, key=lambda one: one.phase_began_s), "too many")
            else:
                self._closed_counts["refused"] += 1
                connection.transport.write(_BUSY_RESPONSE)
                connection.transport.close()
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(_SWEEP_INTERVAL_S, self._sweep)

    def forget(self, connection: GuardedProtocol) -> None:
        """Count a connection no longer."""
        self._open.pop(connection, None)

    def _sweep(self) -> None:
        """Close the connections that are too slow, and come again while there are any."""
        now_s = time.monotonic()
        for connection in list(self._open):
            reason = connection.find_exceeded_limit(now_s)
            if reason:
                self._cut(connection, reason)
        if self._closed_counts and now_s - self._logged_at_s >= _LOG_INTERVAL_S:
            closed = ", ".join(f"{name} {count}" for name, count in self._closed_counts.items())
            log.warning("connections closed by limits: %s", closed)
            self._closed_counts.clear()
            self._logged_at_s = now_s
        loop = asyncio.get_running_loop()
        has_more = self._open or self._closed_counts
        self._sweeper = loop.call_later(_SWEEP_INTERVAL_S, self._sweep) if has_more else None

    def _cut(self, connection: GuardedProtocol, reason: str) -> None:
        self._closed_counts[reason] += 1
        self._open.pop(connection, None)
        connection.transport.abort()


class GuardedProtocol(H11Protocol):
    """A connection of uvicorn that a guard watches.

    h11 bounds the bytes of a request's head; uvicorn's other parser does not.

    Attributes:
        client_key: The client; see `clients.client_key`.
        phase_began_s: When the present phase was first seen, on the monotonic clock.
    """

    guard: ConnectionGuard

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.client_key = "unknown"
        self.phase_began_s = time.monotonic()
        self._seen_phase = ConnectionPhase.HEAD
        self._seen_cycle: object = None
        self._unsent_since_s: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, if the guard admits it."""
        super().connection_made(transport)
        if self.client:
            self.client_key = clients.client_key(self.client[0])
        self.guard.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self.guard.forget(self)
        super().connection_lost(exc)

    @property
    def phase(self) -> ConnectionPhase:
        """The present phase."""
        if self.cycle is None or self.cycle.response_complete:
            return ConnectionPhase.HEAD
        return ConnectionPhase.BODY if self.cycle.more_body else ConnectionPhase.ANSWER

    def find_exceeded_limit(self, now_s: float) -> str | None:
        """Return the name of the limit of time that the connection exceeds; None for none.

        Args:
            now_s: The time on the monotonic clock.
        """
        phase = self.phase
        if phase is not self._seen_phase or self.cycle is not self._seen_cycle:
            self._seen_phase, self._seen_cycle = phase, self.cycle
            self.phase_began_s = now_s
        if not self.transport.get_write_buffer_size():
            self._unsent_since_s = None
        elif self._unsent_since_s is None:
            self._unsent_since_s = now_s
        elif now_s - self._unsent_since_s > UNSENT_LIMIT_S:
            return "answer not taken"
        limit_s = PHASE_LIMITS_S.get(phase)
        return f"slow {phase}" if limit_s and now_s - self.phase_began_s > limit_s else None


def build_protocol(max_a_client: int, proxies: Collection[str]) -> type[GuardedProtocol]:
    """Return a protocol for uvicorn whose connections share one guard.

    The process may open as many files as its hard limit allows, and takes as many connections as
    these leave, MAX_CONNECTIONS at most.

    Args:
        max_a_client: Most connections of one client.
        proxies: Addresses or networks of proxies, whose connections are of many clients.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    max_connections = max(1, min(MAX_CONNECTIONS, wanted - RESERVED_FILES_COUNT))
    watching = ConnectionGuard(max_connections, min(max_a_client, max_connections), proxies)

    class SharedGuardProtocol(GuardedProtocol):
        guard = watching

    return SharedGuardProtocol
