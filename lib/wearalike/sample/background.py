"""Draw the backgrounds of pictures."""

from __future__ import annotations

import math
from enum import StrEnum

from PIL import Image, ImageDraw, ImageFilter

from wearalike.sample.shading import (
    HEIGHT_PX,
    WIDTH_PX,
    shade_colour,
)
from wearalike.sample.sketch import Colour, Point, SeededChoices


class Background(StrEnum):
    """The grounds of pictures."""

    WHITE = "white"
    TINTED = "tinted"
    STRIPES = "stripes"
    FOLIAGE = "foliage"
    TILES = "tiles"


# The colours of plain tinted backgrounds, and the (light, dark) pairs of the others.
_TINT_COLOURS: tuple[Colour, ...] = (
    (236, 233, 228),
    (226, 232, 236),
    (240, 230, 226),
    (228, 234, 226),
    (216, 216, 220),
)


_SCENE_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((222, 214, 200), (196, 184, 166)),
    ((204, 216, 220), (170, 188, 196)),
    ((226, 206, 202), (204, 176, 172)),
    ((208, 216, 196), (168, 184, 152)),
)


def draw_background(ground: Background, dice: SeededChoices) -> Image.Image:
    """Return a background, RGB, WIDTH_PX x HEIGHT_PX; the dice choose its details."""
    if ground is Background.WHITE:
        return Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (255, 255, 255))
    if ground is Background.TINTED:
        return Image.new("RGB", (WIDTH_PX, HEIGHT_PX), dice.choose("tint", _TINT_COLOURS))
    light, dark = dice.choose("scene", _SCENE_COLOURS)
    scene = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), light)
    draw = ImageDraw.Draw(scene)
    match ground:
        case Background.STRIPES:
            slant, step = dice.between("slant", -120, 120), round(dice.between("step", 26, 44))
            for x in range(-160, WIDTH_PX + 160, step):
                draw.line([(x, 0), (x + slant, HEIGHT_PX)], fill=dark, width=step // 2)
        case Background.TILES:
            step = round(dice.between("step", 44, 70))
            for row, y in enumerate(range(0, HEIGHT_PX, step // 2)):
                for x in range(-step + step // 2 * (row % 2), WIDTH_PX, step):
                    tone = 0.94 + 0.1 * dice.fraction("tile", x, y)
                    draw.rectangle(
                        [x + 2, y + 2, x + step - 1, y + step // 2 - 1],
                        fill=shade_colour(dark, tone),
                    )
        case Background.FOLIAGE:
            for leaf in range(70):
                _draw_leaf(
                    draw,
                    dice,
                    leaf,
                    shade_colour(dark, 0.8 + 0.35 * dice.fraction("leaf tone", leaf)),
                )
    return scene.filter(ImageFilter.GaussianBlur(0.8))


def _draw_leaf(draw: ImageDraw.ImageDraw, dice: SeededChoices, leaf: int, colour: Colour) -> None:
    """Draw one leaf of the foliage."""
    x, y = WIDTH_PX * dice.fraction("x", leaf), HEIGHT_PX * dice.fraction("y", leaf)
    turn, long = 2 * math.pi * dice.fraction("turn", leaf), 24 + 34 * dice.fraction("long", leaf)
    cos, sin = math.cos(turn), math.sin(turn)

    def at(u: float, v: float) -> Point:
        return x + u * cos - v * sin, y + u * sin + v * cos

    side = [(t / 6, 0.22 * math.sin(math.pi * t / 6)) for t in range(7)]
    draw.polygon(
        [at(long * u, long * v) for u, v in side]
        + [at(long * u, -long * v) for u, v in reversed(side)],
        fill=colour,
    )
    draw.line([at(0, 0), at(long, 0)], fill=shade_colour(colour, 0.85))
