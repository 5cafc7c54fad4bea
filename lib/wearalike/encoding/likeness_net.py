"""The network of the likeness encoder: 128 bits of shape, 128 of colour, and the view.

A trunk is read at five depths. A describer finds the item by a mask and pools features and colours
under it (`item_describer`). Two heads turn these descriptors into the codes. The trunk is
EfficientNet-Lite0 with the weights of ImageNet, unless a model file brings its own.

A model file has these arrays, float16 or float32, named as the modules below:

    describer.*   mask head and palette
    heads.*       mean and scale of the descriptors, and both code heads
    view.*        optional: the layer that tells views
    trunk.*       optional: a trunk of its own; else that of the package of EFFICIENTNET_LITE0

Widths of the mask head and of the code heads are read from the arrays. The file's architecture
names the trunk: ARCHITECTURE, or e.g. `timm.densenet121-likeness`, whose file has `trunk.*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.encoding import architectures
from wearalike.encoding.backbone_trunk import BackboneTrunk
from wearalike.encoding.descriptor_layout import LITE0_LAYOUT, PALETTE_COLOURS, DescriptorLayout
from wearalike.encoding.item_describer import ItemDescriber, MaskHead, TrunkMaps
from wearalike.models import backbones, registry
from wearalike.models.files import BadModel
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import CODE_BITS, ImageView

ARCHITECTURE = architectures.LIKENESS
INPUT_PX = EFFICIENTNET_LITE0.input_px
# Names of arrays that a file may lack begin with these.
VIEW_PREFIX = "view"
TRUNK_PREFIX = "trunk"
# Hidden units of a code head, and its dropout in training.
HIDDEN_UNITS = 256
_DROPOUT = 0.2
# A file may not ask for layers wider than this: they would fill the memory.
_MAX_WIDTH = 4096
# Standardized descriptors are cut at so many standard deviations.
_MAX_DEVIATIONS = 5.0


class LikenessTrunk(nn.Module):
    """Pictures to maps at five depths.

    Input: float32 (n, 3, 224, 224), -1..1. Output: TrunkMaps.
    """

    layout = LITE0_LAYOUT

    def __init__(self, backbone: Any) -> None:
        """Take the layers of a backbone.

        Args:
            backbone: timm's EfficientNet-Lite0, batch normalization folded away.
        """
        super().__init__()
        blocks = list(backbone.blocks)
        self.stage1 = nn.Sequential(backbone.conv_stem, backbone.bn1, *blocks[:2])
        self.stage2 = nn.Sequential(blocks[2])
        self.stage3 = nn.Sequential(*blocks[3:5])
        self.stage4 = nn.Sequential(*blocks[5:])
        self.final = nn.Sequential(backbone.conv_head, backbone.bn2)

    def forward(self, pictures: Tensor) -> TrunkMaps:
        """Return the maps of pictures."""
        stage1 = self.stage1(pictures)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        stage4 = self.stage4(stage3)
        return TrunkMaps(stage1, stage2, stage3, stage4, self.final(stage4))


class CodeHead(nn.Module):
    """Standardized descriptors to 128 logits: a linear map, and a hidden layer that adds to it."""

    def __init__(self, inputs: int, hidden: int = HIDDEN_UNITS, dropout: float = _DROPOUT) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, CODE_BITS)
        self.hidden = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, CODE_BITS)

    def forward(self, descriptors: Tensor) -> Tensor:
        """Return the logits (n, 128) of standardized descriptors (n, inputs)."""
        projected = self.dropout(self.projection(descriptors))
        hidden = self.dropout(functional.relu(self.hidden(projected)))
        return self.linear(projected) + self.output(hidden)


class CodeHeads(nn.Module):
    """Both code heads, and the standardization of what they read.

    Attributes:
        mean: Mean of each descriptor over the training pictures, float32 (d,).
        scale: Divides what differs from the mean, float32 (d,).
        layout: Where each of the d descriptors lies; 4,400 of the packaged trunk.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        mean: NDArray[np.float32],
        scale: NDArray[np.float32],
        shape_hidden: int = HIDDEN_UNITS,
        colour_hidden: int = HIDDEN_UNITS,
        dropout: float = _DROPOUT,
        layout: DescriptorLayout = LITE0_LAYOUT,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.shape = CodeHead(layout.shape_count, shape_hidden, dropout)
        self.colour = CodeHead(len(layout.colour_inputs), colour_hidden, dropout)

    def forward(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of shape and of colour, (n, 128) each.

        Args:
            descriptors: As the describer returns them, (n, d).
        """
        return self.forward_standardized(self.standardize(descriptors))

    def standardize(self, descriptors: Tensor) -> Tensor:
        """Return descriptors (n, d) in standard deviations from their mean, cut at 5."""
        deviations = (descriptors - self.mean) / self.scale
        return deviations.clamp(-_MAX_DEVIATIONS, _MAX_DEVIATIONS)

    def forward_standardized(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of shape and of colour of standardized descriptors (n, d)."""
        shape_count = self.layout.shape_count
        for_colour = [descriptors[:, self.layout.texture_columns], descriptors[:, shape_count:]]
        return (
            self.shape(descriptors[:, :shape_count]),
            self.colour(torch.cat(for_colour, dim=1)),
        )


class LikenessNet(nn.Module):
    """Pictures to the logits of both codes and, with a view layer, of each view.

    Input: float32 (n, 3, 224, 224), -1..1. Output: float32 (n, 256) with shape in columns 0..127
    and colour in 128..255, cut at 0 for bits. A view layer adds a column for each ImageView.
    """

    def __init__(
        self,
        trunk: LikenessTrunk | BackboneTrunk,
        describer: ItemDescriber,
        heads: CodeHeads,
        has_view_layer: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.describer = describer
        self.heads = heads
        features_count = trunk.layout.channels[-1]
        self.view = nn.Linear(features_count, len(ImageView)) if has_view_layer else None

    @property
    def layout(self) -> DescriptorLayout:
        """Where each descriptor lies."""
        return self.trunk.layout

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits of a batch of pictures."""
        return self.forward_heads(self.describe(pictures))

    def describe(self, pictures: Tensor) -> Tensor:
        """Return the descriptors of a batch of pictures, (n, d)."""
        return self.describer(pictures, self.trunk(pictures))

    def forward_heads(self, descriptors: Tensor) -> Tensor:
        """Return the logits of descriptors (n, d)."""
        logits = list(self.heads(descriptors))
        if self.view is not None:
            logits.append(self.view(descriptors[:, self.layout.columns("picture")]))
        return torch.cat(logits, dim=1)


def imagenet_trunk() -> LikenessTrunk:
    """Return the trunk with the weights of ImageNet, in evaluation mode.

    Raises:
        BadModel: The packaged file is not the pinned one.
    """
    backbone = registry.fold_batch_norm(registry.load_backbone(EFFICIENTNET_LITE0))
    return LikenessTrunk(backbone).eval()


def imagenet_palette() -> NDArray[np.float32]:
    """Return the palette of imagenet-itq: Lab colours of photos of fashion, float32 (128, 3).

    Raises:
        BadModel: The packaged file is not the pinned one.
    """
    return registry.read_encoder_arrays(registry.ENCODERS["imagenet-itq"])["palette"]


def architecture_of(trunk: LikenessTrunk | BackboneTrunk) -> str:
    """Return the architecture that a model file with a trunk has."""
    if isinstance(trunk, LikenessTrunk):
        return ARCHITECTURE
    return f"{trunk.name.library}.{trunk.name.architecture}{architectures.LIKENESS_SUFFIX}"


def load_likeness_net(
    arrays: Mapping[str, NDArray[np.floating]], architecture: str = ARCHITECTURE
) -> LikenessNet:
    """Load the network of a model file, in evaluation mode.

    Args:
        arrays: The arrays of the file by name; this module's docstring lists them.
        architecture: Architecture of the file; it names the trunk.

    Raises:
        BadModel: Names or shapes are not this network's.
    """
    mask_width, shape_hidden, colour_hidden = (
        _read_width(arrays, name)
        for name in (
            "describer.mask.from_stage2.bias",
            "heads.shape.projection.bias",
            "heads.colour.projection.bias",
        )
    )
    state = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    trunk = _build_trunk(state, architecture)
    layout = trunk.layout
    empty = np.zeros(layout.count, np.float32)
    network = LikenessNet(
        trunk,
        ItemDescriber(
            MaskHead(mask_width, layout), np.zeros((PALETTE_COLOURS, 3), np.float32), layout
        ),
        CodeHeads(empty, empty, shape_hidden, colour_hidden, layout=layout),
        has_view_layer=f"{VIEW_PREFIX}.weight" in arrays,
    )
    if not any(name.startswith(f"{TRUNK_PREFIX}.") for name in state):
        state |= network.trunk.state_dict(prefix=f"{TRUNK_PREFIX}.")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BadModel(f"not the weights of {architecture}: {error}") from error
    if isinstance(trunk, BackboneTrunk) and not (trunk.scale > 0).all():
        raise BadModel(f"not the weights of {architecture}: trunk.scale: wanted all above 0")
    if not (network.heads.scale > 0).all():
        raise BadModel(f"not the weights of {architecture}: heads.scale: wanted all above 0")
    return network.eval()


def _build_trunk(state: dict[str, Tensor], architecture: str) -> LikenessTrunk | BackboneTrunk:
    """Return the trunk of a file; its own lacks numbers that the architecture says are added."""
    if architecture == ARCHITECTURE:
        return imagenet_trunk()
    prefix = f"{TRUNK_PREFIX}."
    tensors = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    name = backbones.parse_architecture(architecture.removesuffix(architectures.LIKENESS_SUFFIX))
    trunk = BackboneTrunk.from_arrays(name, tensors)
    state |= {f"{prefix}{n}": t for n, t in trunk.whole_numbers().items()}
    return trunk


def export_arrays(
    network: LikenessNet, has_own_trunk: bool = False
) -> dict[str, NDArray[np.floating]]:
    """Return the arrays of a network for a model file.

    Weights become float16. Statistics of the descriptors and the palette stay float32, because
    float16 would shift what differs little.

    Args:
        network: The network.
        has_own_trunk: True if the trunk is not that of ImageNet, so that the file must carry it.
    """
    has_own_trunk = has_own_trunk or isinstance(network.trunk, BackboneTrunk)
    buffers = {name for name, _ in network.named_buffers()}
    return {
        name: np.array(tensor.cpu(), np.float32 if name in buffers else np.float16)
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and (has_own_trunk or not name.startswith(f"{TRUNK_PREFIX}."))
    }


def has_likeness_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> bool:
    """Return whether arrays are those of this network, not of another encoder."""
    return "heads.mean" in arrays


def drop_view_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """Return the arrays of a model file without those of the view layer."""
    return {name: array for name, array in arrays.items() if not name.startswith(f"{VIEW_PREFIX}.")}


def _read_width(arrays: Mapping[str, NDArray[np.floating]], name: str) -> int:
    """Return the length of a bias. Raises BadModel if there is none, or it is too long."""
    if name not in arrays:
        raise BadModel(f"not the weights of {ARCHITECTURE}: {name} is missing")
    if arrays[name].ndim != 1 or len(arrays[name]) > _MAX_WIDTH:
        raise BadModel(
            f"not the weights of {ARCHITECTURE}: {name} is {arrays[name].shape}, "
            f"wanted one axis of at most {_MAX_WIDTH:,}"
        )
    return len(arrays[name])
