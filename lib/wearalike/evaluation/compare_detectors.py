"""Compare detectors on labelled photos: metrics of boxes or of classes, and every photo's values.

Where boxes are known, from masks or drawn, the detector has to find them. If a photo only says what
is on it, the detector has to name its super-category. The best box decides, best by confidence and
size as in the nightly run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.detection.classes import GARMENT_CLASS_BY_NAME
from wearalike.evaluation.detectors import UNNAMED_CLASS, DetectorUnderTest, PhotoDetections
from wearalike.evaluation.extract import read_pixels
from wearalike.evaluation.ground_truth import GroundTruthPhoto
from wearalike.evaluation.report import VersionComparison
from wearalike.evaluation.results import SPEED_MEASURE, ResultRow, result_row
from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean
from wearalike.metrics.boxes import confidence_size_score
from wearalike.metrics.categories import CategoryMetrics, compare_categories, ratio_or_nan
from wearalike.metrics.classification import ClassifierMetrics, compute_classifier_metrics
from wearalike.metrics.detection import Boxes, compute_detection_metrics
from wearalike.models.promotion_decision import QUERIES_SCHEMA
from wearalike.tables import SuperCategory

# Categories with fewer examples have an AP of their own, but do not count in that of all.
MIN_TRUTHS = 20
# Score of UNNAMED_CLASS where nothing is detected: below that of any box.
_NOTHING_DETECTED_SCORE = 1e-9
# Measure of photos without boxes: 1 if the best box has the right super-category, else 0.
_SUPER_CATEGORY_MEASURE = "super-category"
_CLASSIFIER_COLUMNS = ("tpr", "fpr", "precision")
_DETECTOR_COLUMNS = ("ap50", "map50_95", *_CLASSIFIER_COLUMNS)


@dataclass(frozen=True, slots=True)
class DetectorEvaluation:
    """Results of one detector on one dataset.

    Attributes:
        kind: "detector", or "classifier" where no boxes are known.
        dataset: Name of the labelled set.
        split: Its split.
        version: Version of the detector.
        metrics: ALL first, then each category.
        classifier: Metrics as a classifier; None for kind "detector".
        rows: Rows of evaluation.json.
        values: float64 (photos,) by measure.
        queries: The same as a table of QUERIES_SCHEMA.
    """

    kind: str
    dataset: str
    split: str
    version: str
    metrics: list[CategoryMetrics]
    classifier: ClassifierMetrics | None
    rows: list[ResultRow]
    values: dict[str, NDArray[np.float64]]
    queries: pa.Table


def evaluate_detector(
    dataset: str,
    split: str,
    photos: Sequence[GroundTruthPhoto],
    detector: DetectorUnderTest,
    confidence: float,
    on_photo: Callable[[int], None] = lambda n: None,
) -> DetectorEvaluation:
    """Run a detector over all photos and measure it.

    Args:
        dataset: Name of the labelled set.
        split: Its split.
        photos: The photos and the garments on them.
        detector: The detector.
        confidence: Boxes below it are not used by the nightly run and count in the APs only.
        on_photo: Called after each photo with 1.

    Returns:
        The results.

    Raises:
        ValueError: A photo cannot be read.
    """
    detections: list[PhotoDetections] = []
    seconds: list[float] = []
    for truth in photos:
        image = read_pixels(truth.photo)
        started = time.perf_counter()
        detections.append(detector.detect(image))
        seconds.append(time.perf_counter() - started)
        on_photo(1)
    ids = [truth.photo.path.name for truth in photos]
    classifier = None
    if all(truth.corners is not None for truth in photos):
        truth_boxes = _boxes_of_truths(ids, photos)
        boxes = Boxes.from_rows(_box_rows(ids, detections))
        metrics = compute_detection_metrics(
            truth_boxes, boxes, ids, confidence, min_truths_count=MIN_TRUTHS
        )
        values = _values_by_photo(truth_boxes, boxes, ids, confidence)
    else:
        classifier, is_right = _classify_photos(photos, detections)
        metrics = list(classifier.rows)
        values = {_SUPER_CATEGORY_MEASURE: is_right}
    estimates = {name: bootstrap_mean(value) for name, value in values.items()}
    estimates[SPEED_MEASURE] = _images_per_second(np.array(seconds))
    return DetectorEvaluation(
        kind="classifier" if classifier else "detector",
        dataset=dataset,
        split=split,
        version=detector.version,
        metrics=metrics,
        classifier=classifier,
        rows=[
            result_row(dataset, split, detector.version, "", name, None, estimate)
            for name, estimate in estimates.items()
        ],
        values=values,
        queries=build_queries_table(dataset, split, detector.version, ids, values),
    )


def paired_differences(
    evaluation: DetectorEvaluation, reference: DetectorEvaluation
) -> list[ResultRow]:
    """Return by how much a detector exceeds another on the same photos.

    Args:
        evaluation: Results of the detector.
        reference: Results of the other one.

    Returns:
        Rows as of compare_encoders.EncoderResults.differences.
    """
    against = {"reference": reference.version, "reference_distance": ""}
    rows = []
    for name, values in evaluation.values.items():
        gain = bootstrap_difference(values, reference.values[name])
        row = result_row(
            evaluation.dataset, evaluation.split, evaluation.version, "", name, None, gain
        )
        rows.append(row | against)
    return rows


def pair_with_reference(
    evaluations: Sequence[DetectorEvaluation],
) -> list[tuple[DetectorEvaluation, DetectorEvaluation | None]]:
    """Pair each result with that of the first detector on the same dataset.

    Args:
        evaluations: Results of all detectors on all datasets.

    Returns:
        (result, reference) each; None as the reference of the first detector itself.
    """
    first_by_dataset: dict[str, DetectorEvaluation] = {}
    pairs: list[tuple[DetectorEvaluation, DetectorEvaluation | None]] = []
    for evaluation in evaluations:
        first = first_by_dataset.setdefault(evaluation.dataset, evaluation)
        pairs.append((evaluation, None if first is evaluation else first))
    return pairs


def version_comparison(
    evaluation: DetectorEvaluation, reference: DetectorEvaluation | None
) -> VersionComparison:
    """Return a detector's results for the report, beside those of the reference.

    Args:
        evaluation: Results of the detector.
        reference: Results of the reference, if there is one.

    Returns:
        The comparison.
    """
    columns = _CLASSIFIER_COLUMNS if evaluation.classifier else _DETECTOR_COLUMNS
    reference_metrics = reference.metrics if reference else ()
    return VersionComparison(
        kind=evaluation.kind,
        dataset=evaluation.dataset,
        split=evaluation.split,
        this=evaluation.version,
        last=reference.version if reference else None,
        rows=compare_categories(evaluation.metrics, reference_metrics, columns[0]),
        measures=columns,
        classifier=evaluation.classifier,
        former=reference.classifier if reference else None,
    )


def _boxes_of_truths(ids: Sequence[str], photos: Sequence[GroundTruthPhoto]) -> Boxes:
    """Return the ground-truth boxes of photos whose boxes are known."""
    sure = [
        PhotoDetections(truth.corners, list(truth.classes), np.ones(len(truth.classes)))
        for truth in photos
        if truth.corners is not None
    ]
    return Boxes.from_rows(_box_rows(ids, sure))


def _box_rows(
    ids: Sequence[str], detections: Sequence[PhotoDetections]
) -> Iterator[tuple[str, str, Sequence[float], float]]:
    """Yield a row a box, as Boxes.from_rows takes them."""
    for image_id, of_photo in zip(ids, detections, strict=True):
        for name, corners, confidence in zip(
            of_photo.classes,
            of_photo.corners.tolist(),
            of_photo.confidences.tolist(),
            strict=True,
        ):
            yield image_id, name, corners, confidence


def _classify_photos(
    photos: Sequence[GroundTruthPhoto], detections: Sequence[PhotoDetections]
) -> tuple[ClassifierMetrics, NDArray[np.float64]]:
    """Return the metrics of the best boxes' super-categories, and 1 or 0 a photo if it is right."""
    names = [str(name) for name in (*SuperCategory, UNNAMED_CLASS)]
    truths = [_super_category(truth.classes[0]) for truth in photos]
    scores = np.zeros((len(photos), len(names)))
    scores[:, names.index(UNNAMED_CLASS)] = _NOTHING_DETECTED_SCORE
    for row, of_photo in zip(scores, detections, strict=True):
        box_scores = confidence_size_score(of_photo.corners, of_photo.confidences)
        for name, score in zip(of_photo.classes, box_scores.tolist(), strict=True):
            column = names.index(_super_category(name))
            row[column] = max(row[column], score)
    guesses = [names[best] for best in scores.argmax(axis=1).tolist()]
    is_right = np.array([g == t for g, t in zip(guesses, truths, strict=True)], np.float64)
    return compute_classifier_metrics(truths, scores, names), is_right


