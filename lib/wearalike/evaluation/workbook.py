"""An Excel workbook of an evaluation that compares any two models by formulas.

A model here is a version of a detector or classifier, or of an encoder with one of its distances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlsxwriter.utility import xl_col_to_name

from wearalike.evaluation.figures import FIGURE_KEY, FIGURES_SCHEMA, Figure
from wearalike.metrics.categories import SMALLER_IS_BETTER
from wearalike.reports import spreadsheet
from wearalike.reports.spreadsheet import DataBook, DataSheet

# Excel's limit of a sheet's name, in characters.
_MAX_SHEET_NAME_CHARS = 31
# Model number n and key number m are looked up as n * this + m: numbers know no wildcards, no case
# and no longest text.
_LOOKUP_STRIDE = 1_000_000
# Widths of text columns, in characters.
_COLUMN_WIDTHS = {
    "dataset": 14,
    "split": 11,
    "category": 20,
    "measure": 22,
    "distance": 16,
    "version": 26,
    "contestant": 40,
    "sheet": 32,
}
# A sheet of one version does not repeat them in each row.
_VERSION_COLUMNS = ("kind", "version")
# First row of the comparing sheets' figures, below title, choices and heading.
_FIRST_ROW = 7
_COMPARISON_COLUMNS = [
    "",
    *FIGURE_KEY,
    "better",
    "this",
    "low",
    "high",
    "last",
    "low",
    "high",
    "difference",
    "",
    "",
]
# Columns of the comparing sheets: H to J this model, K to M the last one, N their difference. A
# holds the number of the key; O and P hold the rows of the two models' figures.
_DIFFERENCE_COLUMN = 14
_HIDDEN_COLUMNS = "AOP"


@dataclass(frozen=True, slots=True)
class _ComparedModel:
    """A model, numbered from 1."""

    number: int
    label: str
    kind: str
    version: str
    distance: str


@dataclass(frozen=True, slots=True)
class _NumberedFigures:
    """The long table with its models and keys numbered from 1, and the lookup of each row."""

    rows: list[dict[str, Any]]
    models: list[_ComparedModel]
    keys: dict[tuple[Any, ...], int]
    lookups: list[int]


def write_workbook(
    path: Path, figures: Iterable[Figure], tabs: Mapping[str, str] | None = None
) -> None:
    """Write an Excel workbook of figures.

    It has a sheet a kind that compares any two models, a sheet a version in the order of the
    figures, and the long table. The comparing sheets start with the last model against the one
    before.

    Args:
        path: xlsx file to write.
        figures: Rows of FIGURES_SCHEMA.
        tabs: Name of the sheet of each version, where several share one; None: each has its own.

    Raises:
        ValueError: There are no figures, or a model has one figure twice.
    """
    rows = [{name: f[name] for name in FIGURES_SCHEMA.names} for f in figures]
    if not rows:
        raise ValueError("figures: none to write")
    table = _number_figures(_repeat_per_distance(rows))
    kinds = list(dict.fromkeys(model.kind for model in table.models))
    versions = dict.fromkeys((model.kind, model.version) for model in table.models)
    names = spreadsheet.UniqueNames(
        {"versions", "figures", *(f"compare {kind}s" for kind in kinds)}
    )
    if tabs is None:
        sheet_names = {version: names.reserve(version[1]) for version in versions}
    else:
        shared = {tab: names.reserve(tab) for tab in dict.fromkeys(tabs[v] for _, v in versions)}
        sheet_names = {version: shared[tabs[version[1]]] for version in versions}
    book = DataBook()
    comparing = {kind: book.add_sheet(f"compare {kind}s"[:_MAX_SHEET_NAME_CHARS]) for kind in kinds}
    columns = [
        name for name in FIGURES_SCHEMA.names if tabs is not None or name not in _VERSION_COLUMNS
    ]
    for name in dict.fromkeys(sheet_names.values()):
        of_sheet = [
            [row[column] for column in columns]
            for row in rows
            if sheet_names[row["kind"], row["version"]] == name
        ]
        book.add_sheet(name).write_table(columns, of_sheet, _COLUMN_WIDTHS)
    _write_versions_sheet(book.add_sheet("versions"), table.models, sheet_names)
    _write_figures_sheet(book.add_sheet("figures"), table)
    for kind, sheet in comparing.items():
        _write_comparison_sheet(sheet, kind, table)
    book.save(path)


def _figure_key(row: Figure) -> tuple[Any, ...]:
    """Return what tells a figure from the others of its model."""
    return tuple(row[name] for name in FIGURE_KEY)


def _repeat_per_distance(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Repeat figures without a distance, such as an encoder's speed, for each of its distances."""
    distances: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row["distance"]:
            distances.setdefault((row["kind"], row["version"]), {})[row["distance"]] = None
    repeated = []
    for row in rows:
        of_version = distances.get((row["kind"], row["version"]), {})
        wanted = [row["distance"]] if row["distance"] or not of_version else list(of_version)
        repeated += [row | {"distance": distance} for distance in wanted]
    return repeated


