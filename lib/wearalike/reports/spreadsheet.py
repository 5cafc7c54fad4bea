"""Excel workbooks of data: sheets, tables and cells in which no text of the data is ever a formula, a link or a bad name.

A text is written as text, whatever it begins with, and what a spreadsheet might read otherwise when it is edited or pasted is
marked as text too. Formulas and links are our own, and only lead to places in the same workbook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, Cell, MergedCell
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from wearalike.storage import atomic

BETTER_FILL, WORSE_FILL = (
    PatternFill("solid", bgColor="D1FADF"),
    PatternFill("solid", bgColor="FEE4E2"),
)
_HEADING_FILL = PatternFill("solid", fgColor="F2F4F7")
_CHOICE_FILL = PatternFill("solid", fgColor="FFF4CE")
_HEADING_BORDER = Border(bottom=Side("thin", color="D0D5DD"))


class UniqueNames:
    """Gives names out once each, whatever their case, none longer than `most`."""

    def __init__(self, taken: set[str], max_length: int = 31) -> None:
        self._taken, self._most = {t.casefold() for t in taken}, max_length

    def reserve(self, wanted: str, *, is_sheet: bool = True) -> str:
        """The wish, made legal where it is to name a sheet, cut and numbered where it has to be."""
        legal = clean_text(wanted)
        if is_sheet:
            # Excel forbids []:*?/\ and an apostrophe at either end, and keeps "History" for itself.
            legal = re.sub(r"[^\w .()+,-]", "_", legal).strip() or "sheet"
            legal = f"{legal}_" if legal.casefold() == "history" else legal
        name, count = legal[: self._most], 1
        while name.casefold() in self._taken:
            count += 1
            name = f"{legal[: self._most - len(str(count)) - 3]} ({count})"
        self._taken.add(name.casefold())
        return name


def clean_text(text: str) -> str:
    """What XML and a cell can hold."""
    return ILLEGAL_CHARACTERS_RE.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))[
        :32_767
    ]


def finite_or_none(value: float | int | None) -> float | int | None:
    return value if value is not None and np.isfinite(value) else None


def write_value(cell: Cell | MergedCell, value: str | float | int | None) -> None:
    """A value as data: text stays text, whatever it begins with; what is no number is left empty."""
    if isinstance(value, str):
        cell.value = clean_text(value)
        cell.data_type = "s"
        cell.quotePrefix = value[:1] in ("=", "+", "-", "@", "\t", "\r", "'")
    else:
        cell.value = finite_or_none(value)
        cell.number_format = number_format(value)


def number_format(value: float | int | None) -> str:
    return "0.000" if isinstance(value, float) and not value.is_integer() else "#,##0"


def write_heading(
    sheet: Worksheet, row: int, columns: Sequence[str], widths: Mapping[str, int]
) -> None:
    """The names of columns in a row; those that have a width are texts, the others numbers."""
    for j, name in enumerate(columns, 1):
        cell = sheet.cell(row, j)
        write_value(cell, name)
        cell.font, cell.fill, cell.border = (
            Font("Calibri", bold=True, color="475467"),
            _HEADING_FILL,
            _HEADING_BORDER,
        )
        cell.alignment = Alignment(horizontal="left" if name in widths else "right")
        sheet.column_dimensions[get_column_letter(j)].width = widths.get(name, 11)


def write_sheet(
    sheet: Worksheet,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    widths: Mapping[str, int],
) -> None:
    """A whole sheet of rows under a heading that stays in sight, to be filtered."""
    write_heading(sheet, 1, columns, widths)
    for i, row in enumerate(rows, 2):
        for j, value in enumerate(row, 1):
            write_value(sheet.cell(i, j), value)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"


def write_link(cell: Cell | MergedCell, sheet_name: str) -> None:
    """The cell says a sheet's name and leads there."""
    write_value(cell, sheet_name)
    # A place in this book: as a plain text it would be kept as an address outside.
    cell.hyperlink = Hyperlink(ref=cell.coordinate, location=f"'{sheet_name}'!A1")
    cell.font = Font("Calibri", color="3457B1", underline="single")


def write_title(sheet: Worksheet, text: str, meaning: str) -> None:
    """B1 and B2 of a comparing sheet, and what its two choices in C3 and C4 are called."""
    for cell, said in (("B1", text), ("B3", "this"), ("B4", "last")):
        sheet[cell] = said
        sheet[cell].font = Font("Calibri", bold=True, size=14 if cell == "B1" else 11)
    sheet["B2"] = meaning
    sheet["B2"].font = Font("Calibri", color="667085")


def add_choices(
    sheet: Worksheet,
    source_sheet: str,
    first: int,
    last: int,
    label_count: int,
    selected: tuple[str, str],
) -> None:
    """Drop-downs in C3 and C4 of what stands in rows first to last of column A of sheet `of`, and in A3 and A4 the number of what
    each says among all `count` under the heading. picked: what they say at first."""
    choice = DataValidation(
        type="list", formula1=f"={source_sheet}!$A${first}:$A${last}", showErrorMessage=True
    )
    choice.error, choice.errorTitle = "Choose one of the list.", "Not in the list"
    sheet.add_data_validation(choice)
    labels = f"{source_sheet}!$A$2:$A${label_count + 1}"
    for row, label in zip((3, 4), selected, strict=True):
        write_value(sheet.cell(row, 3), label)
        sheet.cell(row, 3).fill = _CHOICE_FILL
        sheet.merge_cells(start_row=row, end_row=row, start_column=3, end_column=6)
        choice.add(f"C{row}")
        # EXACT, for MATCH takes * and ? for wildcards and A for a.
        sheet.cell(row, 1, f"=SUMPRODUCT(EXACT({labels},$C${row})*(ROW({labels})-1))")


def save_workbook(book: Workbook, path: Path) -> None:
    """Writes the book whole or not at all, over one that is there; a sheet prints one page wide."""
    for sheet in book.worksheets:
        sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", 0
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    book.calculation.fullCalcOnLoad = (
        True  # nothing is reckoned here: the spreadsheet does it when it opens the file
    )
    with atomic.replace_file(path) as hidden:
        book.save(hidden)
