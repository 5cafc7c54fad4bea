"""The metrics of runs as an Excel workbook.

It has a sheet that compares any two runs by formulas, one with every metric of every run, and a
sheet for each run. Where the site's events are loaded, a sheet has their rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlsxwriter.utility import xl_col_to_name

from wearalike.quality import event_rates, experiment_rates
from wearalike.reports import spreadsheet
from wearalike.reports.spreadsheet import DataBook, DataSheet
from wearalike.storage import run_tables
from wearalike.tables import QUALITY

# The last runs by name; a workbook with more opens slowly.
MAX_RUNS = 21
WORKBOOK_NAME = "quality.xlsx"
# Widths of text columns, in characters.
_COLUMN_WIDTHS = {
    "run": 26,
    "verdict": 10,
    "held against": 26,
    "sheet": 26,
    "metric": 30,
    "scope": 50,
    "unit": 9,
    "threshold": 10,
    "not ok": 60,
    "dimension": 10,
    "part": 40,
    "experiment": 26,
    "assignment": 12,
    "variant": 26,
    "first_at": 22,
    "last_at": 22,
}
_FIRST_ROW = 7
# Columns before the runs in the sheet "measures".
_KEY_COLUMNS = ("metric", "scope", "unit")


def write_workbook(root: Path, path: Path, runs: Sequence[str] | None = None) -> list[str]:
    """Write the metrics of runs; the comparison shows the newest run and the one before.

    Args:
        root: The data folder.
        path: The file; it is written whole or not at all.
        runs: The runs, newest last; None for the last MAX_RUNS.

    Returns:
        The runs written, newest last.

    Raises:
        TableNotFound: A run has no quality table.
        ValueError: There is no run.
    """
    runs = list(run_tables.list_runs(root, QUALITY)[-MAX_RUNS:] if runs is None else runs)
    if not runs:
        raise ValueError(f"{root}: no run is judged yet")
    made = {run: run_tables.read_manifest(root, QUALITY, run) for run in runs}
    rows = {run: run_tables.read_table(root, QUALITY, run).to_pylist() for run in runs}
    names = spreadsheet.UniqueNames({"compare", "runs", "measures", "events", "experiments"})
    sheets = {run: names.reserve(run) for run in runs}
    book = DataBook()
    compare, index, every = (book.add_sheet(name) for name in ("compare", "runs", "measures"))
    columns = QUALITY.column_names
    if rates := [row for row in event_rates.read_rates(root) if row["run"] in runs]:
        columns_of_rates = event_rates.RATES_SCHEMA.names
        lines = [[row[c] for c in columns_of_rates] for row in rates]
        book.add_sheet("events").write_table(columns_of_rates, lines, _COLUMN_WIDTHS)
    if variants := experiment_rates.read_variant_rates(root):
        columns_of_variants = experiment_rates.RATES_SCHEMA.names
        lines = [[row[c] for c in columns_of_variants] for row in variants]
        book.add_sheet("experiments").write_table(columns_of_variants, lines, _COLUMN_WIDTHS)
    for run in reversed(runs):
        lines = [[row[c] for c in columns] for row in rows[run]]
        book.add_sheet(sheets[run]).write_table(columns, lines, _COLUMN_WIDTHS)
    _fill_runs_sheet(index, runs, made, sheets)
    keys = _fill_metrics_sheet(every, runs, rows)
    _fill_compare_sheet(compare, runs, keys)
    book.save(path)
    return runs


def _fill_runs_sheet(
    sheet: DataSheet, runs: Sequence[str], made: dict[str, Any], sheets: dict[str, str]
) -> None:
    facts = [(run, made[run]) for run in runs]
    lines = [
        [run, f["verdict"], f["parameters"]["last_run"], "", "; ".join(f["failed"])]
        for run, f in facts
    ]
    columns = ["run", "verdict", "held against", "sheet", "not ok"]
    sheet.write_table(columns, lines, _COLUMN_WIDTHS)
    for i, run in enumerate(runs, 2):
        sheet.write_link(i, columns.index("sheet") + 1, sheets[run])


def _fill_metrics_sheet(
    sheet: DataSheet, runs: Sequence[str], rows: dict[str, list[dict[str, Any]]]
) -> list[tuple[str, str, str]]:
    """Write a row for every metric, a column for every run; return the rows' keys."""
    values = {
        run: {tuple(row[c] for c in _KEY_COLUMNS): row["value"] for row in rows[run]}
        for run in runs
    }
    # The newest run's metrics first, in its order; those of older runs follow.
    keys = list(dict.fromkeys(key for run in reversed(runs) for key in values[run]))
    sheet.write_table(
        [*_KEY_COLUMNS, *runs],
        [[*key, *(values[run].get(key) for run in runs)] for key in keys],
        _COLUMN_WIDTHS,
    )
    return keys


def _fill_compare_sheet(
    sheet: DataSheet, runs: Sequence[str], keys: Sequence[tuple[str, str, str]]
) -> None:
    """Write two cells that choose a run each, and a row of formulas for every metric."""
    sheet.write_title(
        "Compare any two runs",
        "Choose in the yellow cells. Empty: the run lacks the metric.",
    )
    picked = (runs[-1], runs[max(0, len(runs) - 2)])
    sheet.add_choices("runs", 2, len(runs) + 1, len(runs), picked)
    columns = ["", *_KEY_COLUMNS, "this", "last", "difference"]
    sheet.write_heading(_FIRST_ROW - 1, columns, _COLUMN_WIDTHS)
    first, last = (xl_col_to_name(len(_KEY_COLUMNS) + n) for n in (0, len(runs) - 1))
    for i, key in enumerate(keys):
        row, of = _FIRST_ROW + i, i + 2
        for j, text in enumerate(key, 2):
            sheet.write_value(row, j, text)
        number_format = "#,##0" if key[-1] == "count" else "0.000"
        for column, chosen in ((5, "$A$3"), (6, "$A$4")):
            found = f"INDEX(measures!${first}${of}:${last}${of},{chosen})"
            formula = f'=IF({chosen}=0,"",IF({found}="","",{found}))'
            sheet.write_formula(row, column, formula, num_format=number_format)
        difference = f'=IF(AND(ISNUMBER(E{row}),ISNUMBER(F{row})),E{row}-F{row},"")'
        sheet.write_formula(row, 7, difference, num_format=spreadsheet.signed_format(number_format))
    sheet.hide_columns("A")
    sheet.freeze_above(_FIRST_ROW)
    sheet.add_filters(_FIRST_ROW - 1, 2, _FIRST_ROW - 1 + len(keys), 7)
