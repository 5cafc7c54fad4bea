"""Load an encoder, and encode crops: 128 bits of shape and 128 bits of colour each.

encoder = load_packaged_encoder("likeness")
shape, colour, views = encoder.encode([crop])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.encoding import architectures
from wearalike.encoding.codes import EncodedCrops, Encoder, FloatCodes
from wearalike.encoding.describer_hash import fits_encoder
from wearalike.encoding.imagenet_itq import ITQ_ARCHITECTURE, ImagenetItqEncoder
from wearalike.encoding.runtime import InferenceRunner
from wearalike.models import registry
from wearalike.models.files import BadModel, Model
from wearalike.models.kept_networks import KeptNetwork, LazyNetwork
from wearalike.models.precision import precision_of
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import CODE_BITS, CODES, ImageView

if TYPE_CHECKING:
    import torch

__all__ = [
    "CODE_CACHE_SCHEMA",
    "LEAF_CACHE_SCHEMA",
    "MIN_VIEW_CONFIDENCE",
    "ClassifiedCrops",
    "CodeReason",
    "EncodedCrops",
    "Encoder",
    "FloatCodes",
    "HashNetEncoder",
    "LeafEncoder",
    "LikenessEncoder",
    "build_encoder",
    "load_packaged_encoder",
]


class CodeReason(StrEnum):
    """Why an item has no code."""

    UNREADABLE = "unreadable"
    LOST = "lost"  # its image's file is gone or has changed; the next run downloads it again


# Rows cached for each item that an encoder has seen: its codes, or the reason why there are none.
CODE_CACHE_SCHEMA = pa.schema(
    [*((f.name, f.type) for f in CODES.arrow_schema), ("reason", pa.string())]
)

# Rows cached for each item that a leaf classifier has seen: float16 probabilities of its kinds.
LEAF_CACHE_SCHEMA = pa.schema([("item_id", pa.string()), ("probabilities", pa.binary())])

# Below this confidence the encoder says no view, so that no image is left out on a guess.
MIN_VIEW_CONFIDENCE = 0.8


class _NetworkEncoder:
    """A network of ours: one forward pass gives both codes and the view."""

    side_px = EFFICIENTNET_LITE0.input_px

    def __init__(self, version: str, network: LazyNetwork, device: str) -> None:
        self.version = version
        self._forward = InferenceRunner(
            version, network, EFFICIENTNET_LITE0, device, precision_of(version)
        )

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        """Encode crops, see Encoder."""
        return _read_codes(self._forward(crops))

    def encode_floats(self, crops: Sequence[NDArray[np.uint8]]) -> FloatCodes:
        """Return the logits squashed to -1..1, as training sees them; see Encoder."""
        squashed = np.tanh(self._forward(crops)[:, : 2 * CODE_BITS])
        return FloatCodes(squashed[:, :CODE_BITS], squashed[:, CODE_BITS:])


class HashNetEncoder(_NetworkEncoder):
    """The encoder of hashnet.HashNet, as fashion-4 is."""

    def __init__(
        self,
        version: str,
        arrays: Mapping[str, NDArray[np.float32]],
        device: str = "cpu",
        kept: KeptNetwork | None = None,
    ) -> None:
        """Load the network.

        Args:
            version: Name and version of the model.
            arrays: The network's state by name.
            device: "cpu" or "cuda".
            kept: Where its converted form is kept; None: nowhere.

        Raises:
            BadModel: The arrays do not fit.
        """

        def build() -> torch.nn.Module:
            from wearalike.encoding import hashnet

            return hashnet.load_hashnet(arrays)

        super().__init__(version, LazyNetwork(build, kept), device)


class LikenessEncoder(_NetworkEncoder):
    """The encoder of likeness_net.LikenessNet, as likeness-2 is."""

    def __init__(
        self,
        version: str,
        arrays: Mapping[str, NDArray[np.float32]],
        device: str = "cpu",
        *,
        architecture: str,
        kept: KeptNetwork | None = None,
    ) -> None:
        """Load the network.

        Args:
            version: Name and version of the model.
            arrays: The arrays of its file by name.
            device: "cpu" or "cuda".
            architecture: Architecture of its file; it names the trunk.
            kept: Where its converted form is kept; None: nowhere.

        Raises:
            BadModel: The arrays do not fit, or the trunk's package is not the pinned one.
        """

        def build() -> torch.nn.Module:
            from wearalike.encoding import likeness_net

            return likeness_net.load_likeness_net(arrays, architecture)

        super().__init__(version, LazyNetwork(build, kept), device)


class ClassifiedCrops(NamedTuple):
    """Codes and kinds of n crops; row i is crop i.

    Attributes:
        codes: Codes and views.
        probabilities: float32 (n, kinds), each row's sum 1. How likely the crop shows each kind.
    """

    codes: EncodedCrops
    probabilities: NDArray[np.float32]


class LeafEncoder(_NetworkEncoder):
    """A likeness encoder that tells, in the same pass, which kinds its crops show.

    Its codes are those of the encoder alone, to the bit.

    Attributes:
        leaves_version: Name and version of the leaf classifier.
        kinds: Names of the kinds, in the order of the probabilities.
    """

    def __init__(
        self, model: Model, leaves: Model, device: str = "cpu", kept: KeptNetwork | None = None
    ) -> None:
        """Load both networks.

        Args:
            model: The encoder.
            leaves: A leaf classifier that was taught with its descriptors.
            device: "cpu" or "cuda".
            kept: Where their converted form is kept; None: nowhere.

        Raises:
            BadModel: The arrays do not fit, or the classifier belongs to another encoder.
        """
        if not fits_encoder(leaves, model):
            raise BadModel(
                f"{leaves.version} was not taught with the descriptors of {model.version}"
            )

        def build() -> torch.nn.Module:
            from wearalike.encoding import leaf_head, likeness_net

            network = likeness_net.load_likeness_net(model.arrays, model.architecture)
            columns = network.layout.leaf_columns
            head = leaf_head.load_leaf_head(leaves, columns.stop - columns.start)
            return leaf_head.LikenessNetWithLeaves(network, head)

        super().__init__(model.version, LazyNetwork(build, kept), device)
        self.leaves_version = leaves.version
        self.kinds = leaves.classes

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        """Encode crops, see Encoder."""
        return self.encode_and_classify(crops).codes

    def encode_and_classify(self, crops: Sequence[NDArray[np.uint8]]) -> ClassifiedCrops:
        """Encode crops and tell their kinds; the result of one does not depend on the others.

        Args:
            crops: uint8 (height, width, 3) RGB each.

        Raises:
            BadModel: The network returns numbers that are not finite, or all equal.
        """
        rows = self._forward(crops)
        logits = rows[:, len(rows[0]) - len(self.kinds) :] if len(rows) else rows
        weights = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(rows) else logits
        return ClassifiedCrops(
            _read_codes(rows[:, : rows.shape[1] - len(self.kinds)]),
            (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32),
        )


def _read_codes(rows: NDArray[np.float32]) -> EncodedCrops:
    """Return codes and views of a network's rows: logits of both codes, then of each view."""
    codes = np.packbits(rows[:, : 2 * CODE_BITS] > 0, axis=1)
    view_logits = rows[:, 2 * CODE_BITS :].astype(np.float64)
    return EncodedCrops(
        codes[:, : CODE_BITS // 8], codes[:, CODE_BITS // 8 :], _confident_views(view_logits)
    )


def _confident_views(logits: NDArray[np.float64]) -> list[ImageView | None]:
    """Return the view of each row of logits (n, len(ImageView)), None if not confident.

    A network without a view head gives logits (n, 0).
    """
    if not logits.shape[1]:
        return [None] * len(logits)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    is_confident = weights.max(axis=1) >= MIN_VIEW_CONFIDENCE * weights.sum(axis=1)
    views = list(ImageView)
    return [
        views[best] if confident else None
        for best, confident in zip(logits.argmax(axis=1), is_confident, strict=True)
    ]


def load_packaged_encoder(name: str, device: str = "cpu") -> Encoder:
    """Load a packaged encoder.

    Args:
        name: A name of models.registry.ENCODERS.
        device: "cpu" or "cuda".

    Raises:
        BadModel: There is no such encoder, or its file is not the pinned one.

    Example:
        >>> load_packaged_encoder("likeness").version
        'likeness-2'
    """
    return build_encoder(registry.packaged_model(registry.ModelKind.ENCODER, name).read(), device)


def build_encoder(
    model: Model, device: str = "cpu", leaves: Model | None = None, root: Path | None = None
) -> Encoder:
    """Build the encoder of a model file.

    Args:
        model: A model of kind encoder; its version tells the precision.
        device: "cpu" or "cuda".
        leaves: A leaf classifier, used if it was taught with this encoder's descriptors.
        root: The data folder, which keeps the converted network for the next job; None: nowhere.

    Raises:
        BadModel: It is no encoder, its architecture or tensors are not ours, or the device does
            not compute in its precision.
    """
    known = (ITQ_ARCHITECTURE, architectures.HASHNET, architectures.LIKENESS)
    is_known = model.architecture in known or architectures.is_likeness(model.architecture)
    if model.kind is registry.ModelKind.ENCODER and is_known:
        if model.architecture == ITQ_ARCHITECTURE:
            return ImagenetItqEncoder(model, device)
        kept = KeptNetwork.of_models(root, [model])
        if model.architecture == architectures.HASHNET:
            return HashNetEncoder(model.version, model.arrays, device, kept)
        if leaves is not None and fits_encoder(leaves, model):
            return LeafEncoder(model, leaves, device, KeptNetwork.of_models(root, [model, leaves]))
        return LikenessEncoder(
            model.version, model.arrays, device, architecture=model.architecture, kept=kept
        )
    raise BadModel(
        f"{model.kind} {model.version}: architecture {model.architecture!r}: "
        f"known of encoders are {', '.join(known)}"
    )
