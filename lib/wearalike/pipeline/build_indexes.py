"""codes -> indexes: the item that represents each product, and an index a super-category."""

from __future__ import annotations

import logging

import click
import pyarrow.compute as pc

from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.search import index
from wearalike.storage import run_tables
from wearalike.tables import CODES, IMAGES, INDEXES, ITEMS, PRODUCTS

log = logging.getLogger("wearalike.build_indexes")


def command() -> click.Command:
    """Return the stage as a command."""
    return build_stage_command(work, __doc__)


def work(args: StageOptions) -> None:
    """Write the table `indexes` and its index files, if they are out of date."""
    root = job.load_settings(args).data_dir
    run = args.run
    inputs = (PRODUCTS, IMAGES, ITEMS, CODES)
    hashes = {t.name: run_tables.input_hash(root, t, run) for t in inputs}
    signature = run_tables.signature(hashes, {})
    if job.is_up_to_date(args, root, INDEXES, signature):
        return
    products, images, items, codes = (run_tables.read_table(root, t, run) for t in inputs)
    entries, refused = index.select_entries(products, images, items, codes)
    with run_tables.write_table(root, INDEXES, run, signature) as table:
        table.write(entries)
        table.refuse(refused)
        table.rows_taken = products.num_rows
        table.manifest_extras |= {
            "detector": run_tables.read_manifest(root, ITEMS, run)["detector"],
            "encoder": run_tables.read_manifest(root, CODES, run)["encoder"],
        }
        for super_category in pc.unique(entries["super_category"]).to_pylist():
            rows = entries.filter(pc.equal(entries["super_category"], super_category))
            index.write_index(
                table.path / f"{super_category}.faiss",
                rows["entry_id"].to_numpy(),
                index.code_array(rows["shape"], rows["colour"]),
            )
    log.info("%d of %d products have an entry", entries.num_rows, products.num_rows)


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
