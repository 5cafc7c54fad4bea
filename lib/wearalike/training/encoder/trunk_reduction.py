"""Fit what a public network's maps lack to be a trunk: one spread, and no more channels than read.

Maps of more channels than `backbone_trunk.MAX_CHANNELS` are projected on their principal
components, which a 1x1 convolution does. So descriptors, mask training and linear start cost much
the same with every network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wearalike.encoding.backbone_trunk import BackboneTrunk
from wearalike.models import registry
from wearalike.models.files import BadModel
from wearalike.models.registry import EFFICIENTNET_LITE0

# At most so many training pictures tell the components.
MAX_PICTURES = 256
# Maps are averaged to this side first.
_GRID_PX = 7
_MIN_VARIANCE = 1e-12


def fit_reduction(
    trunk: BackboneTrunk,
    squares: Sequence[NDArray[np.uint8]],
    on_pictures: Callable[[int], None] = lambda count: None,
) -> dict[str, NDArray[np.floating]]:
    """Return scale and reductions of a trunk's maps.

    Args:
        trunk: The trunk, with its network's weights.
        squares: Training pictures, uint8 (224, 224, 3) each.
        on_pictures: Called with the number of further pictures that were seen.

    Returns:
        Arrays for `set_reduction`.

    Raises:
        ValueError: There are no pictures.
        BadModel: The network gives maps that are not finite, or the same everywhere.
    """
    if not squares:
        raise ValueError("nothing to learn: no picture can be seen")
    sums = [torch.zeros(place.channels, dtype=torch.float64) for place in trunk.places]
    products = [torch.zeros(len(s), len(s), dtype=torch.float64) for s in sums]
    count = [0] * len(sums)
    with torch.inference_mode():
        for square in squares:
            pixels = registry.normalize_pixels(
                square[None], EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std
            )
            for k, maps in enumerate(trunk.read_maps(torch.from_numpy(pixels))):
                rows = _sample_rows(maps)
                sums[k] += rows.sum(0)
                products[k] += rows.T @ rows
                count[k] += len(rows)
            on_pictures(1)
    arrays: dict[str, NDArray[np.floating]] = {}
    spreads = []
    for k, (total, product, n) in enumerate(zip(sums, products, count, strict=True)):
        mean = total / n
        covariance = product / n - torch.outer(mean, mean)
        if not bool(torch.isfinite(covariance).all()):
            raise BadModel(f"backbone {trunk.name}: its maps are not finite")
        kept = trunk.layout.channels[k]
        variance = float(torch.diagonal(covariance).sum()) / kept
        if kept < len(covariance):
            values, vectors = torch.linalg.eigh(covariance)
            variance = float(values[-kept:].sum()) / kept
            arrays[f"reduce.{k}"] = _fix_signs(vectors.flip(1)[:, :kept]).T.float().numpy()
        if variance < _MIN_VARIANCE:
            raise BadModel(f"backbone {trunk.name}: its maps are the same everywhere")
        spreads.append(variance**0.5)
    return {"scale": np.array(spreads, np.float32), **arrays}


def set_reduction(trunk: BackboneTrunk, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Set scale and reductions of a trunk, as a model file keeps them.

    Args:
        trunk: The trunk; changed in place.
        arrays: The arrays that `fit_reduction` returned.
    """
    trunk.scale.copy_(torch.from_numpy(arrays["scale"]))
    for k, reduction in trunk.reduce.items():
        weight = torch.from_numpy(arrays[f"reduce.{k}"])
        reduction.get_parameter("weight").copy_(weight[:, :, None, None])
    trunk.round_weights()


def _sample_rows(maps: Tensor) -> Tensor:
    """Return maps (1, c, h, w) as rows of channels, float64 (up to 49, c)."""
    side = min(_GRID_PX, maps.shape[-1])
    return functional.adaptive_avg_pool2d(maps, side)[0].flatten(1).T.double()


def _fix_signs(vectors: Tensor) -> Tensor:
    """Return vectors (d, n) whose largest part is positive."""
    largest = vectors.abs().argmax(dim=0)
    return vectors * vectors[largest, torch.arange(vectors.shape[1])].sign()
