"""Measure leaf classifiers on labelled photos: TPR and FPR of each kind, and every photo's values.

Labels mean leaves by labels.xml, as in training. A kind that a classifier was never taught is a
category that it never names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.label_words import LabelWords
from wearalike.encoding.encoders import LeafEncoder
from wearalike.evaluation.compare_detectors import DetectorEvaluation, build_queries_table
from wearalike.evaluation.extract import BATCH_SIZE, DatasetCrops
from wearalike.evaluation.results import result_row
from wearalike.metrics.bootstrap import bootstrap_mean
from wearalike.metrics.calibration import expected_calibration_error
from wearalike.metrics.classification import compute_classifier_metrics

# Measures of a photo: 1 if right, else 0.
LEAF, AMONG_FIVE, SUPER_CATEGORY = "leaf", "leaf among five", "leaf super-category"


@dataclass(frozen=True, slots=True)
class LeavesUnderTest:
    """A leaf classifier beside an encoder.

    Attributes:
        version: Version of the classifier.
        sha256: Hash of its file.
        encoder: Both networks.
    """

    version: str
    sha256: str
    encoder: LeafEncoder


def evaluate_leaves(
    dataset: str,
    split: str,
    crops: DatasetCrops,
    under_test: LeavesUnderTest,
    words: LabelWords,
    on_photos: Callable[[int], None] = lambda count: None,
) -> DetectorEvaluation:
    """Run a leaf classifier over the photos of a split and measure it.

    Args:
        dataset: Name of the labelled set.
        split: Its split, or "all".
        crops: The set's crops.
        under_test: The classifier.
        words: The leaf of each word.
        on_photos: Called with the number of further photos.

    Raises:
        ValueError: No photo of the split has a type that means a leaf.
    """
    rows: list[int] = []
    truths: list[str] = []
    for row, photo in enumerate(crops.photos):
        word = photo.labels.get("type", "")
        leaf = words.find_leaf(word, photo.labels.get("gender", "")) if word else None
        if leaf is not None and split in ("all", photo.split):
            rows.append(row)
            truths.append(leaf.kind)
    if not rows:
        raise ValueError(f"{dataset}: no photo of split {split} has a type that means a leaf")
    parts = []
    for start in range(0, len(rows), BATCH_SIZE):
        block = rows[start : start + BATCH_SIZE]
        parts.append(under_test.encoder.encode_and_classify(crops[block]).probabilities)
        on_photos(len(block))
    chances = np.concatenate(parts).astype(np.float64)
    kinds = under_test.encoder.kinds
    categories = [*kinds, *sorted(set(truths) - set(kinds))]
    scores = np.zeros((len(rows), len(categories)))
    scores[:, : len(kinds)] = chances
    values = _values_by_photo(scores, truths, categories, words)
    classifier = compute_classifier_metrics(truths, scores, categories)
    ids = [crops.photos[row].id for row in rows]
    error = expected_calibration_error(scores.max(axis=1), values[LEAF] > 0)
    estimates = {name: bootstrap_mean(value) for name, value in values.items()}
    return DetectorEvaluation(
        kind="classifier",
        dataset=dataset,
        split=split,
        version=under_test.version,
        metrics=list(classifier.rows),
        classifier=classifier,
        rows=[
            *(
                result_row(dataset, split, under_test.version, "", name, None, estimate)
                for name, estimate in estimates.items()
            ),
            result_row(
                dataset,
                split,
                under_test.version,
                "",
                "leaf calibration error",
                None,
                bootstrap_mean(np.array([error])),
            ),
        ],
        values=values,
        queries=build_queries_table(dataset, split, under_test.version, ids, values),
    )


def _values_by_photo(
    scores: NDArray[np.float64],
    truths: Sequence[str],
    categories: Sequence[str],
    words: LabelWords,
) -> dict[str, NDArray[np.float64]]:
    """Return for each measure 1 or 0 a photo."""
    truth = np.array([categories.index(name) for name in truths])
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    super_of = {leaf.kind: str(leaf.super_category) for leaf in words.taxonomy.leaves.values()}
    # A kind that the taxonomy lacks is a super-category of its own.
    supers = np.array([super_of.get(name, name) for name in categories], object)
    return {
        LEAF: (ranked[:, 0] == truth).astype(np.float64),
        AMONG_FIVE: (ranked == truth[:, None]).any(axis=1).astype(np.float64),
        SUPER_CATEGORY: (supers[ranked[:, 0]] == supers[truth]).astype(np.float64),
    }
