"""indexes -> matches, similar_products, similar_lists: the most alike products of every product, exactly.

Spark spreads the queries: a task is some hundred products of one super-category, and every worker loads the index
of that super-category once. The merchandiser's rules of the run's day act inside the search.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wearalike import categories, job, matches, shelves, store
from wearalike.tables import ENTRIES, MATCHES, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS

log = logging.getLogger("wearalike.match_products")
QUERIES_A_TASK = 2048
TASK = "root string, run string, super_category string, start int, k int, min_score double, max_per_brand int, merchandise string"


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__)
    rules = matches.Rules()
    made.add_argument("--k", type=int, default=rules.k, help="recommendations a product (default: %(default)s)")
    made.add_argument("--min-score", type=float, default=rules.min_score, help="0..1; less alike is left out (default: %(default)s)")
    made.add_argument("--max-per-brand", type=int, default=rules.max_per_brand, help="of one brand in a list (default: %(default)s)")
    made.add_argument("--master", help="Spark's master; default: the settings'")
    return made


def work(args: argparse.Namespace) -> None:
    settings = job.place(args)
    root, rules = settings.root.resolve(), matches.Rules(args.k, args.min_score, args.max_per_brand)
    inputs = {t.name: store.input_hash(root, t, args.run) for t in (PRODUCTS, ENTRIES)}
    rubricator = categories.read_rubricator(settings.mappings / "rubricator.xml")
    merchandise = categories.holding(categories.read_rules(categories.rules_path(settings), rubricator), args.run)
    parameters = {**asdict(rules), "merchandise": [asdict(rule) for rule in merchandise]}
    signature = store.signature(inputs, parameters)
    if not job.stands(args, root, MATCHES, signature):
        write_matches(root, args.run, args.master or settings.master, parameters, signature)
    flatten(args, root, store.signature({"matches": store.input_hash(root, MATCHES, args.run)}, {}))


def write_matches(root: Path, run: str, master: str, parameters: dict[str, Any], signature: str) -> None:
    from pyspark.sql.pandas.types import from_arrow_schema
    from wearalike_jobs.spark import session

    entries, products = (store.read(root, t, run, ["product_id", *more]) for t, more in ((ENTRIES, ["super_category"]), (PRODUCTS, [])))
    *rules, merchandise = parameters.values()
    warn_of_lost_pins(merchandise, entries["product_id"])
    tasks = [
        (str(root), run, str(count["values"]), start, *rules, json.dumps(merchandise))
        for count in sorted(pc.value_counts(entries["super_category"].combine_chunks()).to_pylist(), key=lambda c: c["values"])
        for start in range(0, count["counts"], QUERIES_A_TASK)
    ]
    with store.writing(root, MATCHES, run, signature, parameters) as table:
        if tasks:
            spark = session("match_products", master)
            frame = spark.createDataFrame(spark.sparkContext.parallelize(tasks, len(tasks)), TASK)
            frame.mapInArrow(_matched, from_arrow_schema(MATCHES.arrow_schema)).write.parquet(f"file://{table.path}/spark")
            table.adopt(table.path / "spark")
        rest = products.filter(pc.invert(pc.is_in(products["product_id"], entries["product_id"].combine_chunks())))
        table.write(matches.without_code(rest["product_id"].combine_chunks()))
        table.rows_taken = products.num_rows


def _matched(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    # By its importable name, not as __main__: the worker process then keeps its gallery from task to task.
    from wearalike_jobs.match_products import gallery

    for batch in batches:
        for task in batch.to_pylist():
            here = gallery(task["root"], task["run"], task["super_category"])
            rules = matches.Rules(task["k"], task["min_score"], task["max_per_brand"])
            merchandise = [categories.Rule(**rule) for rule in json.loads(task["merchandise"])]
            yield matches.table(here, list(matches.search(here, task["start"], task["start"] + QUERIES_A_TASK, rules, merchandise)))


def warn_of_lost_pins(merchandise: list[dict[str, Any]], product_ids: pa.ChunkedArray) -> None:
    pinned = [rule["product"] for rule in merchandise if rule["kind"] == categories.RuleKind.PIN]
    lost = set(pinned) - set(product_ids.filter(pc.is_in(product_ids, pa.array(pinned, pa.string()))).to_pylist())
    if lost:
        log.warning("pinned in rules.xml, and not to be found in this run: %s", ", ".join(sorted(lost)))


@lru_cache(maxsize=1)
def gallery(root: str, run: str, super_category: str) -> matches.Gallery:
    """A worker keeps the gallery that it searched last."""
    return shelves.gallery(Path(root), run, super_category)


def flatten(args: argparse.Namespace, root: Path, signature: str) -> None:
    """similar_products and similar_lists from matches, batch by batch."""
    products = store.read(root, PRODUCTS, args.run, ["product_id", "w_shape", "w_colour"])
    entries = store.read(root, ENTRIES, args.run, ["product_id", "image_id"])
    models = store.made(root, ENTRIES, args.run)
    if not job.stands(args, root, SIMILAR_PRODUCTS, signature):
        with store.writing(root, SIMILAR_PRODUCTS, args.run, signature) as table:
            for batch in store.dataset(root, MATCHES, args.run).to_batches():
                table.write(matches.similar_products(pa.Table.from_batches([batch]), products, models["detector"], models["encoder"]))
        log.info("%d recommendations", table.rows_written)
    if not job.stands(args, root, SIMILAR_LISTS, signature):
        with store.writing(root, SIMILAR_LISTS, args.run, signature) as table:
            for batch in store.dataset(root, MATCHES, args.run).to_batches():
                table.write(matches.similar_lists(pa.Table.from_batches([batch]), entries))
        log.info("%d products", table.rows_written)


def main(argv: list[str] | None = None) -> int:
    return job.main(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
