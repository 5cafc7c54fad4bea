"""Labelled pictures, and a detector that has learned -> the head of its second look (detectors.second_look).

What it learns from is what the network will show it: the boxes that the network sees in training pictures, each with the class of
the item it lies on, or "nothing"; the items' own boxes, a little displaced; and what the network sees where nobody stands.
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
from torchvision.ops import box_iou

from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import yolo
from wearalike.detection.networks.base import BOX_HEAD_PREFIX
from wearalike.models.files import Model
from wearalike.training.detector import scenes
from wearalike.training.detector.dataset import ScenesBySource
from wearalike.training.detector.scenes import (
    CompressedScene,
    LabelledScene,
    SceneAugmentationConfig,
)

BACKGROUND_CLASS = len(CLASS_NAMES)
# A box that overlaps an item as much is of its class, one that overlaps none as much shows nothing; what lies between says nothing.
_POSITIVE_IOU, _NEGATIVE_IOU = 0.5, 0.35
# Pictures in which every item is labelled: what the network sees beside them is nothing. Of the others only the first is known.
_FULLY_LABELLED_KINDS = ("masks", "boxes", "plain")
_SCENE_KINDS = ("masks", "boxes")
_SLIGHT_AUGMENTATION = SceneAugmentationConfig(
    zoom_in=0.1, zoom_out=0.1, turn_degrees=2.0, shift_ratio=0.02, light=0.1, tint=0.03
)


@dataclass(frozen=True, slots=True)
class BoxHeadTrainingConfig:
    """steps, batch: how long, and how many boxes a step. rate: the highest learning rate (AdamW, up in a tenth of the steps, then a
    half cosine down to 0). views: of each picture with all its items labelled, the first as it is. displaced: boxes made of each
    labelled item, and how far they stray, a standard deviation in shares of its sides. scene_share: of the boxes learned from,
    those of pictures with all items labelled. smoothing: how much of a label is spread over all classes."""

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
    """features: float16 (n, d), what box_head.roi_features gives of a box. labels: int64 (n,), positions in CLASSES, NOTHING behind them.
    is_scene: bool (n,), from a picture of which every item is known."""

    features: NDArray[np.float16]
    labels: NDArray[np.int64]
    is_scene: NDArray[np.bool_]


def count_views(scenes: ScenesBySource, config: BoxHeadTrainingConfig) -> int:
    """At how many views of pictures `examples` looks."""
    return sum(1 for _ in _iterate_views(scenes, config))


def extract_examples(
    model: Model,
    scenes: ScenesBySource,
    config: BoxHeadTrainingConfig,
    on_view: Callable[[], None],
    device: str = "cpu",
) -> BoxHeadExamples:
    """What a detector's network shows of prepared pictures (dataset.prepare_scenes). told: called after each view. Raises ValueError where
    it shows nothing."""
    network, cores = yolo.YoloInference(model, device), len(os.sched_getaffinity(0))
    found: list[tuple[NDArray[np.float16], NDArray[np.int64], bool]] = []
    # The network on a GPU takes one caller at a time.
    with ThreadPoolExecutor(cores if device == "cpu" else 1) as pool:
        for shown in pool.map(
            lambda view: _view_examples(network, view[0], view[1], config),
            enumerate(_iterate_views(scenes, config)),
        ):
            found.append(shown)
            on_view()
    if not found or not sum(len(labels) for _, labels, _ in found):
        raise ValueError("nothing to learn a second look from: no picture has an item")
    is_scene = np.repeat([often for _, _, often in found], [len(labels) for _, labels, _ in found])
    return BoxHeadExamples(
        np.concatenate([f for f, _, _ in found]),
        np.concatenate([labels for _, labels, _ in found]),
        is_scene,
    )


def _view_examples(
    network: yolo.YoloInference,
    number: int,
    spec: tuple[str, CompressedScene, int],
    config: BoxHeadTrainingConfig,
) -> tuple[NDArray[np.float16], NDArray[np.int64], bool]:
    """What the network shows of one view: rows of Examples."""
    name, packed, view = spec
    rng = np.random.default_rng([config.seed, number])
    made, is_complete = _render_view(packed, view, rng), name in _FULLY_LABELLED_KINDS
    classes = made.classes
    if not is_complete:
        # Their first item is the one that their label names, unless the view has lost it.
        classes = classes[:1] if classes[:1].tolist() == [*packed.classes[:1]] else classes[:0]
    wanted = scenes.instance_boxes(made.instance_map, len(made.classes))[: len(classes)]
    (glance,) = network.network_outputs(made.rgb[None])
    _, seen = yolo.proposals(glance)
    labels = _assign_labels(seen, wanted, classes, is_complete)
    near = np.repeat(wanted, config.jittered_boxes_per_item, axis=0)
    near = near + rng.normal(0, config.jitter_ratio, near.shape) * np.tile(
        near[:, 2:] - near[:, :2], 2
    )
    corners = np.concatenate([seen[labels >= 0], near])
    with torch.inference_mode():
        features = glance.roi_features(corners).half().numpy()
    return (
        features,
        np.concatenate([labels[labels >= 0], np.repeat(classes, config.jittered_boxes_per_item)]),
        name in _SCENE_KINDS,
    )


def train_box_head(
    examples: BoxHeadExamples,
    config: BoxHeadTrainingConfig,
    on_step: Callable[[int, dict[str, float]], None],
) -> dict[str, NDArray[np.float16]]:
    """The tensors of a second look, float16 by name, as a model file keeps them. told: called after each step with its number and
    its loss."""
    torch.manual_seed(config.seed)
    head = yolo.new_box_head(len(CLASS_NAMES))
    features, labels = torch.from_numpy(examples.features), torch.from_numpy(examples.labels)
    head.mean.copy_(torch.from_numpy(examples.features.mean(axis=0, dtype=np.float64)))
    # Added, so that what hardly ever varies is not blown up.
    head.spread.copy_(
        torch.from_numpy(examples.features.astype(np.float32).std(axis=0, dtype=np.float64) + 1e-2)
    )
    learning = [p for p in head.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        learning, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, config.steps, pct_start=0.1
    )
    chances = torch.from_numpy(_sampling_probabilities(examples, config))
    for step in range(config.steps):
        rows = torch.multinomial(chances, config.batch, replacement=True)
        loss = functional.cross_entropy(
            head(features[rows].float()), labels[rows], label_smoothing=config.label_smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        on_step(step + 1, {"second look": loss.item()})
    return {
        f"{BOX_HEAD_PREFIX}{name}": t.detach().numpy().astype(np.float16)
        for name, t in head.state_dict().items()
    }


def _iterate_views(
    scenes: ScenesBySource, config: BoxHeadTrainingConfig
) -> Iterator[tuple[str, CompressedScene, int]]:
    for name, found in scenes.items():
        for view in range(-1, config.views_per_image) if name in _SCENE_KINDS else (0,):
            yield from ((name, packed, view) for packed in found)


def _render_view(packed: CompressedScene, view: int, rng: np.random.Generator) -> LabelledScene:
    """A picture on the network's square: nearly as the night lays it, farther from that, or (-1) only ground where nobody stands."""
    if view < 0:
        return scenes.crop_background(packed.decompress(), yolo.SIDE_PX, rng)
    return scenes.augment_scene(
        packed.decompress(),
        _SLIGHT_AUGMENTATION if view == 0 else SceneAugmentationConfig(),
        yolo.SIDE_PX,
        rng,
    )


