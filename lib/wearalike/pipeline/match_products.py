"""indexes -> matches, similar_products, similar_lists: the most alike products of every product.

The search is exact. Spark spreads the queries: a task is some thousand products of one
super-category, and every worker maps the index of that super-category once. Few products are
matched in this process, by the same tasks (settings [spark]). On a cluster (--spark-master
spark://..., yarn, k8s://...) all machines see the data folder or its object store. The library is
shipped with the job. The rows do not depend on the tasks or on where they ran. The merchandiser's
rules of the run's day act inside the search. With --device cuda every worker searches on its
machine's GPU, with the same results.

The nearest candidates of each product are kept beside the table, in candidates/<super-category>/.
The next run searches only for what is new or changed since, and produces the same table. With
--force, or where the other run's tables are gone, everything is searched. _manifest.json says under
`searched` since which run, how many products searched everything, and how many went on from there.

With a section [experiment] in the settings its variants are matched, too, exactly and by the same
rules of lists. Their tables are list_variants, similar_products_variants and
similar_lists_variants.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike import catalog, search
from wearalike.catalog.merchandising_rules import find_shared_ranks
from wearalike.pipeline import job, match_task, match_variants, work_size
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.match_plan import (
    MatchPlan,
    count_values,
    finish_candidates,
    input_hashes,
    without_entries,
)
from wearalike.pipeline.match_task import CANDIDATES_DIR, MatchTask
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import (
    StageOptions,
    build_stage_command,
    device_option,
    spark_master_option,
)
from wearalike.storage import run_order, run_tables
from wearalike.storage.table_writer import TableWriter
from wearalike.tables import INDEXES, MATCHES, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS

log = logging.getLogger("wearalike.match_products")


def command() -> click.Command:
    """Return the stage as a command."""
    options = [
        build_option("k"),
        build_option("min_score"),
        build_option("max_per_brand"),
        build_option("max_brand_share"),
        build_option("diversity"),
        device_option("Auto means the CPU, which every worker has; default: the settings' device."),
        spark_master_option(),
    ]
    return build_stage_command(work, __doc__, options)


def work(args: StageOptions) -> None:
    """Write matches, similar_products and similar_lists of a run, where they are out of date."""
    settings = job.load_settings(args)
    taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
    rules = catalog.read_rules(catalog.rules_path(settings), taxonomy)
    root = settings.data_dir.resolve()
    active_rules = catalog.active_rules(rules, args.run, run_order.run_day(root, args.run))
    plan = MatchPlan(
        root=root,
        run=args.run,
        device="cuda" if (args.device or settings.device) == "cuda" else "cpu",
        list_rules=search.ListRules(
            k=OPTIONS_BY_KEY["k"].read(args.k, settings),
            min_score=OPTIONS_BY_KEY["min_score"].read(args.min_score, settings),
            max_per_brand=OPTIONS_BY_KEY["max_per_brand"].read(args.max_per_brand, settings),
            max_brand_share=OPTIONS_BY_KEY["max_brand_share"].read(args.max_brand_share, settings),
            diversity=OPTIONS_BY_KEY["diversity"].read(args.diversity, settings),
        ),
        merchandising_rules=[asdict(rule) for rule in active_rules],
    )
    if not job.is_up_to_date(args, plan.root, MATCHES, plan.signature()):
        previous_run = None if args.force else find_previous_run(plan.root, args.run)
        master = args.spark_master or settings.spark_master
        write_matches(plan, master, previous_run, settings.spark.min_products)
    write_similar_tables(args, plan.root)
    match_variants.write_experiment(args, settings, plan, taxonomy)


def write_matches(
    plan: MatchPlan, spark_master: str, previous_run: str | None, min_spark_products: int
) -> None:
    """Write the table `matches`, with the nearest candidates beside it.

    Args:
        plan: How the run is matched.
        spark_master: Spark's master, e.g. local[*].
        previous_run: The run whose search goes on; None to search everything.
        min_spark_products: Products from which Spark matches, where its master is this machine.
    """
    root, run = plan.root, plan.run
    entries = run_tables.read_table(root, INDEXES, run, ["product_id", "super_category"])
    products = run_tables.read_table(root, PRODUCTS, run, ["product_id"])
    _warn_of_missing_pins(plan.merchandising_rules, entries["product_id"])
    _warn_of_shared_ranks(plan.merchandising_rules)
    with run_tables.write_table(root, MATCHES, run, plan.signature(), plan.parameters()) as table:
        candidates_dir = table.path / CANDIDATES_DIR
        tasks = plan.tasks(count_values(entries["super_category"]), candidates_dir, previous_run)
        if work_size.is_small(log, spark_master, len(entries), min_spark_products, "products"):
            for task in tasks:
                table.write(match_task.run_match_task(task))
        else:
            _match_with_spark(tasks, spark_master, table)
        table.write(search.build_matches_without_code(without_entries(products, entries)))
        table.rows_taken = products.num_rows
        searched_anew = finish_candidates(candidates_dir)
        remembered = entries.num_rows - searched_anew
        table.manifest_extras["searched"] = {
            "since": previous_run,
            "anew": searched_anew,
            "remembered": remembered,
        }
        table.manifest_extras["made_from"] = input_hashes(root, run)
        table.manifest_extras["distance"] = search.DISTANCE_VERSION
    log.info("%d products searched everything", searched_anew)
    if previous_run:
        log.info("%d products searched only the changes since %s", remembered, previous_run)


def _match_with_spark(tasks: Sequence[MatchTask], spark_master: str, table: TableWriter) -> None:
    """Run the tasks on Spark, and put the files of their rows into the table."""
    if not tasks:
        return
    from wearalike.pipeline.spark import spark_session
    from wearalike.pipeline.spark_matching import write_rows

    with spark_session("match_products", spark_master, table.path) as spark:
        write_rows(spark, tasks, table.path / "spark")
    table.adopt_parts(table.path / "spark")


def find_previous_run(root: Path, run: str) -> str | None:
    """Return the run to go on from; None if there is none.

    It is the run itself, or else the last one before it. Its matches stand beside the tables that
    they were computed from, and were measured by the same distance.
    """
    earlier = run_tables.list_earlier_runs(root, MATCHES, run)
    for previous_run in [run, *reversed(earlier)]:
        try:
            manifest = run_tables.read_manifest(root, MATCHES, previous_run)
            is_same_distance = manifest.get("distance") == search.DISTANCE_VERSION
            if is_same_distance and manifest.get("made_from") == input_hashes(root, previous_run):
                return previous_run
        except run_tables.TableNotFound:
            continue
    return None


def _warn_of_missing_pins(
    merchandising_rules: list[dict[str, Any]], product_ids: pa.ChunkedArray
) -> None:
    """Log the products that rules pin and the run lacks."""
    pinned = [
        rule["product"]
        for rule in merchandising_rules
        if rule["kind"] == catalog.MerchandisingRuleKind.PIN and rule["product"]
    ]
    is_pinned = pc.is_in(product_ids, pa.array(pinned, pa.string()))
    missing = set(pinned) - set(product_ids.filter(is_pinned).to_pylist())
    if missing:
        log.warning(
            "pinned in rules.xml, but not found in this run: %s", ", ".join(sorted(missing))
        )


def _warn_of_shared_ranks(merchandising_rules: list[dict[str, Any]]) -> None:
    """Log the pins that want one rank of a page: one of the two moves down."""
    rules = [catalog.MerchandisingRule(**rule) for rule in merchandising_rules]
    for one, other in find_shared_ranks(rules):
        log.warning(
            "pins %s and %s of rules.xml both want rank %d: where both act, one moves down",
            one.id,
            other.id,
            one.at,
        )


def write_similar_tables(args: StageOptions, root: Path) -> None:
    """Write similar_products and similar_lists from matches, batch by batch."""
    run = args.run
    matches_hash = run_tables.input_hash(root, MATCHES, run)
    signature = run_tables.signature({"matches": matches_hash}, {})
    if not job.is_up_to_date(args, root, SIMILAR_PRODUCTS, signature):
        columns = ["product_id", "shape_weight", "colour_weight", "kind_weight", "colour_names"]
        products = run_tables.read_table(root, PRODUCTS, run, columns)
        models = run_tables.read_manifest(root, INDEXES, run)
        versions = (models["detector"], models["encoder"])
        with run_tables.write_table(root, SIMILAR_PRODUCTS, run, signature) as table:
            for matches in _iter_matches(root, run):
                table.write(search.build_similar_products(matches, products, *versions))
        log.info("%d recommendations", table.rows_written)
    if not job.is_up_to_date(args, root, SIMILAR_LISTS, signature):
        entries = run_tables.read_table(root, INDEXES, run, ["product_id", "image_id"])
        with run_tables.write_table(root, SIMILAR_LISTS, run, signature) as table:
            for matches in _iter_matches(root, run):
                table.write(search.build_similar_lists(matches, entries))
        log.info("%d products", table.rows_written)


def _iter_matches(root: Path, run: str) -> Iterator[pa.Table]:
    """Yield the rows of the table `matches`, a batch at a time."""
    for batch in run_tables.open_dataset(root, MATCHES, run).to_batches():
        yield pa.Table.from_batches([batch])


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
