"""Labelled items -> the weights of our own encoder (hashnet.HashNet).

All losses apply to the squashed codes h = tanh(head):

- labels: a linear classifier a task, cross-entropy. Shape tasks read the shape code, colour tasks
  the colour code.
- contrast: items of one class lie nearer to each other than to the rest of the batch (supervised
  contrastive learning, Khosla et al., NeurIPS 2020). Lists of nearest items need exactly that.
- likeness: two items' codes agree as their teachers do (similarity-preserving distillation, Tung
  and Mori, ICCV 2019). The teacher of shape is ImageNet's pooled features, the teacher of colour
  the item's Lab histogram. So codes order items with the same label, and a shop never seen before
  still benefits from ImageNet.
- binary and balance: outputs are pushed to -1 or 1, each half the time, and uncorrelated (Lin et
  al., CVPRW 2015).

First the backbone and its heads learn together. Then the heads learn alone, from the backbone's
features of some views of every image, kept in memory. Such a step costs a fiftieth of one through
the backbone, and colour needs many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.encoding import hashnet
from wearalike.encoding.hashnet import INPUT_PX
from wearalike.models import registry
from wearalike.tables import CODE_BITS
from wearalike.training import amp
from wearalike.training.encoder.batches import (
    AugmentedBatch,
    BackboneFeatures,
    augment_images,
    extract_backbone_features,
    sample_indices,
)
from wearalike.training.encoder.config import EncoderTrainingConfig, learning_rate_factor
from wearalike.training.encoder.dataset import EncoderDataset
from wearalike.training.encoder.losses import (
    decorrelation_loss,
    quantization_loss,
    similarity_distillation_loss,
    supervised_contrastive_loss,
)
from wearalike.training.loop import TrainingLoop, prefetch

_MAX_GRADIENT_NORM = 5.0
_BACKBONE_MODULES = ("stem", "middle", "top")


class EncoderTrainer:
    """Trains an encoder. `run` goes on from `step`.

    Attributes:
        dataset: The training data.
        config: Settings of the training.
        device: "cpu" or "cuda".
        network: The network as it is now; `averaged_weights` returns the result.

    Example:
        >>> trainer = EncoderTrainer(dataset, EncoderTrainingConfig(steps=700))
        >>> trainer.run(700, lambda step, losses: print(step, losses))
        >>> arrays = trainer.averaged_weights()
    """

    def __init__(
        self,
        dataset: EncoderDataset,
        config: EncoderTrainingConfig,
        device: str = "cpu",
        initial_weights: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        """Build the network and its training loop, at step 0.

        Args:
            dataset: The training data.
            config: Settings of the training.
            device: "cpu" or "cuda".
            initial_weights: An encoder's arrays to start from. Its view classifier is left out, for
                that is trained on the final backbone. None starts from ImageNet.
        """
        torch.manual_seed(config.seed)
        self.dataset = dataset
        self.config = config
        self.device = device
        network = (
            hashnet.load_hashnet(hashnet.drop_view_arrays(initial_weights))
            if initial_weights
            else hashnet.init_from_imagenet()
        )
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.network.stem.requires_grad_(False).eval()
        amp.keep_depthwise_in_float32(self.network, device)
        self._classifiers = nn.ModuleList(
            nn.Linear(CODE_BITS, len(task.classes)) for task in dataset.tasks
        ).to(device)
        self._loop = self._build_loop()
        self._features: BackboneFeatures | None = None
        self._labels = [torch.from_numpy(task.labels).to(device) for task in dataset.tasks]
        self._stem = None
        if device == "cpu":
            self._stem = registry.compile_network(self.network.stem, (1, 3, INPUT_PX, INPUT_PX), 1)

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self._loop.step

    def run(
        self,
        until_step: int,
        on_step: Callable[[int, dict[str, float]], None],
        on_views: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Take steps until a step is reached, or the last of the config.

        Args:
            until_step: Number of the last step to take.
            on_step: Called after each step with its number and its losses.
            on_views: Called before the steps of the heads alone, with the number of further views
                that the backbone has seen.
        """
        config = self.config
        backbone_end = min(until_step, config.steps)
        for batch in prefetch(self._build_batch, range(self.step, backbone_end)):
            losses = self._take_step(batch)
            on_step(self.step, losses)
        while config.steps <= self.step < min(until_step, config.steps + config.head_steps):
            if self._features is None:
                self._features = self._freeze_backbone(on_views)
            head_step = self.step - config.steps
            indices = sample_indices(
                config.seed, head_step, config.head_batch, len(self._features.rows)
            )
            losses = self._take_step(self._features.take(indices))
            on_step(self.step, losses)

    def averaged_weights(self) -> dict[str, NDArray[np.float16]]:
        """Return the averaged network as a model file keeps it.

        Returns:
            float16 arrays by name.
        """
        state = self.network.state_dict() | self._loop.average
        return {
            name: tensor.detach().cpu().contiguous().numpy().astype(np.float16)
            for name, tensor in state.items()
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
            ValueError: The checkpoint has another config or other training data.
        """
        self._loop.load_checkpoint(path)

    def _build_loop(self) -> TrainingLoop:
        """Return the loop of this training."""
        config = self.config
        backbone = [*self.network.middle.parameters(), *self.network.top.parameters()]
        heads = [
            parameter
            for name, parameter in self.network.named_parameters()
            if name.split(".")[0] not in _BACKBONE_MODULES
        ]
        heads += self._classifiers.parameters()
        tasks = {t.name: [t.classes, int(t.labels.sum())] for t in self.dataset.tasks}
        return TrainingLoop(
            {"network": self.network, "classifiers": self._classifiers},
            parameter_groups=[
                (backbone, config.backbone_learning_rate),
                (heads, config.head_learning_rate),
            ],
            averaged_state=self._trainable_parameters,
            learning_rate_factor=lambda step: learning_rate_factor(step, config),
            identity={
                "config": asdict(config),
                "images": len(self.dataset.images),
                "tasks": tasks,
            },
            seed=config.seed,
            weight_decay=config.weight_decay,
            ema_decay=config.ema_decay,
            max_gradient_norm=_MAX_GRADIENT_NORM,
            device=self.device,
        )

    def _trainable_parameters(self) -> dict[str, Tensor]:
        """Return the network's parameters that learn, by name."""
        return {n: p for n, p in self.network.named_parameters() if p.requires_grad}

    def _build_batch(self, step: int) -> AugmentedBatch:
        """Return the views of a step, from 0. Every image is shown once a round."""
        config = self.config
        rows = sample_indices(config.seed, step, config.batch, len(self.dataset.images))
        first = step * config.batch
        specs = [(row, [config.seed, step, first + i]) for i, row in enumerate(rows.tolist())]
        views, has_true_colours = augment_images(self.dataset, specs, config.augmentation)
        stem_features = None
        if self._stem is not None:
            stem_features = np.concatenate([self._stem(view[None])[0] for view in views])
        return AugmentedBatch(rows, has_true_colours, views, stem_features)

    def _freeze_backbone(self, on_views: Callable[[int], None]) -> BackboneFeatures:
        """Return the averaged backbone's features of views; from here on it no longer changes."""
        if self.step == self.config.steps:
            with torch.no_grad():
                for name, parameter in self._trainable_parameters().items():
                    parameter.copy_(self._loop.average[name])
        return extract_backbone_features(
            self.network, self.dataset, self.config, self.device, on_views
        )

    def _take_step(self, batch: AugmentedBatch | BackboneFeatures) -> dict[str, float]:
        """Take a step and return its losses."""
        self._loop.seed_step()
        self.network.train()
        with amp.autocast(self.device):
            logits = self._forward(batch)
        return self._loop.take_step(self._compute_losses(logits.float(), batch))

    def _forward(self, batch: AugmentedBatch | BackboneFeatures) -> Tensor:
        """Return the outputs of the heads, float (n, 2 * CODE_BITS)."""
        if isinstance(batch, BackboneFeatures):
            inputs = (batch.middle, batch.features, batch.pixels)
            tensors = (torch.from_numpy(array).to(self.device).float() for array in inputs)
            return self.network.forward_heads(*tensors)
        images = torch.from_numpy(batch.images).to(self.device)
        if batch.stem_features is None:
            maps = self.network.stem(images.contiguous(memory_format=torch.channels_last))
        else:
            maps = torch.from_numpy(batch.stem_features).to(self.device)
        maps = maps.contiguous(memory_format=torch.channels_last)
        return self.network.forward_from_stem(maps, hashnet.downsample_pixels(images))

    def _compute_losses(
        self, logits: Tensor, batch: AugmentedBatch | BackboneFeatures
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name."""
        config = self.config
        code = torch.tanh(logits)
        shape = code[:, :CODE_BITS]
        colour = code[:, CODE_BITS:]
        has_true_colours = torch.from_numpy(batch.has_true_colours).to(self.device)
        losses = self._task_losses(shape, colour, batch.rows, has_true_colours)
        if config.distillation_weight:
            rows = batch.rows
            shape_teacher = torch.from_numpy(self.dataset.shape_teacher[rows]).to(self.device)
            colour_teacher = torch.from_numpy(self.dataset.colour_teacher[rows]).to(self.device)
            losses["shape likeness"] = config.distillation_weight * similarity_distillation_loss(
                shape, shape_teacher
            )
            losses["colour likeness"] = config.distillation_weight * similarity_distillation_loss(
                colour[has_true_colours], colour_teacher[has_true_colours]
            )
        losses["binary"] = config.quantization_weight * quantization_loss(code)
        imbalance = code.mean(dim=0).square().mean()
        losses["balance"] = config.balance_weight * (
            imbalance + decorrelation_loss(shape) + decorrelation_loss(colour)
        )
        return losses

    def _task_losses(
        self,
        shape: Tensor,
        colour: Tensor,
        rows: NDArray[np.int64],
        has_true_colours: Tensor,
    ) -> dict[str, Tensor]:
        """Return the losses of the labels.

        They are divided by the whole batch, so that a task counts as much as it has images.
        """
        config = self.config
        losses: dict[str, Tensor] = {}
        row_numbers = torch.from_numpy(rows).to(self.device)
        for task, all_labels, classifier in zip(
            self.dataset.tasks, self._labels, self._classifiers, strict=True
        ):
            labels = all_labels[row_numbers]
            is_labelled = labels >= 0
            if task.is_colour:
                is_labelled &= has_true_colours
            if not is_labelled.any():
                continue
            code = (colour if task.is_colour else shape)[is_labelled]
            cross_entropy = functional.cross_entropy(
                classifier(code),
                labels[is_labelled],
                reduction="sum",
                label_smoothing=config.label_smoothing,
            )
            losses[task.name] = cross_entropy / len(rows)
            if config.contrastive_weight and len(task.classes) >= config.min_contrastive_classes:
                contrast = supervised_contrastive_loss(
                    code, labels[is_labelled], config.temperature
                )
                losses[f"{task.name} contrast"] = config.contrastive_weight * contrast / len(rows)
        return losses