def _super_category(class_name: str) -> str:
    """Return the super-category of a class; UNNAMED_CLASS is its own."""
    if class_name == UNNAMED_CLASS:
        return UNNAMED_CLASS
    return str(GARMENT_CLASS_BY_NAME[class_name].super_category)


def _values_by_photo(
    truths: Boxes, detections: Boxes, ids: Sequence[str], confidence: float
) -> dict[str, NDArray[np.float64]]:
    """Return f1 and tpr of every photo, at the confidence used.

    f1 = 2 TP / (2 TP + FP + FN), and 1 where nothing is there and nothing was found.
    tpr = TP / (TP + FN), and NaN without truths, so that the photos with a value do not depend on
    the detector.
    """
    f1 = np.full(len(ids), np.nan)
    tpr = np.full(len(ids), np.nan)
    for i, image_id in enumerate(ids):
        counts = compute_detection_metrics(
            truths.take(truths.image_ids == image_id),
            detections.take(detections.image_ids == image_id),
            [image_id],
            confidence,
        )[0]
        boxes_count = 2 * counts.tp + counts.fp + counts.fn
        f1[i] = 2 * counts.tp / boxes_count if boxes_count else 1.0
        tpr[i] = ratio_or_nan(counts.tp, counts.tp + counts.fn)
    return {"f1": f1, "tpr": tpr}


def _images_per_second(seconds: NDArray[np.float64]) -> BootstrapEstimate:
    """Return the speed of seconds a photo, with its interval."""
    mean = bootstrap_mean(seconds)
    return BootstrapEstimate(1 / mean.value, 1 / mean.high, 1 / mean.low, mean.queries)


def build_queries_table(
    dataset: str,
    split: str,
    version: str,
    ids: Sequence[str],
    values: Mapping[str, NDArray[np.float64]],
) -> pa.Table:
    """Return the values of every photo as a table of QUERIES_SCHEMA.

    Args:
        dataset: Name of the labelled set.
        split: Its split.
        version: Version of the model.
        ids: Names of the photos.
        values: float64 (photos,) by measure.
    """
    count = len(ids) * len(values)
    columns = [
        *(pa.repeat(constant, count) for constant in (dataset, split, version, "")),
        pa.array([measure for measure in values for _ in ids]),
        pa.repeat(pa.scalar(0, pa.int32()), count),
        pa.array([*ids] * len(values)),
        pa.array(np.concatenate(list(values.values()))),
    ]
    return pa.table(columns, QUERIES_SCHEMA)
