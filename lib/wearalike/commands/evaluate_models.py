"""`wearalike evaluate`: measure encoders and detectors on labelled photos, in one table."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.commands.groups import command
from wearalike.commands.options import (
    PATH,
    ParsedText,
    device_option,
    parse_kind_and_folder,
    parse_name_and_file,
    settings_options,
)
from wearalike.datasets import labelled_photos, layouts
from wearalike.detection import detect
from wearalike.detection.classes import GarmentClass, UnknownLabel
from wearalike.evaluation import compare_detectors, extract, ground_truth, rank, report, workbook
from wearalike.evaluation import figures as evaluation_figures
from wearalike.evaluation.compare_encoders import (
    EncoderResults,
    EncoderUnderTest,
    compare_encoders,
    format_table,
)
from wearalike.evaluation.descriptors import base
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.evaluation.descriptors.base import Descriptor
from wearalike.evaluation.detectors import (
    ClassAgnosticDetectorAdapter,
    DetectorUnderTest,
    GarmentDetectorAdapter,
)
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import job
from wearalike.training.detector.dataset import CLASS_LOOKUP_BY_KIND

log = logging.getLogger("wearalike.evaluate_models")
DEFAULT_ENCODERS = (registry.DEFAULT_ENCODER, "efficientnet-lite0", "hsv", "contour", "phash")
PROMOTED = "promoted"
MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """One evaluation, as the command's options describe it.

    Attributes:
        data: kind and folder of each set of labelled photos.
        out: folder of the report.
        encoders: names of the encoders.
        detectors: names of the detectors.
        distances: names of distances; empty: each encoder's own.
        split: the split whose photos are the queries, or "all".
        baseline: the encoder that the others are compared with; None: the first.
        k: list lengths to measure at.
        crop_with: name of the detector that crops photos without a box.
        weights: files of networks that torch's cache lacks, by encoder.
        device: cpu or cuda.
        root: folder of all tables, where the promoted models lie.
    """

    data: tuple[tuple[str, Path], ...]
    out: Path
    encoders: tuple[str, ...]
    detectors: tuple[str, ...]
    distances: tuple[str, ...]
    split: str
    baseline: str | None
    k: tuple[int, ...]
    crop_with: str
    weights: tuple[tuple[str, Path], ...]
    device: str
    root: Path

    def check(self) -> None:
        """Raise ValueError for options that do not fit together."""
        names = " ".join(self.encoders)
        if self.baseline and self.baseline not in self.encoders:
            raise ValueError(f"--baseline {self.baseline}: not among --encoder {names}")
        unknown = sorted({name for name, _ in self.weights} - set(self.encoders))
        if unknown:
            raise ValueError(f"--weights {unknown[0]}: not among --encoder {names}")
        if min(self.k) < 1:
            raise ValueError(f"--k {min(self.k)}: wanted 1 or more")


@command("evaluate")
@click.option(
    "--data",
    type=ParsedText("KIND=FOLDER", parse_kind_and_folder(layouts.DATASET_KINDS)),
    multiple=True,
    required=True,
    help=f"Labelled photos; may be repeated. KIND: {', '.join(layouts.DATASET_KINDS)}.",
)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder of the report.")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME",
    help=f"May be repeated: {PROMOTED} (used by runs now), a model file, or one of "
    f"{', '.join(base.descriptor_names())}; default, without --detector: "
    f"{' '.join(DEFAULT_ENCODERS)}.",
)
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="NAME",
    help=f"May be repeated: {PROMOTED}, a model file, or one of "
    f"{', '.join(detect.WEIGHT_FREE_DETECTORS)}.",
)
@click.option(
    "--distance",
    "distances",
    multiple=True,
    metavar="NAME",
    help='May be repeated, e.g. cosine, "hamming 8:2"; default: each encoder\'s own.',
)
@click.option(
    "--split",
    type=click.Choice([*labelled_photos.SPLITS, "all"]),
    default="test",
    show_default=True,
    help="Photos that are the queries.",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Encoder that the others are compared with; default: the first.",
)
@click.option(
    "--k",
    type=int,
    multiple=True,
    default=(10,),
    show_default=True,
    help="Length of lists; may be repeated.",
)
@click.option(
    "--crop-with",
    default=PROMOTED,
    show_default=True,
    metavar="NAME",
    help="Detector that crops photos without a box, named as for --detector.",
)
@click.option(
    "--weights",
    type=ParsedText("NAME=FILE", parse_name_and_file),
    multiple=True,
    help="Weights of a network, where torch's cache has none; may be repeated.",
)
@device_option
@settings_options
def evaluate(device: str, data_dir: Path | None, config: Path | None, **options: Any) -> None:
    """Measure encoders and detectors on labelled photos.

    Encoders: the photos of --split are the queries, those of the other splits the gallery. With
    --split all, or where there is no other split, every photo is a query against all others.
    Photos are cropped as a run crops them: by the box they are labelled with, else by --crop-with.

    Detectors are measured by boxes, where photos have boxes or masks. Otherwise the detected item
    must be of the super-category that the photo's `type` belongs to.

    DIR gets evaluation.html, .xlsx, .parquet and .json (one row a metric, with its 95 % interval),
    and differences.json (paired). queries.parquet and models.json are for `wearalike promote`;
    features/ makes a second evaluation quick.
    """
    if not options["encoders"] and not options["detectors"]:
        options["encoders"] = DEFAULT_ENCODERS
    run = EvaluationRun(
        **options,
        device=registry.resolve_device(device),
        root=job.read_settings(config, data_dir).data_dir,
    )
    run.check()
    evaluate_models(run)


def evaluate_models(run: EvaluationRun) -> None:
    """Evaluate the models on every set, and write the report.

    Args:
        run: the evaluation's options.

    Raises:
        ValueError: two sets have one name, or two different models one version.
    """
    sets = [(kind, labelled_photos.read_dataset(kind, folder), folder) for kind, folder in run.data]
    names = [labelled.name for _, labelled, _ in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"--data: wanted folders of different names, got {', '.join(names)}")
    encoders = load_encoders(run)
    detectors = load_detectors(run)
    results = EncoderResults()
    detector_results: list[compare_detectors.DetectorEvaluation] = []
    for kind, labelled, folder in sets:
        if encoders:
            split = rank.split_query_gallery(labelled, run.split)
            contestants = prepare_encoders(run, kind, split, encoders)
            results.extend(compare_encoders(split, contestants, list(run.k)))
        if detectors:
            scenes = ground_truth.read_ground_truth(kind, labelled, folder, run.split)
            detector_results += evaluate_detectors(run, labelled.name, scenes, detectors)
    facts = {
        "photos": ", ".join(f"{kind} {folder.name}" for kind, folder in run.data),
        "split": run.split,
        "cropped by": run.crop_with,
    }
    hashes = {d.version: d.sha256 for d in encoders} | {d.version: d.sha256 for d in detectors}
    write_evaluation(run.out, results, detector_results, hashes, facts)
    for descriptor in encoders:
        if isinstance(descriptor, Autoencoder) and descriptor.is_fitted:
            descriptor.save(run.out / "autoencoder.safetensors")


def load_encoders(run: EvaluationRun) -> list[Descriptor]:
    """Return the encoders, the baseline first.

    Args:
        run: the evaluation's options.

    Returns:
        Each encoder once.

    Raises:
        ValueError: two different models have one version.
    """
    names = list(dict.fromkeys([*([run.baseline] if run.baseline else []), *run.encoders]))
    weights = dict(run.weights)
    loaded = []
    for name in names:
        source = name
        if name == PROMOTED:
            source = str(registry.resolve_model(run.root, ModelKind.ENCODER).path)
        loaded.append(base.load_descriptor(source, run.device, weights.get(source)))
    return unique_models(loaded)


def load_detectors(run: EvaluationRun) -> list[DetectorUnderTest]:
    """Return the detectors, each once.

    Args:
        run: the evaluation's options.

    Returns:
        The detectors, in the order of the options.

    Raises:
        ValueError: two different models have one version.
    """
    return unique_models([load_detector(run, name) for name in dict.fromkeys(run.detectors)])


def load_detector(run: EvaluationRun, name: str) -> DetectorUnderTest:
    """Return a detector as the evaluation uses it.

    Args:
        run: the evaluation's options.
        name: promoted, a model file, or a detector's name.

    Returns:
        The detector.
    """
    pipeline_detector = load_pipeline_detector(run, name)
    if not isinstance(pipeline_detector, detect.NetworkDetector):
        return ClassAgnosticDetectorAdapter(pipeline_detector)
    path = Path(name)
    if not name.endswith(MODEL_SUFFIX):
        path = registry.resolve_model(run.root, ModelKind.DETECTOR, _explicit_name(name)).path
    return GarmentDetectorAdapter(registry.read_model(path), run.device)


def load_pipeline_detector(run: EvaluationRun, name: str) -> detect.Detector:
    """Return a detector as a run uses it.

    Args:
        run: the evaluation's options.
        name: promoted, a model file, or a detector's name.

    Returns:
        The detector.
    """
    if name.endswith(MODEL_SUFFIX):
        return detect.NetworkDetector(registry.read_model(Path(name)), run.device)
    return detect.load_detector(run.root, _explicit_name(name), run.device)


def _explicit_name(name: str) -> str | None:
    """Return None for the promoted model, else the name."""
    return None if name == PROMOTED else name


def unique_models(loaded: Sequence[Any]) -> list[Any]:
    """Return each model once.

    Args:
        loaded: models with version and sha256.

    Returns:
        The models, the first of each version.

    Raises:
        ValueError: two different models have one version.
    """
    by_version: dict[str, Any] = {}
    for model in loaded:
        first = by_version.setdefault(model.version, model)
        if first.sha256 != model.sha256:
            raise ValueError(
                f"two models of version {model.version}, "
                f"of sha256 {first.sha256} and {model.sha256}"
            )
    return list(by_version.values())


def prepare_encoders(
    run: EvaluationRun,
    kind: str,
    query_gallery: rank.QueryGallerySplit,
    encoders: list[Descriptor],
) -> list[EncoderUnderTest]:
    """Encode a set's photos by every encoder.

    Args:
        run: the evaluation's options.
        kind: the set's kind.
        query_gallery: the set, split into queries and gallery.
        encoders: the encoders.

    Returns:
        Every encoder with its features and distances.

    Raises:
        ValueError: none of the distances suits an encoder.
    """

    def class_of(label: str) -> GarmentClass | None:
        try:
            return CLASS_LOOKUP_BY_KIND[kind](label)
        except UnknownLabel:
            # The label is no garment of ours, so any item will do.
            return None

    features = run.out / "features"
    log.info(
        "%s: %d queries, %d in the gallery",
        query_gallery.labelled.name,
        len(query_gallery.queries),
        len(query_gallery.gallery),
    )
    crops = extract.DatasetCrops(
        query_gallery.labelled, load_pipeline_detector(run, run.crop_with), features, class_of
    )
    prepared = []
    for descriptor in encoders:
        progress = job.Progress(f"{query_gallery.labelled.name}, {descriptor.version}", len(crops))
        described = extract.extract_features(
            crops, descriptor, query_gallery.gallery, features, progress.update
        )
        distances = [
            distance
            for distance in run.distances or descriptor.distances
            if rank.is_suitable_distance(distance, described.rows)
        ]
        if not distances:
            raise ValueError(
                f"--distance {', '.join(run.distances)}: none of them is for {descriptor.version}"
            )
        prepared.append(EncoderUnderTest(descriptor.version, described, distances))
    return prepared


def evaluate_detectors(
    run: EvaluationRun,
    dataset: str,
    scenes: list[ground_truth.GroundTruthPhoto],
    detectors: list[DetectorUnderTest],
) -> list[compare_detectors.DetectorEvaluation]:
    """Evaluate every detector on a set's photos.

    Args:
        run: the evaluation's options.
        dataset: the set's name.
        scenes: its photos with their ground truth.
        detectors: the detectors.

    Returns:
        One evaluation a detector.
    """
    evaluations = []
    for detector in detectors:
        progress = job.Progress(f"{dataset}, {detector.version}", len(scenes))
        evaluations.append(
            compare_detectors.evaluate_detector(
                dataset, run.split, scenes, detector, detect.MIN_CONFIDENCE, progress.update
            )
        )
    return evaluations


def write_evaluation(
    out: Path,
    results: EncoderResults,
    detector_results: list[compare_detectors.DetectorEvaluation],
    model_hashes: dict[str, str | None],
    facts: dict[str, str],
) -> None:
    """Write the whole evaluation into a folder.

    Args:
        out: the folder.
        results: the encoders' results.
        detector_results: the detectors' results on each set in turn, the baseline first.
        model_hashes: sha256 by version; None for a model without a file.
        facts: shown at the head of the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    pairs = compare_detectors.pair_with_reference(detector_results)
    versions = [compare_detectors.version_comparison(one, former) for one, former in pairs]
    page = dataclasses.replace(
        report.build_report("How good the models are", results, facts), versions=versions
    )
    figures = evaluation_figures.retrieval_figures(results.rows)
    rows = list(results.rows)
    for one in detector_results:
        figures += evaluation_figures.category_figures(
            one.kind, one.version, one.dataset, one.split, one.metrics
        )
        rows += one.rows
    differences = list(results.differences)
    for one, former in pairs:
        if former:
            differences += compare_detectors.paired_differences(one, former)
    contents = {"evaluation": rows, "differences": differences, "models": model_hashes}
    for name, content in contents.items():
        (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    queries = [*results.queries, *(one.queries for one in detector_results)]
    pq.write_table(pa.concat_tables(queries), out / "queries.parquet")
    evaluation_figures.write_parquet(out / "evaluation.parquet", figures)
    workbook.write_workbook(out / "evaluation.xlsx", figures)
    report.write_html(out, page)
    print(format_table(rows))
