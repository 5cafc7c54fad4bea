"""Match the variants of an experiment, beside the lists of the control.

A variant with rules alone searches nothing: it goes on from the nearest candidates of the run
itself. One with weights or an encoder goes on from its own candidates of an earlier run with the
same weights and encoder.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike import catalog, search
from wearalike.catalog.category_weights import replace_weights
from wearalike.catalog.list_variants import ListVariant, iter_variant_rows, read_list_variants
from wearalike.pipeline import job, work_size
from wearalike.pipeline.match_plan import (
    MatchPlan,
    count_values,
    finish_candidates,
    input_hashes,
    without_entries,
)
from wearalike.pipeline.match_task import CANDIDATES_DIR, MatchTask, run_match_task
from wearalike.pipeline.stage_command import StageOptions
from wearalike.pipeline.variant_encoders import find_variant_encoders
from wearalike.search.gallery_store import read_entries
from wearalike.settings import Settings
from wearalike.storage import run_order, run_tables
from wearalike.tables import (
    EXPERIMENT_TABLES,
    INDEXES,
    INDEXES_VARIANTS,
    LIST_VARIANTS,
    MATCHES,
    MATCHES_VARIANTS,
    PRODUCTS,
    SIMILAR_LISTS_VARIANTS,
    SIMILAR_PRODUCTS_VARIANTS,
)

log = logging.getLogger("wearalike.match_products")
_WEIGHT_COLUMNS = ["product_id", "category", "shape_weight", "colour_weight", "kind_weight"]


def write_experiment(
    args: StageOptions, settings: Settings, plan: MatchPlan, taxonomy: catalog.Taxonomy
) -> None:
    """Write the tables of the settings' experiment; without one, remove those of a former try.

    Args:
        args: The stage's options.
        settings: The settings.
        plan: How the control was matched; its table `matches` is finished.
        taxonomy: The taxonomy.
    """
    variants = read_list_variants(settings, taxonomy)
    root, run = plan.root, plan.run
    if not variants:
        for former in reversed((MATCHES_VARIANTS, *EXPERIMENT_TABLES)):
            run_tables.remove_table(root, former, run)
        return
    day = run_order.run_day(root, run)
    encoders = find_variant_encoders(settings, run)
    plans = {v.name: _plan_variant(plan, v, encoders.get(v.name), day) for v in variants}
    parameters = {
        "variants": {name: {**own.parameters(), **_searched_by(own)} for name, own in plans.items()}
    }
    signature = run_tables.signature(
        _variant_hashes(root, run), {**parameters, "distance": search.DISTANCE_VERSION}
    )
    if not job.is_up_to_date(args, root, MATCHES_VARIANTS, signature):
        plans = {
            name: replace(own, **_find_previous_search(own, name, args.force))
            for name, own in plans.items()
        }
        _write_matches(args, settings, plans, signature, parameters)
    _write_lists(args, plans)
    rows = list(iter_variant_rows(settings, encoders))
    signature = run_tables.signature({}, {"rows": rows})
    if not job.is_up_to_date(args, root, LIST_VARIANTS, signature):
        with run_tables.write_table(root, LIST_VARIANTS, run, signature) as table:
            table.write(pa.Table.from_pylist(rows, LIST_VARIANTS.arrow_schema))


def _plan_variant(
    plan: MatchPlan, variant: ListVariant, encoder: str | None, day: Any
) -> MatchPlan:
    """Return how a variant is matched."""
    rules = plan.merchandising_rules
    if variant.rules is not None:
        rules = [asdict(rule) for rule in catalog.active_rules(variant.rules, plan.run, day)]
    weights = dict(variant.weights)
    return replace(plan, merchandising_rules=rules, weights=weights, encoder=encoder)


def _searched_by(plan: MatchPlan) -> dict[str, Any]:
    """Return what decides the candidates of a variant, as _manifest.json names it."""
    weights = {category: list(w) for category, w in plan.weights.items()}
    return {"weights": weights} | ({"encoder": plan.encoder} if plan.encoder else {})


def _variant_hashes(root: Path, run: str) -> dict[str, str]:
    """Return the hashes of the tables that the variants of a run are matched from."""
    hashes = input_hashes(root, run)
    if run_tables.is_complete(root, INDEXES_VARIANTS, run):
        hashes[INDEXES_VARIANTS.name] = run_tables.input_hash(root, INDEXES_VARIANTS, run)
    return hashes


def _find_previous_search(plan: MatchPlan, name: str, is_forced: bool) -> dict[str, Any]:
    """Return the fields of a plan that name the candidates to go on from."""
    if is_forced:
        return {"previous_run": None}
    if not plan.weights and not plan.encoder:
        return {"previous_run": plan.run, "previous_table": MATCHES.name, "previous_part": "."}
    root, wanted = plan.root, _searched_by(plan)
    earlier = run_tables.list_earlier_runs(root, MATCHES_VARIANTS, plan.run)
    for run in [plan.run, *reversed(earlier)]:
        try:
            manifest = run_tables.read_manifest(root, MATCHES_VARIANTS, run)
            hashes = _variant_hashes(root, run)
        except run_tables.TableNotFound:
            continue
        then = manifest["parameters"]["variants"].get(name, {})
        is_same = {k: then[k] for k in ("weights", "encoder") if k in then} == wanted
        is_measured_so = manifest.get("distance") == search.DISTANCE_VERSION
        if is_same and is_measured_so and manifest.get("made_from") == hashes:
            table = MATCHES_VARIANTS.name
            return {"previous_run": run, "previous_table": table, "previous_part": name}
    return {"previous_run": None}


def _write_matches(
    args: StageOptions,
    settings: Settings,
    plans: Mapping[str, MatchPlan],
    signature: str,
    parameters: Mapping[str, Any],
) -> None:
    """Write the matches of all variants, with the nearest candidates of each beside the table."""
    root, run = next(iter(plans.values())).root, args.run
    columns = ["product_id", "super_category"]
    entries = {
        encoder: read_entries(root, run, columns, encoder)
        for encoder in {plan.encoder for plan in plans.values()}
    }
    products = run_tables.read_table(root, PRODUCTS, run, ["product_id"])
    most = max(map(len, entries.values()))
    master = args.spark_master or settings.spark_master
    minimum = settings.spark.min_products
    is_small = work_size.is_small(log, master, most, minimum, "products of variants")
    with (
        run_tables.write_table(root, MATCHES_VARIANTS, run, signature, parameters) as table,
        ExitStack() as stack,
    ):
        run_tasks = _run_here if is_small or not most else _start_spark(stack, master, table.path)
        searched: dict[str, int] = {}
        for name, plan in plans.items():
            candidates_dir = table.path / CANDIDATES_DIR / name
            own = entries[plan.encoder]
            without_code = search.build_matches_without_code(without_entries(products, own))
            counts = count_values(own["super_category"])
            tasks = plan.tasks(counts, candidates_dir, plan.previous_run)
            for rows in (*run_tasks(tasks, table.path / f"spark-{name}"), without_code):
                table.write(_add_variant(name, rows))
            searched[name] = finish_candidates(candidates_dir)
            log.info("variant %s: %d products searched everything", name, searched[name])
        table.rows_taken = products.num_rows * len(plans)
        table.manifest_extras["searched_anew"] = searched
        table.manifest_extras["made_from"] = _variant_hashes(root, run)
        table.manifest_extras["distance"] = search.DISTANCE_VERSION


def _run_here(tasks: list[MatchTask], _folder: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of tasks, which run in this process."""
    yield from map(run_match_task, tasks)


