"""Photos of a labelled set -> crops as the nightly run makes them -> feature rows, cached.

The cache's key is a hash of everything the rows depend on: the images' bytes, their boxes, the
descriptor's version and what it was fitted on. A second evaluation describes only what is new.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.detection import detect
from wearalike.detection.classes import GarmentClass
from wearalike.encoding.codes import FloatCodes
from wearalike.evaluation.descriptors.base import (
    Descriptor,
    FeatureRows,
    PartedDescriptor,
    TrainableDescriptor,
)
from wearalike.evaluation.made_views import MADE_VIEW, make_view
from wearalike.imaging import decode
from wearalike.metrics.bootstrap import BootstrapEstimate
from wearalike.metrics.boxes import item_scores
from wearalike.storage import atomic
from wearalike.tables import SuperCategory

BATCH_SIZE = 64
# Photos that a descriptor is fitted on at most, drawn from the gallery.
MAX_FIT_PHOTOS = 2000
_SPEED_RESAMPLES = 1000
# Characters of a hash in a file's name.
_NAME_HASH_CHARS = 16

PixelBox = tuple[int, int, int, int]
ClassLookup = Callable[[str], GarmentClass | None]


@dataclass(frozen=True, slots=True)
class ExtractedFeatures:
    """Feature rows of a labelled set, and how long they took.

    Attributes:
        rows: Row i describes photo i: uint8 (n, b) packed bits, or float32 (n, d).
        batch_seconds: float64 (batches,). Seconds a batch of BATCH_SIZE photos; the last may be
            smaller. Reading and cropping are not included.
        floats: Float rows of shape and colour, where the descriptor has them.
    """

    rows: FeatureRows
    batch_seconds: NDArray[np.float64]
    floats: FloatCodes | None = None

    @property
    def bytes_per_image(self) -> int:
        """Bytes of one row."""
        return self.rows.itemsize * self.rows.shape[1]

    @property
    def images_per_second(self) -> BootstrapEstimate:
        """Images a second over all, with the 95 % bootstrap interval over the batches."""
        count = len(self.rows)
        starts = BATCH_SIZE * np.arange(len(self.batch_seconds))
        sizes = np.minimum(BATCH_SIZE, count - starts)
        rng = np.random.default_rng(0)
        resamples = rng.integers(0, len(sizes), (_SPEED_RESAMPLES, len(sizes)))
        speeds = sizes[resamples].sum(axis=1) / self.batch_seconds[resamples].sum(axis=1)
        low, high = np.percentile(speeds, [2.5, 97.5])
        mean = float(sizes.sum() / self.batch_seconds.sum())
        return BootstrapEstimate(mean, float(low), float(high), count)


class DatasetCrops:
    """The crops of a labelled set, read on demand: crop i shows photo i.

    A labelled box is used where there is one, else the detector's.

    Attributes:
        photos: The labelled photos.
        picture_ids: Hash of each photo's bytes and box; equal ones show the same.
        signature: Hash of everything that the crops depend on.

    Example:
        >>> crops = DatasetCrops(labelled, detect.ForegroundDetector(), Path("build/features"))
        >>> first, second = crops[[0, 1]]
    """

    def __init__(
        self,
        labelled: LabelledDataset,
        detector: detect.Detector,
        cache_dir: Path,
        class_of: ClassLookup = lambda word: None,
    ) -> None:
        """Detect the boxes, or read them from the cache.

        Args:
            labelled: The labelled set.
            detector: Finds the box of a photo without one.
            cache_dir: Folder for the boxes found.
            class_of: The garment class of a photo's label `type`, as the category of a product
                would tell it.

        Raises:
            ValueError: A photo cannot be read.
        """
        self.photos = labelled.photos
        self._super_categories = [
            garment and garment.super_category
            for garment in (class_of(photo.labels.get("type", "")) for photo in self.photos)
        ]
        hashes = [hashlib.sha256(photo.path.read_bytes()).hexdigest() for photo in self.photos]
        facts = [
            [photo.id, content_hash, photo.box, super_category]
            for photo, content_hash, super_category in zip(
                self.photos, hashes, self._super_categories, strict=True
            )
        ]
        self.signature = _hash_json([detector.version, facts])
        path = cache_dir / f"boxes-{self.signature[:_NAME_HASH_CHARS]}.npy"
        if not path.exists():
            with atomic.replace_file(path) as hidden:
                np.save(hidden, self._detect_boxes(detector))
        self._boxes: list[PixelBox] = list(map(tuple, np.load(path, allow_pickle=False).tolist()))
        self.picture_ids = [
            _hash_json([content_hash, box, photo.view == MADE_VIEW])
            for photo, content_hash, box in zip(self.photos, hashes, self._boxes, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [self._read_crop(row) for row in rows]

    def _read_crop(self, row: int) -> NDArray[np.uint8]:
        """Return the crop of a photo, or the view made of it."""
        photo = self.photos[row]
        crop = decode.crop(read_pixels(photo), self._boxes[row])
        return make_view(crop, photo.id) if photo.view == MADE_VIEW else crop

    def _detect_boxes(self, detector: detect.Detector) -> NDArray[np.int64]:
        """Return the box of each photo, int64 (n, 4)."""

        def box(photo: LabelledPhoto, super_category: SuperCategory | None) -> PixelBox:
            if photo.box:
                return photo.box
            rows = detect.detect_items(detector, "", photo.path.read_bytes())
            if not rows[0].get("reason"):
                return representative_box(rows, super_category)
            height, width = read_pixels(photo).shape[:2]
            return 0, 0, width, height

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            return np.array(list(cores.map(box, self.photos, self._super_categories)), np.int64)


def representative_box(
    rows: Sequence[Mapping[str, Any]], super_category: SuperCategory | None
) -> PixelBox:
    """Choose the box that stands for a product, as search.index.select_entries does.

    It is the best box of the super-category, else the best without a class, else the best of all.
    The best has the highest confidence-and-size score.

    Args:
        rows: Rows of tables.ITEMS of one image.
        super_category: Super-category of the product; None if unknown.

    Returns:
        x0, y0, x1, y1 in px.
    """
    of_category = [
        row for row in rows if super_category and row["super_category"] == super_category
    ]
    without_class = [row for row in rows if row["super_category"] is None]
    candidates = of_category or without_class or rows
    item_ids = [row["item_id"] for row in candidates]
    best_first = np.lexsort((item_ids, -item_scores(candidates)))
    best = candidates[best_first[0]]
    return best["x0"], best["y0"], best["x1"], best["y1"]


def extract_features(
    crops: DatasetCrops,
    descriptor: Descriptor,
    fit_rows: NDArray[np.int64],
    cache_dir: Path,
    on_batch: Callable[[int], None] = lambda count: None,
) -> ExtractedFeatures:
    """Describe every photo of a set, or read the rows from the cache.

    Args:
        crops: The crops of the set.
        descriptor: Describes the crops; it is fitted first if it has to be.
        fit_rows: int64 (m,). Photos that a descriptor may be fitted on.
        cache_dir: Folder of the cache.
        on_batch: Called after each batch with its size.

    Returns:
        The rows, row i of photo i.
    """
    sample: list[int] = []
    needs_fit = isinstance(descriptor, TrainableDescriptor) and not descriptor.is_fitted
    if needs_fit:
        shuffled = np.random.default_rng(0).permutation(fit_rows)
        sample = np.sort(shuffled[:MAX_FIT_PHOTOS]).tolist()
    is_parted = isinstance(descriptor, PartedDescriptor)
    facts = [descriptor.version, descriptor.sha256, crops.signature, sample, is_parted]
    key = _hash_json(facts)
    path = cache_dir / f"{descriptor.version}-{key[:_NAME_HASH_CHARS]}.safetensors"
    if not path.exists():
        if needs_fit:
            descriptor.fit(crops[sample])  # type: ignore[attr-defined]
        features = _compute_features(crops, descriptor, on_batch)
        with atomic.replace_file(path) as hidden:
            _save_features(hidden, features)
    return _load_features(path, descriptor)


def read_pixels(photo: LabelledPhoto) -> NDArray[np.uint8]:
    """Decode a labelled photo.

    Args:
        photo: The photo.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: The file is no image; the message names it.
    """
    try:
        return decode.decode_image(photo.path.read_bytes())
    except decode.BadPixels as error:
        raise ValueError(f"{photo.path}: {error}") from error


def _compute_features(
    crops: DatasetCrops, descriptor: Descriptor, on_batch: Callable[[int], None]
) -> ExtractedFeatures:
    """Describe all crops; the next batch is read while one is described."""
    # The first call prepares what later ones need, and is not timed.
    descriptor.describe(crops[[0]])
    starts = range(0, len(crops), BATCH_SIZE)
    batches = [list(range(start, min(start + BATCH_SIZE, len(crops)))) for start in starts]
    rows: list[FeatureRows] = []
    parts: list[FloatCodes] = []
    seconds: list[float] = []
    with ThreadPoolExecutor(1) as reader:
        next_images = reader.submit(crops.__getitem__, batches[0])
        for number, batch in enumerate(batches):
            images = next_images.result()
            if number + 1 < len(batches):
                next_images = reader.submit(crops.__getitem__, batches[number + 1])
            started = time.perf_counter()
            if isinstance(descriptor, PartedDescriptor):
                parts.append(descriptor.describe_parts(images))
                rows.append(descriptor.join_parts(parts[-1]))
            else:
                rows.append(descriptor.describe(images))
            seconds.append(time.perf_counter() - started)
            on_batch(len(batch))
    joined = FloatCodes(*map(np.concatenate, zip(*parts, strict=True))) if parts else None
    return ExtractedFeatures(np.concatenate(rows), np.array(seconds), joined)  # type: ignore[arg-type]


def _hash_json(value: object) -> str:
    """Return the SHA-256 of a value's JSON, in hex."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _save_features(path: Path, features: ExtractedFeatures) -> None:
    """Write features as safetensors; rows that follow from their parts are left out."""
    from safetensors.numpy import save_file

    arrays = {"rows": features.rows}
    if features.floats is not None:
        arrays = dict(features.floats._asdict())
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file({**contiguous, "seconds": features.batch_seconds}, path)


def _load_features(path: Path, descriptor: Descriptor) -> ExtractedFeatures:
    """Read what `_save_features` wrote."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    if not isinstance(descriptor, PartedDescriptor):
        return ExtractedFeatures(arrays["rows"], arrays["seconds"])
    parts = FloatCodes(arrays["shape"], arrays["colour"])
    return ExtractedFeatures(descriptor.join_parts(parts), arrays["seconds"], parts)
