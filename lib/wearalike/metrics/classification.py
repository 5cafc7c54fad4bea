"""Quality of a classifier: confusion matrix, top-1 and top-5, and the metrics of every category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.metrics.categories import ALL, CategoryMetrics, ratio_or_nan


@dataclass(frozen=True, slots=True)
class ClassifierMetrics:
    """Metrics of a classifier.

    Attributes:
        categories: Names, in the order of the score columns.
        rows: ALL first, then a row a category. fpr is the share of the other categories' images
            that were taken for this category.
        confusion: int64 (c, c). Row: true category; column: best guess.
        top1: Share of images whose best guess is right, 0..1; NaN without images.
        top5: Share of images with the truth among the five best guesses, 0..1; NaN without images.
    """

    categories: tuple[str, ...]
    rows: tuple[CategoryMetrics, ...]
    confusion: NDArray[np.int64]
    top1: float
    top5: float


def compute_classifier_metrics(
    truths: Sequence[str], scores: NDArray[np.floating], categories: Sequence[str]
) -> ClassifierMetrics:
    """Compute the metrics of a classifier.

    Args:
        truths: The true category of each image.
        scores: float (n, c). Column j scores image i as categories[j]; of equal scores the first
            column wins.
        categories: Distinct names, none of them ALL.

    Returns:
        The metrics.

    Raises:
        ValueError: Categories repeat or include ALL, a truth is no category, or the scores are not
            finite numbers of shape (n, c).
    """
    position = {name: i for i, name in enumerate(categories)}
    _check_arguments(truths, scores, categories, position)
    truth = np.array([position[t] for t in truths], dtype=np.int64)
    ranked = np.argsort(-scores, axis=1, kind="stable")
    is_in_top5 = (ranked[:, :5] == truth[:, None]).any(axis=1)
    confusion = np.zeros((len(position), len(position)), dtype=np.int64)
    guess = ranked[:, 0] if position else truth
    np.add.at(confusion, (truth, guess), 1)
    images_count = len(truth)
    right_count = int(confusion.diagonal().sum())
    return ClassifierMetrics(
        tuple(categories),
        _metrics_rows(confusion, categories, images_count),
        confusion,
        ratio_or_nan(right_count, images_count),
        ratio_or_nan(int(is_in_top5.sum()), images_count),
    )


def _check_arguments(
    truths: Sequence[str],
    scores: NDArray[np.floating],
    categories: Sequence[str],
    position: dict[str, int],
) -> None:
    """Raise ValueError for arguments that do not fit together."""
    if len(position) != len(categories) or ALL in position:
        raise ValueError(
            f"categories: wanted distinct ones, none named {ALL!r}, got {list(categories)}"
        )
    wanted_shape = (len(truths), len(position))
    if scores.shape != wanted_shape or not np.isfinite(scores).all():
        raise ValueError(
            f"scores: wanted finite numbers of shape {wanted_shape}, "
            f"got {scores.dtype} {scores.shape}"
        )
    if unknown := set(truths) - set(position):
        raise ValueError(
            f"a truth is {min(unknown)!r}, which is not among the {len(position)} categories"
        )


def _metrics_rows(
    confusion: NDArray[np.int64], categories: Sequence[str], images_count: int
) -> tuple[CategoryMetrics, ...]:
    """Return ALL first, then every category."""
    tp = confusion.diagonal().tolist()
    truths = confusion.sum(axis=1).tolist()
    guessed = confusion.sum(axis=0).tolist()
    rows = [
        CategoryMetrics.from_counts(
            name,
            truths=truths[i],
            tp=tp[i],
            detected=guessed[i],
            stray=guessed[i] - tp[i],
            negatives=images_count - truths[i],
        )
        for i, name in enumerate(categories)
    ]
    everything = CategoryMetrics.from_counts(
        ALL,
        truths=images_count,
        tp=sum(tp),
        detected=images_count,
        stray=images_count - sum(tp),
        negatives=images_count * max(0, len(categories) - 1),
    )
    return everything, *rows
