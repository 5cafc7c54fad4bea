"""The side from which a run's pictures show who wears their product, told by poses.

Poses are told of what stands out of each picture, where the encoder does not say that nobody wears
it. They are cached by item, whatever the encoder.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.encoding import encoders, views
from wearalike.encoding.poses import PoseEstimator, tell_facing
from wearalike.imaging import decode
from wearalike.models import pose_weights
from wearalike.pipeline import job
from wearalike.storage import content_cache
from wearalike.tables import ImageView

log = logging.getLogger("wearalike.encode_items")
_CACHE_KIND = "poses"
# Rows cached for each item whose pose was looked for; null where it is not sure.
POSE_CACHE_SCHEMA = pa.schema([("item_id", pa.string()), ("facing", pa.string())])
_ITEMS_PER_CACHE_WRITE = 256


def find_weights(poses: str) -> pose_weights.PoseWeights | None:
    """Return the networks' files; None if no poses are told.

    Args:
        poses: The setting: "auto", "on" or "off".

    Raises:
        MissingPoseWeights: They are not there, and poses are "on".
    """
    if poses == "off":
        return None
    try:
        return pose_weights.find_pose_weights()
    except pose_weights.MissingPoseWeights as error:
        if poses == "on":
            raise
        log.info("backs are not told: %s", error)
        return None


def estimate_new(
    root: Path, items: pa.Table, encoder: str, weights: pose_weights.PoseWeights
) -> None:
    """Tell and cache the poses of items that have none yet.

    Args:
        root: Folder of all tables.
        items: Rows with item_id, image_id, super_category and the box. Their codes are cached.
        encoder: Version of the encoder that tells views.
        weights: The networks' files.
    """
    outlines = items.filter(pc.is_null(items["super_category"]))
    ids = outlines["item_id"].combine_chunks()
    codes = content_cache.read_cached(root, "codes", encoder, encoders.CODE_CACHE_SCHEMA, ids)
    codes = codes.filter(pc.is_valid(codes["shape"]))
    may_be_worn = pc.or_kleene(
        pc.is_null(codes["view"]), pc.is_in(codes["view"], pa.array(views.WORN_VIEWS, pa.string()))
    )
    asked = codes.filter(may_be_worn)["item_id"].combine_chunks()
    known = content_cache.read_cached(
        root, _CACHE_KIND, pose_weights.POSE_VERSION, POSE_CACHE_SCHEMA, asked
    )["item_id"].combine_chunks()
    is_new = pc.and_(pc.is_in(ids, asked), pc.invert(pc.is_in(ids, known)))
    new = outlines.filter(is_new).sort_by("item_id")
    if not new.num_rows:
        return
    estimator = PoseEstimator(weights)
    progress = job.Progress("poses", new.num_rows)
    for start in range(0, new.num_rows, _ITEMS_PER_CACHE_WRITE):
        part = new.slice(start, _ITEMS_PER_CACHE_WRITE)
        _estimate_part(root, part, estimator)
        progress.update(part.num_rows)


def _estimate_part(root: Path, items: pa.Table, estimator: PoseEstimator) -> None:
    """Tell and cache the poses of some items; those whose image is lost come with the next run."""
    item_ids, pictures = [], []
    content_cache.fetch_images(root, items["image_id"].to_pylist())
    for row in items.select(["item_id", "image_id", "x0", "y0", "x1", "y1"]).to_pylist():
        box = (row["x0"], row["y0"], row["x1"], row["y1"])
        try:
            content = content_cache.read_image(root, row["image_id"])
            pictures += decode.crop_boxes(content, [box], 2 * estimator.side_px)
        except (decode.BadPixels, content_cache.LostImage) as error:
            log.warning("%s", error)
            continue
        item_ids.append(row["item_id"])
    facings = [tell_facing(pose) for pose in estimator.estimate(pictures)]
    rows = pa.table([item_ids, pa.array(facings, pa.string())], schema=POSE_CACHE_SCHEMA)
    content_cache.cache_rows(root, _CACHE_KIND, estimator.version, rows)


def merge_views(root: Path, codes: pa.Table) -> pa.Table:
    """Return rows of tables.CODES, their views merged with what the cached poses tell.

    Args:
        root: Folder of all tables.
        codes: Rows of tables.CODES.
    """
    seen = content_cache.read_cached(
        root,
        _CACHE_KIND,
        pose_weights.POSE_VERSION,
        POSE_CACHE_SCHEMA,
        codes["item_id"].combine_chunks(),
    )
    at = pc.index_in(codes["item_id"], seen["item_id"].combine_chunks())
    facings = seen["facing"].combine_chunks().take(at.combine_chunks()).to_pylist()
    merged = [
        views.merge_facing(view and ImageView(view), facing and ImageView(facing))
        for view, facing in zip(codes["view"].to_pylist(), facings, strict=True)
    ]
    place = codes.schema.get_field_index("view")
    return codes.set_column(place, codes.schema.field(place), pa.array(merged, pa.string()))
