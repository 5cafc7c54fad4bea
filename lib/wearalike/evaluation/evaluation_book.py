"""One workbook of many evaluations: each adds a tab, and formulas compare any two of them.

The figures of all evaluations lie beside the workbook, as Parquet. The workbook is written anew
from them, so whatever people add to its sheets is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.evaluation import workbook
from wearalike.evaluation.figures import FIGURES_SCHEMA, Figure
from wearalike.storage import atomic

BOOK_SCHEMA = pa.schema([pa.field("evaluation", pa.string(), nullable=False), *FIGURES_SCHEMA])
MAX_NAME_CHARS = 31


class BadBook(ValueError):
    """The workbook or the figures beside it cannot be used."""


def figures_path(book: Path) -> Path:
    """Return the file of all figures, beside the workbook."""
    return book.with_suffix(".parquet")


def add_evaluation(book: Path, name: str, figures: Iterable[Figure]) -> list[str]:
    """Add an evaluation to a workbook, over an earlier one of the same name.

    Args:
        book: The workbook, an .xlsx file, which need not exist.
        name: Name of its tab, 1 to MAX_NAME_CHARS characters.
        figures: Rows of FIGURES_SCHEMA.

    Returns:
        The names of all evaluations, this one last.

    Raises:
        BadBook: Another kind of file, a bad name, or figures that are none.
    """
    check_book(book, name)
    with atomic.lock_file(book.with_name(f".{book.name}.lock")):
        former = [row for row in read_figures(book) if row["evaluation"] != name]
        rows = former + [
            {"evaluation": name, **{n: figure[n] for n in FIGURES_SCHEMA.names}}
            for figure in figures
        ]
        tabs = {_label(row): row["evaluation"] for row in rows}
        table = pa.Table.from_pylist(rows, BOOK_SCHEMA)
        workbook.write_workbook(book, ({**row, "version": _label(row)} for row in rows), tabs)
        with atomic.replace_file(figures_path(book)) as hidden:
            pq.write_table(table, hidden)
    return list(dict.fromkeys(row["evaluation"] for row in rows))


def check_book(book: Path, name: str) -> None:
    """Raise BadBook where an evaluation of this name cannot be added to a workbook."""
    if book.suffix != ".xlsx":
        raise BadBook(f"--book {book}: wanted a name that ends with .xlsx")
    if not (0 < len(name) <= MAX_NAME_CHARS and name.isprintable()):
        raise BadBook(f"--name {name!r}: wanted 1 to {MAX_NAME_CHARS} printable characters")
    read_figures(book)


def read_figures(book: Path) -> list[dict[str, Any]]:
    """Return the figures of all evaluations of a workbook, as BOOK_SCHEMA; none without one.

    Raises:
        BadBook: The file beside it is something else, or is gone while the workbook is there.
    """
    path = figures_path(book)
    if not path.exists():
        if book.exists():
            raise BadBook(f"{book}: a workbook without {path.name} beside it; name a new one")
        return []
    try:
        return pq.read_table(path, schema=BOOK_SCHEMA).to_pylist()
    except (pa.ArrowInvalid, ValueError) as error:
        raise BadBook(f"{path}: not the figures of evaluations: {error}") from error


def _label(row: Figure) -> str:
    """Return the name of a model in the comparing sheets."""
    return f"{row['evaluation']} · {row['version']}"
