"""One training of a detector: prepare images, train, and write the model file."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import registry as networks
from wearalike.models import registry
from wearalike.models.files import Model, ModelKind
from wearalike.pipeline import job
from wearalike.training import loop, plot_losses
from wearalike.training.detector import box_head, cell_head, dataset
from wearalike.training.detector.trainer import DetectorTrainer, DetectorTrainingConfig

log = logging.getLogger("wearalike.train_detector")
STEPS_PER_CHECKPOINT = 50
PHOTOS_PER_LOG_LINE = 1000

Photos = list[tuple[str, Path, dataset.DatasetPhotos]]


@dataclass(frozen=True, slots=True)
class DetectorTrainingRun:
    """One training, as the command's options describe it.

    Attributes:
        data: kind and folder of each set of labelled photos.
        out: folder for the checkpoint, the losses and the model file.
        version: name and version of the model.
        architecture: the network's kind.
        box_head_steps: steps of the box head; 0: none.
        cell_steps: steps of the head of an FCOS network on cells of a fixed backbone; 0: none.
        seed: seed of everything drawn at random.
        device: cpu or cuda.
        pseudo_label_with: a detector that labels what nobody has labelled.
        strict_labels: refuse label files with any bad label.
    """

    data: tuple[tuple[str, Path], ...]
    out: Path
    version: str
    architecture: str
    box_head_steps: int
    cell_steps: int
    seed: int
    device: str
    pseudo_label_with: str | None
    strict_labels: bool = False


def train_and_write(
    run: DetectorTrainingRun,
    config: DetectorTrainingConfig,
    initial_model: Model | None,
    minutes: float | None,
) -> None:
    """Train, write the model file, and print its path and sha256.

    Args:
        run: the training's options.
        config: the trainer's configuration.
        initial_model: the model to start from; None: ImageNet's weights.
        minutes: stop after so long, with a checkpoint and without a model file; None: never.
    """
    started_at_s = time.monotonic()
    sets = [
        (kind, folder, dataset.read_photos(kind, folder, is_strict=run.strict_labels))
        for kind, folder in run.data
    ]
    prepared = load_or_prepare_images(run, sets)
    sources, grounds = dataset.scene_sources(prepared)
    log.info("images: %s", ", ".join(f"{len(s.pictures)} {s.name}" for s in sources))
    trainer = DetectorTrainer(sources, grounds, config, run.device)
    until_s = started_at_s + minutes * 60 if minutes else float("inf")
    if initial_model:
        trainer.init_from(initial_model)
    elif run.architecture == networks.FCOS and run.cell_steps:
        head = train_cells(run, prepared, until_s)
        if head is None:
            log.info("stopped before the head was trained; the same command goes on")
            return
        trainer.init_from(head)
    if not run_training(trainer, run.out, until_s):
        log.info("stopped at step %d of %d; the same command goes on", trainer.step, config.steps)
        return
    arrays = trainer.averaged_weights()
    if run.box_head_steps and run.architecture == networks.YOLO:
        arrays |= train_box_head(run, arrays, prepared)
    card = {
        "data": {
            f"{kind} {folder.name}": len(_training_photos(photos)) for kind, folder, photos in sets
        },
        "pictures": {s.name: len(s.pictures) for s in sources},
        "recipe": asdict(config),
        "second_steps": run.box_head_steps,
        "cell_steps": run.cell_steps,
        "begin": initial_model.version if initial_model else registry.EFFICIENTNET_LITE0.name,
        "labelled_with": _pseudo_labelling_version(run),
        "seed": run.seed,
        "device": run.device,
        "cpu": platform.machine(),
        "minutes_of_last_sitting": round((time.monotonic() - started_at_s) / 60),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = registry.model_bytes(
        ModelKind.DETECTOR, run.architecture, run.version, card, arrays, CLASS_NAMES
    )
    path = run.out / f"{run.version}.safetensors"
    path.write_bytes(content)
    print(path, hashlib.sha256(content).hexdigest())


def _pseudo_labelling_model(run: DetectorTrainingRun) -> Model | None:
    """Return the detector that labels what nobody has labelled."""
    if run.pseudo_label_with is None:
        return None
    return registry.load_by_name(ModelKind.DETECTOR, run.pseudo_label_with)


def _pseudo_labelling_version(run: DetectorTrainingRun) -> str | None:
    """Return that detector's version."""
    model = _pseudo_labelling_model(run)
    return model.version if model else None


