"""The items of a shopper's photo: found, told from bare skin and from each other, and encoded."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.encoding.leaf_classifiers import find_leaf_classifier
from wearalike.imaging import decode
from wearalike.metrics.boxes import box_corners, box_iou, item_scores
from wearalike.models import registry
from wearalike.models.files import Model, ModelKind
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import CODES

# Items of a photo of many people that are searched for: the largest and surest.
MAX_PHOTO_ITEMS = 8
# Boxes with at least this IoU show one thing, whatever class each has.
DUPLICATE_IOU = 0.7
# A crop whose lightness has a smaller standard deviation, of 255, shows nothing.
_MIN_CONTRAST = 3.0
# Bare legs are taken for hosiery. It is left out if it is seen less surely than this, and its box
# has this share of the colours of skin. In 400 street photos with labelled skin these are 14 of 15
# bare legs, and 2 of 47 with hosiery. The share was chosen on 150 of them.
_SURE_HOSIERY = 0.6
_MIN_SKIN_RATIO = 0.35
_HOSIERY_CLASS = "hosiery"
# Chroma of skin in YCbCr (Chai and Ngan, 1999): low and high of Cb, then of Cr.
_SKIN_CHROMA = ((77, 127), (133, 173))
_WARM_UP_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class PhotoNetworks:
    """The loaded networks that find and encode the items of a photo.

    Attributes:
        encoder: Computes the codes.
        detector: Finds the items.
        lock: Must be held while using them.
    """

    encoder: encoders.Encoder
    detector: detect.Detector
    lock: threading.Lock

    def warm_up(self) -> None:
        """Run both on noise: the first picture after loading takes them several times as long."""
        noise = np.random.default_rng(1).integers(
            0, 256, (_WARM_UP_SIDE_PX, _WARM_UP_SIDE_PX, 3), dtype=np.uint8
        )
        with self.lock:
            self.detector.detect([noise])
            self.encoder.encode([noise])


def load_photo_networks(
    settings: Settings, run: str, detector: str | None, loaded: PhotoNetworks | None
) -> PhotoNetworks:
    """Load the encoder of a run and a detector; those that are loaded already are used.

    Args:
        settings: The settings.
        run: The run, which names its encoder.
        detector: Name or version of a trained detector; None: the promoted one, else the packaged
            one.
        loaded: Networks of another search; None if there is none.

    Raises:
        TableNotFound: The run lacks a table.
        BadModel: A model file is damaged or missing.
        ValueError: The detector does not classify what it finds.
    """
    root = settings.data_dir
    device = registry.resolve_device(settings.device)
    version = run_tables.read_manifest(root, CODES, run)["encoder"]
    encoder_model = registry.find_by_version(root, ModelKind.ENCODER, version).read()
    leaves = find_leaf_classifier(root, encoder_model)
    detector_model = detect.photo_detector(root, detector)
    encoder: encoders.Encoder
    if loaded is not None and _is_encoder(loaded.encoder, encoder_model, leaves):
        encoder = loaded.encoder
    else:
        encoder = encoders.build_encoder(encoder_model, device, leaves, root)
    finder: detect.Detector
    if loaded is not None and loaded.detector.version == detector_model.version:
        finder = loaded.detector
    else:
        finder = detect.NetworkDetector(detector_model.read(), device, root)
    # The networks take one photo at a time: two at once would each take twice as long.
    return PhotoNetworks(encoder, finder, loaded.lock if loaded else threading.Lock())


def detect_and_encode(
    networks: PhotoNetworks, content: bytes
) -> tuple[list[dict[str, Any]], NDArray[np.uint64], list[NDArray[np.float32] | None]]:
    """Return the items to search for, largest and surest first, with codes and kinds.

    Args:
        networks: Find and encode the items.
        content: Bytes of the photo's file.

    Returns:
        The items; their codes, uint64 (n, 4); and how likely each is of each kind, None without a
        leaf classifier.

    Raises:
        BadPixels: The file is no picture that can be decoded.
    """
    with networks.lock:
        boxes = [
            box
            for box in detect.detect_boxes(networks.detector, content)
            if box.super_category and box.confidence >= detect.MIN_CONFIDENCE
        ]
        corners = [(box.x0, box.y0, box.x1, box.y1) for box in boxes]
        cropped = decode.crop_boxes(content, corners, networks.encoder.side_px)
        found = [
            (asdict(box), crop)
            for box, crop in zip(boxes, cropped, strict=True)
            if _has_contrast(crop) and not is_bare_skin(box, crop)
        ]
        rows = [row for row, _ in found]
        best_first = np.argsort(-item_scores(rows), kind="stable")
        kept = _distinct_items([rows[i] for i in best_first])[:MAX_PHOTO_ITEMS]
        if not kept:
            return [], np.empty((0, 4), np.uint64), []
        chosen = [found[best_first[i]] for i in kept]
        wanted = [crop for _, crop in chosen]
        chances: list[NDArray[np.float32] | None] = [None] * len(wanted)
        if isinstance(networks.encoder, encoders.LeafEncoder):
            classified = networks.encoder.encode_and_classify(wanted)
            encoded, chances = classified.codes, list(classified.probabilities)
        else:
            encoded = networks.encoder.encode(wanted)
    code_bytes = np.concatenate([encoded.shape, encoded.colour], axis=1)
    codes = np.ascontiguousarray(code_bytes).view(np.uint64)
    return [row for row, _ in chosen], codes, chances


def _is_encoder(encoder: encoders.Encoder, model: Model, leaves: Model | None) -> bool:
    """Tell if a loaded encoder is that of a model, beside that leaf classifier or none."""
    found = encoder.leaves_version if isinstance(encoder, encoders.LeafEncoder) else None
    return encoder.version == model.version and found == (leaves and leaves.version)


def row_corners(row: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of a row of tables.ITEMS."""
    return row["x0"], row["y0"], row["x1"], row["y1"]


def _has_contrast(crop: NDArray[np.uint8]) -> bool:
    """Tell if a crop shows anything: every fourth pixel is looked at."""
    lightness = crop[::4, ::4].mean(axis=2)
    return bool(lightness.std() >= _MIN_CONTRAST)


def is_bare_skin(box: detect.Box, crop: NDArray[np.uint8]) -> bool:
    """Tell if an item that is taken for hosiery is bare legs.

    Args:
        box: The item as detected.
        crop: uint8 (height, width, 3). Its pixels.
    """
    if box.class_name != _HOSIERY_CLASS or box.confidence >= _SURE_HOSIERY:
        return False
    chroma = np.asarray(Image.fromarray(crop).convert("YCbCr"))[..., 1:]
    limits = np.array(_SKIN_CHROMA)
    is_skin = ((chroma >= limits[:, 0]) & (chroma <= limits[:, 1])).all(axis=-1)
    return bool(is_skin.mean() >= _MIN_SKIN_RATIO)


def _distinct_items(rows: list[dict[str, Any]]) -> list[int]:
    """Return the items whose box lies on none before it; a skirt and a dress there are one thing.

    Args:
        rows: The items.

    Returns:
        Their positions.
    """
    corners = box_corners(rows)
    overlaps = box_iou(corners, corners)
    distinct: list[int] = []
    for i in range(len(rows)):
        if (overlaps[i, distinct] < DUPLICATE_IOU).all():
            distinct.append(i)
    return distinct
