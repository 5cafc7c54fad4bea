"""run's tables -> quality: measures, floors and the verdict; what is published has passed here.

The folder of the table also holds quality.html (for people), verdict.json (for machines) and data_docs/ (Great
Expectations' own pages). The run is held against the last earlier one that passed. When the verdict is "fail" the table
is written all the same, so that people can read why, and the job ends with 1, naming the failing expectations.
What is said of all runs, <root>/reports/ (quality.xlsx, runs.jsonl, runs.atom), is written anew; where it cannot be, a
warning says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from wearalike.pipeline import job
from wearalike.quality import drift, gate, judgements, metrics
from wearalike.quality.metrics import Metric
from wearalike.quality.thresholds import GateVerdict, Thresholds, judge_metrics
from wearalike.reports import contact_sheet, run_feed, run_page, workbook
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import (
    CODES,
    FEEDS,
    IMAGES,
    INDEXES,
    ITEMS,
    LOOK_PRODUCTS,
    LOOKS,
    MATCHES,
    OFFERS,
    PRODUCTS,
    QUALITY,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
)
from wearalike.warehouse.base import Unreachable, open_warehouse

log = logging.getLogger("wearalike.report_quality")
INPUT_TABLES = (
    FEEDS,
    OFFERS,
    PRODUCTS,
    IMAGES,
    ITEMS,
    CODES,
    INDEXES,
    MATCHES,
    SIMILAR_PRODUCTS,
    SIMILAR_LISTS,
    LOOKS,
    LOOK_PRODUCTS,
)
COMPARED_TABLES = (PRODUCTS, SIMILAR_PRODUCTS)


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__)
    usual = ", ".join(f"{f.name}={f.default}" for f in fields(Thresholds))
    made.add_argument(
        "--floor",
        action="append",
        default=[],
        type=parse_threshold,
        metavar="NAME=VALUE",
        help=f"another floor or ceiling, for this run alone and recorded with it; usual: {usual}",
    )
    return made


def parse_threshold(text: str) -> tuple[str, float]:
    """(name, value) of "min_products_count=100"."""
    name, _, value = text.partition("=")
    try:
        if name in {f.name for f in fields(Thresholds)}:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r}: wanted NAME=NUMBER, e.g. min_products_kept_ratio=0.2"
    )


def work(args: argparse.Namespace) -> None:
    place, run = job.load_settings(args), args.run
    root = place.data_dir
    floors = replace(Thresholds(), **dict(args.floor))
    last = last_passed_run(root, run)
    inputs = {t.name: run_tables.input_hash(root, t, run) for t in INPUT_TABLES}
    inputs |= {
        f"last_{t.name}": run_tables.input_hash(root, t, last)
        for t in (*COMPARED_TABLES, QUALITY)
        if last
    }
    parameters: dict[str, Any] = {"floors": asdict(floors), "last_run": last}
    if said := judgement_metrics(place, run):
        parameters["judged"] = said
    signature = run_tables.signature(inputs, parameters)
    if not job.is_up_to_date(args, root, QUALITY, signature):
        write_quality(root, run, last, floors, signature, parameters)
    with run_feed.warn_on_errors():
        run_feed.record_verdict(root, run)
        workbook.write_workbook(root, root / run_feed.REPORTS_FOLDER / workbook.WORKBOOK_NAME)
    told = run_tables.read_manifest(root, QUALITY, run)
    if told["verdict"] == GateVerdict.FAIL:
        where = run_tables.table_dir(root, QUALITY, run) / "quality.html"
        raise job.JobRejected(
            f"run {run} must not be published; see {where}: " + "; ".join(told["failed"])
        )


def judgement_metrics(settings: Settings, run: str) -> list[dict[str, Any]]:
    """What people said of the run's own recommendations, as measures; none where nobody has, or where the warehouse is away."""
    try:
        said = judgements.read_judgements(open_warehouse(settings.warehouse))
    except Unreachable as error:
        log.warning("judgements are left out: %s", error)
        return []
    return (
        judgements.quality_rows(
            judgements.filter_recommended(
                said, run_tables.open_dataset(settings.data_dir, SIMILAR_PRODUCTS, run)
            )
        )
        if said
        else []
    )


