"""Labelled items -> the weights of our own encoder (hashnet.HashNet).

What is learned, all of it on the squashed codes h = tanh(head):
- labels: a linear classifier a task (shape tasks on the shape code, colour tasks on the colour code), cross-entropy;
- contrast: of a batch's items, those of one class stand nearer to each other than to the rest (supervised contrastive learning,
  Khosla et al., NeurIPS 2020), which is what a list of the nearest is made of;
- likeness: two items' codes agree as their teachers do (similarity-preserving distillation, Tung and Mori, ICCV 2019). The
  teacher of shape is ImageNet's pooled features, of colour the item's Lab histogram: so that codes order what has one label,
  and a shop never seen before still finds what ImageNet knows;
- binary: units pushed to -1 or 1, each half the time, and uncorrelated (Lin et al., CVPRW 2015).

First the trunk and its heads learn together; then the heads alone, from what the trunk saw in some views of every picture, kept in
memory: a step of the heads costs a fiftieth of one through the trunk, and colour needs many.

A step is a function of seed and number, so a training that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.encoding import hashnet
from wearalike.encoding.hashnet import INPUT_PX
from wearalike.models import registry
from wearalike.models.registry import CODE_BITS, EFFICIENTNET_LITE0
from wearalike.storage import atomic
from wearalike.training import amp
from wearalike.training.encoder.augment import NO_AUGMENTATION, AugmentationConfig, augment_image
from wearalike.training.encoder.dataset import EncoderDataset
from wearalike.training.encoder.losses import (
    decorrelation_loss,
    quantization_loss,
    similarity_distillation_loss,
    supervised_contrastive_loss,
)
from wearalike.training.loop import prefetch


@dataclass(frozen=True, slots=True)
class EncoderTrainingConfig:
    """steps, batch: how long and how many pictures a step. head_steps, head_batch: the same of the heads' own steps after these;
    head_views: of every picture, kept in memory, 50 KB each, the first as the night lays it. trunk_rate, heads_rate: highest
    learning rates (AdamW, risen to in `warm_steps`, then a half cosine down to 0, in either part). smoothing: how much of a label is
    spread over all classes, so that the few pictures there are are not learned by heart. contrast_classes, temperature: contrasted
    are labels of so many classes at least, for to hold men's things against women's would lay shoes beside shirts. average_decay: of
    the weights' running mean, which is what is kept. The rest: weights of the losses."""

    steps: int = 700
    batch: int = 64
    head_steps: int = 2500
    head_batch: int = 256
    head_views: int = 3
    trunk_rate: float = 3e-4
    heads_rate: float = 1.5e-3
    warm_steps: int = 100
    weight_decay: float = 0.02
    smoothing: float = 0.1
    contrast: float = 0.5
    contrast_classes: int = 10
    temperature: float = 0.1
    likeness: float = 4.0
    binary: float = 0.1
    balance: float = 0.3
    average_decay: float = 0.995
    seed: int = 0
    variation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass(frozen=True, slots=True)
class AugmentedBatch:
    """Views as a step takes them: of which picture each is, and whether its colours are the picture's."""

    rows: NDArray[np.int64]
    has_true_colours: NDArray[np.bool_]
    images: NDArray[np.float32]
    stem_features: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class BackboneFeatures:
    """What the trunk saw in views, float16: what the heads take."""

    rows: NDArray[np.int64]
    has_true_colours: NDArray[np.bool_]
    middle: NDArray[np.float16]
    features: NDArray[np.float16]
    pixels: NDArray[np.float16]

    def take(self, indices: NDArray[np.int64]) -> BackboneFeatures:
        return BackboneFeatures(
            self.rows[indices],
            self.has_true_colours[indices],
            self.middle[indices],
            self.features[indices],
            self.pixels[indices],
        )


