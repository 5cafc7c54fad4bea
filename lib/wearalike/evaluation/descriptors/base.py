"""Descriptors behind one interface: crops in, one feature row a crop out.

| kind | descriptors |
|---|---|
| classic | colour histogram, contour, corners, bag of local features, perceptual hash |
| networks | pooled features of networks trained on ImageNet |
| side by side | such features for shape, and a Lab histogram for colour |
| autoencoder | a network trained here to draw its own input again |

The codes of our own encoders are descriptors too: HashCodeDescriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding import encoders, imagenet_itq, runtime
from wearalike.encoding.codes import FloatCodes
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.evaluation.descriptors.classic import (
    ColourHistogram,
    CornerCounts,
    HogDescriptor,
    PerceptualHash,
    SiftBagOfWords,
)
from wearalike.evaluation.descriptors.networks import NETWORKS, PooledNetworkFeatures
from wearalike.evaluation.strangers import TrainingSets, training_sets
from wearalike.models import registry
from wearalike.models.files import BadModel, Model, ModelKind
from wearalike.models.precision import BFLOAT16_MARK, Precision, code_version, file_version

SIDE_BY_SIDE = "efficientnet-lite0+lab"
# float32 (n, d), or bits packed as uint8 (n, b).
FeatureRows = NDArray[np.float32] | NDArray[np.uint8]


class Descriptor(Protocol):
    """Describes crops by feature rows.

    Attributes:
        version: Name and version.
        sha256: Hash of the file with its weights; None if it has none.
        distances: Distances that it is meant for, the best first.
        trained_on: Labelled sets that it learned from.
    """

    version: str
    sha256: str | None
    distances: tuple[str, ...]
    trained_on: TrainingSets

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
        architecture: Name of the method with its number, without what was fitted.
        is_fitted: True if it is ready to describe.
    """

    architecture: str

    is_fitted: bool

    def fit(self, crops: Sequence[NDArray[np.uint8]]) -> None:
        """Learn from crops.

        Args:
            crops: uint8 (height, width, 3) each.
        """
        ...

    def export_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what was learned, by name. Raises BadModel before `fit`."""
        ...

    def import_model(self, model: Model) -> None:
        """Take what was learned, and the version, from a model file.

        Args:
            model: A model of the kind `descriptor`.

        Raises:
            BadModel: Its arrays are not those of the architecture.
        """
        ...


@runtime_checkable
class PartedDescriptor(Descriptor, Protocol):
    """A descriptor that describes shape and colour apart, by floats."""

    def describe_parts(self, crops: Sequence[NDArray[np.uint8]]) -> FloatCodes:
        """Describe crops by float rows of shape and of colour.

        Args:
            crops: uint8 (height, width, 3) each.
        """
        ...

    def join_parts(self, parts: FloatCodes) -> FeatureRows:
        """Return the rows that `describe` returns.

        Args:
            parts: The rows of `describe_parts`.
        """
        ...


# The shape-to-colour weights that evaluations ask by.
EVALUATED_WEIGHTS = ("1:1", "8:2", "2:8", "1:0", "0:1")


class HashCodeDescriptor:
    """The codes of an encoder: 128 bits of shape, then 128 of colour, uint8 (n, 32)."""

    distances: tuple[str, ...] = tuple(
        f"{kind} {weights}"
        for kind in ("hamming", "asymmetric", "float")
        for weights in EVALUATED_WEIGHTS
    )

    def __init__(self, encoder: encoders.Encoder, model: Model) -> None:
        """Wrap an encoder.

        Args:
            encoder: The encoder.
            model: Its model file.
        """
        self.version = encoder.version
        self.sha256: str | None = model.sha256
        self.trained_on = training_sets(file_version(model.version), model.card)
        self._encoder = encoder

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Describe crops; see Descriptor."""
        codes = self._encoder.encode(crops)
        return np.concatenate([codes.shape, codes.colour], axis=1)

    def describe_parts(self, crops: Sequence[NDArray[np.uint8]]) -> FloatCodes:
        """Return the numbers whose signs are the codes; see PartedDescriptor."""
        return self._encoder.encode_floats(crops)

    def join_parts(self, parts: FloatCodes) -> NDArray[np.uint8]:
        """Return the codes; see PartedDescriptor."""
        return np.concatenate([np.packbits(part > 0, axis=1) for part in parts], axis=1)


