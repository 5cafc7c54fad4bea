"""Detectors over labelled photos: what each sees, its measures, and every photo's values.

Where boxes are known, by masks or drawn, these are what is to be found. Of a photo that only says what is on it, the kind of item
that is looked at for it is: the best box's super-category, best by confidence and size as the night chooses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.datasets.layouts import DATASET_LAYOUTS
from wearalike.detection import classes as detection_classes
from wearalike.detection import detect
from wearalike.detection.networks import base
from wearalike.detection.networks.base import Detections
from wearalike.evaluation.rank import SPEED_MEASURE, ResultRow
from wearalike.evaluation.report import VersionComparison
from wearalike.imaging import decode
from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean
from wearalike.metrics.boxes import confidence_size_score
from wearalike.metrics.categories import CategoryMetrics, compare_categories
from wearalike.metrics.classification import ClassifierMetrics, compute_classifier_metrics
from wearalike.metrics.detection import Boxes, compute_detection_metrics
from wearalike.models.files import Model
from wearalike.models.promotion import QUERIES_SCHEMA
from wearalike.tables import SuperCategory
from wearalike.training.detector import scenes as detector_scenes
from wearalike.training.detector.dataset import CLASS_LOOKUP_BY_KIND

# Boxes are asked for down to this confidence: average precision looks at all of them.
MIN_CONFIDENCE = 0.01
# Categories of fewer examples have an AP of their own, but no part in that of all.
MIN_TRUTHS = 20
# Of a detector that does not say what it sees, so that it is right about nothing.
UNNAMED_CLASS = "unnamed"
PhotoDetections = tuple[NDArray[np.float64], list[str], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class GroundTruthPhoto:
    """A photo and what is in it: classes, names in classes.CLASS_NAMES, and of each its box, float64 (n, 4), x0 y0 x1 y1 in px; None
    where nobody knows the boxes, and there is one class."""

    photo: LabelledPhoto
    classes: tuple[str, ...]
    corners: NDArray[np.float64] | None


def read_ground_truth(
    kind: str, labelled: LabelledDataset, folder: Path, split: str
) -> list[GroundTruthPhoto]:
    """The photos of one split, or of "all", each once. kind, folder: of the set. Raises classes.UnknownLabel for a class nobody has
    thought of, ValueError where there is no photo."""
    found: dict[Path, list[LabelledPhoto]] = {}
    for photo in labelled.photos:
        if split in ("all", photo.split):
            found.setdefault(photo.path, []).append(photo)
    masks, class_of = (
        DATASET_LAYOUTS[kind].mask_template if kind in DATASET_LAYOUTS else None,
        CLASS_LOOKUP_BY_KIND[kind],
    )
    if masks is not None:
        words = (folder / "labels.txt").read_text(encoding="utf-8").split()
        names = [garment.name if garment else None for garment in map(class_of, words)]
        paths = {path: folder / masks.format(path.stem) for path in found}
        made = [
            _ground_truth_from_mask(photos[0], paths[path], names)
            for path, photos in found.items()
            if paths[path].is_file()
        ]
    else:
        made = list(
            filter(None, (_ground_truth_from_labels(photos, class_of) for photos in found.values()))
        )
    if not made:
        raise ValueError(f"{labelled.name}: no photo of split {split} says what garment is on it")
    return made


def _ground_truth_from_mask(
    photo: LabelledPhoto, path: Path, names: Sequence[str | None]
) -> GroundTruthPhoto:
    seen = detector_scenes.scene_from_mask(
        read_pixels(photo), decode.decode_mask(path.read_bytes()), names
    )
    corners = detector_scenes.instance_boxes(seen.instance_map, len(seen.classes))
    return GroundTruthPhoto(
        photo, tuple(detection_classes.CLASS_NAMES[c] for c in seen.classes.tolist()), corners
    )


def _ground_truth_from_labels(
    photos: Sequence[LabelledPhoto],
    class_of: Callable[[str], detection_classes.GarmentClass | None],
) -> GroundTruthPhoto | None:
    """None where the label is one to ignore, or there is none."""
    known = [
        (photo, garment)
        for photo in photos
        if "type" in photo.labels and (garment := class_of(photo.labels["type"]))
    ]
    if not known:
        return None
    boxes = [photo.box for photo, _ in known if photo.box]
    corners = np.array(boxes, np.float64) if len(boxes) == len(known) else None
    return GroundTruthPhoto(photos[0], tuple(garment.name for _, garment in known), corners)


class DetectorUnderTest(Protocol):
    version: str
    sha256: str | None

    def detect(self, picture: NDArray[np.uint8]) -> PhotoDetections:
        """Corners, float64 (n, 4) in px, classes and confidences, float64 (n,), of what is in a picture, uint8 (h, w, 3)."""
        ...


class GarmentDetectorAdapter:
    """A trained detector, which says what garment each box is."""

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """device: "cpu" or "cuda". Raises BadModel."""
        self.version, self._classes = model.version, model.classes
        self.sha256: str | None = model.sha256
        self._network = base.load_detection_network(model, device)
        self._groups = np.array(
            [
                int(detection_classes.CLASS_GROUPS[detection_classes.CLASS_NAMES.index(name)])
                for name in model.classes
            ]
        )

    def detect(self, picture: NDArray[np.uint8]) -> PhotoDetections:
        found: Detections
        (found,) = base.detect_garments(self._network, [picture], MIN_CONFIDENCE, self._groups)
        return found.boxes, [self._classes[c] for c in found.classes.tolist()], found.confidences


class ClassAgnosticDetectorAdapter:
    """A detector of the night that needs no weights and says only where something is."""

    def __init__(self, detector: detect.Detector) -> None:
        self.version, self._detector = detector.version, detector
        self.sha256: str | None = None

    def detect(self, picture: NDArray[np.uint8]) -> PhotoDetections:
        (boxes,) = self._detector.detect([picture])
        corners = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.float64).reshape(-1, 4)
        return corners, [UNNAMED_CLASS] * len(boxes), np.array([b.confidence for b in boxes])


@dataclass(frozen=True, slots=True)
class DetectorEvaluation:
    """What a detector makes of scenes. kind: detector, or classifier where no boxes were known. rows: of evaluation.json. measures:
    ALL first, then each category. values: of every scene, by measure. queries: the same as a table of compare_encoders.QUERIES_SCHEMA."""

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
    """Looks at every scene and measures. confidence: boxes less sure are not used by the night, but count in the APs. tell: called
    after each with 1."""
    found, seconds = [], []
    for scene in photos:
        picture = read_pixels(scene.photo)
        start = time.perf_counter()
        found.append(detector.detect(picture))
        seconds.append(time.perf_counter() - start)
        on_photo(1)
    ids = [scene.photo.path.name for scene in photos]
    classifier = None
    if all(scene.corners is not None for scene in photos):
        truths = Boxes.from_rows(
            _box_rows(ids, [(s.corners, s.classes, np.ones(len(s.classes))) for s in photos])
        )
        boxes = Boxes.from_rows(_box_rows(ids, found))
        measures = compute_detection_metrics(
            truths, boxes, ids, confidence, min_truths_count=MIN_TRUTHS
        )
        values = _values_by_photo(truths, boxes, ids, confidence)
    else:
        classifier, right = _classify_photos(photos, found)
        measures, values = list(classifier.rows), {"super-category": right}
    place = {"dataset": dataset, "split": split, "encoder": detector.version, "distance": ""}
    estimates = {name: bootstrap_mean(value) for name, value in values.items()} | {
        SPEED_MEASURE: _images_per_second(np.array(seconds))
    }
    rows = [_result_row(place, name, estimate) for name, estimate in estimates.items()]
    kind = "classifier" if classifier else "detector"
    return DetectorEvaluation(
        kind,
        dataset,
        split,
        detector.version,
        measures,
        classifier,
        rows,
        values,
        _queries_table(place, ids, values),
    )


def _box_rows(
    ids: Sequence[str], detections: Sequence[Any]
) -> Iterator[tuple[str, str, Sequence[float], float]]:
    """One row a box, as Boxes.from_rows takes them."""
    for image_id, (corners, classes, confidences) in zip(ids, detections, strict=True):
        for name, corner, confidence in zip(
            classes, corners.tolist(), confidences.tolist(), strict=True
        ):
            yield image_id, name, corner, confidence


def _classify_photos(
    photos: Sequence[GroundTruthPhoto], detections: Sequence[PhotoDetections]
) -> tuple[ClassifierMetrics, NDArray[np.float64]]:
    """Which super-category the best box is of, and whether that is right, float64 (n,)."""
    names = [*SuperCategory, UNNAMED_CLASS]
    truths = [
        str(detection_classes.GARMENT_CLASS_BY_NAME[scene.classes[0]].super_category)
        for scene in photos
    ]
    scores = np.zeros((len(photos), len(names)))
    # Where nothing is seen, that is the answer.
    scores[:, -1] = 1e-9
    for row, (corners, classes, confidences) in zip(scores, detections, strict=True):
        scored = confidence_size_score(corners, confidences)
        for name, value in zip(classes, scored.tolist(), strict=True):
            column = (
                names.index(detection_classes.GARMENT_CLASS_BY_NAME[name].super_category)
                if name != UNNAMED_CLASS
                else len(names) - 1
            )
            row[column] = max(row[column], value)
    right = np.array(
        [
            names[best] == truth
            for best, truth in zip(scores.argmax(axis=1).tolist(), truths, strict=True)
        ],
        np.float64,
    )
    return compute_classifier_metrics(truths, scores, [str(name) for name in names]), right


def read_pixels(photo: LabelledPhoto) -> NDArray[np.uint8]:
    """A photo's pixels, uint8 (h, w, 3). Raises ValueError, naming it, where it has none."""
    try:
        return decode.decode_image(photo.path.read_bytes())
    except decode.BadPixels as error:
        raise ValueError(f"{photo.path}: {error}") from error


