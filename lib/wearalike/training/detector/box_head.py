"""A trained detector and labelled images -> its box head (detection.networks.box_head).

The head reads each box of the network again and corrects its class. It learns from the boxes that
the network sees in training images, each with the class of the item it lies on, or "background".
It also learns from the items' own boxes, slightly displaced, and from what the network sees where
nobody stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import yolo
from wearalike.detection.networks.base import BOX_HEAD_PREFIX
from wearalike.detection.networks.box_head import BoxHead
from wearalike.metrics.boxes import box_iou
from wearalike.models.files import Model
from wearalike.training.detector import compose, scenes
from wearalike.training.detector.compose import SceneAugmentationConfig
from wearalike.training.detector.dataset import ScenesBySource
from wearalike.training.detector.scenes import CompressedScene, LabelledScene

BACKGROUND_CLASS = len(CLASS_NAMES)
# A box with at least this IoU with an item has the item's class.
_POSITIVE_IOU = 0.5
# A box with less than this IoU with every item is background. Boxes in between are ignored.
_NEGATIVE_IOU = 0.35
# In these sources every item is labelled, so that a box beside them is background. In the others
# only the first item is known.
_FULLY_LABELLED_SOURCES = ("masks", "studio", "boxes", "plain")
_STREET_SOURCES = ("masks", "boxes")
_SLIGHT_AUGMENTATION = SceneAugmentationConfig(
    zoom_in=0.1, zoom_out=0.1, turn_degrees=2.0, shift_ratio=0.02, light=0.1, tint=0.03
)
# The number of the view that shows only ground where nobody stands.
_BACKGROUND_VIEW = -1
# Added to standard deviations, so that features that hardly vary are not blown up.
_MIN_SPREAD = 1e-2

# Source, scene and number of a view.
ViewOfScene = tuple[str, CompressedScene, int]


@dataclass(frozen=True, slots=True)
class BoxHeadTrainingConfig:
    """Settings of a box head's training.

    The optimizer is AdamW: the learning rate rises in a tenth of the steps, then falls to 0 in a
    half cosine.

    Attributes:
        steps: All steps.
        batch: Boxes a step.
        learning_rate: Highest learning rate.
        weight_decay: AdamW's weight decay.
        views_per_image: Views of each street photo; the first is hardly changed.
        jittered_boxes_per_item: Displaced boxes made of each labelled item.
        jitter_ratio: Standard deviation of the displacement, in shares of the box's sides.
        scene_share: Share of the boxes that come from street photos.
        label_smoothing: Share of a label that is spread over all classes.
        seed: Seed of the training.
    """

    steps: int = 1500
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    views_per_image: int = 1
    jittered_boxes_per_item: int = 3
    jitter_ratio: float = 0.06
    scene_share: float = 0.5
    label_smoothing: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BoxHeadExamples:
    """Boxes to learn from.

    Attributes:
        features: float16 (n, d). ROI features of each box.
        labels: int64 (n,). Positions in CLASS_NAMES, or BACKGROUND_CLASS.
        is_scene: bool (n,). True for boxes of street photos.
    """

    features: NDArray[np.float16]
    labels: NDArray[np.int64]
    is_scene: NDArray[np.bool_]


def count_views(prepared: ScenesBySource, config: BoxHeadTrainingConfig) -> int:
    """Return the number of views that `extract_examples` looks at.

    Args:
        prepared: Scenes by source.
        config: Settings of the training.

    Returns:
        The number of views.
    """
    return sum(1 for _ in _iterate_views(prepared, config))


def extract_examples(
    model: Model,
    prepared: ScenesBySource,
    config: BoxHeadTrainingConfig,
    on_view: Callable[[], None],
    device: str = "cpu",
) -> BoxHeadExamples:
    """Run a detector's network over prepared scenes and label its boxes.

    Args:
        model: The trained detector.
        prepared: Scenes by source (dataset.prepare_scenes).
        config: Settings of the training.
        on_view: Called after each view.
        device: "cpu" or "cuda".

    Returns:
        The boxes.

    Raises:
        ValueError: No scene has an item.
        BadModel: The model is no such detector.
    """
    network = yolo.YoloInference(model, device)
    features: list[NDArray[np.float16]] = []
    labels: list[NDArray[np.int64]] = []
    is_scene: list[NDArray[np.bool_]] = []
    # The network on a GPU takes one caller at a time.
    threads_count = len(os.sched_getaffinity(0)) if device == "cpu" else 1
    with ThreadPoolExecutor(threads_count) as pool:
        for view_features, view_labels, is_street in pool.map(
            lambda numbered: _view_examples(network, numbered[0], numbered[1], config),
            enumerate(_iterate_views(prepared, config)),
        ):
            features.append(view_features)
            labels.append(view_labels)
            is_scene.append(np.full(len(view_labels), is_street))
            on_view()
    if not sum(map(len, labels)):
        raise ValueError("nothing to train the box head on: no picture has an item")
    return BoxHeadExamples(
        np.concatenate(features), np.concatenate(labels), np.concatenate(is_scene)
    )


def train_box_head(
    examples: BoxHeadExamples,
    config: BoxHeadTrainingConfig,
    on_step: Callable[[int, dict[str, float]], None],
) -> dict[str, NDArray[np.float16]]:
    """Train a box head.

    Args:
        examples: Boxes to learn from.
        config: Settings of the training.
        on_step: Called after each step with its number and its loss.

    Returns:
        float16 arrays by name, as a model file keeps them.
    """
    torch.manual_seed(config.seed)
    head = yolo.new_box_head(len(CLASS_NAMES))
    _set_normalization(head, examples.features)
    features = torch.from_numpy(examples.features)
    labels = torch.from_numpy(examples.labels)
    optimizer = torch.optim.AdamW(
        [p for p in head.parameters() if p.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, config.steps, pct_start=0.1
    )
    probabilities = torch.from_numpy(_sampling_probabilities(examples, config))
    for step in range(config.steps):
        rows = torch.multinomial(probabilities, config.batch, replacement=True)
        loss = functional.cross_entropy(
            head(features[rows].float()), labels[rows], label_smoothing=config.label_smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(step + 1, {"second look": loss.item()})
    return {
        f"{BOX_HEAD_PREFIX}{name}": tensor.detach().numpy().astype(np.float16)
        for name, tensor in head.state_dict().items()
    }


def _set_normalization(head: BoxHead, features: NDArray[np.float16]) -> None:
    """Give the head the mean and the standard deviation of its inputs."""
    mean = features.mean(axis=0, dtype=np.float64)
    spread = features.astype(np.float32).std(axis=0, dtype=np.float64) + _MIN_SPREAD
    head.mean.copy_(torch.from_numpy(mean))
    head.spread.copy_(torch.from_numpy(spread))


def _iterate_views(
    prepared: ScenesBySource, config: BoxHeadTrainingConfig
) -> Iterator[ViewOfScene]:
    """Yield every view: several and the background of street photos, one of any other image."""
    for source, source_scenes in prepared.items():
        is_street = source in _STREET_SOURCES
        for view in range(_BACKGROUND_VIEW, config.views_per_image) if is_street else (0,):
            for scene in source_scenes:
                yield source, scene, view


def _view_examples(
    network: yolo.YoloInference, number: int, view: ViewOfScene, config: BoxHeadTrainingConfig
) -> tuple[NDArray[np.float16], NDArray[np.int64], bool]:
    """Return features and labels of the boxes of one view, and True for a street photo."""
    source, compressed, view_number = view
    rng = np.random.default_rng([config.seed, number])
    scene = _render_view(compressed, view_number, rng)
    is_complete = source in _FULLY_LABELLED_SOURCES
    classes = scene.classes
    if not is_complete:
        # The first item is the labelled one, unless the view has lost it.
        has_first_item = classes[:1].tolist() == [*compressed.classes[:1]]
        classes = classes[:1] if has_first_item else classes[:0]
    truth_boxes = scenes.instance_boxes(scene.instance_map, len(scene.classes))[: len(classes)]
    (output,) = network.network_outputs(scene.rgb[None])
    _, proposals = yolo.proposals(output)
    labels = _assign_labels(proposals, truth_boxes, classes, is_complete)
    is_labelled = labels >= 0
    jittered = np.repeat(truth_boxes, config.jittered_boxes_per_item, axis=0)
    sides = np.tile(jittered[:, 2:] - jittered[:, :2], 2)
    jittered = jittered + rng.normal(0, config.jitter_ratio, jittered.shape) * sides
    corners = np.concatenate([proposals[is_labelled], jittered])
    jittered_labels = np.repeat(classes, config.jittered_boxes_per_item)
    with torch.inference_mode():
        features = output.roi_features(corners).half().numpy()
    all_labels = np.concatenate([labels[is_labelled], jittered_labels])
    return features, all_labels, source in _STREET_SOURCES


def _render_view(compressed: CompressedScene, view: int, rng: np.random.Generator) -> LabelledScene:
    """Lay a scene on the network's square: view 0 nearly as the nightly run lays it."""
    scene = compressed.decompress()
    if view == _BACKGROUND_VIEW:
        return compose.crop_background(scene, yolo.SIDE_PX, rng)
    augmentation = _SLIGHT_AUGMENTATION if view == 0 else SceneAugmentationConfig()
    return compose.augment_scene(scene, augmentation, yolo.SIDE_PX, rng)


