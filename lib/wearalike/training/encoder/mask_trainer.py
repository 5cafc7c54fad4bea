"""Train the mask head, which tells the item from skin, hair and ground, on views with known masks.

Garments laid on figures and grounds are composites, so their masks are known to the pixel. Street
photos bring masks that people drew, and plain grounds bring those of things laid flat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.encoding import runtime
from wearalike.encoding.item_describer import MaskHead, downsample_for_mask
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.training.encoder.likeness_config import LikenessConfig, cosine_factor
from wearalike.training.loop import TrainingLoop

# Weight of the Dice loss beside the cross-entropy.
_DICE_WEIGHT = 0.5
_WEIGHT_DECAY = 1e-3
_EMA_DECAY = 0.98
_WARMUP_RATIO = 0.3
_MAX_GRADIENT_NORM = 5.0


class MaskInputNet(nn.Module):
    """Pictures to all that the mask head reads, in one row: maps of the trunk, and pixels."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the rows of a batch, (n, d)."""
        maps = self.trunk(pictures)
        parts = (maps.stage2, maps.stage3, maps.stage4, downsample_for_mask(pictures))
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def input_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each part of a row."""
        side = EFFICIENTNET_LITE0.input_px
        with torch.inference_mode():
            picture = torch.zeros(1, 3, side, side)
            maps = self.trunk(picture)
        parts = (maps.stage2, maps.stage3, maps.stage4, downsample_for_mask(picture))
        return [tuple(part.shape[1:]) for part in parts]


def mask_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return cross-entropy plus half the Dice loss.

    Args:
        logits: float32 (n, 28, 28).
        wanted: float32 (n, 28, 28). The item's share of each cell, 0..1.

    Returns:
        A scalar, 0 or more.
    """
    guess = logits.sigmoid()
    overlap = 2 * (guess * wanted).sum((1, 2)) + 1
    dice = 1 - overlap / ((guess + wanted).sum((1, 2)) + 1)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, wanted)
    return cross_entropy + _DICE_WEIGHT * dice.mean()


class MaskTrainer:
    """Trains a mask head. `run` goes on from `step`.

    Example:
        >>> trainer = MaskTrainer(MaskHead(), net, squares, masks, LikenessConfig())
        >>> trainer.run(lambda step, losses: print(step, losses))
        >>> state = trainer.averaged_state()
    """

    def __init__(
        self,
        head: MaskHead,
        inputs: MaskInputNet,
        rows: NDArray[np.float16],
        masks: NDArray[np.uint8],
        config: LikenessConfig,
    ) -> None:
        """Build the training loop, at step 0.

        Args:
            head: The head to train.
            inputs: The network that made the rows; its shapes part them.
            rows: float16 (n, d). Rows of the inputs' network.
            masks: uint8 (n, 28, 28). The item's share of each cell, 0..255.
            config: Settings of the training.
        """
        torch.manual_seed(config.seed)
        self._head = head.to(memory_format=torch.channels_last)
        self._shapes = inputs.input_shapes()
        self._rows = rows
        self._masks = masks
        self._config = config
        warmup = max(1, int(config.mask_steps * _WARMUP_RATIO))
        self._loop = TrainingLoop(
            {"head": head},
            parameter_groups=[(list(head.parameters()), config.mask_learning_rate)],
            averaged_state=lambda: dict(head.named_parameters()),
            learning_rate_factor=lambda step: cosine_factor(step, config.mask_steps, warmup),
            identity={"config": asdict(config), "views": len(rows)},
            seed=config.seed,
            weight_decay=_WEIGHT_DECAY,
            ema_decay=_EMA_DECAY,
            max_gradient_norm=_MAX_GRADIENT_NORM,
            device="cpu",
        )

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self._loop.step

    def run(self, on_step: Callable[[int, dict[str, float]], None]) -> None:
        """Take steps until the last one of the config.

        Args:
            on_step: Called after each step with its number and its losses.
        """
        config = self._config
        while self.step < config.mask_steps:
            self._loop.seed_step()
            rng = np.random.default_rng([config.seed, self.step])
            chosen = rng.choice(len(self._rows), min(config.mask_batch, len(self._rows)), False)
            wanted = torch.from_numpy(self._masks[chosen].astype(np.float32) / 255)
            logits = self._head(*self._split(self._rows[chosen]))[:, 0]
            found = self._loop.take_step({"mask": mask_loss(logits, wanted)})
            on_step(self.step, found)

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the state of the averaged head, by name."""
        return self._head.state_dict() | self._loop.average

    def save_checkpoint(self, path: Path) -> None:
        """Write all that a later run needs to resume."""
        self._loop.save_checkpoint(path)

    def load_checkpoint(self, path: Path) -> None:
        """Resume from a checkpoint. Raises ValueError if it is of another training."""
        self._loop.load_checkpoint(path)

    def _split(self, rows: NDArray[np.float16]) -> list[Tensor]:
        """Return rows as the head's inputs."""
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        parts = torch.from_numpy(rows.astype(np.float32)).split(sizes, dim=1)
        return [
            part.reshape(-1, *shape).contiguous(memory_format=torch.channels_last)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]


def mask_iou(
    head: MaskHead, inputs: MaskInputNet, rows: NDArray[np.float16], masks: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the overlap of guessed and true masks, cut at one half.

    Args:
        head: The mask head.
        inputs: The network that made the rows.
        rows: float16 (n, d).
        masks: uint8 (n, 28, 28).

    Returns:
        float64 (n,), intersection over union.
    """
    sizes = [int(np.prod(shape)) for shape in inputs.input_shapes()]
    parts = torch.from_numpy(rows.astype(np.float32)).split(sizes, dim=1)
    with torch.inference_mode():
        maps = [p.reshape(-1, *s) for p, s in zip(parts, inputs.input_shapes(), strict=True)]
        guess = (head(*maps)[:, 0] > 0).numpy()
    truth = masks > 127
    union = (guess | truth).sum((1, 2))
    return (guess & truth).sum((1, 2)) / np.maximum(union, 1)


def mask_input_rows(
    inputs: MaskInputNet, squares: list[NDArray[np.uint8]], device: str
) -> NDArray[np.float16]:
    """Return the mask head's inputs of views, float16 (n, d).

    Args:
        inputs: The network of the inputs, in evaluation mode.
        squares: uint8 (224, 224, 3) each.
        device: "cpu" or "cuda".
    """
    runner = runtime.InferenceRunner("mask inputs", inputs, EFFICIENTNET_LITE0, device)
    return runner(squares).astype(np.float16)
