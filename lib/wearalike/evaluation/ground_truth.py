"""Labelled photos -> the garments on them, with their boxes where these are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.datasets.layouts import DATASET_LAYOUTS
from wearalike.detection.classes import CLASS_NAMES, GarmentClass
from wearalike.evaluation.extract import read_pixels
from wearalike.imaging import decode
from wearalike.training.detector import scenes
from wearalike.training.detector.dataset import CLASS_LOOKUP_BY_KIND


@dataclass(frozen=True, slots=True)
class GroundTruthPhoto:
    """A photo and the garments on it.

    Attributes:
        photo: The labelled photo.
        classes: Names of classes.CLASS_NAMES.
        corners: float64 (n, 4). x0 y0 x1 y1 in px of each garment. None if the boxes are unknown;
            then there may be more garments than the labelled one.
    """

    photo: LabelledPhoto
    classes: tuple[str, ...]
    corners: NDArray[np.float64] | None


def read_ground_truth(
    kind: str, labelled: LabelledDataset, folder: Path, split: str
) -> list[GroundTruthPhoto]:
    """Read what is on the photos of a split, each photo once.

    Args:
        kind: Kind of the set, one of layouts.DATASET_KINDS.
        labelled: The set.
        folder: Folder of the set.
        split: Name of a split, or "all".

    Returns:
        The photos that have a mask or a label of a garment.

    Raises:
        UnknownLabel: A label is neither a class nor listed as ignored.
        ValueError: There is no such photo, or one cannot be read.
    """
    photos_by_path: dict[Path, list[LabelledPhoto]] = {}
    for photo in labelled.photos:
        if split in ("all", photo.split):
            photos_by_path.setdefault(photo.path, []).append(photo)
    class_of = CLASS_LOOKUP_BY_KIND[kind]
    layout = DATASET_LAYOUTS.get(kind)
    truths: list[GroundTruthPhoto | None]
    if layout is not None and layout.mask_template is not None:
        words = (folder / "labels.txt").read_text(encoding="utf-8").split()
        names = [garment.name if garment else None for garment in map(class_of, words)]
        truths = [
            _from_mask(photos[0], layout.mask_path(folder, path.stem), names)
            for path, photos in photos_by_path.items()
        ]
    else:
        truths = [_from_labels(photos, class_of) for photos in photos_by_path.values()]
    known = [truth for truth in truths if truth is not None]
    if not known:
        raise ValueError(f"{labelled.name}: no photo of split {split} says what garment is on it")
    return known


def _from_mask(
    photo: LabelledPhoto, mask_path: Path, names: Sequence[str | None]
) -> GroundTruthPhoto | None:
    """Return the garments of a photo's mask; None if it has no mask."""
    if not mask_path.is_file():
        return None
    mask = decode.decode_mask(mask_path.read_bytes())
    scene = scenes.scene_from_mask(read_pixels(photo), mask, names)
    corners = scenes.instance_boxes(scene.instance_map, len(scene.classes))
    return GroundTruthPhoto(photo, tuple(CLASS_NAMES[c] for c in scene.classes.tolist()), corners)


def _from_labels(
    photos: Sequence[LabelledPhoto], class_of: Callable[[str], GarmentClass | None]
) -> GroundTruthPhoto | None:
    """Return the garments of a photo's rows; None if no row has a label to use."""
    known = [
        (photo, garment)
        for photo in photos
        if "type" in photo.labels and (garment := class_of(photo.labels["type"]))
    ]
    if not known:
        return None
    boxes = [photo.box for photo, _ in known if photo.box]
    corners = np.array(boxes, np.float64) if len(boxes) == len(known) else None
    return GroundTruthPhoto(photos[0], tuple(garment.name for _, garment in known), corners)
