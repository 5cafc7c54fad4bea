"""Convert RGB to CIE Lab, and separate an item from a plain background.

Equal distances in Lab look about equally large. Distances here are CIE 1976 ΔE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Linear light of every 8-bit sRGB value (IEC 61966-2-1).
_SRGB_TO_LINEAR = np.where(
    np.arange(256) <= 0.04045 * 255,
    np.arange(256) / 255 / 12.92,
    ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
).astype(np.float32)
# Linear sRGB to XYZ, relative to the white point D65 (IEC 61966-2-1).
LINEAR_TO_XYZ = (
    np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    / np.array([0.95047, 1.0, 1.08883])[:, None]
).astype(np.float32)

# A background is plain if this share of the border is within this ΔE of the border's median.
_MIN_PLAIN_RATIO = 0.7
_MAX_PLAIN_DELTA_E = 8.0
# Pixels within this ΔE of the background belong to it: white on white still shows its shadows.
_MAX_BACKGROUND_DELTA_E = 5.0
# An item covers at least this share of the image.
_MIN_FOREGROUND_RATIO = 0.01
# The border is one part in so many of a side.
_BORDER_DIVISOR = 32


def rgb_to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return CIE Lab of RGB.

    Args:
        rgb: uint8 (..., 3), sRGB.

    Returns:
        float32 (..., 3): L 0..100, a and b about -128..127.
    """
    xyz = _SRGB_TO_LINEAR[rgb] @ LINEAR_TO_XYZ.T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])],
        axis=-1,
    )


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