def paired_differences(
    evaluation: DetectorEvaluation, reference: DetectorEvaluation
) -> list[ResultRow]:
    """By how much the first exceeds the second, paired by scene; keys as of compare_encoders.EncoderResults.differences."""
    same = {row["measure"]: row for row in evaluation.rows}
    found = []
    for name, values in evaluation.values.items():
        row = _result_row(same[name], name, bootstrap_difference(values, reference.values[name]))
        found.append(row | {"reference": reference.version, "reference_distance": ""})
    return found


def pair_with_reference(
    evaluations: Sequence[DetectorEvaluation],
) -> list[tuple[DetectorEvaluation, DetectorEvaluation | None]]:
    """What each detector made of a set beside what the first one made of it; None for that one itself."""
    first: dict[str, DetectorEvaluation] = {}
    return [
        (one, former if (former := first.setdefault(one.dataset, one)) is not one else None)
        for one in evaluations
    ]


def version_comparison(
    evaluation: DetectorEvaluation, reference: DetectorEvaluation | None
) -> VersionComparison:
    """A detector or classifier for the report's page, beside the one it is held against."""
    shown = (
        ("tpr", "fpr", "precision")
        if evaluation.classifier
        else ("ap50", "map50_95", "tpr", "fpr", "precision")
    )
    rows = compare_categories(evaluation.metrics, reference.metrics if reference else (), shown[0])
    last = reference.version if reference else None
    place = (evaluation.kind, evaluation.dataset, evaluation.split, evaluation.version, last)
    return VersionComparison(
        *place,
        rows,
        measures=shown,
        classifier=evaluation.classifier,
        former=reference.classifier if reference else None,
    )


