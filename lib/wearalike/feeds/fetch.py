"""Fetch the files of feeds, several shops at a time, before they are read.

A feed comes at its server's pace, and may take all of its time limit. Reading one keeps a processor
busy. So one thread asks all shops, and yields each shop's files as soon as they are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import threading
import time
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from yarl import URL

from wearalike.feeds.errors import FeedReason
from wearalike.feeds.feed_faults import find_bad_feed
from wearalike.net import address_guard, http_client
from wearalike.settings import ShopSettings

# Feeds that are fetched at the same time.
MAX_FETCHES_AT_ONCE = 8
_CHARSET_PARAMETER = re.compile(r"""charset=["']?([\w.:-]+)""", re.IGNORECASE)
# An unfinished request is left behind after this time.
_STOP_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file of a feed as it came over the wire, or why it did not come.

    Attributes:
        path: The file.
        size_bytes: Its size.
        charset: HTTP's charset, if it named one.
        fault: Reason and detail of the BadFeed that the fetching ended with.
    """

    path: Path
    size_bytes: int = 0
    charset: str | None = None
    fault: tuple[FeedReason, str] | None = None


# The feed, then its supplements; the last one may have a fault.
FetchedFeed = Sequence[FetchedFile]


def fetch_feed(shop: ShopSettings, folder: Path) -> FetchedFeed:
    """Fetch the files of one shop's feed.

    Args:
        shop: The shop.
        folder: An existing folder that receives the files.
    """
    return asyncio.run(_fetch_files(shop, folder, _Turns([shop])))


def fetch_feeds(
    shops: Sequence[ShopSettings], folder: Path
) -> Generator[tuple[ShopSettings, FetchedFeed]]:
    """Yield each shop with its files, the first that came first.

    Closing the iterator ends what is still being fetched.

    Args:
        shops: The shops.
        folder: An existing folder that receives a folder for each shop.

    Raises:
        OSError: A file cannot be written.
    """
    done: queue.SimpleQueue[tuple[ShopSettings, FetchedFeed] | BaseException] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()

    async def fetch_one(shop: ShopSettings, turns: _Turns) -> None:
        own = folder / f"{shop.id}.{uuid.uuid4().hex}.fetched"
        try:
            own.mkdir()
            done.put((shop, await _fetch_files(shop, own, turns)))
        except Exception as error:  # noqa: BLE001 - raised again where the files are awaited
            done.put(error)

    async def fetch_all() -> None:
        turns = _Turns(shops)
        await asyncio.gather(*(fetch_one(shop, turns) for shop in shops))

    task = loop.create_task(fetch_all())

    def run_loop() -> None:
        with contextlib.closing(loop), contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run_loop, name="fetch_feeds", daemon=True)
    thread.start()
    try:
        for _ in shops:
            came = done.get()
            if isinstance(came, BaseException):
                raise came
            yield came
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(task.cancel)
        thread.join(_STOP_WAIT_S)


class _Turns:
    """Says when a file may be asked for: not too many at once, of all hosts and of each.

    Shops that share a host are asked as the strictest of their settings wants.
    """

    def __init__(self, shops: Sequence[ShopSettings]) -> None:
        self._slots = asyncio.Semaphore(MAX_FETCHES_AT_ONCE)
        limits: dict[str, tuple[int, float]] = {}
        for shop in shops:
            for host in {_find_host(a.get_secret_value()) for a in (shop.feed, *shop.supplements)}:
                most, least_s = limits.get(host, (MAX_FETCHES_AT_ONCE, 0.0))
                limits[host] = (
                    min(most, shop.max_connections_per_host),
                    max(least_s, shop.min_request_interval_s),
                )
        self._host_slots = {host: asyncio.Semaphore(most) for host, (most, _) in limits.items()}
        self._intervals_s = {host: least_s for host, (_, least_s) in limits.items()}
        self._next_at: dict[str, float] = {}

    async def fetch(self, shop: ShopSettings, address: str, path: Path) -> http_client.Response:
        """Fetch one file when it is its turn. Raises FetchError."""
        host = _find_host(address)
        # First the host's turn: who waits for it takes no place from others.
        async with self._host_slots[host]:
            now = time.monotonic()
            begins_at = max(now, self._next_at.get(host, now))
            self._next_at[host] = begins_at + self._intervals_s[host]
            await asyncio.sleep(begins_at - now)
            async with self._slots:
                return await http_client.fetch_file(
                    address,
                    path,
                    guard=address_guard.AddressGuard(shop.allowed_networks, shop.allowed_ports),
                    max_bytes=shop.max_feed_bytes,
                    policy=replace(
                        http_client.FEED_FETCH_POLICY,
                        contact=shop.contact,
                        keeps_cookies=shop.keeps_cookies,
                    ),
                )


def _find_host(address: str) -> str:
    """Return host and port of an address; the address itself where it has none."""
    try:
        return URL(address).authority.rpartition("@")[2] or address
    except ValueError:
        return address


async def _fetch_files(shop: ShopSettings, folder: Path, turns: _Turns) -> FetchedFeed:
    files: list[FetchedFile] = []
    for number, secret in enumerate((shop.feed, *shop.supplements)):
        path = folder / (f"supplement-{number}" if number else "feed")
        try:
            response = await turns.fetch(shop, secret.get_secret_value(), path)
        except Exception as error:  # noqa: BLE001 - the boundary of one feed
            bad = find_bad_feed(error, shop)
            return [*files, FetchedFile(path, fault=(bad.reason, bad.detail))]
        charset = _CHARSET_PARAMETER.search(response.headers.get("content-type", ""))
        files.append(FetchedFile(path, response.size_bytes, charset[1] if charset else None))
    return files
