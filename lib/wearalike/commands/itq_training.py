"""Fit the encoder imagenet-itq to photos; it reads no labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearalike.commands.encoder_training import Arrays, EncoderTrainingRun
from wearalike.encoding import imagenet_itq, runtime
from wearalike.models import registry
from wearalike.pipeline import job
from wearalike.training.encoder import itq
from wearalike.training.encoder.item_crops import crop_item
from wearalike.training.encoder.training_pictures import TrainingSource

ITQ_IMAGES_PER_BATCH = 256
ITQ_PIXELS_PER_IMAGE = 16


def fit_itq(run: EncoderTrainingRun, sources: list[TrainingSource]) -> tuple[Arrays, object]:
    """Fit the encoder imagenet-itq: a palette, and one rotation for shape and one for colour.

    Args:
        run: the training's options.
        sources: photos; their labels are not read.

    Returns:
        The tensors, and the recipe for the model's card.
    """
    photos = [p for s in sources for p in s.labelled.photos if p.split == "train"]
    crops = [crop_item(photo.path, photo.box) for photo in photos]
    pixels = [sample_pixels(crop, run.seed + i) for i, crop in enumerate(crops)]
    palette = itq.fit_palette(np.concatenate(pixels), imagenet_itq.PALETTE_COLOURS, run.seed)
    histograms = np.stack([imagenet_itq.colour_histogram(crop, palette) for crop in crops])
    colour_mean, colour_rotation = itq.fit_rotation(np.sqrt(histograms), run.seed)
    forward = runtime.feature_extractor(registry.EFFICIENTNET_LITE0, run.device)
    progress = job.Progress("images", len(crops))
    features = []
    for start in range(0, len(crops), ITQ_IMAGES_PER_BATCH):
        features.append(forward(crops[start : start + ITQ_IMAGES_PER_BATCH]))
        progress.update(len(features[-1]))
    shape_mean, shape_rotation = itq.fit_rotation(np.concatenate(features), run.seed)
    arrays: Arrays = {
        "palette": palette,
        "colour_mean": colour_mean,
        "colour_rotation": colour_rotation,
        "shape_mean": shape_mean,
        "shape_rotation": shape_rotation,
    }
    return arrays, {"palette": imagenet_itq.PALETTE_COLOURS}


def sample_pixels(
    image: NDArray[np.uint8], seed: int, count: int = ITQ_PIXELS_PER_IMAGE
) -> NDArray[np.float32]:
    """Draw pixels of an item by their weight.

    Args:
        image: uint8 (height, width, 3).
        seed: of the draw.
        count: pixels drawn.

    Returns:
        CIELAB values, float32 (count, 3).
    """
    lab, weights = imagenet_itq.item_pixels(image)
    chosen = np.random.default_rng(seed).choice(len(lab), count, p=weights / weights.sum())
    return lab[chosen]
