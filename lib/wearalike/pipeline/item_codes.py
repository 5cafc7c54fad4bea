"""Items to codes: encode pictures of items, keep the codes in the cache, write a table of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.encoding import encoders
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.pipeline import job, picture_poses
from wearalike.storage import content_cache
from wearalike.storage.table_writer import TableWriter
from wearalike.tables import CODES

log = logging.getLogger("wearalike.encode_items")
ITEMS_PER_CACHE_WRITE = 512
# Memory holds the whole pictures of two batches at once.
ITEMS_PER_BATCH = 64


def is_cached(
    root: Path, items: pa.Table, version: str, leaves: registry.Model | None
) -> pa.ChunkedArray:
    """Tell which items are in the cache of codes and, with a classifier, of leaves; bool.

    Args:
        root: folder of all tables.
        items: rows with item_id.
        version: the encoder's version.
        leaves: the leaf classifier; None without one.
    """
    ids = items["item_id"].combine_chunks()
    caches = [("codes", version, encoders.CODE_CACHE_SCHEMA)]
    if leaves:
        caches.append(("leaves", leaves.version, encoders.LEAF_CACHE_SCHEMA))
    is_known = pa.chunked_array([pa.array([True] * len(ids), pa.bool_())])
    for kind, model_version, schema in caches:
        cached = content_cache.read_cached(root, kind, model_version, schema, ids)["item_id"]
        is_known = pc.and_(is_known, pc.is_in(ids, cached.combine_chunks()))
    return is_known


def write_codes(
    root: Path, table: TableWriter, items: pa.Table, version: str, *, with_poses: bool
) -> None:
    """Write the codes of items from the cache, and refuse the items without one.

    Args:
        root: folder of all tables.
        table: the table of codes.
        items: rows with item_id.
        version: the encoder's version.
        with_poses: True to merge the views with what the cached poses tell.
    """
    seen = content_cache.read_cached(
        root, "codes", version, encoders.CODE_CACHE_SCHEMA, items["item_id"].combine_chunks()
    ).sort_by("item_id")
    has_code = pc.is_valid(seen["shape"])
    codes = seen.filter(has_code).select(CODES.column_names)
    table.write(picture_poses.merge_views(root, codes) if with_poses else codes)
    unreadable = seen.filter(pc.invert(has_code))
    table.refuse(_refused_rows(unreadable["item_id"], unreadable["reason"]))
    # Not in the cache: when its image is there again, the item is encoded.
    is_lost = pc.invert(pc.is_in(items["item_id"], seen["item_id"].combine_chunks()))
    lost_ids = items["item_id"].filter(is_lost)
    table.refuse(_refused_rows(lost_ids, [encoders.CodeReason.LOST.value] * len(lost_ids)))


def _refused_rows(item_ids: pa.ChunkedArray, reasons: pa.ChunkedArray | list[str]) -> pa.Table:
    """Return the refused rows of items without a code."""
    nothing = pa.nulls(len(item_ids), pa.string())
    return pa.table(
        {
            "kind": ["item"] * len(item_ids),
            "key": item_ids,
            "reason": reasons,
            "shop_id": nothing,
            "detail": nothing,
        }
    )


def encode_and_cache(root: Path, encoder: encoders.Encoder, items: pa.Table) -> None:
    """Encode items and cache the codes.

    The cache is written every ITEMS_PER_CACHE_WRITE items. The next batch of pictures is decoded
    while the network works.

    Args:
        root: folder of all tables.
        encoder: the encoder.
        items: rows with item_id, image_id and the box.
    """
    progress = job.Progress("items", items.num_rows)
    parts = [
        items.slice(start, ITEMS_PER_BATCH) for start in range(0, items.num_rows, ITEMS_PER_BATCH)
    ]
    rows: list[pa.Table] = []
    leaf_rows: list[pa.Table] = []
    lost_ids: set[str] = set()
    with ThreadPoolExecutor(1) as ahead:
        loads = (
            ahead.submit(read_item_crops, root, part, encoder.side_px, lost_ids) for part in parts
        )
        loading = next(loads, None)
        for number, part in enumerate(parts, 1):
            pictures = loading.result() if loading else []
            loading = next(loads, None)
            is_there = [image_id not in lost_ids for image_id in part["image_id"].to_pylist()]
            pictures = [p for p, is_kept in zip(pictures, is_there, strict=True) if is_kept]
            item_ids = part["item_id"].filter(pa.array(is_there, pa.bool_())).to_pylist()
            encoded = encode_rows(encoder, item_ids, pictures)
            rows.append(encoded.codes)
            if encoded.leaves is not None:
                leaf_rows.append(encoded.leaves)
            if number == len(parts) or len(rows) * ITEMS_PER_BATCH >= ITEMS_PER_CACHE_WRITE:
                _cache_new_codes(root, encoder.version, pa.concat_tables(rows))
                rows.clear()
                if isinstance(encoder, encoders.LeafEncoder):
                    content_cache.cache_rows(
                        root, "leaves", encoder.leaves_version, pa.concat_tables(leaf_rows)
                    )
                    leaf_rows.clear()
            progress.update(part.num_rows)


def read_item_crops(
    root: Path,
    items: pa.Table,
    side_px: int | None = None,
    lost_ids: set[str] | None = None,
) -> list[NDArray[np.uint8] | None]:
    """Return the pixels of every item.

    Args:
        root: folder of all tables.
        items: rows with image_id and the box x0, y0, x1, y1.
        side_px: see decode.crop_boxes.
        lost_ids: receives the ids of images whose files are gone or have changed; None raises.

    Returns:
        An image for each item, uint8; None where the image cannot be read.

    Raises:
        LostImage: an image is lost, and there is no `lost_ids`.
    """
    rows = items.select(["image_id", "x0", "y0", "x1", "y1"]).to_pylist()
    content_cache.fetch_images(root, [row["image_id"] for row in rows])
    return list(_iter_item_crops(root, rows, side_px, lost_ids))


def _iter_item_crops(
    root: Path, rows: list[dict[str, Any]], side_px: int | None, lost_ids: set[str] | None
) -> Iterator[NDArray[np.uint8] | None]:
    """Yield the pixels of each row's item; None where its image cannot be read."""
    for row in rows:
        try:
            content = content_cache.read_image(root, row["image_id"])
            yield decode.crop_boxes(
                content, [(row["x0"], row["y0"], row["x1"], row["y1"])], side_px
            )[0]
        except decode.BadPixels:
            yield None
        except content_cache.LostImage as error:
            if lost_ids is None:
                raise
            log.warning("%s", error)
            lost_ids.add(row["image_id"])
            yield None


