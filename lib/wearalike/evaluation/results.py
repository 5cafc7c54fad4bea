"""Rows of evaluation.json: one measure of one model on one dataset.

A row has the keys of RESULT_KEYS. `measure` names measure and label. Precision is named by its
label alone ("type", "type+gender", "colour", "both": article type and colour). The others carry
their own name before it: "mAP type", "relevance both", "recall product", "pattern striped". Speed,
size and distinct codes have no label and no k; `queries` of the first two are the photos described.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wearalike.metrics.bootstrap import BootstrapEstimate

RESULT_KEYS = (
    "dataset",
    "split",
    "encoder",
    "distance",
    "measure",
    "k",
    "value",
    "low",
    "high",
    "queries",
)
# Names that stand before a label.
_MEASURE_NAMES = frozenset({"mAP", "relevance", "recall", "pattern"})
PRECISION = "precision"
SPEED_MEASURE = "images a second"
SIZE_MEASURE = "bytes an image"

ResultRow = dict[str, Any]


def split_measure(measure: str) -> tuple[str, str]:
    """Split a measure into its own name and its label.

    Args:
        measure: As in a row, such as "mAP type".

    Returns:
        "mAP" and "type"; PRECISION and the label for a label alone.
    """
    name, _, label = measure.partition(" ")
    return (name, label) if label and name in _MEASURE_NAMES else (PRECISION, measure)


def result_row(
    dataset: str,
    split: str,
    encoder: str,
    distance: str,
    measure: str,
    k: int | None,
    estimate: BootstrapEstimate,
) -> ResultRow:
    """Return a row of evaluation.json.

    Args:
        dataset: Name of the labelled set.
        split: Its split.
        encoder: Version of the encoder or detector.
        distance: Distance that an encoder ranks by; empty for a detector.
        measure: Name of the measure.
        k: Cut-off rank; None for a measure without one.
        estimate: The value with its interval.

    Returns:
        The row, with None in place of NaN.
    """
    return {
        "dataset": dataset,
        "split": split,
        "encoder": encoder,
        "distance": distance,
        "measure": measure,
        "k": k,
        "value": none_if_nan(estimate.value),
        "low": none_if_nan(estimate.low),
        "high": none_if_nan(estimate.high),
        "queries": estimate.queries,
    }


def none_if_nan(value: float) -> float | None:
    """Return a number, or None for NaN, which JSON does not know.

    Args:
        value: The number.

    Returns:
        The number or None.
    """
    return None if np.isnan(value) else value