def _number_figures(rows: list[dict[str, Any]]) -> _NumberedFigures:
    """Number models and keys. Raises ValueError where a model has one figure twice."""
    models = _number_models(rows)
    keys = {key: number for number, key in enumerate(dict.fromkeys(map(_figure_key, rows)), 1)}
    number_of = {(m.kind, m.version, m.distance): m.number for m in models}
    lookups = [
        number_of[row["kind"], row["version"], row["distance"]] * _LOOKUP_STRIDE
        + keys[_figure_key(row)]
        for row in rows
    ]
    seen: set[int] = set()
    for lookup, row in zip(lookups, rows, strict=True):
        if lookup in seen:
            raise ValueError(
                f"figures: {row['kind']} {row['version']} {row['distance']} has "
                f"{', '.join(map(str, _figure_key(row)))} twice"
            )
        seen.add(lookup)
    return _NumberedFigures(rows, models, keys, lookups)


def _number_models(rows: Sequence[dict[str, Any]]) -> list[_ComparedModel]:
    """Return the models, those of a kind together: a drop-down lists neighbouring cells."""
    found = list(dict.fromkeys((row["kind"], row["version"], row["distance"]) for row in rows))
    kinds = list(dict.fromkeys(kind for kind, *_ in found))
    labels = spreadsheet.UniqueNames(set(), max_length=200)
    models = []
    by_kind = sorted(found, key=lambda model: kinds.index(model[0]))
    for number, (kind, version, distance) in enumerate(by_kind, 1):
        name = f"{version} · {distance}" if distance else version
        label = labels.reserve(name, is_sheet=False)
        models.append(_ComparedModel(number, label, kind, version, distance))
    return models


def _write_figures_sheet(sheet: DataSheet, table: _NumberedFigures) -> None:
    """Write the long table, the lookup of each row first."""
    columns = ["lookup", *FIGURES_SCHEMA.names]
    lines = [[lookup, *row.values()] for lookup, row in zip(table.lookups, table.rows, strict=True)]
    sheet.write_table(columns, lines, _COLUMN_WIDTHS)


def _write_versions_sheet(
    sheet: DataSheet, models: Sequence[_ComparedModel], sheet_names: Mapping[tuple[str, str], str]
) -> None:
    """Write the models with links to their versions' sheets."""
    columns = ["contestant", "kind", "version", "distance", "sheet"]
    lines = [[m.label, m.kind, m.version, m.distance, ""] for m in models]
    sheet.write_table(columns, lines, _COLUMN_WIDTHS)
    link_column = columns.index("sheet") + 1
    for model in models:
        sheet.write_link(model.number + 1, link_column, sheet_names[model.kind, model.version])


