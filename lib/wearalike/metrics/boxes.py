"""Boxes as arrays: how far two overlap, and which of several stands for a product.

A box is x0, y0, x1, y1 in pixels; x1 and y1 lie outside it. The module imports nothing of ours, so
every floor may use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOX_COLUMNS = ("x0", "y0", "x1", "y1")


def box_iou(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of each box with each other box.

    Args:
        boxes: numbers (n, 4).
        others: numbers (m, 4).

    Returns:
        float64 (n, m), 0..1; NaN for two boxes that are both without area.

    Example:
        >>> box_iou([[0, 0, 10, 10]], [[5, 0, 15, 10], [20, 20, 30, 30]])
        array([[0.33333333, 0.        ]])
    """
    first = np.asarray(boxes, np.float64)
    second = np.asarray(others, np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersections = np.clip(high - low, 0, None).prod(axis=2)
    unions = box_area(first)[:, None] + box_area(second)[None, :] - intersections
    return intersections / unions


def box_area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area of each box.

    Args:
        boxes: float64 (n, 4).

    Returns:
        float64 (n,), in px².
    """
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def confidence_size_score(boxes: ArrayLike, confidences: ArrayLike) -> NDArray[np.float64]:
    """Return confidence × √area of each box: the best box is both sure and large.

    Args:
        boxes: numbers (n, 4).
        confidences: numbers (n,), 0..1.

    Returns:
        float64 (n,), in px.

    Example:
        >>> confidence_size_score([[0, 0, 10, 10], [0, 0, 20, 20]], [0.9, 0.5])
        array([ 9., 10.])
    """
    return np.asarray(confidences, np.float64) * np.sqrt(box_area(np.asarray(boxes, np.float64)))


def box_corners(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the boxes of rows.

    Args:
        rows: Rows with the columns x0, y0, x1 and y1.

    Returns:
        float64 (n, 4).
    """
    return np.array([[row[c] for c in BOX_COLUMNS] for row in rows], np.float64).reshape(-1, 4)


def item_scores(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the confidence-and-size score of rows.

    Args:
        rows: Rows with the columns x0, y0, x1, y1 and confidence.

    Returns:
        float64 (n,), in px.
    """
    return confidence_size_score(box_corners(rows), [row["confidence"] for row in rows])
