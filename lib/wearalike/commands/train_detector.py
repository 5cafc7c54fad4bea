"""labelled photos -> a detector's weights, as one safetensors file.

    python -m wearalike.commands.train_detector --data ccp=street --data fashion-product-images=shop --version mine-1 --out build/mine-1

--data KIND=FOLDER may be given several times. Kinds: ccp (photos with a mask of every item), coco and yolo (boxes of
every item, named as in classes.CLASS_NAMES), fashion-product-images, clothing-dataset and folder (one item a photo; in a folder, the
column `type` has a name of classes.CLASS_NAMES); see README. Of the last three only what stands out of a plain ground can be used, unless a detector (--label-with)
says where the rest is.

At its end a network of the kind yolo learns to look twice: a head that reads each box again (--second-steps 0: none). With --from and
--steps 0 the network stays as it is, and only that is learned.

A training goes on where it stopped: the same command again finds its checkpoint in the folder; --minutes ends a sitting. Two CPU
cores take about a second a step of 8 scenes, so 2,000 steps take half an hour or more, and ten minutes for the second look at
10,000 pictures; a GPU takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import platform
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets import layouts
from wearalike.detection.classes import CLASS_NAMES
from wearalike.detection.networks import registry as networks
from wearalike.models import registry
from wearalike.models.files import Model, ModelKind
from wearalike.pipeline import job
from wearalike.training import loop, plot_losses
from wearalike.training.detector import box_head, dataset
from wearalike.training.detector.trainer import DetectorTrainer, DetectorTrainingConfig

log = logging.getLogger("wearalike.train_detector")
STEPS_PER_CHECKPOINT = 50
DEFAULT_CONFIG = DetectorTrainingConfig()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add(
        "--data",
        type=layouts.parse_kind_and_folder,
        action="append",
        required=True,
        metavar="KIND=FOLDER",
        help="labelled photos",
    )
    add(
        "--version",
        default="mine-1",
        help="name and version, written beside every item (default: %(default)s)",
    )
    add(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoint, losses, curves and <version>.safetensors",
    )
    add(
        "--architecture",
        choices=networks.ARCHITECTURES,
        default=DEFAULT_CONFIG.architecture,
        help="default: %(default)s",
    )
    add("--steps", type=int, default=DEFAULT_CONFIG.steps, help="default: %(default)s")
    add(
        "--still-steps",
        type=int,
        help="first steps, in which the trunk learns nothing; default: six tenths, none with --from",
    )
    add(
        "--second-steps",
        type=int,
        default=box_head.BoxHeadTrainingConfig().steps,
        help="of the second look's head (default: %(default)s)",
    )
    add(
        "--batch",
        type=int,
        default=DEFAULT_CONFIG.batch,
        help="scenes a step (default: %(default)s)",
    )
    add(
        "--minutes",
        type=float,
        help="keep a checkpoint and stop after so long; the same command goes on",
    )
    add("--seed", type=int, default=0)
    add(
        "--from",
        dest="begin",
        metavar="MODEL",
        help="a packaged model or a file to begin with; default: ImageNet's weights",
    )
    add(
        "--label-with",
        metavar="MODEL",
        help="a detector, packaged or a file, that says where things are that do not stand out",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return made


def work(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    device, started = registry.resolve_device(args.device), time.monotonic()
    sets = [(kind, folder, dataset.read_photos(kind, folder)) for kind, folder in args.data]
    prepared = load_or_prepare_images(args, sets, device)
    drawn, grounds = dataset.scene_sources(prepared)
    log.info("pictures: %s", ", ".join(f"{len(s.pictures)} {s.name}" for s in drawn))
    begin = registry.load_by_name(ModelKind.DETECTOR, args.begin) if args.begin else None
    still = (
        args.still_steps if args.still_steps is not None else 0 if begin else args.steps * 6 // 10
    )
    recipe = DetectorTrainingConfig(
        architecture=args.architecture,
        steps=args.steps,
        freeze_backbone_steps=still,
        batch=args.batch,
        seed=args.seed,
    )
    trainer = DetectorTrainer(drawn, grounds, recipe, device)
    if begin:
        trainer.init_from(begin)
    if not run_training(
        trainer, args.out, started + args.minutes * 60 if args.minutes else float("inf")
    ):
        log.info("stopped at step %d of %d; the same command goes on", trainer.step, recipe.steps)
        return
    arrays = trainer.averaged_weights()
    if args.second_steps and args.architecture == networks.YOLO:
        arrays |= train_box_head(args, arrays, prepared, device)
    card = {
        "data": {
            f"{kind} {folder.name}": len(_training_photos(photos)) for kind, folder, photos in sets
        },
        "pictures": {s.name: len(s.pictures) for s in drawn},
        "recipe": asdict(recipe),
        "second_steps": args.second_steps,
        "begin": begin.version if begin else registry.EFFICIENTNET_LITE0.name,
        "labelled_with": registry.load_by_name(ModelKind.DETECTOR, args.label_with).version
        if args.label_with
        else None,
        "seed": args.seed,
        "device": device,
        "cpu": platform.machine(),
        "minutes_of_last_sitting": round((time.monotonic() - started) / 60),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = registry.model_bytes(
        ModelKind.DETECTOR, args.architecture, args.version, card, arrays, CLASS_NAMES
    )
    path = args.out / f"{args.version}.safetensors"
    path.write_bytes(content)
    print(path, hashlib.sha256(content).hexdigest())


def train_box_head(
    args: argparse.Namespace,
    arrays: dict[str, NDArray[np.float16]],
    prepared: dataset.ScenesBySource,
    device: str,
) -> dict[str, NDArray[np.float16]]:
    """The tensors of a second look at what the network of these tensors sees in the prepared pictures."""
    recipe = box_head.BoxHeadTrainingConfig(steps=args.second_steps, seed=args.seed)
    once = Model(
        ModelKind.DETECTOR,
        args.architecture,
        args.version,
        {},
        {n: a.astype(np.float32) for n, a in arrays.items()},
        CLASS_NAMES,
        "",
    )
    progress = job.Progress("views for the second look", box_head.count_views(prepared, recipe))
    given = box_head.extract_examples(once, prepared, recipe, lambda: progress.update(1), device)
    progress, table = (
        job.Progress("steps of the second look", recipe.steps),
        args.out / "second.csv",
    )
    rows: list[dict[str, float]] = []

    def tell(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)
        if step % STEPS_PER_CHECKPOINT == 0:
            loop.append_losses_csv(table, step, rows)
            rows.clear()

    made = box_head.train_box_head(given, recipe, tell)
    plot_losses.plot_losses(table, args.out / "second.png")
    return made


def _training_photos(photos: dataset.DatasetPhotos) -> set[Path]:
    return {
        p.path
        for p in (photos if isinstance(photos, list) else photos.photos)
        if p.split == "train"
    }


def load_or_prepare_images(
    args: argparse.Namespace, sets: list[tuple[str, Path, dataset.DatasetPhotos]], device: str
) -> dataset.ScenesBySource:
    """The pictures to train on: as a former sitting prepared them, else prepared and kept."""
    model = registry.load_by_name(ModelKind.DETECTOR, args.label_with) if args.label_with else None
    # One with other photos, labels or labelling detector is another training.
    facts = f"{[(kind, photos) for kind, _, photos in sets]} {model.sha256 if model else None}"
    of, path = hashlib.sha256(facts.encode()).hexdigest(), args.out / "pictures.parquet"
    found = dataset.read_scenes(path, of)
    if found is None:
        former = networks.load_detection_network(model, device) if model else None
        found = dataset.prepare_scenes(
            sets,
            former,
            lambda done, of: log.info("photos: %d of %d", done, of) if done % 1000 == 0 else None,
        )
        dataset.write_scenes(found, path, of)
    return found


def run_training(trainer: DetectorTrainer, out: Path, until_s: float) -> bool:
    """Trains to the end, or as long as time is left; whether it came to the end."""
    checkpoint, table = out / "checkpoint.pt", out / "losses.csv"
    if checkpoint.exists():
        trainer.load_checkpoint(checkpoint)
        log.info("goes on from step %d", trainer.step)
    last = trainer.config.steps
    progress = job.Progress("steps", last - trainer.step)
    rows: list[dict[str, float]] = []

    def tell(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)

    while trainer.step < last and time.monotonic() < until_s:
        trainer.run(trainer.step - trainer.step % STEPS_PER_CHECKPOINT + STEPS_PER_CHECKPOINT, tell)
        loop.append_losses_csv(table, trainer.step, rows)
        rows.clear()
        trainer.save_checkpoint(checkpoint)
        plot_losses.plot_losses(table, out / "losses.png")
    return trainer.step == last


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
