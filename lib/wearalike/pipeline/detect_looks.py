"""images, items -> looks: sees what else products are worn with in their own full-figure images, and encodes it.

A second look at the images, by a detector that names what it sees: the promoted one, else the packaged `garments`, which needs
`pip install wearalike[yolo]`. It looks only at images in which something tall stands out of the ground, and only at those it has
never seen; what it saw and the codes are kept by content, beside those of the other jobs. With --chunk only that share of the
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
PRODUCTS_AT_ONCE = 8192


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__, chunked=True)
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
    settings = job.place(args)
    root, device = settings.root, args.device or settings.device
    encoder = run_tables.made(root, CODES, args.run)["encoder"]
    inputs = {
        t.name: run_tables.input_hash(root, t, args.run) for t in (PRODUCTS, IMAGES, ITEMS, CODES)
    }
    if settings.looks == "off" and args.detector is None:
        write_nothing(args, root, inputs, 'switched off by looks = "off" in the settings')
        return
    model = detect.naming_model(root, args.detector)
    facts = {"detector": model.version, "encoder": encoder}
    if not args.chunk and job.stands(args, root, LOOKS, run_tables.signature(inputs, facts)):
        return
    views = run_tables.read(root, CODES, args.run, ["item_id", "view"])
    images = looks.promising(
        run_tables.read(root, IMAGES, args.run), run_tables.read(root, ITEMS, args.run), views
    )
    share = images.filter(
        pa.array([job.in_chunk(i, args.chunk) for i in images["image_id"].to_pylist()], pa.bool_())
    )
    if len(new := unseen(root, model.version, pc.unique(share["image_id"]))):
        # Only now: where all was seen before, no network is loaded.
        try:
            detector = detect.Trained(model.read(), registry.device(device))
        except ImportError as error:
            why = f"detector {model.version} cannot run here: {error}; pip install wearalike[yolo], apt-get install libgl1"
            if args.detector:
                raise job.Refusal(why) from error
            write_nothing(args, root, inputs, why)
            return
        see(root, detector, new)
    products = run_tables.read(
        root, PRODUCTS, args.run, ["product_id", "shop_id", "super_category"]
    )
    for _, worn, _ in parts(root, products, share, model.version):
        encode(root, encoder, device, worn)
    if not args.chunk:
        write(args, root, inputs, facts, products, images)


def write_nothing(args: argparse.Namespace, root: Path, inputs: dict[str, str], why: str) -> None:
    log.warning("no looks: %s", why)
    facts = {"why_empty": why}
    signature = run_tables.signature(inputs, facts)
    if not args.chunk and not job.stands(args, root, LOOKS, signature):
        with run_tables.writing(root, LOOKS, args.run, signature, facts) as table:
            table.more |= facts


def unseen(root: Path, version: str, image_ids: pa.Array) -> pa.Array:
    """Those of the images that the detector has never looked at."""
    known = run_tables.kept(root, "items", version, detect.KEPT, image_ids)[
        "image_id"
    ].combine_chunks()
    return image_ids.filter(pc.invert(pc.is_in(image_ids, known)))


def see(root: Path, detector: detect.Detector, image_ids: pa.Array) -> None:
    from wearalike.pipeline import detect_items

    detect_items.see(root, detector, image_ids, None)


def parts(
    root: Path, products: pa.Table, images: pa.Table, detector: str
) -> Iterator[tuple[pa.Table, pa.Table, set[str]]]:
    """Some thousand products at a time, what they are worn with, and which of them are shown on a full figure."""
    products = products.sort_by("product_id")
    for start in range(0, products.num_rows, PRODUCTS_AT_ONCE):
        some = products.slice(start, PRODUCTS_AT_ONCE).combine_chunks()
        theirs = images.filter(pc.is_in(images["product_id"], some["product_id"].combine_chunks()))
        seen = run_tables.kept(root, "items", detector, detect.KEPT, pc.unique(theirs["image_id"]))
        yield some, *looks.worn(some, theirs, seen.filter(pc.is_valid(seen["item_id"])))


def encode(root: Path, version: str, device: str, worn: pa.Table) -> None:
    """Encodes the items that are not encoded yet, by the encoder of the run's codes."""
    from wearalike.pipeline import encode_items

    new = worn.group_by(
        ["item_id", "image_id", "x0", "y0", "x1", "y1"], use_threads=False
    ).aggregate([])
    new = new.filter(
        pc.invert(
            pc.is_in(new["item_id"], kept_codes(root, version, new)["item_id"].combine_chunks())
        )
    )
    if new.num_rows:
        model = registry.of_version(root, registry.Kind.ENCODER, version).read()
        encode_items.encode(
            root, encoders.of(model, registry.device(device)), new.sort_by("item_id")
        )


def kept_codes(root: Path, version: str, worn: pa.Table) -> pa.Table:
    return run_tables.kept(root, "codes", version, encoders.KEPT, worn["item_id"].combine_chunks())


def write(
    args: argparse.Namespace,
    root: Path,
    inputs: dict[str, str],
    facts: dict[str, str],
    products: pa.Table,
    images: pa.Table,
) -> None:
    all_images = run_tables.read(root, IMAGES, args.run, ["product_id"])
    figures_count = 0
    with run_tables.writing(
        root, LOOKS, args.run, run_tables.signature(inputs, facts), facts
    ) as table:
        for some, worn, figures in parts(root, products, images, facts["detector"]):
            found, refused = looks.looks(
                some, all_images, worn, figures, kept_codes(root, facts["encoder"], worn)
            )
            table.write(found)
            table.refuse(refused)
            figures_count += len(figures)
        table.rows_taken = products.num_rows
        table.more |= facts | {
            "images_looked_at": len(pc.unique(images["image_id"])),
            "figures": figures_count,
        }
    log.info(
        "%s looked at %d images: %d of %d products are on a full figure, %d of them with things to be matched",
        *(
            facts["detector"],
            table.more["images_looked_at"],
            figures_count,
            products.num_rows,
            table.rows_written,
        ),
    )


def main(argv: list[str] | None = None) -> int:
    return job.main(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
