"""Every figure of every version as one long table: as Parquet, and as an Excel workbook that compares any two by formulas.

A contestant is what can be compared: a version of a detector or classifier, or of an encoder with one of its distances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import Workbook
from openpyxl.formatting.rule import FormulaRule
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from wearalike.metrics.categories import ALL, SMALLER_IS_BETTER, CategoryMetrics
from wearalike.reports import spreadsheet

FIGURES_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # encoder, detector or classifier
        pa.field("version", pa.string(), nullable=False),
        pa.field(
            "distance", pa.string(), nullable=False
        ),  # what an encoder's codes are compared by; else empty
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),  # detection.ALL for all of them
        pa.field("measure", pa.string(), nullable=False),
        pa.field("k", pa.int32()),
        pa.field("value", pa.float64()),  # null where there was nothing to measure
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("count", pa.int64()),  # the queries, images or truths it is of
    ]
)
# What tells one figure of a contestant from another.
FIGURE_KEY = ("dataset", "split", "category", "measure", "k")
Figure = Mapping[str, Any]


def retrieval_figures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of evaluation.json (dataset, split, encoder, distance, measure, k, value, low, high, queries) as rows of FIGURES."""
    same = ("distance", "dataset", "split", "measure", "k", "value", "low", "high")
    return [
        {"kind": "encoder", "version": r["encoder"], "category": ALL, "count": r["queries"]}
        | {n: r[n] for n in same}
        for r in rows
    ]


def category_figures(
    kind: str, version: str, dataset: str, split: str, rows: Iterable[CategoryMetrics]
) -> list[dict[str, Any]]:
    """A detector's or classifier's measures as rows of FIGURES; those that are not of its kind are left out."""
    place = {
        "kind": kind,
        "version": version,
        "distance": "",
        "dataset": dataset,
        "split": split,
        "k": None,
        "low": None,
        "high": None,
    }
    measured = [asdict(row) for row in rows]
    names = [
        n
        for n in (measured[0] if measured else {})
        if n != "category" and not all(np.isnan(m[n]) for m in measured)
    ]
    of = [place | {"category": m["category"], "count": m["truths"]} for m in measured]
    return [
        p | {"measure": name, "value": float(m[name])}
        for p, m in zip(of, measured, strict=True)
        for name in names
    ]


def write_parquet(path: Path, figures: Iterable[Figure]) -> None:
    """The long table, columns as FIGURES. Raises KeyError for a row without one of them; NaN is written as null."""
    rows = [
        {
            name: spreadsheet.finite_or_none(f[name]) if isinstance(f[name], float) else f[name]
            for name in FIGURES_SCHEMA.names
        }
        for f in figures
    ]
    pq.write_table(pa.Table.from_pylist(rows, FIGURES_SCHEMA), path)


def write_workbook(path: Path, figures: Iterable[Figure]) -> None:
    """An Excel workbook of rows of FIGURES: for each kind a sheet that compares any two contestants, then one sheet a version,
    in the order they first appear, and the long table. The comparing sheets begin with the last contestant against the one before.

    Raises ValueError where a contestant has one figure twice, or there is none at all.
    """
    rows = [{name: f[name] for name in FIGURES_SCHEMA.names} for f in figures]
    if not rows:
        raise ValueError("figures: none to write")
    table = _number_figures(_repeat_per_distance(rows))
    kinds = list(dict.fromkeys(c.kind for c in table.models))
    names = spreadsheet.UniqueNames(
        {"versions", "figures", *(f"compare {kind}s" for kind in kinds)}
    )
    sheets = {
        version: names.reserve(version[1])
        for version in dict.fromkeys((c.kind, c.version) for c in table.models)
    }
    book = Workbook()
    book.remove(book.worksheets[0])
    comparing = {kind: book.create_sheet(f"compare {kind}s"[:31]) for kind in kinds}
    columns = [name for name in FIGURES_SCHEMA.names if name not in ("kind", "version")]
    for version, name in sheets.items():
        mine = [[r[c] for c in columns] for r in rows if (r["kind"], r["version"]) == version]
        spreadsheet.write_sheet(book.create_sheet(name), columns, mine, _COLUMN_WIDTHS)
    _write_versions_sheet(book.create_sheet("versions"), table.models, sheets)
    figures_columns, lines = (
        ["lookup", *FIGURES_SCHEMA.names],
        [[n, *r.values()] for n, r in zip(table.lookups, table.rows, strict=True)],
    )
    spreadsheet.write_sheet(book.create_sheet("figures"), figures_columns, lines, _COLUMN_WIDTHS)
    for kind, sheet in comparing.items():
        _write_comparison_sheet(sheet, kind, table)
    spreadsheet.save_workbook(book, path)


