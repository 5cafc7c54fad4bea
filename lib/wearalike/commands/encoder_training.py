"""One training of an encoder: fit, train, and write the model file."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets import labelled_photos
from wearalike.encoding import imagenet_itq, runtime
from wearalike.models import registry
from wearalike.models.files import Model, ModelKind
from wearalike.pipeline import job
from wearalike.tables import ImageView
from wearalike.training import loop, plot_losses
from wearalike.training.encoder import dataset, itq, view_examples
from wearalike.training.encoder import view_classifier as view_classifiers
from wearalike.training.encoder.config import EncoderTrainingConfig
from wearalike.training.encoder.trainer import EncoderTrainer

log = logging.getLogger("wearalike.train_encoder")
STEPS_PER_CHECKPOINT = 50
ITQ_IMAGES_PER_BATCH = 256
ITQ_PIXELS_PER_IMAGE = 16

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class EncoderTrainingRun:
    """One training, as the command's options describe it.

    Attributes:
        data: kind and folder of each set of labelled photos.
        out: folder for the checkpoint, the losses and the model file.
        version: name and version of the model.
        seed: seed of everything drawn at random.
        device: cpu or cuda.
    """

    data: tuple[tuple[str, Path], ...]
    out: Path
    version: str
    seed: int
    device: str

    def read_datasets(self) -> list[labelled_photos.LabelledDataset]:
        """Return the sets of labelled photos, in their order."""
        return [labelled_photos.read_dataset(kind, folder) for kind, folder in self.data]


def train_and_write(
    run: EncoderTrainingRun,
    architecture: str,
    train: Callable[[list[labelled_photos.LabelledDataset]], tuple[Arrays, object]],
) -> None:
    """Train, write the model file, and print its path and sha256.

    Args:
        run: the training's options.
        architecture: of the model file.
        train: returns the arrays of the model, and the recipe for its card.
    """
    sets = run.read_datasets()
    started_at_s = time.monotonic()
    arrays, recipe = train(sets)
    card = {
        "data": {s.name: sum(p.split == "train" for p in s.photos) for s in sets},
        "recipe": recipe,
        "seed": run.seed,
        "device": run.device,
        "cpu": platform.machine(),
        "minutes_of_last_sitting": round((time.monotonic() - started_at_s) / 60),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = registry.model_bytes(ModelKind.ENCODER, architecture, run.version, card, arrays)
    path = run.out / f"{run.version}.safetensors"
    path.write_bytes(content)
    print(path, hashlib.sha256(content).hexdigest())


def train_hashnet(
    run: EncoderTrainingRun,
    sets: list[labelled_photos.LabelledDataset],
    config: EncoderTrainingConfig,
    initial_model: Model | None,
) -> tuple[Arrays, object]:
    """Train our own network, then its view classifier.

    Args:
        run: the training's options.
        sets: labelled photos.
        config: the trainer's configuration; no steps leave the initial model's codes as they are.
        initial_model: the model to start from; None: ImageNet's weights.

    Returns:
        The tensors, and the recipe for the model's card.
    """
    arrays: Arrays = {}
    if initial_model and not config.steps:
        # The view classifier stays valid because the backbone is frozen, so keep its weights.
        arrays |= {name: narrow_array(a) for name, a in initial_model.arrays.items()}
    if not arrays or config.head_steps:
        arrays |= run_training(run, sets, config, initial_model)
    arrays |= fit_view_classifier(run, sets, arrays)
    begin = initial_model.version if initial_model else registry.EFFICIENTNET_LITE0.name
    return arrays, {**asdict(config), "begin": begin}


def narrow_array(array: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return an array in float16 if that keeps every number, else as it is."""
    narrow = array.astype(np.float16)
    return narrow if np.array_equal(narrow, array) else array


def run_training(
    run: EncoderTrainingRun,
    sets: list[labelled_photos.LabelledDataset],
    config: EncoderTrainingConfig,
    initial_model: Model | None,
) -> Arrays:
    """Train the network to its last step, from the folder's checkpoint if there is one.

    Args:
        run: the training's options.
        sets: labelled photos.
        config: the trainer's configuration.
        initial_model: the model to start from; None: ImageNet's weights.

    Returns:
        The averaged weights.
    """
    image_count = sum(p.split == "train" for s in sets for p in s.photos)
    prepared = job.Progress("images", image_count)
    examples = dataset.build_dataset(sets, run.device, lambda done, of: prepared.update(1))
    tasks = ", ".join(f"{t.name} ({len(t.classes)} classes)" for t in examples.tasks)
    log.info("%d images; %s", len(examples.images), tasks)
    trainer = EncoderTrainer(
        examples, config, run.device, initial_model.arrays if initial_model else None
    )
    checkpoint = run.out / "checkpoint.pt"
    table = run.out / "losses.csv"
    if checkpoint.exists():
        trainer.load_checkpoint(checkpoint)
        log.info("goes on from step %d", trainer.step)
    last_step = config.steps + config.head_steps
    progress = job.Progress("steps", last_step - trainer.step)
    rows: list[dict[str, float]] = []

    def on_step(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)
        if step % STEPS_PER_CHECKPOINT == 0 or step == last_step:
            loop.append_losses_csv(table, step, rows)
            rows.clear()
            trainer.save_checkpoint(checkpoint)
            plot_losses.plot_losses(table, run.out / "losses.png")

    views = job.Progress("views for the heads", config.head_views * len(examples.images))
    trainer.run(last_step, on_step, views.update)
    return trainer.averaged_weights()


def fit_view_classifier(
    run: EncoderTrainingRun, sets: list[labelled_photos.LabelledDataset], arrays: Arrays
) -> Arrays:
    """Train the view classifier on the network's features; write its test results to views.csv.

    Args:
        run: the training's options.
        sets: labelled photos.
        arrays: the network's tensors.

    Returns:
        The classifier's tensors; none where the sets say nothing of views.
    """
    labelled = [(kind, s) for (kind, _), s in zip(run.data, sets, strict=True)]
    progress = job.Progress(
        "images for views",
        view_examples.MAX_EXAMPLES_PER_VIEW * len(ImageView) * len(sets),
    )
    fitted = view_classifiers.train_view_classifier(
        labelled, arrays, run.seed, run.device, progress.update
    )
    if not fitted:
        return {}
    counts = view_classifiers.confusion_counts(labelled, arrays | fitted, run.seed, run.device)
    if not counts:
        return dict(fitted)
    right = sum(count for (shows, said), count in counts.items() if shows == said)
    unsure = sum(count for (_, said), count in counts.items() if said is None)
    log.info(
        "views: of %d test images %d right, %d wrong, %d not said",
        counts.total(),
        right,
        counts.total() - right - unsure,
        unsure,
    )
    rows = sorted((shows, said or "", count) for (shows, said), count in counts.items())
    lines = ["view,predicted,count", *(f"{shows},{said},{count}" for shows, said, count in rows)]
    (run.out / "views.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return dict(fitted)


def fit_itq(
    run: EncoderTrainingRun, sets: list[labelled_photos.LabelledDataset]
) -> tuple[Arrays, object]:
    """Fit the encoder imagenet-itq: a palette, and one rotation for shape and one for colour.

    Args:
        run: the training's options.
        sets: photos; their labels are not read.

    Returns:
        The tensors, and the recipe for the model's card.
    """
    crops = [dataset.crop_item(p) for s in sets for p in s.photos if p.split == "train"]
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
