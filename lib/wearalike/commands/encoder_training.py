"""One training of an encoder: read what it learns from, train, and write the model file."""

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

from wearalike.commands.backbone_option import Backbone, choose_architecture
from wearalike.datasets import labelled_photos, layouts, run_photos
from wearalike.encoding import architectures, likeness_net
from wearalike.models import registry
from wearalike.models.files import BadModel, Model, ModelKind
from wearalike.pipeline import job
from wearalike.quality import judgements
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import ITEMS, ImageView
from wearalike.training.encoder import likeness_recipe, view_examples
from wearalike.training.encoder import view_classifier as view_classifiers
from wearalike.training.encoder.likeness_config import LikenessConfig
from wearalike.training.encoder.training_pictures import TrainingSource
from wearalike.warehouse.base import Unreachable, open_warehouse

log = logging.getLogger("wearalike.train_encoder")
# Names that --init-from takes beside packaged models and files.
IMAGENET = "imagenet"
PROMOTED = "promoted"
# The packaged encoder to start from where the promoted one is of another architecture.
PACKAGED = "likeness"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class EncoderTrainingRun:
    """One training, as the command's options describe it.

    Attributes:
        data: kind and folder of each set of labelled photos; of a run, its name.
        last_runs: so many of the last runs are learned from, beside `data`.
        out: folder for the checkpoint, the losses and the model file.
        version: name and version of the model.
        seed: seed of everything drawn at random.
        device: cpu or cuda.
        settings: where runs, promoted models and judgements are.
        strict_labels: refuse label files with any bad label.
    """

    data: tuple[tuple[str, Path], ...]
    last_runs: int
    out: Path
    version: str
    seed: int
    device: str
    settings: Settings
    strict_labels: bool = False

    def read_sources(self) -> list[TrainingSource]:
        """Return the sets of labelled photos, in their order, those of the last runs at the end.

        Raises:
            BadDataset: there is nothing to learn from.
        """
        root = self.settings.data_dir
        named = [name for kind, name in self.data if kind == layouts.RUN]
        runs = run_tables.list_runs(root, ITEMS)[-self.last_runs :] if self.last_runs else []
        latest = [(layouts.RUN, Path(run)) for run in runs if Path(run) not in named]
        if not self.data and not latest:
            raise layouts.BadDataset(f"nothing to learn from: no --data, and no run in {root}")
        return [
            TrainingSource(
                kind,
                folder,
                run_photos.read_run(root, str(folder))
                if kind == layouts.RUN
                else labelled_photos.read_dataset(kind, folder, is_strict=self.strict_labels),
            )
            for kind, folder in (*self.data, *latest)
        ]

    def read_judgements(self, sources: list[TrainingSource]) -> list[judgements.Judgement]:
        """Return people's judgements of pairs; none without runs, or without a warehouse.

        Args:
            sources: the sets that are learned from.
        """
        if all(source.kind != layouts.RUN for source in sources):
            return []
        try:
            return judgements.read_judgements(open_warehouse(self.settings.warehouse))
        except Unreachable as error:
            log.warning("no judgements: %s", error)
            return []


def load_initial_model(run: EncoderTrainingRun, name: str | None) -> Model | None:
    """Return the encoder that a likeness training starts from.

    Args:
        run: the training's options.
        name: promoted, imagenet, a packaged model or a file; None: promoted if the training learns
            from runs, else imagenet. A promoted encoder of another architecture gives way to the
            packaged one.

    Returns:
        The model; None for ImageNet.

    Raises:
        BadModel: there is no such model, or it is not of this architecture.
    """
    has_runs = bool(run.last_runs) or any(kind == layouts.RUN for kind, _ in run.data)
    name = name or (PROMOTED if has_runs else IMAGENET)
    if name == IMAGENET:
        return None
    if name == PROMOTED:
        promoted = registry.resolve_model(run.settings.data_dir, ModelKind.ENCODER).read()
        if architectures.is_likeness(promoted.architecture):
            return promoted
        log.info("%s is no likeness encoder: starts from %s", promoted.version, PACKAGED)
        name = PACKAGED
    model = registry.load_by_name(ModelKind.ENCODER, name)
    if not architectures.is_likeness(model.architecture):
        raise BadModel(
            f"--init-from {name}: {model.version} is of architecture {model.architecture}, "
            f"wanted {likeness_net.ARCHITECTURE}, or {IMAGENET}"
        )
    return model