def _cache_new_codes(root: Path, version: str, rows: pa.Table) -> None:
    """Cache codes of items that have none yet.

    An item is encoded again for its leaf alone. Its code stays as it is, even if another machine
    made it.
    """
    known = content_cache.read_cached(
        root, "codes", version, encoders.CODE_CACHE_SCHEMA, rows["item_id"].combine_chunks()
    )
    is_new = pc.invert(pc.is_in(rows["item_id"], known["item_id"].combine_chunks()))
    content_cache.cache_rows(root, "codes", version, rows.filter(is_new))


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows for the caches.

    Attributes:
        codes: rows of encoders.CODE_CACHE_SCHEMA, one for each item.
        leaves: rows of encoders.LEAF_CACHE_SCHEMA; None if the encoder tells no leaves.
    """

    codes: pa.Table
    leaves: pa.Table | None


def encode_rows(
    encoder: encoders.Encoder, item_ids: list[str], crops: list[NDArray[np.uint8] | None]
) -> EncodedRows:
    """Encode pictures and return rows for the caches.

    Args:
        encoder: the encoder.
        item_ids: the items.
        crops: an image for each item, uint8; None where it cannot be read.
    """
    there = [crop for crop in crops if crop is not None]
    probabilities: Sequence[NDArray[np.float32]] | None = None
    if isinstance(encoder, encoders.LeafEncoder):
        classified = encoder.encode_and_classify(there)
        encoded, probabilities = classified.codes, list(classified.probabilities)
    else:
        encoded = encoder.encode(there)
    seen = iter(zip(*encoded, strict=True))
    rows = []
    for item_id, picture in zip(item_ids, crops, strict=True):
        shape, colour, view = next(seen) if picture is not None else (None, None, None)
        reason = encoders.CodeReason.UNREADABLE if picture is None else None
        rows.append(
            {
                "item_id": item_id,
                "shape": shape if shape is None else shape.tobytes(),
                "colour": colour if colour is None else colour.tobytes(),
                "encoder": encoder.version,
                "view": view,
                "reason": reason,
            }
        )
    codes = pa.Table.from_pylist(rows, encoders.CODE_CACHE_SCHEMA)
    if probabilities is None:
        return EncodedRows(codes, None)
    rest = iter(probabilities)
    contents = [None if c is None else next(rest).astype(np.float16).tobytes() for c in crops]
    return EncodedRows(codes, pa.table([item_ids, contents], schema=encoders.LEAF_CACHE_SCHEMA))
