"""Images to items: the garments, shoes and bags seen in a picture. One interface, `Detector`; boxes in, rows out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike import colours, pixels
from wearalike.tables import ITEMS, SuperCategory


class ItemReason(StrEnum):
    UNREADABLE = "unreadable"
    NOTHING_FOUND = "nothing_found"


@dataclass(frozen=True, slots=True)
class Box:
    """One item in a picture: int pixels, x1 and y1 outside; confidence 0..1; None where the detector names no super-category."""

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    super_category: SuperCategory | None = None


class Detector(Protocol):
    """Sees items. version: name and version, part of every item_id. side_px: longest side that it looks at."""

    version: str
    side_px: int

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        """Items of each picture, surest first. images: uint8 (height, width, 3) each; the boxes of one do not
        depend on the others."""
        ...


class Whole:
    """The whole picture is the item."""

    version = "whole-1"
    side_px = 32

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        return [[Box(0, 0, image.shape[1], image.shape[0], 1.0)] for image in images]


class Foreground:
    """What stands out from a plain ground; the whole picture, with confidence 0, where the ground is not plain."""

    version = "foreground-1"
    side_px = 128
    # A row or column belongs to the item where more than this share of it stands out: a lone speck does not.
    _line_ratio = 0.02
    _margin_ratio = 0.02

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        return [[self._box(image)] for image in images]

    def _box(self, image: NDArray[np.uint8]) -> Box:
        height, width = image.shape[:2]
        mask = colours.foreground(colours.to_lab(image))
        if mask is None:
            return Box(0, 0, width, height, 0.0)
        y0, y1 = _span(mask.mean(axis=1), self._line_ratio, self._margin_ratio)
        x0, x1 = _span(mask.mean(axis=0), self._line_ratio, self._margin_ratio)
        return Box(x0, y0, x1, y1, float(mask[y0:y1, x0:x1].mean()))


def _span(ratios: NDArray[np.float64], least: float, margin: float) -> tuple[int, int]:
    """First and behind-last line whose ratio exceeds `least`, a margin added; all of it where none does."""
    lines = np.flatnonzero(ratios > least)
    if not len(lines):
        return 0, len(ratios)
    extra = round(margin * len(ratios)) + 1
    return max(0, int(lines[0]) - extra), min(len(ratios), int(lines[-1]) + 1 + extra)


DETECTORS: dict[str, type[Whole] | type[Foreground]] = {"whole": Whole, "foreground": Foreground}
DEFAULT_DETECTOR = "foreground"

# What is kept of an image a detector has looked at: its items, or one row that says why there is none.
KEPT = pa.schema(
    [("image_id", pa.string()), *((f.name, f.type) for f in ITEMS.arrow_schema if f.name != "image_id"), ("reason", pa.string())]
)


def look(detector: Detector, image_id: str, content: bytes) -> list[dict[str, object]]:
    """Rows of KEPT for one picture: its items, boxes in pixels of the stored image after EXIF orientation.

    content: the file's bytes. A picture that cannot be read gives one row with its reason.
    """
    try:
        header = pixels.read_header(content)
        image = pixels.decode(content, max_side_px=detector.side_px)
    except pixels.BadPixels:
        return [{"image_id": image_id, "reason": ItemReason.UNREADABLE, "detector": detector.version}]
    boxes = [_scaled(b, image.shape[1], image.shape[0], header.width_px, header.height_px) for b in detector.detect([image])[0]]
    if not boxes:
        return [{"image_id": image_id, "reason": ItemReason.NOTHING_FOUND, "detector": detector.version}]
    return [
        {
            "image_id": image_id,
            "item_id": item_id(image_id, detector.version, box),
            "x0": box.x0,
            "y0": box.y0,
            "x1": box.x1,
            "y1": box.y1,
            "super_category": box.super_category,
            "confidence": box.confidence,
            "detector": detector.version,
        }
        for box in boxes
    ]


def item_id(image_id: str, version: str, box: Box) -> str:
    """The same item has the same id on every night: a hash of image, detector and box."""
    return hashlib.sha256(f"{image_id}/{version}/{box.x0},{box.y0},{box.x1},{box.y1}".encode()).hexdigest()[:32]


def _scaled(box: Box, from_width: int, from_height: int, width: int, height: int) -> Box:
    """The box on a picture of another size, grown to whole pixels."""
    x, y = width / from_width, height / from_height
    x0, y0 = int(np.floor(box.x0 * x)), int(np.floor(box.y0 * y))
    x1, y1 = min(width, int(np.ceil(box.x1 * x))), min(height, int(np.ceil(box.y1 * y)))
    return Box(x0, y0, x1, y1, box.confidence, box.super_category)
