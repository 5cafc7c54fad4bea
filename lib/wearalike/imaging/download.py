"""Products to images: every picture address asked once a run, politely, and kept by content.

The ledger, cache/downloads/<shop_id>, has a row for every time an address was asked: what the server said about it and
which picture came. It lets a killed job go on where it was, and a later night ask only for what changed. A picture's
file is on disk before the row that names it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.imaging import decode, sandbox
from wearalike.net import address_guard, http_client
from wearalike.settings import ShopSettings
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, REFUSED

CACHE_KIND = "downloads"
IMAGE_SOURCE_COLUMNS = ["product_id", "shop_id", "group_id", "image_urls"]
LEDGER_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("run", pa.string()),
        ("checked_at", pa.timestamp("us", "UTC")),
        ("etag", pa.string()),
        ("last_modified", pa.string()),
        ("image_id", pa.string()),
        ("format", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("bytes", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
# What holds for a picture as long as the server says that it has not changed.
_REUSABLE_COLUMNS = [f.name for f in LEDGER_SCHEMA if f.name not in ("url", "run", "checked_at")]
_IMAGE_URLS_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("position", pa.int32()),
        ("image_url", pa.string()),
        ("shop_id", pa.string()),
        ("group", pa.string()),
    ]
)
_FLUSH_ROWS, _FLUSH_INTERVAL_S, _MIN_PARTS_TO_COMPACT = 500, 10.0, 64
_MAX_WORKERS = 64
# Decoding so coarsely still reads every byte of a JPEG, at half the cost.
_CHECK_SIDE_PX = 32


class ImageReason(StrEnum):
    """Why a picture that was fetched is refused; others come from http_client.FetchReason and pixels.PixelReason."""

    PLACEHOLDER = "placeholder"


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """placeholder_groups: a picture that more groups of one shop than this share is no picture of a product.

    attempts, timeout_s: as in http_client.FetchPolicy.
    """

    max_groups_per_image: int = 20
    attempts: int = http_client.DEFAULT_FETCH_POLICY.max_attempts
    timeout_s: float = http_client.DEFAULT_FETCH_POLICY.timeout_s


def explode_image_urls(products: pa.Table) -> pa.Table:
    """One row a picture of a product: product_id, position (from 0), image_url, shop_id, group.

    products: PRODUCT_COLUMNS of tables.PRODUCTS. group is what tells models apart inside a shop: the group_id, else the product_id.
    """
    return pa.Table.from_batches(
        map(_explode_batch, products.select(IMAGE_SOURCE_COLUMNS).to_batches()), _IMAGE_URLS_SCHEMA
    )


def _explode_batch(products: pa.RecordBatch) -> pa.RecordBatch:
    urls = products["image_urls"]
    owner, counts = pc.list_parent_indices(urls), pc.list_value_length(urls).to_numpy()
    position = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    group = pc.if_else(
        pc.is_valid(products["group_id"]),
        pc.binary_join_element_wise("group", products["group_id"], ":"),
        pc.binary_join_element_wise("product", products["product_id"], ":"),
    )
    columns = [
        products["product_id"].take(owner),
        pa.array(position, pa.int32()),
        pc.list_flatten(urls),
    ]
    return pa.record_batch(
        [*columns, products["shop_id"].take(owner), group.take(owner)], schema=_IMAGE_URLS_SCHEMA
    )


def read_ledger(root: Path, shop_id: str, run: str | None = None) -> pa.Table:
    """LEDGER, one row an address: what was last seen there, in `run` if it was asked in that one."""
    return _newest_rows(run_tables.read_cached(root, CACHE_KIND, shop_id, LEDGER_SCHEMA), run)


def _newest_rows(rows: pa.Table, run: str | None) -> pa.Table:
    is_run = pc.equal(rows["run"], pa.scalar(run, pa.string()))
    rows = rows.append_column("is_run", pc.fill_null(is_run, False)).sort_by(
        [("is_run", "ascending"), ("checked_at", "ascending")]
    )
    last = (
        rows.select(["url"])
        .append_column("row", pa.array(np.arange(rows.num_rows)))
        .group_by("url")
        .aggregate([("row", "max")])
    )
    return rows.take(last["row_max"]).select(LEDGER_SCHEMA.names)


def pending_downloads(
    root: Path, run: str, urls: pa.ChunkedArray, ledger_rows: pa.Table, force: bool = False
) -> pa.Table:
    """LEDGER rows of the addresses that this run has still to ask, with what is known of them, null where nothing is.

    An address is asked again in the same run only if the file it gave is lost, or with `redo`. Only a row with etag or
    last_modified may be asked conditionally: its file is there.
    """
    rows = ledger_rows.take(pc.index_in(urls, ledger_rows["url"].combine_chunks()))
    rows = rows.set_column(0, "url", urls)
    ids = pc.unique(rows["image_id"]).drop_null().to_pylist()
    there = pc.is_in(
        rows["image_id"],
        pa.array([i for i in ids if run_tables.image_path(root, i).exists()], pa.string()),
    )
    for column in ("etag", "last_modified"):
        values = pc.if_else(pc.and_(there, not force), rows[column], pa.scalar(None, pa.string()))
        rows = rows.set_column(LEDGER_SCHEMA.get_field_index(column), column, values)
    is_done = pc.and_(pc.equal(rows["run"], run), pc.or_(there, pc.is_null(rows["image_id"])))
    return rows if force else rows.filter(pc.invert(pc.fill_null(is_done, False)))


def download_images(
    root: Path,
    run: str,
    pending_by_shop: Mapping[ShopSettings, pa.Table],
    policy: DownloadPolicy,
    on_progress: Callable[[int], None],
) -> Counter[str]:
    """Asks every address of `left_to_ask` of every shop, files and ledger filled as it goes, and counts what came:
    fetched, unchanged, refused. `tell` hears how many are done. Memory holds one picture a request in flight."""

    async def all_shops() -> list[Counter[str]]:
        with ThreadPoolExecutor() as pool, sandbox.DecoderPool() as decoders:
            askings = [
                _ShopDownloader(root, run, shop, pool, decoders, on_progress).download(rows, policy)
                for shop, rows in pending_by_shop.items()
            ]
            return await asyncio.gather(*askings)

    return sum(asyncio.run(all_shops()), Counter())


class _ShopDownloader:
    """One shop's pictures being asked for."""

    def __init__(
        self,
        root: Path,
        run: str,
        shop: ShopSettings,
        pool: Executor,
        decoders: sandbox.DecoderPool,
        on_progress: Callable[[int], None],
    ) -> None:
        self._root, self._run, self._shop, self._pool, self._on_progress = (
            root,
            run,
            shop,
            pool,
            on_progress,
        )
        self._decoders = decoders
        self._unsaved_rows: list[dict[str, Any]] = []
        self._flushed_at_s = time.monotonic()
        self._counts: Counter[str] = Counter()

    async def download(self, rows: pa.Table, policy: DownloadPolicy) -> Counter[str]:
        shop, todo = (
            self._shop,
            (row for batch in rows.to_batches(max_chunksize=1000) for row in batch.to_pylist()),
        )
        manners = http_client.FetchPolicy(
            shop.max_connections_per_host,
            shop.min_request_interval_s,
            policy.attempts,
            policy.timeout_s,
            policy.timeout_s,
        )
        async with http_client.Client(
            address_guard.AddressGuard(shop.allowed_networks, shop.allowed_ports), manners
        ) as client:
            workers = min(
                max(_MAX_WORKERS, shop.max_connections_per_host),
                shop.max_connections_per_host * _count_hosts(rows["url"]),
            )
            await asyncio.gather(*(self._run_worker(client, todo) for _ in range(workers)))
        await self._flush_ledger()
        return self._counts

    async def _run_worker(
        self, client: http_client.Client, pending_rows: Iterator[dict[str, Any]]
    ) -> None:
        for last in pending_rows:
            seen = await self._download_one(client, last)
            self._unsaved_rows.append(
                {"url": last["url"], "run": self._run, "checked_at": datetime.now(UTC), **seen}
            )
            self._on_progress(1)
            if (
                len(self._unsaved_rows) >= _FLUSH_ROWS
                or time.monotonic() - self._flushed_at_s > _FLUSH_INTERVAL_S
            ):
                await self._flush_ledger()

    async def _download_one(
        self, client: http_client.Client, ledger_row: dict[str, Any]
    ) -> dict[str, Any]:
        """The lasting columns of one address."""
        headers = {
            "If-None-Match": ledger_row["etag"],
            "If-Modified-Since": ledger_row["last_modified"],
        }
        try:
            answer = await client.fetch(
                ledger_row["url"],
                self._shop.max_image_bytes,
                headers={k: v for k, v in headers.items() if v},
            )
            if answer.status == 304:
                self._counts["unchanged"] += 1
                return {name: ledger_row[name] for name in _REUSABLE_COLUMNS}
            kept = await asyncio.get_running_loop().run_in_executor(
                self._pool, cache_image, self._root, answer.content, self._decoders
            )
        except (http_client.FetchError, decode.BadPixels) as error:
            self._counts["refused"] += 1
            return {"reason": error.reason, "detail": error.detail}
        self._counts["fetched"] += 1
        return {
            "etag": answer.headers.get("etag"),
            "last_modified": answer.headers.get("last-modified"),
            **kept,
        }

    async def _flush_ledger(self) -> None:
        rows, self._unsaved_rows, self._flushed_at_s = self._unsaved_rows, [], time.monotonic()
        table = pa.Table.from_pylist(rows, LEDGER_SCHEMA)
        await asyncio.get_running_loop().run_in_executor(
            self._pool, run_tables.cache_rows, self._root, CACHE_KIND, self._shop.id, table
        )


