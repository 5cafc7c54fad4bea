"""Read label files of other tools, COCO JSON and YOLO txt, into one record of pictures and boxes.

Every label that cannot be used is named with its file and line (COCO: its id). All are reported in
one go, so that somebody can mend them. Formats: cocodataset.org/#format-data and
docs.ultralytics.com/datasets (detect and segment).
"""

from __future__ import annotations

import logging
from pathlib import Path

from wearalike.datasets.formats.coco import json_files, read_coco
from wearalike.datasets.formats.record import (
    BadLabels,
    LabelledImage,
    LabelledObject,
    LabelProblem,
    LabelsAndProblems,
)
from wearalike.datasets.formats.yolo import read_yolo

__all__ = [
    "LABEL_FORMATS",
    "BadLabels",
    "LabelProblem",
    "LabelledImage",
    "LabelledObject",
    "LabelsAndProblems",
    "images_root",
    "read_coco",
    "read_labels",
    "read_valid_labels",
    "read_yolo",
]

log = logging.getLogger("wearalike.labels")

LABEL_FORMATS = ("coco", "yolo")
_MAX_PROBLEMS_SHOWN = 5


def read_labels(kind: str, location: Path) -> LabelsAndProblems:
    """Read all labels of a set.

    Args:
        kind: One of LABEL_FORMATS.
        location: The set's folder; for COCO also a single JSON file.

    Returns:
        The pictures by path, and all problems.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in LABEL_FORMATS:
        raise ValueError(f"kind {kind!r}: known are {', '.join(LABEL_FORMATS)}")
    if kind == "yolo":
        return read_yolo(location)
    folder = images_root(kind, location)
    files = [location] if location.is_file() else json_files(location)
    if not files:
        return [], [
            LabelProblem(
                str(location),
                "no *.json there, in annotations/ or beside pictures in a folder of it",
            )
        ]
    images: dict[Path, LabelledImage] = {}
    problems: list[LabelProblem] = []
    for file in files:
        labelled, wrong = read_coco(file, folder)
        problems += wrong
        for image in labelled:
            if image.path in images:
                problems.append(
                    LabelProblem(
                        str(file), f"{image.path}: labelled in another file of the set too"
                    )
                )
            images.setdefault(image.path, image)
    return [images[path] for path in sorted(images)], problems


def read_valid_labels(kind: str, location: Path, *, is_strict: bool = False) -> list[LabelledImage]:
    """Read the pictures whose every label is valid.

    A picture with a bad label is left out whole: a thing without its box would be taken for ground.
    The log names the first bad labels and counts all, and the boxes that were cut at the rim.

    Args:
        kind: One of LABEL_FORMATS.
        location: The set's folder; for COCO also a single JSON file.
        is_strict: Raise for any bad label.

    Returns:
        The pictures by path.

    Raises:
        BadLabels: A label is bad and `is_strict`, or no picture is left. It names the first bad
            labels and counts all.
    """
    images, problems = read_labels(kind, location)
    valid = [image for image in images if not image.problem_count]
    if cut_count := sum(item.is_cut for image in valid for item in image.objects):
        log.info("%s: %d boxes were cut at the rim of their pictures", location, cut_count)
    if problems:
        rest = (
            f"\n  and {len(problems) - _MAX_PROBLEMS_SHOWN} more"
            if len(problems) > _MAX_PROBLEMS_SHOWN
            else ""
        )
        left_out_count = len(images) - len(valid)
        text = (
            f"{location}: {len(problems)} bad labels\n  "
            + "\n  ".join(map(str, problems[:_MAX_PROBLEMS_SHOWN]))
            + rest
        )
        if is_strict or not valid:
            raise BadLabels(text)
        log.warning("%s\n  %d pictures are left out", text, left_out_count)
    return valid


def images_root(kind: str, location: Path) -> Path:
    """Return the folder that holds a set's pictures, at any depth."""
    if kind == "coco" and location.is_file():
        return location.parent.parent if location.parent.name == "annotations" else location.parent
    return location
