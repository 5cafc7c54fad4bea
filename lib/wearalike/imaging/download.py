"""Products to images: every picture address asked once a run, politely, and kept by content.

The ledger, kept/fetched/<shop_id>, has a row for every time an address was asked: what the server said about it and
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
from wearalike.settings import Shop
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, REFUSED

KIND = "fetched"
PRODUCT_COLUMNS = ["product_id", "shop_id", "group_id", "image_urls"]
LEDGER = pa.schema(
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
_LASTING = [f.name for f in LEDGER if f.name not in ("url", "run", "checked_at")]
_WANTED = pa.schema(
    [
        ("product_id", pa.string()),
        ("position", pa.int32()),
        ("image_url", pa.string()),
        ("shop_id", pa.string()),
        ("group", pa.string()),
    ]
)
_KEEP_ROWS, _KEEP_S, _COMPACT_PARTS = 500, 10.0, 64
_MAX_WORKERS = 64
# Decoding so coarsely still reads every byte of a JPEG, at half the cost.
_CHECK_SIDE_PX = 32


class ImageReason(StrEnum):
    """Why a picture that was fetched is refused; others come from web.Reason and pixels.PixelReason."""

    PLACEHOLDER = "placeholder"


@dataclass(frozen=True, slots=True)
class Rules:
    """placeholder_groups: a picture that more groups of one shop than this share is no picture of a product.

    attempts, timeout_s: as in web.Manners.
    """

    placeholder_groups: int = 20
    attempts: int = http_client.DEFAULT_MANNERS.attempts
    timeout_s: float = http_client.DEFAULT_MANNERS.timeout_s


def wanted(products: pa.Table) -> pa.Table:
    """One row a picture of a product: product_id, position (from 0), image_url, shop_id, group.

    products: PRODUCT_COLUMNS of tables.PRODUCTS. group is what tells models apart inside a shop: the group_id, else the product_id.
    """
    return pa.Table.from_batches(
        map(_exploded, products.select(PRODUCT_COLUMNS).to_batches()), _WANTED
    )


def _exploded(products: pa.RecordBatch) -> pa.RecordBatch:
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
        [*columns, products["shop_id"].take(owner), group.take(owner)], schema=_WANTED
    )


def ledger(root: Path, shop_id: str, run: str | None = None) -> pa.Table:
    """LEDGER, one row an address: what was last seen there, in `run` if it was asked in that one."""
    return _newest(run_tables.kept(root, KIND, shop_id, LEDGER), run)


def _newest(rows: pa.Table, run: str | None) -> pa.Table:
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
    return rows.take(last["row_max"]).select(LEDGER.names)


def left_to_ask(
    root: Path, run: str, urls: pa.ChunkedArray, known: pa.Table, redo: bool = False
) -> pa.Table:
    """LEDGER rows of the addresses that this run has still to ask, with what is known of them, null where nothing is.

    An address is asked again in the same run only if the file it gave is lost, or with `redo`. Only a row with etag or
    last_modified may be asked conditionally: its file is there.
    """
    rows = known.take(pc.index_in(urls, known["url"].combine_chunks()))
    rows = rows.set_column(0, "url", urls)
    ids = pc.unique(rows["image_id"]).drop_null().to_pylist()
    there = pc.is_in(
        rows["image_id"],
        pa.array([i for i in ids if run_tables.image_path(root, i).exists()], pa.string()),
    )
    for column in ("etag", "last_modified"):
        values = pc.if_else(pc.and_(there, not redo), rows[column], pa.scalar(None, pa.string()))
        rows = rows.set_column(LEDGER.get_field_index(column), column, values)
    is_done = pc.and_(pc.equal(rows["run"], run), pc.or_(there, pc.is_null(rows["image_id"])))
    return rows if redo else rows.filter(pc.invert(pc.fill_null(is_done, False)))


def fetch(
    root: Path, run: str, asks: Mapping[Shop, pa.Table], rules: Rules, tell: Callable[[int], None]
) -> Counter[str]:
    """Asks every address of `left_to_ask` of every shop, files and ledger filled as it goes, and counts what came:
    fetched, unchanged, refused. `tell` hears how many are done. Memory holds one picture a request in flight."""

    async def all_shops() -> list[Counter[str]]:
        with ThreadPoolExecutor() as pool, sandbox.Decoders() as decoders:
            askings = [
                _Asking(root, run, shop, pool, decoders, tell).ask(rows, rules)
                for shop, rows in asks.items()
            ]
            return await asyncio.gather(*askings)

    return sum(asyncio.run(all_shops()), Counter())


class _Asking:
    """One shop's pictures being asked for."""

    def __init__(
        self,
        root: Path,
        run: str,
        shop: Shop,
        pool: Executor,
        decoders: sandbox.Decoders,
        tell: Callable[[int], None],
    ) -> None:
        self._root, self._run, self._shop, self._pool, self._tell = root, run, shop, pool, tell
        self._decoders = decoders
        self._rows: list[dict[str, Any]] = []
        self._kept_at = time.monotonic()
        self._counts: Counter[str] = Counter()

    async def ask(self, rows: pa.Table, rules: Rules) -> Counter[str]:
        shop, todo = (
            self._shop,
            (row for batch in rows.to_batches(max_chunksize=1000) for row in batch.to_pylist()),
        )
        manners = http_client.Manners(
            shop.at_once, shop.pace_s, rules.attempts, rules.timeout_s, rules.timeout_s
        )
        async with http_client.Client(
            address_guard.Guard(shop.allow_addresses, shop.allow_ports), manners
        ) as client:
            workers = min(max(_MAX_WORKERS, shop.at_once), shop.at_once * _hosts_count(rows["url"]))
            await asyncio.gather(*(self._work(client, todo) for _ in range(workers)))
        await self._keep()
        return self._counts

    async def _work(self, client: http_client.Client, todo: Iterator[dict[str, Any]]) -> None:
        for last in todo:
            seen = await self._see(client, last)
            self._rows.append(
                {"url": last["url"], "run": self._run, "checked_at": datetime.now(UTC), **seen}
            )
            self._tell(1)
            if len(self._rows) >= _KEEP_ROWS or time.monotonic() - self._kept_at > _KEEP_S:
                await self._keep()

    async def _see(self, client: http_client.Client, last: dict[str, Any]) -> dict[str, Any]:
        """The lasting columns of one address."""
        headers = {"If-None-Match": last["etag"], "If-Modified-Since": last["last_modified"]}
        try:
            answer = await client.fetch(
                last["url"],
                self._shop.max_image_bytes,
                headers={k: v for k, v in headers.items() if v},
            )
            if answer.status == 304:
                self._counts["unchanged"] += 1
                return {name: last[name] for name in _LASTING}
            kept = await asyncio.get_running_loop().run_in_executor(
                self._pool, keep_image, self._root, answer.content, self._decoders
            )
        except (http_client.Refused, decode.BadPixels) as error:
            self._counts["refused"] += 1
            return {"reason": error.reason, "detail": error.detail}
        self._counts["fetched"] += 1
        return {
            "etag": answer.headers.get("etag"),
            "last_modified": answer.headers.get("last-modified"),
            **kept,
        }

    async def _keep(self) -> None:
        rows, self._rows, self._kept_at = self._rows, [], time.monotonic()
        table = pa.Table.from_pylist(rows, LEDGER)
        await asyncio.get_running_loop().run_in_executor(
            self._pool, run_tables.keep, self._root, KIND, self._shop.id, table
        )


