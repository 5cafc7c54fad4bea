"""Labelled photos -> the view classifier of a trained encoder: one linear layer on pooled features.

A view (tables.ImageView) is what an image shows: a figure, a garment's front or back, a detail, or
a thing that lies flat. The examples come from `view_examples`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.encoding import encoders, hashnet, likeness_net, runtime
from wearalike.encoding.hashnet import INPUT_PX, VIEW_PREFIX
from wearalike.imaging import decode
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import ImageView
from wearalike.training.encoder.augment import AugmentationConfig, TrainingImage, augment_image
from wearalike.training.encoder.view_examples import iterate_examples

_AUGMENTATION = AugmentationConfig(zoom=0.15, turn_degrees=5.0, recolour_ratio=0.0)
_BATCH_SIZE = 64
# Detail crops are upscaled and therefore blurry. Half of all training images are blurred, so that
# blur alone does not predict `detail`.
_BLUR_PROBABILITY = 0.5
# Side to which an image is scaled down to blur it, in px.
_BLUR_SIDE_PX = (56, 128)
# Weight of the squared weights in the loss.
_WEIGHT_DECAY = 2e-2
# Logit of a view without examples, so that the classifier never predicts it.
_ABSENT_VIEW_LOGIT = -1e4
# Added to standard deviations, so that features that hardly vary are not blown up.
_MIN_SPREAD = 1e-2
_MAX_ITERATIONS = 200


def train_view_classifier(
    sets: Sequence[tuple[str, LabelledDataset]],
    arrays: Mapping[str, NDArray[np.floating]],
    seed: int,
    device: str,
    on_images: Callable[[int], None] = lambda count: None,
    *,
    architecture: str = likeness_net.ARCHITECTURE,
) -> dict[str, NDArray[np.float16]]:
    """Train the view classifier of an encoder.

    Args:
        sets: Kind and photos of each labelled set.
        arrays: The encoder's arrays by name.
        seed: Seed of the examples and their augmentation.
        device: "cpu" or "cuda".
        on_images: Called with the number of further images that were seen.
        architecture: Architecture of a likeness encoder; it names the trunk.

    Returns:
        float16 arrays by name, to add to the encoder's. Empty if the sets show at most one view.

    Raises:
        BadDataset: A column `view` has a word that is no view.
    """
    backbone: nn.Module = (
        _PooledTrunk(
            likeness_net.load_likeness_net(likeness_net.drop_view_arrays(arrays), architecture)
        )
        if likeness_net.has_likeness_arrays(arrays)
        else _PooledHashNet(hashnet.load_hashnet(hashnet.drop_view_arrays(arrays)))
    )
    extract = runtime.InferenceRunner("views", backbone, EFFICIENTNET_LITE0, device)
    rows: list[NDArray[np.float32]] = []
    views: list[ImageView] = []
    waiting: list[NDArray[np.uint8]] = []

    def extract_waiting() -> None:
        if waiting:
            rows.append(extract(waiting))
            on_images(len(waiting))
            waiting.clear()

    for kind, labelled in sets:
        for image, view in iterate_examples(kind, labelled, seed):
            waiting.append(augment_and_blur(image, [seed, len(views)]))
            views.append(view)
            if len(waiting) == _BATCH_SIZE:
                extract_waiting()
    extract_waiting()
    if len(set(views)) < 2:
        return {}
    return fit_logistic_regression(np.concatenate(rows), views)


def augment_and_blur(image: TrainingImage, seed: Sequence[int]) -> NDArray[np.uint8]:
    """Return an image as the classifier learns from it: slightly moved, lit otherwise, or blurred.

    Args:
        image: The image.
        seed: Seed of the augmentation.

    Returns:
        uint8 (INPUT_PX, INPUT_PX, 3).
    """
    rng = np.random.default_rng(list(seed))
    view, _ = augment_image(image, (), _AUGMENTATION, INPUT_PX, rng)
    if rng.random() >= _BLUR_PROBABILITY:
        return view
    side = int(rng.integers(*_BLUR_SIDE_PX))
    return decode.resize(decode.resize(view, side, side), INPUT_PX, INPUT_PX)


def confusion_counts(
    sets: Sequence[tuple[str, LabelledDataset]],
    arrays: Mapping[str, NDArray[np.floating]],
    seed: int,
    device: str,
    split: str = "test",
    *,
    architecture: str = likeness_net.ARCHITECTURE,
) -> Counter[tuple[ImageView, ImageView | None]]:
    """Count the predictions of an encoder's view classifier.

    Args:
        sets: Kind and photos of each labelled set.
        arrays: The encoder's arrays by name, with a view classifier.
        seed: Seed of the examples.
        device: "cpu" or "cuda".
        split: Split of the sets that is predicted.
        architecture: Architecture of a likeness encoder; it names the trunk.

    Returns:
        The number of images by (true view, predicted view); None if the classifier is not sure.

    Raises:
        BadDataset: A column `view` has a word that is no view.
    """
    encoder: encoders.Encoder = (
        encoders.LikenessEncoder("views", arrays, device, architecture=architecture)
        if likeness_net.has_likeness_arrays(arrays)
        else encoders.HashNetEncoder("views", arrays, device)
    )
    counts: Counter[tuple[ImageView, ImageView | None]] = Counter()
    for kind, labelled in sets:
        examples = list(iterate_examples(kind, labelled, seed, split))
        for start in range(0, len(examples), _BATCH_SIZE):
            batch = examples[start : start + _BATCH_SIZE]
            predicted = encoder.encode([image.rgb for image, _ in batch]).views
            counts.update(zip((view for _, view in batch), predicted, strict=True))
    return counts


def fit_logistic_regression(
    features: NDArray[np.float32], views: Sequence[ImageView]
) -> dict[str, NDArray[np.float16]]:
    """Fit logistic regression on pooled features; every view with examples counts the same.

    Args:
        features: float32 (n, d). Pooled features.
        views: The view of each row.

    Returns:
        Weight (views, d) and bias (views,), float16 by name, as an encoder's file keeps them.
    """
    order = list(ImageView)
    labels = torch.tensor([order.index(view) for view in views])
    counts = torch.bincount(labels, minlength=len(order)).float()
    class_weights = torch.where(counts > 0, len(labels) / counts.clamp(min=1), 0.0)
    mean = torch.from_numpy(features.mean(axis=0))
    spread = torch.from_numpy(features.std(axis=0) + _MIN_SPREAD)
    rows = (torch.from_numpy(features) - mean) / spread
    weight = torch.zeros(len(order), rows.shape[1], requires_grad=True)
    bias = torch.zeros(len(order), requires_grad=True)
    absent_logits = torch.where(counts > 0, 0.0, _ABSENT_VIEW_LOGIT)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_MAX_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def compute_loss() -> Tensor:
        optimizer.zero_grad()
        logits = rows @ weight.T + bias + absent_logits
        cross_entropy = functional.cross_entropy(logits, labels, class_weights)
        loss = cross_entropy + _WEIGHT_DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(compute_loss)
    with torch.no_grad():
        # Fold the normalization into the layer, so that it takes raw features.
        scaled = weight / spread
        shifted = bias + absent_logits - scaled @ mean
    return {
        f"{VIEW_PREFIX}.weight": scaled.numpy().astype(np.float16),
        f"{VIEW_PREFIX}.bias": shifted.numpy().astype(np.float16),
    }


class _PooledHashNet(nn.Module):
    """From images to the backbone's pooled features."""

    def __init__(self, network: hashnet.HashNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, squares: Tensor) -> Tensor:
        return self.network.upper_features(self.network.stem(squares))[1]


class _PooledTrunk(nn.Module):
    """From images to the pooled features of a likeness encoder's trunk."""

    def __init__(self, network: likeness_net.LikenessNet) -> None:
        super().__init__()
        self.trunk = network.trunk

    def forward(self, squares: Tensor) -> Tensor:
        return self.trunk(squares).final.mean(dim=(2, 3))
