"""Draw views of one picture: warped, relit, folded, occluded, dyed, on other grounds.

Every function is a function of its arguments and of the generator alone. It returns a view as
`item_cutout.fit_on_square` does: the square, and the item's mask where it is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wearalike.training.augmentation import alpha_blend
from wearalike.training.encoder.item_cutout import (
    Pixels,
    find_item_alpha,
    fit_on_square,
    jitter_span,
    mask_span,
)
from wearalike.training.encoder.opencv import import_opencv
from wearalike.training.encoder.photometry import (
    degrade,
    dye_sibling,
    linear_slope,
    recolour,
    relight,
    warp,
)
from wearalike.training.encoder.street_figures import StreetFigures

View = tuple[Pixels, Pixels | None]

SKIN_TONES = np.array(
    [
        [224, 172, 140],
        [236, 188, 160],
        [198, 134, 100],
        [141, 85, 60],
        [255, 205, 180],
        [92, 58, 45],
        [210, 160, 130],
    ],
    np.float32,
)
_CANVAS_PX = 256
# Fewer visible pixels of an item than this are no view of it.
_MIN_ITEM_AREA_PX = 400
_MIN_GROUND_PX = 24


def draw_clean_view(crop: Pixels, rng: np.random.Generator) -> View:
    """Lay a crop as the nightly run does, mirrored half the time."""
    height, width = crop.shape[:2]
    mask = find_item_alpha(crop)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
        mask = mask[:, ::-1] if mask is not None else None
    return fit_on_square(np.ascontiguousarray(crop), (0, height, 0, width), mask)


def draw_sibling_view(crop: Pixels, rng: np.random.Generator) -> View | None:
    """Show the picture with its item in another colour and nothing else changed.

    Returns:
        The view; None if the ground is not plain.
    """
    cv2 = import_opencv()
    height, width = crop.shape[:2]
    mask = find_item_alpha(crop)
    if mask is None:
        return None
    is_item = mask > 128
    dyed = crop.copy()
    dyed[is_item] = dye_sibling(crop[is_item][None], rng)[0]
    blended = alpha_blend(dyed, crop, cv2.GaussianBlur(mask, (0, 0), 0.8))
    dy, dx = rng.integers(-4, 5, 2).tolist()
    span = max(0, dy), height + min(0, dy), max(0, dx), width + min(0, dx)
    return fit_on_square(degrade(blended, rng, 0.4), span, mask)


def draw_warped_view(
    rgba: Pixels,
    street: StreetFigures | None,
    floors: Sequence[Pixels],
    rng: np.random.Generator,
    is_recoloured: bool = False,
) -> View:
    """Lay an item that was cut out on another ground: turned, bent, relit, perhaps occluded.

    Args:
        rgba: The item, uint8 (h, w, 4).
        street: Street photos, whose rims are grounds; None for none.
        floors: Photos of things on floors and beds, whose rims are grounds.
        rng: Source of randomness.
        is_recoloured: Change the item's colours.
    """
    cv2 = import_opencv()
    height, width = rgba.shape[:2]
    side = _CANVAS_PX
    rgb = recolour(rgba[..., :3], rng) if is_recoloured else rgba[..., :3]
    item = np.dstack([relight(rgb, rng), rgba[..., 3]])
    zoom = side * 0.82 / max(height, width) * float(np.exp(rng.uniform(-0.15, 0.1)))
    angle = np.deg2rad(rng.normal(0, 10))
    stretch = float(np.exp(rng.normal(0, 0.07)))
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    inverse = np.array([[mirror * cosine * stretch, mirror * sine * stretch], [-sine, cosine]])
    origin = np.array([width / 2, height / 2]) - inverse @ np.array([side / 2, side / 2])
    matrix = np.column_stack([inverse, origin])
    warped = warp(item, (side, side), matrix, 0.025 * max(height, width), rng)
    alpha = warped[..., 3]
    ground = draw_ground(street, floors, rng, side, side)
    if rng.random() < 0.5:
        dx, dy = rng.integers(-10, 11, 2)
        shifted = np.roll(alpha, (dy, dx), (0, 1))
        shadow = cv2.GaussianBlur(shifted, (0, 0), float(rng.uniform(3, 10)))
        ground = (ground * (1 - shadow[..., None] / 255 * rng.uniform(0.1, 0.5))).astype(np.uint8)
    view = alpha_blend(warped[..., :3], ground, alpha)
    if (alpha > 128).sum() < _MIN_ITEM_AREA_PX:
        return fit_on_square(view, (0, side, 0, side), alpha)
    span = jitter_span(mask_span(alpha > 128), rng, 0.12, 0.08)
    if rng.random() < 0.35:
        view, alpha = occlude(view, alpha, rng)
    return fit_on_square(degrade(view, rng), span, alpha)


def draw_moved_view(crop: Pixels, rng: np.random.Generator, is_recoloured: bool = False) -> View:
    """Show a crop whose item cannot be cut out: cut, turned, bent, relit, perhaps occluded."""
    height, width = crop.shape[:2]
    rgb = recolour(crop, rng) if is_recoloured else crop
    rgb = relight(rgb, rng, 0.8)
    scale = float(rng.uniform(0.7, 1.0))
    part_height = int(height * scale)
    part_width = int(width * min(1, scale * rng.uniform(0.9, 1.1)))
    angle = np.deg2rad(rng.normal(0, 6))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    centre_x = width / 2 + rng.uniform(-0.5, 0.5) * (width - part_width)
    centre_y = height / 2 + rng.uniform(-0.5, 0.5) * (height - part_height)
    cosine, sine = np.cos(angle), np.sin(angle)
    inverse = np.array([[mirror * cosine, mirror * sine], [-sine, cosine]])
    middle = np.array([part_width / 2, part_height / 2])
    matrix = np.column_stack([inverse, np.array([centre_x, centre_y]) - inverse @ middle])
    bend_px = 0.015 * max(height, width)
    view = warp(rgb, (part_height, part_width), matrix, bend_px, rng, (255, 255, 255))
    if rng.random() < 0.3:
        view, _ = occlude(view, np.zeros(view.shape[:2], np.uint8), rng)
    return fit_on_square(degrade(view, rng), (0, part_height, 0, part_width), None)


def draw_street_view(
    street: StreetFigures,
    garment: tuple[int, int],
    rng: np.random.Generator,
    is_recoloured: bool = False,
) -> View:
    """Show a worn garment where it is, cropped and lit otherwise, at times on another ground.

    Args:
        street: The street photos.
        garment: Figure number and label number.
        rng: Source of randomness.
        is_recoloured: Change the colours.
    """
    cv2 = import_opencv()
    figure, whole = street.figures[garment[0]], street.garment_mask(*garment)
    wide = jitter_span(mask_span(whole), rng, 0.25, 0.0)
    rows = slice(max(0, wide[0]), min(figure.rgb.shape[0], wide[1]))
    columns = slice(max(0, wide[2]), min(figure.rgb.shape[1], wide[3]))
    part, mask = figure.rgb[rows, columns], whole[rows, columns]
    if rng.random() < 0.3:
        person = (figure.labels[rows, columns] > 0).astype(np.uint8) * 255
        soft = cv2.GaussianBlur(person, (0, 0), 1.0)
        part = alpha_blend(part, draw_ground(street, (), rng, *part.shape[:2]), soft)
    if is_recoloured:
        part = recolour(part, rng)
    part = relight(part, rng, 0.7)
    if rng.random() < 0.5:
        part, mask = part[:, ::-1], mask[:, ::-1]
    span = jitter_span(mask_span(mask), rng, 0.12, 0.06)
    return fit_on_square(degrade(np.ascontiguousarray(part), rng), span, np.ascontiguousarray(mask))


def cut_out_garment(street: StreetFigures, garment: tuple[int, int]) -> Pixels:
    """Cut a worn garment out, RGBA uint8 (h, w, 4).

    Args:
        street: The street photos.
        garment: Figure number and label number.
    """
    cv2 = import_opencv()
    mask = street.garment_mask(*garment)
    y0, y1, x0, x1 = mask_span(mask)
    alpha = cv2.GaussianBlur(cv2.erode(mask, np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    return np.dstack([street.figures[garment[0]].rgb, alpha])[y0:y1, x0:x1]


def draw_plain_ground(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw a white, grey or pale ground with a soft gradient, uint8 (height, width, 3)."""
    kind = rng.random()
    if kind < 0.45:
        tone = np.full(3, rng.uniform(235, 255))
    elif kind < 0.8:
        tone = np.full(3, rng.uniform(170, 245)) + rng.normal(0, 4, 3)
    else:
        tone = rng.uniform(40, 255, 3)
    slope = linear_slope(rng, height, width)
    ground = tone[None, None] + slope[..., None] * rng.uniform(0, 12)
    return np.clip(ground, 0, 255).astype(np.uint8)