def _write_comparison_sheet(sheet: DataSheet, kind: str, table: _NumberedFigures) -> None:
    """Write two cells to choose a model each, and a row of formulas a figure of this kind."""
    meaning = (
        "Choose in the yellow cells. Green: better, red: worse. "
        "A difference may be chance: see the report's paired intervals."
    )
    sheet.write_title(f"Compare any two {kind}s", meaning)
    models = [model for model in table.models if model.kind == kind]
    chosen = (models[-1].label, models[max(0, len(models) - 2)].label)
    sheet.add_choices(
        "versions",
        models[0].number + 1,
        models[-1].number + 1,
        len(table.models),
        chosen,
    )
    sheet.write_heading(_FIRST_ROW - 1, _COMPARISON_COLUMNS, _COLUMN_WIDTHS)
    number_formats = _number_formats(row for row in table.rows if row["kind"] == kind)
    for i, (key, number_format) in enumerate(number_formats.items(), _FIRST_ROW):
        _write_comparison_row(sheet, i, key, table, number_format)
    last_row = _FIRST_ROW - 1 + len(number_formats)
    _colour_differences(sheet, last_row)
    sheet.hide_columns(_HIDDEN_COLUMNS)
    sheet.freeze_above(_FIRST_ROW)
    sheet.add_filters(_FIRST_ROW - 1, 2, last_row, _DIFFERENCE_COLUMN)


def _number_formats(rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Return the number format of each key: whole only if all models' values are whole."""
    is_whole: dict[tuple[Any, ...], bool] = {}
    for row in rows:
        key = _figure_key(row)
        value_is_whole = spreadsheet.number_format(row["value"]) == "#,##0"
        is_whole[key] = is_whole.get(key, True) and value_is_whole
    return {key: "#,##0" if whole else "0.000" for key, whole in is_whole.items()}


def _colour_differences(sheet: DataSheet, last_row: int) -> None:
    """Colour better differences green and worse ones red."""
    for fill, sign in ((spreadsheet.BETTER_FILL, ">"), (spreadsheet.WORSE_FILL, "<")):
        side = f'IF($G{_FIRST_ROW}="bigger",1,IF($G{_FIRST_ROW}="smaller",-1,0))'
        formula = f"AND(ISNUMBER($N{_FIRST_ROW}),{side}*$N{_FIRST_ROW}{sign}0)"
        sheet.add_fill_rule(f"N{_FIRST_ROW}:N{last_row}", formula, fill)


def _write_comparison_row(
    sheet: DataSheet, i: int, key: tuple[Any, ...], table: _NumberedFigures, number_format: str
) -> None:
    """Write row i: the key, both models' figures, and their difference; empty if unknown."""
    direction = _better_direction(key[FIGURE_KEY.index("measure")])
    for j, value in enumerate((table.keys[key], *key, direction), 1):
        sheet.write_value(i, j, value)
    last = len(table.rows) + 1
    # Row of the cell that chooses a model, column of its figures' row, and its first column.
    for choice_row, helper, helper_column, first_column in ((3, "O", 15, 8), (4, "P", 16, 11)):
        lookup = f"$A${choice_row}*{_LOOKUP_STRIDE}+$A{i}"
        row_formula = f"=IFERROR(MATCH({lookup},figures!$A$2:$A${last},0),0)"
        sheet.write_formula(i, helper_column, row_formula)
        for j, name in enumerate(("value", "low", "high"), first_column):
            column = xl_col_to_name(FIGURES_SCHEMA.get_field_index(name) + 1)
            value = f"INDEX(figures!${column}$2:${column}${last},${helper}{i})"
            formula = f'=IF(${helper}{i}=0,"",IF({value}="","",{value}))'
            sheet.write_formula(i, j, formula, num_format=number_format)
    difference = f'=IF(AND(ISNUMBER(H{i}),ISNUMBER(K{i})),H{i}-K{i},"")'
    sheet.write_formula(
        i, _DIFFERENCE_COLUMN, difference, num_format=spreadsheet.signed_format(number_format)
    )


def _better_direction(measure: str) -> str:
    """Return "bigger" or "smaller" for a better value; empty if neither is better."""
    if measure in SMALLER_IS_BETTER or measure.startswith("bytes"):
        return "smaller"
    return "" if measure == "truths" else "bigger"