def train_cells(
    run: DetectorTrainingRun, prepared: dataset.ScenesBySource, until_s: float
) -> Model | None:
    """Train the head of an FCOS network on cells of the prepared images.

    Args:
        run: the training's options.
        prepared: the images.
        until_s: time.monotonic() at which to stop.

    Returns:
        The network as a model; None if the time was up before.
    """
    config = cell_head.CellHeadTrainingConfig(steps=run.cell_steps, seed=run.seed)

    def is_time_up() -> bool:
        return time.monotonic() >= until_s

    views = job.Progress("views for the head", cell_head.count_views(prepared, config))
    cells = cell_head.extract_cells(
        prepared, config, run.out / "cells", views.update, run.device, is_time_up
    )
    if cells is None:
        return None
    progress = job.Progress("steps of the head", config.steps)
    table = run.out / "cells.csv"
    rows: list[dict[str, float]] = []

    def on_step(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)
        if step % STEPS_PER_CHECKPOINT == 0:
            loop.append_losses_csv(table, step, rows)
            rows.clear()

    arrays = cell_head.train_cell_head(cells, config, run.out / "cells.pt", on_step, is_time_up)
    if arrays is None:
        return None
    return Model(ModelKind.DETECTOR, run.architecture, run.version, {}, arrays, CLASS_NAMES, "")


def train_box_head(
    run: DetectorTrainingRun,
    arrays: dict[str, NDArray[np.float16]],
    prepared: dataset.ScenesBySource,
) -> dict[str, NDArray[np.float16]]:
    """Train the box head on what the network detects in the prepared images.

    Args:
        run: the training's options.
        arrays: the network's tensors.
        prepared: the images.

    Returns:
        The box head's tensors.
    """
    config = box_head.BoxHeadTrainingConfig(steps=run.box_head_steps, seed=run.seed)
    network = Model(
        ModelKind.DETECTOR,
        run.architecture,
        run.version,
        {},
        {name: array.astype(np.float32) for name, array in arrays.items()},
        CLASS_NAMES,
        "",
    )
    views = job.Progress("views for the box head", box_head.count_views(prepared, config))
    examples = box_head.extract_examples(
        network, prepared, config, lambda: views.update(1), run.device
    )
    progress = job.Progress("steps of the box head", config.steps)
    table = run.out / "second.csv"
    rows: list[dict[str, float]] = []

    def on_step(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)
        if step % STEPS_PER_CHECKPOINT == 0:
            loop.append_losses_csv(table, step, rows)
            rows.clear()

    head_arrays = box_head.train_box_head(examples, config, on_step)
    plot_losses.plot_losses(table, run.out / "second.png")
    return head_arrays


def _training_photos(photos: dataset.DatasetPhotos) -> set[Path]:
    """Return the paths of the photos in the split train."""
    all_photos = photos if isinstance(photos, list) else photos.photos
    return {p.path for p in all_photos if p.split == "train"}


def load_or_prepare_images(run: DetectorTrainingRun, sets: Photos) -> dataset.ScenesBySource:
    """Return the images to train on, as an earlier sitting prepared them if there was one.

    Args:
        run: the training's options.
        sets: kind, folder and photos of each set.

    Returns:
        The scenes by their source.
    """
    model = _pseudo_labelling_model(run)
    # With other photos, labels or another labelling detector it is another training.
    facts = f"{[(kind, photos) for kind, _, photos in sets]} {model.sha256 if model else None}"
    signature = hashlib.sha256(facts.encode()).hexdigest()
    path = run.out / "pictures.parquet"
    scenes = dataset.read_scenes(path, signature)
    if scenes is not None:
        return scenes
    network = networks.load_detection_network(model, run.device) if model else None

    def on_photo(done: int, of: int) -> None:
        if done % PHOTOS_PER_LOG_LINE == 0:
            log.info("photos: %d of %d", done, of)

    scenes = dataset.prepare_scenes(sets, network, on_photo)
    dataset.write_scenes(scenes, path, signature)
    return scenes


def run_training(trainer: DetectorTrainer, out: Path, until_s: float) -> bool:
    """Train to the last step, or as long as time is left.

    Args:
        trainer: the trainer; a checkpoint in the folder is loaded first.
        out: folder for checkpoint, losses and curves.
        until_s: time.monotonic() at which to stop.

    Returns:
        True if the last step was reached.
    """
    checkpoint = out / "checkpoint.pt"
    table = out / "losses.csv"
    if checkpoint.exists():
        trainer.load_checkpoint(checkpoint)
        log.info("goes on from step %d", trainer.step)
    last_step = trainer.config.steps
    progress = job.Progress("steps", last_step - trainer.step)
    rows: list[dict[str, float]] = []

    def on_step(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)

    while trainer.step < last_step and time.monotonic() < until_s:
        done_before = trainer.step % STEPS_PER_CHECKPOINT
        trainer.run(trainer.step - done_before + STEPS_PER_CHECKPOINT, on_step)
        loop.append_losses_csv(table, trainer.step, rows)
        rows.clear()
        trainer.save_checkpoint(checkpoint)
        plot_losses.plot_losses(table, out / "losses.png")
    return trainer.step == last_step
