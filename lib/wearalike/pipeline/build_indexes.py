"""codes -> indexes: which item stands for which product, and one binary Faiss index a super-category."""

from __future__ import annotations

import argparse
import logging
import sys

import pyarrow.compute as pc

from wearalike.pipeline import job
from wearalike.search import index
from wearalike.storage import run_tables
from wearalike.tables import CODES, IMAGES, INDEXES, ITEMS, PRODUCTS

log = logging.getLogger("wearalike.build_indexes")


def parser() -> argparse.ArgumentParser:
    return job.parser(__doc__)


def work(args: argparse.Namespace) -> None:
    root = job.load_settings(args).data_dir
    inputs = (PRODUCTS, IMAGES, ITEMS, CODES)
    signature = run_tables.signature(
        {t.name: run_tables.input_hash(root, t, args.run) for t in inputs}, {}
    )
    if job.is_up_to_date(args, root, INDEXES, signature):
        return
    products, images, items, codes = (run_tables.read_table(root, t, args.run) for t in inputs)
    found, left_out = index.select_entries(products, images, items, codes)
    with run_tables.write_table(root, INDEXES, args.run, signature) as table:
        table.write(found)
        table.refuse(left_out)
        table.rows_taken = products.num_rows
        table.manifest_extras |= {
            "detector": run_tables.read_manifest(root, ITEMS, args.run)["detector"],
            "encoder": run_tables.read_manifest(root, CODES, args.run)["encoder"],
        }
        for super_category in pc.unique(found["super_category"]).to_pylist():
            rows = found.filter(pc.equal(found["super_category"], super_category))
            index.write_index(
                table.path / f"{super_category}.faiss",
                rows["entry_id"].to_numpy(),
                index.code_array(rows["shape"], rows["colour"]),
            )
    log.info("%d of %d products have an entry", found.num_rows, products.num_rows)


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