# Contestant number n and key number m are looked up as n * _STRIDE + m: numbers know no wildcards, no case and no longest text.
_STRIDE = 1_000_000
# Columns of text.
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


@dataclass(frozen=True, slots=True)
class _ComparedModel:
    number: int
    label: str
    kind: str
    version: str
    distance: str


@dataclass(frozen=True, slots=True)
class _NumberedFigures:
    """The long table, its contestants and keys numbered from 1. lookups: what each row is looked up by."""

    rows: list[dict[str, Any]]
    models: list[_ComparedModel]
    keys: dict[tuple[Any, ...], int]
    lookups: list[int]


def _figure_key(row: Figure) -> tuple[Any, ...]:
    return tuple(row[name] for name in FIGURE_KEY)


def _repeat_per_distance(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an encoder has whatever the distance, such as its speed, stands beside the figures of each of its distances."""
    distances: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row["distance"]:
            distances.setdefault((row["kind"], row["version"]), {})[row["distance"]] = None
    spread = []
    for row in rows:
        of = distances.get((row["kind"], row["version"]), {}) if not row["distance"] else {}
        spread += [row | {"distance": distance} for distance in of or [row["distance"]]]
    return spread


def _number_figures(rows: list[dict[str, Any]]) -> _NumberedFigures:
    found = list(dict.fromkeys((r["kind"], r["version"], r["distance"]) for r in rows))
    kinds = list(dict.fromkeys(kind for kind, *_ in found))
    names = spreadsheet.UniqueNames(set(), max_length=200)
    # Those of one kind stand together, for a drop-down lists neighbouring cells.
    contestants = [
        _ComparedModel(
            n,
            names.reserve(f"{version} · {distance}" if distance else version, is_sheet=False),
            kind,
            version,
            distance,
        )
        for n, (kind, version, distance) in enumerate(
            sorted(found, key=lambda f: kinds.index(f[0])), 1
        )
    ]
    keys = {key: number for number, key in enumerate(dict.fromkeys(map(_figure_key, rows)), 1)}
    number_of = {(c.kind, c.version, c.distance): c.number for c in contestants}
    lookups = [
        number_of[r["kind"], r["version"], r["distance"]] * _STRIDE + keys[_figure_key(r)]
        for r in rows
    ]
    first: dict[int, dict[str, Any]] = {}
    for lookup, row in zip(lookups, rows, strict=True):
        if first.setdefault(lookup, row) is not row:
            raise ValueError(
                f"figures: {row['kind']} {row['version']} {row['distance']} has {', '.join(map(str, _figure_key(row)))} twice"
            )
    return _NumberedFigures(rows, contestants, keys, lookups)


def _write_versions_sheet(
    sheet: Worksheet, models: Sequence[_ComparedModel], sheets: Mapping[tuple[str, str], str]
) -> None:
    columns = ["contestant", "kind", "version", "distance", "sheet"]
    spreadsheet.write_sheet(
        sheet,
        columns,
        [[c.label, c.kind, c.version, c.distance, ""] for c in models],
        _COLUMN_WIDTHS,
    )
    for c in models:
        spreadsheet.write_link(sheet.cell(c.number + 1, 5), sheets[c.kind, c.version])


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


def _write_comparison_sheet(sheet: Worksheet, kind: str, table: _NumberedFigures) -> None:
    """Two cells that choose a contestant each, and a row of formulas for every figure that any of this kind has."""
    meaning = "Choose in the yellow cells. Green: better, red: worse. A difference may be chance: see the report's paired intervals."
    spreadsheet.write_title(sheet, f"Compare any two {kind}s", meaning)
    mine = [c for c in table.models if c.kind == kind]
    picked = (mine[-1].label, mine[max(0, len(mine) - 2)].label)
    spreadsheet.add_choices(
        sheet, "versions", mine[0].number + 1, mine[-1].number + 1, len(table.models), picked
    )
    spreadsheet.write_heading(sheet, _FIRST_ROW - 1, _COMPARISON_COLUMNS, _COLUMN_WIDTHS)
    is_whole: dict[tuple[Any, ...], bool] = {}
    for row in (r for r in table.rows if r["kind"] == kind):
        is_whole[_figure_key(row)] = (
            is_whole.get(_figure_key(row), True)
            and spreadsheet.number_format(row["value"]) == "#,##0"
        )
    for i, key in enumerate(is_whole, _FIRST_ROW):
        _write_comparison_row(sheet, i, key, table, "#,##0" if is_whole[key] else "0.000")
    last = _FIRST_ROW - 1 + len(is_whole)
    for fill, sign in ((spreadsheet.BETTER_FILL, ">"), (spreadsheet.WORSE_FILL, "<")):
        side = f'IF($G{_FIRST_ROW}="bigger",1,IF($G{_FIRST_ROW}="smaller",-1,0))'
        rule = FormulaRule(
            [f"AND(ISNUMBER($N{_FIRST_ROW}),{side}*$N{_FIRST_ROW}{sign}0)"], fill=fill
        )
        sheet.conditional_formatting.add(f"N{_FIRST_ROW}:N{last}", rule)
    for hidden in "AOP":
        sheet.column_dimensions[hidden].hidden = True
    sheet.freeze_panes = f"A{_FIRST_ROW}"
    sheet.auto_filter.ref = f"B{_FIRST_ROW - 1}:N{last}"


def _write_comparison_row(
    sheet: Worksheet, i: int, key: tuple[Any, ...], table: _NumberedFigures, number_format: str
) -> None:
    """Row i: the key, then both contestants' figures and their difference, empty where there is none."""
    for j, value in enumerate(
        (table.keys[key], *key, _better_direction(key[FIGURE_KEY.index("measure")])), 1
    ):
        spreadsheet.write_value(sheet.cell(i, j), value)
    last = len(table.rows) + 1
    for chosen, helper, first in ((3, "O", 8), (4, "P", 11)):
        sheet[f"{helper}{i}"] = (
            f"=IFERROR(MATCH($A${chosen}*{_STRIDE}+$A{i},figures!$A$2:$A${last},0),0)"
        )
        for j, name in enumerate(("value", "low", "high"), first):
            column = get_column_letter(FIGURES_SCHEMA.get_field_index(name) + 2)
            found = f"INDEX(figures!${column}$2:${column}${last},${helper}{i})"
            sheet.cell(
                i, j, f'=IF(${helper}{i}=0,"",IF({found}="","",{found}))'
            ).number_format = number_format
    sheet.cell(
        i, 14, f'=IF(AND(ISNUMBER(H{i}),ISNUMBER(K{i})),H{i}-K{i},"")'
    ).number_format = f"+{number_format};-{number_format};0"


def _better_direction(measure: str) -> str:
    if measure in SMALLER_IS_BETTER or measure.startswith("bytes"):
        return "smaller"
    return "" if measure == "truths" else "bigger"
