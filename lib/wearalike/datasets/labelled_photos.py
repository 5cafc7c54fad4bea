"""Labelled photos, whoever labelled them, as one small record: where the photo is, its split, what is known of it.

A set is a folder with a CSV (UTF-8, first line the names of the columns) and pictures. The published sets and a plain user's
folder differ in the names of file and columns alone: `LAYOUTS`. Of label files of the kinds in `labels` every box is an item.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.formats import reading
from wearalike.imaging import decode
from wearalike.metrics.boxes import BOX_COLUMNS

SPLITS = ("train", "val", "test")
# Labels under test that are made of others: two photos share one where they share all its parts.
COMPOUND_LABELS = {"type+gender": ("type", "gender"), "both": ("type", "colour")}


class BadDataset(ValueError):
    """A set's CSV that cannot be used. The message names file and line, what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """id: the picture's path inside its set, with slashes. path: where it lies. labels: what is known of it, by the label's name.
    box: the item in it, x0 y0 x1 y1 in pixels, x1 and y1 outside; None where nobody drew one."""

    id: str
    path: Path
    split: str
    labels: Mapping[str, str]
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """How a set is written down. table: its CSV. image: the column that tells pictures apart, `file` the picture's path with {}
    for that column. labels: column of each label; None takes every column that is not image, split or box. not_labels: words
    that say that nothing is known. masks: where a picture's mask is, a PNG of one byte a pixel, the line number (from 0) of a
    word in labels.txt; every word in it is then an item of its own, labelled `type`, in the box of its pixels."""

    csv_file: str
    image_column: str
    path_template: str
    label_columns: Mapping[str, str] | None = None
    null_labels: frozenset[str] = field(default_factory=frozenset)
    mask_template: str | None = None


DATASET_LAYOUTS = {
    "catalogue": DatasetLayout(
        "products.csv",
        "id",
        "images/{}.jpg",
        {"type": "article_type", "gender": "gender", "colour": "base_colour"},
    ),
    "own": DatasetLayout(
        "images.csv",
        "image",
        "images/{}.jpg",
        {"type": "label"},
        frozenset({"Not sure", "Other", "Skip"}),
    ),
    "masks": DatasetLayout(
        "photos.csv",
        "photo",
        "photos/{}.jpg",
        {},
        # Jewellery is a few pixels, and nobody's `accessories` look alike.
        frozenset(
            [
                "null",
                "skin",
                "hair",
                "accessories",
                "bracelet",
                "earrings",
                "necklace",
                "ring",
                "intimate",
            ]
        ),
        "masks/{}.png",
    ),
    "folder": DatasetLayout("labels.csv", "image", "{}"),
}
DATASET_KINDS = (*DATASET_LAYOUTS, *reading.LABEL_FORMATS)
# Smaller things in a mask are rims of others, or too small to tell what they are.
_MIN_SIDE_PX, _MIN_AREA_PX = 24, 400
# An item's box in a mask is grown by this share, and two pixels: its rim is labelled with less care than its middle.
_MARGIN_RATIO = 0.06


@dataclass(frozen=True, slots=True)
class LabelledDataset:
    """name: the folder's. photos: by id; only those of which something is known. label_names: compounds among them."""

    name: str
    photos: tuple[LabelledPhoto, ...]
    label_names: tuple[str, ...]

    def class_ids(self, label: str) -> NDArray[np.int64]:
        """Which class of a label each photo is in: int64 (n,), row i is photo i, -1 where it is not known."""
        parts = COMPOUND_LABELS.get(label, (label,))
        found = [tuple(photo.labels.get(part, "") for part in parts) for photo in self.photos]
        numbers = {
            words: number for number, words in enumerate(sorted({w for w in found if all(w)}))
        }
        return np.array([numbers.get(words, -1) for words in found], np.int64)


def read_dataset(kind: str, folder: Path) -> LabelledDataset:
    """The set in a folder. kind: one of KINDS. Raises BadDataset or labels.BadLabels, for a picture that is not there too; of LAYOUTS
    none is opened."""
    if kind in reading.LABEL_FORMATS:
        return _read_boxes(kind, folder)
    if kind not in DATASET_LAYOUTS:
        raise BadDataset(f"kind {kind!r}: known are {', '.join(DATASET_KINDS)}")
    layout, table = DATASET_LAYOUTS[kind], folder / DATASET_LAYOUTS[kind].csv_file
    lines = _read_csv_lines(table)
    header = next(lines, (1, []))[1]
    columns = _label_columns(layout, header, table)
    words = _read_mask_labels(folder / "labels.txt") if layout.mask_template is not None else []
    photos: dict[str, LabelledPhoto] = {}
    for number, values in lines:
        where = f"{table}:{number}"
        if len(values) != len(header):
            raise BadDataset(
                f"{where}: {len(values)} values, wanted {len(header)} as in the first line"
            )
        row = dict(zip(header, values, strict=True))
        photo = _parse_photo(layout, columns, row, folder, where)
        if photo.id in photos:
            raise BadDataset(f"{where}: {photo.id} stands in the file twice")
        photos[photo.id] = photo
        if layout.mask_template is not None:
            photos |= {
                p.id: p
                for p in _mask_items(
                    photo,
                    folder / layout.mask_template.format(row[layout.image_column]),
                    words,
                    layout.null_labels,
                )
            }
    known = tuple(photos[i] for i in sorted(photos) if photos[i].labels)
    if not known:
        raise BadDataset(f"{table}: no photo with a label")
    compounds = [name for name, parts in COMPOUND_LABELS.items() if set(parts) <= set(columns)]
    names = ("type",) if layout.mask_template is not None else (*columns, *compounds)
    return LabelledDataset(folder.resolve().name, known, names)