def draw_ground(
    street: StreetFigures | None,
    floors: Sequence[Pixels],
    rng: np.random.Generator,
    height: int,
    width: int,
) -> Pixels:
    """Draw a plain ground, a piece of street, or the rim of a photo of a floor or bed."""
    cv2 = import_opencv()
    kind = rng.random()
    if kind < 0.4 or (street is None and not floors):
        return draw_plain_ground(rng, height, width)
    if street is not None and (kind < 0.7 or not floors):
        return street.draw_ground(rng, height, width)
    rgb = floors[int(rng.integers(len(floors)))]
    side = max(_MIN_GROUND_PX, int(min(rgb.shape[:2]) * rng.uniform(0.15, 0.3)))
    top = 0 if rng.random() < 0.5 else rgb.shape[0] - side
    left = 0 if rng.random() < 0.5 else rgb.shape[1] - side
    corner = rgb[max(0, top) : top + side, max(0, left) : left + side]
    return cv2.resize(corner, (width, height), interpolation=cv2.INTER_LINEAR)


def occlude(
    rgb: Pixels, mask: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.uint8]]:
    """Lay arms and strands of hair over a picture; their pixels leave the mask.

    Args:
        rgb: uint8 (height, width, 3).
        mask: uint8 (height, width), 255 for the item.
        rng: Source of randomness.

    Returns:
        Picture and mask.
    """
    cv2 = import_opencv()
    for _ in range(int(rng.integers(1, 3))):
        draw = _draw_arm if rng.random() < 0.6 else _draw_hair
        layer, tone = draw(rgb.shape[0], rgb.shape[1], rng)
        layer = cv2.GaussianBlur(layer, (0, 0), 1.0)
        flat = np.broadcast_to(tone.astype(np.uint8), rgb.shape).copy()
        rgb = alpha_blend(relight(flat, rng), rgb, layer)
        mask = (mask * (1 - layer.astype(np.float32) / 255)).astype(np.uint8)
    return rgb, mask


