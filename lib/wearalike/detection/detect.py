"""Load a detector, and turn its boxes into rows of tables.ITEMS."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import pyarrow as pa

from wearalike.detection.detectors import (
    MIN_CONFIDENCE,
    Box,
    Detector,
    ForegroundDetector,
    NetworkDetector,
    WholeImageDetector,
    scale_box,
)
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.tables import ITEMS

__all__ = [
    "CLASSIFYING_DETECTOR",
    "FALLBACK_DETECTOR",
    "ITEM_CACHE_SCHEMA",
    "MIN_CONFIDENCE",
    "WEIGHT_FREE_DETECTORS",
    "Box",
    "Detector",
    "ForegroundDetector",
    "ItemReason",
    "NetworkDetector",
    "WholeImageDetector",
    "classifying_detector",
    "detect_boxes",
    "detect_items",
    "detect_items_batch",
    "item_id",
    "load_detector",
    "photo_detector",
]

# Detectors without weights, by name.
WEIGHT_FREE_DETECTORS: dict[str, type[WholeImageDetector] | type[ForegroundDetector]] = {
    "whole": WholeImageDetector,
    "foreground": ForegroundDetector,
}
FALLBACK_DETECTOR = "foreground"
# The packaged detector that names what it sees, used if none is promoted.
CLASSIFYING_DETECTOR = "garments"


class ItemReason(StrEnum):
    """Why an image has no item."""

    UNREADABLE = "unreadable"
    LOST = "lost"  # its file is gone or has changed; the next run downloads it again
    NOTHING_FOUND = "nothing_found"


def load_detector(
    root: Path, name: str | None = None, device: str = "cpu", *, keeps_network: bool = False
) -> Detector:
    """Load a detector.

    Args:
        root: The data folder, in which models may be promoted.
        name: Name of a detector without weights or of a packaged model, or a promoted version.
            None: the promoted one, else the packaged default, else FALLBACK_DETECTOR.
        device: "cpu" or "cuda".
        keeps_network: Keep the converted network in `root` for the next job.

    Raises:
        BadModel: There is no such model, or its file is not the promoted one.

    Example:
        >>> load_detector(Path("data"), "foreground").version
        'foreground-1'
    """
    if (
        name is None
        and not registry.promoted_model(root, ModelKind.DETECTOR)
        and registry.DEFAULT_DETECTOR is None
    ):
        name = FALLBACK_DETECTOR
    if name in WEIGHT_FREE_DETECTORS:
        return WEIGHT_FREE_DETECTORS[name]()
    model = registry.resolve_model(root, ModelKind.DETECTOR, name).read()
    return NetworkDetector(model, device, root if keeps_network else None)


def classifying_detector(root: Path, name: str | None = None) -> registry.ModelRef:
    """Return the model of a detector that names super-categories, for NetworkDetector.

    Args:
        root: The data folder, in which models may be promoted.
        name: Name of a packaged model, or a promoted version. None: the promoted one, else the
            packaged CLASSIFYING_DETECTOR.

    Raises:
        ValueError: The name is that of a detector without weights, which names nothing.
        BadModel: There is no such model, or its file is not the promoted one.
    """
    if name in WEIGHT_FREE_DETECTORS:
        raise ValueError(
            f"detector {name}: it does not say what it sees; "
            f"wanted a trained one, e.g. {CLASSIFYING_DETECTOR}"
        )
    if not name and not registry.promoted_model(root, ModelKind.DETECTOR):
        name = CLASSIFYING_DETECTOR
    return registry.resolve_model(root, ModelKind.DETECTOR, name or None)


def photo_detector(root: Path, name: str | None = None) -> registry.ModelRef:
    """Return the model that finds the items of shoppers' photos, for NetworkDetector.

    It is `classifying_detector`, but where its extra is not installed the packaged default: that
    names less surely, and a shopper chooses among its boxes.

    Args:
        root: The data folder, in which models may be promoted.
        name: As in `classifying_detector`.

    Raises:
        ValueError: The name is that of a detector without weights, which names nothing.
        BadModel: There is no such model, or its file is not the promoted one.
    """
    is_open = not name and not registry.promoted_model(root, ModelKind.DETECTOR)
    if is_open and importlib.util.find_spec("ultralytics") is None:
        name = registry.DEFAULT_DETECTOR
    return classifying_detector(root, name)


# Rows cached for each image that a detector has seen: its items, or one row with the reason.
ITEM_CACHE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        *((f.name, f.type) for f in ITEMS.arrow_schema if f.name != "image_id"),
        ("reason", pa.string()),
    ]
)


def detect_items(detector: Detector, image_id: str, content: bytes) -> list[dict[str, object]]:
    """Detect the items in one image file.

    Args:
        detector: The detector.
        image_id: Id of the image.
        content: The file's bytes.

    Returns:
        Rows of ITEM_CACHE_SCHEMA, boxes in px of the stored image after EXIF orientation. A file
        that cannot be read, or has no item, gives one row with the reason.
    """
    return detect_items_batch(detector, [(image_id, content)])


def detect_boxes(detector: Detector, content: bytes) -> list[Box]:
    """Detect the items in one image file.

    Args:
        detector: The detector.
        content: The file's bytes.

    Returns:
        Boxes in px of the stored image after EXIF orientation, as the detector orders them.

    Raises:
        BadPixels: The file is no image that can be decoded.
    """
    header = decode.read_header(content)
    image = decode.decode_image(content, max_side_px=detector.side_px)
    height, width = image.shape[:2]
    (boxes,) = detector.detect([image])
    return [scale_box(box, width, height, header.width_px, header.height_px) for box in boxes]


def detect_items_batch(
    detector: Detector, pictures: Sequence[tuple[str, bytes]]
) -> list[dict[str, object]]:
    """Detect the items in several image files.

    Args:
        detector: The detector.
        pictures: Id and bytes of each image.

    Returns:
        The rows of `detect_items` of each image in turn.
    """
    rows: dict[str, list[dict[str, object]]] = {}
    headers: list[tuple[str, decode.ImageHeader]] = []
    images = []
    for image_id, content in pictures:
        try:
            header = decode.read_header(content)
            images.append(decode.decode_image(content, max_side_px=detector.side_px))
            headers.append((image_id, header))
            rows[image_id] = []
        except decode.BadPixels:
            rows[image_id] = [_reason_row(image_id, detector.version, ItemReason.UNREADABLE)]
    detected = detector.detect(images)
    for (image_id, header), image, boxes in zip(headers, images, detected, strict=True):
        height, width = image.shape[:2]
        rows[image_id] = [
            _item_row(
                image_id,
                detector.version,
                scale_box(box, width, height, header.width_px, header.height_px),
            )
            for box in boxes
        ] or [_reason_row(image_id, detector.version, ItemReason.NOTHING_FOUND)]
    return [row for image_rows in rows.values() for row in image_rows]


def _reason_row(image_id: str, version: str, reason: ItemReason) -> dict[str, object]:
    """Return the row of an image without items."""
    return {"image_id": image_id, "reason": reason, "detector": version}


def _item_row(image_id: str, version: str, box: Box) -> dict[str, object]:
    """Return the row of an item."""
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
    """Return an item's id, the same in every run.

    It hashes image, detector, box and, if the detector names one, super-category.

    Args:
        image_id: Id of the image.
        version: Version of the detector.
        box: The item, in px of the stored image.

    Returns:
        32 hexadecimal digits.
    """
    suffix = f"/{box.super_category}" if box.super_category else ""
    key = f"{image_id}/{version}/{box.x0},{box.y0},{box.x1},{box.y1}{suffix}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]
