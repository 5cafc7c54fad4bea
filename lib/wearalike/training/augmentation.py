"""Augmentations that the encoder and the detector share: affine maps, channel gains, blending."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AffineCoefficients = tuple[float, float, float, float, float, float]


def output_to_input_affine(
    size: tuple[int, int],
    side_px: int,
    *,
    zoom: float,
    angle: float,
    shift: NDArray[np.float64],
    mirror: float,
) -> AffineCoefficients:
    """Return the affine map that lays an image on a square: zoomed, turned, shifted, mirrored.

    Pillow's `transform` wants the inverse map, from a pixel of the square to one of the image.

    Args:
        size: Width and height of the image in px.
        side_px: Side of the square in px.
        zoom: Pixels of the square a pixel of the image.
        angle: Turn in radians.
        shift: float64 (2,). Shift of the centre in px of the square, x and y.
        mirror: -1 to mirror the image left to right, else 1.

    Returns:
        Pillow's coefficients (a, b, c, d, e, f): x = a u + b v + c, y = d u + e v + f.
    """
    cosine = np.cos(angle) / zoom
    sine = np.sin(angle) / zoom
    inverse = np.array([[mirror * cosine, mirror * sine], [-sine, cosine]])
    origin = np.array(size) / 2 - inverse @ (side_px / 2 + shift)
    return (
        inverse[0, 0],
        inverse[0, 1],
        origin[0],
        inverse[1, 0],
        inverse[1, 1],
        origin[1],
    )


def random_mirror(rng: np.random.Generator) -> float:
    """Return -1 (mirrored) or 1 with equal chance."""
    return -1.0 if rng.random() < 0.5 else 1.0


def random_channel_gains(
    light: float, tint: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a gain for each colour channel.

    Args:
        light: Standard deviation of the logarithm of the gain of all channels together.
        tint: Standard deviation of the logarithm of the gain of each channel.
        rng: Source of randomness.

    Returns:
        float64 (3,), around 1.
    """
    return np.exp(rng.normal(0, light) + rng.normal(0, tint, 3))


def alpha_blend(
    foreground: NDArray[np.uint8], background: NDArray[np.uint8] | int, alpha: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Lay a foreground over a background.

    Args:
        foreground: uint8 (height, width, 3).
        background: uint8 (height, width, 3), or one value for all channels, 0..255.
        alpha: uint8 (height, width). 255 shows the foreground only, 0 the background only.

    Returns:
        uint8 (height, width, 3).
    """
    share = alpha[..., None].astype(np.float32) / 255
    return (foreground * share + background * (1 - share)).astype(np.uint8)
