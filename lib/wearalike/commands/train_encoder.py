"""labelled photos -> an encoder's weights, as one safetensors file.

    python -m wearalike.commands.train_encoder --data folder=my_photos --version mine-1 --out build/mine-1

--data KIND=FOLDER may be given several times. Kinds: folder (labels.csv with the columns image, split and one for each label),
fashion-product-images, clothing-dataset, ccp; see README. Labels named "colour" teach the colour code, "view" what a picture shows (the sets of the other kinds
tell it themselves), all others the shape code.

A training goes on where it stopped: the same command again finds its checkpoint in the folder. Two CPU cores take a second and a half
to three a step of 64 pictures, the less where they have bfloat16, so 700 steps take 20 to 40 minutes, and the heads' own steps as long
again; a GPU takes minutes.

With --from, --steps 0 and --head-steps 0 the codes stay as they are, and only what tells views is learned.

--recipe itq fits the encoder imagenet-itq instead, which needs no labels: a palette and two rotations.
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

from wearalike.datasets import labelled_photos, layouts
from wearalike.encoding import hashnet, imagenet_itq, runtime
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import job
from wearalike.tables import ImageView
from wearalike.training import loop, plot_losses
from wearalike.training.encoder import dataset, itq, view_classifier, view_examples
from wearalike.training.encoder.config import EncoderTrainingConfig
from wearalike.training.encoder.trainer import EncoderTrainer

log = logging.getLogger("wearalike.train_encoder")
STEPS_PER_CHECKPOINT = 50


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--data",
        type=layouts.parse_kind_and_folder,
        action="append",
        required=True,
        metavar="KIND=FOLDER",
        help="labelled photos",
    )
    made.add_argument(
        "--version",
        default="mine-1",
        help="name and version, written beside every code (default: %(default)s)",
    )
    made.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoint, losses, curves and <version>.safetensors",
    )
    made.add_argument(
        "--recipe",
        choices=("hash", "itq"),
        default="hash",
        help="what to train (default: %(default)s)",
    )
    made.add_argument(
        "--steps", type=int, default=EncoderTrainingConfig().steps, help="default: %(default)s"
    )
    made.add_argument(
        "--head-steps",
        type=int,
        default=EncoderTrainingConfig().head_steps,
        help="of the heads alone, afterwards (default: %(default)s)",
    )
    made.add_argument(
        "--batch",
        type=int,
        default=EncoderTrainingConfig().batch,
        help="pictures a step (default: %(default)s)",
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--from",
        dest="begin",
        metavar="MODEL",
        help="what to begin with, a file or a packaged model's name; default: ImageNet",
    )
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return made


def work(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    sets = [labelled_photos.read_dataset(kind, folder) for kind, folder in args.data]
    started = time.monotonic()
    device = registry.resolve_device(args.device)
    arrays, recipe = (
        fit_itq(args, sets, device) if args.recipe == "itq" else train_hashnet(args, sets, device)
    )
    photos = {s.name: sum(p.split == "train" for p in s.photos) for s in sets}
    card = {
        "data": photos,
        "recipe": recipe,
        "seed": args.seed,
        "device": device,
        "cpu": platform.machine(),
        "minutes_of_last_sitting": round((time.monotonic() - started) / 60),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    architecture = hashnet.ARCHITECTURE if args.recipe == "hash" else imagenet_itq.ITQ_ARCHITECTURE
    content = registry.model_bytes(ModelKind.ENCODER, architecture, args.version, card, arrays)
    path = args.out / f"{args.version}.safetensors"
    path.write_bytes(content)
    print(path, hashlib.sha256(content).hexdigest())


def train_hashnet(
    args: argparse.Namespace, sets: list[labelled_photos.LabelledDataset], device: str
) -> tuple[dict[str, NDArray[np.float16]], object]:
    recipe = EncoderTrainingConfig(
        steps=args.steps, head_steps=args.head_steps, batch=args.batch, seed=args.seed
    )
    begin = registry.load_by_name(ModelKind.ENCODER, args.begin) if args.begin else None
    # What told views of a trunk tells them still, as long as the trunk stands still.
    known = (
        {n: a.astype(np.float16) for n, a in begin.arrays.items()}
        if begin and not recipe.steps
        else {}
    )
    arrays = (
        known
        if known and not recipe.head_steps
        else known | run_training(args, sets, recipe, begin, device)
    )
    arrays |= fit_view_classifier(args, sets, arrays, device)
    return arrays, {
        **asdict(recipe),
        "begin": begin.version if begin else registry.EFFICIENTNET_LITE0.name,
    }


def run_training(
    args: argparse.Namespace,
    sets: list[labelled_photos.LabelledDataset],
    recipe: EncoderTrainingConfig,
    initial_model: registry.Model | None,
    device: str,
) -> dict[str, NDArray[np.float16]]:
    ready = job.Progress("pictures", sum(p.split == "train" for s in sets for p in s.photos))
    found = dataset.build_dataset(sets, device, lambda done, of: ready.update(1))
    log.info(
        "%d pictures; %s",
        len(found.images),
        ", ".join(f"{t.name} ({len(t.classes)} classes)" for t in found.tasks),
    )
    trainer = EncoderTrainer(found, recipe, device, initial_model.arrays if initial_model else None)
    checkpoint, table = args.out / "checkpoint.pt", args.out / "losses.csv"
    if checkpoint.exists():
        trainer.load_checkpoint(checkpoint)
        log.info("goes on from step %d", trainer.step)
    last = recipe.steps + recipe.head_steps
    progress = job.Progress("steps", last - trainer.step)
    rows: list[dict[str, float]] = []

    def tell(step: int, losses: dict[str, float]) -> None:
        rows.append(losses)
        progress.update(1)
        if step % STEPS_PER_CHECKPOINT == 0 or step == last:
            loop.append_losses_csv(table, step, rows)
            rows.clear()
            trainer.save_checkpoint(checkpoint)
            plot_losses.plot_losses(table, args.out / "losses.png")

    views = job.Progress("views for the heads", recipe.head_views * len(found.images))
    trainer.run(last, tell, views.update)
    return trainer.averaged_weights()


def fit_view_classifier(
    args: argparse.Namespace,
    sets: list[labelled_photos.LabelledDataset],
    arrays: dict[str, NDArray[np.float16]],
    device: str,
) -> dict[str, NDArray[np.float16]]:
    """The tensors that tell views from what the network of these arrays sees; none where the sets say nothing of views. How often
    they are right in the sets' test split goes into views.csv."""
    of = [(kind, s) for (kind, _), s in zip(args.data, sets, strict=True)]
    looked = job.Progress(
        "pictures for views", view_examples.MAX_EXAMPLES_PER_VIEW * len(ImageView) * len(sets)
    )
    made = view_classifier.train_view_classifier(of, arrays, args.seed, device, looked.update)
    if made and (counts := view_classifier.confusion_counts(of, arrays | made, args.seed, device)):
        right = sum(count for (shows, said), count in counts.items() if shows == said)
        unsure = sum(count for (_, said), count in counts.items() if said is None)
        wrong = counts.total() - right - unsure
        log.info(
            "views: of %d test pictures %d right, %d wrong, %d not said",
            counts.total(),
            right,
            wrong,
            unsure,
        )
        rows = sorted((shows, said or "", count) for (shows, said), count in counts.items())
        lines = ["shows,told,count", *(f"{shows},{said},{count}" for shows, said, count in rows)]
        (args.out / "views.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made


def fit_itq(
    args: argparse.Namespace, sets: list[labelled_photos.LabelledDataset], device: str
) -> tuple[dict[str, NDArray[np.float32]], object]:
    crops = [dataset.crop_item(p) for s in sets for p in s.photos if p.split == "train"]
    pixel_sample = np.concatenate([sample_pixels(c, args.seed + i) for i, c in enumerate(crops)])
    arrays = {"palette": itq.fit_palette(pixel_sample, imagenet_itq.PALETTE_COLOURS, args.seed)}
    histograms = np.stack([imagenet_itq.colour_histogram(c, arrays["palette"]) for c in crops])
    arrays["colour_mean"], arrays["colour_rotation"] = itq.fit_rotation(
        np.sqrt(histograms), args.seed
    )
    forward = runtime.feature_extractor(registry.EFFICIENTNET_LITE0, device)
    progress, found = job.Progress("pictures", len(crops)), []
    for start in range(0, len(crops), 256):
        found.append(forward(crops[start : start + 256]))
        progress.update(len(found[-1]))
    arrays["shape_mean"], arrays["shape_rotation"] = itq.fit_rotation(
        np.concatenate(found), args.seed
    )
    return arrays, {"palette": imagenet_itq.PALETTE_COLOURS}


def sample_pixels(picture: NDArray[np.uint8], seed: int, count: int = 16) -> NDArray[np.float32]:
    lab, weights = imagenet_itq.item_pixels(picture)
    return lab[np.random.default_rng(seed).choice(len(lab), count, p=weights / weights.sum())]


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
