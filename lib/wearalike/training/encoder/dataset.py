"""Labelled photos -> the encoder's training data: images, classification tasks, two teachers."""

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
from wearalike.encoding import imagenet_itq, runtime
from wearalike.imaging import colour, decode
from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.training.encoder.augment import TrainingImage, prepare_image

# A class with fewer images teaches nothing.
MIN_IMAGES_PER_CLASS = 3
# The label of the colour code. Every other label is one of shape, except what an image shows.
COLOUR_LABEL = "colour"
# This label mixes type and colour, and is no task.
MIXED_LABEL = "both"
# Images in one forward pass of the shape teacher.
_TEACHER_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True)
class LabelTask:
    """One classification task.

    Attributes:
        name: "dataset:label".
        classes: Names of the classes.
        labels: int64 (n,). Class of each image of the dataset; -1 where it has no label.
        is_colour: True if the colour code learns the task, else the shape code does.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    is_colour: bool


@dataclass(frozen=True, slots=True)
class EncoderDataset:
    """All that an encoder learns from.

    Attributes:
        images: The n images.
        tasks: Classification tasks over them.
        shape_teacher: float32 (n, d). Unit rows whose cosines are the similarity of shapes.
        colour_teacher: float32 (n, d). The same of colours; zeros where nothing is known.
        backgrounds: uint8 (height, width, 3) each. Images to lay behind items.
    """

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
    """Build the training data of one split of labelled sets.

    Every label of every set is a task of its own: two shops may mean different things by a word.

    Args:
        sets: Labelled photos.
        device: "cpu" or "cuda", for the shape teacher.
        on_progress: Called with the number of images that are ready, and of all.
        split: Name of the split.

    Returns:
        The training data.

    Raises:
        ValueError: The split has fewer than two photos, or no label with two classes of enough
            images.
    """
    photos = [(s, photo) for s in sets for photo in s.photos if photo.split == split]
    if len(photos) < 2:
        names = ", ".join(s.name for s in sets) or "no set"
        raise ValueError(f"nothing to learn: {len(photos)} pictures in split {split!r} of {names}")
    images: list[TrainingImage] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for image in cores.map(lambda p: prepare_image(crop_item(p)), (p for _, p in photos)):
            images.append(image)
            on_progress(len(images), len(photos))
        shape_teacher = centre_and_normalize(_imagenet_features(images, device))
        palette = registry.read_encoder_arrays(registry.ENCODERS["imagenet-itq"])["palette"]
        histograms = np.stack(list(cores.map(lambda i: item_colour_histogram(i, palette), images)))
    tasks = tuple(_build_tasks(sets, photos))
    if not tasks:
        raise ValueError(
            "nothing to learn: no label of which two classes have "
            f"{MIN_IMAGES_PER_CLASS} pictures each"
        )
    return EncoderDataset(
        images,
        tasks,
        shape_teacher,
        colour_embeddings(histograms),
        _select_backgrounds(sets, photos, images),
    )


def crop_item(photo: LabelledPhoto) -> NDArray[np.uint8]:
    """Crop the labelled item: its box, or the foreground as the nightly run crops it.

    Args:
        photo: A labelled photo.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: The photo cannot be read.
    """
    content = photo.path.read_bytes()
    box = photo.box
    if box is None:
        row = detect.detect_items(detect.ForegroundDetector(), "", content)[0]
        if "x0" not in row:
            raise ValueError(f"{photo.path}: {row['reason']}")
        box = (row["x0"], row["y0"], row["x1"], row["y1"])  # type: ignore[assignment]
    return decode.crop(decode.decode_image(content), box)  # type: ignore[arg-type]


def item_colour_histogram(
    image: TrainingImage, palette: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the colour histogram of an image's item.

    Args:
        image: The item.
        palette: float32 (c, 3). Colours in CIELAB.

    Returns:
        float32 (c,), which sums to 1. All zeros if the background is not plain, because it would
        count too.
    """
    if colour.foreground_mask(colour.rgb_to_lab(image.rgb)) is None:
        return np.zeros(len(palette), np.float32)
    return imagenet_itq.colour_histogram(image.rgb, palette)


def colour_embeddings(histograms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit rows whose cosines tell how similar histograms are.

    They are the square roots of the histograms, centred and normalized.

    Args:
        histograms: float32 (n, c). A row sums to 1, or is all zeros.

    Returns:
        float32 (n, c). Rows of zeros stay zeros.
    """
    is_known = histograms.sum(axis=1) > 0.5
    embeddings = np.zeros_like(histograms)
    if is_known.any():
        embeddings[is_known] = centre_and_normalize(np.sqrt(histograms[is_known]))
    return embeddings


def centre_and_normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the mean row and scale every row to length 1.

    Args:
        rows: float32 (n, d).

    Returns:
        float32 (n, d).
    """
    centred = rows - rows.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.maximum(lengths, 1e-9)).astype(np.float32)


def _imagenet_features(images: Sequence[TrainingImage], device: str) -> NDArray[np.float32]:
    """Return ImageNet's pooled features, float32 (n, d)."""
    forward = runtime.feature_extractor(EFFICIENTNET_LITE0, device)
    starts = range(0, len(images), _TEACHER_BATCH_SIZE)
    batches = [[image.rgb for image in images[i : i + _TEACHER_BATCH_SIZE]] for i in starts]
    return np.concatenate([forward(batch) for batch in batches])


def _select_backgrounds(
    sets: Sequence[LabelledDataset],
    photos: Sequence[tuple[LabelledDataset, LabelledPhoto]],
    images: Sequence[TrainingImage],
) -> list[NDArray[np.uint8]]:
    """Return the images whose own ground is not plain, of the sets without colour labels."""
    has_colours = {id(s): COLOUR_LABEL in s.label_names for s in sets}
    return [
        image.rgb
        for image, (labelled, _) in zip(images, photos, strict=True)
        if image.alpha is None and not has_colours[id(labelled)]
    ]


def _build_tasks(
    sets: Iterable[LabelledDataset], photos: Sequence[tuple[LabelledDataset, LabelledPhoto]]
) -> Iterable[LabelTask]:
    """Yield a task for every label that has two classes with enough images."""
    for labelled in sets:
        for label in labelled.label_names:
            if label == MIXED_LABEL:
                continue
            class_ids = labelled.class_ids(label)
            class_by_photo = {
                id(p): int(c) for p, c in zip(labelled.photos, class_ids, strict=True)
            }
            found = [class_by_photo[id(p)] if s is labelled else -1 for s, p in photos]
            counts = Counter(c for c in found if c >= 0)
            classes = sorted(c for c, n in counts.items() if n >= MIN_IMAGES_PER_CLASS)
            if len(classes) < 2:
                continue
            position = {c: i for i, c in enumerate(classes)}
            yield LabelTask(
                name=f"{labelled.name}:{label}",
                classes=tuple(str(c) for c in classes),
                labels=np.array([position.get(c, -1) for c in found], np.int64),
                is_colour=label == COLOUR_LABEL,
            )
