"""The frame of the pictures, and the light, shadows and colours in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wearalike.sample.sketch import Colour, MarkKind, Point, Sketch

# The size of every picture.
WIDTH_PX = 320
HEIGHT_PX = 400
# Garments are drawn so many times larger and then averaged, for smooth edges.
SUPERSAMPLING = 2


def roundness_shading(cover: Image.Image) -> np.ndarray:
    """Return the light on a garment: darker at its edges and to the right.

    Args:
        cover: The silhouette.

    Returns:
        float32 (height, width, 1), about 0.75..1.05.
    """
    small = cover.reduce(4 * SUPERSAMPLING).filter(ImageFilter.GaussianBlur(4))
    depth = (
        np.asarray(small.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC), np.float32)[
            ..., None
        ]
        / 255
    )
    light = np.linspace(1.05, 0.93, WIDTH_PX, dtype=np.float32)[None, :, None]
    return (0.76 + 0.24 * np.clip((depth - 0.4) / 0.5, 0, 1)) * light


def fold_shading(sketch: Sketch, place: Callable[[Point], Point], scale: float) -> np.ndarray:
    """Return the shadows and gleams of the folds.

    Args:
        sketch: The garment.
        place: Maps its units to pixels.
        scale: Pixels of a unit.

    Returns:
        float32 (height, width, 1), 1 where there is no fold.
    """
    soft = Image.new("L", (WIDTH_PX, HEIGHT_PX), 128)
    draw = ImageDraw.Draw(soft)
    for mark in sketch.marks:
        if mark.kind is MarkKind.FOLD:
            draw.line(
                [place(p) for p in mark.points],
                fill=round(128 * mark.tone),
                width=max(1, round(mark.width * scale)),
                joint="curve",
            )
    return np.asarray(soft.filter(ImageFilter.GaussianBlur(2.2)), np.float32)[..., None] / 128


def shadow_shading(cover: Image.Image) -> np.ndarray:
    """Return the shadow of a silhouette on the background.

    Args:
        cover: The silhouette.

    Returns:
        float32 (height, width, 1), 1 where there is no shadow.
    """
    small = Image.new("L", (WIDTH_PX // 4, HEIGHT_PX // 4))
    small.paste(cover.reduce(4 * SUPERSAMPLING), (1, 2))
    soft = small.filter(ImageFilter.GaussianBlur(2)).resize(
        (WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC
    )
    return 1 - 0.22 * np.asarray(soft, np.float32)[..., None] / 255


def shade_colour(colour: Colour, tone: float) -> Colour:
    """Return a colour darker (tone below 1) or lighter (tone above 1)."""
    r, g, b = (min(255, max(0, round(v * tone + (10 if tone > 1 else 0)))) for v in colour)
    return r, g, b


def line_colour(colour: Colour, tone: float) -> Colour:
    """Return the colour of a line: darker than the cloth, or lighter if the cloth is too dark."""
    return (
        mix_colours(colour, (255, 255, 255), (1 - tone) * 0.4)
        if max(colour) < 80 and tone < 1
        else shade_colour(colour, tone)
    )


def mix_colours(one: Colour, other: Colour, share: float) -> Colour:
    """Return a mix of two colours with a share of the second."""
    r, g, b = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return r, g, b
