"""Find the maps of a public network at five depths, and run it up to the last of them.

Forward hooks leave the maps of chosen layers for who runs the network, so that any network of timm
or torchvision will do. Tokens of transformers are laid out as maps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wearalike.models import backbones
from wearalike.models.backbones import CLASSIFIER_NAMES, BackboneName
from wearalike.models.files import BadModel
from wearalike.models.state_dicts import shorten_message

_STRIDES = (4, 8, 16)
# Convolutions without padding leave maps a little smaller than the input over the stride.
_SIDE_TOLERANCE = 0.8
# Maps that are coarser than this stride are pooled, not read.
_MAX_STRIDE = 40
# Layers lie in these one after another; in blocks they may lie side by side.
_CHAINS = (nn.Sequential, nn.ModuleList)
# Names of layers have at most so many parts, as encoder.layers.encoder_layer_3.
_MAX_DEPTH = 3
# Extra tokens of transformers stand before those of the picture.
_MAX_PREFIX_TOKENS = 8

# Where the running network leaves its maps; of each thread its own.
_taps: ContextVar[dict[str, Tensor]] = ContextVar("taps")


@dataclass(frozen=True, slots=True)
class MapPlace:
    """A layer whose output is maps.

    Attributes:
        layer: Name of the layer in the network.
        channels: Channels of the maps.
        side_px: Side of the maps.
    """

    layer: str
    channels: int
    side_px: int


# Raised by a network whose layers or input are not those of a trunk; timm asserts the side.
_BUILD_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def cut_network(
    name: BackboneName, side_px: int
) -> tuple[nn.Module, tuple[str, ...], tuple[MapPlace, ...]]:
    """Return a network without what comes after its last maps.

    Returns:
        The network, the names of the layers that it lost, and the places of its five maps.

    Raises:
        BadModel: It has no maps at five depths.
    """
    network: Any = backbones.build_backbone(name)
    _add_last_activation(network)
    try:
        order = _record_layers(network, side_px)
        times = Counter(layer for layer, _ in order)
        # A layer that runs twice, as a shared activation, leaves its last maps only.
        candidates = [MapPlace(n, *shape) for n, shape in order if shape and times[n] == 1]
        places = choose_places(candidates, side_px)
    except _BUILD_ERRORS as error:
        raise BadModel(
            f"backbone {name}: no trunk: {shorten_message(error)}; "
            "wanted a network that gives maps at several depths"
        ) from error
    names = [layer for layer, _ in order]
    read = set(names[: names.index(places[-1].layer) + 1])
    parts = {layer.partition(".")[0] for layer in read}
    children = [child for child, _ in network.named_children()]
    # Layers that classify stand last. Others may be used without being called.
    dropped = tuple(children[max(children.index(part) for part in parts) + 1 :])
    for child in dropped:
        setattr(network, child, nn.Identity())
    return network, dropped, places


def _add_last_activation(network: Any) -> None:
    """Make the activation a layer that torchvision's DenseNet applies after its features."""
    from torchvision.models import DenseNet

    if isinstance(network, DenseNet):
        network.features.add_module("relu5", nn.ReLU())


def _record_layers(network: nn.Module, side_px: int) -> list[tuple[str, tuple[int, int] | None]]:
    """Run a network on nothing, and note its layers in the order in which they end.

    Args:
        network: The network.
        side_px: Side of its input.

    Returns:
        Name of each layer; channels and side of its maps. None for other outputs, for layers that
        classify, and for parts of blocks, whose maps are not those that the network goes on with.
    """
    order: list[tuple[str, tuple[int, int] | None]] = []

    def note(layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        parent, _, _ = layer.rpartition(".")
        is_step = not parent or type(network.get_submodule(parent)) in _CHAINS
        is_read = is_step and layer.count(".") < _MAX_DEPTH
        shape = None
        if (
            is_read
            and layer.partition(".")[0] not in CLASSIFIER_NAMES
            and isinstance(output, Tensor)
            and _may_be_maps(output)
        ):
            shape = (int(lay_out(output).shape[1]), int(lay_out(output).shape[2]))
            shape = shape if shape[1] * _MAX_STRIDE >= side_px else None
        order.append((layer, shape))

    handles = [
        module.register_forward_hook(partial(note, layer))
        for layer, module in network.named_modules()
        if layer
    ]
    try:
        with torch.no_grad():
            run_network(network, torch.zeros(1, 3, side_px, side_px))
    finally:
        for handle in handles:
            handle.remove()
    return order


def choose_places(candidates: Sequence[MapPlace], side_px: int) -> tuple[MapPlace, ...]:
    """Choose the five maps of a network that are read.

    Args:
        candidates: Its maps, in the order in which they are made.
        side_px: Side of its input.

    Returns:
        The last maps at 1/4, 1/8 and 1/16 of the input; the last ones at 1/16 or coarser that are
        narrower than the final ones, else these; the final ones. If all maps have one side,
        the first three are those at a quarter, at half and at three quarters of the depth.

    Raises:
        ValueError: There are no maps.
    """
    if not candidates:
        raise ValueError("it gives no maps")
    final = candidates[-1]
    chosen = []
    for part, stride in enumerate(_STRIDES, start=1):
        fine = [c for c in candidates if c.side_px * stride >= _SIDE_TOLERANCE * side_px]
        is_flat = candidates[0].side_px * stride < _SIDE_TOLERANCE * side_px or all(
            c.side_px == final.side_px for c in candidates
        )
        chosen.append(candidates[len(candidates) * part // 4] if is_flat else fine[-1])
    is_coarse = [c for c in candidates if c.side_px * _STRIDES[-1] * _SIDE_TOLERANCE <= side_px]
    narrower = [c for c in is_coarse if c.channels < final.channels]
    return (*chosen, narrower[-1] if narrower else final, final)


def run_network(network: nn.Module, pictures: Tensor) -> dict[str, Tensor]:
    """Run a network up to its last maps, and return the maps of the layers that leave theirs."""
    forward: Callable[[Tensor], Any] = getattr(network, "forward_features", network)
    with _collect_taps() as taps:
        forward(pictures)
    return taps


@contextmanager
def _collect_taps() -> Iterator[dict[str, Tensor]]:
    taps: dict[str, Tensor] = {}
    token = _taps.set(taps)
    try:
        yield taps
    finally:
        _taps.reset(token)


def leave_maps(layer: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    """Leave the output of a layer for who runs the network."""
    _taps.get()[layer] = output


def _may_be_maps(output: Tensor) -> bool:
    if output.ndim == 4:
        return output.shape[2] == output.shape[3] or output.shape[1] == output.shape[2]
    return output.ndim == 3 and _prefix_tokens(output) <= _MAX_PREFIX_TOKENS < output.shape[1]


def _prefix_tokens(tokens: Tensor) -> int:
    """Return how many of n tokens are not of the picture: what exceeds a square number."""
    return int(tokens.shape[1]) - math.isqrt(int(tokens.shape[1])) ** 2


def lay_out(output: Tensor) -> Tensor:
    """Return maps (n, c, h, w) of an output: maps, maps with channels last, or tokens."""
    if output.ndim == 4:
        return output if output.shape[2] == output.shape[3] else output.permute(0, 3, 1, 2)
    tokens = output[:, _prefix_tokens(output) :]
    side = math.isqrt(int(tokens.shape[1]))
    return tokens.transpose(1, 2).unflatten(2, (side, side))
