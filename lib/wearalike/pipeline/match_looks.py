"""looks, indexes -> look_products: for each item that a product is worn with, the products most alike it in stock.

Exact, inside the item's super-category, for the same people, weighted as the category of most of its nearest in shape is.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike import search
from wearalike.detection import looks
from wearalike.pipeline import job
from wearalike.search import gallery_store
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, LOOK_PRODUCTS, LOOKS, PRODUCTS

log = logging.getLogger("wearalike.match_looks")


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__)
    made.add_argument(
        "--k",
        type=int,
        default=5,
        help="recommendations of each super-category (default: %(default)s)",
    )
    made.add_argument(
        "--min-score",
        type=float,
        default=search.ListRules().min_score,
        help="0..1; less alike is left out (default: %(default)s)",
    )
    return made


def work(args: argparse.Namespace) -> None:
    root = job.load_settings(args).data_dir
    rules = search.ListRules(args.k, args.min_score, max_per_brand=args.k)
    parameters = asdict(rules)
    signature = run_tables.signature(
        {t.name: run_tables.input_hash(root, t, args.run) for t in (PRODUCTS, INDEXES, LOOKS)},
        parameters,
    )
    if job.is_up_to_date(args, root, LOOK_PRODUCTS, signature):
        return
    worn, products = (
        run_tables.read_table(root, LOOKS, args.run),
        run_tables.read_table(
            root, PRODUCTS, args.run, ["product_id", "shop_id", "gender", "age_group"]
        ),
    )
    facts = {
        name: fact
        for name, fact in run_tables.read_manifest(root, LOOKS, args.run).items()
        if name in ("detector", "encoder", "why_empty")
    }
    with run_tables.write_table(root, LOOK_PRODUCTS, args.run, signature, parameters) as table:
        if worn.num_rows:
            found = pa.concat_tables(
                iter_look_products(
                    root,
                    args.run,
                    looks.explode_looks(worn),
                    products,
                    rules,
                    facts["detector"],
                    facts["encoder"],
                )
            )
            table.write(found.sort_by([(name, "ascending") for name in LOOK_PRODUCTS.key]))
            table.refuse(looks.refuse_unmatched_looks(worn, products, found))
        table.manifest_extras |= facts
    log.info("%d recommendations for the looks of %d products", table.rows_written, worn.num_rows)


def iter_look_products(
    root: Path,
    run: str,
    items: pa.Table,
    products: pa.Table,
    rules: search.ListRules,
    detector: str,
    encoder: str,
) -> Iterator[pa.Table]:
    """Rows of look_products, a table for each super-category and the people that products are for."""
    yield LOOK_PRODUCTS.arrow_schema.empty_table()
    at = pc.index_in(items["product_id"], products["product_id"].combine_chunks())
    people = np.array(
        [
            "\n".join(p)
            for p in zip(
                *(products[n].take(at).to_pylist() for n in ("age_group", "gender")), strict=True
            )
        ]
    )
    kinds = np.array(items["super_category"].to_pylist())
    for super_category in sorted(set(kinds) & set(gallery_store.list_super_categories(root, run))):
        gallery = gallery_store.load_gallery(root, run, super_category)
        for audience in np.unique(people[kinds == super_category]):
            candidates = np.flatnonzero(search.eligible_candidates(gallery, *audience.split("\n")))
            if not len(candidates):
                continue
            asking = items.filter(
                pa.array((kinds == super_category) & (people == audience))
            ).sort_by("product_id")
            codes = np.frombuffer(
                b"".join(
                    s + c
                    for s, c in zip(
                        asking["shape"].to_pylist(), asking["colour"].to_pylist(), strict=True
                    )
                ),
                np.uint64,
            )
            codes = codes.reshape(-1, 4)
            voted = search.vote_category_weights(gallery, candidates, codes)
            found = search.search_codes(
                gallery,
                candidates,
                codes,
                gallery.shape_weight[voted],
                gallery.colour_weight[voted],
                rules,
            )
            yield search.build_look_products(gallery, asking, list(found), voted, detector, encoder)


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
