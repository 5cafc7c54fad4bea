"""The network of our own encoder: one forward pass gives 128 bits of shape and 128 of colour.

The backbone is EfficientNet-Lite0. Shape comes from its pooled features. Colour is read where the
item is: attention maps on the backbone's middle features say which pixels belong to the item, and a
few 1x1 convolutions say what colour those are. So background and skin need not enter the code. Each
head ends in 128 units, squashed in training and cut at 0 for the code. Source: Lin et al., "Deep
Learning of Binary Hash Codes for Fast Image Retrieval" (CVPRW 2015).
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

from wearalike.encoding import architectures
from wearalike.models import registry
from wearalike.models.files import BadModel
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import CODE_BITS, ImageView

ARCHITECTURE = architectures.HASHNET
INPUT_PX = EFFICIENTNET_LITE0.input_px
# These blocks, up to 40 channels at 1/8 of the input, keep the weights of ImageNet: edges and
# textures are the same in fashion, and training that never goes back through them takes a third of
# the time.
STEM_BLOCKS = 3
_ATTENTION_BLOCKS = 2
_ATTENTION_MAPS = 3
# Channels of the backbone's features that the attention maps are made from.
_MIDDLE_CHANNELS = 112
# Colours are read from blocks of so many pixels a side.
_PIXEL_STEP = 8
_PIXEL_HIDDEN_UNITS = 48
_PIXEL_FEATURES = 64
_HIDDEN_UNITS = 512
# Names of the view head's tensors begin with this.
VIEW_PREFIX = "view"
# Layer names in model files made before they were renamed, and the layers' names now.
_RENAMED_LAYERS = {"turn": "itq_projection"}


class HashNet(nn.Module):
    """Pictures to the logits of both codes and, with a view head, of each view.

    Input: float32 (n, 3, 224, 224), -1..1. Output: float32 (n, 256) with shape in columns 0..127
    and colour in 128..255, cut at 0 for bits. A view head adds a column for each ImageView.
    """

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
        self.attention = nn.Conv2d(_MIDDLE_CHANNELS, _ATTENTION_MAPS, 1)
        self.pixel = nn.Sequential(
            nn.Conv2d(3, _PIXEL_HIDDEN_UNITS, 1),
            nn.ReLU(),
            nn.Conv2d(_PIXEL_HIDDEN_UNITS, _PIXEL_FEATURES, 1),
            nn.ReLU(),
        )
        features_count = EFFICIENTNET_LITE0.features_count
        self.shape = _build_head(features_count)
        # The shape code begins as that of imagenet-itq; the head learns what to add to it.
        self.itq_projection = nn.Linear(features_count, CODE_BITS)
        self.colour = _build_head(features_count + _ATTENTION_MAPS * _PIXEL_FEATURES)
        self.view = nn.Linear(features_count, len(ImageView)) if has_view_head else None

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits of a batch of pictures."""
        return self.forward_from_stem(self.stem(pictures), downsample_pixels(pictures))

    def forward_from_stem(self, maps: Tensor, pixels: Tensor) -> Tensor:
        """Return the logits from the part that learns.

        Args:
            maps: Output of the stem, (n, 40, 28, 28).
            pixels: `downsample_pixels` of the pictures, (n, 3, 28, 28).
        """
        return self.forward_heads(*self.upper_features(maps), pixels)

    def upper_features(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the backbone's middle (n, 112, 14, 14) and pooled (n, 1280) features."""
        middle = self.middle(maps)
        return middle, self.top(middle).mean(dim=(2, 3))

    def forward_heads(self, middle: Tensor, features: Tensor, pixels: Tensor) -> Tensor:
        """Return the logits from the backbone's features.

        Args:
            middle: Middle features, (n, 112, 14, 14).
            features: Pooled features, (n, 1280).
            pixels: `downsample_pixels` of the pictures, (n, 3, 28, 28).
        """
        attention = functional.interpolate(
            self.attention(middle), scale_factor=16 // _PIXEL_STEP, mode="bilinear"
        )
        weights = attention.flatten(2).softmax(dim=2)
        colours = self.pixel(pixels).flatten(2)
        attended = torch.einsum("nmp,ncp->nmc", weights, colours).flatten(1)
        logits = [
            self.itq_projection(features) + self.shape(features),
            self.colour(torch.cat([features, attended], dim=1)),
        ]
        if self.view is not None:
            logits.append(self.view(features))
        return torch.cat(logits, dim=1)


def downsample_pixels(pictures: Tensor) -> Tensor:
    """Return the pixels whose colours are read: 1/8 of each side, (n, 3, 28, 28)."""
    return functional.avg_pool2d(pictures, _PIXEL_STEP)


def init_from_imagenet() -> HashNet:
    """Build a network whose shape code is that of imagenet-itq, with an untrained colour head.

    Raises:
        BadModel: A packaged file is not the pinned one.
    """
    network = HashNet()
    pretrained = registry.fold_batch_norm(registry.load_backbone(EFFICIENTNET_LITE0))
    targets = [
        *network.stem.parameters(),
        *network.middle.parameters(),
        *network.top.parameters(),
    ]
    itq = {
        name: torch.from_numpy(array)
        for name, array in registry.read_encoder_arrays(registry.ENCODERS["imagenet-itq"]).items()
    }
    last = cast(nn.Linear, network.shape[-1])
    with torch.no_grad():
        for target, source in zip(targets, pretrained.parameters(), strict=True):
            target.copy_(source)
        network.itq_projection.weight.copy_(itq["shape_rotation"].T)
        network.itq_projection.bias.copy_(-itq["shape_mean"] @ itq["shape_rotation"])
        last.weight.zero_()
        last.bias.zero_()
    return network


def load_hashnet(arrays: Mapping[str, NDArray[np.floating]]) -> HashNet:
    """Load the network of a model file, in evaluation mode.

    Args:
        arrays: The network's state by name; former layer names are known too.

    Raises:
        BadModel: Names or shapes are not this network's.
    """
    network = HashNet(has_view_head=f"{VIEW_PREFIX}.weight" in arrays)
    state = {}
    for name, array in arrays.items():
        layer, dot, rest = name.partition(".")
        current_name = _RENAMED_LAYERS.get(layer, layer) + dot + rest
        state[current_name] = torch.from_numpy(array.astype(np.float32))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BadModel(f"not the weights of {ARCHITECTURE}: {error}") from error
    return network.eval()


def drop_view_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """Return the arrays of a model file without those of the view head."""
    return {name: array for name, array in arrays.items() if not name.startswith(f"{VIEW_PREFIX}.")}


def _build_head(features_count: int) -> nn.Sequential:
    """Build a head of two layers that ends in a code."""
    return nn.Sequential(
        nn.Linear(features_count, _HIDDEN_UNITS),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(_HIDDEN_UNITS, CODE_BITS),
    )
