"""Agreement of two people's labels of the same images: pairs of boxes, counts, Cohen's kappa."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import LabelledImage, LabelledObject
from wearalike.metrics.agreement import cohen_kappa
from wearalike.metrics.boxes import box_iou

MIN_IOU = 0.5
ALL_CLASSES = "all"
MATCHED = "matched"
ONLY_FIRST = "only first"
ONLY_SECOND = "only second"
OTHER_CLASS = "other class"
# Label tools put images into these folders; they say nothing about which image it is.
_IGNORED_FOLDERS = frozenset(["images", "train", "val", "valid", "test"])


@dataclass(frozen=True, slots=True)
class LabelPair:
    """The boxes that two people drew around one thing.

    Attributes:
        picture: the image's name.
        first: the first person's box; None if that one drew nothing.
        second: the second person's box; None if that one drew nothing.
        iou: intersection over union of both, 0..1; 0 if one is None.
    """

    picture: str
    first: LabelledObject | None
    second: LabelledObject | None
    iou: float

    @property
    def verdict(self) -> str:
        """Return "matched", "other class", "only first" or "only second"."""
        if self.first is None:
            return ONLY_SECOND
        if self.second is None:
            return ONLY_FIRST
        return MATCHED if self.first.category == self.second.category else OTHER_CLASS

    @property
    def categories(self) -> tuple[str, str]:
        """Return the first person's class and the second's; "" where there is no box."""
        return (
            self.first.category if self.first else "",
            self.second.category if self.second else "",
        )


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """How far two people agree on a class, or on ALL_CLASSES.

    Attributes:
        category: the class.
        matched: pairs that both call so.
        only_first: boxes that only the first drew.
        only_second: boxes that only the second drew.
        other_class: pairs that exactly one of the two calls so.
        mean_iou: mean IoU of the matched pairs; NaN without any.
    """

    category: str
    matched: int
    only_first: int
    only_second: int
    other_class: int
    mean_iou: float


def match_boxes(
    picture: str, first: Sequence[LabelledObject], second: Sequence[LabelledObject]
) -> list[LabelPair]:
    """Pair the boxes of one image: greedily by IoU, from MIN_IOU on, whatever their class.

    Args:
        picture: the image's name.
        first: the first person's boxes.
        second: the second person's boxes.

    Returns:
        Every box once: the pairs by falling IoU (of equal ones, those of one class first), then the
        boxes without a partner.
    """
    corners = [
        np.array([(o.x0, o.y0, o.x1, o.y1) for o in side], np.float64).reshape(-1, 4)
        for side in (first, second)
    ]
    overlaps = box_iou(*corners)
    rows, columns = np.nonzero(overlaps >= MIN_IOU)

    def rank(at: tuple[int, int]) -> tuple[float, bool, tuple[int, int]]:
        has_other_class = first[at[0]].category != second[at[1]].category
        return -overlaps[at], has_other_class, at

    pairs: list[LabelPair] = []
    left_of_first = dict(enumerate(first))
    left_of_second = dict(enumerate(second))
    for i, j in sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=rank):
        if i in left_of_first and j in left_of_second:
            pair = LabelPair(
                picture, left_of_first.pop(i), left_of_second.pop(j), float(overlaps[i, j])
            )
            pairs.append(pair)
    pairs += [LabelPair(picture, o, None, 0.0) for o in left_of_first.values()]
    pairs += [LabelPair(picture, None, o, 0.0) for o in left_of_second.values()]
    return pairs


def class_agreements(label_pairs: Sequence[LabelPair]) -> list[ClassAgreement]:
    """Count the pairs of every class.

    Args:
        label_pairs: pairs of any number of images.

    Returns:
        ALL_CLASSES first, then every class by name.
    """
    names = sorted({name for pair in label_pairs for name in pair.categories if name})
    agreements = [_class_agreement(ALL_CLASSES, label_pairs)]
    for name in names:
        of_class = [pair for pair in label_pairs if name in pair.categories]
        agreements.append(_class_agreement(name, of_class))
    return agreements


def _class_agreement(category: str, label_pairs: Sequence[LabelPair]) -> ClassAgreement:
    """Count the pairs of one class."""
    counts = Counter(pair.verdict for pair in label_pairs)
    overlaps = [pair.iou for pair in label_pairs if pair.verdict == MATCHED]
    return ClassAgreement(
        category,
        counts[MATCHED],
        counts[ONLY_FIRST],
        counts[ONLY_SECOND],
        counts[OTHER_CLASS],
        float(np.mean(overlaps)) if overlaps else np.nan,
    )


def class_kappa(label_pairs: Sequence[LabelPair]) -> float:
    """Return Cohen's kappa of the classes of the boxes that both people drew.

    Args:
        label_pairs: pairs of any number of images.

    Returns:
        1: always the same; 0: as by chance. NaN where it is undefined.
    """
    kappa = cohen_kappa([pair.categories for pair in label_pairs if all(pair.categories)])
    return np.nan if kappa is None else kappa


def attribute_kappas(label_pairs: Sequence[LabelPair]) -> dict[str, tuple[int, float | None]]:
    """Measure the agreement on further labels of the boxes that both people drew, such as colour.

    Args:
        label_pairs: pairs of any number of images.

    Returns:
        By the label's name: boxes of which both say something, and Cohen's kappa of what they say;
        None where it is undefined.
    """
    both = [(p.first.attributes, p.second.attributes) for p in label_pairs if p.first and p.second]
    kappas: dict[str, tuple[int, float | None]] = {}
    for name in sorted({name for sides in both for side in sides for name in side}):
        values = [(a[name], b[name]) for a, b in both if a.get(name) and b.get(name)]
        kappas[name] = (len(values), cohen_kappa(values))
    return kappas


def index_by_name(
    kind: str, path: Path, images: Sequence[LabelledImage]
) -> dict[str, LabelledImage]:
    """Return images by the name that both people's folders share.

    The name is the path without folders called images, train, val, valid or test.

    Args:
        kind: the label format.
        path: its folder or file.
        images: what was read from it.

    Returns:
        The images by name.

    Raises:
        reading.BadLabels: two images would have one name.
    """
    by_name: dict[str, LabelledImage] = {}
    root = reading.images_root(kind, path)
    for image in images:
        parts = image.path.relative_to(root).parts
        name = "/".join(part for part in parts if part not in _IGNORED_FOLDERS)
        if name in by_name:
            raise reading.BadLabels(
                f"{image.path} and {by_name[name].path}: both are {name} to be compared; "
                "compare one split at a time"
            )
        by_name[name] = image
    return by_name


def compare_labels(
    first: dict[str, LabelledImage], second: dict[str, LabelledImage]
) -> list[LabelPair]:
    """Pair the boxes of the images that both people labelled.

    Args:
        first: the first person's images by name.
        second: the second person's images by name.

    Returns:
        The pairs, by the image's name.

    Raises:
        reading.BadLabels: no image is in both, or an image has two sizes.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise reading.BadLabels("no picture is in both folders")
    pairs: list[LabelPair] = []
    for name in shared:
        one = first[name]
        other = second[name]
        if (one.width_px, one.height_px) != (other.width_px, other.height_px):
            sizes = ", ".join(
                f"{image.path}: {image.width_px} x {image.height_px} px" for image in (one, other)
            )
            raise reading.BadLabels(f"one picture in two sizes: {sizes}")
        pairs += match_boxes(name, one.objects, other.objects)
    return pairs
