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

Encoders that the variants of an experiment have of their own encode the same items, in the same
way. Their codes are the table codes_variants.
"""

from __future__ import annotations

import logging

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.catalog.taxonomy import read_taxonomy
from wearalike.encoding import encoders
from wearalike.encoding.leaf_classifiers import find_leaf_classifier
from wearalike.encoding.product_leaves import build_product_leaves
from wearalike.models import registry
from wearalike.models.pose_weights import POSE_VERSION
from wearalike.models.precision import Precision
from wearalike.pipeline import item_codes, job, picture_leaves, picture_poses, variant_encoders
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command, device_option
from wearalike.search import index
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import CODES, IMAGES, ITEMS, PRODUCT_LEAVES, PRODUCTS

log = logging.getLogger("wearalike.encode_items")
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
    """Fill the caches of codes and leaves; without --shard, write the tables too."""
    settings = job.load_settings(args)
    name = OPTIONS_BY_KEY["encoder"].read(args.encoder, settings)
    precision = Precision(OPTIONS_BY_KEY["encoder_precision"].read(args.precision, settings))
    kind = registry.ModelKind.ENCODER
    model = registry.resolve_model(settings.data_dir, kind, name).at_precision(precision)
    _encode_items(args, settings, model)
    variant_encoders.encode_variants(args, settings, model.version, precision)


def _encode_items(args: StageOptions, settings: Settings, model: registry.ModelRef) -> None:
    """Encode the items that have no code of a model yet; without --shard, write both tables."""
    root = settings.data_dir
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
    new = shard.filter(pc.invert(item_codes.is_cached(root, shard, model.version, leaves))).sort_by(
        "item_id"
    )
    if new.num_rows:
        device = registry.resolve_device(args.device or settings.device)
        built = encoders.build_encoder(encoder, device, leaves, root)
        item_codes.encode_and_cache(root, built, new)
    if pose_files and wants_codes:
        picture_poses.estimate_new(root, shard, model.version, pose_files)
    if args.shard:
        return
    if wants_codes:
        with run_tables.write_table(
            root, CODES, args.run, signature, parameters, version_before=version_before
        ) as table:
            item_codes.write_codes(
                root, table, items, model.version, with_poses=pose_files is not None
            )
            table.rows_taken = items.num_rows
            table.manifest_extras["encoder"] = model.version
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


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
