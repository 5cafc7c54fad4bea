"""Pairs of photos: a garment worn by somebody, and the same garment laid flat.

pairs.csv has the columns `group` (the garment), `figure` and `flat` (paths inside the folder). It
may have the garment's box in the figure (x0, y0, x1, y1 in px), `split`, and labels such as `type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wearalike.datasets.csv_lines import check_picture, check_split, parse_box, read_csv_lines
from wearalike.datasets.labelled_photos import COMPOUND_LABELS, LabelledDataset, LabelledPhoto
from wearalike.datasets.layouts import GROUP_COLUMN, BadDataset
from wearalike.metrics.boxes import BOX_COLUMNS
from wearalike.tables import ImageView

PAIRS_FILE = "pairs.csv"
_DEFAULT_SPLIT = "test"
_PICTURE_COLUMNS = (ImageView.FIGURE.value, ImageView.FLAT.value)


def read_pairs(folder: Path) -> LabelledDataset:
    """Read the pairs of a folder; the figures are the queries, the flat pictures the gallery.

    Args:
        folder: The set's folder.

    Returns:
        Both pictures of each pair. A picture that several pairs share stands in it once a pair.

    Raises:
        BadDataset: The CSV file cannot be used.
    """
    table = folder / PAIRS_FILE
    lines = read_csv_lines(table)
    header = next(lines, (1, []))[1]
    wanted = [GROUP_COLUMN, *_PICTURE_COLUMNS]
    if set(BOX_COLUMNS) & set(header):
        wanted += BOX_COLUMNS
    if missing := [name for name in wanted if name not in header]:
        raise BadDataset(f"{table}:1: no column {missing[0]!r}; wanted {', '.join(wanted)}")
    if len(set(header)) < len(header) or not all(header):
        raise BadDataset(
            f"{table}:1: wanted columns with names, each once, got {', '.join(header)}"
        )
    labels = [name for name in header if name not in (*wanted, "split")]
    photos: dict[str, LabelledPhoto] = {}
    for number, values in lines:
        where = f"{table}:{number}"
        if len(values) != len(header):
            raise BadDataset(
                f"{where}: {len(values)} values, wanted {len(header)} as in the first line"
            )
        row = dict(zip(header, values, strict=True))
        for photo in _pair_photos(folder, row, labels, where):
            if photo.id in photos:
                raise BadDataset(f"{where}: {photo.id} stands in the file twice")
            photos[photo.id] = photo
    if not photos:
        raise BadDataset(f"{table}: no pair")
    compounds = [name for name, parts in COMPOUND_LABELS.items() if set(parts) <= set(labels)]
    figures = frozenset(i for i, photo in photos.items() if photo.view == ImageView.FIGURE)
    ordered = tuple(photo for _, photo in sorted(photos.items()))
    return LabelledDataset(folder.resolve().name, ordered, (*labels, *compounds), figures)


def _pair_photos(
    folder: Path, row: Mapping[str, str], label_columns: list[str], where: str
) -> list[LabelledPhoto]:
    """Return both photos of a line. Raises BadDataset."""
    group, split = row[GROUP_COLUMN], row.get("split") or _DEFAULT_SPLIT
    if not group:
        raise BadDataset(f"{where}: {GROUP_COLUMN}: wanted the garment's name, got nothing")
    check_split(split, where)
    labels = {name: row[name] for name in label_columns if row[name]}
    photos = []
    for column in _PICTURE_COLUMNS:
        name = row[column]
        check_picture(folder, name, name, where, column)
        box = parse_box(row, where) if column == ImageView.FIGURE else None
        # Two garments may share a picture, so the garment is part of the id.
        photos.append(
            LabelledPhoto(
                f"{name}#{group}", folder / name, split, labels, box, group, group, column
            )
        )
    return photos
