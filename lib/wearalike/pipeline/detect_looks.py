"""images, items -> looks: sees what else products are worn with in their own full-figure images, and encodes it.

A second look at the images, by a detector that names what it sees: the promoted one, else the packaged `garments`, which needs
`pip install wearalike[yolo]`. It looks only at images in which something tall stands out of the ground, and only at those it has
never seen; what it saw and the codes are kept by content, beside those of the other jobs. With --shard only that share of the
work is done; without it, all that is left, and the run's table.

Where no such detector can run, or looks are switched off (`looks = "off"` in the settings), the table is empty and says why.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.detection import detect, looks
from wearalike.encoding import encoders
from wearalike.models import registry
from wearalike.pipeline import job
from wearalike.storage import run_tables
from wearalike.tables import CODES, IMAGES, ITEMS, LOOKS, PRODUCTS

log = logging.getLogger("wearalike.detect_looks")
PRODUCTS_PER_BATCH = 8192


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__, is_sharded=True)
    made.add_argument(
        "--detector",
        metavar="NAME",
        help="a trained one; default: the promoted one, else the packaged garments",
    )
    made.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="default: the settings' device"
    )
    return made


def work(args: argparse.Namespace) -> None:
    settings = job.load_settings(args)
    root, device = settings.data_dir, args.device or settings.device
    encoder = run_tables.read_manifest(root, CODES, args.run)["encoder"]
    inputs = {
        t.name: run_tables.input_hash(root, t, args.run) for t in (PRODUCTS, IMAGES, ITEMS, CODES)
    }
    if settings.looks == "off" and args.detector is None:
        write_empty_table(args, root, inputs, 'switched off by looks = "off" in the settings')
        return
    model = detect.classifying_detector(root, args.detector)
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
        # Only now: where all was seen before, no network is loaded.
        try:
            detector = detect.NetworkDetector(model.read(), registry.resolve_device(device))
        except ImportError as error:
            why = f"detector {model.version} cannot run here: {error}; pip install wearalike[yolo], apt-get install libgl1"
            if args.detector:
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


def write_empty_table(
    args: argparse.Namespace, root: Path, inputs: dict[str, str], reason: str
) -> None:
    log.warning("no looks: %s", reason)
    facts = {"why_empty": reason}
    signature = run_tables.signature(inputs, facts)
    if not args.shard and not job.is_up_to_date(args, root, LOOKS, signature):
        with run_tables.write_table(root, LOOKS, args.run, signature, facts) as table:
            table.manifest_extras |= facts


def undetected_images(root: Path, version: str, image_ids: pa.Array) -> pa.Array:
    """Those of the images that the detector has never looked at."""
    known = run_tables.read_cached(root, "items", version, detect.ITEM_CACHE_SCHEMA, image_ids)[
        "image_id"
    ].combine_chunks()
    return image_ids.filter(pc.invert(pc.is_in(image_ids, known)))


def detect_new_images(root: Path, detector: detect.Detector, image_ids: pa.Array) -> None:
    from wearalike.pipeline import detect_items

    detect_items.detect_new_images(root, detector, image_ids, None)


def iter_worn_items(
    root: Path, products: pa.Table, images: pa.Table, detector: str
) -> Iterator[tuple[pa.Table, pa.Table, set[str]]]:
    """Some thousand products at a time, what they are worn with, and which of them are shown on a full figure."""
    products = products.sort_by("product_id")
    for start in range(0, products.num_rows, PRODUCTS_PER_BATCH):
        some = products.slice(start, PRODUCTS_PER_BATCH).combine_chunks()
        theirs = images.filter(pc.is_in(images["product_id"], some["product_id"].combine_chunks()))
        seen = run_tables.read_cached(
            root, "items", detector, detect.ITEM_CACHE_SCHEMA, pc.unique(theirs["image_id"])
        )
        yield some, *looks.worn_items(some, theirs, seen.filter(pc.is_valid(seen["item_id"])))


def encode_worn_items(root: Path, version: str, device: str, worn: pa.Table) -> None:
    """Encodes the items that are not encoded yet, by the encoder of the run's codes."""
    from wearalike.pipeline import encode_items

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
        encode_items.encode_and_cache(
            root,
            encoders.build_encoder(model, registry.resolve_device(device)),
            new.sort_by("item_id"),
        )


def read_cached_codes(root: Path, version: str, worn: pa.Table) -> pa.Table:
    return run_tables.read_cached(
        root, "codes", version, encoders.CODE_CACHE_SCHEMA, worn["item_id"].combine_chunks()
    )


def write_looks(
    args: argparse.Namespace,
    root: Path,
    inputs: dict[str, str],
    facts: dict[str, str],
    products: pa.Table,
    images: pa.Table,
) -> None:
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
        "%s looked at %d images: %d of %d products are on a full figure, %d of them with things to be matched",
        *(
            facts["detector"],
            table.manifest_extras["images_looked_at"],
            figures_count,
            products.num_rows,
            table.rows_written,
        ),
    )


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
