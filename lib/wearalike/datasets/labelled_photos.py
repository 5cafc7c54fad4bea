"""Labelled photos of any set as one small record: where the photo is, its split, its labels.

A set is a folder with a CSV file and pictures; `layouts` says how each kind names them. In label
files (COCO, YOLO) every box is an item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.csv_lines import (
    SPLITS,
    check_picture,
    check_split,
    parse_box,
    read_csv_lines,
)
from wearalike.datasets.formats import reading
from wearalike.datasets.layouts import (
    COLOUR_NUMBER_COLUMN,
    DATASET_KINDS,
    DATASET_LAYOUTS,
    GROUP_COLUMN,
    PRODUCT_COLUMNS,
    VIEW_COLUMN,
    BadDataset,
    DatasetLayout,
)
from wearalike.datasets.mask_items import find_mask_items, read_mask_words
from wearalike.metrics.boxes import BOX_COLUMNS

__all__ = [
    "COMPOUND_LABELS",
    "SPLITS",
    "LabelledDataset",
    "LabelledPhoto",
    "number_classes",
    "read_dataset",
]

# Labels made of others: two photos share a compound label if they share all its parts.
COMPOUND_LABELS = {"type+gender": ("type", "gender"), "both": ("type", "colour")}


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """One photo, or one item in a photo, with its labels.

    Attributes:
        id: The picture's path inside its set, with slashes.
        path: The picture's file.
        split: One of SPLITS.
        labels: Value of each known label by the label's name.
        box: The item's box: x0, y0, x1, y1 in px, x1 and y1 outside; None if nobody drew one.
        group: The article, all its colours together; empty if unknown.
        product: The article in one colour: what a shop sells. Empty if unknown.
        view: The set's own word for the view (figure, back, side); empty if unknown.
    """

    id: str
    path: Path
    split: str
    labels: Mapping[str, str]
    box: tuple[int, int, int, int] | None = None
    group: str = ""
    product: str = ""
    view: str = ""


@dataclass(frozen=True, slots=True)
class LabelledDataset:
    """The labelled photos of one set.

    Attributes:
        name: Name of the set's folder.
        photos: Photos with at least one label, group or view, sorted by id.
        label_names: Labels of the set, compound ones among them.
        query_ids: Photos that are the queries of an evaluation, the others being its gallery. None
            leaves that to the splits.
    """

    name: str
    photos: tuple[LabelledPhoto, ...]
    label_names: tuple[str, ...]
    query_ids: frozenset[str] | None = None

    @property
    def groups(self) -> NDArray[np.int64]:
        """The articles by number, int64 (n,); -1 where the article is not known."""
        return number_classes([photo.group for photo in self.photos])

    @property
    def products(self) -> NDArray[np.int64]:
        """The products by number, int64 (n,); -1 where the product is not known."""
        return number_classes([photo.product for photo in self.photos])

    def class_ids(self, label: str) -> NDArray[np.int64]:
        """Number the classes of a label.

        Args:
            label: A label's name, or a compound of COMPOUND_LABELS.

        Returns:
            int64 (n,). The class of photo i, -1 if it is not known.
        """
        parts = COMPOUND_LABELS.get(label, (label,))
        values = [tuple(photo.labels.get(part, "") for part in parts) for photo in self.photos]
        return number_classes([value if all(value) else () for value in values])


def number_classes(values: Sequence[Any]) -> NDArray[np.int64]:
    """Number the different values in their order.

    Args:
        values: Values that can be sorted; an empty one is not known.

    Returns:
        int64 (n,). The number of value i, -1 if it is empty.
    """
    classes = sorted({value for value in values if value})
    numbers = {value: number for number, value in enumerate(classes)}
    return np.array([numbers.get(value, -1) for value in values], np.int64)


def read_dataset(kind: str, folder: Path, *, is_strict: bool = False) -> LabelledDataset:
    """Read the labelled photos of a set.

    Pictures must exist. Those of a CSV layout are not opened; those of label files are.

    Args:
        kind: One of DATASET_KINDS.
        folder: The set's folder; for `coco` also a single JSON file.
        is_strict: Refuse label files with any bad label; else their pictures are left out.

    Raises:
        BadDataset: The kind is unknown, or the CSV file or a mask cannot be used.
        BadLabels: A label file cannot be used.

    Example:
        >>> read_dataset("folder", Path("photos")).label_names  # doctest: +SKIP
        ('type', 'colour', 'both')
    """
    if kind in reading.LABEL_FORMATS:
        return _read_label_files(kind, folder, is_strict)
    if kind not in DATASET_LAYOUTS:
        raise BadDataset(f"kind {kind!r}: known are {', '.join(DATASET_KINDS)}")
    layout = DATASET_LAYOUTS[kind]
    table = folder / layout.csv_file
    lines = read_csv_lines(table)
    header = next(lines, (1, []))[1]
    columns = find_label_columns(layout, header, table)
    words = read_mask_words(folder) if layout.mask_template is not None else []
    photos: dict[str, LabelledPhoto] = {}
    for number, values in lines:
        where = f"{table}:{number}"
        if len(values) != len(header):
            raise BadDataset(
                f"{where}: {len(values)} values, wanted {len(header)} as in the first line"
            )
        row = dict(zip(header, values, strict=True))
        photo = name_item(parse_photo(layout, columns, row, folder, where), photos)
        if photo.id in photos:
            raise BadDataset(f"{where}: {photo.id} stands in the file twice")
        photos[photo.id] = photo
        if layout.mask_template is not None:
            mask_path = layout.mask_path(folder, row[layout.image_column])
            for word, box in find_mask_items(mask_path, words, layout.null_labels):
                item_id = f"{photo.id}#{word}"
                photos[item_id] = LabelledPhoto(
                    item_id, photo.path, photo.split, {"type": word}, box
                )
    known = tuple(
        photo for _, photo in sorted(photos.items()) if photo.labels or photo.group or photo.view
    )
    if not known:
        raise BadDataset(f"{table}: no photo with a label")
    compounds = [name for name, parts in COMPOUND_LABELS.items() if set(parts) <= set(columns)]
    names = ("type",) if layout.mask_template is not None else (*columns, *compounds)
    return LabelledDataset(folder.resolve().name, known, names)


def name_item(photo: LabelledPhoto, photos: Mapping[str, LabelledPhoto]) -> LabelledPhoto:
    """Give a further item of a picture an id of its own: the picture's with the box behind it.

    Args:
        photo: The photo of a line.
        photos: Those of the lines before, by id.

    Returns:
        The photo; unchanged if its picture is new, or if a box is not known.
    """
    first = photos.get(photo.id)
    if first is None or not photo.box or not first.box or photo.box == first.box:
        return photo
    return replace(photo, id=f"{photo.id}#{'-'.join(map(str, photo.box))}")


def _read_label_files(kind: str, location: Path, is_strict: bool) -> LabelledDataset:
    """Read a set of label files; each box becomes a photo of its own."""
    root = reading.images_root(kind, location)
    photos = tuple(
        LabelledPhoto(
            f"{image.path.relative_to(root).as_posix()}#{number}",
            image.path,
            image.split,
            {"type": item.category},
            (item.x0, item.y0, item.x1, item.y1),
        )
        for image in reading.read_valid_labels(kind, location, is_strict=is_strict)
        for number, item in enumerate(image.objects)
    )
    if not photos:
        raise BadDataset(f"{location}: no photo with a label")
    return LabelledDataset(root.resolve().name, photos, ("type",))


def find_label_columns(layout: DatasetLayout, header: list[str], table: Path) -> dict[str, str]:
    """Return the column of each label. Raises BadDataset if one is missing."""
    if len(set(header)) < len(header) or not all(header):
        raise BadDataset(
            f"{table}:1: wanted columns with names, each once, got {', '.join(header)}"
        )
    known = (layout.image_column, "split", *BOX_COLUMNS, *PRODUCT_COLUMNS)
    others = [name for name in header if name not in known]
    columns = dict(zip(others, others, strict=True))
    if layout.label_columns is not None:
        columns = dict(layout.label_columns)
    box_columns = BOX_COLUMNS if set(BOX_COLUMNS) & set(header) else ()
    wanted = [layout.image_column, "split", *columns.values(), *box_columns]
    if missing := [name for name in wanted if name not in header]:
        raise BadDataset(f"{table}:1: no column {missing[0]!r}; wanted {', '.join(wanted)}")
    has_facts = bool(columns) or bool({GROUP_COLUMN, VIEW_COLUMN} & set(header))
    if not has_facts and layout.mask_template is None:
        raise BadDataset(f"{table}:1: no column with labels beside {', '.join(wanted)}")
    if layout.label_columns is None and (taken := sorted(set(columns) & set(COMPOUND_LABELS))):
        parts = " with ".join(COMPOUND_LABELS[taken[0]])
        raise BadDataset(f"{table}:1: column {taken[0]!r}: the name is kept for {parts}")
    return columns


def parse_photo(
    layout: DatasetLayout,
    columns: Mapping[str, str],
    row: Mapping[str, str],
    folder: Path,
    where: str,
) -> LabelledPhoto:
    """Return the photo of a CSV line. Raises BadDataset."""
    name = row[layout.image_column]
    photo_id = layout.path_template.format(name)
    check_picture(folder, name, photo_id, where, layout.image_column)
    check_split(row["split"], where)
    labels = {
        label: row[column]
        for label, column in columns.items()
        if row[column] and row[column] not in layout.null_labels
    }
    box = parse_box(row, where)
    if layout.label_columns is not None:
        return LabelledPhoto(photo_id, folder / photo_id, row["split"], labels, box)
    group = row.get(GROUP_COLUMN, "")
    return LabelledPhoto(
        photo_id,
        folder / photo_id,
        row["split"],
        labels,
        box,
        group,
        _product(row, group, where),
        row.get(VIEW_COLUMN, ""),
    )


def _product(row: Mapping[str, str], group: str, where: str) -> str:
    """Return the product of a CSV line: the article in one colour; empty if the line cannot say.

    A set with `group` alone lists articles in their colours. Two pictures of one group are known to
    show one product only if `colour_number` says so, or if there are views and no other colour.
    """
    number = row.get(COLOUR_NUMBER_COLUMN, "")
    if number and not group:
        raise BadDataset(f"{where}: {COLOUR_NUMBER_COLUMN} {number!r}, and no {GROUP_COLUMN}")
    if COLOUR_NUMBER_COLUMN in row:
        return f"{group}/{number}" if group and number else ""
    return f"{group}/{row.get('colour', '')}" if group and VIEW_COLUMN in row else ""
