"""Augmented views of labelled images: the same item moved, turned, lit otherwise, on other ground.

Every view is a function of a seed alone, so a training that stops and resumes sees the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from wearalike.imaging import colour, decode
from wearalike.metrics import colour_space
from wearalike.training.augmentation import (
    alpha_blend,
    output_to_input_affine,
    random_channel_gains,
    random_mirror,
)

# Longer side of a training image in memory, in px: somewhat more than the network's input, to
# allow for zooming in.
MAX_SIDE_PX = 256
# The mask of a white shirt on white has holes. If it covers less than this share of its outline,
# the item keeps its own background.
_MIN_SOLID_RATIO = 0.7
# Part of another image that becomes a background, in shares of its sides.
_BACKGROUND_SIDE_RATIOS = (0.2, 0.5)
# Smallest such part, in px.
_MIN_BACKGROUND_PX = 8
# Range of the saturation of a random colour matrix; 0 is grey.
_SATURATIONS = (0.3, 1.5)


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """An image of one item.

    Attributes:
        rgb: uint8 (height, width, 3). The longer side has at most MAX_SIDE_PX.
        alpha: uint8 (height, width). 255 for the item, 0 for plain background. None if the
            background is not plain.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """Strength of the augmentation: standard deviations or half widths, and probabilities.

    Attributes:
        zoom: Half width of the logarithm of the item's scale.
        turn_degrees: Half width of the turn, in degrees.
        shift_ratio: Half width of the shift, in shares of the square's side.
        light: Standard deviation of the logarithm of the gain of all channels.
        tint: Standard deviation of the logarithm of the gain of each channel.
        background_ratio: Share of the images on plain ground that get another background.
        recolour_ratio: Share of the views with random colours, from which only shape is learned.
    """

    zoom: float = 0.2
    turn_degrees: float = 10.0
    shift_ratio: float = 0.06
    light: float = 0.12
    tint: float = 0.03
    background_ratio: float = 0.5
    recolour_ratio: float = 0.35


# As the nightly run lays an image, except that it may be mirrored.
NO_AUGMENTATION = AugmentationConfig(
    zoom=0.0,
    turn_degrees=0.0,
    shift_ratio=0.0,
    light=0.0,
    tint=0.0,
    background_ratio=0.0,
    recolour_ratio=0.0,
)


def prepare_image(rgb: NDArray[np.uint8]) -> TrainingImage:
    """Scale a crop down and find its plain background.

    Args:
        rgb: uint8 (height, width, 3).

    Returns:
        The training image.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, MAX_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = decode.resize(rgb, *size) if scale < 1 else rgb.copy()
    mask = colour.foreground_mask(colour_space.rgb_to_lab(small))
    if mask is None:
        return TrainingImage(small, None)
    # Closing fills the holes that white seams and highlights leave on a white ground.
    closed = (
        Image.fromarray(mask.astype(np.uint8) * 255)
        .filter(ImageFilter.MaxFilter(7))
        .filter(ImageFilter.MinFilter(9))
    )
    solid = np.asarray(closed) > 0
    if solid.sum() < _MIN_SOLID_RATIO * _fill_rows(solid).sum():
        return TrainingImage(small, None)
    # The blur hides the rim of the cut.
    return TrainingImage(small, np.asarray(closed.filter(ImageFilter.GaussianBlur(1.0))))


def _fill_rows(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill every row from its first pixel to its last."""
    from_left = np.maximum.accumulate(mask, axis=1)
    from_right = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return from_left & from_right


def augment_image(
    image: TrainingImage,
    backgrounds: Sequence[NDArray[np.uint8]],
    config: AugmentationConfig,
    side_px: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], bool]:
    """Draw one view of an image.

    Args:
        image: The item.
        backgrounds: uint8 (height, width, 3) each. A part of one may be laid behind the item.
        config: Strength of the augmentation.
        side_px: Side of the view in px.
        rng: Source of randomness.

    Returns:
        The view, uint8 (side_px, side_px, 3), and True if its colours are the item's own.
    """
    rgb = image.rgb
    if image.alpha is not None and backgrounds and rng.random() < config.background_ratio:
        background = backgrounds[int(rng.integers(len(backgrounds)))]
        rgb = _replace_background(image.rgb, image.alpha, background, rng)
    has_true_colours = bool(rng.random() >= config.recolour_ratio)
    gains = random_channel_gains(config.light, config.tint, rng)
    matrix = np.diag(gains) if has_true_colours else _random_colour_matrix(rng) * gains[:, None]
    lit = np.clip(rgb.astype(np.float32) @ matrix.astype(np.float32).T, 0, 255).astype(np.uint8)
    return _warp(lit, config, side_px, rng), has_true_colours


def _replace_background(
    rgb: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    background: NDArray[np.uint8],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Lay an item over a corner of another image, which is more often ground than garment."""
    height, width = rgb.shape[:2]
    part_height = max(
        _MIN_BACKGROUND_PX, int(background.shape[0] * rng.uniform(*_BACKGROUND_SIDE_RATIOS))
    )
    part_width = max(
        _MIN_BACKGROUND_PX, int(background.shape[1] * rng.uniform(*_BACKGROUND_SIDE_RATIOS))
    )
    top = 0 if rng.random() < 0.5 else background.shape[0] - part_height
    left = 0 if rng.random() < 0.5 else background.shape[1] - part_width
    corner = Image.fromarray(background[top : top + part_height, left : left + part_width])
    behind = corner.resize((width, height), Image.Resampling.BILINEAR)
    return alpha_blend(rgb, np.asarray(behind), alpha)


def _warp(
    rgb: NDArray[np.uint8], config: AugmentationConfig, side_px: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Lay an image on a white square as `decode.letterbox` does, but zoomed, turned and shifted."""
    height, width = rgb.shape[:2]
    fit = side_px / max(height, width)
    zoom = fit * float(np.exp(rng.uniform(-config.zoom, config.zoom)))
    angle = np.deg2rad(rng.uniform(-config.turn_degrees, config.turn_degrees))
    shift = rng.uniform(-config.shift_ratio, config.shift_ratio, 2) * side_px
    affine = output_to_input_affine(
        (width, height), side_px, zoom=zoom, angle=angle, shift=shift, mirror=random_mirror(rng)
    )
    warped = Image.fromarray(rgb).transform(
        (side_px, side_px),
        Image.Transform.AFFINE,
        affine,
        Image.Resampling.BILINEAR,
        fillcolor=(255, 255, 255),
    )
    return np.asarray(warped)


def _random_colour_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a colour matrix (3, 3) that keeps grey grey but turns hues and changes saturation."""
    grey = np.full((3, 3), 1 / 3)
    turn = rng.uniform(0, 2 * np.pi)
    saturation = rng.choice([0.0, rng.uniform(*_SATURATIONS)])
    # Rotation about the grey axis (Rodrigues); `cross` is the cross product with that axis.
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = grey + np.cos(turn) * (np.eye(3) - grey) + np.sin(turn) * cross
    return grey + saturation * (rotation - grey)
