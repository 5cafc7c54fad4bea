"""Download images: each address once a run, at the shop's pace, stored by content.

`ledger` remembers every answer. `image_tables` turns the answers into the tables of a run.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.imaging import decode, image_tables, ledger, sandbox
from wearalike.net import address_guard, http_client
from wearalike.settings import ShopSettings
from wearalike.storage import atomic, content_cache

log = logging.getLogger("wearalike.download_images")

# The ledger is written after so many answers or seconds: a killed job repeats at most these.
_FLUSH_ROWS = 500
_FLUSH_INTERVAL_S = 10.0
# Most coroutines of a shop that each wait for one answer.
_MAX_WORKERS = 64
# Rows of the ledger that are Python objects at once.
_TODO_BATCH_ROWS = 1000
# Photos of a shop are rarely larger. Larger ones are asked for again, by so many workers of all
# shops at a time: memory does not grow with the shops by the size of their largest images.
SMALL_IMAGE_BYTES = 4 << 20
MAX_LARGE_IMAGES_AT_ONCE = 8
# A JPEG decoded this small is still read to its last byte, at half the cost.
_CHECK_SIDE_PX = 32


# If our own code fails over more images of a shop, the night ends; so many tracebacks are logged.
MAX_UNEXPECTED_IMAGES = 100
MAX_LOGGED_TRACEBACKS = 3
# Formats that we decode, and others with so little weight that a server sends them only if it has
# nothing else. Formats that take long to decode come after the others.
_WEIGHT_BY_FORMAT = {"AVIF": ";q=0.9"}
ACCEPTED_TYPES = ",".join(
    [f"image/{name.lower()}{_WEIGHT_BY_FORMAT.get(name, '')}" for name in decode.ALLOWED_FORMATS]
    + ["*/*;q=0.1"]
)


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """How patiently images are downloaded, and which of them are placeholders.

    Attributes:
        max_groups_per_image: An image shared by more groups of a shop shows no product.
        attempts: As max_attempts of http_client.FetchPolicy.
        timeout_s: As timeout_s of http_client.FetchPolicy, in seconds.
        max_outage_s: As that of host_throttle.OutagePolicy, in seconds.
    """

    max_groups_per_image: int = 20
    attempts: int = http_client.DEFAULT_FETCH_POLICY.max_attempts
    timeout_s: float = http_client.DEFAULT_FETCH_POLICY.timeout_s
    max_outage_s: float = http_client.DEFAULT_FETCH_POLICY.outages.max_outage_s


class TooManyUnexpected(ValueError):
    """Our own code failed over more images than a night can bear."""


def download_images(
    root: Path,
    run: str,
    pending_by_shop: Mapping[ShopSettings, pa.Table],
    policy: DownloadPolicy,
    on_progress: Callable[[int], None],
) -> Counter[str]:
    """Request every pending address of every shop, and fill image files and ledgers meanwhile.

    Memory holds an image of SMALL_IMAGE_BYTES for each request in flight, and a few larger ones.

    Args:
        root: The data directory.
        run: The run that requests.
        pending_by_shop: For each shop its `ledger.pending_downloads`.
        policy: Attempts and time-outs.
        on_progress: Receives the number of addresses that were just answered.

    Returns:
        How many addresses were "fetched", "unchanged", "refused", and "kept" as they were because
        their host is away.

    Raises:
        TooManyUnexpected: Our own code failed over too many images.
    """

    async def download_all() -> list[Counter[str]]:
        large_slots = asyncio.Semaphore(MAX_LARGE_IMAGES_AT_ONCE)
        with ThreadPoolExecutor() as pool, sandbox.DecoderPool() as decoders:
            downloads = [
                _ShopDownloader(root, run, shop, pool, decoders, large_slots, on_progress).download(
                    rows, policy
                )
                for shop, rows in pending_by_shop.items()
            ]
            return await asyncio.gather(*downloads)

    return sum(asyncio.run(download_all()), Counter())


class _ShopDownloader:
    """Downloads the pending images of one shop."""

    def __init__(
        self,
        root: Path,
        run: str,
        shop: ShopSettings,
        pool: Executor,
        decoders: sandbox.DecoderPool,
        large_slots: asyncio.Semaphore,
        on_progress: Callable[[int], None],
    ) -> None:
        self._root = root
        self._large_slots = large_slots
        self._run = run
        self._shop = shop
        self._pool = pool
        self._decoders = decoders
        self._on_progress = on_progress
        self._unsaved_rows: list[dict[str, Any]] = []
        self._flushed_at_s = time.monotonic()
        self._counts: Counter[str] = Counter()

    async def download(self, rows: pa.Table, policy: DownloadPolicy) -> Counter[str]:
        """Request the addresses of `rows` and return the counts of `download_images`."""
        shop = self._shop
        batches = rows.to_batches(max_chunksize=_TODO_BATCH_ROWS)
        pending_rows = (row for batch in batches for row in batch.to_pylist())
        guard = address_guard.AddressGuard(shop.allowed_networks, shop.allowed_ports)
        fetch_policy = http_client.FetchPolicy(
            shop.max_connections_per_host,
            shop.min_request_interval_s,
            policy.attempts,
            policy.timeout_s,
            policy.timeout_s,
            outages=replace(
                http_client.DEFAULT_FETCH_POLICY.outages, max_outage_s=policy.max_outage_s
            ),
            contact=shop.contact,
            keeps_cookies=shop.keeps_cookies,
        )
        workers = min(
            max(_MAX_WORKERS, shop.max_connections_per_host),
            shop.max_connections_per_host * _count_hosts(rows["url"]),
        )
        async with http_client.Client(guard, fetch_policy) as client:
            await asyncio.gather(*(self._run_worker(client, pending_rows) for _ in range(workers)))
        await self._flush_ledger()
        return self._counts

    async def _run_worker(
        self, client: http_client.Client, pending_rows: Iterator[dict[str, Any]]
    ) -> None:
        """Take rows from the iterator all workers share until it is empty."""
        for row in pending_rows:
            answer = await self._download_one(client, row)
            self._unsaved_rows.append(
                {"url": row["url"], "run": self._run, "checked_at": datetime.now(UTC), **answer}
            )
            self._on_progress(1)
            is_late = time.monotonic() - self._flushed_at_s > _FLUSH_INTERVAL_S
            if is_late or len(self._unsaved_rows) >= _FLUSH_ROWS:
                await self._flush_ledger()

    async def _download_one(
        self, client: http_client.Client, ledger_row: dict[str, Any]
    ) -> dict[str, Any]:
        """Request one address; return its reusable ledger columns."""
        try:
            return await self._request_image(client, ledger_row)
        except (OSError, MemoryError):
            raise  # of this machine, not of the image
        except Exception as error:  # noqa: BLE001 - the boundary of one image
            return self._refuse_unexpected(ledger_row["url"], error)

    def _refuse_unexpected(self, url: str, error: Exception) -> dict[str, Any]:
        """Return the ledger columns of an image over which our own code fails.

        Raise TooManyUnexpected if that has happened too often.
        """
        self._counts["unexpected"] += 1
        count = self._counts["unexpected"]
        url = address_guard.redact_url(url)
        detail = address_guard.redact_url(f"{type(error).__name__}: {error}")[:300]
        if count <= MAX_LOGGED_TRACEBACKS:
            log.error("%s: image %s: unexpected", self._shop.id, url, exc_info=error)
        if count > MAX_UNEXPECTED_IMAGES:
            raise TooManyUnexpected(
                f"shop {self._shop.id}: {count} images failed unexpectedly, the last {url}: "
                f"{detail}; the fault is not theirs, see the tracebacks above"
            ) from error
        return {"reason": str(image_tables.ImageReason.UNEXPECTED), "detail": detail}

    def _is_kept(self, ledger_row: dict[str, Any]) -> bool:
        """Return True if the file of an address's last image is there."""
        image_id = ledger_row["image_id"]
        return bool(image_id) and content_cache.image_size_bytes(self._root, image_id) is not None

    async def _request_image(
        self, client: http_client.Client, ledger_row: dict[str, Any]
    ) -> dict[str, Any]:
        """Request one address; return its reusable ledger columns.

        While a host is away, the image that it sent before goes on being used.
        """
        headers = {
            "Accept": ACCEPTED_TYPES,
            "If-None-Match": ledger_row["etag"],
            "If-Modified-Since": ledger_row["last_modified"],
        }
        headers = {k: v for k, v in headers.items() if v and http_client.is_header_value(v)}
        try:
            answer = await self._fetch_and_store(client, ledger_row["url"], headers)
            if answer is None:
                self._counts["unchanged"] += 1
                return {name: ledger_row[name] for name in ledger.REUSABLE_COLUMNS}
            response_headers, image = answer
        except (http_client.FetchError, decode.BadPixels) as error:
            is_outage = isinstance(error, http_client.FetchError) and error.is_outage
            if is_outage and self._is_kept(ledger_row):
                self._counts["kept"] += 1
                return {name: ledger_row[name] for name in ledger.REUSABLE_COLUMNS}
            self._counts["refused"] += 1
            return {"reason": error.reason, "detail": error.detail}
        self._counts["fetched"] += 1
        return {
            "etag": response_headers.get("etag"),
            "last_modified": response_headers.get("last-modified"),
            **image,
        }

    async def _fetch_and_store(
        self, client: http_client.Client, url: str, headers: Mapping[str, str]
    ) -> tuple[Mapping[str, str], dict[str, Any]] | None:
        """Request an image and store it.

        Returns:
            The answer's headers and the columns of `cache_image`; None if it has not changed.
        """
        most = self._shop.max_image_bytes
        try:
            return await self._fetch_up_to(client, url, headers, min(most, SMALL_IMAGE_BYTES))
        except http_client.FetchError as error:
            is_larger = error.reason is http_client.FetchReason.TOO_LARGE
            if not is_larger or most <= SMALL_IMAGE_BYTES:
                raise
        async with self._large_slots:
            return await self._fetch_up_to(client, url, headers, most)

    async def _fetch_up_to(
        self, client: http_client.Client, url: str, headers: Mapping[str, str], max_bytes: int
    ) -> tuple[Mapping[str, str], dict[str, Any]] | None:
        response = await client.fetch(url, max_bytes, headers=headers)
        if response.status == 304:
            return None
        image = await asyncio.get_running_loop().run_in_executor(
            self._pool, cache_image, self._root, response.content, self._decoders
        )
        return response.headers, image

    async def _flush_ledger(self) -> None:
        """Write the unsaved rows; the files of their images are already on disk."""
        table = pa.Table.from_pylist(self._unsaved_rows, ledger.LEDGER_SCHEMA)
        # Before the await, so that no other worker writes the same rows again.
        self._unsaved_rows = []
        self._flushed_at_s = time.monotonic()
        await asyncio.get_running_loop().run_in_executor(self._pool, self._keep_rows, table)

    def _keep_rows(self, rows: pa.Table) -> None:
        """Append rows to the ledger once the store of the data folder holds their images."""
        content_cache.keep_images(self._root, rows["image_id"].drop_null().to_pylist())
        ledger.append_to_ledger(self._root, self._shop.id, rows)


