"""Separate an item from a plain background, by CIE 1976 ΔE in Lab."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A background is plain if this share of the border is within this ΔE of the border's median.
_MIN_PLAIN_RATIO = 0.7
_MAX_PLAIN_DELTA_E = 8.0
# Pixels within this ΔE of the background belong to it: white on white still shows its shadows.
_MAX_BACKGROUND_DELTA_E = 5.0
# An item covers at least this share of the image.
_MIN_FOREGROUND_RATIO = 0.01
# The border is one part in so many of a side.
_BORDER_DIVISOR = 32


def plain_background(lab: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the colour of a plain background.

    The upper, left and right borders decide. Figures and shadows often touch the lower one.

    Args:
        lab: float32 (height, width, 3), CIE Lab.

    Returns:
        float32 (3,), or None if the background is not plain.
    """
    height, width = lab.shape[:2]
    rows = max(1, height // _BORDER_DIVISOR)
    columns = max(1, width // _BORDER_DIVISOR)
    sides = (lab[:rows], lab[:, :columns], lab[:, -columns:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    colour = np.median(border, axis=0)
    is_near = np.linalg.norm(border - colour, axis=1) < _MAX_PLAIN_DELTA_E
    return colour if is_near.mean() >= _MIN_PLAIN_RATIO else None


def foreground_mask(lab: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return where an image differs from its plain background.

    Args:
        lab: float32 (height, width, 3), CIE Lab.

    Returns:
        bool (height, width), or None if the background is not plain or nothing differs from it.
    """
    colour = plain_background(lab)
    if colour is None:
        return None
    mask = np.linalg.norm(lab - colour, axis=2) > _MAX_BACKGROUND_DELTA_E
    return mask if mask.mean() >= _MIN_FOREGROUND_RATIO else None
