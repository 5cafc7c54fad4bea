"""Every figure of every version as one long table: as Parquet, and as an Excel workbook that compares any two by formulas.

A contestant is what can be compared: a version of a detector or classifier, or of an encoder with one of its distances. No text
of the table is ever taken for a formula: it is written as text, and what a spreadsheet might read otherwise when it is edited or
pasted is marked as text too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, Cell, MergedCell
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from wearalike.evaluation.detection import ALL, SMALLER_IS_BETTER, CategoryMeasures

FIGURES = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # encoder, detector or classifier
        pa.field("version", pa.string(), nullable=False),
        pa.field("distance", pa.string(), nullable=False),  # what an encoder's codes are compared by; else empty
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
KEY = ("dataset", "split", "category", "measure", "k")
Figure = Mapping[str, Any]


def retrieval_figures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of evaluation.json (dataset, split, encoder, distance, measure, k, value, low, high, queries) as rows of FIGURES."""
    same = ("distance", "dataset", "split", "measure", "k", "value", "low", "high")
    return [{"kind": "encoder", "version": r["encoder"], "category": ALL, "count": r["queries"]} | {n: r[n] for n in same} for r in rows]


def category_figures(kind: str, version: str, dataset: str, split: str, rows: Iterable[CategoryMeasures]) -> list[dict[str, Any]]:
    """A detector's or classifier's measures as rows of FIGURES; those that are not of its kind are left out."""
    place = {"kind": kind, "version": version, "distance": "", "dataset": dataset, "split": split, "k": None, "low": None, "high": None}
    measured = [asdict(row) for row in rows]
    names = [n for n in (measured[0] if measured else {}) if n != "category" and not all(np.isnan(m[n]) for m in measured)]
    of = [place | {"category": m["category"], "count": m["truths"]} for m in measured]
    return [p | {"measure": name, "value": float(m[name])} for p, m in zip(of, measured, strict=True) for name in names]


def write_parquet(path: Path, figures: Iterable[Figure]) -> None:
    """The long table, columns as FIGURES. Raises KeyError for a row without one of them; NaN is written as null."""
    rows = [{name: _number(f[name]) if isinstance(f[name], float) else f[name] for name in FIGURES.names} for f in figures]
    pq.write_table(pa.Table.from_pylist(rows, FIGURES), path)


def write_workbook(path: Path, figures: Iterable[Figure]) -> None:
    """An Excel workbook of rows of FIGURES: for each kind a sheet that compares any two contestants, then one sheet a version,
    in the order they first appear, and the long table. The comparing sheets begin with the last contestant against the one before.

    Raises ValueError where a contestant has one figure twice, or there is none at all.
    """
    rows = [{name: f[name] for name in FIGURES.names} for f in figures]
    if not rows:
        raise ValueError("figures: none to write")
    table = _numbered(_spread(rows))
    kinds = list(dict.fromkeys(c.kind for c in table.contestants))
    names = _Names({"versions", "figures", *(f"compare {kind}s" for kind in kinds)})
    sheets = {version: names.new(version[1]) for version in dict.fromkeys((c.kind, c.version) for c in table.contestants)}
    book = Workbook()
    book.remove(book.worksheets[0])
    comparing = {kind: book.create_sheet(f"compare {kind}s"[:31]) for kind in kinds}
    columns = [name for name in FIGURES.names if name not in ("kind", "version")]
    for version, name in sheets.items():
        _table(book.create_sheet(name), columns, [[r[c] for c in columns] for r in rows if (r["kind"], r["version"]) == version])
    _versions(book.create_sheet("versions"), table.contestants, sheets)
    _table(
        book.create_sheet("figures"), ["lookup", *FIGURES.names], [[n, *r.values()] for n, r in zip(table.lookups, table.rows, strict=True)]
    )
    for kind, sheet in comparing.items():
        _compare(sheet, kind, table)
    for sheet in book.worksheets:
        sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", 0
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    book.calculation.fullCalcOnLoad = True  # nothing is reckoned here: the spreadsheet does it when it opens the file
    book.save(path)


# Contestant number n and key number m are looked up as n * _STRIDE + m: numbers know no wildcards, no case and no longest text.
_STRIDE = 1_000_000
_HEAD = PatternFill("solid", fgColor="F2F4F7")
_CHOICE = PatternFill("solid", fgColor="FFF4CE")
_BETTER, _WORSE = PatternFill("solid", bgColor="D1FADF"), PatternFill("solid", bgColor="FEE4E2")
_LINE = Border(bottom=Side("thin", color="D0D5DD"))
_WIDTHS = {"dataset": 14, "category": 20, "measure": 22, "distance": 16, "version": 26, "contestant": 40, "sheet": 32}


