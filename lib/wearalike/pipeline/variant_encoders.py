"""Encoders that variants of an experiment have of their own: their codes, and who uses them.

A variant whose encoder is that of the run shares the run's codes and indexes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.encoding import encoders
from wearalike.models import registry
from wearalike.models.pose_weights import POSE_VERSION
from wearalike.models.precision import Precision, file_version
from wearalike.pipeline import item_codes, job, picture_poses
from wearalike.pipeline.stage_command import StageOptions
from wearalike.search import index
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import CODES_VARIANTS, IMAGES, INDEXES, INDEXES_VARIANTS, ITEMS, PRODUCTS

log = logging.getLogger("wearalike.encode_items")
_PRODUCT_COLUMNS = ["product_id", "super_category"]


def encode_variants(
    args: StageOptions, settings: Settings, control: str, precision: Precision
) -> None:
    """Fill the caches of codes of the variants' encoders; without --shard, write their table too.

    Args:
        args: The stage's options.
        settings: The settings.
        control: Version of the run's encoder.
        precision: In which all encoders compute.

    Raises:
        BadModel: There is no such encoder, or no CPU here computes in the precision.
    """
    root, run = settings.data_dir, args.run
    models = {
        name: model.at_precision(precision) for name, model in _resolve_models(settings).items()
    }
    for name in [name for name, model in models.items() if model.version == control]:
        log.warning("variant %s: its encoder is that of the run, %s", name, control)
        del models[name]
    if not models:
        if not args.shard:
            run_tables.remove_table(root, CODES_VARIANTS, run)
        return
    pose_files = picture_poses.find_weights(settings.poses)
    parameters: dict[str, Any] = {
        "encoders": {name: model.version for name, model in models.items()}
    }
    if pose_files:
        parameters["poses"] = POSE_VERSION
    inputs = {t.name: run_tables.input_hash(root, t, run) for t in (PRODUCTS, IMAGES, ITEMS)}
    signature = run_tables.signature(inputs, parameters)
    if not args.shard and job.is_up_to_date(args, root, CODES_VARIANTS, signature):
        return
    items = _read_items(root, run)
    shard = items.filter(
        pa.array([job.is_in_shard(i, args.shard) for i in items["item_id"].to_pylist()], pa.bool_())
    )
    by_version = {model.version: model for _, model in sorted(models.items())}
    for version, model in by_version.items():
        is_known = item_codes.is_cached(root, shard, version, None)
        new = shard.filter(pc.invert(is_known)).sort_by("item_id")
        if new.num_rows:
            device = registry.resolve_device(args.device or settings.device)
            encoder = encoders.build_encoder(model.read(), device, root=root)
            item_codes.encode_and_cache(root, encoder, new)
        if pose_files:
            picture_poses.estimate_new(root, shard, version, pose_files)
        log.info("%s: %d items of variants, %d new", version, shard.num_rows, new.num_rows)
    if args.shard:
        return
    with run_tables.write_table(root, CODES_VARIANTS, run, signature, parameters) as table:
        for version in by_version:
            item_codes.write_codes(root, table, items, version, with_poses=pose_files is not None)
        table.rows_taken = items.num_rows * len(by_version)


def find_variant_encoders(settings: Settings, run: str) -> dict[str, str]:
    """Return the version of the encoder whose indexes each variant is matched by.

    Args:
        settings: The settings.
        run: The run, whose indexes are built.

    Returns:
        The versions by variant, without the variants that share the run's encoder.

    Raises:
        JobRejected: A variant's encoder is not that of the run's indexes.
    """
    root = settings.data_dir
    built: Mapping[str, str] = {}
    if run_tables.is_complete(root, INDEXES_VARIANTS, run):
        built = run_tables.read_manifest(root, INDEXES_VARIANTS, run)["parameters"]["encoders"]
    control = run_tables.read_manifest(root, INDEXES, run)["encoder"]
    found = {}
    for name, model in _resolve_models(settings).items():
        version = built.get(name, control)
        # A precision that the night was asked for is no concern of later stages.
        if file_version(version) != model.version:
            raise job.JobRejected(
                f"variant {name!r} of the experiment has no indexes of {model.version} in run "
                f"{run}; run encode_items and build_indexes again"
            )
        if version != control:
            found[name] = version
    return found


def _resolve_models(settings: Settings) -> dict[str, registry.ModelRef]:
    """Return the model of each variant that names an encoder."""
    kind = registry.ModelKind.ENCODER
    variants = settings.experiment.variants if settings.experiment else {}
    return {
        name: registry.resolve_model(settings.data_dir, kind, variant.encoder)
        for name, variant in variants.items()
        if variant.encoder is not None
    }


def _read_items(root: Path, run: str) -> pa.Table:
    """Return the items that may represent a product."""
    detected = run_tables.read_table(root, ITEMS, run)
    products = run_tables.read_table(root, PRODUCTS, run, _PRODUCT_COLUMNS)
    images = run_tables.read_table(root, IMAGES, run, ["product_id", "image_id"])
    return detected.filter(index.may_represent(products, images, detected))
