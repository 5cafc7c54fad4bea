"""`wearalike describe-items`: encode the items of a run's products by other encoders.

The server's page "Compare" shows these beside the published codes.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.commands.groups import command
from wearalike.commands.options import ParsedText, parse_name_and_file, settings_options
from wearalike.evaluation.descriptors import base, cache
from wearalike.models import registry
from wearalike.models.files import BadModel
from wearalike.pipeline import job
from wearalike.pipeline.encode_items import read_item_crops
from wearalike.settings import Settings
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES, ITEMS

log = logging.getLogger("wearalike.describe_items")
ITEMS_PER_CACHE_WRITE = 512
# These need no weights but installed ones, and need not be fitted.
DEFAULT_ENCODERS = ("hsv", "contour", "efficientnet-lite0")


@command("describe-items")
@click.option(
    "--run", "run_name", help="Run whose items are encoded; default: the last that has indexes."
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    default=DEFAULT_ENCODERS,
    show_default=True,
    metavar="NAME",
    help=f"May be repeated: {', '.join(base.descriptor_names())}, or a model file.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where networks run; default: the settings' device.",
)
@click.option(
    "--shard",
    type=ParsedText("I/N", job.parse_shard),
    help="Only shard I of N (1/4 .. 4/4); without it: everything that is left.",
)
@click.option(
    "--weights",
    type=ParsedText("NAME=FILE", parse_name_and_file),
    multiple=True,
    help="Weights of a network, where torch's cache has none; may be repeated.",
)
@click.option("--force", is_flag=True, help="Encode all items again.")
@click.option(
    "--if-set",
    "is_if_set",
    is_flag=True,
    help="Take the encoders from compared_encoders of the settings; do nothing where it is empty.",
)
@settings_options
def describe_items(
    run_name: str | None,
    encoders: tuple[str, ...],
    device: str | None,
    shard: tuple[int, int] | None,
    weights: tuple[tuple[str, Path], ...],
    force: bool,
    is_if_set: bool,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Encode the items of a run's products by other encoders, to compare them.

    The encoders are histograms, contours, features of networks, or other models. Their
    descriptors are cached by item and version, so each run only adds what is new. A run does not
    need them.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    if is_if_set:
        describe_by_settings(settings, run_name)
        return
    if unknown := sorted({name for name, _ in weights} - set(encoders)):
        names = ", ".join(encoders)
        raise job.JobRejected(f"--weights {unknown[0]}: not among --encoder {names}")
    root = settings.data_dir
    items = _indexed_items(root, run_name, shard)
    device = registry.resolve_device(device or settings.device)
    for name in encoders:
        descriptor = base.load_descriptor(name, device, dict(weights).get(name))
        if isinstance(descriptor, base.TrainableDescriptor) and not descriptor.is_fitted:
            raise job.JobRejected(
                f"encoder {name}: has to be fitted first, "
                "which `wearalike evaluate` does on labelled photos"
            )
        new_count = describe_new_items(root, descriptor, items, force=force)
        log.info("%s: %d items, %d new", descriptor.version, items.num_rows, new_count)


def describe_by_settings(settings: Settings, run: str | None) -> None:
    """Describe the items of a published run by the compared encoders of the settings.

    If one cannot, it warns: the run is published, and does not need them.

    Args:
        settings: the settings.
        run: the run; None for the last that has indexes.
    """
    if not settings.compared_encoders:
        log.info("nothing is described: the settings name no compared_encoders")
    for name in settings.compared_encoders:
        try:
            descriptor = base.load_descriptor(name, registry.resolve_device(settings.device))
            items = _indexed_items(settings.data_dir, run, None)
            count = describe_new_items(settings.data_dir, descriptor, items)
            log.info("%s: %d items, %d new", descriptor.version, items.num_rows, count)
        except BadModel as error:
            log.warning("the items are not described: %s", error)


def _indexed_items(root: Path, run: str | None, shard: tuple[int, int] | None) -> pa.Table:
    """Return the items that represent products in the run's indexes, sorted by id.

    Without a run, the last that has indexes is taken.
    """
    runs = run_tables.list_runs(root, INDEXES)
    if not (run or runs):
        raise run_tables.TableNotFound(f"{root}: no run has indexes yet; start one: wearalike run")
    run = run or runs[-1]
    indexed = run_tables.read_table(root, INDEXES, run, ["item_id"])["item_id"].combine_chunks()
    items = run_tables.read_table(root, ITEMS, run, ["item_id", "image_id", "x0", "y0", "x1", "y1"])
    items = items.filter(pc.is_in(items["item_id"], indexed)).sort_by("item_id")
    is_mine = [job.is_in_shard(item_id, shard) for item_id in items["item_id"].to_pylist()]
    return items.filter(pa.array(is_mine, pa.bool_()))


def describe_new_items(
    root: Path, descriptor: base.Descriptor, items: pa.Table, *, force: bool = False
) -> int:
    """Describe and cache the items that are not cached yet, some hundred at a time.

    Items whose image cannot be read have no code either, and are not among them.

    Args:
        root: folder of all tables.
        descriptor: the encoder.
        items: item_id, image_id and box of each item.
        force: describe all items again.

    Returns:
        How many items were described.
    """
    if not force:
        id_column = pa.schema([cache.CACHE_SCHEMA.field("item_id")])
        cached = content_cache.read_cached(root, cache.CACHE_KIND, descriptor.version, id_column)
        cached_ids = cached["item_id"].combine_chunks()
        items = items.filter(pc.invert(pc.is_in(items["item_id"], cached_ids)))
    progress = job.Progress(descriptor.version, items.num_rows)
    for start in range(0, items.num_rows, ITEMS_PER_CACHE_WRITE):
        part = items.slice(start, ITEMS_PER_CACHE_WRITE)
        crops = dict(zip(part["item_id"].to_pylist(), read_item_crops(root, part), strict=True))
        readable = {item_id: crop for item_id, crop in crops.items() if crop is not None}
        if readable:
            rows = descriptor.describe(list(readable.values()))
            cache.cache_descriptors(root, descriptor.version, list(readable), rows)
        progress.update(part.num_rows)
    return items.num_rows