def _assign_labels(
    boxes: NDArray[np.float64],
    truth_boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    is_complete: bool,
) -> NDArray[np.int64]:
    """The class of each box seen, int64 (n,), NOTHING where none is, -1 where nobody knows. wanted: boxes, float64 (m, 4), of items
    of `classes`, int64 (m,)."""
    if not len(truth_boxes):
        return np.full(len(boxes), BACKGROUND_CLASS if is_complete else -1)
    overlaps = box_iou(torch.from_numpy(boxes), torch.from_numpy(truth_boxes)).numpy()
    most, nearest = overlaps.max(axis=1), overlaps.argmax(axis=1)
    is_off = (most < _NEGATIVE_IOU) & is_complete
    return np.where(most >= _POSITIVE_IOU, classes[nearest], np.where(is_off, BACKGROUND_CLASS, -1))


def _sampling_probabilities(
    examples: BoxHeadExamples, config: BoxHeadTrainingConfig
) -> NDArray[np.float64]:
    """How often each example is taken: a class as often as the square root of its number, scenes as often as the recipe says."""
    chances = scenes.sampling_probabilities(examples.labels.tolist())
    for is_scene, share in ((True, config.scene_share), (False, 1 - config.scene_share)):
        of = examples.is_scene == is_scene
        if of.any():
            chances[of] *= share / chances[of].sum()
    return chances / chances.sum()
