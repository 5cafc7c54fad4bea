"""Metrics of one category of a detector or classifier, and the comparison of two versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Category of the row that sums up all categories.
ALL = "all"
# Metrics of a category where less is better; for all others, more is better.
SMALLER_IS_BETTER = frozenset({"fp", "fn", "fpr"})


@dataclass(frozen=True, slots=True)
class CategoryMetrics:
    """Metrics of one category, or of ALL.

    A metric is NaN where there is nothing to divide by, or where it does not apply. In the row ALL
    the counts are sums, and so are both sides of every ratio; ap50 and map50_95 are means over
    categories.

    Attributes:
        category: Name of the category, or ALL.
        truths: Number of ground-truth boxes or images.
        tp: True positives at the confidence used.
        fp: False positives at the confidence used.
        fn: False negatives at the confidence used.
        tpr: tp / (tp + fn), 0..1.
        fpr: False positives in images without the category, divided by the number of these images.
            It may exceed 1.
        precision: tp / (tp + fp), 0..1.
        ap50: Average precision at IoU 0.5 over all confidences, 0..1.
        map50_95: Mean average precision over IoU 0.50 to 0.95 and all confidences, 0..1.
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

    @classmethod
    def from_counts(
        cls,
        category: str,
        *,
        truths: int,
        tp: int,
        detected: int,
        stray: int,
        negatives: int,
        ap50: float = np.nan,
        map50_95: float = np.nan,
    ) -> CategoryMetrics:
        """Return the metrics that follow from counts.

        Args:
            category: Name of the category, or ALL.
            truths: Number of ground-truth boxes or images.
            tp: True positives.
            detected: All detections of the category, right or wrong.
            stray: Detections in images that have nothing of the category.
            negatives: Number of images that have nothing of the category.
            ap50: Average precision at IoU 0.5, if known.
            map50_95: Mean average precision over IoU 0.50 to 0.95, if known.

        Returns:
            The metrics; a ratio is NaN where its divisor is 0.
        """
        return cls(
            category,
            truths,
            tp,
            fp=detected - tp,
            fn=truths - tp,
            tpr=ratio_or_nan(tp, truths),
            fpr=ratio_or_nan(stray, negatives),
            precision=ratio_or_nan(tp, detected),
            ap50=ap50,
            map50_95=map50_95,
        )


@dataclass(frozen=True, slots=True)
class CategoryComparison:
    """One category of this version beside the last version.

    Attributes:
        category: Name of the category, or ALL.
        this: Metrics of this version; None if it does not know the category.
        last: Metrics of the last version; None if it does not know the category.
    """

    category: str
    this: CategoryMetrics | None
    last: CategoryMetrics | None

    def difference(self, name: str) -> float:
        """Return this version's metric minus the last version's.

        Args:
            name: Field of CategoryMetrics.

        Returns:
            The difference; NaN where either version has no value.
        """
        if self.this is None or self.last is None:
            return np.nan
        return float(getattr(self.this, name) - getattr(self.last, name))


def compare_categories(
    this: Iterable[CategoryMetrics], last: Iterable[CategoryMetrics] = (), worst_by: str = "ap50"
) -> list[CategoryComparison]:
    """Return both versions side by side: ALL first, then the categories that lost most.

    Categories without a difference come last, those with the lowest value first. They belong to one
    version only, or have nothing to measure.

    Args:
        this: Metrics of this version.
        last: Metrics of the last version.
        worst_by: Field of CategoryMetrics that tells how much a category has lost.

    Returns:
        One comparison a category of either version.
    """
    this_by_category = {row.category: row for row in this}
    last_by_category = {row.category: row for row in last}
    comparisons = [
        CategoryComparison(name, this_by_category.get(name), last_by_category.get(name))
        for name in {**this_by_category, **last_by_category}
    ]
    sign = -1 if worst_by in SMALLER_IS_BETTER else 1

    def nan_last(value: float) -> tuple[bool, float]:
        return bool(np.isnan(value)), 0.0 if np.isnan(value) else sign * float(value)

    def order(row: CategoryComparison) -> tuple[bool, tuple[bool, float], tuple[bool, float], str]:
        value = getattr(row.this or row.last, worst_by)
        is_category = row.category != ALL
        return is_category, nan_last(row.difference(worst_by)), nan_last(value), row.category

    return sorted(comparisons, key=order)


def ratio_or_nan(part: float, whole: float) -> float:
    """Return part / whole, or NaN where whole is 0.

    Args:
        part: Numerator.
        whole: Denominator.

    Returns:
        The ratio.
    """
    return part / whole if whole else np.nan
