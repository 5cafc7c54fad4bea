"""Excel workbooks in which no text of the data becomes a formula, a link or a bad sheet name.

Text is written as text, whatever it begins with. Text that a spreadsheet might read as a formula
when it is edited or pasted is marked as text, too. All formulas and links are our own, and lead to
places in the same workbook.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_cell_to_rowcol

from wearalike.storage import atomic

BETTER_FILL, WORSE_FILL = "#D1FADF", "#FEE4E2"
_CHOICE_FILL = "#FFF4CE"
_HEADING_STYLE = {
    "bold": True,
    "font_color": "#475467",
    "bg_color": "#F2F4F7",
    "bottom": 1,
    "bottom_color": "#D0D5DD",
}
# Characters that XML cannot hold.
_ILLEGAL_PATTERN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MAX_CELL_CHARS = 32_767
# A file says when it was made. The same figures give the same file, so it is always this.
_CREATED = datetime(2000, 1, 1, tzinfo=UTC)
# A spreadsheet might read text that begins so as a formula when it is edited or pasted.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


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
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    return _ILLEGAL_PATTERN.sub("\ufffd", encodable)[:_MAX_CELL_CHARS]


def finite_or_none(value: float | int | None) -> float | int | None:
    """Return the number, or None if it is NaN or infinite."""
    return value if value is not None and np.isfinite(value) else None


def number_format(value: float | int | None) -> str:
    """Return the Excel format of a number: three decimals, or none for a whole number."""
    return "0.000" if isinstance(value, float) and not value.is_integer() else "#,##0"


def signed_format(plain_format: str) -> str:
    """Return the Excel format of a difference: it always has a sign."""
    return f"+{plain_format};-{plain_format};0"


def _text_style(text: str) -> dict[str, bool]:
    """Return the property that marks a text as text, where it might be read as a formula."""
    return {"quote_prefix": True} if text.startswith(_FORMULA_STARTS) else {}


class DataSheet:
    """A sheet of a DataBook. Rows and columns count from 1, as in Excel."""

    def __init__(self, book: DataBook, name: str) -> None:
        """Add a sheet to the book.

        Args:
            book: The workbook.
            name: The sheet's name, see UniqueNames.
        """
        self._book, self._sheet = book, book.workbook.add_worksheet(name)
        # One page wide.
        self._sheet.set_landscape()
        self._sheet.fit_to_pages(1, 0)
        self._widths: dict[int, float] = {}

    def write_value(
        self, row: int, column: int, value: str | float | int | None, **style: Any
    ) -> None:
        """Write a value as data: text stays text; NaN and infinity leave the cell empty.

        Args:
            row: The row.
            column: The column.
            value: The value.
            **style: Properties of XlsxWriter's Format.
        """
        if isinstance(value, str):
            cell_format = self._book.format({**style, **_text_style(value)})
            if value:
                self._sheet.write_string(row - 1, column - 1, clean_text(value), cell_format)
            else:
                self._sheet.write_blank(row - 1, column - 1, None, cell_format)
        elif (number := finite_or_none(value)) is not None:
            style.setdefault("num_format", number_format(value))
            self._sheet.write_number(row - 1, column - 1, number, self._book.format(style))

    def write_formula(self, row: int, column: int, formula: str, **style: Any) -> None:
        """Write a formula of ours; the spreadsheet computes it when it opens the file."""
        cell_format = self._book.format(style)
        self._sheet.write_formula(row - 1, column - 1, formula, cell_format, "")

    def write_heading(self, row: int, columns: Sequence[str], widths: Mapping[str, int]) -> None:
        """Write a heading row; columns with a width hold texts, the others numbers."""
        for j, name in enumerate(columns, 1):
            align = "left" if name in widths else "right"
            self.write_value(row, j, name, align=align, **_HEADING_STYLE)
            self._widths[j] = widths.get(name, 11)
            self._sheet.set_column(j - 1, j - 1, self._widths[j])

    def write_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], widths: Mapping[str, int]
    ) -> None:
        """Write rows under a frozen heading with filters."""
        self.write_heading(1, columns, widths)
        for i, row in enumerate(rows, 2):
            for j, value in enumerate(row, 1):
                self.write_value(i, j, value)
        self.freeze_above(2)
        self.add_filters(1, 1, len(rows) + 1, len(columns))

    def write_link(self, row: int, column: int, sheet_name: str) -> None:
        """Write a link to a sheet of the same workbook."""
        style = {"font_color": "#3457B1", "underline": 1, **_text_style(sheet_name)}
        cell_format = self._book.format(style)
        target = f"internal:'{sheet_name}'!A1"
        self._sheet.write_url(row - 1, column - 1, target, cell_format, sheet_name)

    def write_title(self, text: str, meaning: str) -> None:
        """Write title and explanation of a comparison sheet, and the names of its two choices."""
        self.write_value(1, 2, text, bold=True, font_size=14)
        self.write_value(2, 2, meaning, font_color="#667085")
        self.write_value(3, 2, "this", bold=True)
        self.write_value(4, 2, "last", bold=True)

    def add_choices(
        self,
        source_sheet: str,
        first: int,
        last: int,
        label_count: int,
        selected: tuple[str, str],
    ) -> None:
        """Add drop-downs in C3 and C4, and in A3 and A4 the number of the label chosen.

        Args:
            source_sheet: Sheet with the labels in column A.
            first: First row of the labels offered.
            last: Last row of the labels offered.
            label_count: Number of all labels, from row 2 on.
            selected: The labels chosen at first.
        """
        choice = {
            "validate": "list",
            "source": f"={source_sheet}!$A${first}:$A${last}",
            "error_title": "Not in the list",
            "error_message": "Choose one of the list.",
        }
        self._sheet.data_validation("C3:C4", choice)
        labels = f"{source_sheet}!$A$2:$A${label_count + 1}"
        fill = self._book.format({"bg_color": _CHOICE_FILL})
        for row, label in zip((3, 4), selected, strict=True):
            self._sheet.merge_range(f"C{row}:F{row}", "", fill)
            self.write_value(row, 3, label, bg_color=_CHOICE_FILL)
            # EXACT, because MATCH reads * and ? as wildcards and ignores case.
            self.write_formula(row, 1, f"=SUMPRODUCT(EXACT({labels},$C${row})*(ROW({labels})-1))")

    def add_fill_rule(self, cells: str, formula: str, colour: str) -> None:
        """Fill the cells for which a formula holds.

        Args:
            cells: The range, e.g. "N7:N20".
            formula: The condition for its first cell, without "=".
            colour: "#rrggbb".
        """
        rule = {
            "type": "formula",
            "criteria": f"={formula}",
            "format": self._book.format({"bg_color": colour}),
        }
        self._sheet.conditional_format(cells, rule)

    def hide_columns(self, letters: str) -> None:
        """Hide columns, each named by one letter."""
        for letter in letters:
            _, j = xl_cell_to_rowcol(f"{letter}1")
            self._sheet.set_column(j, j, self._widths.get(j + 1), None, {"hidden": True})

    def freeze_above(self, row: int) -> None:
        """Keep the rows above this one in sight."""
        self._sheet.freeze_panes(row - 1, 0)

    def add_filters(self, first_row: int, first_column: int, row: int, column: int) -> None:
        """Add filters to a heading, down to the last row and column."""
        self._sheet.autofilter(first_row - 1, first_column - 1, row - 1, column - 1)


class DataBook:
    """An Excel workbook in memory."""

    def __init__(self) -> None:
        """Begin a book without sheets."""
        self._buffer = io.BytesIO()
        self.workbook = Workbook(self._buffer, {"in_memory": True})
        self.workbook.set_properties({"created": _CREATED})
        self._formats: dict[tuple[tuple[str, Any], ...], Format] = {}

    def format(self, style: Mapping[str, Any]) -> Format | None:
        """Return the workbook's format with these properties; None for none."""
        key = tuple(sorted(style.items()))
        if key and key not in self._formats:
            self._formats[key] = self.workbook.add_format(dict(style))
        return self._formats.get(key)

    def add_sheet(self, name: str) -> DataSheet:
        """Return a new sheet at the end."""
        return DataSheet(self, name)

    def save(self, path: Path) -> None:
        """Write the workbook whole or not at all.

        Args:
            path: The file; an existing one is replaced.

        Raises:
            OSError: The file cannot be written; an existing one stays.
        """
        self.workbook.close()
        with atomic.replace_file(path) as hidden:
            hidden.write_bytes(self._buffer.getvalue())
