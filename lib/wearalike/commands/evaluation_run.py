"""One evaluation of encoders and detectors: measure them on every set, and write the report."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.commands.evaluated_models import (
    EvaluationRun,
    load_detectors,
    load_encoders,
    load_pipeline_detector,
)
from wearalike.datasets import labelled_photos
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
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.evaluation.descriptors.base import Descriptor
from wearalike.evaluation.detectors import (
    DetectorUnderTest,
)
from wearalike.pipeline import job
from wearalike.training.detector.dataset import CLASS_LOOKUP_BY_KIND

log = logging.getLogger("wearalike.evaluate_models")


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
