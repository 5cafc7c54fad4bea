"""Ask one host politely, and give up on it for a run when it is away.

A host that hangs or fails would cost its time-out for every picture: 13,000 of them are 55 hours.
After some failures in a row the host is left alone for a while; then one request tries it. The time
lost in this way is bounded, and beyond the bound nothing more is asked of the host in this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass


class HostGivenUp(Exception):
    """A host has failed too long in this run; it is not asked again."""


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """When a host is left alone, and when it is given up.

    Attributes:
        failures_in_row: So many failures in a row leave the host alone for a while.
        pause_s: The first such pause, doubled each time until the host answers, seconds.
        max_outage_s: Time that the host may fail or ask to wait in a run, seconds. Beyond it the
            host is given up.
    """

    failures_in_row: int = 10
    pause_s: float = 15.0
    max_outage_s: float = 600.0


DEFAULT_OUTAGE_POLICY = OutagePolicy()


class HostThrottle:
    """The connection slots of one host, the time of its next request, and its outages.

    Call `wait_for_turn` with a slot held, then `note_answer` or `note_failure` once.
    """

    def __init__(
        self, max_connections: int, min_interval_s: float, outage_policy: OutagePolicy
    ) -> None:
        """Make the throttle of a host that was not asked yet.

        Args:
            max_connections: Requests at the same time.
            min_interval_s: Least time between the starts of two requests, seconds.
            outage_policy: When the host is left alone or given up.
        """
        self.slots = asyncio.Semaphore(max_connections)
        self._min_interval_s = min_interval_s
        self._policy = outage_policy
        self._next_request_at = 0.0
        self._failures_in_row = 0
        self._pause_s = outage_policy.pause_s
        # Outages so far, and the time up to which they are counted.
        self._outage_s = 0.0
        self._counted_until = 0.0
        self._is_given_up = False
        # While the host is left alone, one request at a time tries it.
        self._is_open = False
        self._is_tried = False
        self._changed = asyncio.Event()

    async def wait_for_turn(self) -> bool:
        """Wait until this host may be asked.

        Returns:
            True if this request tries a host that is left alone.

        Raises:
            HostGivenUp: The host is not asked any more.
        """
        while True:
            if self._is_given_up:
                raise HostGivenUp
            wait_s = self._next_request_at - time.monotonic()
            if wait_s > 0:
                # A host that is given up meanwhile is waited for no longer.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
            elif self._is_open and self._is_tried:
                await self._changed.wait()
            else:
                break
        self._is_tried = self._is_open
        self._next_request_at = time.monotonic() + self._min_interval_s
        return self._is_open

    def note_answer(self) -> None:
        """Remember that the host has answered, whatever it said."""
        self._failures_in_row = 0
        self._pause_s = self._policy.pause_s
        self._is_open = self._is_tried = False
        self._notify()

    def note_failure(self, started_at: float, is_trial: bool) -> None:
        """Remember that the host has not answered, or only that it cannot.

        Args:
            started_at: When the request started, as time.monotonic tells it.
            is_trial: As `wait_for_turn` returned it.
        """
        now = time.monotonic()
        failing_since = self._counted_until if self._failures_in_row else started_at
        self._count_outage(max(failing_since, self._counted_until), now)
        self._failures_in_row += 1
        is_first = not self._is_open and self._failures_in_row >= self._policy.failures_in_row
        if is_first or is_trial:
            self._is_open = True
            self._is_tried = False
            self.pause(self._pause_s)
            self._pause_s *= 2
        self._notify()

    def release_trial(self, is_trial: bool) -> None:
        """Let another request try the host; this one ended without an answer or a failure."""
        if is_trial:
            self._is_tried = False
            self._notify()

    def pause(self, wait_s: float) -> None:
        """Ask this host nothing for some seconds; give it up if that is longer than it may fail."""
        now = time.monotonic()
        until = max(self._next_request_at, now + min(wait_s, self._policy.max_outage_s))
        self._count_outage(max(self._counted_until, now), until)
        self._next_request_at = now if self._is_given_up else until

    def _count_outage(self, start: float, end: float) -> None:
        """Add the time from `start` to `end` to the outages."""
        self._outage_s += max(0.0, end - start)
        self._counted_until = max(self._counted_until, end)
        if self._outage_s >= self._policy.max_outage_s:
            self._is_given_up = True

    def _notify(self) -> None:
        """Wake the requests that wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()
