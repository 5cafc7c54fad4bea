"""Labelled pictures to what the encoder's trainer is shown: the same item moved, turned, lit otherwise, on another ground.

Every view is a function of a seed alone, so a training that stops and goes on sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from wearalike.imaging import colour, decode

# Pictures are kept at this size while training: a little more than the network takes, to allow for zooming in.
MAX_SIDE_PX = 256
# A white shirt on white is full of holes: less of what its outline spans than this, and it is left on its own ground.
_MIN_SOLID_RATIO = 0.7


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """An item to learn from. rgb: uint8 (height, width, 3), the longer side at most KEPT_PX. alpha: uint8 (height, width), how
    much of a pixel is item (255) or plain ground (0); None where the ground is not plain."""

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """How far views stray from their picture: standard deviations or half widths of what is drawn, and how often.

    zoom, turn_degrees, shift_ratio: of the item on its square. light, tint: of the logarithm of each channel's gain, for all
    channels and for each. ground_ratio: pictures of plain ground that get another one. recolour_ratio: views whose colours are
    thrown away, from which only shape is learned.
    """

    zoom: float = 0.2
    turn_degrees: float = 10.0
    shift_ratio: float = 0.06
    light: float = 0.12
    tint: float = 0.03
    ground_ratio: float = 0.5
    recolour_ratio: float = 0.35


# As the night lays a picture, but that it may be mirrored.
NO_AUGMENTATION = AugmentationConfig(
    zoom=0.0,
    turn_degrees=0.0,
    shift_ratio=0.0,
    light=0.0,
    tint=0.0,
    ground_ratio=0.0,
    recolour_ratio=0.0,
)


def prepare_image(rgb: NDArray[np.uint8]) -> TrainingImage:
    """A crop, uint8 (height, width, 3), made ready: scaled down, its plain ground found."""
    scale = min(1.0, MAX_SIDE_PX / max(rgb.shape[:2]))
    small = (
        decode.resize(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        if scale < 1
        else rgb.copy()
    )
    mask = colour.foreground_mask(colour.rgb_to_lab(small))
    if mask is None:
        return TrainingImage(small, None)
    # Closing fills the holes that white seams and highlights leave on a white ground; the blur hides the cut's rim.
    closed = (
        Image.fromarray(mask.astype(np.uint8) * 255)
        .filter(ImageFilter.MaxFilter(7))
        .filter(ImageFilter.MinFilter(9))
    )
    solid = np.asarray(closed) > 0
    if solid.sum() < _MIN_SOLID_RATIO * _fill_rows(solid).sum():
        return TrainingImage(small, None)
    return TrainingImage(small, np.asarray(closed.filter(ImageFilter.GaussianBlur(1.0))))


def _fill_rows(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with every row filled from its first pixel to its last."""
    return (
        np.maximum.accumulate(mask, axis=1) & np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    )


def augment_image(
    image: TrainingImage,
    backgrounds: Sequence[NDArray[np.uint8]],
    variation: AugmentationConfig,
    side_px: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], bool]:
    """One view of a picture, uint8 (side_px, side_px, 3), and whether its colours are the item's own.

    grounds: pictures, uint8 (height, width, 3) each, of which a part is laid behind the item.
    """
    rgb = image.rgb
    if image.alpha is not None and backgrounds and rng.random() < variation.ground_ratio:
        rgb = _replace_background(
            image.rgb, image.alpha, backgrounds[int(rng.integers(len(backgrounds)))], rng
        )
    is_true = bool(rng.random() >= variation.recolour_ratio)
    gains = np.exp(rng.normal(0, variation.light) + rng.normal(0, variation.tint, 3))
    matrix = np.diag(gains) if is_true else _random_colour_matrix(rng) * gains[:, None]
    lit = np.clip(rgb.astype(np.float32) @ matrix.astype(np.float32).T, 0, 255).astype(np.uint8)
    return _warp(lit, variation, side_px, rng), is_true


def _replace_background(
    rgb: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    background: NDArray[np.uint8],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    # A corner of the other picture: what lies there is more often ground than garment.
    part_h, part_w = (
        max(8, int(background.shape[0] * rng.uniform(0.2, 0.5))),
        max(8, int(background.shape[1] * rng.uniform(0.2, 0.5))),
    )
    top = 0 if rng.random() < 0.5 else background.shape[0] - part_h
    left = 0 if rng.random() < 0.5 else background.shape[1] - part_w
    behind = Image.fromarray(background[top : top + part_h, left : left + part_w]).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    share = alpha[..., None].astype(np.float32) / 255
    return (rgb * share + np.asarray(behind) * (1 - share)).astype(np.uint8)


def _warp(
    rgb: NDArray[np.uint8], variation: AugmentationConfig, side_px: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The picture on a white square as `decode.letterbox` would lay it, but zoomed, turned, shifted and perhaps mirrored."""
    height, width = rgb.shape[:2]
    zoom = (
        side_px / max(height, width) * float(np.exp(rng.uniform(-variation.zoom, variation.zoom)))
    )
    angle = np.deg2rad(rng.uniform(-variation.turn_degrees, variation.turn_degrees))
    shift = rng.uniform(-variation.shift_ratio, variation.shift_ratio, 2) * side_px
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    # Pillow wants the way back: from a pixel of the square to one of the picture.
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    back = np.array([[mirror * c, mirror * s], [-s, c]])
    origin = np.array([width / 2, height / 2]) - back @ (side_px / 2 + shift)
    matrix = (back[0, 0], back[0, 1], origin[0], back[1, 0], back[1, 1], origin[1])
    white = (255, 255, 255)
    return np.asarray(
        Image.fromarray(rgb).transform(
            (side_px, side_px),
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.BILINEAR,
            fillcolor=white,
        )
    )


def _random_colour_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour matrix (3, 3) that keeps grey grey: hues turned and colours strengthened or taken away at random."""
    grey = np.full((3, 3), 1 / 3)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.choice([0.0, rng.uniform(0.3, 1.5)])
    # Rotation about the grey axis (Rodrigues); `cross` is the cross product with that axis.
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = grey + np.cos(turn) * (np.eye(3) - grey) + np.sin(turn) * cross
    return grey + strength * (rotation - grey)
