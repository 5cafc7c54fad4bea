"""`wearalike train encoder` and `train view-classifier`: labelled photos to a safetensors file."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, ParsedText, device_option, parse_kind_and_folder
from wearalike.datasets import labelled_photos, layouts
from wearalike.encoding import hashnet, imagenet_itq, runtime
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
_DEFAULTS = EncoderTrainingConfig()

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


def _training_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all trainings of encoders share."""
    kinds = layouts.DATASET_KINDS
    for option in (
        device_option,
        click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
        click.option(
            "--version",
            default="mine-1",
            show_default=True,
            help="Name and version, written beside every code.",
        ),
        click.option(
            "--out",
            type=PATH,
            required=True,
            metavar="DIR",
            help="Folder for checkpoint, losses, curves and <version>.safetensors.",
        ),
        click.option(
            "--data",
            type=ParsedText("KIND=FOLDER", parse_kind_and_folder(kinds)),
            multiple=True,
            required=True,
            help=f"Labelled photos; may be repeated. KIND: {', '.join(kinds)}.",
        ),
    ):
        function = option(function)
    return function


@command("encoder")
@_training_options
@click.option(
    "--recipe",
    type=click.Choice(["hash", "itq"]),
    default="hash",
    show_default=True,
    help="hash: a network of our own; itq: a palette and two rotations, which need no labels.",
)
@click.option("--steps", type=int, default=_DEFAULTS.steps, show_default=True)
@click.option(
    "--head-steps",
    type=int,
    default=_DEFAULTS.head_steps,
    show_default=True,
    help="Further steps, of the heads alone.",
)
@click.option(
    "--batch", type=int, default=_DEFAULTS.batch, show_default=True, help="Images a step."
)
@click.option(
    "--init-from",
    metavar="MODEL",
    help="File or packaged model to start from; default: ImageNet's weights.",
)
def encoder(
    recipe: str, steps: int, head_steps: int, batch: int, init_from: str | None, **options: Any
) -> None:
    """Train an encoder on labelled photos.

    A set of kind `folder` has a labels.csv with the columns image, split and one for each label.
    Labels named "colour" teach the colour code, "view" the view classifier, all others the shape
    code. The other kinds know the view of their images.

    A training continues where it stopped: repeat the same command. Two CPU cores take 1.5 to 3 s
    for a step of 64 images, so 700 steps take 20 to 40 minutes. The heads' own steps take as long
    again. A GPU takes minutes.
    """
    run = _training_run(options)
    if recipe == "itq":
        _train_and_write(run, imagenet_itq.ITQ_ARCHITECTURE, lambda sets: fit_itq(run, sets))
        return
    config = EncoderTrainingConfig(steps=steps, head_steps=head_steps, batch=batch, seed=run.seed)
    initial = registry.load_by_name(ModelKind.ENCODER, init_from) if init_from else None
    _train_and_write(
        run, hashnet.ARCHITECTURE, lambda sets: train_hashnet(run, sets, config, initial)
    )


@command("view-classifier")
@_training_options
@click.option(
    "--init-from",
    metavar="MODEL",
    required=True,
    help="File or packaged encoder whose codes stay as they are.",
)
def view_classifier(init_from: str, **options: Any) -> None:
    """Train what tells views of an encoder; its codes stay as they are.

    Photos that say nothing of views leave the encoder's view classifier as it is.
    """
    run = _training_run(options)
    initial = registry.load_by_name(ModelKind.ENCODER, init_from)
    config = EncoderTrainingConfig(steps=0, head_steps=0, seed=run.seed)
    _train_and_write(
        run, hashnet.ARCHITECTURE, lambda sets: train_hashnet(run, sets, config, initial)
    )


def _training_run(options: Mapping[str, Any]) -> EncoderTrainingRun:
    """Return the shared options, with the device resolved, and make the folder."""
    run = EncoderTrainingRun(**{**options, "device": registry.resolve_device(options["device"])})
    run.out.mkdir(parents=True, exist_ok=True)
    return run


def _train_and_write(
    run: EncoderTrainingRun,
    architecture: str,
    train: Callable[[list[labelled_photos.LabelledDataset]], tuple[Arrays, object]],
) -> None:
    """Train, write the model file, and print its path and sha256."""
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
        arrays |= {name: a.astype(np.float16) for name, a in initial_model.arrays.items()}
    if not arrays or config.head_steps:
        arrays |= run_training(run, sets, config, initial_model)
    arrays |= fit_view_classifier(run, sets, arrays)
    begin = initial_model.version if initial_model else registry.EFFICIENTNET_LITE0.name
    return arrays, {**asdict(config), "begin": begin}


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
    lines = ["shows,told,count", *(f"{shows},{said},{count}" for shows, said, count in rows)]
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
