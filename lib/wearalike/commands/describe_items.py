"""`wearalike describe-items`: encode the items of a run's products by other encoders.

The server's page "Compare" shows these beside the published codes.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from wearalike.commands.groups import command
from wearalike.commands.options import ParsedText, parse_name_and_file, settings_options
from wearalike.evaluation.descriptors import base, cache, fitted
from wearalike.models import registry
from wearalike.models.files import BadModel
from wearalike.pipeline import job
from wearalike.pipeline.item_codes import read_item_crops
from wearalike.settings import Settings
from wearalike.storage import content_cache, run_tables
from wearalike.storage.object_store import StoreFault
from wearalike.tables import INDEXES, ITEMS

log = logging.getLogger("wearalike.describe_items")
ITEMS_PER_CACHE_WRITE = 512
# Items that an encoder is fitted on at most, and the longer side of their pictures in px.
MAX_FIT_ITEMS = 2000
FIT_SIDE_PX = 256
ITEMS_PER_READ = 64
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
@click.option(
    "--fit",
    "is_fit",
    is_flag=True,
    help="Fit autoencoder and sift-bag on the run's items, and keep them in the data_dir; a kept "
    "one is replaced. Without it kept ones are used as they are.",
)
@click.option("--force", is_flag=True, help="Encode all items again.")
@click.option(
    "--if-set",
    "is_if_set",
    is_flag=True,
    help="Take the encoders from compared_encoders of the settings; do nothing where it is empty. "
    "One that was never fitted is fitted and kept.",
)
@settings_options
def describe_items(
    run_name: str | None,
    encoders: tuple[str, ...],
    device: str | None,
    shard: tuple[int, int] | None,
    weights: tuple[tuple[str, Path], ...],
    is_fit: bool,
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
    if is_fit:
        _check_fit(encoders, shard, dict(weights))
    root = settings.data_dir
    run = _resolve_run(root, run_name)
    items = _indexed_items(root, run, shard)
    device = registry.resolve_device(device or settings.device)
    for name in encoders:
        if is_fit and name in base.FITTED_NAMES:
            descriptor: base.Descriptor = fit_on_items(root, name, device, run, items)
        else:
            descriptor = fitted.load_kept(root, name, device, dict(weights).get(name))
        if isinstance(descriptor, base.TrainableDescriptor) and not descriptor.is_fitted:
            raise job.JobRejected(
                f"encoder {name}: has to be fitted first, once: "
                f"wearalike describe-items --run {run} --encoder {name} --fit"
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
        return
    root = settings.data_dir
    run = _resolve_run(root, run)
    items = _indexed_items(root, run, None)
    device = registry.resolve_device(settings.device)
    for name, weights in settings.encoder_weights().items():
        try:
            descriptor = fitted.load_kept(root, name, device, weights)
            if isinstance(descriptor, base.TrainableDescriptor) and not descriptor.is_fitted:
                descriptor = fit_on_items(root, name, device, run, items)
            count = describe_new_items(root, descriptor, items)
            log.info("%s: %d items, %d new", descriptor.version, items.num_rows, count)
        except (BadModel, StoreFault) as error:
            log.warning("the items are not described: %s", error)


def fit_on_items(
    root: Path, name: str, device: str, run: str, items: pa.Table
) -> base.TrainableDescriptor:
    """Fit an encoder on items of a run, and keep it for later nights.

    Args:
        root: folder of all tables.
        name: the encoder.
        device: "cpu" or "cuda".
        run: the run, for the model's card.
        items: item_id, image_id and box of each item; from more than MAX_FIT_ITEMS a part is drawn.

    Returns:
        The fitted encoder.

    Raises:
        BadModel: the items are too few.
    """
    former = fitted.kept_version(root, name)
    # Drawn by a hash: the same items give the same model.
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in items["item_id"].to_pylist()]
    drawn = items.take(np.sort(np.argsort(hashes)[:MAX_FIT_ITEMS]))
    log.info("%s: fitting it on %d of %d items", name, drawn.num_rows, items.num_rows)
    crops = [
        _shrink(crop)
        for part in range(0, drawn.num_rows, ITEMS_PER_READ)
        for crop in read_item_crops(root, drawn.slice(part, ITEMS_PER_READ), FIT_SIDE_PX, set())
        if crop is not None
    ]
    facts: dict[str, str | int] = {"run": run, "items": len(crops), "seed": 0}
    descriptor = fitted.fit_and_keep(root, name, device, crops, facts)
    if former not in (None, descriptor.version):
        log.info("%s: %s takes the place of %s", name, descriptor.version, former)
    log.info("%s: kept as %s", descriptor.version, fitted.fitted_path(root, name))
    return descriptor


def _check_fit(
    encoders: tuple[str, ...], shard: tuple[int, int] | None, weights: dict[str, Path]
) -> None:
    """Raise JobRejected where --fit has nothing to fit, or would fit on a part."""
    to_fit = [name for name in encoders if name in base.FITTED_NAMES]
    if not to_fit:
        raise job.JobRejected(
            f"--fit: none of --encoder {', '.join(encoders)} has to be fitted; "
            f"those that have: {', '.join(base.FITTED_NAMES)}"
        )
    if shard:
        raise job.JobRejected("--fit: a shard would be fitted on its part; fit without --shard")
    if both := [name for name in to_fit if name in weights]:
        raise job.JobRejected(f"--fit and --weights {both[0]}: wanted one of the two")


def _shrink(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a crop of at most FIT_SIDE_PX a side, so that thousands fit in memory."""
    image = Image.fromarray(crop)
    image.thumbnail((FIT_SIDE_PX, FIT_SIDE_PX))
    return np.asarray(image)


def _resolve_run(root: Path, run: str | None) -> str:
    """Return the run asked for, else the last that has indexes."""
    runs = run_tables.list_runs(root, INDEXES)
    if not (run or runs):
        raise run_tables.TableNotFound(f"{root}: no run has indexes yet; start one: wearalike run")
    return run or runs[-1]


def _indexed_items(root: Path, run: str, shard: tuple[int, int] | None) -> pa.Table:
    """Return the items that represent products in the run's indexes, sorted by id."""
    indexed = run_tables.read_table(root, INDEXES, run, ["item_id"])["item_id"].combine_chunks()
    items = run_tables.read_table(root, ITEMS, run, ["item_id", "image_id", "x0", "y0", "x1", "y1"])
    items = items.filter(pc.is_in(items["item_id"], indexed)).sort_by("item_id")
    is_mine = [job.is_in_shard(item_id, shard) for item_id in items["item_id"].to_pylist()]
    return items.filter(pa.array(is_mine, pa.bool_()))


def describe_new_items(
    root: Path, descriptor: base.Descriptor, items: pa.Table, *, force: bool = False
) -> int:
    """Describe and cache the items that are not cached yet, some hundred at a time.

    Items whose image is lost are left out with a warning, and come with a later run.

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
    lost_ids: set[str] = set()
    described_count = 0
    for start in range(0, items.num_rows, ITEMS_PER_CACHE_WRITE):
        part = items.slice(start, ITEMS_PER_CACHE_WRITE)
        pictures = read_item_crops(root, part, lost_ids=lost_ids)
        crops = dict(zip(part["item_id"].to_pylist(), pictures, strict=True))
        readable = {item_id: crop for item_id, crop in crops.items() if crop is not None}
        if readable:
            rows = descriptor.describe(list(readable.values()))
            cache.cache_descriptors(root, descriptor.version, list(readable), rows)
        described_count += len(readable)
        progress.update(part.num_rows)
    return described_count
