"""Items to codes: 128 bits of shape and 128 bits of colour. One interface, `Encoder`; crops in, codes out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.imaging import colour as imaging_colour
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import BadModel, Model
from wearalike.models.registry import CODE_BITS, EFFICIENTNET_LITE0, BackboneSpec
from wearalike.tables import CODES, ImageView

if TYPE_CHECKING:
    import torch


class CodeReason(StrEnum):
    UNREADABLE = "unreadable"
    NOT_FINITE = "not_finite"


# What is kept of an item an encoder has seen: its codes, or why there are none.
CODE_CACHE_SCHEMA = pa.schema(
    [*((f.name, f.type) for f in CODES.arrow_schema), ("reason", pa.string())]
)


# A view of which the network is less sure is not told: an image then counts as before, and none is left out on a guess.
MIN_VIEW_CONFIDENCE = 0.8


class EncodedCrops(NamedTuple):
    """What an encoder tells of n crops. shape, colour: codes, uint8 (n, 16) each, most significant bit first. views: what each
    picture shows; None where the encoder does not say, or is not sure. Row i is crop i."""

    shape: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    views: Sequence[ImageView | None]


class Encoder(Protocol):
    """Tells what crops look like. version: name and version, written beside every code. side_px: longest side that it looks at."""

    version: str
    side_px: int

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        """crops: uint8 (height, width, 3) RGB each. What is told of one does not depend on the others. Raises BadModel where the network
        gives what is no number."""
        ...


class InferenceRunner:
    """A network as a function from crops to rows of numbers, the same to the last bit whatever stands beside a crop.

    On a CPU every crop goes through alone, one a core: the cores then never wait for each other, which is faster than
    sharing a batch between them and, on a machine that others use too, many times faster. On a GPU the batches are of
    one size, the last one filled up, for float sums depend on it.
    """

    def __init__(
        self, name: str, network: torch.nn.Module, inputs: BackboneSpec, device: str = "cpu"
    ) -> None:
        """network: in evaluation mode, float32 (n, 3, side, side) -> float32 (n, d). inputs: side, mean and std of what it takes.
        name: for messages. device: "cpu" or "cuda"."""
        self._name, self._inputs = name, inputs
        self._batch_size = 64 if device == "cuda" else 1
        self._threads_count = 1 if device == "cuda" else len(os.sched_getaffinity(0))
        shape = (1, 3, inputs.input_px, inputs.input_px)
        self._network = (
            _gpu_forward(network)
            if device == "cuda"
            else registry.compile_network(network, shape, self._threads_count)
        )

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """float32 (n, d); row i is crop i, uint8 (height, width, 3). Raises BadModel where the network gives what is no number."""
        batches = [
            crops[start : start + self._batch_size]
            for start in range(0, max(1, len(crops)), self._batch_size)
        ]
        with ThreadPoolExecutor(self._threads_count) as cores:
            rows = np.concatenate(list(cores.map(self._run_batch, batches)))
        # Broken weights show as no numbers on one engine and as the same number everywhere on another.
        is_broken = ~np.isfinite(rows).all(axis=1) | (rows.std(axis=1) == 0)
        if is_broken.any():
            raise BadModel(
                f"{self._name}: {int(is_broken.sum())} of {len(rows)} crops give no features: not finite, or all equal"
            )
        return rows

    def _run_batch(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        i = self._inputs
        batch = np.zeros((self._batch_size, i.input_px, i.input_px, 3), np.uint8)
        for place, crop in enumerate(crops):
            batch[place] = decode.letterbox(crop, i.input_px)
        return self._network(registry.normalize_pixels(batch, i.mean, i.std))[0][: len(crops)]


def feature_extractor(backbone: BackboneSpec, device: str = "cpu") -> InferenceRunner:
    """The pooled features of a backbone, float32 (n, features_count). Raises BadModel where its weights are not the ones we know."""
    return InferenceRunner(backbone.name, registry.load_backbone(backbone), backbone, device)


def _gpu_forward(
    network: torch.nn.Module,
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    import torch

    there = network.to("cuda").to(memory_format=torch.channels_last)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return (
                there(
                    torch.from_numpy(batch).to("cuda").contiguous(memory_format=torch.channels_last)
                )
                .cpu()
                .numpy()
            )

    return lambda batch: [run_in_halves(forward, batch)]


def run_in_halves(
    forward: Callable[[NDArray[np.float32]], NDArray[np.float32]], batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What `forward` gives for a batch, row i for row i; where the GPU's memory is too small for it, for its halves.

    Raises BadModel where it is too small for one row.
    """
    import torch

    try:
        return forward(batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise BadModel(
                f"the GPU has no memory for one crop: end what else runs there, or use --device cpu: {error}"
            ) from error
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    return np.concatenate(
        [run_in_halves(forward, part) for part in (batch[:middle], batch[middle:])]
    )


class HashNetEncoder:
    """Our own network (hashnet.HashNet): one forward pass gives both codes, and the view."""

    side_px = EFFICIENTNET_LITE0.input_px

    def __init__(
        self, version: str, arrays: Mapping[str, NDArray[np.float32]], device: str = "cpu"
    ) -> None:
        """arrays: the network's state by name. device: "cpu" or "cuda". Raises BadModel where they do not fit."""
        from wearalike.encoding import hashnet

        self.version = version
        self._forward = InferenceRunner(
            version, hashnet.load_hashnet(arrays), EFFICIENTNET_LITE0, device
        )

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        rows = self._forward(crops)
        both = np.packbits(rows[:, : 2 * CODE_BITS] > 0, axis=1)
        return EncodedCrops(
            both[:, : CODE_BITS // 8],
            both[:, CODE_BITS // 8 :],
            _confident_views(rows[:, 2 * CODE_BITS :].astype(np.float64)),
        )


def _confident_views(logits: NDArray[np.float64]) -> list[ImageView | None]:
    """What pictures show, from logits (n, len(View)), or (n, 0) of a network that does not tell; None where it is not sure."""
    if not logits.shape[1]:
        return [None] * len(logits)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure = shares.max(axis=1) >= MIN_VIEW_CONFIDENCE * shares.sum(axis=1)
    return [
        list(ImageView)[i] if is_sure else None
        for i, is_sure in zip(logits.argmax(axis=1), sure, strict=True)
    ]


class ImagenetItqEncoder:
    """Shape: features of a network trained on ImageNet, centred and rotated so that their signs keep their angles
    (iterative quantization: Gong and Lazebnik, CVPR 2011). Colour: a Lab histogram of the item, treated the same."""

    side_px = EFFICIENTNET_LITE0.input_px

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """device: "cpu" or "cuda". Raises BadModel where the tensors do not fit."""
        d, bits = EFFICIENTNET_LITE0.features_count, CODE_BITS
        wanted = {"palette": (PALETTE_COLOURS, 3), "shape_mean": (d,), "shape_rotation": (d, bits)}
        registry.check_shapes(
            model,
            {
                **wanted,
                "colour_mean": (PALETTE_COLOURS,),
                "colour_rotation": (PALETTE_COLOURS, bits),
            },
        )
        self.version, self._arrays = model.version, model.arrays
        self._features = feature_extractor(EFFICIENTNET_LITE0, device)

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        a = self._arrays
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            found = list(cores.map(lambda crop: colour_histogram(crop, a["palette"]), crops))
        histograms = np.array(found, dtype=np.float32).reshape(-1, len(a["palette"]))
        shape = _sign_bits(self._features(crops), a["shape_mean"], a["shape_rotation"])
        return EncodedCrops(
            shape,
            _sign_bits(np.sqrt(histograms), a["colour_mean"], a["colour_rotation"]),
            [None] * len(shape),
        )


def _sign_bits(
    rows: NDArray[np.float32], mean: NDArray[np.float32], rotation: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Signs of the rotated rows as bits: (n, d), (d,), (d, 128) -> uint8 (n, 16). Row by row, in double precision,
    for a matrix product's rounding depends on how many rows it has."""
    wide, centred = rotation.astype(np.float64), rows.astype(np.float64) - mean
    return np.packbits(
        np.array([row @ wide > 0 for row in centred], dtype=bool).reshape(-1, rotation.shape[1]),
        axis=1,
    )


ITQ_ARCHITECTURE = "imagenet-itq"
PALETTE_COLOURS = 128
_HISTOGRAM_SIDE_PX = 64
# A pixel counts for the palette's colours near its own, by a normal curve of this ΔE.
_SOFTNESS_DELTA_E = 6.0


def item_pixels(crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lab of a crop's pixels, float32 (n, 3), and how much each is of the item, float32 (n,) summing to 1.

    The middle counts more than the rim (a normal curve, a quarter of each side wide), a plain ground not at all.
    """
    height, width = crop.shape[:2]
    scale = min(1.0, _HISTOGRAM_SIDE_PX / max(height, width))
    lab = imaging_colour.rgb_to_lab(
        decode.resize(crop, max(1, round(width * scale)), max(1, round(height * scale)))
    )
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in lab.shape[:2])
    weights = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * 0.25**2))
    mask = imaging_colour.foreground_mask(lab)
    if mask is not None:
        weights = weights * mask
    return lab.reshape(-1, 3), (weights / weights.sum()).ravel()


def colour_histogram(crop: NDArray[np.uint8], palette: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the item has each of the palette's colours: float32 (p,), summing to 1.

    crop: uint8 (height, width, 3). palette: Lab colours, float32 (p, 3).
    """
    lab, weights = item_pixels(crop)
    apart = (lab**2).sum(axis=1)[:, None] - 2 * lab @ palette.T + (palette**2).sum(axis=1)
    near = np.exp(-(apart - apart.min(axis=1, keepdims=True)) / (2 * _SOFTNESS_DELTA_E**2))
    return weights @ (near / near.sum(axis=1, keepdims=True))


def load_packaged_encoder(name: str, device: str = "cpu") -> Encoder:
    """The packaged encoder of that name (models.ENCODERS), on "cpu" or "cuda". Raises BadModel."""
    return build_encoder(registry.packaged_model(registry.ModelKind.ENCODER, name).read(), device)


def build_encoder(model: Model, device: str = "cpu") -> Encoder:
    """The encoder that a model file holds, on "cpu" or "cuda". Raises BadModel where its tensors do not fit, or it is none."""
    from wearalike.encoding import hashnet

    if model.kind is registry.ModelKind.ENCODER and model.architecture == ITQ_ARCHITECTURE:
        return ImagenetItqEncoder(model, device)
    if model.kind is registry.ModelKind.ENCODER and model.architecture == hashnet.ARCHITECTURE:
        return HashNetEncoder(model.version, model.arrays, device)
    known = f"{ITQ_ARCHITECTURE}, {hashnet.ARCHITECTURE}"
    raise BadModel(
        f"{model.kind} {model.version}: architecture {model.architecture!r}: known of encoders are {known}"
    )
