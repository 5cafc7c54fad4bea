"""Excel workbooks in which no text of the data becomes a formula, a link or a bad sheet name.

Text is written as text, whatever it begins with. Text that a spreadsheet might read as a formula
when it is edited or pasted is marked as text, too. All formulas and links are our own, and lead to
places in the same workbook.
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
    """Give each name once, whatever its case.

    Args:
        taken: Names that are used already.
        max_length: Most letters of a name; Excel allows 31 for a sheet.
    """

    def __init__(self, taken: set[str], max_length: int = 31) -> None:
        self._taken, self._most = {t.casefold() for t in taken}, max_length

    def reserve(self, wanted: str, *, is_sheet: bool = True) -> str:
        """Return a free name like `wanted`, cut and numbered if necessary.

        Args:
            wanted: The name.
            is_sheet: Replace what Excel forbids in the name of a sheet.
        """
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
    """Return text that XML and a cell can hold: at most 32,767 letters, none illegal."""
    return ILLEGAL_CHARACTERS_RE.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))[
        :32_767
    ]


def finite_or_none(value: float | int | None) -> float | int | None:
    """Return the number, or None if it is NaN or infinite."""
    return value if value is not None and np.isfinite(value) else None


def write_value(cell: Cell | MergedCell, value: str | float | int | None) -> None:
    """Write a value as data: text stays text; NaN and infinity leave the cell empty."""
    if isinstance(value, str):
        cell.value = clean_text(value)
        cell.data_type = "s"
        cell.quotePrefix = value[:1] in ("=", "+", "-", "@", "\t", "\r", "'")
    else:
        cell.value = finite_or_none(value)
        cell.number_format = number_format(value)


def number_format(value: float | int | None) -> str:
    """Return the Excel format of a number: three decimals, or none for a whole number."""
    return "0.000" if isinstance(value, float) and not value.is_integer() else "#,##0"


def write_heading(
    sheet: Worksheet, row: int, columns: Sequence[str], widths: Mapping[str, int]
) -> None:
    """Write a heading row; columns with a width hold texts, the others numbers."""
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
    """Write rows under a frozen heading with filters."""
    write_heading(sheet, 1, columns, widths)
    for i, row in enumerate(rows, 2):
        for j, value in enumerate(row, 1):
            write_value(sheet.cell(i, j), value)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"


def write_link(cell: Cell | MergedCell, sheet_name: str) -> None:
    """Write a link to a sheet of the same workbook."""
    write_value(cell, sheet_name)
    # As plain text, openpyxl would store the target as an address outside the workbook.
    cell.hyperlink = Hyperlink(ref=cell.coordinate, location=f"'{sheet_name}'!A1")
    cell.font = Font("Calibri", color="3457B1", underline="single")


def write_title(sheet: Worksheet, text: str, meaning: str) -> None:
    """Write title and explanation of a comparison sheet, and the names of its two choices."""
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
    """Add drop-downs in C3 and C4, and in A3 and A4 the number of the label chosen.

    Args:
        sheet: The comparison sheet.
        source_sheet: Sheet with the labels in column A.
        first: First row of the labels offered.
        last: Last row of the labels offered.
        label_count: Number of all labels, from row 2 on.
        selected: The labels chosen at first.
    """
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
        # EXACT, because MATCH reads * and ? as wildcards and ignores case.
        sheet.cell(row, 1, f"=SUMPRODUCT(EXACT({labels},$C${row})*(ROW({labels})-1))")


def save_workbook(book: Workbook, path: Path) -> None:
    """Write the workbook whole or not at all; every sheet prints one page wide.

    Args:
        book: The workbook.
        path: The file; an existing one is replaced.

    Raises:
        OSError: The file cannot be written; an existing one stays.
    """
    for sheet in book.worksheets:
        sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", 0
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    book.calculation.fullCalcOnLoad = (
        True  # nothing is reckoned here: the spreadsheet does it when it opens the file
    )
    with atomic.replace_file(path) as hidden:
        book.save(hidden)
