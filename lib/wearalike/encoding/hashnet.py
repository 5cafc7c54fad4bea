"""The network of our own encoder: one forward pass gives 128 bits of shape and 128 bits of colour.

The trunk is EfficientNet-Lite0. Shape comes from its pooled features. Colour is looked up where the item is: the trunk's
middle features say which pixels belong to it (attention maps), and a few 1x1 convolutions say what colour those are, so
that the ground and the skin beside an item need not enter its code. Each head ends in 128 units, squashed while training
and cut at 0 for the code, as in Lin et al., "Deep Learning of Binary Hash Codes for Fast Image Retrieval" (CVPRW 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.models import registry
from wearalike.models.files import BadModel
from wearalike.models.registry import CODE_BITS, EFFICIENTNET_LITE0
from wearalike.tables import ImageView

ARCHITECTURE = "efficientnet-lite0-hash"
INPUT_PX = EFFICIENTNET_LITE0.input_px
# Blocks whose features, 40 channels at an eighth of the input, are left as ImageNet made them: edges and textures are the
# same in fashion, and a trainer that never goes back through them needs a third of the time.
STEM_BLOCKS = 3
_ATTENTION_BLOCKS = 2
_ATTENTION_MAPS = 3
_PIXEL_STEP = 8
_PIXEL_FEATURES = 64
_HIDDEN_UNITS = 512
# What the names of the tensors begin with that tell views.
VIEW_PREFIX = "view"


class HashNet(nn.Module):
    """float32 (n, 3, 224, 224), scaled to -1..1 -> float32 (n, 256): shape in 0..127, colour in 128..255, cut at 0 for bits; and
    behind them, of a network that tells views, the logits of each (tables.ImageView)."""

    def __init__(self, has_view_head: bool = False) -> None:
        super().__init__()
        network: Any = registry.fold_batch_norm(
            timm.create_model(EFFICIENTNET_LITE0.architecture, pretrained=False).eval()
        )
        blocks = list(network.blocks)
        middle = STEM_BLOCKS + _ATTENTION_BLOCKS
        self.stem = nn.Sequential(network.conv_stem, network.bn1, *blocks[:STEM_BLOCKS])
        self.middle = nn.Sequential(*blocks[STEM_BLOCKS:middle])
        self.top = nn.Sequential(*blocks[middle:], network.conv_head, network.bn2)
        self.attention = nn.Conv2d(112, _ATTENTION_MAPS, 1)
        self.pixel = nn.Sequential(
            nn.Conv2d(3, 48, 1), nn.ReLU(), nn.Conv2d(48, _PIXEL_FEATURES, 1), nn.ReLU()
        )
        features_count = EFFICIENTNET_LITE0.features_count
        self.shape = _build_head(features_count)
        # What ImageNet knows of shape, as imagenet-itq has it, is where the shape code begins; the head learns what to add.
        self.turn = nn.Linear(features_count, CODE_BITS)
        self.colour = _build_head(features_count + _ATTENTION_MAPS * _PIXEL_FEATURES)
        self.view = nn.Linear(features_count, len(ImageView)) if has_view_head else None

    def forward(self, pictures: Tensor) -> Tensor:
        return self.forward_from_stem(self.stem(pictures), downsample_pixels(pictures))

    def forward_from_stem(self, maps: Tensor, pixels: Tensor) -> Tensor:
        """The part that learns. maps: the stem's output (n, 40, 28, 28); pixels: `small` of the input (n, 3, 28, 28)."""
        return self.forward_heads(*self.upper_features(maps), pixels)

    def upper_features(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk above the stem: its middle features (n, 112, 14, 14), and its pooled ones (n, 1280)."""
        middle = self.middle(maps)
        return middle, self.top(middle).mean(dim=(2, 3))

    def forward_heads(self, middle: Tensor, features: Tensor, pixels: Tensor) -> Tensor:
        """What `forward` gives, from what the trunk has seen."""
        where = functional.interpolate(
            self.attention(middle), scale_factor=16 // _PIXEL_STEP, mode="bilinear"
        )
        where = where.flatten(2).softmax(dim=2)
        found = torch.einsum("nmp,ncp->nmc", where, self.pixel(pixels).flatten(2)).flatten(1)
        told = [
            self.turn(features) + self.shape(features),
            self.colour(torch.cat([features, found], dim=1)),
        ]
        return torch.cat(told if self.view is None else [*told, self.view(features)], dim=1)


def downsample_pixels(pictures: Tensor) -> Tensor:
    """The pixels whose colours are looked up: an eighth of each side, (n, 3, 28, 28)."""
    return functional.avg_pool2d(pictures, _PIXEL_STEP)


def init_from_imagenet() -> HashNet:
    """A network whose shape code is that of imagenet-itq, and whose colour head knows nothing yet. Raises BadModel."""
    made = HashNet()
    known = registry.fold_batch_norm(registry.load_backbone(EFFICIENTNET_LITE0))
    ours = [*made.stem.parameters(), *made.middle.parameters(), *made.top.parameters()]
    itq = {
        name: torch.from_numpy(array)
        for name, array in registry.read_encoder_arrays(registry.ENCODERS["imagenet-itq"]).items()
    }
    last = cast(nn.Linear, made.shape[-1])
    with torch.no_grad():
        for mine, theirs in zip(ours, known.parameters(), strict=True):
            mine.copy_(theirs)
        made.turn.weight.copy_(itq["shape_rotation"].T)
        made.turn.bias.copy_(-itq["shape_mean"] @ itq["shape_rotation"])
        last.weight.zero_()
        last.bias.zero_()
    return made


def load_hashnet(arrays: Mapping[str, NDArray[np.floating]]) -> HashNet:
    """The network of a weights file, in evaluation mode. Raises BadModel where names or shapes are not this network's."""
    network = HashNet(has_view_head=f"{VIEW_PREFIX}.weight" in arrays)
    state = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BadModel(f"not the weights of {ARCHITECTURE}: {error}") from error
    return network.eval()


def drop_view_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """The arrays of a weights file but for those that tell views."""
    return {name: array for name, array in arrays.items() if not name.startswith(f"{VIEW_PREFIX}.")}


def _build_head(features_count: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features_count, _HIDDEN_UNITS),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(_HIDDEN_UNITS, CODE_BITS),
    )
