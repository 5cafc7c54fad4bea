"""Report the quality of a run: metrics, thresholds and the verdict of the gate.

Only a run that passes the gate is published. The table's folder also holds quality.html (for
people), verdict.json (for machines) and data_docs/ (the pages of Great Expectations).

The run is compared with the last earlier run that passed. If the verdict is "fail", the table is
written all the same, so that people can read why. The job then ends with 1 and names the failing
checks.

The reports of all runs, <root>/reports/ (quality.xlsx, runs.jsonl, runs.atom), are written again.
If they cannot be written, a warning says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import RUN_OPTIONS, threshold_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.quality import gate, judgement_metrics, judgements, metrics
from wearalike.quality.gate import ExpectationOutcome
from wearalike.quality.metrics import COMPARED_TABLES, Metric
from wearalike.quality.normal_week import WEEK_RUNS, RunValues
from wearalike.quality.passed_runs import has_compared_tables, passed_runs
from wearalike.quality.run_metrics import EarlierRuns, measure_run
from wearalike.quality.thresholds import GateVerdict, Thresholds, judge_metrics
from wearalike.quality.variant_checks import check_variants
from wearalike.reports import (
    contact_sheet,
    contradicted_mappings,
    figure_lists,
    run_feed,
    run_page,
    workbook,
)
from wearalike.settings import Settings
from wearalike.storage import run_order, run_tables
from wearalike.tables import (
    CODES,
    CODES_VARIANTS,
    EXPERIMENT_TABLES,
    FEEDS,
    IMAGES,
    INDEXES,
    INDEXES_VARIANTS,
    ITEMS,
    LIST_VARIANTS,
    LOOK_PRODUCTS,
    LOOKS,
    MATCHES,
    MATCHES_VARIANTS,
    OFFERS,
    PRODUCT_LEAVES,
    PRODUCT_VARIANTS,
    PRODUCTS,
    QUALITY,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    Table,
)
from wearalike.warehouse.base import Unreachable, open_warehouse

log = logging.getLogger("wearalike.report_quality")
INPUT_TABLES = (
    FEEDS,
    OFFERS,
    PRODUCTS,
    PRODUCT_VARIANTS,
    IMAGES,
    ITEMS,
    CODES,
    PRODUCT_LEAVES,
    INDEXES,
    MATCHES,
    SIMILAR_PRODUCTS,
    SIMILAR_LISTS,
    LOOKS,
    LOOK_PRODUCTS,
)


def command() -> click.Command:
    """Return the stage as a command."""
    return build_stage_command(work, __doc__, [threshold_option()])


def work(args: StageOptions) -> None:
    """Write the quality table of a run, and renew the reports of all runs.

    Args:
        args: Parsed arguments.

    Raises:
        JobRejected: The verdict is "fail".
    """
    settings, run = job.load_settings(args), args.run
    root = settings.data_dir
    thresholds = Thresholds(**{**settings.gate.model_dump(), **dict(args.threshold)})
    week = passed_runs(root, run)
    last = next((r for r in week if has_compared_tables(root, r)), None)
    inputs = {t.name: run_tables.input_hash(root, t, run) for t in list_inputs(root, run)}
    if last:
        inputs |= {f"last_{t.name}": run_tables.input_hash(root, t, last) for t in COMPARED_TABLES}
        week = week[week.index(last) :][:WEEK_RUNS]
        inputs |= {
            f"quality_{number}": run_tables.input_hash(root, QUALITY, r)
            for number, r in enumerate(week)
        }
    parameters: dict[str, Any] = {"thresholds": thresholds.model_dump(), "last_run": last}
    if shop_thresholds := read_shop_thresholds(settings):
        parameters["shop_thresholds"] = shop_thresholds
    judged_rows = read_judged_rows(settings, run)
    if judged_rows:
        parameters["judged"] = judged_rows
    signature = run_tables.signature(inputs, parameters)
    if not job.is_up_to_date(args, root, QUALITY, signature):
        write_quality(settings, run, week if last else [], thresholds, signature, parameters)
    with run_feed.warn_on_errors():
        run_feed.record_verdict(root, run)
        workbook.write_workbook(root, root / run_feed.REPORTS_FOLDER / workbook.WORKBOOK_NAME)
    manifest = run_tables.read_manifest(root, QUALITY, run)
    if manifest["verdict"] == GateVerdict.FAIL:
        page = run_tables.fetch_files(root, QUALITY, run) / "quality.html"
        nothing = ""
        if not run_tables.read_manifest(root, PRODUCTS, run)["rows"]["written"]:
            nothing = (
                "no offer is mapped to a category; the page lists the shops' words, and "
                "wearalike suggest-mapping SHOP --accept 0.8 writes the sure lines: "
            )
        raise job.JobRejected(
            f"run {run} must not be published; see {page}: {nothing}"
            + "; ".join(manifest["failed"])
        )


def list_inputs(root: Path, run: str) -> tuple[Table, ...]:
    """Return the tables that are judged: INPUT_TABLES, and those of the run's experiment."""
    if not run_tables.is_complete(root, LIST_VARIANTS, run):
        return INPUT_TABLES
    of_encoders = (CODES_VARIANTS, INDEXES_VARIANTS)
    has_encoders = run_tables.is_complete(root, INDEXES_VARIANTS, run)
    own = of_encoders if has_encoders else ()
    return (*INPUT_TABLES, *own, MATCHES_VARIANTS, *EXPERIMENT_TABLES)


