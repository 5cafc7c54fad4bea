"""Part the lines of a table into rows, so that a broken row costs itself alone.

A quote that is not closed would make one cell of all lines behind it. So each row is read by the
strict rules first. Where they fail, the line stands alone, and quotes are letters.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

# A row has no more bytes, or lines; a description with so many is none.
MAX_ROW_CHARS = 1 << 20
MAX_ROW_LINES = 500
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class BrokenRow(NamedTuple):
    """A row that cannot be read.

    Attributes:
        line: Its first line in the file, from 1.
        detail: The fault found, and the row that was wanted.
    """

    line: int
    detail: str


class TableRow(NamedTuple):
    """A row of a table.

    Attributes:
        cells: The texts of its cells; not more than there are columns.
        is_repaired: Its quotes were not those of CSV.
    """

    cells: list[str]
    is_repaired: bool


class RowReader:
    """Reads the rows behind the head line of a table."""

    def __init__(self, delimiter: str, column_count: int, first_line: int) -> None:
        """Prepare to read.

        Args:
            delimiter: The character between two cells.
            column_count: The cells that a row may have.
            first_line: The number of the first line that is read, from 1.
        """
        self._delimiter = delimiter
        self._column_count = column_count
        self._line = first_line
        self._waiting: deque[str] = deque()
        csv.field_size_limit(MAX_ROW_CHARS)

    def iter_rows(self, lines: Iterator[str]) -> Iterator[TableRow | BrokenRow]:
        """Yield the rows; blank ones are none.

        Args:
            lines: The lines with their ends.
        """
        while (line := self._next_line(lines)) is not None:
            number = self._line - 1
            cells = self._read_strictly(line, lines)
            is_repaired = cells is None
            if cells is None:
                cells = self._read_alone(line)
            if cells is None:
                detail = f"line {number}: {line[:80]!r}; wanted {self._column_count} cells"
                yield BrokenRow(number, f"{detail}, and quotes around a cell or none")
            elif len(cells) > self._column_count:
                detail = f"line {number}: {len(cells)} cells; wanted {self._column_count}"
                yield BrokenRow(number, detail)
            elif any(cells):
                yield TableRow(cells, is_repaired)

    def _next_line(self, lines: Iterator[str]) -> str | None:
        """Return the next line, or None behind the last."""
        self._line += 1
        return self._waiting.popleft() if self._waiting else next(lines, None)

    def _read_strictly(self, line: str, lines: Iterator[str]) -> list[str] | None:
        """Return the cells of a row that begins with a line and may go on in those behind it.

        Return None, and put the lines behind it back, if CSV has no such row.
        """
        taken = [line]
        chars = len(line)
        quotes = line.count('"')
        while chars <= MAX_ROW_CHARS and len(taken) <= MAX_ROW_LINES:
            # Quotes that are closed are even in number.
            if len(taken) == 1 or ('"' in taken[-1] and quotes % 2 == 0):
                try:
                    cells = self._parse("".join(taken), is_strict=True)
                except csv.Error as error:
                    if "unexpected end of data" not in str(error):
                        break
                else:
                    if len(taken) > 1 and len(cells) != self._column_count:
                        break
                    return cells
            following = self._next_line(lines)
            if following is None:
                break
            taken.append(following)
            chars += len(following)
            quotes += following.count('"')
        self._waiting.extendleft(reversed(taken[1:]))
        self._line -= len(taken) - 1
        return None

    def _read_alone(self, line: str) -> list[str] | None:
        """Return the cells of one line whose quotes are not those of CSV, or None."""
        if len(line) > MAX_ROW_CHARS:
            return None
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            try:
                cells = self._parse(line, is_strict=False, quoting=quoting)
            except csv.Error:
                continue
            if len(cells) == self._column_count and "\n" not in cells[-1]:
                return [cell.strip('"') if cell.count('"') == 1 else cell for cell in cells]
        return None

    def _parse(
        self, text: str, is_strict: bool, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
    ) -> list[str]:
        """Return the cells of the lines of one row, without empty ones behind the last column."""
        reader = csv.reader(
            split_lines(text), delimiter=self._delimiter, strict=is_strict, quoting=quoting
        )
        cells = next(reader, [])
        while len(cells) > self._column_count and not cells[-1].strip():
            cells.pop()
        return cells


def split_lines(text: str) -> list[str]:
    """Return the lines of a text with their ends.

    Unlike `str.splitlines` it knows only the ends that tables have; the others stand in titles.

    >>> split_lines("a\\r\\nb\\u2028c")
    ['a\\r\\n', 'b\\u2028c']
    """
    return _LINE.findall(text)
