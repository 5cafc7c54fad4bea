"""Draw cloth and its patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from PIL import Image, ImageDraw

from wearalike.sample.shading import (
    HEIGHT_PX,
    SUPERSAMPLING,
    WIDTH_PX,
    mix_colours,
    shade_colour,
)
from wearalike.sample.sketch import Colour, Point


class Pattern(StrEnum):
    """The patterns of cloth."""

    PLAIN = "plain"
    STRIPED = "striped"
    DOTTED = "dotted"
    CHECKED = "checked"
    KNIT = "knit"
    DENIM = "denim"


@dataclass(frozen=True, slots=True)
class Cloth:
    """The cloth of a garment.

    Attributes:
        colour: RGB.
        pattern: Its pattern.
        pattern_colour: The colour of stripes, dots and checks.
    """

    colour: Colour
    pattern: Pattern = Pattern.PLAIN
    pattern_colour: Colour = (255, 255, 255)


def draw_cloth(cloth: Cloth, place: Callable[[Point], Point], scale: float) -> Image.Image:
    """Return a sheet of cloth with its pattern, turned and scaled like the garment."""
    sheet = Image.new("RGB", (WIDTH_PX * SUPERSAMPLING, HEIGHT_PX * SUPERSAMPLING), cloth.colour)
    draw = ImageDraw.Draw(sheet)

    def line(a: Point, b: Point, colour: Colour, width: float) -> None:
        ends = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in (place(a), place(b))]
        draw.line(ends, fill=colour, width=max(1, round(width * scale * SUPERSAMPLING)))

    steps = range(-260, 341)
    match cloth.pattern:
        case Pattern.STRIPED:
            for y in steps[::16]:
                line((-260, y), (260, y), cloth.pattern_colour, 6)
        case Pattern.CHECKED:
            middle = mix_colours(cloth.colour, cloth.pattern_colour, 0.5)
            for at in steps[::26]:
                line((at, -260), (at, 340), middle, 12)
            for at in steps[::26]:
                line((-260, at), (260, at), middle, 12)
                line((-260, at), (260, at), cloth.pattern_colour, 2)
                line((at, -260), (at, 340), cloth.pattern_colour, 2)
        case Pattern.DOTTED:
            for row, y in enumerate(steps[::14]):
                for x in steps[7 * (row % 2) :: 14]:
                    u, v = place((x, y))
                    draw.circle(
                        (u * SUPERSAMPLING, v * SUPERSAMPLING),
                        3.4 * scale * SUPERSAMPLING,
                        fill=cloth.pattern_colour,
                    )
        case Pattern.KNIT:
            for y in steps[::6]:
                line((-260, y), (260, y), shade_colour(cloth.colour, 0.9), 1.6)
            for x in steps[::9]:
                line((x, -260), (x, 340), shade_colour(cloth.colour, 0.94), 1.4)
        case Pattern.DENIM:
            for x in range(-560, 600, 5):
                line((x, -260), (x + 300, 340), shade_colour(cloth.colour, 1.12), 1.1)
    return sheet
