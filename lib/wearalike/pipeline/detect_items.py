"""images -> items: detect the garments, shoes and bags in every image of a run.

Items are cached by the image's content, so a run detects only in images that are new. With --shard
the job only fills the cache for that shard. Without it, the job does all that is left and writes
the run's table.

The detector is the promoted one, else the packaged default. --detector, or the settings, name
another one: whole or foreground, which need no weights, a packaged model, or a version that was
promoted once.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.detection import detect
from wearalike.models import registry
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command, device_option
from wearalike.storage import content_cache, run_tables
from wearalike.tables import IMAGES, ITEMS

log = logging.getLogger("wearalike.detect_items")
IMAGES_PER_CACHE_WRITE = 512
IMAGES_PER_BATCH = 32


def command() -> click.Command:
    """Return the stage as a command."""
    options = [
        build_option("detector"),
        device_option(),
    ]
    return build_stage_command(work, __doc__, options, is_sharded=True)


def work(args: StageOptions) -> None:
    """Fill the cache of items; without --shard, write the table `items` too."""
    settings = job.load_settings(args)
    root = settings.data_dir
    detector = detect.load_detector(
        root,
        OPTIONS_BY_KEY["detector"].read(args.detector, settings),
        registry.resolve_device(args.device or settings.device),
        keeps_network=True,
    )
    parameters = {"detector": detector.version}
    version_before = run_tables.table_version(root, ITEMS, args.run)
    signature = run_tables.signature(
        {"images": run_tables.input_hash(root, IMAGES, args.run)}, parameters
    )
    if not args.shard and job.is_up_to_date(args, root, ITEMS, signature):
        return
    images = run_tables.read_table(root, IMAGES, args.run, ["image_id", "product_id", "position"])
    image_ids = pc.unique(images["image_id"])
    lost_ids = detect_new_images(root, detector, image_ids, args.shard)
    if args.shard:
        return
    seen = content_cache.read_cached(
        root, "items", detector.version, detect.ITEM_CACHE_SCHEMA, image_ids
    ).sort_by([("image_id", "ascending"), ("item_id", "ascending")])
    with run_tables.write_table(
        root, ITEMS, args.run, signature, parameters, version_before=version_before
    ) as table:
        found = seen.filter(pc.is_valid(seen["item_id"]))
        table.write(found.select(ITEMS.column_names))
        table.refuse(refused_rows(seen.filter(pc.is_null(seen["item_id"]))))
        # Not in the cache: when the image is there again, it is looked at.
        lost = pa.table({"image_id": lost_ids, "reason": [detect.ItemReason.LOST] * len(lost_ids)})
        table.refuse(refused_rows(lost))
        table.rows_taken = seen.num_rows + lost.num_rows
        table.manifest_extras["detector"] = detector.version
    log.info("%s saw %d items in %d images", detector.version, found.num_rows, len(image_ids))


def detect_new_images(
    root: Path, detector: detect.Detector, image_ids: pa.Array, shard: tuple[int, int] | None
) -> list[str]:
    """Detect items in the images that the detector has never seen, and cache them.

    The cache is written every IMAGES_PER_CACHE_WRITE images, so a killed job loses little.

    Args:
        root: folder of all tables.
        detector: the detector.
        image_ids: images of the run.
        shard: (i, n), to detect only shard i of n; None: all images.

    Returns:
        The ids of images whose files are gone or have changed, in order.
    """
    lost_ids: set[str] = set()
    known = content_cache.read_cached(
        root, "items", detector.version, detect.ITEM_CACHE_SCHEMA, image_ids
    )["image_id"]
    new = [
        i
        for i in image_ids.filter(
            pc.invert(pc.is_in(image_ids, known.combine_chunks()))
        ).to_pylist()
        if job.is_in_shard(i, shard)
    ]
    progress = job.Progress("images", len(new))

    def detect_batch(image_ids: list[str]) -> list[dict[str, object]]:
        return detect.detect_items_batch(detector, _read_images(root, image_ids, lost_ids))

    workers = min(len(os.sched_getaffinity(0)), IMAGES_PER_CACHE_WRITE // IMAGES_PER_BATCH)
    with ThreadPoolExecutor(workers) as cores:
        for start in range(0, len(new), IMAGES_PER_CACHE_WRITE):
            part = new[start : start + IMAGES_PER_CACHE_WRITE]
            # A small part, as on a second day, is shared out over all cores too.
            size = min(IMAGES_PER_BATCH, -(-len(part) // workers))
            rows = [
                r
                for found in cores.map(
                    detect_batch, [part[i : i + size] for i in range(0, len(part), size)]
                )
                for r in found
            ]
            content_cache.cache_rows(
                root,
                "items",
                detector.version,
                pa.Table.from_pylist(rows, detect.ITEM_CACHE_SCHEMA),
            )
            progress.update(min(IMAGES_PER_CACHE_WRITE, len(new) - start))
    return sorted(lost_ids)


def _read_images(root: Path, image_ids: list[str], lost_ids: set[str]) -> list[tuple[str, bytes]]:
    """Return the images with their ids; put the ids of lost ones into `lost_ids`."""
    images = []
    content_cache.fetch_images(root, image_ids)
    for image_id in image_ids:
        try:
            images.append((image_id, content_cache.read_image(root, image_id)))
        except content_cache.LostImage as error:
            log.warning("%s", error)
            lost_ids.add(image_id)
    return images


def refused_rows(empty: pa.Table) -> pa.Table:
    """Return a row of refusals for each image without items.

    Args:
        empty: rows with image_id and the reason why there is no item.

    Returns:
        The rows for the refused part of `items`.
    """
    return pa.table(
        {
            "kind": ["image"] * len(empty),
            "key": empty["image_id"],
            "reason": empty["reason"],
            "shop_id": pa.nulls(len(empty), pa.string()),
            "detail": pa.nulls(len(empty), pa.string()),
        }
    )


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
