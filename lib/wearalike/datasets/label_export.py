"""Write labelled pictures as a set that others read: COCO JSON, labels.csv and the pictures.

| file | content |
|---|---|
| annotations/labels.json | COCO: classes of detectors; leaf, colour and pattern as `attributes` |
| labels.csv | a line a box: its leaf as `type`, class, colour and pattern |
| images/<split>/<image_id>.<suffix> | copies of the stored pictures |
| .gitignore | `*`: shops' pictures do not belong into a repository |

The split follows from the product's article, as for a run. Same labels, same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wearalike.datasets.layouts import BadDataset
from wearalike.datasets.picture_labels import ATTRIBUTE_NAMES, LabelPicture, PictureLabel
from wearalike.datasets.run_photos import choose_split
from wearalike.metrics.boxes import BOX_COLUMNS
from wearalike.storage import atomic, content_cache

PICTURE_GONE = "picture gone"
_JSON_PATH = Path("annotations") / "labels.json"
_CSV_NAME = "labels.csv"
_CSV_COLUMNS = ("image", "split", *BOX_COLUMNS, "type", "class", "colour", "pattern")


@dataclass(frozen=True, slots=True)
class LabelExport:
    """Counts of a set that was written.

    Attributes:
        pictures_count: Pictures.
        boxes_count: Boxes on them.
        left_out: Pictures left out, by reason.
    """

    pictures_count: int
    boxes_count: int
    left_out: Counter[str]


def write_label_set(
    out: Path, labels: Sequence[PictureLabel], root: Path, classes: Mapping[str, str]
) -> LabelExport:
    """Write a set, whole or not at all.

    Args:
        out: The folder, new or empty.
        labels: One label a picture.
        root: The data folder, which holds the pictures.
        classes: Super-category of each class, in the order in which COCO numbers them.

    Returns:
        Its counts. A picture whose file is gone or damaged is left out and counted.

    Raises:
        BadDataset: The folder holds something, or no picture is left.
    """
    before = atomic.dir_identity(out)
    # People may have changed what an earlier export wrote, so nothing is replaced.
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadDataset(f"{out}: wanted a new or empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    left_out: Counter[str] = Counter()
    ordered = sorted(labels, key=lambda label: label.picture.image_id)
    with atomic.staging_dir(out) as staged:
        written = []
        for label in ordered:
            try:
                content = content_cache.read_image(root, label.picture.image_id)
            except content_cache.LostImage:
                left_out[PICTURE_GONE] += 1
                continue
            path = staged / _picture_path(label.picture)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            written.append(label)
        if not written:
            raise BadDataset(f"no labelled picture to write to {out}")
        (staged / _JSON_PATH).parent.mkdir()
        (staged / _JSON_PATH).write_text(_format_coco(written, classes), encoding="utf-8")
        (staged / _CSV_NAME).write_text(_format_csv(written), encoding="utf-8")
        (staged / ".gitignore").write_text("*\n", encoding="utf-8")
        atomic.fsync_tree(staged)
        atomic.commit_dir(staged, out, before, lambda: False)
    boxes_count = sum(len(label.objects) for label in written)
    return LabelExport(len(written), boxes_count, left_out)


def _picture_path(picture: LabelPicture) -> Path:
    """Return the path of a picture in the set."""
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(picture.format, picture.format.lower())
    return Path("images") / choose_split(picture.article) / f"{picture.image_id}.{suffix}"


def _format_coco(labels: Sequence[PictureLabel], classes: Mapping[str, str]) -> str:
    """Return the COCO file."""
    # A class that is no more is kept: labels outlive versions.
    used = sorted({o.category for label in labels for o in label.objects} - classes.keys())
    names = [*classes, *used]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, label in enumerate(labels, 1):
        picture = label.picture
        images.append(
            {
                "id": number,
                # Readers look for pictures in images/ and in the set's folder.
                "file_name": _picture_path(picture).as_posix(),
                "width": picture.width_px,
                "height": picture.height_px,
            }
        )
        for o in label.objects:
            width, height = o.x1 - o.x0, o.y1 - o.y0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(o.category) + 1,
                    "bbox": [o.x0, o.y0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "attributes": dict(o.attributes),
                }
            )
    categories = [
        {"id": number, "name": name, "supercategory": classes.get(name, "")}
        for number, name in enumerate(names, 1)
    ]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _format_csv(labels: Sequence[PictureLabel]) -> str:
    """Return labels.csv; a picture without a box has no line."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_CSV_COLUMNS)
    for label in labels:
        path = _picture_path(label.picture)
        for o in label.objects:
            leaf, colour, pattern = (o.attributes.get(name, "") for name in ATTRIBUTE_NAMES)
            corners = [getattr(o, corner) for corner in BOX_COLUMNS]
            rows.writerow(
                [path.as_posix(), path.parent.name, *corners, leaf, o.category, colour, pattern]
            )
    return text.getvalue()
