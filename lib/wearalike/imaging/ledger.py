"""The download ledger: one row for each time an image address was requested.

The ledger of a shop lies in cache/downloads/<shop_id>. A row holds the server's answer and the
image that came. It lets a killed job resume, and lets a later run request only what changed. The
file of an image is on disk before the row that names it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.storage import atomic, content_cache

CACHE_KIND = "downloads"
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
# These columns stay valid as long as the server answers 304 Not Modified.
REUSABLE_COLUMNS = [f.name for f in LEDGER_SCHEMA if f.name not in ("url", "run", "checked_at")]
# Every flush adds one file; fewer files than this cost nothing worth a rewrite.
_MIN_PARTS_TO_COMPACT = 64


def read_ledger(root: Path, shop_id: str, run: str | None = None) -> pa.Table:
    """Return the newest ledger row of every address of a shop.

    Args:
        root: The data directory.
        shop_id: The shop.
        run: Prefer the rows of this run to newer rows of other runs.

    Returns:
        LEDGER_SCHEMA, one row for each address.
    """
    rows = content_cache.read_cached(root, CACHE_KIND, shop_id, LEDGER_SCHEMA)
    return newest_rows(rows, run)


def append_to_ledger(root: Path, shop_id: str, rows: pa.Table) -> None:
    """Add rows to the ledger of a shop.

    Args:
        root: The data directory.
        shop_id: The shop.
        rows: LEDGER_SCHEMA.
    """
    content_cache.cache_rows(root, CACHE_KIND, shop_id, rows)


def pending_downloads(
    root: Path, run: str, urls: pa.ChunkedArray, ledger_rows: pa.Table, force: bool = False
) -> pa.Table:
    """Return the addresses that a run must still request, with what the ledger knows of them.

    A run requests an address twice only if the image file is lost, or with `force`.

    Args:
        root: The data directory.
        run: The run.
        urls: string. The distinct addresses the run needs.
        ledger_rows: LEDGER_SCHEMA, as `read_ledger` returns it.
        force: Request every address again, unconditionally.

    Returns:
        LEDGER_SCHEMA, one row for each pending address; null where nothing is known. Only a row
        whose image file exists in its full size has an etag or last_modified, so only it is
        requested conditionally.
    """
    rows = ledger_rows.take(pc.index_in(urls, ledger_rows["url"].combine_chunks()))
    rows = rows.set_column(0, "url", urls)
    sizes = dict(zip(rows["image_id"].to_pylist(), rows["bytes"].to_pylist(), strict=True))
    stored_ids = [
        image_id
        for image_id, size_bytes in sizes.items()
        if image_id and content_cache.image_size_bytes(root, image_id) == size_bytes
    ]
    is_stored = pc.is_in(rows["image_id"], pa.array(stored_ids, pa.string()))
    is_conditional = pc.and_(is_stored, not force)
    for column in ("etag", "last_modified"):
        values = pc.if_else(is_conditional, rows[column], pa.scalar(None, pa.string()))
        rows = rows.set_column(LEDGER_SCHEMA.get_field_index(column), column, values)
    if force:
        return rows
    is_answered = pc.or_(is_stored, pc.is_null(rows["image_id"]))
    is_done = pc.and_(pc.equal(rows["run"], run), is_answered)
    return rows.filter(pc.invert(pc.fill_null(is_done, False)))


def compact_ledger(root: Path, shop_id: str) -> None:
    """Merge the many files of a ledger into one that keeps the newest row of every address.

    Other processes may read and append meanwhile; one that merges already is left to it. Fewer
    than 64 files stay as they are, and so do all where the file system has no locks.

    Args:
        root: The data directory.
        shop_id: The shop.
    """
    folder = root / "cache" / CACHE_KIND / shop_id
    busy = contextlib.suppress(atomic.LockTimeout, atomic.LocksUnsupported)
    with busy, atomic.lock_file(folder / ".compact.lock", 0):
        parts = set(folder.glob("[!.]*.parquet"))
        if len(parts) < _MIN_PARTS_TO_COMPACT:
            return
        rows = read_ledger(root, shop_id).sort_by("url")
        # The merged rows may be those of one of the parts.
        if merged := content_cache.cache_rows(root, CACHE_KIND, shop_id, rows):
            content_cache.remove_rows(root, CACHE_KIND, shop_id, parts - {merged})


def newest_rows(rows: pa.Table, run: str | None = None) -> pa.Table:
    """Return one row for each address: the newest of `run`, else the newest of all.

    Args:
        rows: LEDGER_SCHEMA.
        run: Prefer its rows to newer ones; None for the newest.
    """
    is_run = pc.equal(rows["run"], pa.scalar(run, pa.string()))
    rows = rows.append_column("is_run", pc.fill_null(is_run, False))
    rows = rows.sort_by([("is_run", "ascending"), ("checked_at", "ascending")])
    numbered = rows.select(["url"]).append_column("row", pa.array(np.arange(rows.num_rows)))
    last = numbered.group_by("url").aggregate([("row", "max")])
    return rows.take(last["row_max"]).select(LEDGER_SCHEMA.names)
