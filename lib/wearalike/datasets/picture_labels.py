"""Labels of the page /label: boxes of a picture, kept as rows of the warehouse.

Each save is a row. The last row of a person and picture counts, and no earlier one is lost. A
`final` row is what somebody chose or corrected where two people's labels disagreed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from wearalike.datasets.formats import record
from wearalike.datasets.formats.record import BadLabels, LabelledObject
from wearalike.metrics.boxes import BOX_COLUMNS
from wearalike.tables import PICTURE_LABELS
from wearalike.warehouse.base import Warehouse

# A street scene has fewer; a script that sends more is no person.
MAX_BOXES = 100
# A box of fewer pixels a side is a slip of the hand.
MIN_BOX_PX = 4
# Further labels of a box, beside its class; each may be left open.
ATTRIBUTE_NAMES = ("leaf", "colour", "pattern")
# PostgreSQL has the table only after the first row.
_TABLE_EXISTS_SQL = "SELECT 1 AS found FROM information_schema.tables WHERE table_name = $1"
_HISTORY_SQL = f"SELECT * FROM {PICTURE_LABELS.name} ORDER BY saved_at, labeller, image_id, run"


class LabelStatus(StrEnum):
    """Kinds of rows of `picture_labels`."""

    LABELLED = "labelled"
    SKIPPED = "skipped"  # the person left the picture to others
    FINAL = "final"  # goes before every person's labels


@dataclass(frozen=True, slots=True)
class LabelPicture:
    """A picture to label.

    Attributes:
        image_id: sha256 of its bytes, hex.
        format: JPEG, PNG, ..., as in `images`.
        width_px: After EXIF orientation.
        height_px: After EXIF orientation.
        product_id: The product that it shows.
        article: The product's article; pictures of one article are in one split.
        margin: 0..1, how sure the detector was; see `label_queue`.
    """

    image_id: str
    format: str
    width_px: int
    height_px: int
    product_id: str
    article: str
    margin: float


@dataclass(frozen=True, slots=True)
class PictureLabel:
    """Boxes that a person saved of a picture.

    Attributes:
        picture: The picture.
        labeller: Who.
        saved_at: When, UTC, ISO 8601.
        status: The kind of row.
        objects: The boxes, with classes as their category; empty if nothing is to be seen.
    """

    picture: LabelPicture
    labeller: str
    saved_at: str
    status: LabelStatus
    objects: tuple[LabelledObject, ...]


@dataclass(frozen=True, slots=True)
class LabelVocabulary:
    """The words that labels may use.

    Attributes:
        classes: Super-category of each garment class, in the order of the classes.
        attributes: Names for people of each value, by the value, by attribute of ATTRIBUTE_NAMES.
        leaf_super_categories: Super-category of each leaf.
    """

    classes: Mapping[str, str]
    attributes: Mapping[str, Mapping[str, str]]
    leaf_super_categories: Mapping[str, str]


class LabelHistory:
    """All rows of `picture_labels`, and those that count.

    Args:
        labels: Rows, the oldest first.

    Attributes:
        rows: The rows.
        by_picture: The last label of each person by picture and person; not the final ones.
        finals: The last final label by picture.
    """

    def __init__(self, labels: Sequence[PictureLabel] = ()) -> None:
        self.rows: list[PictureLabel] = []
        self.by_picture: dict[str, dict[str, PictureLabel]] = {}
        self.finals: dict[str, PictureLabel] = {}
        for label in labels:
            self.add(label)

    def add(self, label: PictureLabel) -> None:
        """Add a row that was saved after the others."""
        self.rows.append(label)
        image_id = label.picture.image_id
        if label.status is LabelStatus.FINAL:
            self.finals[image_id] = label
        else:
            self.by_picture.setdefault(image_id, {})[label.labeller] = label

    def labels_of(self, image_id: str) -> list[PictureLabel]:
        """Return what each person last saved of a picture, by name; without who skipped it."""
        found = self.by_picture.get(image_id, {})
        return [found[name] for name in sorted(found) if found[name].status is LabelStatus.LABELLED]

    def find_picture(self, image_id: str) -> LabelPicture | None:
        """Return a picture that somebody saved; None if nobody did."""
        found = [*self.by_picture.get(image_id, {}).values()]
        return found[-1].picture if found else None


def parse_boxes(
    text: str, picture: LabelPicture, vocabulary: LabelVocabulary
) -> tuple[LabelledObject, ...]:
    """Parse and check the boxes that a page sends.

    Args:
        text: JSON, as in the column `boxes`.
        picture: The picture.
        vocabulary: The words that are allowed.

    Raises:
        BadLabels: A box cannot be used; the message says which, what was found and wanted.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLabels("boxes: not JSON") from error
    if not isinstance(entries, list) or len(entries) > MAX_BOXES:
        raise BadLabels(f"boxes: wanted a list of at most {MAX_BOXES}")
    objects = []
    for number, entry in enumerate(entries, 1):
        try:
            objects.append(_parse_box(entry, picture, vocabulary))
        except BadLabels as error:
            raise BadLabels(f"box {number}: {error}") from error
    corners = [tuple(getattr(one, name) for name in BOX_COLUMNS) for one in objects]
    for number, own in enumerate(corners):
        # A set names an item by its picture and its box.
        if own in corners[:number]:
            raise BadLabels(f"box {number + 1}: the same as box {corners.index(own) + 1}")
    return tuple(objects)