class SideBySideDescriptor:
    """ImageNet's features for shape and a Lab histogram for colour, as floats.

    Both are centred by the means of the encoder imagenet-itq, which makes its codes of them. The
    difference between the two is what its 256 bits cost.
    """

    distances: tuple[str, ...] = tuple(f"float {weights}" for weights in EVALUATED_WEIGHTS)
    version = f"{SIDE_BY_SIDE}-1"

    def __init__(self, device: str = "cpu") -> None:
        """Load the network and the palette.

        Args:
            device: "cpu" or "cuda".
        """
        model = registry.ENCODERS["imagenet-itq"]
        self.sha256: str | None = model.sha256
        self.trained_on = training_sets(model.version, {})
        self._arrays = registry.read_encoder_arrays(model)
        self._features = runtime.feature_extractor(registry.EFFICIENTNET_LITE0, device)

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor."""
        return self.join_parts(self.describe_parts(crops))

    def describe_parts(self, crops: Sequence[NDArray[np.uint8]]) -> FloatCodes:
        """Return the centred features and histograms; see PartedDescriptor."""
        palette = self._arrays["palette"]
        histograms = [imagenet_itq.colour_histogram(crop, palette) for crop in crops]
        rows = np.sqrt(np.array(histograms, np.float32).reshape(-1, len(palette)))
        return FloatCodes(
            self._features(crops) - self._arrays["shape_mean"],
            rows - self._arrays["colour_mean"],
        )

    def join_parts(self, parts: FloatCodes) -> NDArray[np.float32]:
        """Return both parts as one row; see PartedDescriptor."""
        return np.concatenate(parts, axis=1)


_CLASSIC_DESCRIPTORS: dict[str, Callable[[], Descriptor]] = {
    "hsv": ColourHistogram,
    "contour": HogDescriptor,
    "corners": CornerCounts,
    "sift-bag": SiftBagOfWords,
    "phash": PerceptualHash,
}


# Descriptors that have to see some crops first.
FITTED_NAMES = ("autoencoder", "sift-bag")


def descriptor_names() -> list[str]:
    """Return the names that `load_descriptor` takes, besides model files.

    Returns:
        Packaged encoders first.
    """
    return [*registry.ENCODERS, *_CLASSIC_DESCRIPTORS, *NETWORKS, SIDE_BY_SIDE, "autoencoder"]


def load_descriptor(name: str, device: str = "cpu", weights: Path | None = None) -> Descriptor:
    """Load a descriptor.

    Args:
        name: One of `descriptor_names`, or the path of an encoder's model file (*.safetensors).
            Our own encoders' names and paths may end in "+bf16": they compute in bfloat16 then.
        device: "cpu" or "cuda".
        weights: File of a network's weights. Without it torchvision's are looked for in torch's
            cache, and an autoencoder has yet to be fitted.

    Returns:
        The descriptor.

    Raises:
        BadModel: The name is unknown, the weights are missing or do not fit, or the device does
            not compute in bfloat16.

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
    if name == SIDE_BY_SIDE:
        return SideBySideDescriptor(device)
    own = name.removesuffix(BFLOAT16_MARK)
    if own in registry.ENCODERS or own.endswith(".safetensors"):
        model = (
            registry.packaged_model(ModelKind.ENCODER, own).read()
            if own in registry.ENCODERS
            else registry.read_model(Path(own))
        )
        precision = Precision.FLOAT32 if own == name else Precision.BFLOAT16
        model = replace(model, version=code_version(model.version, precision))
        return HashCodeDescriptor(encoders.build_encoder(model, device), model)
    raise BadModel(f"encoder {name!r}: known are {', '.join(descriptor_names())}")
