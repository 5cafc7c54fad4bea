"""labels.csv of a user's own folder -> labelled pictures with boxes, and every bad line.

Trainings and evaluations read the file with `labelled_photos`, which stops at the first bad line.
This reader is for those who want to mend all of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from wearalike.datasets.csv_lines import read_csv_lines
from wearalike.datasets.formats import record
from wearalike.datasets.formats.record import (
    BadLabels,
    LabelledImage,
    LabelledObject,
    LabelProblem,
    LabelsAndProblems,
)
from wearalike.datasets.labelled_photos import (
    LabelledPhoto,
    find_label_columns,
    name_item,
    parse_photo,
)
from wearalike.datasets.layouts import DATASET_LAYOUTS, FOLDER, BadDataset

# The column that names a box's class: that of detectors, else the type.
_CLASS_COLUMNS = ("class", "type")


@dataclass
class _PictureBoxes:
    """The boxes of a picture so far."""

    header: LabelledImage
    objects: list[LabelledObject] = field(default_factory=list)


def read_labels_csv(folder: Path) -> LabelsAndProblems:
    """Read the pictures and boxes of a folder's labels.csv.

    Args:
        folder: The folder. A line without a box is of the whole picture.

    Returns:
        The pictures by path, and all problems.
    """
    layout = DATASET_LAYOUTS[FOLDER]
    table = folder / layout.csv_file
    problems: list[LabelProblem] = []
    pictures: dict[Path, _PictureBoxes] = {}
    bad_counts: Counter[Path] = Counter()
    try:
        lines = read_csv_lines(table)
        header = next(lines, (1, []))[1]
        columns = find_label_columns(layout, header, table)
        photos: dict[str, LabelledPhoto] = {}
        for number, values in lines:
            where = f"{table}:{number}"
            row: dict[str, str] = {}
            try:
                if len(values) != len(header):
                    raise BadDataset(f"{where}: {len(values)} values, wanted {len(header)}")
                row = dict(zip(header, values, strict=True))
                photo = name_item(parse_photo(layout, columns, row, folder, where), photos)
                if photo.id in photos:
                    raise BadDataset(f"{where}: {photo.id} stands in the file twice")
                photos[photo.id] = photo
                _add_box(pictures, photo)
            except (BadDataset, BadLabels) as error:
                bad_counts[folder / row.get(layout.image_column, "")] += 1
                problems.append(LabelProblem(where, str(error).removeprefix(f"{where}: ")))
    except BadDataset as error:
        problems.append(LabelProblem(str(table), str(error).removeprefix(f"{table}: ")))
    images = [
        LabelledImage(
            path,
            found.header.width_px,
            found.header.height_px,
            tuple(found.objects),
            found.header.split,
            bad_counts[path],
        )
        for path, found in sorted(pictures.items())
    ]
    return images, problems


def _add_box(pictures: dict[Path, _PictureBoxes], photo: LabelledPhoto) -> None:
    """Add a line's box to its picture. Raise BadLabels."""
    found = pictures.get(photo.path)
    if found is None:
        size = record.read_picture_header(photo.path)
        image = LabelledImage(photo.path, size.width_px, size.height_px, (), photo.split)
        found = pictures[photo.path] = _PictureBoxes(image)
    if found.header.split != photo.split:
        raise BadLabels(f"split: {photo.split}, and {found.header.split} on an earlier line")
    category = next((photo.labels[c] for c in _CLASS_COLUMNS if c in photo.labels), "")
    corners = photo.box or (0, 0, found.header.width_px, found.header.height_px)
    others = {name: v for name, v in photo.labels.items() if name != "class"}
    found.objects.append(
        record.build_object(
            record.parse_category(category), corners, found.header, attributes=others
        )
    )
