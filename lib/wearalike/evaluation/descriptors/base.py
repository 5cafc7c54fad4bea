"""What learning is compared with, and what it made, behind one interface: crops in, one row of numbers a crop out.

classic      colour histogram, contour, bag of local features, perceptual hash: nobody trained them
networks     pooled features of networks trained on ImageNet
autoencoder  a network trained here to draw its own input again

The codes of our encoders are descriptors too: `Codes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding import encoders
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.evaluation.descriptors.classic import (
    ColourHistogram,
    HogDescriptor,
    PerceptualHash,
    SiftBagOfWords,
)
from wearalike.evaluation.descriptors.networks import NETWORKS, PooledNetworkFeatures
from wearalike.models import registry
from wearalike.models.files import BadModel

FeatureRows = NDArray[np.float32] | NDArray[np.uint8]


class Descriptor(Protocol):
    """Tells what crops look like. version: name and version. sha256: of the file with its weights; None where it has none.
    distances: those it is meant for, the best first."""

    version: str
    sha256: str | None
    distances: tuple[str, ...]

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> FeatureRows:
        """float32 (n, d), or bits packed as uint8 (n, b); row i is crop i, uint8 (height, width, 3), whatever stands beside it.
        What a row takes is what is stored: its bytes are the bytes an image."""
        ...


@runtime_checkable
class TrainableDescriptor(Descriptor, Protocol):
    """A descriptor that has to see some pictures before it can describe any."""

    is_fitted: bool

    def fit(self, crops: Sequence[NDArray[np.uint8]]) -> None: ...


class HashCodeDescriptor:
    """The codes of an encoder: 128 bits of shape, then 128 of colour, uint8 (n, 32)."""

    distances: tuple[str, ...] = (
        "hamming 1:1",
        "hamming 8:2",
        "hamming 2:8",
        "hamming 1:0",
        "hamming 0:1",
    )

    def __init__(self, encoder: encoders.Encoder, sha256: str) -> None:
        self.version, self._encoder = encoder.version, encoder
        self.sha256: str | None = sha256

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        seen = self._encoder.encode(crops)
        return np.concatenate([seen.shape, seen.colour], axis=1)


_CLASSIC_DESCRIPTORS: dict[str, Callable[[], Descriptor]] = {
    "hsv": ColourHistogram,
    "contour": HogDescriptor,
    "sift-bag": SiftBagOfWords,
    "phash": PerceptualHash,
}


def descriptor_names() -> list[str]:
    """The names `load` takes."""
    return [*registry.ENCODERS, *_CLASSIC_DESCRIPTORS, *NETWORKS, "autoencoder"]


def load_descriptor(name: str, device: str = "cpu", weights: Path | None = None) -> Descriptor:
    """The descriptor of that name, or the encoder in a model file (*.safetensors), on "cpu" or "cuda".

    weights: a file of weights for a network; without it torchvision's are looked for where torch keeps its downloads, and an
    autoencoder has yet to be fitted.

    Raises BadModel for a name nobody knows, and for weights that are not there or do not fit.
    """
    if name in NETWORKS:
        return PooledNetworkFeatures(name, weights, device)
    if name == "autoencoder":
        return Autoencoder(device, weights)
    if weights:
        raise BadModel(
            f"encoder {name}: takes no weights, got {weights}; those that do: {', '.join([*NETWORKS, 'autoencoder'])}"
        )
    if name in _CLASSIC_DESCRIPTORS:
        return _CLASSIC_DESCRIPTORS[name]()
    if name in registry.ENCODERS:
        return HashCodeDescriptor(
            encoders.load_packaged_encoder(name, device), registry.ENCODERS[name].sha256
        )
    if name.endswith(".safetensors"):
        model = registry.read_model(Path(name))
        return HashCodeDescriptor(encoders.build_encoder(model, device), model.sha256)
    raise BadModel(f"encoder {name!r}: known are {', '.join(descriptor_names())}")
