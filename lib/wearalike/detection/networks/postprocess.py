"""From pictures to detections: letterbox, run the network, suppress duplicates, paste masks.

Each picture is letterboxed on a white square of one side, so that what is detected in it depends
on no other picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.detection.networks.base import DetectionNetwork, Detections, RawDetections

# Two boxes of one group with a greater IoU are duplicates: the more confident one stays.
_NMS_IOU = 0.5
MAX_DETECTIONS = 50


def detect_garments(
    network: DetectionNetwork,
    pictures: Sequence[NDArray[np.uint8]],
    min_confidence: float,
    groups: NDArray[np.int64] | None = None,
    with_masks: bool = False,
) -> list[Detections]:
    """Detect garments in pictures.

    Args:
        network: From `registry.load_detection_network`.
        pictures: uint8 (height, width, 3) RGB each, of any size.
        min_confidence: Detections must be more confident than this, 0..1.
        groups: int64 (classes,). Group of each class. Two boxes of one group on one item are
            duplicates: the more confident one stays. None: each class is its own group.
        with_masks: True to return masks.

    Returns:
        The detections of each picture, at most MAX_DETECTIONS.
    """
    from wearalike.imaging import decode

    if not pictures:
        return []
    squares = np.stack([decode.letterbox(picture, network.side_px) for picture in pictures])
    return [
        _postprocess(
            raw,
            groups,
            Letterbox.of(picture.shape[0], picture.shape[1], network.side_px),
            with_masks,
        )
        for raw, picture in zip(
            network.raw_detections(squares, min_confidence), pictures, strict=True
        )
    ]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies on its square, as decode.letterbox puts it.

    Attributes:
        height: Height of the picture in px.
        width: Width of the picture in px.
        side: Side of the square in px.
        inner_height: Height of the picture in px of the square.
        inner_width: Width of the picture in px of the square.
    """

    height: int
    width: int
    side: int
    inner_height: int
    inner_width: int

    @classmethod
    def of(cls, height: int, width: int, side: int) -> Letterbox:
        """Return the letterbox of a picture of that size on a square of that side."""
        scale = side / max(height, width)
        return cls(height, width, side, max(1, round(height * scale)), max(1, round(width * scale)))

    @property
    def top(self) -> int:
        """First row of the picture, in px of the square."""
        return (self.side - self.inner_height) // 2

    @property
    def left(self) -> int:
        """First column of the picture, in px of the square."""
        return (self.side - self.inner_width) // 2

    def to_picture(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return boxes (n, 4) of the square in px of the picture, cut at its edges."""
        size = np.array([self.width, self.height] * 2)
        inner = np.array([self.inner_width, self.inner_height] * 2)
        corners = (boxes - (self.left, self.top, self.left, self.top)) / inner * size
        return np.clip(corners, 0, size)


def suppress_duplicates(
    boxes: NDArray[np.float64],
    confidences: NDArray[np.float64],
    groups: NDArray[np.int64],
    max_iou: float,
    max_count: int,
) -> NDArray[np.int64]:
    """Suppress boxes that lie on a more confident one of their group.

    It keeps the boxes of torchvision's `batched_nms`, whose import takes seconds.

    Args:
        boxes: float64 (n, 4). x0, y0, x1, y1.
        confidences: float64 (n,).
        groups: int64 (n,). Boxes of different groups never suppress each other.
        max_iou: Boxes of a group with a greater IoU are duplicates.
        max_count: At most so many stay.

    Returns:
        Rows of the boxes that stay, int64, most confident first; equal ones by position.
    """
    left = np.argsort(-confidences, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(left) and len(kept) < max_count:
        best, left = left[0], left[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:])
        sides -= np.maximum(boxes[best, :2], boxes[left, :2])
        common = np.maximum(sides, 0).prod(axis=1)
        # Two boxes without an area have nothing in common: they are no duplicates, as there.
        with np.errstate(invalid="ignore"):
            iou = common / (areas[best] + areas[left] - common)
        left = left[~((iou > max_iou) & (groups[left] == groups[best]))]
    return np.array(kept, np.int64)


def _postprocess(
    raw: RawDetections, groups: NDArray[np.int64] | None, fit: Letterbox, with_masks: bool
) -> Detections:
    """Suppress duplicates and map boxes and masks to the picture."""
    group = raw.classes if groups is None else groups[raw.classes]
    kept = suppress_duplicates(raw.boxes, raw.confidences, group, _NMS_IOU, MAX_DETECTIONS)
    corners = fit.to_picture(raw.boxes[kept])
    # Boxes beside the picture, on the white of its square, are cut to less than a pixel.
    is_inside = ((corners[:, 2:] - corners[:, :2]) >= 1).all(axis=1)
    kept = kept[is_inside]
    corners = corners[is_inside]
    masks = _paste_masks(raw.mask_logits(kept), corners, fit) if with_masks else None
    return Detections(corners, raw.classes[kept], raw.confidences[kept], masks)


def _paste_masks(
    logits: NDArray[np.float32], corners: NDArray[np.float64], fit: Letterbox
) -> NDArray[np.bool_]:
    """Return masks over the picture, bool (n, height, width), each cut at its box."""
    from PIL import Image

    per_px = logits.shape[1] / fit.side if len(logits) else 1.0
    inner = (
        fit.left * per_px,
        fit.top * per_px,
        (fit.left + fit.inner_width) * per_px,
        (fit.top + fit.inner_height) * per_px,
    )
    masks = np.zeros((len(logits), fit.height, fit.width), bool)
    boxes = corners.round().astype(int).tolist()
    for mask, plane, (x0, y0, x1, y1) in zip(masks, logits, boxes, strict=True):
        resized = Image.fromarray(plane).resize(
            (fit.width, fit.height), Image.Resampling.BILINEAR, box=inner
        )
        mask[y0:y1, x0:x1] = np.asarray(resized)[y0:y1, x0:x1] > 0
    return masks
