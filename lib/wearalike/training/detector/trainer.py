"""Labelled pictures -> the weights of a detector, of any architecture in wearalike.detection.networks.base.

First the heads learn on a trunk that stands still, which is quick, then both. A step is a function of seed and number, so a
training that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import base
from wearalike.detection.networks.backbone import normalize_for_backbone
from wearalike.detection.networks.base import DetectionTargets
from wearalike.models.files import Model, check_shapes
from wearalike.storage import atomic
from wearalike.training import amp
from wearalike.training.detector.scenes import (
    CompressedScene,
    SceneAugmentationConfig,
    SceneSource,
    compose_scene,
    instance_boxes,
)
from wearalike.training.loop import prefetch


@dataclass(frozen=True, slots=True)
class DetectorTrainingConfig:
    """steps, batch: how long, and how many scenes a step. still_steps: of them the first, in which the trunk learns nothing.
    side_px: of a scene. trunk_rate, heads_rate: highest learning rates (AdamW, risen to in `warm_steps`, then a half cosine down
    to a fiftieth). mask_every: masks are learned in every step of that number, boxes in all. average_decay: of the weights'
    running mean, which is what is kept."""

    architecture: str = base.YOLO
    steps: int = 2000
    batch: int = 8
    still_steps: int = 1200
    mask_every: int = 4
    trunk_rate: float = 3e-4
    heads_rate: float = 2e-3
    warm_steps: int = 60
    weight_decay: float = 0.02
    average_decay: float = 0.995
    seed: int = 0
    variation: SceneAugmentationConfig = field(default_factory=SceneAugmentationConfig)


class DetectorTrainer:
    """Trains a network. `run` goes on from `step`; `save` and `load` keep all that a later run needs."""

    def __init__(
        self,
        sources: Sequence[SceneSource],
        backgrounds: Sequence[CompressedScene],
        config: DetectorTrainingConfig,
        device: str = "cpu",
    ) -> None:
        """device: "cpu" or "cuda"."""
        torch.manual_seed(config.seed)
        self.sources, self.grounds, self.recipe, self.device, self.step = (
            sources,
            backgrounds,
            config,
            device,
            0,
        )
        self._learner = base.new_trainable_detector(config.architecture, len(CLASS_NAMES), device)
        self.network = self._learner.network
        amp.keep_depthwise_in_float32(self.network, device)
        self._average = base.copy_state(self.network)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": self._learner.backbone_parameters, "top_rate": config.trunk_rate},
                {"params": self._learner.head_parameters, "top_rate": config.heads_rate},
            ],
            lr=config.heads_rate,
            weight_decay=config.weight_decay,
        )

    def run(self, until_step: int, on_step: Callable[[int, dict[str, float]], None]) -> None:
        """Steps up to `until` (or the recipe's last). tell: called after each with its number and its losses."""
        last = min(until_step, self.recipe.steps)
        for seen, targets in prefetch(self._build_batch, range(self.step, last)):
            losses = self._take_step(seen, targets)
            self.step += 1
            on_step(self.step, losses)

    def averaged_weights(self) -> dict[str, NDArray[np.float16]]:
        """The averaged network as it is kept in a file: float16 arrays by name."""
        return {
            name: t.cpu().contiguous().numpy().astype(np.float16)
            for name, t in self._average.items()
        }

    def save_checkpoint(self, path: Path) -> None:
        state = {
            "step": self.step,
            "training": self._checkpoint_identity(),
            "network": self.network.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic.replace_file(path) as hidden:
            torch.save(state, hidden)

    def load_checkpoint(self, path: Path) -> None:
        """Goes on from a checkpoint. Raises ValueError where it is of another recipe or other pictures."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["training"] != self._checkpoint_identity():
            raise ValueError(
                f"{path}: a checkpoint of another training: {state['training'][:500]}, wanted {self._checkpoint_identity()[:500]}"
            )
        self.network.load_state_dict(state["network"])
        self._average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def init_from(self, model: Model) -> None:
        """Begins with the tensors of a model instead of ImageNet's, but for its second look, which would be at another network's
        sights. Raises BadModel where they are of another network."""
        first = replace(
            model,
            arrays={
                name: a
                for name, a in model.arrays.items()
                if not name.startswith(base.BOX_HEAD_PREFIX)
            },
        )
        check_shapes(first, {name: tuple(t.shape) for name, t in self._average.items()})
        base.load_arrays(self.network, first.arrays)
        self._average = base.copy_state(self.network)

    def _checkpoint_identity(self) -> str:
        """What a checkpoint must share with the training that goes on from it."""
        kinds = {s.name: [len(s.pictures), s.share] for s in self.sources}
        return json.dumps(
            {
                "recipe": asdict(self.recipe),
                "sources": kinds,
                "grounds": len(self.grounds),
                "classes": CLASS_NAMES,
            }
        )

    def _build_batch(self, step: int) -> tuple[Any, DetectionTargets]:
        """What step number `step` (from 0) is shown."""
        recipe = self.recipe
        scenes = [
            compose_scene(
                self.sources,
                self.grounds,
                recipe.variation,
                self._learner.side_px,
                np.random.default_rng([recipe.seed, step, place]),
            )
            for place in range(recipe.batch)
        ]
        targets = DetectionTargets(
            np.repeat(np.arange(len(scenes)), [len(s.classes) for s in scenes]),
            np.concatenate([s.classes for s in scenes]),
            np.concatenate([instance_boxes(s.instance_map, len(s.classes)) for s in scenes]),
            np.stack([s.instance_map for s in scenes]),
        )
        return self._learner.frozen_features(
            normalize_for_backbone(np.stack([s.rgb for s in scenes])), step < recipe.still_steps
        ), targets

    def _take_step(self, features: Any, targets: DetectionTargets) -> dict[str, float]:
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = group["top_rate"] * _learning_rate_factor(self.step, recipe)
        with amp.autocast(self.device):
            losses = self._learner.losses(features, targets, self.step % recipe.mask_every == 0)
        self._optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(
            [*self._learner.backbone_parameters, *self._learner.head_parameters], 10.0
        )
        self._optimizer.step()
        # Early on the mean is short, so that it does not drag the beginning along.
        decay = min(recipe.average_decay, (1 + self.step) / (10 + self.step))
        state = self.network.state_dict()
        torch._foreach_lerp_(
            list(self._average.values()), [state[n] for n in self._average], 1 - decay
        )
        return {name: float(value.detach()) for name, value in losses.items()}


def _learning_rate_factor(step: int, config: DetectorTrainingConfig) -> float:
    """The learning rate of a step as a share of the highest: up in a line, down in a half cosine."""
    warm = min(1.0, (step + 1) / max(1, config.warm_steps))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / config.steps)))
