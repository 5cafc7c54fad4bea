"""codes -> indexes: the item that represents each product, and an index a super-category.

Each encoder that variants of an experiment have of their own gets indexes of its own, from
codes_variants. They are the table indexes_variants.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.search import index
from wearalike.storage import run_tables
from wearalike.tables import (
    CODES,
    CODES_VARIANTS,
    IMAGES,
    INDEXES,
    INDEXES_VARIANTS,
    ITEMS,
    PRODUCTS,
)

log = logging.getLogger("wearalike.build_indexes")
# Texts and addresses are most of a row: with them a million products take gigabytes.
_COLUMNS = {PRODUCTS.name: index.PRODUCT_COLUMNS, IMAGES.name: index.IMAGE_COLUMNS}


def command() -> click.Command:
    """Return the stage as a command."""
    return build_stage_command(work, __doc__)


def work(args: StageOptions) -> None:
    """Write the tables of indexes with their index files, where they are out of date."""
    root = job.load_settings(args).data_dir
    _write_indexes(args, root)
    _write_variant_indexes(args, root)


def _write_indexes(args: StageOptions, root: Path) -> None:
    """Write the table `indexes`."""
    run = args.run
    inputs = (PRODUCTS, IMAGES, ITEMS, CODES)
    hashes = {t.name: run_tables.input_hash(root, t, run) for t in inputs}
    signature = run_tables.signature(hashes, {})
    if job.is_up_to_date(args, root, INDEXES, signature):
        return
    products, images, items, codes = (
        run_tables.read_table(root, t, run, _COLUMNS.get(t.name)) for t in inputs
    )
    entries, refused = index.select_entries(products, images, items, codes)
    with run_tables.write_table(root, INDEXES, run, signature) as table:
        table.write(entries)
        table.refuse(refused)
        table.rows_taken = products.num_rows
        table.manifest_extras |= {
            "detector": run_tables.read_manifest(root, ITEMS, run)["detector"],
            "encoder": run_tables.read_manifest(root, CODES, run)["encoder"],
        }
        _write_index_files(table.path, entries)
    log.info("%d of %d products have an entry", entries.num_rows, products.num_rows)


def _write_variant_indexes(args: StageOptions, root: Path) -> None:
    """Write the table `indexes_variants`; without codes of variants, remove a former one."""
    run = args.run
    if not run_tables.is_complete(root, CODES_VARIANTS, run):
        run_tables.remove_table(root, INDEXES_VARIANTS, run)
        return
    inputs = (PRODUCTS, IMAGES, ITEMS, CODES_VARIANTS)
    hashes = {t.name: run_tables.input_hash(root, t, run) for t in inputs}
    encoders = run_tables.read_manifest(root, CODES_VARIANTS, run)["parameters"]["encoders"]
    parameters = {"encoders": encoders}
    signature = run_tables.signature(hashes, parameters)
    if job.is_up_to_date(args, root, INDEXES_VARIANTS, signature):
        return
    products, images, items, codes = (
        run_tables.read_table(root, t, run, _COLUMNS.get(t.name)) for t in inputs
    )
    versions = sorted(set(encoders.values()))
    with run_tables.write_table(root, INDEXES_VARIANTS, run, signature, parameters) as table:
        for version in versions:
            own = codes.filter(pc.equal(codes["encoder"], version))
            entries, refused = index.select_entries(products, images, items, own)
            name = pa.repeat(pa.scalar(version), entries.num_rows)
            table.write(entries.add_column(0, "encoder", name))
            table.refuse(refused)
            _write_index_files(table.path / version, entries)
            log.info("%s: %d products have an entry", version, entries.num_rows)
        table.rows_taken = products.num_rows * len(versions)


def _write_index_files(folder: Path, entries: pa.Table) -> None:
    """Write an index file for each super-category."""
    folder.mkdir(exist_ok=True)
    for super_category in pc.unique(entries["super_category"]).to_pylist():
        rows = entries.filter(pc.equal(entries["super_category"], super_category))
        index.write_index(
            folder / f"{super_category}.faiss",
            rows["entry_id"].to_numpy(),
            index.code_array(rows["shape"], rows["colour"]),
        )


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
