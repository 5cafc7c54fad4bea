"""One evaluation of encoders and detectors: measure them on every set, and write the report."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.catalog.label_words import read_label_words
from wearalike.commands.evaluated_models import (
    EvaluationRun,
    load_detectors,
    load_encoders,
    load_leaf_classifiers,
    load_pipeline_detector,
)
from wearalike.commands.evaluated_sets import EvaluatedSet, expand_set, read_set
from wearalike.detection import detect
from wearalike.evaluation import (
    compare_detectors,
    compare_leaves,
    distances,
    evaluation_book,
    extract,
    ground_truth,
    rank,
    report,
    report_page,
    summary,
    workbook,
)
from wearalike.evaluation import figures as evaluation_figures
from wearalike.evaluation.compare_encoders import (
    EncoderResults,
    EncoderUnderTest,
    compare_encoders,
)
from wearalike.evaluation.compare_leaves import LeavesUnderTest
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.evaluation.descriptors.base import Descriptor
from wearalike.evaluation.detectors import DetectorUnderTest
from wearalike.evaluation.strangers import SetOrigin
from wearalike.evaluation.summary import Origins
from wearalike.evaluation.text_table import format_table
from wearalike.pipeline import job

log = logging.getLogger("wearalike.evaluate_models")


def evaluate_models(run: EvaluationRun) -> None:
    """Evaluate the models on every set, and write the report.

    Args:
        run: the evaluation's options.

    Raises:
        ValueError: two sets have one name, or two different models one version.
    """
    sets = [
        read_set(kind, folder, run.root, strict_labels=run.strict_labels)
        for kind, folder in run.data
    ]
    names = [one.shop for one in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"--data: wanted folders of different names, got {', '.join(names)}")
    encoders = load_encoders(run)
    detectors = load_detectors(run)
    leaf_classifiers = load_leaf_classifiers(run)
    results = EncoderResults()
    detector_results: list[compare_detectors.DetectorEvaluation] = []
    leaf_results: list[compare_detectors.DetectorEvaluation] = []
    origins: dict[tuple[str, str], SetOrigin] = {}
    for one in sets:
        for measured in expand_set(one) if encoders else ():
            results.extend(evaluate_encoders(run, measured, encoders))
            origins |= {
                (measured.labelled.name, descriptor.version): descriptor.trained_on.origin_of(
                    one.kind, one.shop
                )
                for descriptor in encoders
            }
        if detectors:
            scenes = ground_truth.read_ground_truth(one.kind, one.labelled, one.folder, run.split)
            detector_results += evaluate_detectors(run, one.shop, scenes, detectors)
        leaf_results += evaluate_leaf_classifiers(run, one, leaf_classifiers)
    facts = {
        "photos": ", ".join(f"{kind} {folder.name}" for kind, folder in run.data),
        "split": run.split,
        "queries": f"at most {run.max_queries:,} of a set",
        "cropped by": run.crop_with,
    }
    hashes = {d.version: d.sha256 for d in encoders} | {d.version: d.sha256 for d in detectors}
    hashes |= {one.version: one.sha256 for one in leaf_classifiers}
    figures = write_evaluation(
        run.out, results, detector_results, hashes, facts, origins, leaf_results
    )
    if run.book:
        names = evaluation_book.add_evaluation(run.book, run.tab_name, figures)
        log.info("%s: %d evaluations, the last %s", run.book, len(names), names[-1])
    for descriptor in encoders:
        if isinstance(descriptor, Autoencoder) and descriptor.is_fitted:
            descriptor.save(run.out / "autoencoder.safetensors")


def evaluate_encoders(
    run: EvaluationRun, measured: EvaluatedSet, encoders: list[Descriptor]
) -> EncoderResults:
    """Encode a set's photos by every encoder, and measure each.

    Args:
        run: the evaluation's options.
        measured: the set.
        encoders: the encoders.

    Returns:
        The results.

    Raises:
        ValueError: none of the distances suits an encoder.
    """
    labelled = measured.labelled
    query_gallery = rank.split_query_gallery(labelled, run.split, run.max_queries)
    features = run.out / "features"
    log.info(
        "%s: %d queries, %d in the gallery",
        labelled.name,
        len(query_gallery.queries),
        len(query_gallery.gallery),
    )
    crops = extract.DatasetCrops(
        labelled, load_pipeline_detector(run, run.crop_with), features, measured.class_of
    )
    prepared = []
    for descriptor in encoders:
        progress = job.Progress(f"{labelled.name}, {descriptor.version}", len(crops))
        described = extract.extract_features(
            crops, descriptor, query_gallery.gallery, features, progress.update
        )
        suitable = [
            distance
            for distance in run.distances or descriptor.distances
            if distances.is_suitable_distance(distance, described.rows, described.floats)
        ]
        if not suitable:
            raise ValueError(
                f"--distance {', '.join(run.distances)}: none of them is for {descriptor.version}"
            )
        prepared.append(EncoderUnderTest(descriptor.version, described, suitable))
    return compare_encoders(query_gallery, prepared, list(run.k), picture_ids=crops.picture_ids)


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


def evaluate_leaf_classifiers(
    run: EvaluationRun, one: EvaluatedSet, classifiers: list[LeavesUnderTest]
) -> list[compare_detectors.DetectorEvaluation]:
    """Evaluate every leaf classifier on a set's photos.

    Args:
        run: the evaluation's options.
        one: the set.
        classifiers: the classifiers.

    Returns:
        One evaluation a classifier.
    """
    if not classifiers:
        return []
    words = read_label_words(run.mappings)
    crops = extract.DatasetCrops(
        one.labelled,
        load_pipeline_detector(run, run.crop_with),
        run.out / "features",
        one.class_of,
    )
    return [
        compare_leaves.evaluate_leaves(
            one.shop,
            run.split,
            crops,
            classifier,
            words,
            job.Progress(f"{one.shop}, {classifier.version}", len(crops)).update,
        )
        for classifier in classifiers
    ]


def write_evaluation(
    out: Path,
    results: EncoderResults,
    detector_results: list[compare_detectors.DetectorEvaluation],
    model_hashes: dict[str, str | None],
    facts: dict[str, str],
    origins: Origins,
    leaf_results: Sequence[compare_detectors.DetectorEvaluation] = (),
) -> list[dict[str, Any]]:
    """Write the whole evaluation into a folder, and return its figures.

    Args:
        out: the folder.
        results: the encoders' results.
        detector_results: the detectors' results on each set in turn, the baseline first.
        model_hashes: sha256 by version; None for a model without a file.
        facts: shown at the head of the page.
        origins: what each set is to each encoder, by dataset and version.
        leaf_results: the leaf classifiers' results on each set in turn, the baseline first.
    """
    out.mkdir(parents=True, exist_ok=True)
    pairs = [
        *compare_detectors.pair_with_reference(detector_results),
        *compare_detectors.pair_with_reference(leaf_results),
    ]
    versions = [compare_detectors.version_comparison(one, former) for one, former in pairs]
    tables = summary.build_summary(results.rows, origins)
    page = dataclasses.replace(
        report.build_report("How good the models are", results, facts),
        versions=versions,
        summary=tables,
    )
    figures = evaluation_figures.retrieval_figures(results.rows)
    rows = list(results.rows)
    for one in (*detector_results, *leaf_results):
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
    queries = [*results.queries, *(one.queries for one, _ in pairs)]
    pq.write_table(pa.concat_tables(queries), out / "queries.parquet")
    evaluation_figures.write_parquet(out / "evaluation.parquet", figures)
    workbook.write_workbook(out / "evaluation.xlsx", figures)
    report_page.write_html(out, page)
    (out / "summary.md").write_text(summary.format_markdown(tables), encoding="utf-8")
    print(format_table(rows))
    print(summary.format_markdown(tables))
    return figures
