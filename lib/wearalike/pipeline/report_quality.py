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
from wearalike.quality.metrics import Measure
from wearalike.quality.thresholds import Floors, Verdict, with_verdicts
from wearalike.reports import contact_sheet, run_feed, run_page, workbook
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import (
    CODES,
    ENTRIES,
    FEEDS,
    IMAGES,
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
STAGES = (
    FEEDS,
    OFFERS,
    PRODUCTS,
    IMAGES,
    ITEMS,
    CODES,
    ENTRIES,
    MATCHES,
    SIMILAR_PRODUCTS,
    SIMILAR_LISTS,
    LOOKS,
    LOOK_PRODUCTS,
)
COMPARED = (PRODUCTS, SIMILAR_PRODUCTS)


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__)
    usual = ", ".join(f"{f.name}={f.default}" for f in fields(Floors))
    made.add_argument(
        "--floor",
        action="append",
        default=[],
        type=floor,
        metavar="NAME=VALUE",
        help=f"another floor or ceiling, for this run alone and recorded with it; usual: {usual}",
    )
    return made


def floor(text: str) -> tuple[str, float]:
    """(name, value) of "min_products_count=100"."""
    name, _, value = text.partition("=")
    try:
        if name in {f.name for f in fields(Floors)}:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r}: wanted NAME=NUMBER, e.g. min_products_kept_ratio=0.2"
    )


def work(args: argparse.Namespace) -> None:
    place, run = job.place(args), args.run
    root = place.root
    floors = replace(Floors(), **dict(args.floor))
    last = last_passed(root, run)
    inputs = {t.name: run_tables.input_hash(root, t, run) for t in STAGES}
    inputs |= {
        f"last_{t.name}": run_tables.input_hash(root, t, last) for t in (*COMPARED, QUALITY) if last
    }
    parameters: dict[str, Any] = {"floors": asdict(floors), "last_run": last}
    if said := judged(place, run):
        parameters["judged"] = said
    signature = run_tables.signature(inputs, parameters)
    if not job.stands(args, root, QUALITY, signature):
        write(root, run, last, floors, signature, parameters)
    with run_feed.without_stopping():
        run_feed.judged(root, run)
        workbook.write_workbook(root, root / run_feed.FOLDER / workbook.NAME)
    told = run_tables.made(root, QUALITY, run)
    if told["verdict"] == Verdict.FAIL:
        where = run_tables.folder(root, QUALITY, run) / "quality.html"
        raise job.Refusal(
            f"run {run} must not be published; see {where}: " + "; ".join(told["failed"])
        )


def judged(place: Settings, run: str) -> list[dict[str, Any]]:
    """What people said of the run's own recommendations, as measures; none where nobody has, or where the warehouse is away."""
    try:
        said = judgements.judged(open_warehouse(place.warehouse))
    except Unreachable as error:
        log.warning("judgements are left out: %s", error)
        return []
    return (
        judgements.measures(
            judgements.recommended(said, run_tables.dataset(place.root, SIMILAR_PRODUCTS, run))
        )
        if said
        else []
    )


def last_passed(root: Path, run: str) -> str | None:
    """The last run before this one, in the order of their names, that passed the gate."""
    passed = (
        r
        for r in reversed(run_tables.runs(root, QUALITY))
        if r < run and run_tables.made(root, QUALITY, r)["verdict"] != Verdict.FAIL
    )
    return next((r for r in passed if all(run_tables.is_made(root, t, r) for t in COMPARED)), None)


def write(
    root: Path,
    run: str,
    last: str | None,
    floors: Floors,
    signature: str,
    parameters: dict[str, Any],
) -> None:
    made = {t.name: run_tables.made(root, t, run) for t in STAGES}
    night = {t.name: run_tables.dataset(root, t, run) for t in STAGES} | {
        "refused": run_tables.refused(root, run)
    }
    night |= {
        f"last_{t.name}": run_tables.dataset(root, t, last)
        if last
        else t.arrow_schema.empty_table()
        for t in COMPARED
    }
    with (
        run_tables.writing(root, QUALITY, run, signature, parameters) as table,
        metrics.opened(night) as con,
    ):
        judge = gate.Gate(run, table.path / "data_docs")
        outcomes, rows, sheets = judge.schema(night), [], {}
        if gate.verdict(outcomes) is Verdict.OK:
            said = [Measure(**row) for row in parameters.get("judged", [])]
            found = (
                metrics.measured(con, night, made) + (drift.measured(con) if last else []) + said
            )
            bounds = floors.bounds(
                are_models_of_last_run=last is None or models(root, last) == models(root, run)
            )
            rows = with_verdicts(found, bounds)
            outcomes += judge.tables(con, made[MATCHES.name]["parameters"]) + judge.measures(
                rows, bounds
            )
            sheets = contact_sheet.recommended(root, run, needs_pictures=False, **run_page.SHEET)
        judge.build_docs()
        table.write(metrics.table(rows + gate.violations(outcomes)))
        verdict = gate.verdict(outcomes)
        judged = run_page.Judged(
            run,
            last,
            outcomes,
            rows,
            measured_before(root, last),
            made,
            sheets,
            f"../../{run_feed.FOLDER}/{workbook.NAME}",
        )
        (table.path / "quality.html").write_text(run_page.page(con, judged), encoding="utf-8")
        facts = {
            "run": run,
            "last_run": last,
            "verdict": verdict,
            "outcomes": [{**asdict(o), "verdict": o.verdict} for o in outcomes],
        }
        (table.path / "verdict.json").write_text(
            json.dumps(facts, indent=1, default=str, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        table.more = {
            "verdict": verdict,
            "failed": [str(o) for o in outcomes if o.verdict is Verdict.FAIL],
        }
    log.info(
        "verdict %s: %d expectations, %d measures, held against %s",
        verdict,
        len(outcomes),
        len(rows),
        last or "nothing",
    )


def models(root: Path, run: str) -> set[tuple[str, str]]:
    """(detector, encoder) of the run's recommendations."""
    held = run_tables.read(root, SIMILAR_PRODUCTS, run, ["detector", "encoder"])
    return {
        (row["detector"], row["encoder"])
        for row in held.group_by(held.column_names).aggregate([]).to_pylist()
    }


def measured_before(root: Path, last: str | None) -> list[Measure]:
    return (
        [Measure(**row) for row in run_tables.read(root, QUALITY, last).to_pylist()] if last else []
    )


def main(argv: list[str] | None = None) -> int:
    return job.main(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
