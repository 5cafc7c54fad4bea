"""Change pixels of an item and leave the item: light, folds, colours, warps, coarse cameras.

Every function is a function of its arguments and of the generator alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from wearalike.training.encoder.item_cutout import Pixels
from wearalike.training.encoder.opencv import import_opencv

Plane = NDArray[np.float32]

_FOLDS_COUNT = 48
_FOLDS_SEED = 7
_FOLD_SIDE_PX = 256


@cache
def fold_maps() -> tuple[Plane, ...]:
    """Return maps of folds: ridges of one direction, float32 (256, 256), mean 0, deviation 1."""
    cv2 = import_opencv()
    rng = np.random.default_rng(_FOLDS_SEED)
    side, middle = _FOLD_SIDE_PX, _FOLD_SIDE_PX // 2
    maps = []
    for _ in range(_FOLDS_COUNT):
        noise = rng.normal(0, 1, (side, side)).astype(np.float32)
        across = float(rng.uniform(3, 9))
        along = across * float(rng.uniform(2, 6))
        fold = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along)
        fold -= cv2.GaussianBlur(fold, (0, 0), 18)
        turn = cv2.getRotationMatrix2D((middle, middle), float(rng.uniform(0, 180)), 1.45)
        fold = cv2.warpAffine(fold, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
        maps.append(((fold - fold.mean()) / (fold.std() + 1e-6)).astype(np.float32))
    return tuple(maps)


def linear_slope(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Return a slope in a random direction, about -1..1, float64 (height, width)."""
    angle = float(rng.uniform(0, 2 * np.pi))
    across = np.cos(angle) * np.linspace(-1, 1, width)[None]
    return across + np.sin(angle) * np.linspace(-1, 1, height)[:, None]


def relight(rgb: Pixels, rng: np.random.Generator, strength: float = 1.0) -> Pixels:
    """Show an item under other light: folds, a gradient, gain, tint and gamma.

    Args:
        rgb: uint8 (height, width, 3).
        rng: Source of randomness.
        strength: Factor of every change.
    """
    cv2 = import_opencv()
    height, width = rgb.shape[:2]
    light = np.zeros((height, width), np.float32)
    if rng.random() < 0.7:
        maps = fold_maps()
        fold = cv2.resize(maps[int(rng.integers(len(maps)))], (width, height))
        light += fold * float(rng.uniform(0.02, 0.12)) * strength
    if rng.random() < 0.6:
        slope = linear_slope(rng, height, width)
        light += slope.astype(np.float32) * float(rng.uniform(0, 0.15)) * strength
    gain = np.exp(rng.normal(0, 0.12 * strength) + rng.normal(0, 0.03 * strength, 3))
    lit: NDArray[np.floating] = rgb.astype(np.float32) * np.exp(light)[..., None]
    lit = lit * gain.astype(np.float32)
    if rng.random() < 0.5:
        gamma = float(np.exp(rng.normal(0, 0.12 * strength)))
        lit = 255 * (np.clip(lit, 0, 255) / 255) ** gamma
    return np.clip(lit, 0, 255).astype(np.uint8)


def recolour(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """Turn hues, strengthen or take away colours, and change light and dark.

    Args:
        rgb: uint8 (height, width, 3).
        rng: Source of randomness.
    """
    grey = np.full((3, 3), 1 / 3)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.choice([0.0, rng.uniform(0.3, 1.8)])
    # Rotation about the grey axis (Rodrigues); `cross` is the cross product with that axis.
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = grey + np.cos(turn) * (np.eye(3) - grey) + np.sin(turn) * cross
    matrix = grey + strength * (rotation - grey)
    pixels = rgb.astype(np.float32) @ matrix.T.astype(np.float32)
    gain = float(np.exp(rng.normal(0, 0.35)))
    pixels = pixels * gain + float(rng.uniform(-40, 60)) * (rng.random() < 0.5)
    if rng.random() < 0.3:
        tint = rng.uniform(0, 255, 3).astype(np.float32)
        share = float(rng.uniform(0.2, 0.6))
        pixels = pixels * (1 - share) + tint * share
    return np.clip(pixels, 0, 255).astype(np.uint8)


def dye_sibling(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """Give an item the colour of a sibling.

    One tone and brightness are replaced by others. Seams, folds and prints stay: stronger or
    weaker, at times inverted.

    Args:
        rgb: uint8 (height, width, 3), pixels of the item alone.
        rng: Source of randomness.
    """
    cv2 = import_opencv()
    pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    mean = pixels.reshape(-1, 3).mean(0)
    contrast = float(np.exp(rng.normal(0, 0.4))) * (-1 if rng.random() < 0.08 else 1)
    light = float(rng.choice([rng.uniform(25, 70), rng.uniform(40, 235), rng.uniform(180, 240)]))
    # Very light and very dark cloth has little colour.
    reach = 55 * (1 - abs(light - 128) / 150)
    tone = rng.normal(0, 0.5, 2) * reach if rng.random() < 0.65 else rng.normal(0, 3, 2)
    keep = float(rng.choice([0.0, rng.uniform(0.3, 1.2)]))
    turn = float(rng.uniform(0, 2 * np.pi))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
    dyed = np.empty_like(pixels)
    dyed[..., 0] = light + contrast * (pixels[..., 0] - mean[0])
    dyed[..., 1:] = 128 + tone + keep * ((pixels[..., 1:] - mean[1:]) @ rotation)
    return cv2.cvtColor(np.clip(dyed, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)


def degrade(rgb: Pixels, rng: np.random.Generator, strength: float = 1.0) -> Pixels:
    """Show a picture as a poorer camera does: coarser or blurred.

    Args:
        rgb: uint8 (height, width, 3).
        rng: Source of randomness.
        strength: Factor of both probabilities.
    """
    cv2 = import_opencv()
    height, width = rgb.shape[:2]
    if rng.random() < 0.5 * strength:
        scale = float(rng.uniform(0.4, 0.9))
        size = int(width * scale), int(height * scale)
        coarse = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.15 * strength:
        rgb = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.5, 1.4)))
    return rgb


def warp(
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
    matrix: NDArray[np.float64],
    bend_px: float,
    rng: np.random.Generator,
    border: int | tuple[int, ...] = 0,
) -> NDArray[np.uint8]:
    """Warp a picture by an affine map and a smooth random bend.

    Args:
        pixels: uint8 (h, w, channels).
        size: Height and width of the result in px.
        matrix: float64 (2, 3). Map from the result's pixels to those of the picture.
        bend_px: Standard deviation of the bend's control points, in px of the picture.
        rng: Source of randomness.
        border: Value beyond the picture.

    Returns:
        uint8 (height, width, channels).
    """
    cv2 = import_opencv()
    height, width = size
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    bend = np.zeros((height, width, 2), np.float32)
    if bend_px > 0:
        points_count = int(rng.integers(3, 6))
        coarse = rng.normal(0, bend_px, (points_count, points_count, 2)).astype(np.float32)
        bend = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    map_x = matrix[0, 0] * xs + matrix[0, 1] * ys + matrix[0, 2] + bend[..., 0]
    map_y = matrix[1, 0] * xs + matrix[1, 1] * ys + matrix[1, 2] + bend[..., 1]
    return cv2.remap(
        pixels,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )
