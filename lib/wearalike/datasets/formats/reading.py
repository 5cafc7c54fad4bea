"""Other people's label files -> pictures and the boxes drawn in them: COCO JSON and YOLO txt, read into one record.

Nothing is believed: every label that cannot be used is named with its file and line (COCO: its id), all of them in one go, so that
somebody can mend them. Formats: cocodataset.org/#format-data, docs.ultralytics.com/datasets (detect and segment).
"""

from __future__ import annotations

from pathlib import Path

from wearalike.datasets.formats.coco import json_files, read_coco
from wearalike.datasets.formats.record import (
    BadLabels,
    Found,
    LabelledImage,
    LabelledObject,
    Problem,
)
from wearalike.datasets.formats.yolo import read_yolo

__all__ = [
    "KINDS",
    "BadLabels",
    "Found",
    "LabelledImage",
    "LabelledObject",
    "Problem",
    "read",
    "read_coco",
    "read_whole",
    "read_yolo",
    "root",
]

KINDS = ("coco", "yolo")
_SHOWN = 5


def read(kind: str, place: Path) -> Found:
    """All labels of one kind (KINDS) at a place, pictures by path, and everything that is wrong with them.

    place: the set's folder; of COCO, a single JSON file too. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: known are {', '.join(KINDS)}")
    if kind == "yolo":
        return read_yolo(place)
    folder = root(kind, place)
    files = [place] if place.is_file() else json_files(place)
    if not files:
        return [], [
            Problem(
                str(place), "no *.json there, in annotations/ or beside pictures in a folder of it"
            )
        ]
    images: dict[Path, LabelledImage] = {}
    problems: list[Problem] = []
    for file in files:
        found, wrong = read_coco(file, folder)
        problems += wrong
        for image in found:
            if image.path in images:
                problems.append(
                    Problem(str(file), f"{image.path}: labelled in another file of the set too")
                )
            images.setdefault(image.path, image)
    return [images[path] for path in sorted(images)], problems


def read_whole(kind: str, place: Path) -> list[LabelledImage]:
    """As `read`, where nothing may be wrong. Raises BadLabels, which names the first problems and counts all."""
    images, problems = read(kind, place)
    if problems:
        rest = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BadLabels(
            f"{place}: {len(problems)} bad labels\n  "
            + "\n  ".join(map(str, problems[:_SHOWN]))
            + rest
        )
    return images


def root(kind: str, place: Path) -> Path:
    """The folder that a set's pictures are in, at whatever depth."""
    if kind == "coco" and place.is_file():
        return place.parent.parent if place.parent.name == "annotations" else place.parent
    return place