def cache_image(root: Path, content: bytes, decoders: sandbox.DecoderPool) -> dict[str, Any]:
    """Keeps the bytes of a picture that can be decoded to its end, and says what it is. Raises pixels.BadPixels."""
    image_id = hashlib.sha256(content).hexdigest()
    header, path = decode.read_header(content), run_tables.image_path(root, image_id)
    if not path.exists():
        decoders.check_image(content, _CHECK_SIDE_PX)
        run_tables.write_atomic(path, content)
    size = {"width_px": header.width_px, "height_px": header.height_px, "bytes": len(content)}
    return {"image_id": image_id, "format": header.format, **size}


def _count_hosts(urls: pa.ChunkedArray) -> int:
    return pc.count_distinct(
        pc.replace_substring_regex(urls, r"^(\w+://[^/?#]*).*$", r"\1")
    ).as_py()


def build_tables(
    image_urls: pa.Table, ledger_by_shop: Mapping[str, pa.Table], policy: DownloadPolicy
) -> tuple[pa.Table, pa.Table]:
    """Rows of tables.IMAGES by (product_id, position), and of tables.REFUSED: each of `wanted` is in one of them.

    known: by shop, the `ledger` of this run. Raises ValueError for an address that was not asked.
    """
    taken, refused = [IMAGES.arrow_schema.empty_table()], [REFUSED.arrow_schema.empty_table()]
    for shop_id, rows in ledger_by_shop.items():
        mine = image_urls.filter(pc.equal(image_urls["shop_id"], shop_id))
        found = rows.take(pc.index_in(mine["image_url"], rows["url"].combine_chunks()))
        if missing := found["url"].null_count:
            raise ValueError(
                f"shop {shop_id}: {missing} of {mine.num_rows} pictures were never asked for"
            )
        for column in ("image_id", "format", "width_px", "height_px", "bytes", "reason", "detail"):
            mine = mine.append_column(column, found[column])
        mine = _mark_placeholders(mine, policy.max_groups_per_image)
        is_taken = pc.is_null(mine["reason"])
        taken.append(mine.filter(is_taken).select(IMAGES.column_names).cast(IMAGES.arrow_schema))
        refused.append(_refused_rows(mine.filter(pc.invert(is_taken))))
    order = [("product_id", "ascending"), ("position", "ascending")]
    return pa.concat_tables(taken).sort_by(order), pa.concat_tables(refused).sort_by("key")