def _read_boxes(kind: str, location: Path) -> LabelledDataset:
    """A set of label files: a photo for every box. place: as reading.read_labels takes it."""
    root = reading.images_root(kind, location)
    photos = tuple(
        LabelledPhoto(
            f"{image.path.relative_to(root).as_posix()}#{number}",
            image.path,
            image.split,
            {"type": found.category},
            (found.x0, found.y0, found.x1, found.y1),
        )
        for image in reading.read_valid_labels(kind, location)
        for number, found in enumerate(image.objects)
    )
    if not photos:
        raise BadDataset(f"{location}: no photo with a label")
    return LabelledDataset(root.resolve().name, photos, ("type",))


def _read_mask_labels(path: Path) -> list[str]:
    if not path.is_file():
        raise BadDataset(f"{path}: no such file, wanted a word a line, the first for 0")
    return path.read_text(encoding="utf-8").split()


def _mask_items(
    photo: LabelledPhoto, path: Path, words: list[str], not_labels: frozenset[str]
) -> Iterator[LabelledPhoto]:
    """The items in a photo's mask; none where there is no mask."""
    if not path.is_file():
        return
    mask = decode.decode_mask(path.read_bytes())
    for number in np.unique(mask).tolist():
        if number >= len(words):
            raise BadDataset(f"{path}: {number}, and labels.txt has only {len(words)} words")
        at = mask == number
        rows, columns = np.flatnonzero(at.any(axis=1)), np.flatnonzero(at.any(axis=0))
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        if (
            words[number] in not_labels
            or min(y1 - y0, x1 - x0) < _MIN_SIDE_PX
            or at.sum() < _MIN_AREA_PX
        ):
            continue
        dy, dx = round((y1 - y0) * _MARGIN_RATIO) + 2, round((x1 - x0) * _MARGIN_RATIO) + 2
        box = (
            max(0, x0 - dx),
            max(0, y0 - dy),
            min(mask.shape[1], x1 + dx),
            min(mask.shape[0], y1 + dy),
        )
        yield LabelledPhoto(
            f"{photo.id}#{words[number]}", photo.path, photo.split, {"type": words[number]}, box
        )


def parse_kind_and_folder(text: str) -> tuple[str, Path]:
    """("catalogue", Path("photos")) of "catalogue=photos", for an option of a job."""
    kind, _, folder = text.partition("=")
    if kind not in DATASET_KINDS or not folder:
        raise argparse.ArgumentTypeError(
            f"{text!r}: wanted KIND=FOLDER, KIND one of {', '.join(DATASET_KINDS)}"
        )
    return kind, Path(folder)


def _read_csv_lines(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and values of every line that is not empty."""
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


def _label_columns(layout: DatasetLayout, header: list[str], table: Path) -> dict[str, str]:
    """The column of every label. Raises BadDataset where one is missing."""
    if len(set(header)) < len(header) or not all(header):
        raise BadDataset(
            f"{table}:1: wanted columns with names, each once, got {', '.join(header)}"
        )
    others = [name for name in header if name not in (layout.image_column, "split", *BOX_COLUMNS)]
    columns = (
        dict(layout.label_columns)
        if layout.label_columns is not None
        else {name: name for name in others}
    )
    wanted = [
        layout.image_column,
        "split",
        *columns.values(),
        *(BOX_COLUMNS if set(BOX_COLUMNS) & set(header) else ()),
    ]
    if missing := [name for name in wanted if name not in header]:
        raise BadDataset(f"{table}:1: no column {missing[0]!r}; wanted {', '.join(wanted)}")
    if not columns and layout.mask_template is None:
        raise BadDataset(f"{table}:1: no column with labels beside {', '.join(wanted)}")
    if layout.label_columns is None and (taken := sorted(set(columns) & set(COMPOUND_LABELS))):
        raise BadDataset(
            f"{table}:1: column {taken[0]!r}: the name is kept for {' with '.join(COMPOUND_LABELS[taken[0]])}"
        )
    return columns


def _parse_photo(
    layout: DatasetLayout,
    columns: Mapping[str, str],
    row: Mapping[str, str],
    folder: Path,
    where: str,
) -> LabelledPhoto:
    name = row[layout.image_column]
    photo_id = layout.path_template.format(name)
    if (
        not name
        or "\\" in name
        or "\0" in name
        or PurePosixPath(photo_id).is_absolute()
        or ".." in PurePosixPath(photo_id).parts
    ):
        raise BadDataset(
            f"{where}: {layout.image_column}: wanted a picture's path inside {folder}, got {name!r}"
        )
    if row["split"] not in SPLITS:
        raise BadDataset(f"{where}: split: wanted {', '.join(SPLITS)}, got {row['split']!r}")
    if not (folder / photo_id).is_file():
        raise BadDataset(f"{where}: {folder / photo_id}: no such picture")
    labels = {
        label: row[column]
        for label, column in columns.items()
        if row[column] and row[column] not in layout.null_labels
    }
    return LabelledPhoto(photo_id, folder / photo_id, row["split"], labels, _parse_box(row, where))


def _parse_box(row: Mapping[str, str], where: str) -> tuple[int, int, int, int] | None:
    values = [row.get(side, "") for side in BOX_COLUMNS]
    if not any(values):
        return None
    if not all(v.isascii() and v.isdecimal() and len(v) < 7 for v in values):
        raise BadDataset(
            f"{where}: box: wanted {', '.join(BOX_COLUMNS)} in whole pixels, got {', '.join(values)}"
        )
    x0, y0, x1, y1 = map(int, values)
    if x0 >= x1 or y0 >= y1:
        raise BadDataset(f"{where}: box: wanted x0 < x1 and y0 < y1, got {', '.join(values)}")
    return x0, y0, x1, y1