@dataclass(frozen=True, slots=True)
class _Contestant:
    number: int
    label: str
    kind: str
    version: str
    distance: str


@dataclass(frozen=True, slots=True)
class _Numbered:
    """The long table, its contestants and keys numbered from 1. lookups: what each row is looked up by."""

    rows: list[dict[str, Any]]
    contestants: list[_Contestant]
    keys: dict[tuple[Any, ...], int]
    lookups: list[int]


def _key(row: Figure) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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


def _numbered(rows: list[dict[str, Any]]) -> _Numbered:
    found = list(dict.fromkeys((r["kind"], r["version"], r["distance"]) for r in rows))
    kinds = list(dict.fromkeys(kind for kind, *_ in found))
    names = _Names(set(), most=200)
    # Those of one kind stand together, for a drop-down lists neighbouring cells.
    contestants = [
        _Contestant(n, names.new(f"{version} · {distance}" if distance else version, is_sheet=False), kind, version, distance)
        for n, (kind, version, distance) in enumerate(sorted(found, key=lambda f: kinds.index(f[0])), 1)
    ]
    keys = {key: number for number, key in enumerate(dict.fromkeys(map(_key, rows)), 1)}
    number_of = {(c.kind, c.version, c.distance): c.number for c in contestants}
    lookups = [number_of[r["kind"], r["version"], r["distance"]] * _STRIDE + keys[_key(r)] for r in rows]
    first: dict[int, dict[str, Any]] = {}
    for lookup, row in zip(lookups, rows, strict=True):
        if first.setdefault(lookup, row) is not row:
            raise ValueError(f"figures: {row['kind']} {row['version']} {row['distance']} has {', '.join(map(str, _key(row)))} twice")
    return _Numbered(rows, contestants, keys, lookups)


class _Names:
    """Gives names out once each, whatever their case, none longer than `most`."""

    def __init__(self, taken: set[str], most: int = 31) -> None:
        self._taken, self._most = {t.casefold() for t in taken}, most

    def new(self, wish: str, *, is_sheet: bool = True) -> str:
        """The wish, made legal where it is to name a sheet, cut and numbered where it has to be."""
        clean = _clean(wish)
        if is_sheet:
            # Excel forbids []:*?/\ and an apostrophe at either end, and keeps "History" for itself.
            clean = re.sub(r"[^\w .()+,-]", "_", clean).strip() or "version"
            clean = f"{clean}_" if clean.casefold() == "history" else clean
        name, number = clean[: self._most], 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{clean[: self._most - len(str(number)) - 3]} ({number})"
        self._taken.add(name.casefold())
        return name


def _clean(text: str) -> str:
    """What XML and a cell can hold."""
    return ILLEGAL_CHARACTERS_RE.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))[:32_767]


def _number(value: float | int | None) -> float | int | None:
    return value if value is not None and np.isfinite(value) else None


def _put(cell: Cell | MergedCell, value: str | float | int | None) -> None:
    """A value as data: text stays text, whatever it begins with; what is no number is left empty."""
    if isinstance(value, str):
        cell.value = _clean(value)
        cell.data_type = "s"
        cell.quotePrefix = value[:1] in ("=", "+", "-", "@", "\t", "\r", "'")
    else:
        cell.value = _number(value)
        cell.number_format = _format(value)


def _format(value: float | int | None) -> str:
    return "0.000" if isinstance(value, float) and not value.is_integer() else "#,##0"


def _heading(sheet: Worksheet, row: int, columns: Sequence[str]) -> None:
    for j, name in enumerate(columns, 1):
        cell = sheet.cell(row, j, name)
        cell.font, cell.fill, cell.border = Font("Calibri", bold=True, color="475467"), _HEAD, _LINE
        cell.alignment = Alignment(horizontal="left" if name in _WIDTHS or name == "split" else "right")
        sheet.column_dimensions[get_column_letter(j)].width = _WIDTHS.get(name, 11)