def _assign_labels(
    boxes: NDArray[np.float64],
    truth_boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    is_complete: bool,
) -> NDArray[np.int64]:
    """Label boxes by the items they lie on.

    Args:
        boxes: float64 (n, 4). Boxes of the network.
        truth_boxes: float64 (m, 4). Boxes of the labelled items.
        classes: int64 (m,). Classes of the items.
        is_complete: True if every item is labelled.

    Returns:
        int64 (n,). A class, BACKGROUND_CLASS, or -1 to ignore the box.
    """
    if not len(truth_boxes):
        return np.full(len(boxes), BACKGROUND_CLASS if is_complete else -1)
    overlaps = box_iou(boxes, truth_boxes)
    largest = overlaps.max(axis=1)
    nearest = overlaps.argmax(axis=1)
    is_background = (largest < _NEGATIVE_IOU) & is_complete
    other = np.where(is_background, BACKGROUND_CLASS, -1)
    return np.where(largest >= _POSITIVE_IOU, classes[nearest], other)


def _sampling_probabilities(
    examples: BoxHeadExamples, config: BoxHeadTrainingConfig
) -> NDArray[np.float64]:
    """Draw a class as often as the square root of its count, street photos by scene_share."""
    probabilities = compose.sampling_probabilities(examples.labels.tolist())
    for is_scene, share in ((True, config.scene_share), (False, 1 - config.scene_share)):
        rows = examples.is_scene == is_scene
        if rows.any():
            probabilities[rows] *= share / probabilities[rows].sum()
    return probabilities / probabilities.sum()
