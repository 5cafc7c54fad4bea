"""Pooled features of public networks trained on ImageNet, as floats.

EfficientNet-Lite0 comes in an installed package. The other weights are torchvision's: a file that
the user names, or one in torch's cache. Nothing is downloaded, and files are read with torch's
weights-only loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding import runtime
from wearalike.evaluation.strangers import TrainingSets
from wearalike.models.files import BadModel
from wearalike.models.registry import EFFICIENTNET_LITE0, BackboneSpec
from wearalike.models.state_dicts import StateDict, read_state_dict, shorten_message

if TYPE_CHECKING:
    import torch

_HALF_PER_CHANNEL = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class TorchvisionNetwork:
    """A torchvision architecture.

    Attributes:
        architecture: Torchvision's name of it.
        last_layer: The classifying layer; its input is the feature.
        weight_files: Torchvision's names of its weights, the best first. The eight hex digits in a
            name begin the file's sha256.
        input_px: Side of the input in px.
        mean: Mean of each channel of the inputs, 0..1.
        std: Standard deviation of each channel of the inputs, 0..1.
    """

    architecture: str
    last_layer: str
    weight_files: tuple[str, ...]
    input_px: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


NETWORKS: dict[str, TorchvisionNetwork | None] = {
    "efficientnet-lite0": None,
    "vgg16": TorchvisionNetwork("vgg16", "classifier.6", ("vgg16-397923af.pth",)),
    "resnet50": TorchvisionNetwork(
        "resnet50", "fc", ("resnet50-11ad3fa6.pth", "resnet50-0676ba61.pth")
    ),
    "resnet101": TorchvisionNetwork(
        "resnet101", "fc", ("resnet101-cd907fc2.pth", "resnet101-63fe2227.pth")
    ),
    "densenet121": TorchvisionNetwork("densenet121", "classifier", ("densenet121-a639ec97.pth",)),
    "inceptionv3": TorchvisionNetwork(
        "inception_v3",
        "fc",
        ("inception_v3_google-0cc3c7bd.pth",),
        299,
        _HALF_PER_CHANNEL,
        _HALF_PER_CHANNEL,
    ),
    "mobilenetv3": TorchvisionNetwork(
        "mobilenet_v3_large",
        "classifier.3",
        ("mobilenet_v3_large-5c1a4163.pth", "mobilenet_v3_large-8738ca79.pth"),
    ),
    "efficientnet-b0": TorchvisionNetwork(
        "efficientnet_b0", "classifier.1", ("efficientnet_b0_rwightman-7f5810bc.pth",)
    ),
}


class PooledNetworkFeatures:
    """A network's features of a crop, just before it classifies it: float32 (n, d)."""

    distances: tuple[str, ...] = ("cosine", "euclidean", "manhattan")
    trained_on = TrainingSets()

    def __init__(self, name: str, weights: Path | None = None, device: str = "cpu") -> None:
        """Load a network.

        Args:
            name: Key of NETWORKS.
            weights: State dict with torchvision's names, .safetensors or torch's own format. None
                looks into torch's cache.
            device: "cpu" or "cuda".

        Raises:
            BadModel: The weights are missing, do not fit, or hold a value that is no number.
        """
        network = NETWORKS[name]
        self.sha256: str | None
        if network is None:
            if weights:
                raise BadModel(
                    f"encoder {name}: takes no weights, its own are in an installed package; "
                    f"got {weights}"
                )
            self.version = EFFICIENTNET_LITE0.name
            self.sha256 = EFFICIENTNET_LITE0.sha256
            self._forward = runtime.feature_extractor(EFFICIENTNET_LITE0, device)
            return
        path = weights or _cached_weights_path(name, network)
        state = read_state_dict(path, has_promised_hash=weights is None)
        self.sha256 = state.sha256
        self.version = f"{name}-{self.sha256[:8]}"
        inputs = BackboneSpec(
            self.version,
            network.architecture,
            "",
            path.name,
            self.sha256,
            "",
            network.input_px,
            0.5,
            0.5,
            0,
        )
        module = _build_network(network, state)
        self._forward = runtime.InferenceRunner(self.version, module, inputs, device)

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor."""
        return self._forward(crops)


def _cached_weights_path(name: str, network: TorchvisionNetwork) -> Path:
    """Return the network's best file in torch's cache."""
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for file in network.weight_files:
        if (folder / file).is_file():
            return folder / file
    raise BadModel(
        f"encoder {name}: no weights: nothing is fetched here, so give --weights {name}=FILE, "
        f"or put torchvision's {' or '.join(network.weight_files)} into {folder}; "
        f'compared_encoders of wearalike.toml takes "{name}=FILE", too'
    )


def _build_network(network: TorchvisionNetwork, state: StateDict) -> torch.nn.Module:
    """Return the network in evaluation mode without its last layer, -1..1 -> features."""
    import torch
    import torchvision
    from torch import nn

    is_inception = network.architecture == "inception_v3"
    options = {"transform_input": False, "init_weights": False} if is_inception else {}
    # Built without memory: the file's tensors become the network's.
    with torch.device("meta"):
        module = torchvision.models.get_model(network.architecture, weights=None, **options)
    try:
        module.load_state_dict(state.tensors, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise BadModel(
            f"{state.path}: its tensors do not fit {network.architecture}: {shorten_message(error)}"
        ) from error
    parent, _, child = network.last_layer.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return nn.Sequential(_build_input_scaling(network), module.float()).eval().requires_grad_(False)


def _build_input_scaling(network: TorchvisionNetwork) -> torch.nn.Module:
    """Return a layer that maps -1..1, every network's input here, to what this one expects."""
    import torch
    from torch import nn

    scale = nn.Conv2d(3, 3, 1, groups=3)
    mean, std = torch.tensor(network.mean), torch.tensor(network.std)
    with torch.no_grad():
        scale.weight.copy_((0.5 / std).reshape(3, 1, 1, 1))
        scale.bias.copy_((0.5 - mean) / std)  # type: ignore[union-attr]
    return scale
