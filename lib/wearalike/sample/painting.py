"""Paint sketches: fit them into the frame, fill them with cloth, shade them, add a background."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from wearalike.sample.background import Background, draw_background
from wearalike.sample.cloth import Cloth, Pattern, draw_cloth
from wearalike.sample.shading import (
    HEIGHT_PX,
    SUPERSAMPLING,
    WIDTH_PX,
    fold_shading,
    line_colour,
    roundness_shading,
    shade_colour,
    shadow_shading,
)
from wearalike.sample.sketch import MarkKind, Point, SeededChoices, Sketch


@dataclass(frozen=True, slots=True)
class Pose:
    """The position of a sketch in the frame.

    Attributes:
        size: 0..1 of the frame.
        dx: A shift to the right, as a share of the width.
        dy: A shift down, as a share of the height.
        angle: Degrees, clockwise.
        is_flipped: The sketch is mirrored.
    """

    size: float = 0.82
    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    is_flipped: bool = False


def encode_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as JPEG of quality 90."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def paint_garment(
    sketch: Sketch, cloth: Cloth, pose: Pose, ground: Background, dice: SeededChoices
) -> Image.Image:
    """Paint one garment.

    Args:
        sketch: The garment.
        cloth: Its cloth.
        pose: Its position.
        ground: The background.
        dice: Chooses details of the background, none of the garment.

    Returns:
        RGB, WIDTH_PX x HEIGHT_PX.
    """
    place, scale = _fit_to_frame(sketch, pose)
    flat, cover = _draw_flat(sketch, cloth, place, scale)
    mask = np.asarray(cover.reduce(SUPERSAMPLING), np.float32)[..., None] / 255
    # Black outside the garment, so its edges are already weighted by the mask.
    garment = np.asarray(flat.reduce(SUPERSAMPLING), np.float32)
    garment *= roundness_shading(cover) * fold_shading(sketch, place, scale)
    behind = np.asarray(draw_background(ground, dice), np.float32) * shadow_shading(cover)
    return Image.fromarray(np.clip(garment + behind * (1 - mask), 0, 255).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class PlacedGarment:
    """A garment on a figure.

    In the units of a figure the shoulders are about 60 from the middle, a little above y = -100.

    Attributes:
        sketch: The garment.
        cloth: Its cloth.
        x: The x of the sketch's origin on the figure.
        y: The y of the sketch's origin on the figure.
        size: One unit of the sketch, in units of the figure.
        is_flipped: The sketch is mirrored.
    """

    sketch: Sketch
    cloth: Cloth
    x: float = 0.0
    y: float = 0.0
    size: float = 1.0
    is_flipped: bool = False


# The crown and the soles, in units of a figure.
_FIGURE_Y_RANGE = (-196.0, 366.0)


def paint_outfit(
    pieces: Sequence[PlacedGarment], pose: Pose, ground: Background, dice: SeededChoices
) -> Image.Image:
    """Paint things worn together.

    Args:
        pieces: The figure and its garments, from the innermost to the outermost.
        pose: The position of the figure; only size, dx and dy count.
        ground: The background.
        dice: Chooses details of the background.

    Returns:
        RGB, WIDTH_PX x HEIGHT_PX.
    """
    crown, soles = _FIGURE_Y_RANGE
    scale = pose.size * HEIGHT_PX / (soles - crown)
    to_x = WIDTH_PX * (0.5 + pose.dx)
    to_y = HEIGHT_PX * (0.5 + pose.dy) - scale * (crown + soles) / 2

    def placer(piece: PlacedGarment) -> Callable[[Point], Point]:
        flip = -1 if piece.is_flipped else 1
        return lambda p: (
            to_x + scale * (piece.x + flip * piece.size * p[0]),
            to_y + scale * (piece.y + piece.size * p[1]),
        )

    picture = np.asarray(draw_background(ground, dice), np.float32)
    layers = [
        (p, place, *_draw_flat(p.sketch, p.cloth, place, scale * p.size))
        for p in pieces
        for place in [placer(p)]
    ]
    whole = Image.new("L", (WIDTH_PX * SUPERSAMPLING, HEIGHT_PX * SUPERSAMPLING))
    for _, _, _, cover in layers:
        whole.paste(255, mask=cover)
    picture = picture * shadow_shading(whole)
    for piece, place, flat, cover in layers:
        mask = np.asarray(cover.reduce(SUPERSAMPLING), np.float32)[..., None] / 255
        lit = (
            np.asarray(flat.reduce(SUPERSAMPLING), np.float32)
            * roundness_shading(cover)
            * fold_shading(piece.sketch, place, scale * piece.size)
        )
        picture = lit + picture * (1 - mask)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _fit_to_frame(sketch: Sketch, pose: Pose) -> tuple[Callable[[Point], Point], float]:
    """Return the map from units of the sketch to pixels, and the pixels of a unit."""
    xs = [p[0] for m in sketch.marks for p in m.points]
    ys = [p[1] for m in sketch.marks for p in m.points]
    turn, flip = math.radians(pose.angle), -1 if pose.is_flipped else 1
    cos, sin = math.cos(turn), math.sin(turn)
    width, height = max(xs) - min(xs), max(ys) - min(ys)
    scale = pose.size * min(
        WIDTH_PX / (abs(cos) * width + abs(sin) * height),
        HEIGHT_PX / (abs(sin) * width + abs(cos) * height),
    )
    mid_x, mid_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    to_x, to_y = WIDTH_PX * (0.5 + pose.dx), HEIGHT_PX * (0.5 + pose.dy)

    def place(point: Point) -> Point:
        x, y = (point[0] - mid_x) * flip * scale, (point[1] - mid_y) * scale
        return to_x + x * cos - y * sin, to_y + x * sin + y * cos

    return place, scale


def _draw_flat(
    sketch: Sketch, cloth: Cloth, place: Callable[[Point], Point], scale: float
) -> tuple[Image.Image, Image.Image]:
    """Return the garment without light on black, and its silhouette, SUPERSAMPLING times larger."""
    size = (WIDTH_PX * SUPERSAMPLING, HEIGHT_PX * SUPERSAMPLING)
    flat, cover = Image.new("RGB", size), Image.new("L", size)
    on_flat, on_cover = ImageDraw.Draw(flat), ImageDraw.Draw(cover)
    woven = None if cloth.pattern is Pattern.PLAIN else draw_cloth(cloth, place, scale)
    for mark in sketch.marks:
        points = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in map(place, mark.points)]
        tint = line_colour if mark.kind is MarkKind.LINE else shade_colour
        fill = tint(mark.colour or cloth.colour, mark.tone)
        if mark.kind is MarkKind.AREA:
            on_cover.polygon(points, fill=255)
            if woven and mark.colour is None:
                _paste_cloth(flat, woven, points, mark.tone)
            else:
                on_flat.polygon(points, fill=fill)
            on_flat.line([*points, points[0]], fill=line_colour(fill, 0.72), width=SUPERSAMPLING)
        elif mark.kind is MarkKind.LINE:
            width = max(2, round(mark.width * scale * SUPERSAMPLING))
            on_flat.line(points, fill=fill, width=width, joint="curve")
            if mark.is_solid:
                on_cover.line(points, fill=255, width=width, joint="curve")
    # Seams and outlines may extend beyond the silhouette.
    flat.paste(0, mask=ImageChops.invert(cover))
    return flat, cover


def _paste_cloth(
    flat: Image.Image, woven: Image.Image, points: Sequence[Point], tone: float
) -> None:
    """Fill an outline with patterned cloth."""
    shape = Image.new("L", flat.size)
    ImageDraw.Draw(shape).polygon(points, fill=255)
    if tone != 1:
        woven = woven.point([min(255, round(v * tone)) for v in range(256)] * 3)
    flat.paste(woven, (0, 0), shape)