def train_and_write(
    run: EncoderTrainingRun,
    architecture: str,
    train: Callable[[list[TrainingSource]], tuple[Arrays, object]],
) -> None:
    """Train, write the model file, and print its path and sha256.

    Args:
        run: the training's options.
        architecture: of the model file.
        train: returns the arrays of the model, and the recipe for its card.
    """
    sources = run.read_sources()
    started_at_s = time.monotonic()
    arrays, recipe = train(sources)
    sets = [source.labelled for source in sources]
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


def train_likeness(
    run: EncoderTrainingRun,
    sources: list[TrainingSource],
    config: LikenessConfig,
    initial: Model | None,
    initial_share: float,
    has_new_heads: bool = False,
    backbone: Backbone | None = None,
) -> tuple[Arrays, object]:
    """Train the likeness encoder, then its view classifier.

    Args:
        run: the training's options.
        sources: the sets of labelled photos.
        config: the recipe.
        initial: the encoder to start from; None: ImageNet's weights.
        initial_share: 0..1, its part in the average of the weights.
        has_new_heads: the code heads start anew, on the trunk and the mask head of `initial`.
        backbone: a public network in place of the packaged trunk.

    Returns:
        The arrays, and the recipe for the model's card.
    """

    def start_progress(label: str, total: int) -> Callable[[int], None]:
        return job.Progress(label, total).update

    training = likeness_recipe.LikenessTraining(
        sources,
        run.out,
        config,
        run.device,
        initial,
        run.read_judgements(sources),
        start_progress,
        initial_share,
        has_new_heads,
        backbone.trunk if backbone else None,
    )
    architecture = initial.architecture if initial else choose_architecture(backbone)
    arrays: Arrays = dict(likeness_recipe.train_likeness(training))
    if initial:
        # The trunk is frozen, so what told views before still does.
        arrays = view_arrays(initial.arrays) | arrays
    arrays |= fit_view_classifier(run, sources, arrays, architecture)
    begin: dict[str, object]
    if initial and has_new_heads:
        begin = {"begin": f"trunk and mask of {initial.version}", "initial_share": initial_share}
    elif initial:
        begin = {"begin": initial.version, "initial_share": initial_share}
    elif backbone:
        begin = {"begin": str(backbone.trunk.name), "backbone": backbone.as_card()}
    else:
        begin = {"begin": registry.EFFICIENTNET_LITE0.name}
    return arrays, {**asdict(config), **begin}


def refit_view_classifier(
    run: EncoderTrainingRun, sources: list[TrainingSource], initial: Model
) -> tuple[Arrays, object]:
    """Train the view classifier of an encoder whose codes stay as they are.

    Args:
        run: the training's options.
        sources: the sets of labelled photos.
        initial: the encoder.

    Returns:
        All arrays of the new file, and the recipe for its card.
    """
    arrays: Arrays = {name: narrow_array(array) for name, array in initial.arrays.items()}
    arrays |= fit_view_classifier(run, sources, arrays, initial.architecture)
    return arrays, {"begin": initial.version}


def narrow_array(array: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return an array in float16 if that keeps every number, else as it is.

    Args:
        array: the array.
    """
    narrow = array.astype(np.float16)
    return narrow if np.array_equal(narrow, array) else array


def view_arrays(arrays: Any) -> Arrays:
    """Return the arrays of an encoder's view layer.

    Args:
        arrays: the arrays of the encoder by name.
    """
    prefix = f"{likeness_net.VIEW_PREFIX}."
    return {n: narrow_array(a) for n, a in arrays.items() if n.startswith(prefix)}


def fit_view_classifier(
    run: EncoderTrainingRun, sources: list[TrainingSource], arrays: Arrays, architecture: str
) -> Arrays:
    """Train the view classifier on the network's features; write its test results to views.csv.

    Args:
        run: the training's options.
        sources: the sets of labelled photos. Runs are left out: an encoder told their views.
        arrays: the network's tensors.
        architecture: of the network.

    Returns:
        The classifier's tensors; none where the sets say nothing of views.
    """
    labelled = [(s.kind, s.labelled) for s in sources if s.kind != layouts.RUN]
    progress = job.Progress(
        "images for views",
        view_examples.MAX_EXAMPLES_PER_VIEW * len(ImageView) * len(labelled),
    )
    fitted = view_classifiers.train_view_classifier(
        labelled, arrays, run.seed, run.device, progress.update, architecture=architecture
    )
    if not fitted:
        return {}
    counts = view_classifiers.confusion_counts(
        labelled, arrays | fitted, run.seed, run.device, architecture=architecture
    )
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
