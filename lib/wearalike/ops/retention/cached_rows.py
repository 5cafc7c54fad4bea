"""Take the rows of gone pictures out of the caches, and merge many small files into one.

Every flush of a download and every batch of a model adds a file. They are read as one table, and
grow with the nights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike.detection import detect
from wearalike.imaging import ledger
from wearalike.ops.disk_usage import DiskKind
from wearalike.ops.retention.plan import PrunePlan
from wearalike.storage import atomic, content_cache

# Fewer files, or a smaller share of rows to drop, are not worth a rewrite.
MIN_MERGED_FILES = 16
MIN_DROPPED_SHARE = 0.05

_RowFilter = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True, slots=True)
class CacheRewrite:
    """A folder of cached rows that is written again.

    Attributes:
        kind: Its kind.
        folder: The folder.
        files: How many files become one, or none.
        rows: Rows in them.
        dropped: Rows that go.
        bytes: About how many bytes go, as many as the share of the rows.
    """

    kind: DiskKind
    folder: Path
    files: int
    rows: int
    dropped: int
    bytes: int


def rewrite_caches(root: Path, plan: PrunePlan, *, is_dry: bool) -> Iterator[CacheRewrite]:
    """Rewrite the caches that are worth it, and yield what was done, or would be.

    Args:
        root: The data folder.
        plan: Names the pictures that stay, and the folders that go.
        is_dry: Change nothing.
    """
    gone = {folder.path for folder in plan.folders}
    asked_since = pa.scalar(
        datetime.fromtimestamp(plan.asked_since_s, UTC), ledger.LEDGER_SCHEMA.field(2).type
    )

    def keep_asked(rows: pa.Table) -> pa.Table:
        rows = ledger.newest_rows(rows)
        is_kept = pc.is_in(rows["image_id"], plan.kept_pictures)
        return rows.filter(pc.or_(is_kept, pc.greater_equal(rows["checked_at"], asked_since)))

    for folder in _list_folders(root, ledger.CACHE_KIND, gone):
        with contextlib.suppress(atomic.LockTimeout), atomic.lock_file(folder / ".compact.lock", 0):
            yield from _rewrite(root, DiskKind.LEDGERS, folder, keep_asked, "url", is_dry=is_dry)

    def keep_of_pictures(rows: pa.Table) -> pa.Table:
        return rows.filter(pc.is_in(rows["image_id"], plan.kept_pictures))

    kept_items = []
    for folder in _list_folders(root, DiskKind.ITEMS.value, gone):
        yield from _rewrite(
            root, DiskKind.ITEMS, folder, keep_of_pictures, "image_id", is_dry=is_dry
        )
        rows = content_cache.read_cached(
            root, DiskKind.ITEMS.value, folder.name, detect.ITEM_CACHE_SCHEMA
        )
        kept_items.append(keep_of_pictures(rows)["item_id"].combine_chunks())
    if not kept_items:
        return  # deleted by hand: nobody knows which pictures the codes are of
    item_ids = pc.unique(pa.concat_arrays(kept_items).drop_null())

    def keep_of_items(rows: pa.Table) -> pa.Table:
        return rows.filter(pc.is_in(rows["item_id"], item_ids))

    for kind in (DiskKind.CODES, DiskKind.DESCRIPTORS, DiskKind.LEAVES, DiskKind.POSES):
        for folder in _list_folders(root, kind.value, gone):
            yield from _rewrite(root, kind, folder, keep_of_items, "item_id", is_dry=is_dry)


def _list_folders(root: Path, kind: str, gone: set[Path]) -> list[Path]:
    folders = sorted((root / "cache" / kind).glob("[!.]*"))
    return [folder for folder in folders if folder.is_dir() and folder not in gone]


def _rewrite(
    root: Path, kind: DiskKind, folder: Path, keep: _RowFilter, key: str, *, is_dry: bool
) -> Iterator[CacheRewrite]:
    """Rewrite one folder if that is worth it; the rows stay readable throughout."""
    parts = set(folder.glob("[!.]*.parquet"))
    if not parts:
        return
    rows = ds.dataset(sorted(map(str, parts)), format="parquet").to_table()
    kept = keep(rows)
    kept = kept.group_by(kept.column_names, use_threads=False).aggregate([]).sort_by(key)
    dropped = rows.num_rows - kept.num_rows
    is_worth_it = len(parts) >= MIN_MERGED_FILES or dropped > MIN_DROPPED_SHARE * rows.num_rows
    if not is_worth_it:
        return
    size_bytes = sum(part.stat().st_size for part in parts)
    if not is_dry:
        # The merged rows may be those of one of the parts.
        name = ledger.CACHE_KIND if kind is DiskKind.LEDGERS else kind.value
        merged = content_cache.cache_rows(root, name, folder.name, kept)
        content_cache.remove_rows(root, name, folder.name, parts - {merged})
        if merged:
            size_bytes -= merged.stat().st_size
    else:
        size_bytes = size_bytes * dropped // max(1, rows.num_rows)
    yield CacheRewrite(kind, folder, len(parts), rows.num_rows, dropped, max(0, size_bytes))