class EncoderTrainer:
    """Trains a network on lessons. `run` goes on from `step`; `save` and `load` keep all that a later run needs."""

    def __init__(
        self,
        dataset: EncoderDataset,
        config: EncoderTrainingConfig,
        device: str = "cpu",
        initial_weights: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        """device: "cpu" or "cuda". begin: an encoder's weights to begin with, but for what tells views (viewpoints), which is learned
        of the trunk as it will be; None: hashnet.init_from_imagenet's."""
        torch.manual_seed(config.seed)
        self.lessons, self.recipe, self.device, self.step = dataset, config, device, 0
        network = (
            hashnet.load_hashnet(hashnet.drop_view_arrays(initial_weights))
            if initial_weights
            else hashnet.init_from_imagenet()
        )
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.network.stem.requires_grad_(False).eval()
        amp.keep_depthwise_in_float32(self.network, device)
        self.classifiers = nn.ModuleList(
            nn.Linear(CODE_BITS, len(t.classes)) for t in dataset.tasks
        ).to(device)
        trunk = [*self.network.middle.parameters(), *self.network.top.parameters()]
        heads = [
            p
            for n, p in self.network.named_parameters()
            if n.split(".")[0] not in ("stem", "middle", "top")
        ]
        heads += self.classifiers.parameters()
        self._learning = [*trunk, *heads]
        self._average = [p.detach().clone() for p in self._trainable_parameters()]
        groups = [
            {"params": trunk, "top_rate": config.trunk_rate},
            {"params": heads, "top_rate": config.heads_rate},
        ]
        self._optimizer = torch.optim.AdamW(
            groups, lr=config.heads_rate, weight_decay=config.weight_decay
        )
        self._seen: BackboneFeatures | None = None
        self._labels = [torch.from_numpy(t.labels).to(device) for t in dataset.tasks]
        self._stem = None
        if device == "cpu":
            self._stem = registry.compile_network(self.network.stem, (1, 3, INPUT_PX, INPUT_PX), 1)

    def run(
        self,
        until_step: int,
        on_step: Callable[[int, dict[str, float]], None],
        on_views: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Steps up to `until` (or the recipe's last). tell: called after each with its number and its losses. looked: called before
        the heads' own steps, with how many more views were looked at."""
        recipe = self.recipe
        for batch in prefetch(self._build_batch, range(self.step, min(until_step, recipe.steps))):
            losses = self._take_step(batch)
            self.step += 1
            on_step(self.step, losses)
        while recipe.steps <= self.step < min(until_step, recipe.steps + recipe.head_steps):
            if self._seen is None:
                self._seen = self._extract_features(on_views)
            losses = self._take_step(
                self._seen.take(
                    self._sample_indices(
                        self.step - recipe.steps, recipe.head_batch, len(self._seen.rows)
                    )
                )
            )
            self.step += 1
            on_step(self.step, losses)

    def averaged_weights(self) -> dict[str, NDArray[np.float16]]:
        """The averaged network as it is kept in a file: float16 arrays by name."""
        kept = dict(
            zip((n for n, _ in self._trainable_named_parameters()), self._average, strict=True)
        )
        state = {n: kept.get(n, t) for n, t in self.network.state_dict().items()}
        return {
            n: t.detach().cpu().contiguous().numpy().astype(np.float16) for n, t in state.items()
        }

    def save_checkpoint(self, path: Path) -> None:
        state = {
            "step": self.step,
            "training": self._checkpoint_identity(),
            "network": self.network.state_dict(),
            "classifiers": self.classifiers.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic.replace_file(path) as hidden:
            torch.save(state, hidden)

    def load_checkpoint(self, path: Path) -> None:
        """Goes on from a checkpoint. Raises ValueError where it is of another recipe or other lessons."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["training"] != self._checkpoint_identity():
            raise ValueError(
                f"{path}: a checkpoint of another training: {state['training'][:500]}, wanted {self._checkpoint_identity()[:500]}"
            )
        self.network.load_state_dict(state["network"])
        self.classifiers.load_state_dict(state["classifiers"])
        self._average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _checkpoint_identity(self) -> str:
        """What a checkpoint must share with the training that goes on from it."""
        tasks = {t.name: [t.classes, int(t.labels.sum())] for t in self.lessons.tasks}
        return json.dumps(
            {"recipe": asdict(self.recipe), "pictures": len(self.lessons.images), "tasks": tasks}
        )

    def _trainable_named_parameters(self) -> list[tuple[str, Tensor]]:
        return [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]

    def _trainable_parameters(self) -> list[Tensor]:
        return [p for _, p in self._trainable_named_parameters()]

    def _build_batch(self, step: int) -> AugmentedBatch:
        """What step number `step` (from 0) is shown. Every picture is shown once a round, in a new order each round."""
        rows = self._sample_indices(step, self.recipe.batch, len(self.lessons.images))
        first = step * self.recipe.batch
        views, is_true = self._augment_images(
            [(row, [self.recipe.seed, step, first + i]) for i, row in enumerate(rows.tolist())],
            self.recipe.variation,
        )
        maps = np.concatenate([self._stem(p[None])[0] for p in views]) if self._stem else None
        return AugmentedBatch(rows, is_true, views, maps)

    def _sample_indices(self, step: int, size: int, count: int) -> NDArray[np.int64]:
        """Which of `count` things a step takes: int64 (size,). Each is taken once a round, in a new order each round."""
        places = np.arange(step * size, (step + 1) * size)
        orders = {
            r: np.random.default_rng([self.recipe.seed, count, r]).permutation(count)
            for r in set((places // count).tolist())
        }
        return np.array([orders[p // count][p % count] for p in places.tolist()])

    def _augment_images(
        self, wanted: Sequence[tuple[int, list[int]]], variation: AugmentationConfig
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Views of pictures, each with its seed, as the network takes them, and whether their colours are the pictures' own."""
        lessons = self.lessons
        seen = [
            augment_image(
                lessons.images[row],
                lessons.backgrounds,
                variation,
                INPUT_PX,
                np.random.default_rng(seed),
            )
            for row, seed in wanted
        ]
        scaled = (
            np.stack([v for v, _ in seen]).astype(np.float32) / 255 - EFFICIENTNET_LITE0.mean
        ) / EFFICIENTNET_LITE0.std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)), np.array([t for _, t in seen])

    def _extract_features(self, on_views: Callable[[int], None]) -> BackboneFeatures:
        """What the trunk, as it is kept, sees in views of every picture. From here on the trunk stands still."""
        if self.step == self.recipe.steps:
            with torch.no_grad():
                for mine, kept in zip(self._trainable_parameters(), self._average, strict=True):
                    mine.copy_(kept)
        trunk, cores = _HashNetBackbone(self.network), len(os.sched_getaffinity(0))
        shape = (1, 3, INPUT_PX, INPUT_PX)
        forward = (
            registry.compile_network(trunk.eval(), shape, cores) if self.device == "cpu" else None
        )

        def look(wanted: list[tuple[int, list[int]]]) -> BackboneFeatures:
            # A seed ends in the view's number.
            views, is_true = self._augment_images(
                wanted, NO_AUGMENTATION if wanted[0][1][-1] == 0 else self.recipe.variation
            )
            if forward:
                found = [
                    np.concatenate(part)
                    for part in zip(*(forward(v[None]) for v in views), strict=True)
                ]
            else:
                with torch.inference_mode():
                    found = [
                        part.cpu().numpy()
                        for part in trunk(torch.from_numpy(views).to(self.device))
                    ]
            on_views(len(wanted))
            return BackboneFeatures(
                np.array([row for row, _ in wanted]),
                is_true,
                *(part.astype(np.float16) for part in found),
            )

        count = len(self.lessons.images)
        wanted = [
            [(row, [self.recipe.seed, self.recipe.steps, row, v]) for row in range(count)]
            for v in range(self.recipe.head_views)
        ]
        with ThreadPoolExecutor(cores if forward else 1) as pool:
            parts = list(
                pool.map(
                    look, (of_view[i : i + 64] for of_view in wanted for i in range(0, count, 64))
                )
            )
        return BackboneFeatures(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(BackboneFeatures)
            )
        )

    def _take_step(self, batch: AugmentedBatch | BackboneFeatures) -> dict[str, float]:
        recipe = self.recipe
        # Dropout, too, is a function of seed and step.
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = group["top_rate"] * learning_rate_factor(self.step, recipe)
        self.network.train()
        with amp.autocast(self.device):
            heads = self._forward(batch)
        losses = self._compute_losses(heads.float(), batch)
        loss = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._learning, 5.0)
        self._optimizer.step()
        with torch.no_grad():
            # Early on the mean is short, so that it does not drag the beginning along.
            decay = min(recipe.average_decay, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self._average, self._trainable_parameters(), 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _forward(self, batch: AugmentedBatch | BackboneFeatures) -> Tensor:
        if isinstance(batch, BackboneFeatures):
            return self.network.forward_heads(
                *(
                    torch.from_numpy(a).to(self.device).float()
                    for a in (batch.middle, batch.features, batch.pixels)
                )
            )
        pictures = torch.from_numpy(batch.images).to(self.device)
        maps = (
            self.network.stem(pictures.contiguous(memory_format=torch.channels_last))
            if batch.stem_features is None
            else torch.from_numpy(batch.stem_features).to(self.device)
        )
        return self.network.forward_from_stem(
            maps.contiguous(memory_format=torch.channels_last), hashnet.downsample_pixels(pictures)
        )

    def _compute_losses(
        self, logits: Tensor, batch: AugmentedBatch | BackboneFeatures
    ) -> dict[str, Tensor]:
        recipe, h = self.recipe, torch.tanh(logits)
        rows, is_true = (
            torch.from_numpy(batch.rows).to(self.device),
            torch.from_numpy(batch.has_true_colours).to(self.device),
        )
        shape, colour = h[:, :CODE_BITS], h[:, CODE_BITS:]
        losses = {}
        for task, labels, classifier in zip(
            self.lessons.tasks, self._labels, self.classifiers, strict=True
        ):
            wanted = labels[rows]
            here = (wanted >= 0) & is_true if task.is_colour else wanted >= 0
            if here.any():
                found = classifier((colour if task.is_colour else shape)[here])
                # Divided by the whole batch: a task counts as much as it has pictures.
                wrong = functional.cross_entropy(
                    found, wanted[here], reduction="sum", label_smoothing=recipe.smoothing
                )
                losses[task.name] = wrong / len(rows)
                if recipe.contrast and len(task.classes) >= recipe.contrast_classes:
                    apart = supervised_contrastive_loss(
                        (colour if task.is_colour else shape)[here],
                        wanted[here],
                        recipe.temperature,
                    )
                    losses[f"{task.name} contrast"] = recipe.contrast * apart / len(rows)
        if recipe.likeness:
            for name, code, teacher in (
                ("shape likeness", shape, self.lessons.shape_teacher),
                ("colour likeness", colour[is_true], self.lessons.colour_teacher),
            ):
                known = torch.from_numpy(teacher[batch.rows]).to(self.device)
                known = known[is_true] if name == "colour likeness" else known
                losses[name] = recipe.likeness * similarity_distillation_loss(code, known)
        losses["binary"] = recipe.binary * quantization_loss(h)
        losses["balance"] = recipe.balance * (
            h.mean(dim=0).square().mean() + decorrelation_loss(shape) + decorrelation_loss(colour)
        )
        return losses


def learning_rate_factor(step: int, config: EncoderTrainingConfig) -> float:
    """The learning rate of a step as a share of the highest: up in a line, down in a half cosine; once in either part."""
    of, step = (
        (config.steps, step) if step < config.steps else (config.head_steps, step - config.steps)
    )
    return (
        min(1.0, (step + 1) / max(1, config.warm_steps)) * 0.5 * (1 + math.cos(math.pi * step / of))
    )


class _HashNetBackbone(nn.Module):
    """From pictures to what the heads take."""

    def __init__(self, network: hashnet.HashNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle, features = self.network.upper_features(self.network.stem(pictures))
        return middle, features, hashnet.downsample_pixels(pictures)
