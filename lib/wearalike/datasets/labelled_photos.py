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

SPLITS = ("train", "val", "test")
BOX = ("x0", "y0", "x1", "y1")
# Labels under test that are made of others: two photos share one where they share all its parts.
COMPOUNDS = {"type+gender": ("type", "gender"), "both": ("type", "colour")}


class BadSet(ValueError):
    """A set's CSV that cannot be used. The message names file and line, what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Photo:
    """id: the picture's path inside its set, with slashes. path: where it lies. labels: what is known of it, by the label's name.
    box: the item in it, x0 y0 x1 y1 in pixels, x1 and y1 outside; None where nobody drew one."""

    id: str
    path: Path
    split: str
    labels: Mapping[str, str]
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a set is written down. table: its CSV. image: the column that tells pictures apart, `file` the picture's path with {}
    for that column. labels: column of each label; None takes every column that is not image, split or box. not_labels: words
    that say that nothing is known. masks: where a picture's mask is, a PNG of one byte a pixel, the line number (from 0) of a
    word in labels.txt; every word in it is then an item of its own, labelled `type`, in the box of its pixels."""

    table: str
    image: str
    file: str
    labels: Mapping[str, str] | None = None
    not_labels: frozenset[str] = field(default_factory=frozenset)
    masks: str | None = None