def last_passed_run(root: Path, run: str) -> str | None:
    """The last run before this one, in the order of their names, that passed the gate."""
    passed = (
        r
        for r in reversed(run_tables.list_runs(root, QUALITY))
        if r < run and run_tables.read_manifest(root, QUALITY, r)["verdict"] != GateVerdict.FAIL
    )
    return next(
        (r for r in passed if all(run_tables.is_complete(root, t, r) for t in COMPARED_TABLES)),
        None,
    )


def write_quality(
    root: Path,
    run: str,
    last: str | None,
    floors: Thresholds,
    signature: str,
    parameters: dict[str, Any],
) -> None:
    made = {t.name: run_tables.read_manifest(root, t, run) for t in INPUT_TABLES}
    night = {t.name: run_tables.open_dataset(root, t, run) for t in INPUT_TABLES} | {
        "refused": run_tables.read_refused(root, run)
    }
    night |= {
        f"last_{t.name}": run_tables.open_dataset(root, t, last)
        if last
        else t.arrow_schema.empty_table()
        for t in COMPARED_TABLES
    }
    with (
        run_tables.write_table(root, QUALITY, run, signature, parameters) as table,
        metrics.open_run_tables(night) as con,
    ):
        judge = gate.Gate(run, table.path / "data_docs")
        outcomes, rows, sheets = judge.check_schema(night), [], {}
        if gate.worst_verdict(outcomes) is GateVerdict.OK:
            said = [Metric(**row) for row in parameters.get("judged", [])]
            found = (
                metrics.run_metrics(con, night, made)
                + (drift.drift_metrics(con) if last else [])
                + said
            )
            bounds = floors.as_list(
                are_models_of_last_run=last is None
                or model_versions(root, last) == model_versions(root, run)
            )
            rows = judge_metrics(found, bounds)
            outcomes += judge.check_tables(
                con, made[MATCHES.name]["parameters"]
            ) + judge.check_metrics(rows, bounds)
            sheets = contact_sheet.select_recommendations(
                root, run, needs_pictures=False, **run_page.CONTACT_SHEET_OPTIONS
            )
        judge.build_docs()
        table.write(metrics.metrics_table(rows + gate.violation_metrics(outcomes)))
        verdict = gate.worst_verdict(outcomes)
        judged = run_page.JudgedRun(
            run,
            last,
            outcomes,
            rows,
            previous_metrics(root, last),
            made,
            sheets,
            f"../../{run_feed.REPORTS_FOLDER}/{workbook.WORKBOOK_NAME}",
        )
        (table.path / "quality.html").write_text(
            run_page.render_run_page(con, judged), encoding="utf-8"
        )
        facts = {
            "run": run,
            "last_run": last,
            "verdict": verdict,
            "outcomes": [{**asdict(o), "verdict": o.verdict} for o in outcomes],
        }
        (table.path / "verdict.json").write_text(
            json.dumps(facts, indent=1, default=str, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        table.manifest_extras = {
            "verdict": verdict,
            "failed": [str(o) for o in outcomes if o.verdict is GateVerdict.FAIL],
        }
    log.info(
        "verdict %s: %d expectations, %d measures, held against %s",
        verdict,
        len(outcomes),
        len(rows),
        last or "nothing",
    )


def model_versions(root: Path, run: str) -> set[tuple[str, str]]:
    """(detector, encoder) of the run's recommendations."""
    held = run_tables.read_table(root, SIMILAR_PRODUCTS, run, ["detector", "encoder"])
    return {
        (row["detector"], row["encoder"])
        for row in held.group_by(held.column_names).aggregate([]).to_pylist()
    }


def previous_metrics(root: Path, last: str | None) -> list[Metric]:
    return (
        [Metric(**row) for row in run_tables.read_table(root, QUALITY, last).to_pylist()]
        if last
        else []
    )


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
