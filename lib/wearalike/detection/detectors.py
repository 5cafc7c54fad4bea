"""Detectors of items in pictures: the whole picture, its foreground, or a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wearalike.detection.classes import GARMENT_CLASS_BY_NAME
from wearalike.detection.networks import base, postprocess
from wearalike.detection.networks import registry as networks
from wearalike.imaging import colour, decode
from wearalike.metrics import colour_space
from wearalike.models.files import BadModel, Model
from wearalike.tables import SuperCategory

# Below this confidence wrong items outnumber right ones, where nothing else is known of a picture.
MIN_CONFIDENCE = 0.3
# Down to this confidence the best item of a super-category is kept if there is no surer one of it:
# the picture of a product shows its super-category, so the question is only where.
MIN_EXPECTED_CONFIDENCE = 0.05


@dataclass(frozen=True, slots=True)
class Box:
    """One item in a picture.

    Attributes:
        x0: Left edge in px.
        y0: Top edge in px.
        x1: Right edge in px, outside the item.
        y1: Bottom edge in px, outside the item.
        confidence: 0..1.
        super_category: None if the detector names none.
        class_name: The garment class; None if the detector names none.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    super_category: SuperCategory | None = None
    class_name: str | None = None


class Detector(Protocol):
    """Finds items in pictures.

    Attributes:
        version: Name and version; it is part of every item_id.
        side_px: Longest side of a picture that makes a difference; larger ones may be scaled down.
    """

    version: str
    side_px: int

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        """Return the items of each picture; those of one do not depend on the others.

        Args:
            images: uint8 (height, width, 3) RGB each.

        Returns:
            Boxes by falling confidence; those without a super-category come last.
        """
        ...


class WholeImageDetector:
    """Takes the whole picture as the item."""

    version = "whole-1"
    side_px = 32

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        """Return one box for each picture, see Detector."""
        return [[Box(0, 0, image.shape[1], image.shape[0], 1.0)] for image in images]


class ForegroundDetector:
    """Takes the foreground of a plain background as the item.

    Without a plain background the item is the whole picture, with confidence 0.
    """

    version = "foreground-1"
    side_px = 128
    # A row or column belongs to the item if a greater share of it is foreground, so that lone
    # specks do not count.
    _min_line_ratio = 0.02
    # The box grows by this share of the picture's side.
    _margin_ratio = 0.02

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        """Return one box for each picture, see Detector."""
        return [[self._box(image)] for image in images]

    def _box(self, image: NDArray[np.uint8]) -> Box:
        """Return the box of the foreground; confidence is the share of foreground in it."""
        height, width = image.shape[:2]
        mask = colour.foreground_mask(colour_space.rgb_to_lab(image))
        if mask is None:
            return Box(0, 0, width, height, 0.0)
        y0, y1 = _span(mask.mean(axis=1), self._min_line_ratio, self._margin_ratio)
        x0, x1 = _span(mask.mean(axis=0), self._min_line_ratio, self._margin_ratio)
        return Box(x0, y0, x1, y1, float(mask[y0:y1, x0:x1].mean()))


def _span(ratios: NDArray[np.float64], min_ratio: float, margin: float) -> tuple[int, int]:
    """Return the first line above `min_ratio` and the one after the last, with a margin.

    All lines, if none is above it.
    """
    lines = np.flatnonzero(ratios > min_ratio)
    if not len(lines):
        return 0, len(ratios)
    extra = round(margin * len(ratios)) + 1
    return max(0, int(lines[0]) - extra), min(len(ratios), int(lines[-1]) + 1 + extra)


class NetworkDetector:
    """Detects garments with a trained network.

    Boxes of at least MIN_CONFIDENCE come first. Then come unsure ones, at most one for each other
    super-category: they may stand for a product that is known to be of it, and for nothing else.
    The last box is that of the foreground, without a super-category. It stands for a product whose
    own item the network misses.
    """

    def __init__(self, model: Model, device: str = "cpu", root: Path | None = None) -> None:
        """Load the network.

        Args:
            model: A detector's model file.
            device: "cpu" or "cuda".
            root: The data folder, which keeps the converted network for the next job.

        Raises:
            BadModel: The architecture, a tensor or a class is not one of ours.
        """
        if unknown := [name for name in model.classes if name not in GARMENT_CLASS_BY_NAME]:
            known = ", ".join(GARMENT_CLASS_BY_NAME)
            raise BadModel(f"detector {model.version}: class {unknown[0]!r}, known are {known}")
        self.version = model.version
        self._network = networks.load_detection_network(model, device, root)
        self.side_px = self._network.side_px
        self._class_names = list(model.classes)
        self._super_categories = [
            GARMENT_CLASS_BY_NAME[name].super_category for name in model.classes
        ]
        # Two boxes on one item have one super-category, even if their garment classes differ.
        self._groups = np.array([list(SuperCategory).index(s) for s in self._super_categories])
        self._foreground = ForegroundDetector()

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        """Return the items of each picture, see Detector."""
        detections = postprocess.detect_garments(
            self._network, images, MIN_EXPECTED_CONFIDENCE, self._groups
        )
        return [
            [*self._to_boxes(one, image), self._foreground_box(image)]
            for one, image in zip(detections, images, strict=True)
        ]

    def _to_boxes(self, detections: base.Detections, image: NDArray[np.uint8]) -> list[Box]:
        """Return sure detections and the best of each group, as boxes grown to whole pixels."""
        groups = self._groups[detections.classes]
        # Most confident first, so the first of a group is its best.
        is_best = np.zeros(len(groups), bool)
        is_best[np.unique(groups, return_index=True)[1]] = True
        kept = (detections.confidences > MIN_CONFIDENCE) | is_best
        detections = base.Detections(
            detections.boxes[kept], detections.classes[kept], detections.confidences[kept]
        )
        low, high = detections.boxes[:, :2], detections.boxes[:, 2:]
        margins = self._network.crop_margin_ratio * (high - low)
        size = image.shape[1], image.shape[0]
        low = np.floor(np.maximum(low - margins, 0))
        high = np.ceil(np.minimum(high + margins, size))
        corners = np.concatenate([low, high], axis=1).astype(int).tolist()
        return [
            Box(
                x0,
                y0,
                x1,
                y1,
                confidence,
                self._super_categories[class_id],
                self._class_names[class_id],
            )
            for (x0, y0, x1, y1), confidence, class_id in zip(
                corners, detections.confidences.tolist(), detections.classes.tolist(), strict=True
            )
        ]

    def _foreground_box(self, image: NDArray[np.uint8]) -> Box:
        """Return the foreground's box, looked for in a small copy of the picture."""
        height, width = image.shape[:2]
        scale = min(1.0, self._foreground.side_px / max(height, width))
        small = decode.resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
        ((box,),) = self._foreground.detect([small])
        return scale_box(box, small.shape[1], small.shape[0], width, height)


def scale_box(box: Box, from_width: int, from_height: int, width: int, height: int) -> Box:
    """Return a box in pixels of a copy of the picture of another size, grown to whole pixels.

    Args:
        box: The box.
        from_width: Width in px of the picture that the box is in.
        from_height: Its height in px.
        width: Width in px of the copy.
        height: Its height in px.
    """
    x = width / from_width
    y = height / from_height
    return Box(
        int(np.floor(box.x0 * x)),
        int(np.floor(box.y0 * y)),
        min(width, int(np.ceil(box.x1 * x))),
        min(height, int(np.ceil(box.y1 * y))),
        box.confidence,
        box.super_category,
        box.class_name,
    )
