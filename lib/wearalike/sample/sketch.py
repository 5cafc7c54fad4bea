"""What a garment is drawn with: outlines of points in its own units, and choices that follow from a name.

x goes right, y goes down; the painter fits whatever was drawn into the picture, so units only matter
relative to each other (a shoulder lies about 60 units from the middle).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

Point = tuple[float, float]
Colour = tuple[int, int, int]
# (x, y): a straight line there. (cx, cy, x, y), (c1x, c1y, c2x, c2y, x, y): a Bézier curve there.
PathStep = tuple[float, ...]
# Bernstein polynomials at ten points of a curve, its end included.
_TIMES = [i / 10 for i in range(1, 11)]
_QUADRATIC = [((1 - t) ** 2, 2 * t * (1 - t), t**2) for t in _TIMES]
_CUBIC = [((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3) for t in _TIMES]
_T = TypeVar("_T")


class SeededChoices:
    """Choices that follow from words alone: the same words choose the same on every machine and in any order."""

    def __init__(self, *words: object) -> None:
        self.words = words

    def fraction(self, *about: object) -> float:
        """0..1, 1 left out."""
        text = "/".join(map(str, (*self.words, *about)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48

    def between(self, about: str, low: float, high: float) -> float:
        return low + (high - low) * self.fraction(about)

    def choose(self, about: str, options: Sequence[_T]) -> _T:
        return options[int(self.fraction(about) * len(options))]

    def happens(self, about: str, probability: float) -> bool:
        return self.fraction(about) < probability


class MarkKind(Enum):
    AREA = auto()
    LINE = auto()
    FOLD = auto()


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing drawn. colour None is the cloth with its pattern; tone makes it darker (< 1) or lighter (> 1).

    LINE lies on what is there; a `solid` one (a strap, a handle) is part of the garment's silhouette.
    FOLD is a soft shadow (tone < 1) or gleam (tone > 1). width in the garment's units.
    """

    kind: MarkKind
    points: tuple[Point, ...]
    tone: float = 1.0
    colour: Colour | None = None
    width: float = 0.0
    is_solid: bool = False


@dataclass
class Sketch:
    """The marks of one garment, in the order they are painted. Where `both` is true, a mirror image is drawn too."""

    marks: list[Mark] = field(default_factory=list)

    def area(
        self,
        points: Sequence[Point],
        tone: float = 1.0,
        colour: Colour | None = None,
        both: bool = False,
    ) -> None:
        self._add(Mark(MarkKind.AREA, tuple(points), tone, colour), both)

    def line(
        self,
        *steps: PathStep,
        tone: float = 0.68,
        colour: Colour | None = None,
        width: float = 1.2,
        solid: bool = False,
        both: bool = False,
    ) -> None:
        self._add(Mark(MarkKind.LINE, tuple(curve(*steps)), tone, colour, width, solid), both)

    def fold(
        self, *steps: PathStep, tone: float = 0.8, width: float = 5.0, both: bool = False
    ) -> None:
        self._add(Mark(MarkKind.FOLD, tuple(curve(*steps)), tone, None, width), both)

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        tone: float = 1.0,
        colour: Colour | None = None,
        both: bool = False,
    ) -> None:
        self.area(ellipse(x, y, radius, radius), tone, colour, both)

    def _add(self, mark: Mark, both: bool) -> None:
        self.marks.append(mark)
        if both:
            mirror = tuple((-x, y) for x, y in mark.points)
            self.marks.append(
                Mark(mark.kind, mirror, mark.tone, mark.colour, mark.width, mark.is_solid)
            )


def curve(*steps: PathStep) -> list[Point]:
    """Points along the steps, the first of which is a point. Raises ValueError for a step of another length."""
    points: list[Point] = [(steps[0][0], steps[0][1])]
    for step in steps[1:]:
        x0, y0 = points[-1]
        if len(step) == 2:
            points.append((step[0], step[1]))
        elif len(step) == 4:
            x1, y1, x2, y2 = step
            points += [
                (a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2) for a, b, c in _QUADRATIC
            ]
        elif len(step) == 6:
            x1, y1, x2, y2, x3, y3 = step
            points += [
                (a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3)
                for a, b, c, d in _CUBIC
            ]
        else:
            raise ValueError(f"step {step}: wanted 2, 4 or 6 numbers")
    return points


def mirror_outline(*steps: PathStep) -> list[Point]:
    """A closed outline from its right half, drawn from the top down."""
    half = curve(*steps)
    return half + [(-x, y) for x, y in reversed(half)]


def ellipse(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """A closed outline of four Bézier quarters."""
    k = 0.5523
    return curve(
        (x, y - ry),
        (x + k * rx, y - ry, x + rx, y - k * ry, x + rx, y),
        (x + rx, y + k * ry, x + k * rx, y + ry, x, y + ry),
        (x - k * rx, y + ry, x - rx, y + k * ry, x - rx, y),
        (x - rx, y - k * ry, x - k * rx, y - ry, x, y - ry),
    )


def rounded_box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> list[Point]:
    """A closed rectangle with corners rounded by r."""
    return curve(
        (x0 + r, y0),
        (x1 - r, y0),
        (x1, y0, x1, y0 + r),
        (x1, y1 - r),
        (x1, y1, x1 - r, y1),
        (x0 + r, y1),
        (x0, y1, x0, y1 - r),
        (x0, y0 + r),
        (x0, y0, x0 + r, y0),
    )
