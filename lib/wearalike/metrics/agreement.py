"""Agreement of labels and scores: Cohen's kappa, Wilson's interval and ROC AUC."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

# Standard normal quantile: 95 % of the distribution lies within ± this.
_Z_95 = 1.959964


def agreed_ratio(label_pairs: Sequence[tuple[Hashable, Hashable]]) -> float:
    """Return the share of things that two people label alike.

    Args:
        label_pairs: One (label of the first, label of the second) a thing; at least one.

    Returns:
        0..1.
    """
    return sum(first == second for first, second in label_pairs) / len(label_pairs)


def cohen_kappa(label_pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Return Cohen's kappa of two people's labels of the same things.

    kappa = (p_o - p_e) / (1 - p_e). p_o is the observed agreement. p_e is the agreement of two
    people who give each label as often as these do, at random. (Cohen, "A Coefficient of Agreement
    for Nominal Scales", Educational and Psychological Measurement 20, 1960.)

    Args:
        label_pairs: One (label of the first, label of the second) a thing.

    Returns:
        -1..1: 1 for full agreement, 0 for agreement by chance. None without any pair, and where
        both people always give one and the same label, so that chance explains everything.
    """
    n = len(label_pairs)
    first_counts = Counter(first for first, _ in label_pairs)
    second_counts = Counter(second for _, second in label_pairs)
    # Whole numbers, both sides times n * n, so that full agreement is exactly 1.
    agreed = n * sum(first == second for first, second in label_pairs)
    by_chance = sum(count * second_counts[label] for label, count in first_counts.items())
    if n * n == by_chance:
        return None
    return (agreed - by_chance) / (n * n - by_chance)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of independent trials.

    Unlike a bootstrap, it holds for a handful of trials, and where all of them succeed.
    (Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.)

    Args:
        share: Share of the trials that succeed, 0..1.
        count: Number of trials, 1 or more.

    Returns:
        Lower and upper end, 0..1.
    """
    z2 = _Z_95 * _Z_95
    centre = share + z2 / (2 * count)
    spread = _Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def roc_auc(scores: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve: how well scores tell positives from negatives.

    The area is the chance that a positive has a higher score than a negative, ties counting half.
    (Hanley and McNeil, Radiology 143, 1982.)

    Args:
        scores: float64 (n,). Bigger means more surely positive.
        is_positive: bool (n,). The truth of the same rows.

    Returns:
        0..1: 0.5 is no better than a coin, 1 is perfect. None without a row of each kind.

    Example:
        >>> roc_auc(np.array([0.9, 0.8, 0.3]), np.array([True, False, False]))
        1.0
    """
    positives = scores[is_positive]
    negatives = np.sort(scores[~is_positive])
    if not len(positives) or not len(negatives):
        return None
    below = np.searchsorted(negatives, positives, "left")
    not_above = np.searchsorted(negatives, positives, "right")
    return float((below + not_above).sum() / (2 * len(positives) * len(negatives)))
