"""RGB to CIE Lab, and telling an item from a plain ground.

Lab is used because equal steps in it look about equally large: distances below are CIE 1976 ΔE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# sRGB to linear light for every 8-bit value, and linear sRGB to XYZ over the D65 white (IEC 61966-2-1).
_SRGB_TO_LINEAR = np.where(
    np.arange(256) <= 0.04045 * 255,
    np.arange(256) / 255 / 12.92,
    ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
).astype(np.float32)
_LINEAR_TO_XYZ = (
    np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    / np.array([0.95047, 1.0, 1.08883])[:, None]
).astype(np.float32)

# A ground is plain where this share of the border lies within this ΔE of the border's median colour.
_MAX_PLAIN_DELTA_E = 8.0
_MIN_PLAIN_RATIO = 0.7
# Closer to the ground than this is ground: white on white still leaves its shadows and seams.
_MAX_BACKGROUND_DELTA_E = 5.0


def rgb_to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE Lab of uint8 RGB (..., 3): float32 (..., 3), L 0..100, a and b about -128..127."""
    xyz = _SRGB_TO_LINEAR[rgb] @ _LINEAR_TO_XYZ.T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])],
        axis=-1,
    )


def plain_background(lab: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The colour of the plain ground of a picture, float32 (3,), or None where the ground is not plain.

    lab: float32 (height, width, 3). Judged by a border one 32nd of the sides wide; the lower border is left
    out, for figures and shadows are cut by it.
    """
    height, width = lab.shape[:2]
    y, x = max(1, height // 32), max(1, width // 32)
    border = np.concatenate(
        [lab[:y].reshape(-1, 3), lab[:, :x].reshape(-1, 3), lab[:, -x:].reshape(-1, 3)]
    )
    colour = np.median(border, axis=0)
    near = np.linalg.norm(border - colour, axis=1) < _MAX_PLAIN_DELTA_E
    return colour if near.mean() >= _MIN_PLAIN_RATIO else None


def foreground_mask(lab: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Where a picture differs from its plain ground: bool (height, width); None where the ground is not plain
    or nothing stands out of it. lab: float32 (height, width, 3)."""
    colour = plain_background(lab)
    if colour is None:
        return None
    mask = np.linalg.norm(lab - colour, axis=2) > _MAX_BACKGROUND_DELTA_E
    return mask if mask.mean() >= 0.01 else None
