"""Labelled images -> the head of the FCOS network, on a backbone that does not learn.

The backbone runs once over some views of every image, and a few cells of each view are kept with
their ground truth. The head, which reads single cells, then learns from them in minutes, where
whole pictures would take hours without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import fcos, fcos_training
from wearalike.detection.networks.backbone import FrozenFeatures
from wearalike.detection.networks.base import DetectionTargets, normalize_for_backbone
from wearalike.storage import atomic
from wearalike.training import amp
from wearalike.training.detector import compose, dataset
from wearalike.training.detector.compose import SceneAugmentationConfig
from wearalike.training.detector.dataset import ScenesBySource
from wearalike.training.detector.scenes import CompressedScene, LabelledScene, instance_boxes
from wearalike.training.loop import TrainingLoop

_SLIGHT_AUGMENTATION = SceneAugmentationConfig(
    zoom_in=0.3, zoom_out=0.1, turn_degrees=2.0, shift_ratio=0.05, light=0.1, tint=0.03
)
# Views whose cells are kept in one file, so that a stopped preparation goes on.
_VIEWS_PER_FILE = 64
_STEPS_PER_CHECKPOINT = 100
# Added to standard deviations, so that features that hardly vary are not blown up.
_MIN_SPREAD = 1e-2
# About so many cells give mean and standard deviation of the features.
_NORMALIZATION_CELLS = 20_000
_WARMUP_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class CellHeadTrainingConfig:
    """Settings of the training of the head.

    The optimizer is AdamW: the learning rate rises linearly, then falls to 0 in a half cosine.

    Attributes:
        steps: All steps.
        batch: Cells a step.
        learning_rate: Highest learning rate.
        weight_decay: AdamW's weight decay.
        masked_views: Views of each photo with a mask; the first is hardly changed.
        studio_views: Views of each figure on plain ground.
        single_views: Views of photos of single things, in all; drawn evenly by class.
        laid_views: Views of single things pasted on other grounds, in all.
        cells_per_view: Cells that are kept of a view; two of three are on items, evenly by item.
        seed: Seed of the training.
    """

    steps: int = 1300
    batch: int = 2048
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    masked_views: int = 4
    studio_views: int = 4
    single_views: int = 1200
    laid_views: int = 400
    cells_per_view: int = 96
    seed: int = 0


class Cells(NamedTuple):
    """Cells with their ground truth.

    Attributes:
        features: float16 (n, fcos.FEATURES_COUNT).
        classes: int64 (n,). 0 for no garment, else 1 + position in CLASS_NAMES.
        distances: float32 (n, 4). Logarithms of left, top, right and bottom, in cells.
    """

    features: NDArray[np.float16]
    classes: NDArray[np.int64]
    distances: NDArray[np.float32]


def extract_cells(
    prepared: ScenesBySource,
    config: CellHeadTrainingConfig,
    folder: Path,
    on_view: Callable[[int], None],
    device: str = "cpu",
    is_time_up: Callable[[], bool] = lambda: False,
) -> Cells | None:
    """Run the backbone over views of prepared scenes and keep some cells of each.

    Args:
        prepared: Scenes by source (dataset.prepare_scenes).
        config: Settings of the training.
        folder: Where finished parts are kept, so that the same call goes on where it stopped.
        on_view: Called with the number of views that were done.
        device: "cpu" or "cuda".
        is_time_up: Asked before each part; True stops.

    Returns:
        The cells; None if the time was up before all were there.
    """
    network = fcos.GarmentFcos(len(CLASS_NAMES))
    network.trunk.load_imagenet_weights()
    backbone = FrozenFeatures(network.trunk, device)
    folder.mkdir(parents=True, exist_ok=True)
    views = list(_iterate_views(prepared, config))
    # Any first part of the views is like all of them.
    views = [views[i] for i in np.random.default_rng(config.seed).permutation(len(views))]
    parts = []
    for start in range(0, len(views), _VIEWS_PER_FILE):
        some = views[start : start + _VIEWS_PER_FILE]
        path = folder / f"{start:06d}.npz"
        if not path.exists():
            if is_time_up():
                return None
            made = [
                _view_cells(render(), backbone, config, start + i) for i, render in enumerate(some)
            ]
            features, classes, distances = (
                np.concatenate(column) for column in zip(*made, strict=True)
            )
            with atomic.replace_file(path) as hidden, hidden.open("wb") as file:
                np.savez(file, features=features, classes=classes, distances=distances)
        with np.load(path, allow_pickle=False) as kept:
            parts.append([kept[name] for name in Cells._fields])
        on_view(len(some))
    return Cells(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def count_views(prepared: ScenesBySource, config: CellHeadTrainingConfig) -> int:
    """Return the number of views that `extract_cells` looks at."""
    return sum(1 for _ in _iterate_views(prepared, config))


def _iterate_views(
    prepared: ScenesBySource, config: CellHeadTrainingConfig
) -> Iterator[Callable[[], LabelledScene]]:
    """Yield a function for each view, which renders it."""
    sources, backgrounds = dataset.scene_sources(prepared)
    strong = SceneAugmentationConfig()
    number = 0

    def rng() -> np.random.Generator:
        return np.random.default_rng([config.seed, number])

    fixed = {"masks": config.masked_views, "studio": config.studio_views, "boxes": 2, "seen": 1}
    for source in sources:
        if source.name in fixed:
            for view in range(fixed[source.name]):
                is_slight = source.name == "masks" and view == 0
                augmentation = _SLIGHT_AUGMENTATION if is_slight else strong
                for picture in source.pictures:
                    yield partial(_render_picture, picture, augmentation, rng())
                    number += 1
        else:
            count = config.laid_views if source.max_pasted_items else config.single_views
            for _ in range(count):
                yield partial(
                    compose.compose_scene,
                    [source],
                    backgrounds,
                    strong,
                    fcos.TRAINING_SIDE_PX,
                    rng(),
                )
                number += 1


def _render_picture(
    picture: CompressedScene, augmentation: SceneAugmentationConfig, rng: np.random.Generator
) -> LabelledScene:
    """Return a scene moved and lit otherwise."""
    return compose.augment_scene(picture.decompress(), augmentation, fcos.TRAINING_SIDE_PX, rng)


def _view_cells(
    scene: LabelledScene, backbone: FrozenFeatures, config: CellHeadTrainingConfig, number: int
) -> Cells:
    """Return some cells of one view."""
    count = len(scene.classes)
    targets = DetectionTargets(
        np.zeros(count, np.int64),
        scene.classes,
        instance_boxes(scene.instance_map, count),
        scene.instance_map[None],
    )
    truth = fcos_training.cell_targets(targets)
    classes, boxes = truth.classes[0], truth.boxes[0]
    rng = np.random.default_rng([config.seed, 1, number])
    on_items = np.flatnonzero(classes)
    # A cell counts in the box loss by its item, so these are even draws of items.
    shares = truth.box_weights[0][on_items]
    wanted = min(len(on_items), config.cells_per_view * 2 // 3)
    chosen = on_items[:0]
    if wanted:
        chosen = rng.choice(on_items, wanted, replace=False, p=shares / shares.sum())
    ground = np.flatnonzero(classes == 0)
    others = rng.choice(ground, min(len(ground), config.cells_per_view - wanted), replace=False)
    at = np.sort(np.concatenate([chosen, others]))
    with torch.no_grad():
        maps = backbone(normalize_for_backbone(scene.rgb[None]), is_backbone_frozen=True)
        features = fcos.cell_features(*maps)[0].flatten(1)[:, at].T
    return Cells(
        features.half().cpu().numpy(),
        classes[at],
        fcos.encode_boxes(boxes[at], at, scene.rgb.shape[0]),
    )


def train_cell_head(
    cells: Cells,
    config: CellHeadTrainingConfig,
    checkpoint: Path,
    on_step: Callable[[int, dict[str, float]], None],
    is_time_up: Callable[[], bool] = lambda: False,
) -> dict[str, NDArray[np.float32]] | None:
    """Train the head.

    Args:
        cells: From `extract_cells`.
        config: Settings of the training.
        checkpoint: File of a former sitting, and for the next.
        on_step: Called after each step with its number and its losses.
        is_time_up: Asked after each checkpoint; True stops.

    Returns:
        All arrays of the network by name, the backbone's too; None if the time was up before.
    """
    torch.manual_seed(config.seed)
    network = fcos.GarmentFcos(len(CLASS_NAMES))
    network.trunk.load_imagenet_weights()
    head = [p for name, p in network.named_parameters() if not name.startswith("trunk.")]
    mean, spread = _normalization(cells.features)
    loop = TrainingLoop(
        {"network": network},
        parameter_groups=[(head, config.learning_rate)],
        averaged_state=lambda: {
            n: t for n, t in network.state_dict().items() if not n.startswith("trunk.")
        },
        learning_rate_factor=lambda step: _learning_rate_factor(step, config.steps),
        identity={"config": asdict(config), "cells": len(cells.classes), "classes": CLASS_NAMES},
        seed=config.seed,
        weight_decay=config.weight_decay,
        ema_decay=0.99,
        max_gradient_norm=10.0,
        device="cpu",
    )
    if checkpoint.exists():
        loop.load_checkpoint(checkpoint)
    probabilities = torch.from_numpy(compose.sampling_probabilities(cells.classes.tolist()))
    features, classes, distances = (torch.from_numpy(a) for a in cells)
    while loop.step < config.steps:
        loop.seed_step()
        rows = torch.multinomial(probabilities, config.batch, replacement=True)
        read = ((features[rows].float() - mean) / spread)[..., None, None]
        with amp.autocast("cpu"):
            outputs = network.cell_outputs(read)
        losses = _cell_losses(outputs, classes[rows], distances[rows])
        on_step(loop.step + 1, loop.take_step(losses))
        if loop.step % _STEPS_PER_CHECKPOINT == 0:
            loop.save_checkpoint(checkpoint)
            if is_time_up() and loop.step < config.steps:
                return None
    network.load_state_dict(network.state_dict() | loop.average)
    _fold_normalization(network, mean, spread)
    return {n: t.detach().numpy() for n, t in network.state_dict().items()}


def _cell_losses(
    outputs: tuple[Tensor, Tensor, Tensor], classes: Tensor, distances: Tensor
) -> dict[str, Tensor]:
    """Return the losses of single cells by name."""
    logits, boxes, quality = (o.float().flatten(1) for o in outputs)
    on_items = classes > 0
    origin = torch.zeros(len(classes), 2)
    seen, wanted = (fcos.reach_to_boxes(origin, d)[on_items] for d in (boxes, distances))
    return fcos_training.weighted_losses(
        logits,
        classes,
        torch.ones(len(classes)),
        seen,
        wanted,
        quality[on_items, 0],
        torch.ones(len(seen)),
    )


def _normalization(features: NDArray[np.float16]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature, of evenly drawn cells."""
    some = features[:: max(1, len(features) // _NORMALIZATION_CELLS)].astype(np.float32)
    mean = some.mean(axis=0, dtype=np.float64)
    spread = some.std(axis=0, dtype=np.float64) + _MIN_SPREAD
    return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()


def _fold_normalization(network: fcos.GarmentFcos, mean: Tensor, spread: Tensor) -> None:
    """Let the first layers take features as they are."""
    layers = [cast(nn.Conv2d, layer) for layer in (*network.lateral, network.context)]
    sizes = [layer.weight.shape[1] for layer in layers]
    bias = cast(nn.Conv2d, network.lateral[0]).bias
    assert bias is not None
    with torch.no_grad():
        for layer, m, s in zip(layers, mean.split(sizes), spread.split(sizes), strict=True):
            layer.weight.div_(s[None, :, None, None])
            bias.sub_((layer.weight[..., 0, 0] * m).sum(dim=1))


def _learning_rate_factor(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the highest."""
    rise = min(1.0, (step + 1) / max(1, _WARMUP_RATIO * steps))
    return rise * 0.5 * (1 + float(np.cos(np.pi * step / max(1, steps))))
