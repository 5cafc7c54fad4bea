"""Masks of COCO's `segmentation`: polygons, and run-length encodings in both spellings.

Read by our own code and not by pycocotools: that is C code which trusts the lengths in a file, and
label files come from strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wearalike.datasets.formats.record import BadLabels, short_repr

MIN_POLYGON_NUMBERS = 6
# pycocotools writes each run in characters of six bits from "0" on: five of the number, and one
# that says that more follow.
_FIRST_CHARACTER = 48
_MORE_BIT, _SIGN_BIT, _DIGIT_BITS = 32, 16, 5
_MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ObjectMask:
    """The pixels of an object.

    Attributes:
        width_px: Width of the picture.
        height_px: Height of the picture.
        polygons: Corners in px, x and y in turn; a pixel inside any of them belongs to the object.
        runs: Lengths of runs outside and inside the object in turn, down the columns; None for
            polygons.
    """

    width_px: int
    height_px: int
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] | None = None

    def to_array(self) -> NDArray[np.bool_]:
        """Return the mask, bool (height_px, width_px)."""
        if self.runs is not None:
            is_inside = np.arange(len(self.runs)) % 2 == 1
            column_wise = np.repeat(is_inside, self.runs)
            return column_wise.reshape(self.width_px, self.height_px).T
        image = Image.new("1", (self.width_px, self.height_px))
        draw = ImageDraw.Draw(image)
        for polygon in self.polygons:
            # A corner at x lies on the left rim of pixel x, and Pillow draws through the middles.
            corners = np.array(polygon).reshape(-1, 2) - 0.5
            draw.polygon([(float(x), float(y)) for x, y in corners], fill=1)
        return np.asarray(image)

    def corners(self) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 of the smallest box around it, in px.

        Raises:
            BadLabels: No pixel is inside.
        """
        if self.polygons:
            points = np.concatenate([np.array(p).reshape(-1, 2) for p in self.polygons])
            (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
            return x0, y0, x1, y1
        rows, columns = np.nonzero(self.to_array())
        if not len(rows):
            raise BadLabels("segmentation: no pixel is inside")
        return (
            float(columns.min()),
            float(rows.min()),
            float(columns.max() + 1),
            float(rows.max() + 1),
        )


def parse_segmentation(value: Any, width_px: int, height_px: int) -> ObjectMask | None:
    """Return the mask that a `segmentation` says; None for an empty one.

    Args:
        value: Polygons (a list of lists), or an object with `counts` and `size`.
        width_px: Width of the picture.
        height_px: Height of the picture.

    Raises:
        BadLabels: The value is neither, or does not fit the picture.
    """
    if value in (None, [], {}, [[]]):
        return None
    if isinstance(value, dict):
        runs = _parse_runs(value, width_px, height_px)
        return ObjectMask(width_px, height_px, runs=tuple(runs))
    if not isinstance(value, list):
        raise BadLabels(f"segmentation: wanted polygons or counts, got {short_repr(value)}")
    polygons = value if isinstance(value[0], list) else [value]
    for polygon in polygons:
        is_polygon = (
            isinstance(polygon, list)
            and len(polygon) % 2 == 0
            and all(_is_coordinate(number) for number in polygon)
        )
        if not is_polygon:
            raise BadLabels(
                f"segmentation: wanted x and y of corners in px, got {short_repr(polygon)}"
            )
    # Points and lines, which tools leave behind, have no area.
    areas = tuple(tuple(map(float, p)) for p in polygons if len(p) >= MIN_POLYGON_NUMBERS)
    return ObjectMask(width_px, height_px, areas) if areas else None


def _is_coordinate(value: Any) -> bool:
    """Return True for a number that a corner may have."""
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < 1e9


def _parse_runs(value: dict[str, Any], width_px: int, height_px: int) -> list[int]:
    """Return the lengths of the runs of an encoding. Raise BadLabels."""
    if value.get("size") != [height_px, width_px]:
        raise BadLabels(
            f"segmentation: size {short_repr(value.get('size'))}, "
            f"wanted [{height_px}, {width_px}], height first"
        )
    counts = value.get("counts")
    if isinstance(counts, str):
        runs = _decode_counts(counts)
    elif isinstance(counts, list) and all(
        _is_coordinate(run) and run == int(run) for run in counts
    ):
        runs = [int(run) for run in counts]
    else:
        raise BadLabels(f"segmentation: counts: wanted numbers or text, got {short_repr(counts)}")
    if any(run < 0 for run in runs) or sum(runs) != width_px * height_px:
        raise BadLabels(
            f"segmentation: counts of {sum(runs):,} pixels, wanted {width_px * height_px:,}, "
            "none below 0"
        )
    return runs


def _decode_counts(text: str) -> list[int]:
    """Return the lengths that pycocotools' text says: numbers, from the third on as differences."""
    numbers: list[int] = []
    value = digit_count = 0
    for character in text:
        code = ord(character) - _FIRST_CHARACTER
        if not 0 <= code < 2 * _MORE_BIT or digit_count == _MAX_DIGITS:
            raise BadLabels(f"segmentation: counts: not a run-length encoding: {short_repr(text)}")
        value |= (code & (_MORE_BIT - 1)) << (_DIGIT_BITS * digit_count)
        digit_count += 1
        if code & _MORE_BIT:
            continue
        if code & _SIGN_BIT:
            value |= -1 << (_DIGIT_BITS * digit_count)
        numbers.append(value)
        value = digit_count = 0
    if digit_count:
        raise BadLabels("segmentation: counts: ends within a number")
    return _undo_differences(numbers)


def _undo_differences(numbers: Sequence[int]) -> list[int]:
    """Return numbers of which each from the third on said its difference to the last but one."""
    runs = list(numbers[:3])
    for number in numbers[3:]:
        runs.append(number + runs[-2])
    return runs
