"""The encoder `imagenet-itq`: features of ImageNet and a colour histogram, binarized by ITQ.

Both are centred and rotated so that their signs keep their angles: iterative quantization, Gong and
Lazebnik, CVPR 2011. It learns no label.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding.codes import EncodedCrops, FloatCodes
from wearalike.encoding.runtime import feature_extractor
from wearalike.imaging import colour, decode
from wearalike.metrics import colour_space
from wearalike.models import registry
from wearalike.models.files import Model
from wearalike.models.precision import precision_of
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import CODE_BITS

ITQ_ARCHITECTURE = "imagenet-itq"
PALETTE_COLOURS = 128
_HISTOGRAM_SIDE_PX = 64
# A pixel counts for the palette's colours near its own: standard deviation of a normal curve in ΔE.
_SOFTNESS_DELTA_E = 6.0
# The middle of a crop counts more than its rim: standard deviation as a share of each side.
_CENTRE_SIGMA = 0.25


class ImagenetItqEncoder:
    """Shape from a network's features, colour from a Lab histogram of the item."""

    side_px = EFFICIENTNET_LITE0.input_px

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Load the encoder.

        Args:
            model: An encoder of ITQ_ARCHITECTURE.
            device: "cpu" or "cuda".

        Raises:
            BadModel: The tensors do not fit.
        """
        features_count = EFFICIENTNET_LITE0.features_count
        registry.check_shapes(
            model,
            {
                "palette": (PALETTE_COLOURS, 3),
                "shape_mean": (features_count,),
                "shape_rotation": (features_count, CODE_BITS),
                "colour_mean": (PALETTE_COLOURS,),
                "colour_rotation": (PALETTE_COLOURS, CODE_BITS),
            },
        )
        self.version = model.version
        self._arrays = model.arrays
        self._features = feature_extractor(EFFICIENTNET_LITE0, device, precision_of(model.version))

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        """Encode crops, see Encoder; it tells no views."""
        floats = self.encode_floats(crops)
        return EncodedCrops(
            np.packbits(floats.shape > 0, axis=1),
            np.packbits(floats.colour > 0, axis=1),
            [None] * len(crops),
        )

    def encode_floats(self, crops: Sequence[NDArray[np.uint8]]) -> FloatCodes:
        """Return the centred and rotated features and histograms; see Encoder."""
        arrays = self._arrays
        palette = arrays["palette"]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            rows = list(cores.map(lambda crop: colour_histogram(crop, palette), crops))
        histograms = np.array(rows, dtype=np.float32).reshape(-1, len(palette))
        return FloatCodes(
            _rotate(self._features(crops), arrays["shape_mean"], arrays["shape_rotation"]),
            _rotate(np.sqrt(histograms), arrays["colour_mean"], arrays["colour_rotation"]),
        )


def _rotate(
    rows: NDArray[np.float32], mean: NDArray[np.float32], rotation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return centred and rotated rows: (n, d), (d,), (d, 128) -> float32 (n, 128).

    Each row is multiplied alone in double precision, because a matrix product rounds differently
    for another number of rows.
    """
    wide = rotation.astype(np.float64)
    centred = rows.astype(np.float64) - mean
    rotated = np.array([row @ wide for row in centred], dtype=np.float32)
    return rotated.reshape(-1, rotation.shape[1])


def item_pixels(crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the colours of a crop's pixels, and how much each belongs to the item.

    The middle counts more than the rim, and a plain background not at all.

    Args:
        crop: uint8 (height, width, 3) RGB.

    Returns:
        Lab colours, float32 (n, 3), and weights that sum to 1, float32 (n,).
    """
    height, width = crop.shape[:2]
    scale = min(1.0, _HISTOGRAM_SIDE_PX / max(height, width))
    small = decode.resize(crop, max(1, round(width * scale)), max(1, round(height * scale)))
    lab = colour_space.rgb_to_lab(small)
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in lab.shape[:2])
    weights = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * _CENTRE_SIGMA**2))
    mask = colour.foreground_mask(lab)
    if mask is not None:
        weights = weights * mask
    return lab.reshape(-1, 3), (weights / weights.sum()).ravel()


def colour_histogram(crop: NDArray[np.uint8], palette: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share of each palette colour in the item.

    Args:
        crop: uint8 (height, width, 3) RGB.
        palette: Lab colours, float32 (p, 3).

    Returns:
        float32 (p,), summing to 1.
    """
    lab, weights = item_pixels(crop)
    distances = (lab**2).sum(axis=1)[:, None] - 2 * lab @ palette.T + (palette**2).sum(axis=1)
    nearest = distances.min(axis=1, keepdims=True)
    near = np.exp(-(distances - nearest) / (2 * _SOFTNESS_DELTA_E**2))
    return weights @ (near / near.sum(axis=1, keepdims=True))
