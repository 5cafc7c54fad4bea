"""Labelled photos -> the pictures that a leaf classifier learns from, cropped as a run crops them.

A run encodes two kinds of items: boxes of the product's own super-category, and what stands out of
a picture. A photo without a labelled box therefore gives one example of each, where they differ.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.label_words import LabelWords
from wearalike.catalog.taxonomy import Leaf
from wearalike.datasets import layouts
from wearalike.datasets.labelled_photos import LabelledPhoto
from wearalike.detection import detect
from wearalike.encoding.likeness_net import INPUT_PX
from wearalike.imaging import decode
from wearalike.metrics.boxes import box_corners, box_iou, item_scores
from wearalike.tables import SuperCategory
from wearalike.training.encoder.training_pictures import TYPE_LABEL, TrainingSource

# Two boxes of a picture with at least this IoU show the same.
_SAME_BOX_IOU = 0.8
# Photos that are decoded and detected together.
_BLOCK_PHOTOS = 64

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class LeafPhoto:
    """A labelled photo whose type means a leaf.

    Attributes:
        photo: The photo.
        leaf: The leaf.
    """

    photo: LabelledPhoto
    leaf: Leaf


@dataclass(frozen=True, slots=True)
class LeafCrop:
    """A picture to learn from.

    Attributes:
        photo_row: Which of the photos it shows.
        rgb: uint8 (224, 224, 3), on a white square.
        is_item: True for the box of the item, False for what stands out.
    """

    photo_row: int
    rgb: NDArray[np.uint8]
    is_item: bool


def list_leaf_photos(
    source: TrainingSource, words: LabelWords
) -> tuple[list[LeafPhoto], Counter[str]]:
    """Return the photos of a set whose type means a leaf, and count the words that mean none.

    Args:
        source: The set.
        words: The leaf of each word.
    """
    photos: list[LeafPhoto] = []
    unknown: Counter[str] = Counter()
    for photo in source.labelled.photos:
        word = photo.labels.get(TYPE_LABEL, "")
        if not word:
            continue
        leaf = words.find_leaf(word, photo.labels.get("gender", ""))
        if leaf is None:
            unknown[word] += 1
        else:
            photos.append(LeafPhoto(photo, leaf))
    return photos, unknown


def draw_photos(photos: Sequence[LeafPhoto], per_kind: int) -> list[LeafPhoto]:
    """Return at most so many photos of each kind and split, drawn by a hash of their names.

    Args:
        photos: The photos of one set.
        per_kind: Photos of a kind in a split.
    """
    counts: Counter[tuple[str, str]] = Counter()
    drawn = []
    for one in sorted(photos, key=lambda one: hashlib.sha256(one.photo.id.encode()).digest()):
        key = (one.leaf.kind, one.photo.split)
        counts[key] += 1
        if counts[key] <= per_kind:
            drawn.append(one)
    return sorted(drawn, key=lambda one: one.photo.id)


def shop_of(source: TrainingSource, photo: LabelledPhoto) -> str:
    """Return the shop that a photo is of: the set, or of a run the shop of the product."""
    if source.kind == layouts.RUN:
        return photo.product.partition(":")[0]
    return source.labelled.name


def iterate_crops(
    photos: Sequence[LeafPhoto],
    detector: detect.Detector,
    on_photos: Callable[[int], None] = lambda count: None,
) -> Iterator[list[LeafCrop]]:
    """Yield the crops of blocks of photos, in their order.

    Args:
        photos: The photos.
        detector: Finds the items of a photo without a labelled box.
        on_photos: Called with the number of further photos that were cropped.

    Raises:
        ValueError: A photo cannot be read.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for start in range(0, len(photos), _BLOCK_PHOTOS):
            rows = range(start, min(start + _BLOCK_PHOTOS, len(photos)))
            block = cores.map(lambda row: _crop_photo(row, photos[row], detector), rows)
            yield [crop for crops in block for crop in crops]
            on_photos(len(rows))


def _crop_photo(row: int, one: LeafPhoto, detector: detect.Detector) -> list[LeafCrop]:
    """Return the crops of one photo: its item, then what stands out if that is another box."""
    content = one.photo.path.read_bytes()
    boxes = [one.photo.box] if one.photo.box else _find_boxes(detector, content, one)
    try:
        crops = decode.crop_boxes(content, boxes, INPUT_PX)
    except decode.BadPixels as error:
        raise ValueError(f"{one.photo.path}: {error}") from error
    return [
        LeafCrop(row, decode.letterbox(crop, INPUT_PX), number == 0)
        for number, crop in enumerate(crops)
    ]


def _find_boxes(detector: detect.Detector, content: bytes, one: LeafPhoto) -> list[PixelBox]:
    """Return the box of the item, then that of what stands out if it is another."""
    rows = detect.detect_items(detector, "", content)
    if reason := rows[0].get("reason"):
        raise ValueError(f"{one.photo.path}: {reason}")
    unnamed = _best_box(rows, None)
    named = _best_box(rows, one.leaf.super_category) or unnamed
    boxes = [box for box in (named, unnamed) if box]
    if len(boxes) < 2:
        return boxes
    corners = np.array(boxes, float)
    return boxes[: 1 if box_iou(corners[:1], corners[1:])[0, 0] >= _SAME_BOX_IOU else 2]


def _best_box(
    rows: Sequence[Mapping[str, Any]], super_category: SuperCategory | None
) -> PixelBox | None:
    """Return the best box of a super-category; None if there is none."""
    fitting = [row for row in rows if row["super_category"] == super_category]
    if not fitting:
        return None
    best = fitting[int(np.argmax(item_scores(fitting)))]
    return cast(PixelBox, tuple(int(v) for v in box_corners([best])[0]))