def _table(sheet: Worksheet, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    _heading(sheet, 1, columns)
    for i, row in enumerate(rows, 2):
        for j, value in enumerate(row, 1):
            _put(sheet.cell(i, j), value)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"


def _versions(sheet: Worksheet, contestants: Sequence[_Contestant], sheets: Mapping[tuple[str, str], str]) -> None:
    columns = ["contestant", "kind", "version", "distance", "sheet"]
    _table(sheet, columns, [[c.label, c.kind, c.version, c.distance, ""] for c in contestants])
    for c in contestants:
        cell = sheet.cell(c.number + 1, 5)
        _put(cell, sheets[c.kind, c.version])
        # A place in this book: as a plain text it would be kept as an address outside.
        cell.hyperlink = Hyperlink(ref=cell.coordinate, location=f"'{sheets[c.kind, c.version]}'!A1")
        cell.font = Font("Calibri", color="3457B1", underline="single")


_FIRST_ROW = 7
_COLUMNS = ["", *KEY, "better", "this", "low", "high", "last", "low", "high", "difference", "", ""]


def _compare(sheet: Worksheet, kind: str, table: _Numbered) -> None:
    """Two cells that choose a contestant each, and a row of formulas for every figure that any of this kind has."""
    for cell, text in (("B1", f"Compare any two {kind}s"), ("B3", "this"), ("B4", "last")):
        sheet[cell] = text
        sheet[cell].font = Font("Calibri", bold=True, size=14 if cell == "B1" else 11)
    sheet["B2"] = "Choose in the yellow cells. Green: better, red: worse. A difference may be chance: see the report's paired intervals."
    sheet["B2"].font = Font("Calibri", color="667085")
    _choices(sheet, [c for c in table.contestants if c.kind == kind], len(table.contestants))
    _heading(sheet, _FIRST_ROW - 1, _COLUMNS)
    is_whole: dict[tuple[Any, ...], bool] = {}
    for row in (r for r in table.rows if r["kind"] == kind):
        is_whole[_key(row)] = is_whole.get(_key(row), True) and _format(row["value"]) == "#,##0"
    for i, key in enumerate(is_whole, _FIRST_ROW):
        _compared(sheet, i, key, table, "#,##0" if is_whole[key] else "0.000")
    last = _FIRST_ROW - 1 + len(is_whole)
    for fill, sign in ((_BETTER, ">"), (_WORSE, "<")):
        side = f'IF($G{_FIRST_ROW}="bigger",1,IF($G{_FIRST_ROW}="smaller",-1,0))'
        rule = FormulaRule([f"AND(ISNUMBER($N{_FIRST_ROW}),{side}*$N{_FIRST_ROW}{sign}0)"], fill=fill)
        sheet.conditional_formatting.add(f"N{_FIRST_ROW}:N{last}", rule)
    for hidden in "AOP":
        sheet.column_dimensions[hidden].hidden = True
    sheet.freeze_panes = f"A{_FIRST_ROW}"
    sheet.auto_filter.ref = f"B{_FIRST_ROW - 1}:N{last}"


def _choices(sheet: Worksheet, mine: Sequence[_Contestant], count: int) -> None:
    """The drop-downs in C3 and C4, and beside each, hidden, the number of what it says."""
    choice = DataValidation(type="list", formula1=f"=versions!$A${mine[0].number + 1}:$A${mine[-1].number + 1}", showErrorMessage=True)
    choice.error, choice.errorTitle = "Choose one of the list.", "No such version"
    sheet.add_data_validation(choice)
    labels = f"versions!$A$2:$A${count + 1}"
    for row, contestant in ((3, mine[-1]), (4, mine[max(0, len(mine) - 2)])):
        _put(sheet.cell(row, 3), contestant.label)
        sheet.cell(row, 3).fill = _CHOICE
        sheet.merge_cells(start_row=row, end_row=row, start_column=3, end_column=6)
        choice.add(f"C{row}")
        # EXACT, for MATCH takes * and ? for wildcards and A for a.
        sheet.cell(row, 1, f"=SUMPRODUCT(EXACT({labels},$C${row})*(ROW({labels})-1))")


def _compared(sheet: Worksheet, i: int, key: tuple[Any, ...], table: _Numbered, number_format: str) -> None:
    """Row i: the key, then both contestants' figures and their difference, empty where there is none."""
    for j, value in enumerate((table.keys[key], *key, _better(key[KEY.index("measure")])), 1):
        _put(sheet.cell(i, j), value)
    last = len(table.rows) + 1
    for chosen, helper, first in ((3, "O", 8), (4, "P", 11)):
        sheet[f"{helper}{i}"] = f"=IFERROR(MATCH($A${chosen}*{_STRIDE}+$A{i},figures!$A$2:$A${last},0),0)"
        for j, name in enumerate(("value", "low", "high"), first):
            column = get_column_letter(FIGURES.get_field_index(name) + 2)
            found = f"INDEX(figures!${column}$2:${column}${last},${helper}{i})"
            sheet.cell(i, j, f'=IF(${helper}{i}=0,"",IF({found}="","",{found}))').number_format = number_format
    sheet.cell(i, 14, f'=IF(AND(ISNUMBER(H{i}),ISNUMBER(K{i})),H{i}-K{i},"")').number_format = f"+{number_format};-{number_format};0"


def _better(measure: str) -> str:
    if measure in SMALLER_IS_BETTER or measure.startswith("bytes"):
        return "smaller"
    return "" if measure == "truths" else "bigger"
