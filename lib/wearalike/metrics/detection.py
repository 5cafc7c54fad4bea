"""How good detectors and classifiers are, per category and in all: any of them, for only boxes and scores are asked for.

A found box matches a truth of its category in its image at IoU >= 0.5; each truth is matched once, the most confident found
box choosing first, and it takes the truth it overlaps most. AP is COCO's: precision at 101 points of recall, interpolated from
the right (Lin et al., Microsoft COCO, ECCV 2014); mAP50-95 is its mean over IoU 0.50, 0.55, ... 0.95.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALL = "all"
IOU_THRESHOLDS = np.arange(50, 100, 5) / 100
# Measures of a category of which less is better; of all others more is.
SMALLER_IS_BETTER = frozenset({"fp", "fn", "fpr"})


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of many images; row i of every array is box i.

    image_ids, categories: str (n,). corners: float64 (n, 4), x0 y0 x1 y1 in px, origin top left, x1 and y1 outside.
    confidences: float64 (n,), 0..1, bigger is surer; 1 for a truth. Raises ValueError for anything else.
    """

    image_ids: NDArray[np.str_]
    categories: NDArray[np.str_]
    corners: NDArray[np.float64]
    confidences: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.image_ids)
        shapes = [
            self.image_ids.shape,
            self.categories.shape,
            self.corners.shape,
            self.confidences.shape,
        ]
        if shapes != [(n,), (n,), (n, 4), (n,)]:
            raise ValueError(
                f"boxes: wanted image_ids (n,), categories (n,), corners (n, 4), confidences (n,), got {shapes}"
            )
        x0, y0, x1, y1 = self.corners.T
        # Written so that what is no number is wrong too.
        is_right = (
            np.isfinite(self.corners).all(axis=1)
            & (x0 < x1)
            & (y0 < y1)
            & (self.confidences >= 0)
            & (self.confidences <= 1)
        )
        if not is_right.all():
            i = int(np.argmin(is_right))
            where = (
                f"image {self.image_ids[i]!s}: {self.categories[i]!s}: {self.corners[i].tolist()}"
            )
            raise ValueError(
                f"{where}, confidence {self.confidences[i]}: wanted x0 < x1, y0 < y1 and a confidence of 0..1"
            )
        if ALL in self.categories:
            raise ValueError(f"boxes: {ALL!r} is no category, it is the row of all of them")

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, Sequence[float], float]]) -> Boxes:
        """From rows (image id, category, (x0, y0, x1, y1), confidence)."""
        rows = list(rows)
        return cls(
            np.array([r[0] for r in rows], dtype=np.str_),
            np.array([r[1] for r in rows], dtype=np.str_),
            np.array([r[2] for r in rows], dtype=np.float64).reshape(len(rows), 4),
            np.array([r[3] for r in rows], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Boxes:
        """Those rows, in that order."""
        return Boxes(
            self.image_ids[rows], self.categories[rows], self.corners[rows], self.confidences[rows]
        )


@dataclass(frozen=True, slots=True)
class CategoryMetrics:
    """The measures of one category, or of ALL. NaN where there is nothing to divide by, or the measure is not of its kind.

    truths, tp, fp, fn: counts at the confidence used. tpr: TP / (TP + FN). fpr: false positives in the images that have none of
    the category, divided by the number of these images; it may exceed 1. precision: TP / (TP + FP). ap50, map50_95: over all
    confidences, 0..1. Of ALL the counts are sums, and so are both sides of every ratio; ap50 and map50_95 are means over categories.
    """

    category: str
    truths: int
    tp: int
    fp: int
    fn: int
    tpr: float
    fpr: float
    precision: float
    ap50: float = np.nan
    map50_95: float = np.nan


def compute_detection_metrics(
    truths: Boxes,
    detections: Boxes,
    image_ids: Sequence[str],
    confidence: float,
    *,
    min_truths_count: int = 1,
) -> list[CategoryMetrics]:
    """The measures of a detector: ALL first, then every category of `truths` or `found` by name.

    image_ids: every image looked at, those without truths too. confidence: found boxes below it do not count, but in the APs they do.
    min_truths_count: categories with fewer truths have their own AP but no part in that of ALL.
    Raises ValueError for a box of an image not looked at.
    """
    looked_at = set(image_ids)
    if len(looked_at) != len(image_ids):
        raise ValueError(f"image_ids: {len(image_ids)} given, only {len(looked_at)} are distinct")
    for kind, boxes in (("truth", truths), ("found box", detections)):
        if strange := set(boxes.image_ids.tolist()) - looked_at:
            raise ValueError(
                f"a {kind} is of image {min(strange)}, which is not among the {len(looked_at)} images looked at"
            )
    rows, negatives = [], []
    for category in sorted({*truths.categories.tolist(), *detections.categories.tolist()}):
        mine, theirs = (
            truths.take(truths.categories == category),
            detections.take(detections.categories == category),
        )
        with_truth = set(mine.image_ids.tolist())
        theirs = theirs.take(_confidence_order(theirs))
        is_match = _match_boxes(mine, theirs)
        aps = [average_precision(row, len(mine)) for row in is_match]
        is_kept = theirs.confidences >= confidence
        is_stray = np.array([i not in with_truth for i in theirs.image_ids.tolist()], dtype=bool)
        counts = (len(mine), int((is_match[0] & is_kept).sum()), int(is_kept.sum()))
        negatives.append((int((is_stray & is_kept).sum()), len(looked_at) - len(with_truth)))
        rows.append(
            _category_metrics(
                category, *counts, *negatives[-1], ap50=aps[0], map50_95=float(np.mean(aps))
            )
        )
    judged = [r for r in rows if r.truths >= max(1, min_truths_count)]
    return [
        _category_metrics(
            ALL,
            sum(r.truths for r in rows),
            sum(r.tp for r in rows),
            sum(r.tp + r.fp for r in rows),
            sum(stray for stray, _ in negatives),
            sum(images for _, images in negatives),
            ap50=float(np.mean([r.ap50 for r in judged])) if judged else np.nan,
            map50_95=float(np.mean([r.map50_95 for r in judged])) if judged else np.nan,
        ),
        *rows,
    ]


def _category_metrics(
    category: str,
    truths: int,
    tp: int,
    found: int,
    stray: int,
    negatives: int,
    ap50: float = np.nan,
    map50_95: float = np.nan,
) -> CategoryMetrics:
    """found: all found boxes. stray: those in images that have none of the category. negatives: the number of these images."""
    return CategoryMetrics(
        category,
        truths,
        tp,
        fp=found - tp,
        fn=truths - tp,
        tpr=_ratio(tp, truths),
        fpr=_ratio(stray, negatives),
        precision=_ratio(tp, found),
        ap50=ap50,
        map50_95=map50_95,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _confidence_order(found: Boxes) -> NDArray[np.intp]:
    """Their order: by confidence, ties by image and box, so that no figure depends on the order of the rows given."""
    return np.lexsort((*found.corners.T[::-1], found.image_ids, -found.confidences))


def _match_boxes(truths: Boxes, found: Boxes) -> NDArray[np.bool_]:
    """Whether each found box of a category matches a truth, bool (thresholds, found); the boxes best first."""
    is_match = np.zeros((len(IOU_THRESHOLDS), len(found)), dtype=bool)
    truths_of = _rows_by_image(truths)
    for image_id, mine in _rows_by_image(found).items():
        if image_id not in truths_of:
            continue
        overlaps = iou(found.corners[mine], truths.corners[truths_of[image_id]])
        is_free = np.ones((len(IOU_THRESHOLDS), overlaps.shape[1]), dtype=bool)
        for i, row in zip(mine, overlaps, strict=True):
            if row.max() < IOU_THRESHOLDS[0]:
                continue
            left = np.where(is_free, row, 0)
            best = left.argmax(axis=1)
            matched = np.flatnonzero(left[np.arange(len(left)), best] >= IOU_THRESHOLDS)
            is_free[matched, best[matched]] = False
            is_match[matched, i] = True
    return is_match


def _rows_by_image(boxes: Boxes) -> dict[str, NDArray[np.intp]]:
    """The rows of each image, in their order."""
    names, image_of = np.unique(boxes.image_ids, return_inverse=True)
    rows = np.split(
        np.argsort(image_of, kind="stable"),
        np.cumsum(np.bincount(image_of, minlength=len(names)))[:-1],
    )
    return dict(zip(names.tolist(), rows, strict=False))


def iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each box with each other box: (n, 4), (m, 4) -> float64 (n, m), 0..1."""
    low, high = (
        np.maximum(boxes[:, None, :2], others[None, :, :2]),
        np.minimum(boxes[:, None, 2:], others[None, :, 2:]),
    )
    both = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others)]
    return both / (areas[0][:, None] + areas[1][None, :] - both)


def average_precision(is_match: NDArray[np.bool_], truths_count: int) -> float:
    """AP at 101 points of recall, 0..1; NaN without truths. is_match: bool (n,), whether each found box matches, best first."""
    if not truths_count:
        return np.nan
    tp = is_match.cumsum()
    precisions = np.maximum.accumulate((tp / np.arange(1, len(tp) + 1))[::-1])[::-1]
    # Where recall reaches 0, 1/100, ... 1: in whole numbers, so that 7 of 100 truths are no less than 0.07.
    reached = np.searchsorted(tp * 100, np.arange(101) * truths_count)
    return float(np.append(precisions, 0.0)[reached].mean())


@dataclass(frozen=True, slots=True)
class ClassifierMetrics:
    """rows: the measures, ALL first, then one row a category in the order of `categories`; fpr is the share of the images of other
    categories that were taken for this one. confusion: int64 (c, c), row: truth, column: best guess. top1, top5: share of
    images whose truth is the best guess, or among the best five; NaN without images."""

    categories: tuple[str, ...]
    rows: tuple[CategoryMetrics, ...]
    confusion: NDArray[np.int64]
    top1: float
    top5: float


def compute_classifier_metrics(
    truths: Sequence[str], scores: NDArray[np.floating], categories: Sequence[str]
) -> ClassifierMetrics:
    """The measures of a classifier.

    truths: the category of each image. scores: float (n, c), column j: how sure that image i is of categories[j]; of equal ones
    the first column stands before the other. Raises ValueError for a truth that is no category, or scores that are no numbers.
    """
    position = {name: i for i, name in enumerate(categories)}
    c = len(position)
    if c != len(categories) or ALL in position:
        raise ValueError(
            f"categories: wanted distinct ones, none named {ALL!r}, got {list(categories)}"
        )
    if scores.shape != (len(truths), c) or not np.isfinite(scores).all():
        raise ValueError(
            f"scores: wanted finite numbers of shape {(len(truths), c)}, got {scores.dtype} {scores.shape}"
        )
    if strange := set(truths) - set(position):
        raise ValueError(f"a truth is {min(strange)!r}, which is not among the {c} categories")
    truth = np.array([position[t] for t in truths], dtype=np.int64)
    ranked = np.argsort(-scores, axis=1, kind="stable")
    is_right = ranked[:, :5] == truth[:, None]
    confusion = np.zeros((c, c), dtype=np.int64)
    np.add.at(confusion, (truth, ranked[:, 0] if c else truth), 1)
    n, tp = len(truth), confusion.diagonal()
    truths_count, found_count = confusion.sum(axis=1), confusion.sum(axis=0)
    rows = [
        _category_metrics(
            name,
            t := int(truths_count[i]),
            int(tp[i]),
            f := int(found_count[i]),
            f - int(tp[i]),
            n - t,
        )
        for i, name in enumerate(categories)
    ]
    right = int(tp.sum())
    everything = _category_metrics(ALL, n, right, n, n - right, n * (c - 1) if c else 0)
    return ClassifierMetrics(
        tuple(categories),
        (everything, *rows),
        confusion,
        _ratio(right, n),
        _ratio(int(is_right.sum()), n),
    )


@dataclass(frozen=True, slots=True)
class CategoryComparison:
    """One category of this version beside the last one; None where a version does not know it."""

    category: str
    this: CategoryMetrics | None
    last: CategoryMetrics | None

    def difference(self, name: str) -> float:
        """This version's measure less the last one's; NaN where either has none."""
        return (
            float(getattr(self.this, name) - getattr(self.last, name))
            if self.this and self.last
            else np.nan
        )


def compare_categories(
    this: Iterable[CategoryMetrics], last: Iterable[CategoryMetrics] = (), worst_by: str = "ap50"
) -> list[CategoryComparison]:
    """Both versions side by side: ALL first, then the categories, those that lost most by the measure `worst_by` first.

    Categories without a difference (of one version only, or with nothing to measure) come last, those of the lowest value first.
    """
    rows, former = ({r.category: r for r in side} for side in (this, last))
    found = [
        CategoryComparison(name, rows.get(name), former.get(name)) for name in {**rows, **former}
    ]
    sign = -1 if worst_by in SMALLER_IS_BETTER else 1

    def order(row: CategoryComparison) -> tuple[bool, tuple[bool, float], tuple[bool, float], str]:
        value = getattr(row.this or row.last, worst_by)
        keys = [
            (bool(np.isnan(v)), 0.0 if np.isnan(v) else sign * float(v))
            for v in (row.difference(worst_by), value)
        ]
        return row.category != ALL, keys[0], keys[1], row.category

    return sorted(found, key=order)
