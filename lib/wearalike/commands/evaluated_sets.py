"""The sets of an evaluation: read by kind, with the crops and views that are measured apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wearalike.datasets import labelled_photos, layouts, paired_photos, run_photos
from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.detection.classes import GarmentClass, UnknownLabel, class_by_name
from wearalike.evaluation.made_views import add_made_views
from wearalike.training.detector.dataset import CLASS_LOOKUP_BY_KIND

OWN_CROP_SUFFIX = ", own crop"


@dataclass(frozen=True, slots=True)
class EvaluatedSet:
    """A labelled set to measure on.

    Attributes:
        kind: Its kind, one of layouts.MEASURED_KINDS.
        shop: Name of its folder, or the run.
        folder: Its folder.
        labelled: Its photos.
    """

    kind: str
    shop: str
    folder: Path
    labelled: LabelledDataset

    def class_of(self, label: str) -> GarmentClass | None:
        """Return the class of a photo's label `type`; None if the label is no garment of ours."""
        lookup: Callable[[str], GarmentClass | None]
        lookup = CLASS_LOOKUP_BY_KIND.get(self.kind, class_by_name)
        try:
            return lookup(label)
        except UnknownLabel:
            return None


def read_set(kind: str, folder: Path, root: Path, *, strict_labels: bool = False) -> EvaluatedSet:
    """Read a set.

    Args:
        kind: One of layouts.MEASURED_KINDS.
        folder: Its folder; for layouts.RUN the name of a run.
        root: Folder of all tables, where runs lie.
        strict_labels: Refuse label files with any bad label.

    Returns:
        The set.
    """
    if kind == layouts.RUN:
        labelled = run_photos.read_run(root, str(folder))
    elif kind == layouts.PAIRS:
        labelled = paired_photos.read_pairs(folder)
    else:
        labelled = labelled_photos.read_dataset(kind, folder, is_strict=strict_labels)
    return EvaluatedSet(kind, labelled.name, folder, labelled)


def expand_set(one: EvaluatedSet) -> list[EvaluatedSet]:
    """Return all that encoders are measured on in a set.

    Pairs with boxes are measured twice, by these boxes and by the detector's crops. A set that does
    not say which pictures show one product is measured by views made of its pictures, too.

    Args:
        one: The set.

    Returns:
        The set itself first.
    """
    labelled = one.labelled
    sets = [one]
    if one.kind == layouts.PAIRS and any(photo.box for photo in labelled.photos):
        without_boxes = tuple(replace(photo, box=None) for photo in labelled.photos)
        own_crop = replace(labelled, name=labelled.name + OWN_CROP_SUFFIX, photos=without_boxes)
        sets.append(replace(one, labelled=own_crop))
    products = labelled.products
    if len(set(products[products >= 0].tolist())) == (products >= 0).sum():
        sets.append(replace(one, labelled=add_made_views(labelled)))
    return sets
