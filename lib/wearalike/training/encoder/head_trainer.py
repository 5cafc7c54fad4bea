"""Train both code heads on the descriptors of views.

All losses apply to the squashed codes tanh(head), and more and more to their signs:

- InfoNCE over articles for shape, over products for colour and for both codes side by side. Views
  of one product are each other's positives; recoloured views and siblings teach shape alone.
- siblings: the same for shape over articles, among clean pictures in other colours alone: beside
  warped and worn views they would hardly count.
- labels: a linear classifier a task, and products of one class nearer to each other than to others.
- distillation: codes agree as ImageNet's features and colour histograms of the items do, so that a
  shop never seen still benefits from them.
- quantization and balance: outputs near -1 or 1, each half the time, and uncorrelated.
- overlap: bits of colour do not say what bits of shape say already.
- triplets: pairs that people judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wearalike.encoding.likeness_net import CodeHeads
from wearalike.training.encoder import losses
from wearalike.training.encoder.descriptor_bank import DescriptorBank, clean_rows
from wearalike.training.encoder.judged_triplets import ProductTriplet
from wearalike.training.encoder.label_classifiers import start_classifiers
from wearalike.training.encoder.likeness_config import LikenessConfig, cosine_factor
from wearalike.training.encoder.product_batches import (
    draw_batch,
    draw_siblings,
    index_products,
)
from wearalike.training.loop import TrainingLoop

_MAX_GRADIENT_NORM = 5.0
_LABEL_SMOOTHING = 0.1
_MAX_DEVIATIONS = 5.0
_QUANTIZATION_RISE_STEPS = 1000
# Both codes side by side are longer; labels are coarser than products.
_JOINT_TEMPERATURE_RATIO, _LABEL_TEMPERATURE_RATIO = 1 / 1.5, 1.5
_TRIPLET_MARGIN = 0.3


class HeadTrainer:
    """Trains code heads. `run` goes on from `step`.

    Attributes:
        heads: The heads as they are now; `averaged_heads` returns the result.

    Example:
        >>> trainer = HeadTrainer(heads, bank, LikenessConfig(steps=1200))
        >>> trainer.run(lambda step, losses: print(step, losses))
        >>> state = trainer.averaged_state()
    """

    def __init__(
        self,
        heads: CodeHeads,
        bank: DescriptorBank,
        config: LikenessConfig,
        device: str = "cpu",
        triplets: Sequence[ProductTriplet] = (),
        trunk: str | None = None,
    ) -> None:
        """Build the training loop, at step 0.

        Args:
            heads: The heads to train.
            bank: The descriptors of the training views.
            config: Settings of the training.
            device: "cpu" or "cuda".
            triplets: People's judgements, as numbers of products.
            trunk: The trunk that made the descriptors; None for the packaged one.
        """
        torch.manual_seed(config.seed)
        self.heads = heads.to(device)
        self._bank = bank
        self._config = config
        self._device = device
        self._triplets = triplets
        self._index = index_products(bank)
        self._classifiers = start_classifiers(heads, bank)
        self._shape_teacher, self._colour_teacher = build_teachers(bank, heads)
        self._loop = TrainingLoop(
            {"heads": self.heads, "classifiers": self._classifiers},
            parameter_groups=[
                ([*self.heads.parameters(), *self._classifiers.parameters()], config.learning_rate)
            ],
            averaged_state=lambda: dict(self.heads.named_parameters()),
            learning_rate_factor=lambda step: cosine_factor(
                step, config.steps, config.warmup_steps
            ),
            identity={
                "config": asdict(config),
                "views": len(bank.product),
                "products": len(bank.product_keys),
                "tasks": {task.name: task.classes_count for task in bank.tasks},
                "triplets": len(triplets),
                **({"trunk": trunk} if trunk else {}),
            },
            seed=config.seed,
            weight_decay=config.weight_decay,
            ema_decay=config.ema_decay,
            max_gradient_norm=_MAX_GRADIENT_NORM,
            device=device,
        )

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self._loop.step

    def run(
        self,
        on_step: Callable[[int, dict[str, float]], None],
        until_step: int | None = None,
    ) -> None:
        """Take steps until the last one of the config.

        Args:
            on_step: Called after each step with its number and its losses.
            until_step: Number of the last step to take, if that comes first.
        """
        last = min(until_step or self._config.steps, self._config.steps)
        while self.step < last:
            found = self._take_step()
            on_step(self.step, found)

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the state of the averaged heads, by name."""
        return self.heads.state_dict() | self._loop.average

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

    def _take_step(self) -> dict[str, float]:
        """Take a step and return its losses."""
        config, bank = self._config, self._bank
        self._loop.seed_step()
        rng = np.random.default_rng([config.seed, self.step])
        rows = draw_batch(self._index, config.products, config.views, rng)
        siblings = (
            draw_siblings(self._index, config.siblings, rng) if config.sibling_weight else rows[:0]
        )
        triplet_rows = self._draw_triplet_rows(rng)
        self.heads.train()
        shape, colour = self._codes(np.concatenate([rows, siblings, triplet_rows]))
        found = self.compute_losses(rows, shape[: len(rows)], colour[: len(rows)])
        triplets_start = len(rows) + len(siblings)
        if len(siblings):
            article = torch.from_numpy(bank.article_of_product[bank.product[siblings]])
            found["siblings"] = config.sibling_weight * losses.info_nce_loss(
                shape[len(rows) : triplets_start], article.to(self._device), config.temperature
            )
        if len(triplet_rows):
            both = torch.cat([shape, colour], dim=1)[triplets_start:]
            anchor, alike, unlike = both.chunk(3)
            loss = losses.triplet_loss(anchor, alike, unlike, _TRIPLET_MARGIN)
            found["judged triplets"] = config.triplet_weight * loss
        return self._loop.take_step(found)

    def _codes(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the squashed codes of views, (n, 128) each."""
        descriptors = torch.from_numpy(self._bank.descriptors[rows].astype(np.float32))
        shape, colour = self.heads(descriptors.to(self._device))
        return self._squash(shape), self._squash(colour)

    def _squash(self, logits: Tensor) -> Tensor:
        """Return the codes of logits, of which a rising share are signs; gradients ignore that.

        Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic
        neurons", 2013: the straight-through estimator.
        """
        code = torch.tanh(logits)
        share = self._config.binary_share * min(1, self.step / _QUANTIZATION_RISE_STEPS)
        if not share:
            return code
        return code + share * (torch.where(code > 0, 1.0, -1.0) - code).detach()

    def _draw_triplet_rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a true view of each product of some triplets: anchors, alike, unlike."""
        count = min(self._config.triplets, len(self._triplets))
        if not count:
            return np.zeros(0, np.int64)
        chosen = rng.choice(len(self._triplets), count, replace=False)
        rows = []
        for part in range(3):
            for i in chosen.tolist():
                views = self._index.views[self._triplets[i][part]]
                true_views = views[self._bank.is_true[views]]
                rows.append(int(rng.choice(true_views if len(true_views) else views)))
        return np.array(rows, np.int64)

    def compute_losses(
        self, rows: NDArray[np.int64], shape: Tensor, colour: Tensor
    ) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, by name.

        Args:
            rows: int64 (n,). Rows of the bank.
            shape: Squashed shape codes of the rows, (n, 128).
            colour: Squashed colour codes of the rows, (n, 128).
        """
        config, bank = self._config, self._bank
        product = torch.from_numpy(bank.product[rows]).to(self._device)
        article = torch.from_numpy(bank.article_of_product[bank.product[rows]]).to(self._device)
        is_true = torch.from_numpy(bank.is_true[rows]).to(self._device)
        true_product, true_colour = product[is_true], colour[is_true]
        both = torch.cat([shape[is_true], true_colour], dim=1)
        temperature = config.temperature
        rise = min(1, self.step / _QUANTIZATION_RISE_STEPS)
        found = {
            "shape": config.shape_weight * losses.info_nce_loss(shape, article, temperature),
            "colour": config.colour_weight
            * losses.info_nce_loss(true_colour, true_product, temperature),
            "both": config.joint_weight
            * losses.info_nce_loss(both, true_product, temperature * _JOINT_TEMPERATURE_RATIO),
            "shape likeness": config.distillation_weight
            * losses.similarity_distillation_loss(shape, self._teach(self._shape_teacher, product)),
            "colour likeness": config.distillation_weight
            * losses.similarity_distillation_loss(
                true_colour, self._teach(self._colour_teacher, true_product)
            ),
            "binary": config.quantization_weight
            * rise
            * losses.quantization_loss(torch.cat([shape, colour], dim=1)),
            "balance": config.balance_weight
            * (losses.balance_loss(shape) + losses.balance_loss(true_colour)),
            "overlap": config.overlap_weight * losses.overlap_loss(shape[is_true], true_colour),
        }
        return found | self._label_losses(rows, shape, colour, is_true)

    def _teach(self, teacher: Tensor, product: Tensor) -> Tensor:
        """Return the teacher's rows of products, float32 (n, d)."""
        return teacher[product.cpu()].float().to(self._device)

    def _label_losses(
        self, rows: NDArray[np.int64], shape: Tensor, colour: Tensor, is_true: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses of the labels; a task counts by the root of its share of the batch."""
        config = self._config
        found: dict[str, Tensor] = {}
        for task, classifier in zip(self._bank.tasks, self._classifiers, strict=True):
            labels = torch.from_numpy(task.labels[self._bank.product[rows]]).to(self._device)
            is_labelled = (labels >= 0) & is_true if task.is_colour else labels >= 0
            if not is_labelled.any() or not config.label_weight:
                continue
            code, wanted = (colour if task.is_colour else shape)[is_labelled], labels[is_labelled]
            part = "colour" if task.is_colour else "shape"
            share = float(is_labelled.float().mean()) ** 0.5
            cross_entropy = functional.cross_entropy(
                classifier(code), wanted, label_smoothing=_LABEL_SMOOTHING
            )
            parts = {f"{part} labels": config.label_weight * share * cross_entropy}
            if config.contrastive_weight and task.is_contrasted:
                temperature = config.temperature * _LABEL_TEMPERATURE_RATIO
                contrast = losses.info_nce_loss(code, wanted, temperature)
                parts[f"{part} contrast"] = config.contrastive_weight * share * contrast
            for name, loss in parts.items():
                found[name] = found.get(name, torch.zeros((), device=self._device)) + loss
        return found


def build_teachers(bank: DescriptorBank, heads: CodeHeads) -> tuple[Tensor, Tensor]:
    """Return what teaches the likeness of products before any training.

    Args:
        bank: The descriptors of the training views.
        heads: Their mean and scale standardize the descriptors.

    Returns:
        Unit rows, float16 (p, d) each: ImageNet's features of the item, and its histogram.
    """
    mean, scale = heads.mean.cpu().numpy(), heads.scale.cpu().numpy()
    rows = clean_rows(bank)
    units = []
    for name, limit in (("item", _MAX_DEVIATIONS), ("histograms", np.inf)):
        columns = heads.layout.columns(name)
        part = (bank.descriptors[rows][:, columns] - mean[columns]) / scale[columns]
        part = part.clip(-limit, limit)
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        units.append(torch.from_numpy((part / np.maximum(lengths, 1e-6)).astype(np.float16)))
    return units[0], units[1]
