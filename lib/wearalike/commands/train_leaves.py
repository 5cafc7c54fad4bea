"""`wearalike train leaves`: labelled photos or runs to a leaf classifier for an encoder."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wearalike.catalog.label_words import LabelWords, read_label_words
from wearalike.commands.encoder_training import EncoderTrainingRun
from wearalike.commands.evaluated_models import PROMOTED
from wearalike.commands.groups import command
from wearalike.commands.options import ParsedText, parse_name_and_text, parse_optional_name
from wearalike.commands.train_encoder import prepare_training_run, training_options
from wearalike.datasets import layouts
from wearalike.detection import detect
from wearalike.encoding import architectures, leaf_head, likeness_net
from wearalike.encoding.describer_hash import DESCRIBER_KEY, hash_describer
from wearalike.models import registry
from wearalike.models.files import BadModel, Model, ModelKind
from wearalike.pipeline import job
from wearalike.training.encoder import leaf_training
from wearalike.training.encoder.leaf_examples import (
    LeafPhoto,
    draw_photos,
    list_leaf_photos,
    shop_of,
)
from wearalike.training.encoder.leaf_features import (
    LeafFeatureReader,
    LeafFeatures,
    prepare_describer,
)
from wearalike.training.encoder.leaf_training import LeafFigures, LeafSet, TrainedLeaves
from wearalike.training.encoder.training_pictures import TrainingSource

log = logging.getLogger("wearalike.train_leaves")
_DEFAULT_PHOTOS = 200


@command("leaves")
@training_options
@click.option(
    "--encoder",
    "encoder_name",
    default=PROMOTED,
    show_default=True,
    metavar="MODEL",
    help=f"{PROMOTED}, a file or a packaged encoder whose descriptors are read.",
)
@click.option(
    "--crop-with",
    "crop_names",
    type=ParsedText("[FOLDER=]NAME", parse_optional_name),
    multiple=True,
    metavar="[FOLDER=]NAME",
    help="Detector that crops photos without a box, of all sets or of the one in FOLDER; may be "
    f"repeated. Default: {PROMOTED}.",
)
@click.option(
    "--photos-per-kind",
    type=click.IntRange(min=1),
    default=_DEFAULT_PHOTOS,
    show_default=True,
    help="Of more photos of a kind in a split of a set so many are drawn.",
)
@click.option(
    "--same-shop",
    "shop_names",
    type=ParsedText("FOLDER=SHOP", parse_name_and_text),
    multiple=True,
    help="The set in FOLDER, by the folder's name, is of SHOP; may be repeated. Default: each set "
    "is a shop, or of a run each shop.",
)
def leaves(
    encoder_name: str,
    crop_names: tuple[tuple[str, str], ...],
    photos_per_kind: int,
    shop_names: tuple[tuple[str, str], ...],
    **options: Any,
) -> None:
    """Train what tells the leaf of the taxonomy that a picture shows; no code changes.

    The words of the photos' `type` become leaves by mappings/labels.xml. Leaves of one kind are one
    class: pictures do not tell women's from men's T-shirts. run=RUN takes the leaves of a run.

    leaves.csv in DIR says how often leaf, family and super-category are right. It has a line for
    each shop left out of the training, and for the test split of each.
    """
    run = prepare_training_run(options)
    model = _read_encoder(run, encoder_name)
    words = read_label_words(run.settings.mappings)
    describe = prepare_describer(model, run.device)
    detectors = _load_detectors(run, dict(crop_names))
    names = dict(shop_names)
    sets: list[LeafSet] = []
    for source in run.read_sources():
        photos, unknown = list_leaf_photos(source, words)
        if unknown:
            shown = ", ".join(f"{word} {count}" for word, count in unknown.most_common(12))
            log.warning("%s: no leaf in %s for: %s", source.labelled.name, words.path, shown)
        drawn = draw_photos(photos, photos_per_kind)
        progress = job.Progress(f"{source.labelled.name}: photos", len(drawn))
        detector = detectors.get(source.labelled.name, detectors[""])
        reader = LeafFeatureReader(describe, detector, run.out / "features")
        sets += _split_shops(source, drawn, reader.read(drawn, progress.update), names)
    if not any(len(one.photos) for one in sets):
        raise layouts.BadDataset(f"no photo whose type means a leaf; words: {words.path}")
    fits = job.Progress("fits", len({one.shop for one in sets}) + 1)
    columns = describe.layout.leaf_columns
    standardizer = leaf_training.Standardizer(
        model.arrays["heads.mean"][columns], model.arrays["heads.scale"][columns]
    )
    trained = leaf_training.train_leaves(sets, words.taxonomy, standardizer, fits.update)
    _write_figures(run.out / "leaves.csv", trained.figures)
    path, sha256 = _write_model(run, model, words, sets, trained)
    print(path, sha256)


def _read_encoder(run: EncoderTrainingRun, name: str) -> Model:
    """Return the likeness encoder whose descriptors are read. Raises BadModel for another."""
    if name == PROMOTED:
        model = registry.resolve_model(run.settings.data_dir, ModelKind.ENCODER).read()
    else:
        model = registry.load_by_name(ModelKind.ENCODER, name)
    if not architectures.is_likeness(model.architecture):
        raise BadModel(
            f"--encoder {name}: {model.version} is of architecture {model.architecture}, "
            f"wanted {likeness_net.ARCHITECTURE}"
        )
    return model


def _load_detectors(run: EncoderTrainingRun, names: dict[str, str]) -> dict[str, detect.Detector]:
    """Return the detector that crops photos without a box, by set; that of all others by ""."""
    loaded: dict[str, detect.Detector] = {}
    for name in {PROMOTED, *names.values()} - ({PROMOTED} if "" in names else set()):
        wanted = None if name == PROMOTED else name
        loaded[name] = detect.load_detector(run.settings.data_dir, wanted, run.device)
    return {folder: loaded[name] for folder, name in {"": PROMOTED, **names}.items()}


def _split_shops(
    source: TrainingSource,
    photos: Sequence[LeafPhoto],
    features: LeafFeatures,
    names: dict[str, str],
) -> list[LeafSet]:
    """Return the photos of each shop of a source with their descriptors."""
    shops = [names.get(shop, shop) for shop in (shop_of(source, one.photo) for one in photos)]
    return [
        LeafSet(shop, photos, features.take([shops[row] == shop for row in features.photo_rows]))
        for shop in sorted(set(shops))
    ]


def _write_figures(path: Path, figures: Sequence[LeafFigures]) -> None:
    """Write leaves.csv, and log each line of it."""
    rows = [one.as_row() for one in figures]
    if not rows:
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for one in figures:
        log.info(
            "%s%s: leaf %.3f, among five %.3f, family %.3f, super-category %.3f, of %d pictures",
            one.shop,
            " left out" if one.is_left_out else "",
            one.top1,
            one.top5,
            one.family,
            one.super_category,
            one.pictures,
        )


def _write_model(
    run: EncoderTrainingRun,
    model: Model,
    words: LabelWords,
    sets: Sequence[LeafSet],
    trained: TrainedLeaves,
) -> tuple[Path, str]:
    """Write the model file; return its path and sha256."""
    card = {
        "data": {
            shop: sum(
                one.photos[row].photo.split == "train"
                for one in sets
                if one.shop == shop
                for row in sorted(set(one.features.photo_rows.tolist()))
            )
            for shop in sorted({one.shop for one in sets})
        },
        DESCRIBER_KEY: hash_describer(model.arrays),
        "encoder": model.version,
        "taxonomy": words.taxonomy.sha256,
        "temperature": round(trained.temperature, 4),
        "figures": [one.as_row() for one in trained.figures],
        "device": run.device,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = registry.model_bytes(
        ModelKind.LEAVES,
        leaf_head.ARCHITECTURE,
        run.version,
        card,
        leaf_head.export_leaf_arrays(trained.head, trained.temperature),
        trained.kinds,
    )
    path = run.out / f"{run.version}.safetensors"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()