def keep_image(root: Path, content: bytes, decoders: sandbox.Decoders) -> dict[str, Any]:
    """Keeps the bytes of a picture that can be decoded to its end, and says what it is. Raises pixels.BadPixels."""
    image_id = hashlib.sha256(content).hexdigest()
    header, path = decode.read_header(content), run_tables.image_path(root, image_id)
    if not path.exists():
        decoders.check(content, _CHECK_SIDE_PX)
        run_tables.keep_bytes(path, content)
    size = {"width_px": header.width_px, "height_px": header.height_px, "bytes": len(content)}
    return {"image_id": image_id, "format": header.format, **size}


def _hosts_count(urls: pa.ChunkedArray) -> int:
    return pc.count_distinct(
        pc.replace_substring_regex(urls, r"^(\w+://[^/?#]*).*$", r"\1")
    ).as_py()


def outcome(
    wanted: pa.Table, known: Mapping[str, pa.Table], rules: Rules
) -> tuple[pa.Table, pa.Table]:
    """Rows of tables.IMAGES by (product_id, position), and of tables.REFUSED: each of `wanted` is in one of them.

    known: by shop, the `ledger` of this run. Raises ValueError for an address that was not asked.
    """
    taken, refused = [IMAGES.arrow_schema.empty_table()], [REFUSED.arrow_schema.empty_table()]
    for shop_id, rows in known.items():
        mine = wanted.filter(pc.equal(wanted["shop_id"], shop_id))
        found = rows.take(pc.index_in(mine["image_url"], rows["url"].combine_chunks()))
        if missing := found["url"].null_count:
            raise ValueError(
                f"shop {shop_id}: {missing} of {mine.num_rows} pictures were never asked for"
            )
        for column in ("image_id", "format", "width_px", "height_px", "bytes", "reason", "detail"):
            mine = mine.append_column(column, found[column])
        mine = _without_placeholders(mine, rules.placeholder_groups)
        is_taken = pc.is_null(mine["reason"])
        taken.append(mine.filter(is_taken).select(IMAGES.column_names).cast(IMAGES.arrow_schema))
        refused.append(_refusals(mine.filter(pc.invert(is_taken))))
    order = [("product_id", "ascending"), ("position", "ascending")]
    return pa.concat_tables(taken).sort_by(order), pa.concat_tables(refused).sort_by("key")


def _without_placeholders(rows: pa.Table, most_groups: int) -> pa.Table:
    """The rows, those whose picture more groups share given a reason."""
    shared = rows.group_by("image_id").aggregate([("group", "count_distinct")])
    shared = shared.filter(
        pc.and_(
            pc.is_valid(shared["image_id"]), pc.greater(shared["group_count_distinct"], most_groups)
        )
    )
    is_shared = pc.is_in(rows["image_id"], shared["image_id"].combine_chunks())
    detail = f"more than {most_groups} groups of the shop show this picture"
    for column, value in (("reason", ImageReason.PLACEHOLDER), ("detail", detail)):
        values = pc.if_else(is_shared, pa.scalar(str(value)), rows[column])
        rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    return rows


def _refusals(rows: pa.Table) -> pa.Table:
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


def compact(root: Path, shop_id: str) -> None:
    """Makes one part of a ledger that has become many, keeping the newest row of every address. Call with nobody else at it."""
    folder = root / "kept" / KIND / shop_id
    parts = set(folder.glob("[!.]*.parquet"))
    if len(parts) < _COMPACT_PARTS:
        return
    run_tables.keep(root, KIND, shop_id, ledger(root, shop_id).sort_by("url"))
    if set(folder.glob("[!.]*.parquet")) - parts:
        for part in parts:
            part.unlink(missing_ok=True)
