"""Quality of a detector, per category and overall. It needs boxes and confidences only.

A detection matches a ground-truth box of its category and image at IoU >= 0.5. Each truth is
matched once: the most confident detection chooses first and takes the truth that it overlaps most.
AP is COCO's: precision at 101 points of recall, interpolated from the right (Lin et al., Microsoft
COCO, ECCV 2014). mAP50-95 is its mean over IoU 0.50, 0.55, ... 0.95.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.metrics.boxes import box_iou
from wearalike.metrics.categories import ALL, CategoryMetrics

# COCO's ten thresholds: 0.50, 0.55, ... 0.95.
IOU_THRESHOLDS = np.arange(50, 100, 5) / 100


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of many images; row i of every array is box i.

    Attributes:
        image_ids: str (n,). The image of each box.
        categories: str (n,). The category of each box, never ALL.
        corners: float64 (n, 4). x0 y0 x1 y1 in px, origin top left, x1 and y1 exclusive.
        confidences: float64 (n,), 0..1, bigger is surer; 1 for a ground-truth box.

    Raises:
        ValueError: An array has another shape, a box is empty or not finite, a confidence lies
            outside 0..1, or a category is named ALL.
    """

    image_ids: NDArray[np.str_]
    categories: NDArray[np.str_]
    corners: NDArray[np.float64]
    confidences: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.image_ids)
        arrays = (self.image_ids, self.categories, self.corners, self.confidences)
        shapes = [array.shape for array in arrays]
        if shapes != [(n,), (n,), (n, 4), (n,)]:
            raise ValueError(
                "boxes: wanted image_ids (n,), categories (n,), corners (n, 4), confidences (n,), "
                f"got {shapes}"
            )
        x0, y0, x1, y1 = self.corners.T
        # NaN fails every comparison, so it counts as wrong too.
        is_valid = (
            np.isfinite(self.corners).all(axis=1)
            & (x0 < x1)
            & (y0 < y1)
            & (self.confidences >= 0)
            & (self.confidences <= 1)
        )
        if not is_valid.all():
            i = int(np.argmin(is_valid))
            corners = self.corners[i].tolist()
            raise ValueError(
                f"image {self.image_ids[i]!s}: {self.categories[i]!s}: {corners}, confidence "
                f"{self.confidences[i]}: wanted x0 < x1, y0 < y1 and a confidence of 0..1"
            )
        if ALL in self.categories:
            raise ValueError(f"boxes: {ALL!r} is no category, it is the row of all of them")

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, Sequence[float], float]]) -> Boxes:
        """Return the boxes of rows.

        Args:
            rows: (image id, category, (x0, y0, x1, y1) in px, confidence) a box.

        Returns:
            The boxes in the same order.

        Raises:
            ValueError: A box is not valid.

        Example:
            >>> len(Boxes.from_rows([("a.jpg", "bag", (0, 0, 10, 10), 0.9)]))
            1
        """
        rows = list(rows)
        return cls(
            np.array([row[0] for row in rows], dtype=np.str_),
            np.array([row[1] for row in rows], dtype=np.str_),
            np.array([row[2] for row in rows], dtype=np.float64).reshape(len(rows), 4),
            np.array([row[3] for row in rows], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Boxes:
        """Return some of the boxes.

        Args:
            rows: Row numbers, or a bool mask (n,).

        Returns:
            Those boxes, in that order.
        """
        return Boxes(
            self.image_ids[rows], self.categories[rows], self.corners[rows], self.confidences[rows]
        )


def compute_detection_metrics(
    truths: Boxes,
    detections: Boxes,
    image_ids: Sequence[str],
    confidence: float,
    *,
    min_truths_count: int = 1,
) -> list[CategoryMetrics]:
    """Compute the metrics of a detector: ALL first, then each category by name.

    Args:
        truths: Ground-truth boxes.
        detections: Boxes that the detector found, down to any confidence.
        image_ids: Distinct ids of all images looked at, those without boxes too.
        confidence: Detections below it count in the APs only, 0..1.
        min_truths_count: Categories with fewer truths do not count in the APs of ALL.

    Returns:
        The rows.

    Raises:
        ValueError: Image ids repeat, or a box belongs to an image not looked at.
    """
    _check_image_ids(truths, detections, image_ids)
    rows: list[CategoryMetrics] = []
    stray_count = negatives_count = 0
    for category in sorted({*truths.categories.tolist(), *detections.categories.tolist()}):
        category_truths = truths.take(truths.categories == category)
        category_detections = detections.take(detections.categories == category)
        category_detections = category_detections.take(_confidence_order(category_detections))
        is_match = _match_boxes(category_truths, category_detections)
        aps = [average_precision(row, len(category_truths)) for row in is_match]
        with_truth = set(category_truths.image_ids.tolist())
        is_confident = category_detections.confidences >= confidence
        is_stray = np.array(
            [i not in with_truth for i in category_detections.image_ids.tolist()], dtype=bool
        )
        stray = int((is_stray & is_confident).sum())
        negatives = len(image_ids) - len(with_truth)
        stray_count += stray
        negatives_count += negatives
        rows.append(
            CategoryMetrics.from_counts(
                category,
                truths=len(category_truths),
                tp=int((is_match[0] & is_confident).sum()),
                detected=int(is_confident.sum()),
                stray=stray,
                negatives=negatives,
                ap50=aps[0],
                map50_95=float(np.mean(aps)),
            )
        )
    judged = [row for row in rows if row.truths >= max(1, min_truths_count)]
    everything = CategoryMetrics.from_counts(
        ALL,
        truths=sum(row.truths for row in rows),
        tp=sum(row.tp for row in rows),
        detected=sum(row.tp + row.fp for row in rows),
        stray=stray_count,
        negatives=negatives_count,
        ap50=float(np.mean([row.ap50 for row in judged])) if judged else np.nan,
        map50_95=float(np.mean([row.map50_95 for row in judged])) if judged else np.nan,
    )
    return [everything, *rows]


def average_precision(is_match: NDArray[np.bool_], truths_count: int) -> float:
    """Return COCO's AP: the mean of interpolated precision at 101 points of recall.

    Args:
        is_match: bool (n,). True where a detection matches a truth; most confident first.
        truths_count: Number of ground-truth boxes.

    Returns:
        0..1; NaN without truths.
    """
    if not truths_count:
        return np.nan
    tp = is_match.cumsum()
    precisions = np.maximum.accumulate((tp / np.arange(1, len(tp) + 1))[::-1])[::-1]
    # The rank where recall reaches 0, 1/100, ... 1, in whole numbers: 7 of 100 truths must not
    # count as less than 0.07.
    reached = np.searchsorted(tp * 100, np.arange(101) * truths_count)
    return float(np.append(precisions, 0.0)[reached].mean())


def _check_image_ids(truths: Boxes, detections: Boxes, image_ids: Sequence[str]) -> None:
    """Raise ValueError for repeated ids, and for boxes of other images."""
    looked_at = set(image_ids)
    if len(looked_at) != len(image_ids):
        raise ValueError(f"image_ids: {len(image_ids)} given, only {len(looked_at)} are distinct")
    for kind, boxes in (("truth", truths), ("found box", detections)):
        if unknown := set(boxes.image_ids.tolist()) - looked_at:
            raise ValueError(
                f"a {kind} is of image {min(unknown)}, "
                f"which is not among the {len(looked_at)} images looked at"
            )


def _confidence_order(boxes: Boxes) -> NDArray[np.intp]:
    """Return their order by confidence; ties by image and box, so input order does not count."""
    return np.lexsort((*boxes.corners.T[::-1], boxes.image_ids, -boxes.confidences))


def _match_boxes(truths: Boxes, detections: Boxes) -> NDArray[np.bool_]:
    """Tell which detections of a category, best first, match a truth: bool (thresholds, n)."""
    is_match = np.zeros((len(IOU_THRESHOLDS), len(detections)), dtype=bool)
    truth_rows_by_image = _rows_by_image(truths)
    for image_id, detection_rows in _rows_by_image(detections).items():
        if image_id not in truth_rows_by_image:
            continue
        truth_corners = truths.corners[truth_rows_by_image[image_id]]
        overlaps = box_iou(detections.corners[detection_rows], truth_corners)
        is_free = np.ones((len(IOU_THRESHOLDS), len(truth_corners)), dtype=bool)
        for i, row in zip(detection_rows, overlaps, strict=True):
            if row.max() < IOU_THRESHOLDS[0]:
                continue
            free_overlaps = np.where(is_free, row, 0)
            best = free_overlaps.argmax(axis=1)
            best_overlaps = free_overlaps[np.arange(len(best)), best]
            matched = np.flatnonzero(best_overlaps >= IOU_THRESHOLDS)
            is_free[matched, best[matched]] = False
            is_match[matched, i] = True
    return is_match


def _rows_by_image(boxes: Boxes) -> dict[str, NDArray[np.intp]]:
    """Return the row numbers of each image, in their order."""
    names, image_numbers = np.unique(boxes.image_ids, return_inverse=True)
    ends = np.cumsum(np.bincount(image_numbers, minlength=len(names)))
    rows = np.split(np.argsort(image_numbers, kind="stable"), ends[:-1])
    return dict(zip(names.tolist(), rows, strict=False))
