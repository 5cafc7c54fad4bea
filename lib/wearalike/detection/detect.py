"""Images to items: the garments, shoes and bags seen in a picture. One interface, `Detector`; boxes in, rows out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.detection.classes import GARMENT_CLASS_BY_NAME
from wearalike.detection.networks import base
from wearalike.imaging import colour, decode
from wearalike.models import registry
from wearalike.models.files import BadModel, Model, ModelKind
from wearalike.tables import ITEMS, SuperCategory

# What a trained detector is less sure of is left out: below it, wrong items outnumber right ones.
MIN_CONFIDENCE = 0.3


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
        """Items of each picture, surest first, those without a super-category last. images: uint8 (height, width, 3) each;
        the boxes of one do not depend on the others."""
        ...


class WholeImageDetector:
    """The whole picture is the item."""

    version = "whole-1"
    side_px = 32

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        return [[Box(0, 0, image.shape[1], image.shape[0], 1.0)] for image in images]


class ForegroundDetector:
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
        mask = colour.foreground_mask(colour.rgb_to_lab(image))
        if mask is None:
            return Box(0, 0, width, height, 0.0)
        y0, y1 = _span(mask.mean(axis=1), self._line_ratio, self._margin_ratio)
        x0, x1 = _span(mask.mean(axis=0), self._line_ratio, self._margin_ratio)
        return Box(x0, y0, x1, y1, float(mask[y0:y1, x0:x1].mean()))


def _span(ratios: NDArray[np.float64], min_ratio: float, margin: float) -> tuple[int, int]:
    """First and behind-last line whose ratio exceeds `least`, a margin added; all of it where none does."""
    lines = np.flatnonzero(ratios > min_ratio)
    if not len(lines):
        return 0, len(ratios)
    extra = round(margin * len(ratios)) + 1
    return max(0, int(lines[0]) - extra), min(len(ratios), int(lines[-1]) + 1 + extra)


class NetworkDetector:
    """What a trained network sees, and last, without a super-category, what stands out as a whole: for a product whose own item
    the network does not see."""

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """device: "cpu" or "cuda". Raises BadModel where the network is none of ours, or its classes are not in garments."""
        if strange := [name for name in model.classes if name not in GARMENT_CLASS_BY_NAME]:
            raise BadModel(
                f"detector {model.version}: class {strange[0]!r}, known are {', '.join(GARMENT_CLASS_BY_NAME)}"
            )
        self.version = model.version
        self._network = base.load_detection_network(model, device)
        self.side_px = self._network.side_px
        self._super_categories = [
            GARMENT_CLASS_BY_NAME[name].super_category for name in model.classes
        ]
        # Two boxes on one thing are of one super-category, whatever garment each takes it for.
        self._groups = np.array([list(SuperCategory).index(s) for s in self._super_categories])
        self._foreground = ForegroundDetector()

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        found = base.detect_garments(self._network, images, MIN_CONFIDENCE, self._groups)
        return [
            [*self._to_boxes(f), self._foreground_box(image)]
            for f, image in zip(found, images, strict=True)
        ]

    def _to_boxes(self, found: base.Detections) -> list[Box]:
        corners = (
            np.concatenate([np.floor(found.boxes[:, :2]), np.ceil(found.boxes[:, 2:])], axis=1)
            .astype(int)
            .tolist()
        )
        return [
            Box(x0, y0, x1, y1, confidence, self._super_categories[c])
            for (x0, y0, x1, y1), confidence, c in zip(
                corners, found.confidences.tolist(), found.classes.tolist(), strict=True
            )
        ]

    def _foreground_box(self, image: NDArray[np.uint8]) -> Box:
        height, width = image.shape[:2]
        scale = min(1.0, self._foreground.side_px / max(height, width))
        small = decode.resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
        ((box,),) = self._foreground.detect([small])
        return _scale_box(box, small.shape[1], small.shape[0], width, height)


# Detectors that need no weights.
WEIGHT_FREE_DETECTORS: dict[str, type[WholeImageDetector] | type[ForegroundDetector]] = {
    "whole": WholeImageDetector,
    "foreground": ForegroundDetector,
}
FALLBACK_DETECTOR = "foreground"
# Packaged; names what it sees, where no detector of one's own is promoted.
CLASSIFYING_DETECTOR = "garments"


def load_detector(root: Path, name: str | None = None, device: str = "cpu") -> Detector:
    """The detector of that name: one that needs no weights, else a packaged model's, or the version of one promoted in the root.
    Without a name the promoted one, else the packaged default, else DEFAULT_DETECTOR. device: "cpu" or "cuda". Raises BadModel."""
    if (
        name is None
        and not registry.promoted_model(root, ModelKind.DETECTOR)
        and registry.DEFAULT_DETECTOR is None
    ):
        name = FALLBACK_DETECTOR
    if name in WEIGHT_FREE_DETECTORS:
        return WEIGHT_FREE_DETECTORS[name]()
    return NetworkDetector(registry.resolve_model(root, ModelKind.DETECTOR, name).read(), device)


def classifying_detector(root: Path, name: str | None = None) -> registry.ModelRef:
    """The model of a detector that says what it sees, for `Trained`: that of this name or version, else the promoted one, else the
    packaged. Raises BadModel, ValueError for the name of a detector that does not say it."""
    if name in WEIGHT_FREE_DETECTORS:
        raise ValueError(
            f"detector {name}: it does not say what it sees; wanted a trained one, e.g. {CLASSIFYING_DETECTOR}"
        )
    return registry.resolve_model(
        root,
        ModelKind.DETECTOR,
        name
        or (None if registry.promoted_model(root, ModelKind.DETECTOR) else CLASSIFYING_DETECTOR),
    )


# What is kept of an image a detector has looked at: its items, or one row that says why there is none.
ITEM_CACHE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        *((f.name, f.type) for f in ITEMS.arrow_schema if f.name != "image_id"),
        ("reason", pa.string()),
    ]
)


def detect_items(detector: Detector, image_id: str, content: bytes) -> list[dict[str, object]]:
    """Rows of KEPT for one picture: its items, boxes in pixels of the stored image after EXIF orientation.

    content: the file's bytes. A picture that cannot be read gives one row with its reason.
    """
    return detect_items_batch(detector, [(image_id, content)])


def detect_items_batch(
    detector: Detector, pictures: Sequence[tuple[str, bytes]]
) -> list[dict[str, object]]:
    """The rows that `look` gives for each picture in turn."""
    rows: dict[str, list[dict[str, object]]] = {}
    read: list[tuple[str, decode.ImageHeader, NDArray[np.uint8]]] = []
    for image_id, content in pictures:
        rows[image_id] = []
        try:
            read.append(
                (
                    image_id,
                    decode.read_header(content),
                    decode.decode_image(content, max_side_px=detector.side_px),
                )
            )
        except decode.BadPixels:
            rows[image_id] = [
                {
                    "image_id": image_id,
                    "reason": ItemReason.UNREADABLE,
                    "detector": detector.version,
                }
            ]
    for (image_id, header, image), boxes in zip(
        read, detector.detect([image for _, _, image in read]), strict=True
    ):
        there = [
            _scale_box(b, image.shape[1], image.shape[0], header.width_px, header.height_px)
            for b in boxes
        ]
        rows[image_id] = [_item_row(image_id, detector.version, box) for box in there] or [
            {"image_id": image_id, "reason": ItemReason.NOTHING_FOUND, "detector": detector.version}
        ]
    return [row for found in rows.values() for row in found]


def _item_row(image_id: str, version: str, box: Box) -> dict[str, object]:
    return {
        "image_id": image_id,
        "item_id": item_id(image_id, version, box),
        "x0": box.x0,
        "y0": box.y0,
        "x1": box.x1,
        "y1": box.y1,
        "super_category": box.super_category,
        "confidence": box.confidence,
        "detector": version,
    }


def item_id(image_id: str, version: str, box: Box) -> str:
    """The same item has the same id on every night: a hash of image, detector, box and, where it is said, super-category."""
    seen_as = f"/{box.super_category}" if box.super_category else ""
    return hashlib.sha256(
        f"{image_id}/{version}/{box.x0},{box.y0},{box.x1},{box.y1}{seen_as}".encode()
    ).hexdigest()[:32]


def _scale_box(box: Box, from_width: int, from_height: int, width: int, height: int) -> Box:
    """The box on a picture of another size, grown to whole pixels."""
    x, y = width / from_width, height / from_height
    x0, y0 = int(np.floor(box.x0 * x)), int(np.floor(box.y0 * y))
    x1, y1 = min(width, int(np.ceil(box.x1 * x))), min(height, int(np.ceil(box.y1 * y)))
    return Box(x0, y0, x1, y1, box.confidence, box.super_category)
