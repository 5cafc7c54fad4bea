"""The expected calibration error: how far probabilities are from what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_BINS = 15


def expected_calibration_error(confidences: ArrayLike, is_right: ArrayLike) -> float:
    """Return how far confidences are from the share that is right, over 15 equal bins.

    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        confidences: float (n,). The confidence of each guess, 0..1.
        is_right: bool (n,).

    Returns:
        0..1; NaN without guesses.

    Example:
        >>> expected_calibration_error([0.9, 0.9], [True, True])
        0.1
    """
    sure = np.asarray(confidences, np.float64)
    right = np.asarray(is_right, np.float64)
    if not len(sure):
        return float("nan")
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=_BINS)
    return round(float(np.abs(gaps).sum() / len(sure)), 12)
