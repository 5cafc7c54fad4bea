"""Any public network as the trunk of the likeness encoder: pictures to maps at five depths.

`backbone_maps` finds the depths. Wide maps are reduced by 1x1 convolutions (principal components,
`trunk_reduction`).

A model file has these arrays below `trunk.`. `network.*` is the network's own state, without its
classifier. `input_px`, `mean` and `std` are of its input. `scale` has the five maps' divisors.
`reduce.<k>.weight` is the reduction of map k, if that is wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearalike.encoding.backbone_maps import cut_network, lay_out, leave_maps, run_network
from wearalike.encoding.descriptor_layout import DescriptorLayout
from wearalike.encoding.item_describer import TrunkMaps
from wearalike.models.backbone_weights import load_backbone_weights
from wearalike.models.backbones import BackboneInput, BackboneName, read_input
from wearalike.models.files import MAX_MODEL_BYTES, BadModel
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.models.state_dicts import StateDict

# Most channels of each of the five maps that the heads read; wider maps are reduced to these.
MAX_CHANNELS = (48, 64, 128, 320, 2048)
PICTURE_PX = EFFICIENTNET_LITE0.input_px
# A file may not ask for a larger input than this: it would fill the memory.
_INPUT_PX = range(32, 641)


class BackboneTrunk(nn.Module):
    """Pictures to maps at five depths of a public network.

    Input: float32 (n, 3, 224, 224), -1..1; it is resized to the network's own. Output: TrunkMaps.

    Attributes:
        name: The network.
        layout: Where the descriptors of its maps lie.
        scale: Divisors that bring the maps to a spread of about 1, float32 (5,).
        reduce: Reductions of wide maps, by the number of the map.
    """

    mean: Tensor
    std: Tensor
    input_px: Tensor
    scale: Tensor
    to_input: Tensor

    def __init__(self, name: BackboneName, inputs: BackboneInput) -> None:
        """Build the trunk with random weights, to load others into.

        Args:
            name: The network.
            inputs: Its input.

        Raises:
            BadModel: It cannot be built, or has no maps at five depths.
        """
        super().__init__()
        self.name = name
        self.network, self.dropped, self.places = cut_network(name, inputs.side_px)
        for place in self.places:
            self.network.get_submodule(place.layer).register_forward_hook(
                partial(leave_maps, place.layer)
            )
        channels = tuple(
            min(place.channels, most) for place, most in zip(self.places, MAX_CHANNELS, strict=True)
        )
        self.layout = DescriptorLayout(channels, tuple(place.side_px for place in self.places))
        self.register_buffer("mean", torch.tensor(inputs.mean))
        self.register_buffer("std", torch.tensor(inputs.std))
        self.register_buffer("input_px", torch.tensor([float(inputs.side_px)]))
        self.register_buffer("scale", torch.ones(len(self.places)))
        self.register_buffer("to_input", _resize_matrix(inputs.side_px), persistent=False)
        self.reduce = nn.ModuleDict(
            {
                str(k): nn.Conv2d(place.channels, most, 1, bias=False)
                for k, (place, most) in enumerate(zip(self.places, MAX_CHANNELS, strict=True))
                if place.channels > most
            }
        )
        self.requires_grad_(False).eval()

    @classmethod
    def from_weights(cls, name: BackboneName, state: StateDict) -> BackboneTrunk:
        """Return a trunk with the weights of a file; what is wide is not reduced yet.

        Args:
            name: The network.
            state: Its weights.

        Raises:
            BadModel: The weights do not fit, or were never trained; or no model file could hold or
                describe the network.
        """
        inputs = read_input(name)
        if inputs.side_px not in _INPUT_PX:
            raise BadModel(
                f"backbone {name}: takes {inputs.side_px} px, wanted {_INPUT_PX.start} to "
                f"{_INPUT_PX.stop - 1}"
            )
        trunk = cls(name, inputs)
        size = 2 * sum(p.numel() for p in trunk.network.parameters())
        if size > MAX_MODEL_BYTES:
            raise BadModel(
                f"backbone {name}: {size:,} bytes of weights; a model file has at most "
                f"{MAX_MODEL_BYTES:,}"
            )
        load_backbone_weights(trunk.network, name, state, trunk.dropped)
        trunk.round_weights()
        if not all(bool(torch.isfinite(p).all()) for p in trunk.network.parameters()):
            raise BadModel(f"{state.path}: holds weights that float16 has no number for")
        return trunk

    @classmethod
    def from_arrays(cls, name: BackboneName, tensors: Mapping[str, Tensor]) -> BackboneTrunk:
        """Return a trunk to load the arrays of a model file into.

        Args:
            name: The network.
            tensors: The arrays by name, without the prefix `trunk.`; only the input's are read.

        Raises:
            BadModel: The file says no input that is possible.
        """
        side, mean, std = (tensors.get(n, torch.zeros(0)) for n in ("input_px", "mean", "std"))
        is_known = side.shape == (1,) and mean.shape == std.shape == (3,)
        if not is_known or side.item() not in _INPUT_PX or not bool((std > 0).all()):
            raise BadModel(f"trunk {name}: its file says no input that is possible")
        inputs = BackboneInput(int(side.item()), tuple(mean.tolist()), tuple(std.tolist()))
        return cls(name, inputs)

    def whole_numbers(self) -> dict[str, Tensor]:
        """Return the state that follows from the architecture alone, and no file carries."""
        return {n: t for n, t in self.state_dict().items() if not t.is_floating_point()}

    def round_weights(self) -> None:
        """Round the weights to float16, as a model file keeps them: training then sees the same."""
        for parameter in self.parameters():
            parameter.copy_(parameter.half().float())

    def read_maps(self, pictures: Tensor) -> list[Tensor]:
        """Return the network's own maps of pictures, neither scaled nor reduced.

        Args:
            pictures: float32 (n, 3, 224, 224), -1..1.
        """
        if len(self.to_input) != PICTURE_PX:
            pictures = self.to_input @ pictures @ self.to_input.T
        mean, std = (values[:, None, None] for values in (self.mean, self.std))
        taps = run_network(self.network, (pictures * 0.5 + 0.5 - mean) / std)
        return [lay_out(taps[place.layer]) for place in self.places]

    def forward(self, pictures: Tensor) -> TrunkMaps:
        """Return the maps of pictures."""
        maps = []
        for k, found in enumerate(self.read_maps(pictures)):
            reduced = self.reduce[str(k)](found) if str(k) in self.reduce else found
            maps.append(reduced / self.scale[k])
        return TrunkMaps(*maps)


def _resize_matrix(side_px: int) -> Tensor:
    """Return R with R @ picture @ R.T the picture of 224 px resized, float32 (side_px, 224)."""
    columns = functional.interpolate(
        torch.eye(PICTURE_PX)[None, None],
        size=(side_px, PICTURE_PX),
        mode="bilinear",
        antialias=side_px < PICTURE_PX,
    )
    return columns[0, 0]
