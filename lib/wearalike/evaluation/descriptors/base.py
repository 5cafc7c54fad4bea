"""Descriptors behind one interface: crops in, one feature row a crop out.

classic      colour histogram, contour, bag of local features, perceptual hash: no training
networks     pooled features of networks trained on ImageNet
autoencoder  a network trained here to draw its own input again

The codes of our own encoders are descriptors too: HashCodeDescriptor.
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

# float32 (n, d), or bits packed as uint8 (n, b).
FeatureRows = NDArray[np.float32] | NDArray[np.uint8]


class Descriptor(Protocol):
    """Describes crops by feature rows.

    Attributes:
        version: Name and version.
        sha256: Hash of the file with its weights; None if it has none.
        distances: Distances that it is meant for, the best first.
    """

    version: str
    sha256: str | None
    distances: tuple[str, ...]

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> FeatureRows:
        """Describe crops. A row does not depend on the other crops.

        Args:
            crops: uint8 (height, width, 3) each.

        Returns:
            Row i describes crop i. The bytes of a row are the bytes stored for an image.
        """
        ...


@runtime_checkable
class TrainableDescriptor(Descriptor, Protocol):
    """A descriptor that has to see some crops before it can describe any.

    Attributes:
        is_fitted: True if it is ready to describe.
    """

    is_fitted: bool

    def fit(self, crops: Sequence[NDArray[np.uint8]]) -> None:
        """Learn from crops.

        Args:
            crops: uint8 (height, width, 3) each.
        """
        ...


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
        """Wrap an encoder.

        Args:
            encoder: The encoder.
            sha256: Hash of its model file.
        """
        self.version = encoder.version
        self.sha256: str | None = sha256
        self._encoder = encoder

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Describe crops; see Descriptor."""
        codes = self._encoder.encode(crops)
        return np.concatenate([codes.shape, codes.colour], axis=1)


_CLASSIC_DESCRIPTORS: dict[str, Callable[[], Descriptor]] = {
    "hsv": ColourHistogram,
    "contour": HogDescriptor,
    "sift-bag": SiftBagOfWords,
    "phash": PerceptualHash,
}


def descriptor_names() -> list[str]:
    """Return the names that `load_descriptor` takes, besides model files.

    Returns:
        Packaged encoders first.
    """
    return [*registry.ENCODERS, *_CLASSIC_DESCRIPTORS, *NETWORKS, "autoencoder"]


def load_descriptor(name: str, device: str = "cpu", weights: Path | None = None) -> Descriptor:
    """Load a descriptor.

    Args:
        name: One of `descriptor_names`, or the path of an encoder's model file (*.safetensors).
        device: "cpu" or "cuda".
        weights: File of a network's weights. Without it torchvision's are looked for in torch's
            cache, and an autoencoder has yet to be fitted.

    Returns:
        The descriptor.

    Raises:
        BadModel: The name is unknown, or the weights are missing or do not fit.

    Example:
        >>> load_descriptor("hsv").describe([np.zeros((40, 30, 3), np.uint8)]).shape
        (1, 192)
    """
    if name in NETWORKS:
        return PooledNetworkFeatures(name, weights, device)
    if name == "autoencoder":
        return Autoencoder(device, weights)
    if weights:
        takers = ", ".join([*NETWORKS, "autoencoder"])
        raise BadModel(f"encoder {name}: takes no weights, got {weights}; those that do: {takers}")
    if name in _CLASSIC_DESCRIPTORS:
        return _CLASSIC_DESCRIPTORS[name]()
    if name in registry.ENCODERS:
        encoder = encoders.load_packaged_encoder(name, device)
        return HashCodeDescriptor(encoder, registry.ENCODERS[name].sha256)
    if name.endswith(".safetensors"):
        model = registry.read_model(Path(name))
        return HashCodeDescriptor(encoders.build_encoder(model, device), model.sha256)
    raise BadModel(f"encoder {name!r}: known are {', '.join(descriptor_names())}")
