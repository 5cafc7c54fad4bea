"""indexes -> kept descriptors: describes the items that stand for a run's products by other encoders, to compare them by.

What the viewer's page "Compare" shows beside the published codes: histograms, contours, floats of networks, other encoders. A
descriptor is kept by item and version, so each run only adds what is new. Needs the night's pictures, and is no part of a night.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.evaluation.descriptors import base, cache
from wearalike.models import registry
from wearalike.pipeline import job
from wearalike.pipeline.encode_items import read_item_crops
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, ITEMS

log = logging.getLogger("wearalike.describe_items")
ITEMS_PER_CACHE_WRITE = 512
# Those that need no weights but what is installed, and nothing to be fitted.
DEFAULT_ENCODERS = ("hsv", "contour", "efficientnet-lite0")


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__, is_sharded=True)
    made.add_argument(
        "--encoder",
        action="append",
        metavar="NAME",
        help=f"may be repeated; {', '.join(base.descriptor_names())}, or a model file (default: {' '.join(DEFAULT_ENCODERS)})",
    )
    made.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="default: the settings' device"
    )
    return made


def work(args: argparse.Namespace) -> None:
    settings = job.load_settings(args)
    root, device = settings.data_dir, registry.resolve_device(args.device or settings.device)
    compared = run_tables.read_table(root, INDEXES, args.run, ["item_id"])[
        "item_id"
    ].combine_chunks()
    items = run_tables.read_table(
        root, ITEMS, args.run, ["item_id", "image_id", "x0", "y0", "x1", "y1"]
    )
    items = items.filter(pc.is_in(items["item_id"], compared)).sort_by("item_id")
    items = items.filter(
        pa.array([job.is_in_shard(i, args.chunk) for i in items["item_id"].to_pylist()], pa.bool_())
    )
    for name in args.encoder or DEFAULT_ENCODERS:
        descriptor = base.load_descriptor(name, device)
        if isinstance(descriptor, base.TrainableDescriptor) and not descriptor.is_fitted:
            raise job.JobRejected(
                f"encoder {name}: has to be fitted first, which evaluate_models does on labelled photos"
            )
        log.info(
            "%s: %d items, %d new",
            descriptor.version,
            items.num_rows,
            describe_new_items(args, root, descriptor, items),
        )


def describe_new_items(
    args: argparse.Namespace, root: Path, descriptor: base.Descriptor, items: pa.Table
) -> int:
    """Describes what is not kept yet (all, with --force), a few hundred at a time; returns how many. Items whose image cannot be read
    have no code either, and are not among them."""
    if not args.force:
        known = run_tables.read_cached(
            root,
            cache.CACHE_KIND,
            descriptor.version,
            pa.schema([cache.CACHE_SCHEMA.field("item_id")]),
        )["item_id"]
        items = items.filter(pc.invert(pc.is_in(items["item_id"], known.combine_chunks())))
    progress = job.Progress(descriptor.version, items.num_rows)
    for start in range(0, items.num_rows, ITEMS_PER_CACHE_WRITE):
        part = items.slice(start, ITEMS_PER_CACHE_WRITE)
        seen = [
            (i, crop)
            for i, crop in zip(
                part["item_id"].to_pylist(), read_item_crops(root, part), strict=True
            )
            if crop is not None
        ]
        if seen:
            cache.cache_descriptors(
                root,
                descriptor.version,
                [i for i, _ in seen],
                descriptor.describe([crop for _, crop in seen]),
            )
        progress.update(part.num_rows)
    return items.num_rows


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