def _draw_arm(
    height: int, width: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the mask of an arm, uint8 (height, width), and its colour, (3,)."""
    cv2 = import_opencv()
    shoulder = int(rng.choice([rng.uniform(-0.05, 0.25), rng.uniform(0.75, 1.05)]) * width)
    points = np.array(
        [
            [shoulder, int(rng.uniform(0, 0.5) * height)],
            [
                int(shoulder + rng.normal(0, 0.12) * width),
                int(rng.uniform(0.4, 0.8) * height),
            ],
            [int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.5, 1.1) * height)],
        ]
    )
    layer = np.zeros((height, width), np.uint8)
    thickness = max(1, int(rng.uniform(0.06, 0.13) * width))
    cv2.polylines(layer, [points], False, 255, thickness, cv2.LINE_AA)
    return layer, SKIN_TONES[int(rng.integers(len(SKIN_TONES)))]


def _draw_hair(
    height: int, width: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the mask of strands of hair, uint8 (height, width), and their colour, (3,)."""
    cv2 = import_opencv()
    layer = np.zeros((height, width), np.uint8)
    parting = rng.uniform(0.1, 0.9) * width
    for _ in range(int(rng.integers(6, 20))):
        x = parting + rng.normal(0, 0.07) * width
        points = [
            [x + np.sin(t * 3 + x) * 4, t * rng.uniform(0.3, 0.4) * height]
            for t in np.linspace(0, 1, 6)
        ]
        line = np.array(points).astype(np.int32)
        cv2.polylines(layer, [line], False, 255, int(rng.uniform(2, 6)), cv2.LINE_AA)
    return layer, rng.choice([25, 60, 110, 170]) * np.array([1, 0.75, 0.5], np.float32)
