"""items -> codes: encode a run's items as 128 bits of shape and 128 bits of colour.

Only items that may represent a product are encoded: those of the product's own super-category, and
what stands out of each image. The other things in its images are counted in the manifest.
Codes are cached by item and encoder version, so a run encodes only items that are new. Codes of two
encoders, or of two precisions of one, are never mixed: the version tells them apart. With --shard
the job only fills the cache for that shard. Without it, the job does all that is left and writes
the tables.

Where the package mediapipe is installed, poses tell backs from fronts, and whole figures
(`poses` in the settings). The table's views are those of the encoder and of poses together.

In the same pass a leaf classifier that was taught with the encoder tells which kinds the items
show. From that the job writes the leaf that each product's pictures show. Without such a classifier
that table is empty.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.taxonomy import read_taxonomy
from wearalike.encoding import encoders
from wearalike.encoding.leaf_classifiers import find_leaf_classifier
from wearalike.encoding.product_leaves import build_product_leaves
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.pose_weights import POSE_VERSION
from wearalike.models.precision import Precision
from wearalike.pipeline import job, picture_leaves, picture_poses
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command, device_option
from wearalike.search import index
from wearalike.storage import content_cache, run_tables
from wearalike.storage.table_writer import TableWriter
from wearalike.tables import CODES, IMAGES, ITEMS, PRODUCT_LEAVES, PRODUCTS

log = logging.getLogger("wearalike.encode_items")
ITEMS_PER_CACHE_WRITE = 512
# Memory holds the whole pictures of two batches at once.
ITEMS_PER_BATCH = 64
_PRODUCT_COLUMNS = ["product_id", "category", "super_category", "gender", "age_group"]


def command() -> click.Command:
    """Return the stage as a command."""
    known = ", ".join(registry.ENCODERS)
    options = [
        build_option("encoder", f"{known} or a version promoted here."),
        build_option("encoder_precision"),
        device_option(),
    ]
    return build_stage_command(work, __doc__, options, is_sharded=True)


def work(args: StageOptions) -> None:
    """Fill the caches of codes and leaves; without --shard, write both tables too."""
    settings = job.load_settings(args)
    root = settings.data_dir
    name = OPTIONS_BY_KEY["encoder"].read(args.encoder, settings)
    precision = Precision(OPTIONS_BY_KEY["encoder_precision"].read(args.precision, settings))
    model = registry.resolve_model(root, registry.ModelKind.ENCODER, name).at_precision(precision)
    encoder = model.read()
    leaves = find_leaf_classifier(root, encoder)
    pose_files = picture_poses.find_weights(settings.poses)
    inputs = {t.name: run_tables.input_hash(root, t, args.run) for t in (PRODUCTS, IMAGES, ITEMS)}
    parameters = {"encoder": model.version}
    if pose_files:
        parameters["poses"] = POSE_VERSION
    signature = run_tables.signature(inputs, parameters)
    version_before = run_tables.table_version(root, CODES, args.run)
    leaf_parameters = {
        "encoder": model.version,
        "classifier": leaves and leaves.version,
        "taxonomy": leaves and read_taxonomy(settings.mappings / "taxonomy.xml").sha256,
    }
    leaf_signature = run_tables.signature(inputs, leaf_parameters)
    wants_codes = args.shard or not job.is_up_to_date(args, root, CODES, signature)
    wants_leaves = args.shard or not job.is_up_to_date(args, root, PRODUCT_LEAVES, leaf_signature)
    if not wants_codes and not wants_leaves:
        return
    detected = run_tables.read_table(root, ITEMS, args.run)
    products = run_tables.read_table(root, PRODUCTS, args.run, _PRODUCT_COLUMNS)
    images = run_tables.read_table(root, IMAGES, args.run, ["product_id", "image_id"])
    items = detected.filter(index.may_represent(products, images, detected))
    shard = items.filter(
        pa.array([job.is_in_shard(i, args.shard) for i in items["item_id"].to_pylist()], pa.bool_())
    )
    new = shard.filter(pc.invert(_is_known(root, shard, model.version, leaves))).sort_by("item_id")
    if new.num_rows:
        device = registry.resolve_device(args.device or settings.device)
        encode_and_cache(root, encoders.build_encoder(encoder, device, leaves, root), new)
    if pose_files and wants_codes:
        picture_poses.estimate_new(root, shard, model.version, pose_files)
    if args.shard:
        return
    if wants_codes:
        with run_tables.write_table(
            root, CODES, args.run, signature, parameters, version_before=version_before
        ) as table:
            _write_codes(root, table, items, model.version, with_poses=pose_files is not None)
            table.manifest_extras["items_of_other_kinds"] = detected.num_rows - items.num_rows
        log.info("%s: %d codes, %d new", model.version, items.num_rows, new.num_rows)
    if wants_leaves:
        with run_tables.write_table(
            root, PRODUCT_LEAVES, args.run, leaf_signature, leaf_parameters
        ) as table:
            if leaves:
                shown = picture_leaves.read_item_kinds(root, items, leaves)
                taxonomy = read_taxonomy(settings.mappings / "taxonomy.xml")
                table.write(build_product_leaves(products, images, items, shown, taxonomy))
        if leaves:
            log.info("%s: leaves of %d products", leaves.version, table.rows_written)


def _is_known(
    root: Path, items: pa.Table, version: str, leaves: registry.Model | None
) -> pa.ChunkedArray:
    """Tell which items are in the cache of codes and, with a classifier, of leaves; bool."""
    ids = items["item_id"].combine_chunks()
    caches = [("codes", version, encoders.CODE_CACHE_SCHEMA)]
    if leaves:
        caches.append(("leaves", leaves.version, encoders.LEAF_CACHE_SCHEMA))
    is_known = pa.chunked_array([pa.array([True] * len(ids), pa.bool_())])
    for kind, model_version, schema in caches:
        cached = content_cache.read_cached(root, kind, model_version, schema, ids)["item_id"]
        is_known = pc.and_(is_known, pc.is_in(ids, cached.combine_chunks()))
    return is_known


def _write_codes(
    root: Path, table: TableWriter, items: pa.Table, version: str, *, with_poses: bool
) -> None:
    """Write the codes of items from the cache, and refuse the items without one."""
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
    table.rows_taken = items.num_rows
    table.manifest_extras["encoder"] = version


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


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
