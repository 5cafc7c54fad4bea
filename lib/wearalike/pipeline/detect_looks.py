"""images, items -> looks: detect and encode the items that products are worn with.

The job searches the full-figure images of the products themselves. It uses a second detector, one
that names the items it sees. This is the promoted one, else the packaged `garments`, which needs
`pip install wearalike[yolo]`.

The detector looks only at images in which something tall stands out of the ground, and only at
those that are new to it. Items and codes are cached by content, beside those of the other jobs.
With --shard the job only fills the caches for that shard. Without it, the job does all that is left
and writes the run's table.

The table is empty and says why where no such detector can run. The same holds where looks are
switched off (`looks = "off"` in the settings).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.detection import detect, looks
from wearalike.encoding import encoders
from wearalike.models import registry
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command, device_option
from wearalike.storage import content_cache, run_tables
from wearalike.tables import CODES, IMAGES, ITEMS, LOOKS, PRODUCTS

log = logging.getLogger("wearalike.detect_looks")
PRODUCTS_PER_BATCH = 8192


def command() -> click.Command:
    """Return the stage as a command."""
    options = [
        build_option("looks_detector"),
        device_option(),
    ]
    return build_stage_command(work, __doc__, options, is_sharded=True)


def work(args: StageOptions) -> None:
    """Fill the caches of worn items; without --shard, write the table `looks` too."""
    settings = job.load_settings(args)
    root, device = settings.data_dir, args.device or settings.device
    encoder = run_tables.read_manifest(root, CODES, args.run)["encoder"]
    inputs = {
        t.name: run_tables.input_hash(root, t, args.run) for t in (PRODUCTS, IMAGES, ITEMS, CODES)
    }
    if settings.looks == "off" and args.detector is None:
        write_empty_table(args, root, inputs, 'switched off by looks = "off" in the settings')
        return
    name = OPTIONS_BY_KEY["looks_detector"].read(args.detector, settings)
    model = detect.classifying_detector(root, name)
    facts = {"detector": model.version, "encoder": encoder}
    if not args.shard and job.is_up_to_date(args, root, LOOKS, run_tables.signature(inputs, facts)):
        return
    views = run_tables.read_table(root, CODES, args.run, ["item_id", "view"])
    images = looks.figure_candidates(
        run_tables.read_table(root, IMAGES, args.run),
        run_tables.read_table(root, ITEMS, args.run),
        views,
    )
    share = images.filter(
        pa.array(
            [job.is_in_shard(i, args.shard) for i in images["image_id"].to_pylist()], pa.bool_()
        )
    )
    if len(new := undetected_images(root, model.version, pc.unique(share["image_id"]))):
        # Loaded here, so that a run without new images loads no network.
        try:
            detector = detect.NetworkDetector(model.read(), registry.resolve_device(device), root)
        except ImportError as error:
            why = str(error)
            if name:
                raise job.JobRejected(why) from error
            write_empty_table(args, root, inputs, why)
            return
        detect_new_images(root, detector, new)
    products = run_tables.read_table(
        root, PRODUCTS, args.run, ["product_id", "shop_id", "super_category"]
    )
    for _, worn, _ in iter_worn_items(root, products, share, model.version):
        encode_worn_items(root, encoder, device, worn)
    if not args.shard:
        write_looks(args, root, inputs, facts, products, images)


def write_empty_table(args: StageOptions, root: Path, inputs: dict[str, str], reason: str) -> None:
    """Write an empty table `looks`, with the reason in its manifest.

    Args:
        args: the job's options; with --shard nothing is written.
        root: folder of all tables.
        inputs: hashes of the input tables, by name.
        reason: why there are no looks.
    """
    log.warning("no looks: %s", reason)
    facts = {"why_empty": reason}
    signature = run_tables.signature(inputs, facts)
    if not args.shard and not job.is_up_to_date(args, root, LOOKS, signature):
        with run_tables.write_table(root, LOOKS, args.run, signature, facts) as table:
            table.manifest_extras |= facts


def undetected_images(root: Path, version: str, image_ids: pa.Array) -> pa.Array:
    """Return the images in which the detector has never detected.

    Args:
        root: folder of all tables.
        version: the detector's version.
        image_ids: images of the run.

    Returns:
        Those of them that the cache lacks.
    """
    known = content_cache.read_cached(root, "items", version, detect.ITEM_CACHE_SCHEMA, image_ids)[
        "image_id"
    ].combine_chunks()
    return image_ids.filter(pc.invert(pc.is_in(image_ids, known)))


def detect_new_images(root: Path, detector: detect.Detector, image_ids: pa.Array) -> None:
    """Detect items in images and cache them.

    Args:
        root: folder of all tables.
        detector: the detector.
        image_ids: the images.
    """
    from wearalike.pipeline import detect_items

    detect_items.detect_new_images(root, detector, image_ids, None)


def iter_worn_items(
    root: Path, products: pa.Table, images: pa.Table, detector: str
) -> Iterator[tuple[pa.Table, pa.Table, set[str]]]:
    """Yield products with the items worn with them, PRODUCTS_PER_BATCH products at a time.

    Args:
        root: folder of all tables.
        products: product_id, shop_id and super_category of products.
        images: images in which the detector looked.
        detector: its version.

    Yields:
        The products, the items worn with them, and the ids of products shown on a full figure.
    """
    products = products.sort_by("product_id")
    for start in range(0, products.num_rows, PRODUCTS_PER_BATCH):
        some = products.slice(start, PRODUCTS_PER_BATCH).combine_chunks()
        theirs = images.filter(pc.is_in(images["product_id"], some["product_id"].combine_chunks()))
        seen = content_cache.read_cached(
            root, "items", detector, detect.ITEM_CACHE_SCHEMA, pc.unique(theirs["image_id"])
        )
        yield some, *looks.worn_items(some, theirs, seen.filter(pc.is_valid(seen["item_id"])))


def encode_worn_items(root: Path, version: str, device: str, worn: pa.Table) -> None:
    """Encode the items that have no code yet, by the encoder of the run's codes.

    Args:
        root: folder of all tables.
        version: the encoder's version.
        device: "auto", "cpu" or "cuda".
        worn: items worn with products.
    """
    from wearalike.pipeline import item_codes

    new = worn.group_by(
        ["item_id", "image_id", "x0", "y0", "x1", "y1"], use_threads=False
    ).aggregate([])
    new = new.filter(
        pc.invert(
            pc.is_in(
                new["item_id"], read_cached_codes(root, version, new)["item_id"].combine_chunks()
            )
        )
    )
    if new.num_rows:
        model = registry.find_by_version(root, registry.ModelKind.ENCODER, version).read()
        item_codes.encode_and_cache(
            root,
            encoders.build_encoder(model, registry.resolve_device(device), root=root),
            new.sort_by("item_id"),
        )


def read_cached_codes(root: Path, version: str, worn: pa.Table) -> pa.Table:
    """Return the cached codes of items.

    Args:
        root: folder of all tables.
        version: the encoder's version.
        worn: items worn with products.

    Returns:
        Rows of encoders.CODE_CACHE_SCHEMA.
    """
    return content_cache.read_cached(
        root, "codes", version, encoders.CODE_CACHE_SCHEMA, worn["item_id"].combine_chunks()
    )


def write_looks(
    args: StageOptions,
    root: Path,
    inputs: dict[str, str],
    facts: dict[str, str],
    products: pa.Table,
    images: pa.Table,
) -> None:
    """Write the table `looks` from the caches.

    Args:
        args: the job's options.
        root: folder of all tables.
        inputs: hashes of the input tables, by name.
        facts: versions of the detector and of the encoder.
        products: all products of the run.
        images: images in which the detector looked.
    """
    all_images = run_tables.read_table(root, IMAGES, args.run, ["product_id"])
    figures_count = 0
    with run_tables.write_table(
        root, LOOKS, args.run, run_tables.signature(inputs, facts), facts
    ) as table:
        for some, worn, figures in iter_worn_items(root, products, images, facts["detector"]):
            found, refused = looks.build_looks(
                some, all_images, worn, figures, read_cached_codes(root, facts["encoder"], worn)
            )
            table.write(found)
            table.refuse(refused)
            figures_count += len(figures)
        table.rows_taken = products.num_rows
        table.manifest_extras |= facts | {
            "images_looked_at": len(pc.unique(images["image_id"])),
            "figures": figures_count,
        }
    log.info(
        "%s looked at %d images: %d of %d products are on a full figure, "
        "%d of them with items to be matched",
        facts["detector"],
        table.manifest_extras["images_looked_at"],
        figures_count,
        products.num_rows,
        table.rows_written,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