def read_judged_rows(settings: Settings, run: str) -> list[dict[str, Any]]:
    """Read people's judgements of the run's own recommendations.

    Args:
        settings: Names the warehouse and the data folder.
        run: The run.

    Returns:
        Rows of tables.QUALITY; empty without judgements, or if the warehouse does not answer.
    """
    try:
        warehouse = open_warehouse(settings.warehouse)
        all_judgements = judgements.read_judgements(warehouse)
        look_judgements = judgements.read_look_judgements(warehouse)
    except Unreachable as error:
        log.warning("judgements are left out: %s", error)
        return []
    rows = []
    if all_judgements:
        similar = run_tables.open_dataset(settings.data_dir, SIMILAR_PRODUCTS, run)
        recommended = judgement_metrics.filter_recommended(all_judgements, similar)
        rows = judgement_metrics.quality_rows(recommended)
    if look_judgements:
        looks = run_tables.open_dataset(settings.data_dir, LOOK_PRODUCTS, run)
        rows += judgement_metrics.look_quality_rows(look_judgements, looks)
    return rows


def read_shop_thresholds(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the thresholds that shops have of their own, by shop."""
    names = ("min_products_kept_ratio", "max_refused_offers_ratio", "max_feed_age_days")
    own = {
        shop.id: {n: getattr(shop, n) for n in names if getattr(shop, n) is not None}
        for shop in settings.shops
    }
    return {shop_id: values for shop_id, values in own.items() if values}


def collect_settings(
    manifests: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings that decided the quality of a run, as its tables record them.

    Args:
        manifests: Manifests of the run's tables, by name.
        parameters: Parameters of the table `quality`.

    Returns:
        Sections with keys, named as in the settings file.
    """
    lists = manifests[MATCHES.name].get("parameters") or {}
    list_options = [option for option in RUN_OPTIONS if option.stage == "match_products"]
    looks = manifests[LOOK_PRODUCTS.name].get("parameters") or {}
    found = {
        "models": {
            "detector": manifests[ITEMS.name].get("detector"),
            "encoder": manifests[CODES.name].get("encoder"),
            "looks_detector": manifests[LOOKS.name].get("detector"),
        },
        "lists": {
            **{option.key: lists.get(option.key) for option in list_options},
            "looks_k": looks.get("k"),
            "looks_min_score": looks.get("min_score"),
            "looks_alike_min_score": looks.get("alike_min_score"),
        },
        "gate": parameters["thresholds"],
    }
    if shop_thresholds := parameters.get("shop_thresholds"):
        found["shops"] = shop_thresholds
    return found


def write_quality(
    settings: Settings,
    run: str,
    week: list[str],
    thresholds: Thresholds,
    signature: str,
    parameters: dict[str, Any],
) -> None:
    """Check a run, and write the quality table with its pages.

    Args:
        settings: Names the data folder and the shops.
        run: The run.
        week: The runs to compare it with, newest first; empty on the first.
        thresholds: Thresholds of the metrics.
        signature: Signature of the inputs.
        parameters: Parameters recorded in _manifest.json; "judged" has rows of judgements.
    """
    root = settings.data_dir
    last = week[0] if week else None
    manifests = {t.name: run_tables.read_manifest(root, t, run) for t in list_inputs(root, run)}
    run_settings = collect_settings(manifests, parameters)
    rows_by_table = open_inputs(root, run, last)
    with (
        run_tables.write_table(root, QUALITY, run, signature, parameters) as table,
        metrics.open_run_tables(rows_by_table) as con,
    ):
        run_gate = gate.Gate(run, table.path / "data_docs")
        outcomes = run_gate.check_schema(rows_by_table)
        run_metrics: list[Metric] = []
        sheets = {}
        contradictions: list[dict[str, Any]] = []
        lists = figure_lists.NO_LISTS
        if gate.worst_verdict(outcomes) is GateVerdict.OK:
            versions = [ranking_versions(root, other) for other in (last, run) if other]
            limits = thresholds.as_list(
                are_models_of_last_run=versions[0] == versions[-1],
                shops=settings.shops,
                list_length=run_settings["lists"]["k"],
            )
            earlier = None
            if last:
                values = [read_values(root, other) for other in week]
                earlier = EarlierRuns(last, values, versions[0] == versions[-1])
            day_of = partial(run_order.run_day, root)
            run_metrics = measure_run(con, rows_by_table, manifests, run, earlier, day_of)
            run_metrics += [Metric(**row) for row in parameters.get("judged", [])]
            of_variants: list[ExpectationOutcome] = []
            if MATCHES_VARIANTS.name in manifests:
                variants = manifests[MATCHES_VARIANTS.name]["parameters"]
                of_variants, shares = check_variants(run_gate, rows_by_table, variants)
                run_metrics += shares
            run_metrics = judge_metrics(run_metrics, limits)
            outcomes += run_gate.check_tables(con, manifests[MATCHES.name]["parameters"])
            outcomes += of_variants
            # Rows that a check refuses may name lists and products that the run does not have.
            if gate.worst_verdict(outcomes) is not GateVerdict.FAIL:
                sheets = contact_sheet.select_recommendations(
                    root, run, needs_pictures=False, **run_page.CONTACT_SHEET_OPTIONS
                )
            outcomes += run_gate.check_metrics(run_metrics, limits)
            contradictions = contradicted_mappings.list_contradictions(con)
            (table.path / contradicted_mappings.FILE_NAME).write_text(
                contradicted_mappings.format_csv(contradictions), encoding="utf-8"
            )
            lists = figure_lists.write_figure_lists(
                con, table.path, run, last, run_metrics, settings.serve.public_url
            )
        run_gate.build_docs()
        table.write(metrics.metrics_table(run_metrics + gate.violation_metrics(outcomes)))
        judged = run_page.JudgedRun(
            run=run,
            last=last,
            outcomes=outcomes,
            metrics=run_metrics,
            last_metrics=previous_metrics(root, last),
            manifests=manifests,
            sheets=sheets,
            contradictions=contradicted_mappings.add_pictures(root, contradictions),
            contradictions_count=len(contradictions),
            lists=lists,
            workbook=f"../../{run_feed.REPORTS_FOLDER}/{workbook.WORKBOOK_NAME}",
        )
        page = run_page.render_run_page(con, judged)
        (table.path / "quality.html").write_text(page, encoding="utf-8")
        verdict = gate.worst_verdict(outcomes)
        facts = {
            "run": run,
            "last_run": last,
            "verdict": verdict,
            "settings": run_settings,
            "outcomes": [{**asdict(o), "verdict": o.verdict} for o in outcomes],
        }
        text = json.dumps(facts, indent=1, default=str, ensure_ascii=False)
        (table.path / "verdict.json").write_text(text + "\n", encoding="utf-8")
        table.manifest_extras = {
            "verdict": verdict,
            "settings": run_settings,
            "failed": [str(o) for o in outcomes if o.verdict is GateVerdict.FAIL],
        }
    log.info("Great Expectations took %.1f s", run_gate.elapsed_s)
    log.info(
        "verdict %s: %d expectations, %d metrics, compared with %s",
        verdict,
        len(outcomes),
        len(run_metrics),
        f"run {last}" if last else "no earlier run",
    )


def read_values(root: Path, run: str) -> RunValues:
    """Return the values of a run's metrics by (metric, scope)."""
    rows = run_tables.read_table(root, QUALITY, run, ["metric", "scope", "value"]).to_pylist()
    return {(row["metric"], row["scope"]): row["value"] for row in rows}


def open_inputs(root: Path, run: str, last: str | None) -> metrics.RunTables:
    """Open the tables of a run, its refusals, and the tables of the last run as last_<table>.

    Args:
        root: The data folder.
        run: The run.
        last: The run to compare it with; without one, its tables are empty.
    """
    opened: dict[str, Any] = {
        t.name: run_tables.open_dataset(root, t, run) for t in list_inputs(root, run)
    }
    opened["refused"] = run_tables.read_refused(root, run)
    for table in COMPARED_TABLES:
        opened[f"last_{table.name}"] = (
            run_tables.open_dataset(root, table, last) if last else table.arrow_schema.empty_table()
        )
    return opened


def ranking_versions(root: Path, run: str) -> tuple[int | None, set[tuple[str, str]]]:
    """Return the version of the distance, and (detector, encoder) of the run's recommendations.

    Args:
        root: The data folder.
        run: The run.
    """
    models = run_tables.read_table(root, SIMILAR_PRODUCTS, run, ["detector", "encoder"])
    distinct = models.group_by(models.column_names).aggregate([])
    versions = {(row["detector"], row["encoder"]) for row in distinct.to_pylist()}
    return run_tables.read_manifest(root, MATCHES, run).get("distance"), versions


def previous_metrics(root: Path, last: str | None) -> list[Metric]:
    """Return the metrics of the last run; none without one.

    Args:
        root: The data folder.
        last: The last run, or None.
    """
    if last is None:
        return []
    return [Metric(**row) for row in run_tables.read_table(root, QUALITY, last).to_pylist()]


def main(argv: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    return run_command(command(), argv)