def _mark_placeholders(rows: pa.Table, max_groups: int) -> pa.Table:
    """The rows, those whose picture more groups share given a reason."""
    shared = rows.group_by("image_id").aggregate([("group", "count_distinct")])
    shared = shared.filter(
        pc.and_(
            pc.is_valid(shared["image_id"]), pc.greater(shared["group_count_distinct"], max_groups)
        )
    )
    is_shared = pc.is_in(rows["image_id"], shared["image_id"].combine_chunks())
    detail = f"more than {max_groups} groups of the shop show this picture"
    for column, value in (("reason", ImageReason.PLACEHOLDER), ("detail", detail)):
        values = pc.if_else(is_shared, pa.scalar(str(value)), rows[column])
        rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    return rows


def _refused_rows(rows: pa.Table) -> pa.Table:
    key = pc.binary_join_element_wise(rows["product_id"], rows["position"].cast(pa.string()), "#")
    columns = {"stage": IMAGES.name, "kind": "image"}
    made = {name: pa.array([value] * rows.num_rows, pa.string()) for name, value in columns.items()}
    made |= {
        "key": key,
        "shop_id": rows["shop_id"],
        "reason": rows["reason"],
        "detail": rows["detail"],
    }
    return pa.table(made).select(REFUSED.column_names).cast(REFUSED.arrow_schema)


def compact_ledger(root: Path, shop_id: str) -> None:
    """Makes one part of a ledger that has become many, keeping the newest row of every address. Call with nobody else at it."""
    folder = root / "cache" / CACHE_KIND / shop_id
    parts = set(folder.glob("[!.]*.parquet"))
    if len(parts) < _MIN_PARTS_TO_COMPACT:
        return
    run_tables.cache_rows(root, CACHE_KIND, shop_id, read_ledger(root, shop_id).sort_by("url"))
    if set(folder.glob("[!.]*.parquet")) - parts:
        for part in parts:
            part.unlink(missing_ok=True)
