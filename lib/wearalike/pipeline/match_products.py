"""indexes -> matches, similar_products, similar_lists: the most alike products of every product, exactly.

Spark spreads the queries: a task is some thousand products of one super-category, however large that is, and every worker
maps the index of that super-category once. On a cluster (--spark-master spark://..., yarn, k8s://...) root is a folder that all of it
sees, and the library is shipped with the job; the rows are the same whatever the tasks and wherever they ran. The merchandiser's
rules of the run's day act inside the search. With --device cuda every worker searches on its machine's GPU, and finds the same.

What is nearest to each product is kept beside the table, in candidates/<super-category>/. The next run searches only for what is new
or has changed since, and comes to the same table; with --force, or where another run's tables are gone, everything is searched.
_manifest.json says under `searched` since which run, how many products searched everything and how many went on from then.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wearalike import catalog, search
from wearalike.pipeline import job
from wearalike.search import gallery_store
from wearalike.storage import atomic, run_tables
from wearalike.tables import INDEXES, MATCHES, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("wearalike.match_products")
QUERIES_A_TASK = 16_384
# How many products of a task searched everything, in its file of what was nearest.
SEARCHED_ANEW_KEY = b"searched_anew"
TASK_SCHEMA = (
    "root string, run string, since string, near string, device string, super_category string, start long, stop long, k int,"
    "min_score double,"
    "max_per_brand int, merchandise string"
)


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__)
    rules = search.ListRules()
    made.add_argument(
        "--k", type=int, default=rules.k, help="recommendations a product (default: %(default)s)"
    )
    made.add_argument(
        "--min-score",
        type=float,
        default=rules.min_score,
        help="0..1; less alike is left out (default: %(default)s)",
    )
    made.add_argument(
        "--max-per-brand",
        type=int,
        default=rules.max_per_brand,
        help="of one brand in a list (default: %(default)s)",
    )
    said = "auto is the CPU, which every worker has; default: the settings' device"
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), help=said)
    made.add_argument("--spark-master", help="Spark's master; default: the settings'")
    return made


def work(args: argparse.Namespace) -> None:
    settings = job.load_settings(args)
    root, rules = (
        settings.data_dir.resolve(),
        search.ListRules(args.k, args.min_score, args.max_per_brand),
    )
    inputs = input_hashes(root, args.run)
    taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
    merchandise = catalog.active_rules(
        catalog.read_rules(catalog.rules_path(settings), taxonomy), args.run
    )
    parameters = {**asdict(rules), "merchandise": [asdict(rule) for rule in merchandise]}
    signature = run_tables.signature(inputs, parameters)
    if not job.is_up_to_date(args, root, MATCHES, signature):
        since = None if args.force else find_previous_run(root, args.run)
        device = "cuda" if (args.device or settings.device) == "cuda" else "cpu"
        write_matches(
            root,
            args.run,
            args.spark_master or settings.spark_master,
            device,
            parameters,
            signature,
            since,
        )
    write_similar_tables(
        args,
        root,
        run_tables.signature({"matches": run_tables.input_hash(root, MATCHES, args.run)}, {}),
    )


def write_matches(
    root: Path,
    run: str,
    master: str,
    device: str,
    parameters: dict[str, Any],
    signature: str,
    since: str | None,
) -> None:
    """device: where the workers search. since: the run to go on from; None to search everything."""
    from wearalike.pipeline.spark import spark_session

    entries, products = (
        run_tables.read_table(root, t, run, ["product_id", *more])
        for t, more in ((INDEXES, ["super_category"]), (PRODUCTS, []))
    )
    *rules, merchandise = parameters.values()
    warn_of_lost_pins(merchandise, entries["product_id"])
    with run_tables.write_table(root, MATCHES, run, signature, parameters) as table:
        near = table.path / "near"
        counts = {
            count["values"]: count["counts"]
            for count in pc.value_counts(entries["super_category"].combine_chunks()).to_pylist()
        }
        tasks = [
            (str(root), run, since, str(near), device, *share, *rules, json.dumps(merchandise))
            for share in split_queries(counts)
        ]
        if tasks:
            with spark_session("match_products", master, table.path) as spark:
                run_tasks(spark, tasks, len(tasks)).write.parquet(f"file://{table.path}/spark")
            table.adopt_parts(table.path / "spark")
        for left in near.glob("*/.*"):  # by workers that were lost
            left.unlink()
        rest = products.filter(
            pc.invert(pc.is_in(products["product_id"], entries["product_id"].combine_chunks()))
        )
        table.write(search.build_matches_without_code(rest["product_id"].combine_chunks()))
        table.rows_taken = products.num_rows
        anew = sum(
            int(pq.read_schema(path).metadata[SEARCHED_ANEW_KEY])
            for path in near.glob("*/*.parquet")
        )
        table.manifest_extras["searched"] = {
            "since": since,
            "anew": anew,
            "remembered": entries.num_rows - anew,
        }
        table.manifest_extras["made_from"] = input_hashes(root, run)
    log.info(
        "%d products searched everything, %d what changed since %s",
        anew,
        entries.num_rows - anew,
        since,
    )


def split_queries(counts: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """What each task searches, in the table's order: a super-category, its first row, and the row after its last.

    counts: of products in each super-category. None is more than QUERIES_A_TASK rows, so that one super-category which holds most of
    a run keeps as many workers busy as all others would; those of one super-category differ by a row at most.
    """
    found = []
    for super_category, count in sorted(counts.items()):
        parts = -(-count // QUERIES_A_TASK)
        bounds = [count * part // parts for part in range(parts + 1)]
        found += [(super_category, bounds[part], bounds[part + 1]) for part in range(parts)]
    return found


def run_tasks(spark: SparkSession, tasks: Sequence[tuple[Any, ...]], parts: int) -> DataFrame:
    """Rows of tables.MATCHES of the tasks, in their order; a worker does a part after the other. tasks: rows of TASK."""
    from pyspark.sql.pandas.types import from_arrow_schema

    frame = spark.createDataFrame(spark.sparkContext.parallelize(tasks, parts), TASK_SCHEMA)
    return frame.mapInArrow(_match_batches, from_arrow_schema(MATCHES.arrow_schema))


def input_hashes(root: Path, run: str) -> dict[str, str]:
    return {t.name: run_tables.input_hash(root, t, run) for t in (PRODUCTS, INDEXES)}


def find_previous_run(root: Path, run: str) -> str | None:
    """The run to go on from: the last one before whose matches stand with the tables they were made from, or the run itself."""
    for since in [
        run,
        *(other for other in reversed(run_tables.list_runs(root, MATCHES)) if other < run),
    ]:
        try:
            if run_tables.read_manifest(root, MATCHES, since).get("made_from") == input_hashes(
                root, since
            ):
                return since
        except run_tables.TableNotFound:
            continue
    return None


def _match_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    # By its importable name, not as __main__: the worker process then keeps its galleries from task to task.
    from wearalike.pipeline.match_products import match_task

    for batch in batches:
        for task in batch.to_pylist():
            yield match_task(**task)


def match_task(
    root: str,
    run: str,
    since: str | None,
    near: str,
    device: str,
    super_category: str,
    start: int,
    stop: int,
    merchandise: str,
    **rules: Any,
) -> pa.RecordBatch:
    """The rows of one task; what was nearest goes to the folder `near`."""
    here = load_gallery(root, run, super_category, device)
    recall = (
        read_previous_search(root, run, since, super_category, device, start, stop)
        if since is not None
        else None
    )
    merchandiser = [catalog.MerchandisingRule(**rule) for rule in json.loads(merchandise)]
    lists = list(
        search.search_gallery(here, start, stop, search.ListRules(**rules), merchandiser, recall)
    )
    count = sum(len(part.candidates) for part in lists)
    anew = (
        count if recall is None else int(np.count_nonzero(recall.diff.previous_row[start:stop] < 0))
    )
    found = search.candidates_to_table(
        search.concat_candidates([part.candidates for part in lists])
    ).replace_schema_metadata({SEARCHED_ANEW_KEY: str(anew)})
    path = Path(near) / super_category / f"{start:09}.parquet"
    # Spark may run one task twice at the same time.
    with atomic.replace_file(path) as hidden:
        pq.write_table(found, hidden, compression="zstd")
    return search.build_matches(here, lists)


def read_previous_search(
    root: str, run: str, since: str, super_category: str, device: str, start: int, stop: int
) -> search.PreviousSearch | None:
    """What the other run remembers of the rows start..stop of this one; None where that would not save work, or is not as it was."""
    folder = run_tables.table_dir(Path(root), MATCHES, since)
    paths = sorted((folder / "near" / super_category).glob("*.parquet"))
    if not paths:
        return None
    changes = diff_since(root, run, since, super_category, device)
    known = changes.previous_row[start:stop]
    known = known[known >= 0]
    if not (changes.is_incremental_cheaper and len(known)):
        return None
    starts = np.array([int(path.stem) for path in paths])
    first, last = np.searchsorted(starts, (known.min(), known.max()), side="right") - 1
    files = run_tables.read_manifest(Path(root), MATCHES, since)["files"]
    asked = paths[first : last + 1]
    if any(
        run_tables.sha256(path) != files.get(path.relative_to(folder).as_posix()) for path in asked
    ):
        log.warning(
            "%s: not the files that _manifest.json names; everything is searched", asked[0].parent
        )
        return None
    return search.PreviousSearch(
        changes,
        search.candidates_from_table(pa.concat_tables(pq.read_table(path) for path in asked)),
    )


@lru_cache(maxsize=1)
def diff_since(
    root: str, run: str, since: str, super_category: str, device: str
) -> search.GalleryDiff:
    return search.diff_galleries(
        gallery_store.load_gallery(Path(root), since, super_category),
        load_gallery(root, run, super_category, device),
    )


def warn_of_lost_pins(merchandise: list[dict[str, Any]], product_ids: pa.ChunkedArray) -> None:
    pinned = [
        rule["product"] for rule in merchandise if rule["kind"] == catalog.MerchandisingRuleKind.PIN
    ]
    lost = set(pinned) - set(
        product_ids.filter(pc.is_in(product_ids, pa.array(pinned, pa.string()))).to_pylist()
    )
    if lost:
        log.warning(
            "pinned in rules.xml, and not to be found in this run: %s", ", ".join(sorted(lost))
        )


@lru_cache(maxsize=1)
def load_gallery(root: str, run: str, super_category: str, device: str) -> search.Gallery:
    """A worker keeps the gallery that it searched last."""
    return replace(gallery_store.load_gallery(Path(root), run, super_category), device=device)


def write_similar_tables(args: argparse.Namespace, root: Path, signature: str) -> None:
    """similar_products and similar_lists from matches, batch by batch."""
    products = run_tables.read_table(
        root, PRODUCTS, args.run, ["product_id", "shape_weight", "colour_weight"]
    )
    entries = run_tables.read_table(root, INDEXES, args.run, ["product_id", "image_id"])
    models = run_tables.read_manifest(root, INDEXES, args.run)
    if not job.is_up_to_date(args, root, SIMILAR_PRODUCTS, signature):
        with run_tables.write_table(root, SIMILAR_PRODUCTS, args.run, signature) as table:
            for batch in run_tables.open_dataset(root, MATCHES, args.run).to_batches():
                table.write(
                    search.build_similar_products(
                        pa.Table.from_batches([batch]),
                        products,
                        models["detector"],
                        models["encoder"],
                    )
                )
        log.info("%d recommendations", table.rows_written)
    if not job.is_up_to_date(args, root, SIMILAR_LISTS, signature):
        with run_tables.write_table(root, SIMILAR_LISTS, args.run, signature) as table:
            for batch in run_tables.open_dataset(root, MATCHES, args.run).to_batches():
                table.write(search.build_similar_lists(pa.Table.from_batches([batch]), entries))
        log.info("%d products", table.rows_written)


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