LAYOUTS = {
    "catalogue": Layout(
        "products.csv",
        "id",
        "images/{}.jpg",
        {"type": "article_type", "gender": "gender", "colour": "base_colour"},
    ),
    "own": Layout(
        "images.csv",
        "image",
        "images/{}.jpg",
        {"type": "label"},
        frozenset({"Not sure", "Other", "Skip"}),
    ),
    "masks": Layout(
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
    "folder": Layout("labels.csv", "image", "{}"),
}
KINDS = (*LAYOUTS, *reading.KINDS)
# Smaller things in a mask are rims of others, or too small to tell what they are.
_LEAST_SIDE_PX, _LEAST_AREA_PX = 24, 400
# An item's box in a mask is grown by this share, and two pixels: its rim is labelled with less care than its middle.
_MARGIN_RATIO = 0.06


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """name: the folder's. photos: by id; only those of which something is known. label_names: compounds among them."""

    name: str
    photos: tuple[Photo, ...]
    label_names: tuple[str, ...]

    def classes(self, label: str) -> NDArray[np.int64]:
        """Which class of a label each photo is in: int64 (n,), row i is photo i, -1 where it is not known."""
        parts = COMPOUNDS.get(label, (label,))
        found = [tuple(photo.labels.get(part, "") for part in parts) for photo in self.photos]
        numbers = {
            words: number for number, words in enumerate(sorted({w for w in found if all(w)}))
        }
        return np.array([numbers.get(words, -1) for words in found], np.int64)


def read(kind: str, folder: Path) -> LabelledSet:
    """The set in a folder. kind: one of KINDS. Raises BadSet or labels.BadLabels, for a picture that is not there too; of LAYOUTS
    none is opened."""
    if kind in reading.KINDS:
        return _of_boxes(kind, folder)
    if kind not in LAYOUTS:
        raise BadSet(f"kind {kind!r}: known are {', '.join(KINDS)}")
    layout, table = LAYOUTS[kind], folder / LAYOUTS[kind].table
    lines = _lines(table)
    header = next(lines, (1, []))[1]
    columns = _columns(layout, header, table)
    words = _words(folder / "labels.txt") if layout.masks is not None else []
    photos: dict[str, Photo] = {}
    for number, values in lines:
        where = f"{table}:{number}"
        if len(values) != len(header):
            raise BadSet(
                f"{where}: {len(values)} values, wanted {len(header)} as in the first line"
            )
        row = dict(zip(header, values, strict=True))
        photo = _photo(layout, columns, row, folder, where)
        if photo.id in photos:
            raise BadSet(f"{where}: {photo.id} stands in the file twice")
        photos[photo.id] = photo
        if layout.masks is not None:
            photos |= {
                p.id: p
                for p in _in_mask(
                    photo, folder / layout.masks.format(row[layout.image]), words, layout.not_labels
                )
            }
    known = tuple(photos[i] for i in sorted(photos) if photos[i].labels)
    if not known:
        raise BadSet(f"{table}: no photo with a label")
    compounds = [name for name, parts in COMPOUNDS.items() if set(parts) <= set(columns)]
    names = ("type",) if layout.masks is not None else (*columns, *compounds)
    return LabelledSet(folder.resolve().name, known, names)


def _of_boxes(kind: str, place: Path) -> LabelledSet:
    """A set of label files: a photo for every box. place: as labels.read takes it."""
    root = reading.root(kind, place)
    photos = tuple(
        Photo(
            f"{image.path.relative_to(root).as_posix()}#{number}",
            image.path,
            image.split,
            {"type": found.category},
            (found.x0, found.y0, found.x1, found.y1),
        )
        for image in reading.read_whole(kind, place)
        for number, found in enumerate(image.objects)
    )
    if not photos:
        raise BadSet(f"{place}: no photo with a label")
    return LabelledSet(root.resolve().name, photos, ("type",))


def _words(path: Path) -> list[str]:
    if not path.is_file():
        raise BadSet(f"{path}: no such file, wanted a word a line, the first for 0")
    return path.read_text(encoding="utf-8").split()


def _in_mask(
    photo: Photo, path: Path, words: list[str], not_labels: frozenset[str]
) -> Iterator[Photo]:
    """The items in a photo's mask; none where there is no mask."""
    if not path.is_file():
        return
    mask = decode.decode_mask(path.read_bytes())
    for number in np.unique(mask).tolist():
        if number >= len(words):
            raise BadSet(f"{path}: {number}, and labels.txt has only {len(words)} words")
        at = mask == number
        rows, columns = np.flatnonzero(at.any(axis=1)), np.flatnonzero(at.any(axis=0))
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        if (
            words[number] in not_labels
            or min(y1 - y0, x1 - x0) < _LEAST_SIDE_PX
            or at.sum() < _LEAST_AREA_PX
        ):
            continue
        dy, dx = round((y1 - y0) * _MARGIN_RATIO) + 2, round((x1 - x0) * _MARGIN_RATIO) + 2
        box = (
            max(0, x0 - dx),
            max(0, y0 - dy),
            min(mask.shape[1], x1 + dx),
            min(mask.shape[0], y1 + dy),
        )
        yield Photo(
            f"{photo.id}#{words[number]}", photo.path, photo.split, {"type": words[number]}, box
        )


def kind_and_folder(text: str) -> tuple[str, Path]:
    """("catalogue", Path("photos")) of "catalogue=photos", for an option of a job."""
    kind, _, folder = text.partition("=")
    if kind not in KINDS or not folder:
        raise argparse.ArgumentTypeError(
            f"{text!r}: wanted KIND=FOLDER, KIND one of {', '.join(KINDS)}"
        )
    return kind, Path(folder)


def _lines(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and values of every line that is not empty."""
    if not table.is_file():
        raise BadSet(f"{table}: no such file")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            for values in rows:
                if values:
                    yield rows.line_num, [v.strip() for v in values]
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadSet(f"{table}:{rows.line_num + 1}: not CSV in UTF-8: {error}") from error


def _columns(layout: Layout, header: list[str], table: Path) -> dict[str, str]:
    """The column of every label. Raises BadSet where one is missing."""
    if len(set(header)) < len(header) or not all(header):
        raise BadSet(f"{table}:1: wanted columns with names, each once, got {', '.join(header)}")
    others = [name for name in header if name not in (layout.image, "split", *BOX)]
    columns = dict(layout.labels) if layout.labels is not None else {name: name for name in others}
    wanted = [layout.image, "split", *columns.values(), *(BOX if set(BOX) & set(header) else ())]
    if missing := [name for name in wanted if name not in header]:
        raise BadSet(f"{table}:1: no column {missing[0]!r}; wanted {', '.join(wanted)}")
    if not columns and layout.masks is None:
        raise BadSet(f"{table}:1: no column with labels beside {', '.join(wanted)}")
    if layout.labels is None and (taken := sorted(set(columns) & set(COMPOUNDS))):
        raise BadSet(
            f"{table}:1: column {taken[0]!r}: the name is kept for {' with '.join(COMPOUNDS[taken[0]])}"
        )
    return columns


def _photo(
    layout: Layout, columns: Mapping[str, str], row: Mapping[str, str], folder: Path, where: str
) -> Photo:
    name = row[layout.image]
    photo_id = layout.file.format(name)
    if (
        not name
        or "\\" in name
        or "\0" in name
        or PurePosixPath(photo_id).is_absolute()
        or ".." in PurePosixPath(photo_id).parts
    ):
        raise BadSet(
            f"{where}: {layout.image}: wanted a picture's path inside {folder}, got {name!r}"
        )
    if row["split"] not in SPLITS:
        raise BadSet(f"{where}: split: wanted {', '.join(SPLITS)}, got {row['split']!r}")
    if not (folder / photo_id).is_file():
        raise BadSet(f"{where}: {folder / photo_id}: no such picture")
    labels = {
        label: row[column]
        for label, column in columns.items()
        if row[column] and row[column] not in layout.not_labels
    }
    return Photo(photo_id, folder / photo_id, row["split"], labels, _box(row, where))


def _box(row: Mapping[str, str], where: str) -> tuple[int, int, int, int] | None:
    values = [row.get(side, "") for side in BOX]
    if not any(values):
        return None
    if not all(v.isascii() and v.isdecimal() and len(v) < 7 for v in values):
        raise BadSet(
            f"{where}: box: wanted {', '.join(BOX)} in whole pixels, got {', '.join(values)}"
        )
    x0, y0, x1, y1 = map(int, values)
    if x0 >= x1 or y0 >= y1:
        raise BadSet(f"{where}: box: wanted x0 < x1 and y0 < y1, got {', '.join(values)}")
    return x0, y0, x1, y1
