"""Sketches to pictures: fits a sketch into the frame, fills it with cloth, shades it, lays it on a ground."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from wearalike.sample.sketch import Colour, MarkKind, Point, SeededChoices, Sketch

WIDTH_PX, HEIGHT_PX = 320, 400
_SUPERSAMPLING = 2  # drawn this many times larger, then averaged: smooth edges


class Pattern(StrEnum):
    PLAIN = "plain"
    STRIPED = "striped"
    DOTTED = "dotted"
    CHECKED = "checked"
    KNIT = "knit"
    DENIM = "denim"


class Background(StrEnum):
    WHITE = "white"
    TINTED = "tinted"
    STRIPES = "stripes"
    FOLIAGE = "foliage"
    TILES = "tiles"


@dataclass(frozen=True, slots=True)
class Cloth:
    colour: Colour
    pattern: Pattern = Pattern.PLAIN
    pattern_colour: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Pose:
    """How a sketch lies in the frame. size: 0..1 of the frame; dx, dy: ratio of the frame; angle in degrees, clockwise."""

    size: float = 0.82
    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    is_flipped: bool = False


def encode_jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def paint_garment(
    sketch: Sketch, cloth: Cloth, pose: Pose, ground: Background, dice: SeededChoices
) -> Image.Image:
    """The picture, RGB, WIDTH_PX x HEIGHT_PX. dice settles the ground's details and nothing of the garment."""
    place, scale = _fit_to_frame(sketch, pose)
    flat, cover = _draw_flat(sketch, cloth, place, scale)
    mask = np.asarray(cover.reduce(_SUPERSAMPLING), np.float32)[..., None] / 255
    garment = np.asarray(
        flat.reduce(_SUPERSAMPLING), np.float32
    )  # black outside, so edges already carry their share
    garment *= _roundness_shading(cover) * _fold_shading(sketch, place, scale)
    behind = np.asarray(_draw_background(ground, dice), np.float32) * _shadow_shading(cover)
    return Image.fromarray(np.clip(garment + behind * (1 - mask), 0, 255).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class PlacedGarment:
    """A garment on a figure. x, y: where the sketch's origin lies in the figure's units (sketch.py: shoulders about 60 from the
    middle, a little above y = -100); size: of a unit of the sketch in those of the figure."""

    sketch: Sketch
    cloth: Cloth
    x: float = 0.0
    y: float = 0.0
    size: float = 1.0
    is_flipped: bool = False


# From the crown to the soles, in a figure's units.
_FIGURE_Y_RANGE = (-196.0, 366.0)


def paint_outfit(
    pieces: Sequence[PlacedGarment], pose: Pose, ground: Background, dice: SeededChoices
) -> Image.Image:
    """The picture of things worn together, from the innermost to the outermost; size, dx and dy of the pose are of the figure."""
    crown, soles = _FIGURE_Y_RANGE
    scale = pose.size * HEIGHT_PX / (soles - crown)
    to_x, to_y = (
        WIDTH_PX * (0.5 + pose.dx),
        HEIGHT_PX * (0.5 + pose.dy) - scale * (crown + soles) / 2,
    )

    def placer(piece: PlacedGarment) -> Callable[[Point], Point]:
        flip = -1 if piece.is_flipped else 1
        return lambda p: (
            to_x + scale * (piece.x + flip * piece.size * p[0]),
            to_y + scale * (piece.y + piece.size * p[1]),
        )

    picture = np.asarray(_draw_background(ground, dice), np.float32)
    layers = [
        (p, place, *_draw_flat(p.sketch, p.cloth, place, scale * p.size))
        for p in pieces
        for place in [placer(p)]
    ]
    whole = Image.new("L", (WIDTH_PX * _SUPERSAMPLING, HEIGHT_PX * _SUPERSAMPLING))
    for _, _, _, cover in layers:
        whole.paste(255, mask=cover)
    picture = picture * _shadow_shading(whole)
    for piece, place, flat, cover in layers:
        mask = np.asarray(cover.reduce(_SUPERSAMPLING), np.float32)[..., None] / 255
        lit = (
            np.asarray(flat.reduce(_SUPERSAMPLING), np.float32)
            * _roundness_shading(cover)
            * _fold_shading(piece.sketch, place, scale * piece.size)
        )
        picture = lit + picture * (1 - mask)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _fit_to_frame(sketch: Sketch, pose: Pose) -> tuple[Callable[[Point], Point], float]:
    """From the sketch's units to the frame's pixels, and how many pixels a unit is."""
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
    """The garment without light, on black, and its silhouette, both _OVER times the frame."""
    size = (WIDTH_PX * _SUPERSAMPLING, HEIGHT_PX * _SUPERSAMPLING)
    flat, cover = Image.new("RGB", size), Image.new("L", size)
    on_flat, on_cover = ImageDraw.Draw(flat), ImageDraw.Draw(cover)
    woven = None if cloth.pattern is Pattern.PLAIN else _draw_cloth(cloth, place, scale)
    for mark in sketch.marks:
        points = [(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in map(place, mark.points)]
        fill = (_line_colour if mark.kind is MarkKind.LINE else _shade_colour)(
            mark.colour or cloth.colour, mark.tone
        )
        if mark.kind is MarkKind.AREA:
            on_cover.polygon(points, fill=255)
            if woven and mark.colour is None:
                _paste_cloth(flat, woven, points, mark.tone)
            else:
                on_flat.polygon(points, fill=fill)
            on_flat.line([*points, points[0]], fill=_line_colour(fill, 0.72), width=_SUPERSAMPLING)
        elif mark.kind is MarkKind.LINE:
            width = max(2, round(mark.width * scale * _SUPERSAMPLING))
            on_flat.line(points, fill=fill, width=width, joint="curve")
            if mark.is_solid:
                on_cover.line(points, fill=255, width=width, joint="curve")
    flat.paste(
        0, mask=ImageChops.invert(cover)
    )  # what seams and outlines painted beyond the silhouette
    return flat, cover


def _paste_cloth(
    flat: Image.Image, woven: Image.Image, points: Sequence[Point], tone: float
) -> None:
    shape = Image.new("L", flat.size)
    ImageDraw.Draw(shape).polygon(points, fill=255)
    flat.paste(
        woven if tone == 1 else woven.point([min(255, round(v * tone)) for v in range(256)] * 3),
        (0, 0),
        shape,
    )


def _draw_cloth(cloth: Cloth, place: Callable[[Point], Point], scale: float) -> Image.Image:
    """Cloth with its pattern, turned and scaled as the garment is."""
    sheet = Image.new("RGB", (WIDTH_PX * _SUPERSAMPLING, HEIGHT_PX * _SUPERSAMPLING), cloth.colour)
    draw = ImageDraw.Draw(sheet)

    def line(a: Point, b: Point, colour: Colour, width: float) -> None:
        ends = [(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in (place(a), place(b))]
        draw.line(ends, fill=colour, width=max(1, round(width * scale * _SUPERSAMPLING)))

    steps = range(-260, 341)
    match cloth.pattern:
        case Pattern.STRIPED:
            for y in steps[::16]:
                line((-260, y), (260, y), cloth.pattern_colour, 6)
        case Pattern.CHECKED:
            middle = _mix_colours(cloth.colour, cloth.pattern_colour, 0.5)
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
                        (u * _SUPERSAMPLING, v * _SUPERSAMPLING),
                        3.4 * scale * _SUPERSAMPLING,
                        fill=cloth.pattern_colour,
                    )
        case Pattern.KNIT:
            for y in steps[::6]:
                line((-260, y), (260, y), _shade_colour(cloth.colour, 0.9), 1.6)
            for x in steps[::9]:
                line((x, -260), (x, 340), _shade_colour(cloth.colour, 0.94), 1.4)
        case Pattern.DENIM:
            for x in range(-560, 600, 5):
                line((x, -260), (x + 300, 340), _shade_colour(cloth.colour, 1.12), 1.1)
    return sheet


def _roundness_shading(cover: Image.Image) -> np.ndarray:
    """(h, w, 1) float32 about 0.75..1.05: darker towards the edges and to the right, as if lit from the left."""
    small = cover.reduce(4 * _SUPERSAMPLING).filter(ImageFilter.GaussianBlur(4))
    depth = (
        np.asarray(small.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC), np.float32)[
            ..., None
        ]
        / 255
    )
    light = np.linspace(1.05, 0.93, WIDTH_PX, dtype=np.float32)[None, :, None]
    return (0.76 + 0.24 * np.clip((depth - 0.4) / 0.5, 0, 1)) * light


def _fold_shading(sketch: Sketch, place: Callable[[Point], Point], scale: float) -> np.ndarray:
    """(h, w, 1) float32, 1 where there is no fold."""
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


def _shadow_shading(cover: Image.Image) -> np.ndarray:
    """(h, w, 1) float32, 1 where no shadow falls."""
    small = Image.new("L", (WIDTH_PX // 4, HEIGHT_PX // 4))
    small.paste(cover.reduce(4 * _SUPERSAMPLING), (1, 2))
    soft = small.filter(ImageFilter.GaussianBlur(2)).resize(
        (WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC
    )
    return 1 - 0.22 * np.asarray(soft, np.float32)[..., None] / 255


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


def _draw_background(ground: Background, dice: SeededChoices) -> Image.Image:
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
                        fill=_shade_colour(dark, tone),
                    )
        case Background.FOLIAGE:
            for leaf in range(70):
                _draw_leaf(
                    draw,
                    dice,
                    leaf,
                    _shade_colour(dark, 0.8 + 0.35 * dice.fraction("leaf tone", leaf)),
                )
    return scene.filter(ImageFilter.GaussianBlur(0.8))


def _draw_leaf(draw: ImageDraw.ImageDraw, dice: SeededChoices, leaf: int, colour: Colour) -> None:
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
    draw.line([at(0, 0), at(long, 0)], fill=_shade_colour(colour, 0.85))


def _shade_colour(colour: Colour, tone: float) -> Colour:
    r, g, b = (min(255, max(0, round(v * tone + (10 if tone > 1 else 0)))) for v in colour)
    return r, g, b


def _line_colour(colour: Colour, tone: float) -> Colour:
    """A line's colour: darker than the cloth, or lighter where the cloth is too dark to show it."""
    return (
        _mix_colours(colour, (255, 255, 255), (1 - tone) * 0.4)
        if max(colour) < 80 and tone < 1
        else _shade_colour(colour, tone)
    )


def _mix_colours(one: Colour, other: Colour, share: float) -> Colour:
    r, g, b = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return r, g, b
