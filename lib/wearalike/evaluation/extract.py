"""A set's photos to the crops the night would look at, and those to rows of a descriptor, kept by content.

What was described is kept under a hash of everything it depends on: the pictures' bytes, their boxes, the descriptor's version
and what it was fitted on. A second evaluation describes only what is new.
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
from wearalike.evaluation.descriptors.base import Descriptor, FeatureRows, TrainableDescriptor
from wearalike.imaging import decode
from wearalike.metrics.bootstrap import BootstrapEstimate
from wearalike.metrics.boxes import item_scores
from wearalike.storage import atomic
from wearalike.tables import SuperCategory

BATCH_SIZE = 64
# What a descriptor that has to be fitted sees at most, drawn from the photos that answer.
MAX_FIT_PHOTOS = 2000
PixelBox = tuple[int, int, int, int]
ClassLookup = Callable[[str], GarmentClass | None]


@dataclass(frozen=True, slots=True)
class ExtractedFeatures:
    """rows: row i is photo i of the set. seconds: what each batch of at most BATCH photos took, float64, the last may be smaller;
    reading and cropping are not in it."""

    rows: FeatureRows
    batch_seconds: NDArray[np.float64]

    @property
    def bytes_per_image(self) -> int:
        return self.rows.itemsize * self.rows.shape[1]

    @property
    def images_per_second(self) -> BootstrapEstimate:
        """Images a second over all, with the 95 % bootstrap interval over its batches."""
        sizes = np.minimum(
            BATCH_SIZE, len(self.rows) - BATCH_SIZE * np.arange(len(self.batch_seconds))
        )
        drawn = np.random.default_rng(0).integers(0, len(sizes), (1000, len(sizes)))
        low, high = np.percentile(
            sizes[drawn].sum(axis=1) / self.batch_seconds[drawn].sum(axis=1), [2.5, 97.5]
        )
        return BootstrapEstimate(
            float(sizes.sum() / self.batch_seconds.sum()), float(low), float(high), len(self.rows)
        )


class DatasetCrops:
    """The crops of a set, read when asked for: row i is photo i, seen by a detector or, where somebody drew it, by its box."""

    def __init__(
        self,
        labelled: LabelledDataset,
        detector: detect.Detector,
        cache_dir: Path,
        class_of: ClassLookup = lambda word: None,
    ) -> None:
        """kept: folder for the boxes found. class_of: what garment a photo's label `type` says it is of, as its category would.
        Raises ValueError, naming it, for a picture that cannot be read."""
        self.photos = labelled.photos
        self._wanted = [
            garment and garment.super_category
            for p in self.photos
            for garment in [class_of(p.labels.get("type", ""))]
        ]
        hashes = [hashlib.sha256(photo.path.read_bytes()).hexdigest() for photo in self.photos]
        given = [
            [p.id, content, p.box, want]
            for p, content, want in zip(self.photos, hashes, self._wanted, strict=True)
        ]
        self.signature = _hash_json([detector.version, given])
        path = cache_dir / f"boxes-{self.signature[:16]}.npy"
        if not path.exists():
            boxes = self._detect_boxes(detector)
            with atomic.replace_file(path) as hidden:
                np.save(hidden, boxes)
        self._boxes: list[PixelBox] = list(map(tuple, np.load(path, allow_pickle=False).tolist()))

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [decode.crop(_read_pixels(self.photos[row]), self._boxes[row]) for row in rows]

    def _detect_boxes(self, detector: detect.Detector) -> NDArray[np.int64]:
        def box(photo: LabelledPhoto, wanted: SuperCategory | None) -> PixelBox:
            if photo.box:
                return photo.box
            rows = detect.detect_items(detector, "", photo.path.read_bytes())
            if not rows[0].get("reason"):
                return representative_box(rows, wanted)
            height, width = _read_pixels(photo).shape[:2]
            return 0, 0, width, height

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            return np.array(list(cores.map(box, self.photos, self._wanted)), np.int64)


def representative_box(rows: Sequence[Mapping[str, Any]], wanted: SuperCategory | None) -> PixelBox:
    """The box that stands for a product, as index.select_entries chooses it: the best of the wanted super-category, else the best that
    the detector does not name; best by confidence and size."""
    named = [row for row in rows if wanted and row["super_category"] == wanted]
    unnamed = [row for row in rows if row["super_category"] is None]

    candidates = named or unnamed or rows
    scores = item_scores(candidates)
    best_first = np.lexsort(([row["item_id"] for row in candidates], -scores))
    best = candidates[best_first[0]]
    return best["x0"], best["y0"], best["x1"], best["y1"]


def extract_features(
    crops: DatasetCrops,
    descriptor: Descriptor,
    fit_rows: NDArray[np.int64],
    cache_dir: Path,
    on_batch: Callable[[int], None] = lambda count: None,
) -> ExtractedFeatures:
    """Every photo's row, from `kept` where it was described before. fit_rows: the photos a descriptor may be fitted on, int64.
    tell: called after each batch with its size."""
    is_learning = isinstance(descriptor, TrainableDescriptor) and not descriptor.is_fitted
    some = (
        np.sort(np.random.default_rng(0).permutation(fit_rows)[:MAX_FIT_PHOTOS]).tolist()
        if is_learning
        else []
    )
    path = (
        cache_dir
        / f"{descriptor.version}-{_hash_json([descriptor.version, descriptor.sha256, crops.signature, some])[:16]}.safetensors"
    )
    if not path.exists():
        if is_learning:
            descriptor.fit(crops[some])  # type: ignore[attr-defined]
        found = _compute_features(crops, descriptor, on_batch)
        with atomic.replace_file(path) as hidden:
            _save_features(hidden, found)
    return _load_features(path)


def _compute_features(
    crops: DatasetCrops, descriptor: Descriptor, on_batch: Callable[[int], None]
) -> ExtractedFeatures:
    descriptor.describe(crops[[0]])  # the first call prepares what later ones need
    batches = [
        list(range(start, min(start + BATCH_SIZE, len(crops))))
        for start in range(0, len(crops), BATCH_SIZE)
    ]
    found: list[FeatureRows] = []
    seconds: list[float] = []
    with ThreadPoolExecutor(1) as ahead:
        loading = ahead.submit(crops.__getitem__, batches[0])
        for place, batch in enumerate(batches):
            pictures = loading.result()
            if place + 1 < len(batches):
                loading = ahead.submit(crops.__getitem__, batches[place + 1])
            start = time.perf_counter()
            found.append(descriptor.describe(pictures))
            seconds.append(time.perf_counter() - start)
            on_batch(len(batch))
    return ExtractedFeatures(np.concatenate(found), np.array(seconds))  # type: ignore[arg-type]


def _read_pixels(photo: LabelledPhoto) -> NDArray[np.uint8]:
    try:
        return decode.decode_image(photo.path.read_bytes())
    except decode.BadPixels as error:
        raise ValueError(f"{photo.path}: {error}") from error


def _hash_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _save_features(path: Path, features: ExtractedFeatures) -> None:
    from safetensors.numpy import save_file

    save_file(
        {"rows": np.ascontiguousarray(features.rows), "seconds": features.batch_seconds}, path
    )


def _load_features(path: Path) -> ExtractedFeatures:
    from safetensors.numpy import load_file

    arrays = load_file(path)
    return ExtractedFeatures(arrays["rows"], arrays["seconds"])
