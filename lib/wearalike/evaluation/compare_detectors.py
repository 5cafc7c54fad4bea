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

from wearalike.datasets.labelled_photos import LAYOUTS, LabelledSet, Photo
from wearalike.detection import classes as detection_classes
from wearalike.detection import detect
from wearalike.detection.networks import base
from wearalike.detection.networks.base import Found
from wearalike.evaluation.compare_encoders import QUERIES
from wearalike.evaluation.rank import SPEED, Row
from wearalike.evaluation.report import Versions
from wearalike.imaging import decode
from wearalike.metrics.detection import (
    Boxes,
    CategoryMeasures,
    ClassifierMeasures,
    classify,
    compare,
    measure,
)
from wearalike.metrics.retrieval import Estimate, difference, mean
from wearalike.models.files import Model
from wearalike.tables import SuperCategory
from wearalike.training.detector import scenes as detector_scenes
from wearalike.training.detector.dataset import CLASS_OF

# Boxes are asked for down to this confidence: average precision looks at all of them.
LEAST_CONFIDENCE = 0.01
# Categories of fewer examples have an AP of their own, but no part in that of all.
LEAST_TRUTHS = 20
# Of a detector that does not say what it sees, so that it is right about nothing.
UNNAMED = "unnamed"
Sight = tuple[NDArray[np.float64], list[str], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo and what is in it: classes, names in garments.CLASSES, and of each its box, float64 (n, 4), x0 y0 x1 y1 in px; None
    where nobody knows the boxes, and there is one class."""

    photo: Photo
    classes: tuple[str, ...]
    corners: NDArray[np.float64] | None


def scenes(kind: str, labelled: LabelledSet, folder: Path, split: str) -> list[Scene]:
    """The photos of one split, or of "all", each once. kind, folder: of the set. Raises garments.BadWord for a class nobody has
    thought of, ValueError where there is no photo."""
    found: dict[Path, list[Photo]] = {}
    for photo in labelled.photos:
        if split in ("all", photo.split):
            found.setdefault(photo.path, []).append(photo)
    masks, class_of = LAYOUTS[kind].masks if kind in LAYOUTS else None, CLASS_OF[kind]
    if masks is not None:
        words = (folder / "labels.txt").read_text(encoding="utf-8").split()
        names = [garment.name if garment else None for garment in map(class_of, words)]
        paths = {path: folder / masks.format(path.stem) for path in found}
        made = [
            _in_mask(photos[0], paths[path], names)
            for path, photos in found.items()
            if paths[path].is_file()
        ]
    else:
        made = list(filter(None, (_labelled(photos, class_of) for photos in found.values())))
    if not made:
        raise ValueError(f"{labelled.name}: no photo of split {split} says what garment is on it")
    return made


def _in_mask(photo: Photo, path: Path, names: Sequence[str | None]) -> Scene:
    seen = detector_scenes.of_mask(read(photo), decode.decode_mask(path.read_bytes()), names)
    corners = detector_scenes.boxes(seen.items, len(seen.classes))
    return Scene(photo, tuple(detection_classes.CLASSES[c] for c in seen.classes.tolist()), corners)


def _labelled(
    photos: Sequence[Photo], class_of: Callable[[str], detection_classes.Garment | None]
) -> Scene | None:
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
    return Scene(photos[0], tuple(garment.name for _, garment in known), corners)


class Detector(Protocol):
    version: str
    sha256: str | None

    def see(self, picture: NDArray[np.uint8]) -> Sight:
        """Corners, float64 (n, 4) in px, classes and confidences, float64 (n,), of what is in a picture, uint8 (h, w, 3)."""
        ...


class Named:
    """A trained detector, which says what garment each box is."""

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """device: "cpu" or "cuda". Raises BadModel."""
        self.version, self._classes = model.version, model.classes
        self.sha256: str | None = model.sha256
        self._network = base.seer(model, device)
        self._groups = np.array(
            [
                int(detection_classes.GROUPS[detection_classes.CLASSES.index(name)])
                for name in model.classes
            ]
        )

    def see(self, picture: NDArray[np.uint8]) -> Sight:
        found: Found
        (found,) = base.see(self._network, [picture], LEAST_CONFIDENCE, self._groups)
        return found.corners, [self._classes[c] for c in found.classes.tolist()], found.confidences


class Unnamed:
    """A detector of the night that needs no weights and says only where something is."""

    def __init__(self, detector: detect.Detector) -> None:
        self.version, self._detector = detector.version, detector
        self.sha256: str | None = None

    def see(self, picture: NDArray[np.uint8]) -> Sight:
        (boxes,) = self._detector.detect([picture])
        corners = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.float64).reshape(-1, 4)
        return corners, [UNNAMED] * len(boxes), np.array([b.confidence for b in boxes])


@dataclass(frozen=True, slots=True)
class Seen:
    """What a detector makes of scenes. kind: detector, or classifier where no boxes were known. rows: of evaluation.json. measures:
    ALL first, then each category. values: of every scene, by measure. queries: the same as a table of comparison.QUERIES."""

    kind: str
    dataset: str
    split: str
    version: str
    measures: list[CategoryMeasures]
    classifier: ClassifierMeasures | None
    rows: list[Row]
    values: dict[str, NDArray[np.float64]]
    queries: pa.Table


def evaluate(
    dataset: str,
    split: str,
    looked_at: Sequence[Scene],
    detector: Detector,
    confidence: float,
    tell: Callable[[int], None] = lambda n: None,
) -> Seen:
    """Looks at every scene and measures. confidence: boxes less sure are not used by the night, but count in the APs. tell: called
    after each with 1."""
    found, seconds = [], []
    for scene in looked_at:
        picture = read(scene.photo)
        start = time.perf_counter()
        found.append(detector.see(picture))
        seconds.append(time.perf_counter() - start)
        tell(1)
    ids = [scene.photo.path.name for scene in looked_at]
    classifier = None
    if all(scene.corners is not None for scene in looked_at):
        truths = Boxes.of(
            _boxes(ids, [(s.corners, s.classes, np.ones(len(s.classes))) for s in looked_at])
        )
        boxes = Boxes.of(_boxes(ids, found))
        measures = measure(truths, boxes, ids, confidence, min_truths_count=LEAST_TRUTHS)
        values = _by_scene(truths, boxes, ids, confidence)
    else:
        classifier, right = _classified(looked_at, found)
        measures, values = list(classifier.rows), {"super-category": right}
    place = {"dataset": dataset, "split": split, "encoder": detector.version, "distance": ""}
    estimates = {name: mean(value) for name, value in values.items()} | {
        SPEED: _rate(np.array(seconds))
    }
    rows = [_row(place, name, estimate) for name, estimate in estimates.items()]
    kind = "classifier" if classifier else "detector"
    return Seen(
        kind,
        dataset,
        split,
        detector.version,
        measures,
        classifier,
        rows,
        values,
        _table(place, ids, values),
    )


def _boxes(
    ids: Sequence[str], sights: Sequence[Any]
) -> Iterator[tuple[str, str, Sequence[float], float]]:
    """One row a box, as Boxes.of takes them."""
    for image_id, (corners, classes, confidences) in zip(ids, sights, strict=True):
        for name, corner, confidence in zip(
            classes, corners.tolist(), confidences.tolist(), strict=True
        ):
            yield image_id, name, corner, confidence


def _classified(
    looked_at: Sequence[Scene], found: Sequence[Sight]
) -> tuple[ClassifierMeasures, NDArray[np.float64]]:
    """Which super-category the best box is of, and whether that is right, float64 (n,)."""
    names = [*SuperCategory, UNNAMED]
    truths = [
        str(detection_classes.BY_NAME[scene.classes[0]].super_category) for scene in looked_at
    ]
    scores = np.zeros((len(looked_at), len(names)))
    # Where nothing is seen, that is the answer.
    scores[:, -1] = 1e-9
    for row, (corners, classes, confidences) in zip(scores, found, strict=True):
        worth = confidences * np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1))
        for name, value in zip(classes, worth.tolist(), strict=True):
            column = (
                names.index(detection_classes.BY_NAME[name].super_category)
                if name != UNNAMED
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
    return classify(truths, scores, [str(name) for name in names]), right


def read(photo: Photo) -> NDArray[np.uint8]:
    """A photo's pixels, uint8 (h, w, 3). Raises ValueError, naming it, where it has none."""
    try:
        return decode.decode(photo.path.read_bytes())
    except decode.BadPixels as error:
        raise ValueError(f"{photo.path}: {error}") from error


def differences(these: Seen, those: Seen) -> list[Row]:
    """By how much the first exceeds the second, paired by scene; keys as of comparison.Results.differences."""
    same = {row["measure"]: row for row in these.rows}
    found = []
    for name, values in these.values.items():
        row = _row(same[name], name, difference(values, those.values[name]))
        found.append(row | {"reference": those.version, "reference_distance": ""})
    return found


def pairs(seen: Sequence[Seen]) -> list[tuple[Seen, Seen | None]]:
    """What each detector made of a set beside what the first one made of it; None for that one itself."""
    first: dict[str, Seen] = {}
    return [
        (one, former if (former := first.setdefault(one.dataset, one)) is not one else None)
        for one in seen
    ]


def versions(one: Seen, former: Seen | None) -> Versions:
    """A detector or classifier for the report's page, beside the one it is held against."""
    shown = (
        ("tpr", "fpr", "precision")
        if one.classifier
        else ("ap50", "map50_95", "tpr", "fpr", "precision")
    )
    rows = compare(one.measures, former.measures if former else (), shown[0])
    last = former.version if former else None
    place = (one.kind, one.dataset, one.split, one.version, last)
    return Versions(
        *place,
        rows,
        measures=shown,
        classifier=one.classifier,
        former=former.classifier if former else None,
    )


def _row(place: Mapping[str, object], measure: str, estimate: Estimate) -> Row:
    numbers = {name: _number(getattr(estimate, name)) for name in ("value", "low", "high")}
    return {**place, "measure": measure, "k": None, **numbers, "queries": estimate.queries}


def _by_scene(
    truths: Boxes, found: Boxes, ids: Sequence[str], confidence: float
) -> dict[str, NDArray[np.float64]]:
    """Of every scene, at the confidence used: f1 = 2 TP / (2 TP + FP + FN) 1 where nothing is there and nothing was found; and
    tpr = TP / (TP + FN), NaN without truths: which photos have a value does not depend on the detector."""
    values = np.full((2, len(ids)), np.nan)
    for place, image_id in enumerate(ids):
        one = measure(
            truths.take(truths.image_ids == image_id),
            found.take(found.image_ids == image_id),
            [image_id],
            confidence,
        )[0]
        either = 2 * one.tp + one.fp + one.fn
        values[:, place] = [2 * one.tp / either if either else 1.0, _share(one.tp, one.tp + one.fn)]
    return {"f1": values[0], "tpr": values[1]}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _rate(seconds: NDArray[np.float64]) -> Estimate:
    each = mean(seconds)
    return Estimate(1 / each.value, 1 / each.high, 1 / each.low, each.queries)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _table(
    place: Mapping[str, str], ids: Sequence[str], values: Mapping[str, NDArray[np.float64]]
) -> pa.Table:
    count = len(ids) * len(values)
    columns = [pa.repeat(word, count) for word in place.values()]
    columns += [
        pa.array([name for name in values for _ in ids]),
        pa.repeat(pa.scalar(0, pa.int32()), count),
        pa.array([*ids] * len(values)),
    ]
    return pa.table([*columns, pa.array(np.concatenate(list(values.values())))], QUERIES)
