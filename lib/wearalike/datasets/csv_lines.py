"""Lines of the CSV files that list photos: values, pictures' paths and boxes, each checked."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from wearalike.datasets.layouts import BadDataset
from wearalike.metrics.boxes import BOX_COLUMNS

SPLITS = ("train", "val", "test")
# Coordinates in a CSV file have fewer digits than this.
_MAX_COORDINATE_DIGITS = 7


def read_csv_lines(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and values of each line that is not empty.

    Args:
        table: The CSV file.

    Raises:
        BadDataset: There is no such file, or it is not CSV in UTF-8.
    """
    if not table.is_file():
        raise BadDataset(f"{table}: no such file")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            for values in rows:
                if values:
                    yield rows.line_num, [v.strip() for v in values]
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadDataset(f"{table}:{rows.line_num + 1}: not CSV in UTF-8: {error}") from error


def check_picture(folder: Path, name: str, photo_id: str, where: str, column: str) -> None:
    """Check that a line names a picture inside its set's folder.

    Args:
        folder: The set's folder.
        name: The value that names the picture.
        photo_id: The picture's path inside the folder.
        where: The line, for messages.
        column: The value's column, for messages.

    Raises:
        BadDataset: The path leads out of the folder, or there is no such picture.
    """
    path = PurePosixPath(photo_id)
    leads_out = path.is_absolute() or ".." in path.parts
    if not name or "\\" in name or "\0" in name or leads_out:
        raise BadDataset(
            f"{where}: {column}: wanted a picture's path inside {folder}, got {name!r}"
        )
    if not (folder / photo_id).is_file():
        raise BadDataset(f"{where}: {folder / photo_id}: no such picture")


def check_split(split: str, where: str) -> None:
    """Raise BadDataset for a split that is none of SPLITS.

    Args:
        split: The line's split.
        where: The line, for messages.
    """
    if split not in SPLITS:
        raise BadDataset(f"{where}: split: wanted {', '.join(SPLITS)}, got {split!r}")


def parse_box(row: Mapping[str, str], where: str) -> tuple[int, int, int, int] | None:
    """Return the box of a CSV line.

    Args:
        row: Values by column.
        where: The line, for messages.

    Returns:
        x0, y0, x1, y1 in px; None if the columns are empty or missing.

    Raises:
        BadDataset: A coordinate is no whole number, or the box is empty.
    """
    values = [row.get(column, "") for column in BOX_COLUMNS]
    if not any(values):
        return None
    if not all(v.isascii() and v.isdecimal() and len(v) < _MAX_COORDINATE_DIGITS for v in values):
        columns = ", ".join(BOX_COLUMNS)
        raise BadDataset(f"{where}: box: wanted {columns} in whole pixels, got {', '.join(values)}")
    x0, y0, x1, y1 = map(int, values)
    if x0 >= x1 or y0 >= y1:
        raise BadDataset(f"{where}: box: wanted x0 < x1 and y0 < y1, got {', '.join(values)}")
    return x0, y0, x1, y1
