"""The backbone of both detectors: EfficientNet-Lite0 with folded batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0

# Channels of the maps at 1/8, 1/16 and 1/32 of the square's side.
CHANNELS = (40, 112, 320)
STRIDES = (8, 16, 32)


class MultiScaleBackbone(nn.Module):
    """Pictures to maps at 1/8, 1/16 and 1/32 of their side.

    Input: float32 (n, 3, side, side), -1..1, side a multiple of 32. The stem, up to 1/8, keeps the
    weights of ImageNet: edges and textures are the same in fashion, and training that never goes
    back through the stem takes a third of the time.
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
        """Return the three maps, finest first."""
        return self.forward_from_stem(self.stem(pictures))

    def forward_from_stem(self, eighth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three maps, given the stem's map at 1/8."""
        sixteenth = self.middle(eighth)
        return eighth, sixteenth, self.top(sixteenth)

    def load_imagenet_weights(self) -> None:
        """Load the packaged weights of ImageNet.

        Raises:
            BadModel: The packaged file is not the pinned one.
        """
        pretrained: Any = registry.fold_batch_norm(registry.load_backbone(EFFICIENTNET_LITE0))
        sources = [*pretrained.conv_stem.parameters(), *pretrained.blocks.parameters()]
        with torch.no_grad():
            for target, source in zip(self.parameters(), sources, strict=True):
                target.copy_(source)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters above the stem."""
        return [*self.middle.parameters(), *self.top.parameters()]


class FrozenFeatures:
    """Output of the part of a backbone that does not learn, for a trainer.

    That part is the whole backbone while it is frozen, else its stem. On a CPU it is compiled.
    """

    def __init__(self, backbone: MultiScaleBackbone, device: str) -> None:
        self._backbone = backbone
        self._device = device
        self._compiled: dict[bool, Any] = {}

    def __call__(
        self, pictures: NDArray[np.float32], is_backbone_frozen: bool
    ) -> tuple[Tensor, ...]:
        """Return the maps of pictures: all three of a frozen backbone, else the stem's.

        Args:
            pictures: float32 (n, 3, side, side), -1..1.
            is_backbone_frozen: True if all of the backbone is frozen.
        """
        part = self._backbone if is_backbone_frozen else self._backbone.stem
        if self._device == "cpu":
            if is_backbone_frozen not in self._compiled:
                shape = (1, *pictures.shape[1:])
                self._compiled[is_backbone_frozen] = registry.compile_network(part.eval(), shape, 1)
            rows = [self._compiled[is_backbone_frozen](picture[None]) for picture in pictures]
            return tuple(
                _to_channels_last(torch.from_numpy(np.concatenate(maps)))
                for maps in zip(*rows, strict=True)
            )
        with torch.no_grad():
            maps = part(_to_channels_last(torch.from_numpy(pictures).to(self._device)))
        return maps if is_backbone_frozen else (maps,)


def _to_channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)