def cache_image(root: Path, content: bytes, decoders: sandbox.DecoderPool) -> dict[str, Any]:
    """Store the bytes of an image that decodes to its end.

    Args:
        root: The data directory.
        content: The bytes a server sent.
        decoders: Processes that try a new image; an image stored before is not tried again.

    Returns:
        The ledger columns image_id (sha256), format, width_px, height_px and bytes.

    Raises:
        BadPixels: The bytes are no image we accept.
    """
    complete = decode.complete_jpeg(content)
    image_id = hashlib.sha256(complete).hexdigest()
    path = content_cache.image_path(root, image_id)
    if content_cache.is_stored_image(root, image_id):
        header = decode.read_header(complete)
    else:
        # The bytes as they came: a JPEG that was cut off must not be completed.
        header = decoders.check_image(content, _CHECK_SIDE_PX)
        atomic.write_bytes(path, complete, sync_folder=False)
    return {
        "image_id": image_id,
        "format": header.format,
        "width_px": header.width_px,
        "height_px": header.height_px,
        "bytes": len(complete),
    }


def _count_hosts(urls: pa.ChunkedArray) -> int:
    """Return the number of distinct scheme and host pairs."""
    hosts = pc.replace_substring_regex(urls, r"^(\w+://[^/?#]*).*$", r"\1")
    return pc.count_distinct(hosts).as_py()