def _result_row(
    place: Mapping[str, object], measure: str, estimate: BootstrapEstimate
) -> ResultRow:
    numbers = {name: _none_if_nan(getattr(estimate, name)) for name in ("value", "low", "high")}
    return {**place, "measure": measure, "k": None, **numbers, "queries": estimate.queries}


def _values_by_photo(
    truths: Boxes, detections: Boxes, ids: Sequence[str], confidence: float
) -> dict[str, NDArray[np.float64]]:
    """Of every scene, at the confidence used: f1 = 2 TP / (2 TP + FP + FN) 1 where nothing is there and nothing was found; and
    tpr = TP / (TP + FN), NaN without truths: which photos have a value does not depend on the detector."""
    values = np.full((2, len(ids)), np.nan)
    for place, image_id in enumerate(ids):
        one = compute_detection_metrics(
            truths.take(truths.image_ids == image_id),
            detections.take(detections.image_ids == image_id),
            [image_id],
            confidence,
        )[0]
        either = 2 * one.tp + one.fp + one.fn
        values[:, place] = [2 * one.tp / either if either else 1.0, _ratio(one.tp, one.tp + one.fn)]
    return {"f1": values[0], "tpr": values[1]}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _images_per_second(seconds: NDArray[np.float64]) -> BootstrapEstimate:
    each = bootstrap_mean(seconds)
    return BootstrapEstimate(1 / each.value, 1 / each.high, 1 / each.low, each.queries)


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _queries_table(
    place: Mapping[str, str], ids: Sequence[str], values: Mapping[str, NDArray[np.float64]]
) -> pa.Table:
    count = len(ids) * len(values)
    columns = [pa.repeat(word, count) for word in place.values()]
    columns += [
        pa.array([name for name in values for _ in ids]),
        pa.repeat(pa.scalar(0, pa.int32()), count),
        pa.array([*ids] * len(values)),
    ]
    return pa.table([*columns, pa.array(np.concatenate(list(values.values())))], QUERIES_SCHEMA)
