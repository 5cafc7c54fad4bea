"""A bounded queue for costly work, in which clients take turns."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException

RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The limits of a queue.

    Attributes:
        noun: Name of what is queued, in the plural, for messages.
        max_pending: Places, those at work included.
        max_pending_a_client: Places that one client may hold.
        max_running: How many are at work at a time.
        wait_s: How long one waits for its turn.
    """

    noun: str
    max_pending: int
    max_pending_a_client: int
    max_running: int
    wait_s: float


class FairQueue:
    """Bound how much is pending and at work, in one event loop.

    A free slot goes to the client that has waited for one longest since its last turn.

    Args:
        limits: The limits.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._pending: Counter[str] = Counter()
        self._running_count = 0
        # Clients in the order of their turns, each with those that wait.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def reserve_place(self, client: str) -> AsyncIterator[None]:
        """Hold a place in the queue for the duration of the block.

        Args:
            client: Who holds it.

        Raises:
            HTTPException: 503; the queue is full, or the client has as many places as it may.
        """
        limits = self._limits
        if self._pending[client] >= limits.max_pending_a_client:
            raise _busy_error(f"{limits.max_pending_a_client} of your {limits.noun} are pending")
        if self._pending.total() >= limits.max_pending:
            raise _busy_error(f"{limits.max_pending} {limits.noun} are pending")
        self._pending[client] += 1
        try:
            yield
        finally:
            self._pending[client] -= 1
            if not self._pending[client]:
                del self._pending[client]

    @asynccontextmanager
    async def wait_for_turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a free slot and hold it for the duration of the block.

        Args:
            client: Who waits.

        Raises:
            HTTPException: 503; no slot became free in time.
        """
        if self._running_count < self._limits.max_running:
            self._running_count += 1
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, client: str) -> None:
        """Wait until `_release` hands over a slot. Raise HTTPException."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release()  # it was handed over at the last moment
            else:
                self._forget(client, turn)
            if isinstance(error, TimeoutError):
                noun, wait_s = self._limits.noun, self._limits.wait_s
                raise _busy_error(f"no turn for your {noun} in {wait_s:.0f} s") from None
            raise

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        """Remove one that does not wait any more."""
        turns = self._waiting.get(client, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[client]

    def _release(self) -> None:
        """Hand a slot to the next client, or set it free."""
        while self._waiting:
            client, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._running_count -= 1


def _busy_error(reason: str) -> HTTPException:
    detail = f"{reason}; try again in a moment"
    return HTTPException(503, detail, {"Retry-After": str(RETRY_AFTER_S)})