def _parse_box(entry: Any, picture: LabelPicture, vocabulary: LabelVocabulary) -> LabelledObject:
    """Return the object of one box. Raise BadLabels."""
    if not isinstance(entry, dict):
        raise BadLabels(f"wanted an object, got {record.short_repr(entry)}")
    corners = [entry.get(name) for name in BOX_COLUMNS]
    if not all(type(value) is int for value in corners):
        raise BadLabels(f"wanted {', '.join(BOX_COLUMNS)} in whole px")
    x0, y0, x1, y1 = (int(value) for value in corners if value is not None)
    if not (0 <= x0 < x1 <= picture.width_px and 0 <= y0 < y1 <= picture.height_px):
        raise BadLabels(
            f"{x0}, {y0}, {x1}, {y1}: wanted a box inside the picture of {picture.width_px} x "
            f"{picture.height_px} px"
        )
    if min(x1 - x0, y1 - y0) < MIN_BOX_PX:
        raise BadLabels(f"{x1 - x0} x {y1 - y0} px: wanted {MIN_BOX_PX} px a side or more")
    category = entry.get("class")
    if not isinstance(category, str) or category not in vocabulary.classes:
        raise BadLabels(f"class: wanted one of the list, got {record.short_repr(category)}")
    attributes = {}
    for name in ATTRIBUTE_NAMES:
        value = entry.get(name) or ""
        if value and (not isinstance(value, str) or value not in vocabulary.attributes[name]):
            raise BadLabels(f"{name}: wanted one of the list, got {record.short_repr(value)}")
        if value:
            attributes[name] = value
    return LabelledObject(category, x0, y0, x1, y1, attributes=attributes)


def format_boxes(objects: Iterable[LabelledObject]) -> str:
    """Return boxes as the text that `parse_boxes` reads; equal boxes give equal texts."""
    entries = [
        {
            **{corner: getattr(o, corner) for corner in BOX_COLUMNS},
            "class": o.category,
            **{name: o.attributes[name] for name in ATTRIBUTE_NAMES if name in o.attributes},
        }
        for o in objects
    ]
    return json.dumps(entries, ensure_ascii=False)


def record_label(warehouse: Warehouse, run: str, label: PictureLabel) -> None:
    """Add what a person saved; nothing that was there is changed.

    Args:
        warehouse: The warehouse.
        run: The run that is published.
        label: The label.

    Raises:
        Unreachable: The warehouse does not answer.
        Rejected: This role may not write.
    """
    row = {
        **asdict(label.picture),
        "labeller": label.labeller,
        "saved_at": label.saved_at,
        "status": str(label.status),
        "boxes": format_boxes(label.objects),
    }
    warehouse.record(run, PICTURE_LABELS, [row])


def read_history(warehouse: Warehouse) -> LabelHistory:
    """Read everything that was ever saved, whichever run was published.

    Args:
        warehouse: The warehouse.

    Raises:
        Unreachable: The warehouse does not answer.
    """
    if not warehouse.query(_TABLE_EXISTS_SQL, [PICTURE_LABELS.name]):
        return LabelHistory()
    return LabelHistory([_label_of_row(row) for row in warehouse.query(_HISTORY_SQL)])


def _label_of_row(row: Mapping[str, Any]) -> PictureLabel:
    """Return the label of a row, whose words may be those of an earlier vocabulary."""
    objects = tuple(
        LabelledObject(
            category=entry["class"],
            x0=entry["x0"],
            y0=entry["y0"],
            x1=entry["x1"],
            y1=entry["y1"],
            attributes={name: entry[name] for name in ATTRIBUTE_NAMES if entry.get(name)},
        )
        for entry in json.loads(row["boxes"])
    )
    picture = LabelPicture(**{name: row[name] for name in LabelPicture.__slots__})
    return PictureLabel(
        picture, row["labeller"], row["saved_at"], LabelStatus(row["status"]), objects
    )


def format_time(moment: datetime) -> str:
    """Return a time as the column `saved_at` holds it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
