"""Labelled photos -> lessons for the encoder's trainer: what to look at, what to tell apart, what is alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.encoding.hashnet import VIEW_PREFIX
from wearalike.imaging import colour, decode
from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.training.encoder.augment import TrainingImage, prepare_image

# A class of fewer pictures teaches nothing.
MIN_IMAGES_PER_CLASS = 3
# The label that tells colours; every other one tells shapes, but for what a picture shows. "both" mixes two and is no task.
COLOUR_LABEL, MIXED_LABEL = "colour", "both"


@dataclass(frozen=True, slots=True)
class LabelTask:
    """One thing to tell apart. labels: int64 (n,), row i is picture i, -1 where it has no label. of_colour: on which code."""

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    is_colour: bool


@dataclass(frozen=True, slots=True)
class EncoderDataset:
    """pictures: n of them. tasks: what is known of them. shape_teacher: float32 (n, d), unit rows, their cosines tell alike
    shapes. colour_teacher: the same of colour, a row of zeros where nothing is known. grounds: what to lay behind items."""

    images: Sequence[TrainingImage]
    tasks: tuple[LabelTask, ...]
    shape_teacher: NDArray[np.float32]
    colour_teacher: NDArray[np.float32]
    backgrounds: Sequence[NDArray[np.uint8]]


def build_dataset(
    sets: Sequence[LabelledDataset],
    device: str,
    on_progress: Callable[[int, int], None],
    split: str = "train",
) -> EncoderDataset:
    """The lessons in one split of labelled sets. told: called with how many pictures are ready, and how many there are.

    Every label of every set is a task of its own, for what two shops call alike need not be. Raises ValueError where there is
    nothing to learn.
    """
    photos = [(s, photo) for s in sets for photo in s.photos if photo.split == split]
    if len(photos) < 2:
        raise ValueError(
            f"nothing to learn: {len(photos)} pictures in split {split!r} of {', '.join(s.name for s in sets) or 'no set'}"
        )
    pictures: list[TrainingImage] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for picture in cores.map(
            lambda photo: prepare_image(crop_item(photo)), (p for _, p in photos)
        ):
            pictures.append(picture)
            on_progress(len(pictures), len(photos))
        shape_teacher = centre_and_normalize(_imagenet_features(pictures, device))
        palette = registry.read_encoder_arrays(registry.ENCODERS["imagenet-itq"])["palette"]
        histograms = np.stack(
            list(cores.map(lambda picture: item_colour_histogram(picture, palette), pictures))
        )
    tasks = tuple(_build_tasks(sets, photos))
    if not tasks:
        raise ValueError(
            f"nothing to learn: no label of which two classes have {MIN_IMAGES_PER_CLASS} pictures each"
        )
    has_colours = {id(s): COLOUR_LABEL in s.label_names for s in sets}
    grounds = [
        p.rgb
        for p, (s, _) in zip(pictures, photos, strict=True)
        if p.alpha is None and not has_colours[id(s)]
    ]
    return EncoderDataset(pictures, tasks, shape_teacher, colour_embeddings(histograms), grounds)


def crop_item(photo: LabelledPhoto) -> NDArray[np.uint8]:
    """The labelled item's pixels, uint8 (height, width, 3): its box, or what stands out, as the night would crop it."""
    content = photo.path.read_bytes()
    box = photo.box
    if box is None:
        row = detect.detect_items(detect.ForegroundDetector(), "", content)[0]
        if "x0" not in row:
            raise ValueError(f"{photo.path}: {row['reason']}")
        box = (row["x0"], row["y0"], row["x1"], row["y1"])  # type: ignore[assignment]
    return decode.crop(decode.decode_image(content), box)  # type: ignore[arg-type]


def item_colour_histogram(
    picture: TrainingImage, palette: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The colours of a picture's item (codes.colour_histogram); zeros where the ground is not plain, for it would count too."""
    if colour.foreground_mask(colour.rgb_to_lab(picture.rgb)) is None:
        return np.zeros(len(palette), np.float32)
    return encoders.colour_histogram(picture.rgb, palette)


def colour_embeddings(histograms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows whose cosines say how alike histograms are (their square roots, centred); zeros stay zeros."""
    is_known = histograms.sum(axis=1) > 0.5
    made = np.zeros_like(histograms)
    if is_known.any():
        made[is_known] = centre_and_normalize(np.sqrt(histograms[is_known]))
    return made


def centre_and_normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows minus their mean, each of length 1."""
    centred = rows - rows.mean(axis=0)
    return (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )


def _imagenet_features(pictures: Sequence[TrainingImage], device: str) -> NDArray[np.float32]:
    forward = encoders.feature_extractor(EFFICIENTNET_LITE0, device)
    return np.concatenate(
        [forward([p.rgb for p in pictures[i : i + 256]]) for i in range(0, len(pictures), 256)]
    )


def _build_tasks(
    sets: Iterable[LabelledDataset], photos: Sequence[tuple[LabelledDataset, LabelledPhoto]]
) -> Iterable[LabelTask]:
    for labelled in sets:
        for label in labelled.label_names:
            of_set = labelled.class_ids(label)
            number = {id(p): int(n) for p, n in zip(labelled.photos, of_set, strict=True)}
            found = np.array([number[id(p)] if s is labelled else -1 for s, p in photos], np.int64)
            often = sorted(
                c
                for c, count in Counter(found[found >= 0].tolist()).items()
                if count >= MIN_IMAGES_PER_CLASS
            )
            if label in (MIXED_LABEL, VIEW_PREFIX) or len(often) < 2:
                continue
            position = {c: i for i, c in enumerate(often)}
            labels = np.array([position.get(c, -1) for c in found.tolist()], np.int64)
            yield LabelTask(
                f"{labelled.name}:{label}",
                tuple(str(c) for c in often),
                labels,
                label == COLOUR_LABEL,
            )
