"""Draw garments as outlines of points, and choose details that follow from a name.

x goes right and y goes down. The painter fits the sketch into the picture. So the units matter only
relative to each other: a shoulder is about 60 units from the middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

Point = tuple[float, float]
Colour = tuple[int, int, int]
# (x, y): a straight line to that point. (cx, cy, x, y) and (c1x, c1y, c2x, c2y, x, y): a Bézier
# curve to (x, y) with one or two control points.
PathStep = tuple[float, ...]
# Bernstein polynomials at ten points of a curve, the end included.
_TIMES = [i / 10 for i in range(1, 11)]
_QUADRATIC = [((1 - t) ** 2, 2 * t * (1 - t), t**2) for t in _TIMES]
_CUBIC = [((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3) for t in _TIMES]
_T = TypeVar("_T")


class SeededChoices:
    """Choices that follow from words alone.

    The same words choose the same on every machine, in any order of the calls.
    """

    def __init__(self, *words: object) -> None:
        self.words = words

    def fraction(self, *about: object) -> float:
        """Return a number from 0 to below 1 that follows from the words."""
        text = "/".join(map(str, (*self.words, *about)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48

    def between(self, about: str, low: float, high: float) -> float:
        """Return a number between two others."""
        return low + (high - low) * self.fraction(about)

    def choose(self, about: str, options: Sequence[_T]) -> _T:
        """Return one of the options."""
        return options[int(self.fraction(about) * len(options))]

    def happens(self, about: str, probability: float) -> bool:
        """Return True with a probability of 0..1."""
        return self.fraction(about) < probability


class MarkKind(Enum):
    """The ways to paint a mark."""

    AREA = auto()
    LINE = auto()
    FOLD = auto()


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing drawn.

    Attributes:
        kind: AREA is filled, LINE lies on top, FOLD is a soft shadow or gleam.
        points: The outline, or the points of the line.
        tone: Darker below 1, lighter above 1.
        colour: The colour; None for the cloth with its pattern.
        width: The width of a line or fold, in units of the garment.
        is_solid: A line such as a strap or handle belongs to the silhouette.
    """

    kind: MarkKind
    points: tuple[Point, ...]
    tone: float = 1.0
    colour: Colour | None = None
    width: float = 0.0
    is_solid: bool = False


@dataclass
class Sketch:
    """The marks of one garment, in the order of painting.

    Each method adds a mark, with `both` also its mirror image.
    """

    marks: list[Mark] = field(default_factory=list)

    def area(
        self,
        points: Sequence[Point],
        tone: float = 1.0,
        colour: Colour | None = None,
        both: bool = False,
    ) -> None:
        """Add a filled outline."""
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
        """Add a line along steps."""
        self._add(Mark(MarkKind.LINE, tuple(curve(*steps)), tone, colour, width, solid), both)

    def fold(
        self, *steps: PathStep, tone: float = 0.8, width: float = 5.0, both: bool = False
    ) -> None:
        """Add a soft shadow (tone below 1) or gleam (tone above 1) along steps."""
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
        """Add a filled circle."""
        self.area(ellipse(x, y, radius, radius), tone, colour, both)

    def _add(self, mark: Mark, both: bool) -> None:
        """Add a mark, and its mirror image if `both`."""
        self.marks.append(mark)
        if both:
            mirror = tuple((-x, y) for x, y in mark.points)
            self.marks.append(
                Mark(mark.kind, mirror, mark.tone, mark.colour, mark.width, mark.is_solid)
            )


def curve(*steps: PathStep) -> list[Point]:
    """Return points along steps.

    Args:
        steps: PathSteps; the first is a point.

    Raises:
        ValueError: A step does not have 2, 4 or 6 numbers.
    """
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
    """Return a closed outline from its right half, drawn from the top down."""
    half = curve(*steps)
    return half + [(-x, y) for x, y in reversed(half)]


def ellipse(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """Return a closed outline of four Bézier quarters."""
    k = 0.5523  # the control points that come closest to a circle
    return curve(
        (x, y - ry),
        (x + k * rx, y - ry, x + rx, y - k * ry, x + rx, y),
        (x + rx, y + k * ry, x + k * rx, y + ry, x, y + ry),
        (x - k * rx, y + ry, x - rx, y + k * ry, x - rx, y),
        (x - rx, y - k * ry, x - k * rx, y - ry, x, y - ry),
    )


def rounded_box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> list[Point]:
    """Return a closed rectangle with corners rounded by r."""
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
