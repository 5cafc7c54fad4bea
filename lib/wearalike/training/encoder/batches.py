"""Batches of an encoder's training: augmented views, or the backbone's features of views."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.encoding import hashnet
from wearalike.encoding.hashnet import INPUT_PX
from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.training.encoder.augment import NO_AUGMENTATION, AugmentationConfig, augment_image
from wearalike.training.encoder.config import EncoderTrainingConfig
from wearalike.training.encoder.dataset import EncoderDataset

# Views in one forward pass of the backbone.
_FEATURE_BATCH_SIZE = 64

# Row of an image, and the seed of its view. A seed ends in the number of the view.
ViewSpec = tuple[int, list[int]]


@dataclass(frozen=True, slots=True)
class AugmentedBatch:
    """Views as a step of the whole network takes them.

    Attributes:
        rows: int64 (n,). The image of each view.
        has_true_colours: bool (n,). True if the view has the image's own colours.
        images: float32 (n, 3, INPUT_PX, INPUT_PX). Normalized pixels.
        stem_features: float32 (n, c, h, w). Output of the frozen stem; None to compute it later.
    """

    rows: NDArray[np.int64]
    has_true_colours: NDArray[np.bool_]
    images: NDArray[np.float32]
    stem_features: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class BackboneFeatures:
    """The frozen backbone's outputs for views, float16: the input of the heads.

    Attributes:
        rows: int64 (n,). The image of each view.
        has_true_colours: bool (n,). True if the view has the image's own colours.
        middle: float16 (n, ...). Features of a middle layer.
        features: float16 (n, d). Pooled features of the last layer.
        pixels: float16 (n, ...). Downsampled pixels.
    """

    rows: NDArray[np.int64]
    has_true_colours: NDArray[np.bool_]
    middle: NDArray[np.float16]
    features: NDArray[np.float16]
    pixels: NDArray[np.float16]

    def take(self, indices: NDArray[np.int64]) -> BackboneFeatures:
        """Return some of the views.

        Args:
            indices: int64 (m,). Positions of the views.

        Returns:
            Those views, in that order.
        """
        return BackboneFeatures(*(getattr(self, field.name)[indices] for field in fields(self)))


def sample_indices(seed: int, step: int, size: int, count: int) -> NDArray[np.int64]:
    """Return the things that a step takes.

    Each of them is taken once a round, in a new order each round.

    Args:
        seed: Seed of the orders.
        step: Number of the step, from 0.
        size: Things a step.
        count: Number of all things.

    Returns:
        int64 (size,), 0..count - 1.
    """
    positions = np.arange(step * size, (step + 1) * size)
    orders = {
        r: np.random.default_rng([seed, count, r]).permutation(count)
        for r in set((positions // count).tolist())
    }
    return np.array([orders[p // count][p % count] for p in positions.tolist()])


def augment_images(
    dataset: EncoderDataset, specs: Sequence[ViewSpec], augmentation: AugmentationConfig
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return views of images as the network takes them.

    Args:
        dataset: The training data.
        specs: Row and seed of each view.
        augmentation: Strength of the augmentation.

    Returns:
        float32 (n, 3, INPUT_PX, INPUT_PX), normalized; and bool (n,), True for true colours.
    """
    views = [
        augment_image(
            dataset.images[row],
            dataset.backgrounds,
            augmentation,
            INPUT_PX,
            np.random.default_rng(seed),
        )
        for row, seed in specs
    ]
    pixels = np.stack([view for view, _ in views]).astype(np.float32) / 255
    scaled = (pixels - EFFICIENTNET_LITE0.mean) / EFFICIENTNET_LITE0.std
    has_true_colours = np.array([is_true for _, is_true in views])
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)), has_true_colours


def extract_backbone_features(
    network: hashnet.HashNet,
    dataset: EncoderDataset,
    config: EncoderTrainingConfig,
    device: str,
    on_views: Callable[[int], None],
) -> BackboneFeatures:
    """Run the backbone over `config.head_views` views of every image.

    Args:
        network: The encoder; its backbone no longer changes.
        dataset: The training data.
        config: Settings of the training.
        device: "cpu" or "cuda".
        on_views: Called with the number of further views that are done.

    Returns:
        The features of all views.
    """
    backbone = _HashNetBackbone(network).eval()
    cores_count = len(os.sched_getaffinity(0))
    forward = None
    if device == "cpu":
        forward = registry.compile_network(backbone, (1, 3, INPUT_PX, INPUT_PX), cores_count)

    def extract(specs: list[ViewSpec]) -> BackboneFeatures:
        is_first_view = specs[0][1][-1] == 0
        augmentation = NO_AUGMENTATION if is_first_view else config.augmentation
        views, has_true_colours = augment_images(dataset, specs, augmentation)
        if forward is not None:
            outputs = zip(*(forward(view[None]) for view in views), strict=True)
            arrays = [np.concatenate(parts) for parts in outputs]
        else:
            with torch.inference_mode():
                tensors = backbone(torch.from_numpy(views).to(device))
                arrays = [tensor.cpu().numpy() for tensor in tensors]
        on_views(len(specs))
        halves = (array.astype(np.float16) for array in arrays)
        return BackboneFeatures(np.array([row for row, _ in specs]), has_true_colours, *halves)

    count = len(dataset.images)
    batches = [
        [
            (row, [config.seed, config.steps, row, view])
            for row in range(start, min(start + _FEATURE_BATCH_SIZE, count))
        ]
        for view in range(config.head_views)
        for start in range(0, count, _FEATURE_BATCH_SIZE)
    ]
    with ThreadPoolExecutor(cores_count if forward is not None else 1) as pool:
        parts = list(pool.map(extract, batches))
    names = [field.name for field in fields(BackboneFeatures)]
    return BackboneFeatures(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


class _HashNetBackbone(nn.Module):
    """From images to the inputs of the heads."""

    def __init__(self, network: hashnet.HashNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle, features = self.network.upper_features(self.network.stem(images))
        return middle, features, hashnet.downsample_pixels(images)
