"""Labelled images -> the weights of a detector, of any architecture in detection.networks.base.

First the heads learn on a frozen backbone, which is quick. Then both learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import base
from wearalike.detection.networks import registry as networks
from wearalike.detection.networks.base import DetectionTargets, normalize_for_backbone
from wearalike.models.files import Model, check_shapes
from wearalike.training import amp
from wearalike.training.detector.compose import (
    SceneAugmentationConfig,
    SceneSource,
    compose_scene,
)
from wearalike.training.detector.scenes import CompressedScene, instance_boxes
from wearalike.training.loop import TrainingLoop, prefetch

_MAX_GRADIENT_NORM = 10.0
# Learning rate of the last step, as a share of the highest.
_FINAL_LEARNING_RATE_FACTOR = 0.02


@dataclass(frozen=True, slots=True)
class DetectorTrainingConfig:
    """Settings of a detector's training.

    The optimizer is AdamW: the learning rate rises linearly, then falls to a fiftieth in a half
    cosine.

    Attributes:
        architecture: One of networks.ARCHITECTURES.
        steps: All steps.
        batch: Scenes a step.
        freeze_backbone_steps: First steps, in which the backbone is frozen.
        mask_interval: Masks are learned in every step of this number, boxes in all steps.
        backbone_learning_rate: Highest learning rate of the backbone.
        head_learning_rate: Highest learning rate of the heads.
        warmup_steps: Steps in which the learning rate rises.
        weight_decay: AdamW's weight decay.
        ema_decay: Decay of the weight average, which is the result.
        seed: Seed of the training.
        augmentation: Strength of the augmentation.
    """

    architecture: str = networks.FCOS
    steps: int = 2000
    batch: int = 8
    freeze_backbone_steps: int = 1200
    mask_interval: int = 4
    backbone_learning_rate: float = 3e-4
    head_learning_rate: float = 2e-3
    warmup_steps: int = 60
    weight_decay: float = 0.02
    ema_decay: float = 0.995
    seed: int = 0
    augmentation: SceneAugmentationConfig = field(default_factory=SceneAugmentationConfig)


class DetectorTrainer:
    """Trains a detector. `run` goes on from `step`.

    Attributes:
        sources: Images that scenes are drawn from.
        backgrounds: Photos to paste items on.
        config: Settings of the training.
        device: "cpu" or "cuda".
        network: The network as it is now; `averaged_weights` returns the result.

    Example:
        >>> trainer = DetectorTrainer(sources, backgrounds, DetectorTrainingConfig(steps=500))
        >>> trainer.run(500, lambda step, losses: print(step, losses))
        >>> arrays = trainer.averaged_weights()
    """

    def __init__(
        self,
        sources: Sequence[SceneSource],
        backgrounds: Sequence[CompressedScene],
        config: DetectorTrainingConfig,
        device: str = "cpu",
    ) -> None:
        """Build the network and its training loop, at step 0.

        Args:
            sources: Images that scenes are drawn from.
            backgrounds: Photos to paste items on.
            config: Settings of the training.
            device: "cpu" or "cuda".
        """
        torch.manual_seed(config.seed)
        self.sources = sources
        self.backgrounds = backgrounds
        self.config = config
        self.device = device
        self._detector = networks.new_trainable_detector(
            config.architecture, len(CLASS_NAMES), device
        )
        self.network = self._detector.network
        amp.keep_depthwise_in_float32(self.network, device)
        self._loop = self._build_loop()

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self._loop.step

    def run(self, until_step: int, on_step: Callable[[int, dict[str, float]], None]) -> None:
        """Take steps until a step is reached, or the last of the config.

        Args:
            until_step: Number of the last step to take.
            on_step: Called after each step with its number and its losses.
        """
        last = min(until_step, self.config.steps)
        for features, targets in prefetch(self._build_batch, range(self.step, last)):
            losses = self._take_step(features, targets)
            on_step(self.step, losses)

    def averaged_weights(self) -> dict[str, NDArray[np.float16]]:
        """Return the averaged network as a model file keeps it.

        Returns:
            float16 arrays by name.
        """
        return {
            name: tensor.cpu().contiguous().numpy().astype(np.float16)
            for name, tensor in self._loop.average.items()
        }

    def save_checkpoint(self, path: Path) -> None:
        """Write all that a later run needs to resume.

        Args:
            path: File to write.
        """
        self._loop.save_checkpoint(path)

    def load_checkpoint(self, path: Path) -> None:
        """Resume from a checkpoint.

        Args:
            path: File that `save_checkpoint` wrote.

        Raises:
            ValueError: The checkpoint has another config or other images.
        """
        self._loop.load_checkpoint(path)

    def init_from(self, model: Model) -> None:
        """Start from a model's arrays instead of ImageNet's.

        The model's box head is left out: it was trained on another network's boxes.

        Args:
            model: A detector of the same architecture.

        Raises:
            BadModel: The arrays belong to another network.
        """
        arrays = {
            name: array
            for name, array in model.arrays.items()
            if not name.startswith(base.BOX_HEAD_PREFIX)
        }
        shapes = {name: tuple(tensor.shape) for name, tensor in self._loop.average.items()}
        check_shapes(replace(model, arrays=arrays), shapes)
        base.load_arrays(self.network, arrays)
        self._loop.reset_average()

    def _build_loop(self) -> TrainingLoop:
        """Return the loop of this training."""
        config = self.config
        sources = {s.name: [len(s.pictures), s.share] for s in self.sources}
        return TrainingLoop(
            {"network": self.network},
            parameter_groups=[
                (self._detector.backbone_parameters, config.backbone_learning_rate),
                (self._detector.head_parameters, config.head_learning_rate),
            ],
            averaged_state=self._averaged_state,
            learning_rate_factor=lambda step: _learning_rate_factor(step, config),
            identity={
                "config": asdict(config),
                "sources": sources,
                "backgrounds": len(self.backgrounds),
                "classes": CLASS_NAMES,
            },
            seed=config.seed,
            weight_decay=config.weight_decay,
            ema_decay=config.ema_decay,
            max_gradient_norm=_MAX_GRADIENT_NORM,
            device=self.device,
        )

    def _averaged_state(self) -> dict[str, Tensor]:
        """Return what a model file keeps: parameters and running statistics, but no counters."""
        return {n: t for n, t in self.network.state_dict().items() if t.is_floating_point()}

    def _build_batch(self, step: int) -> tuple[Any, DetectionTargets]:
        """Return the frozen layers' features and the targets of a step, from 0."""
        config = self.config
        scenes = [
            compose_scene(
                self.sources,
                self.backgrounds,
                config.augmentation,
                self._detector.side_px,
                np.random.default_rng([config.seed, step, number]),
            )
            for number in range(config.batch)
        ]
        counts = [len(scene.classes) for scene in scenes]
        targets = DetectionTargets(
            np.repeat(np.arange(len(scenes)), counts),
            np.concatenate([scene.classes for scene in scenes]),
            np.concatenate([instance_boxes(s.instance_map, len(s.classes)) for s in scenes]),
            np.stack([scene.instance_map for scene in scenes]),
        )
        pixels = normalize_for_backbone(np.stack([scene.rgb for scene in scenes]))
        is_backbone_frozen = step < config.freeze_backbone_steps
        return self._detector.frozen_features(pixels, is_backbone_frozen), targets

    def _take_step(self, features: Any, targets: DetectionTargets) -> dict[str, float]:
        """Take a step and return its losses."""
        self._loop.seed_step()
        with_masks = self.step % self.config.mask_interval == 0
        with amp.autocast(self.device):
            losses = self._detector.losses(features, targets, with_masks)
        return self._loop.take_step(losses)


def _learning_rate_factor(step: int, config: DetectorTrainingConfig) -> float:
    """Return the learning rate of a step as a share of the highest."""
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * step / max(1, config.steps)))
    return rise * (_FINAL_LEARNING_RATE_FACTOR + (1 - _FINAL_LEARNING_RATE_FACTOR) * fall)
