"""The trunk of both detectors: EfficientNet-Lite0, with every batch normalization folded away and the weights of ImageNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0

# What the trunk sees at an eighth, a sixteenth and a thirty-second of the side has so many channels.
CHANNELS = (40, 112, 320)
STRIDES = (8, 16, 32)


class MultiScaleBackbone(nn.Module):
    """float32 (n, 3, side, side), -1..1, side a multiple of 32 -> its maps at an eighth, a sixteenth and a thirty-second.

    The stem, up to the eighth, is left as ImageNet made it: edges and textures are the same in fashion, and a trainer that never
    goes back through them needs a third of the time.
    """

    def __init__(self) -> None:
        super().__init__()
        network: Any = registry.fold_batch_norm(
            timm.create_model(EFFICIENTNET_LITE0.architecture, pretrained=False).eval()
        )
        self.stem = nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:3])
        self.middle = nn.Sequential(*network.blocks[3:5])
        self.top = nn.Sequential(*network.blocks[5:])
        self.stem.requires_grad_(False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.forward_from_stem(self.stem(pictures))

    def forward_from_stem(self, eighth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same from the stem's maps."""
        sixteenth = self.middle(eighth)
        return eighth, sixteenth, self.top(sixteenth)

    def load_imagenet_weights(self) -> None:
        """Takes the weights of ImageNet. Raises BadModel where they are not the ones we know."""
        known: Any = registry.fold_batch_norm(registry.load_backbone(EFFICIENTNET_LITE0))
        theirs = [*known.conv_stem.parameters(), *known.blocks.parameters()]
        with torch.no_grad():
            for mine, other in zip(self.parameters(), theirs, strict=True):
                mine.copy_(other)

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [*self.middle.parameters(), *self.top.parameters()]


class FrozenFeatures:
    """The part of a trunk that learns nothing, for a trainer: all of it while it stands still, else its stem. On a CPU compiled."""

    def __init__(self, trunk: MultiScaleBackbone, device: str) -> None:
        self._trunk, self._device = trunk, device
        self._compiled: dict[bool, Any] = {}

    def __call__(
        self, pictures: NDArray[np.float32], is_backbone_frozen: bool
    ) -> tuple[Tensor, ...]:
        if self._device == "cpu":
            if is_backbone_frozen not in self._compiled:
                part = self._trunk if is_backbone_frozen else self._trunk.stem
                self._compiled[is_backbone_frozen] = registry.compile_network(
                    part.eval(), (1, *pictures.shape[1:]), 1
                )
            rows = [self._compiled[is_backbone_frozen](p[None]) for p in pictures]
            return tuple(
                _to_channels_last(torch.from_numpy(np.concatenate(maps)))
                for maps in zip(*rows, strict=True)
            )
        with torch.no_grad():
            there = _to_channels_last(torch.from_numpy(pictures).to(self._device))
            return self._trunk(there) if is_backbone_frozen else (self._trunk.stem(there),)


def normalize_for_backbone(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Squares, uint8 (n, side, side, 3), as the trunk takes them: float32 (n, 3, side, side), -1..1."""
    return registry.normalize_pixels(squares, EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std)


def _to_channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)
