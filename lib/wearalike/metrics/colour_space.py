"""Convert RGB to CIE Lab, in which equal distances look about equally large."""

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


def hex_to_lab(text: str) -> NDArray[np.float32]:
    """Return CIE Lab of a colour in hexadecimal digits.

    Args:
        text: Such as "#1b2a4a".

    Returns:
        float32 (3,).
    """
    return rgb_to_lab(np.frombuffer(bytes.fromhex(text[1:]), np.uint8))