def _start_spark(stack: ExitStack, master: str, scratch: Path) -> Any:
    """Return a function as `_run_here` whose tasks run on Spark, which ends with the stack."""
    from wearalike.pipeline.spark import spark_session
    from wearalike.pipeline.spark_matching import write_rows

    spark = stack.enter_context(spark_session("match_variants", master, scratch))

    def run(tasks: list[MatchTask], folder: Path) -> Iterator[pa.Table]:
        write_rows(spark, tasks, folder)
        for part in sorted(folder.glob("part-*.parquet")):
            yield pq.read_table(part, schema=MATCHES.arrow_schema)
        shutil.rmtree(folder)

    return run


def _add_variant(name: str, rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return rows of a variant's lists with the column `variant`."""
    rows = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    return rows.add_column(0, "variant", pa.repeat(pa.scalar(name), rows.num_rows))


def _write_lists(args: StageOptions, plans: Mapping[str, MatchPlan]) -> None:
    """Write similar_products_variants and similar_lists_variants from the matches."""
    root, run = next(iter(plans.values())).root, args.run
    signature = run_tables.signature(
        {"matches_variants": run_tables.input_hash(root, MATCHES_VARIANTS, run)}, {}
    )
    if not job.is_up_to_date(args, root, SIMILAR_PRODUCTS_VARIANTS, signature):
        products = run_tables.read_table(root, PRODUCTS, run, [*_WEIGHT_COLUMNS, "colour_names"])
        models = run_tables.read_manifest(root, INDEXES, run)
        with run_tables.write_table(root, SIMILAR_PRODUCTS_VARIANTS, run, signature) as table:
            for name, plan in plans.items():
                own = replace_weights(products, plan.weights)
                versions = (models["detector"], plan.encoder or models["encoder"])
                for matches in _iter_matches(root, run, name):
                    rows = search.build_similar_products(matches, own, *versions)
                    table.write(_add_variant(name, rows))
        log.info("%d recommendations of variants", table.rows_written)
    if not job.is_up_to_date(args, root, SIMILAR_LISTS_VARIANTS, signature):
        with run_tables.write_table(root, SIMILAR_LISTS_VARIANTS, run, signature) as table:
            for name, plan in plans.items():
                entries = read_entries(root, run, ["product_id", "image_id"], plan.encoder)
                for matches in _iter_matches(root, run, name):
                    table.write(_add_variant(name, search.build_similar_lists(matches, entries)))


def _iter_matches(root: Path, run: str, name: str) -> Iterator[pa.Table]:
    """Yield the rows of a variant's matches, a batch at a time, as tables.MATCHES."""
    rows = run_tables.open_dataset(root, MATCHES_VARIANTS, run)
    is_own = ds.field("variant") == name
    for batch in rows.to_batches(columns=MATCHES.column_names, filter=is_own):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])
