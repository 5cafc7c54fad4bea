"""The evaluation's results as one HTML page that opens from disk.

Nothing on it is fetched from anywhere, and every text of the data is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wearalike.evaluation import plots
from wearalike.evaluation.pivot import Pivot, PlotImage, leaders
from wearalike.evaluation.report import EvaluationReport, ReportImage
from wearalike.evaluation.results import ResultRow
from wearalike.evaluation.summary import has_bits_and_floats, is_cost_row
from wearalike.imaging import decode
from wearalike.metrics.categories import SMALLER_IS_BETTER
from wearalike.metrics.classification import ClassifierMetrics
from wearalike.reports import html

# Longer side of a thumbnail, in px.
THUMBNAIL_PX = 144
_THUMBNAIL_QUALITY = 72
MAX_MISTAKES = 12
# Nobody reads a confusion matrix of more categories; the most frequent mistakes are listed.
MAX_CONFUSION_CATEGORIES = 40
METRIC_NAMES = {
    "ap50": "AP50",
    "map50_95": "mAP50-95",
    "tpr": "TPR",
    "fpr": "FPR",
    "tp": "TP",
    "fp": "FP",
    "fn": "FN",
}


def write_html(folder: Path, evaluation: EvaluationReport) -> Path:
    """Write evaluation.html.

    Args:
        folder: Folder to write into.
        evaluation: The report.

    Returns:
        Path of the page.

    Raises:
        decode.BadPixels: An image cannot be decoded.
    """
    path = folder / "evaluation.html"
    path.write_text(render_html(evaluation), encoding="utf-8")
    return path


def render_html(evaluation: EvaluationReport) -> str:
    """Render the page.

    Args:
        evaluation: The report.

    Returns:
        HTML.

    Raises:
        decode.BadPixels: An image cannot be decoded.
    """
    filters: dict[str, Callable[..., Any]] = {
        "figure": _format_figure,
        "signed": _format_signed,
        "picture": _thumbnail_data_url,
        "mistakes": _frequent_mistakes,
    }
    # Rows that show what the bits cost stand in the summary; they are no other contestants.
    has_both = has_bits_and_floats(evaluation.rows)
    rows = [row for row in evaluation.rows if not is_cost_row(row, has_both)]
    differences = [row for row in evaluation.differences if not is_cost_row(row, has_both)]
    best = leaders(rows, evaluation.values)
    return html.render(
        "evaluation_report.html",
        filters,
        e=evaluation,
        retrieval=_pivots(rows, best),
        gains=_pivots(differences, {}),
        curves=[
            PlotImage(c.title, plots.plot_lines(c.title, c.x_name, c.y_name, c.lines))
            for c in evaluation.curves
        ],
        smaller=SMALLER_IS_BETTER,
        names=METRIC_NAMES,
        readable=MAX_CONFUSION_CATEGORIES,
    )


def _pivots(
    rows: Sequence[ResultRow], best: Mapping[tuple[str, str, str, int], tuple[str, str]]
) -> dict[tuple[str, str], Pivot]:
    """Return a pivot for each dataset and split."""
    rows_by_dataset: dict[tuple[str, str], list[ResultRow]] = {}
    for row in rows:
        rows_by_dataset.setdefault((row["dataset"], row["split"]), []).append(row)
    return {key: Pivot(of_dataset, best) for key, of_dataset in rows_by_dataset.items()}


def _frequent_mistakes(classifier: ClassifierMetrics) -> list[tuple[str, str, int, float]]:
    """Return the most frequent mistakes: truth, guess, count, and share of the truth's images."""
    wrong = classifier.confusion - np.diag(classifier.confusion.diagonal())
    truths_count = classifier.confusion.sum(axis=1)
    most_first = np.argsort(-wrong, axis=None, kind="stable")[:MAX_MISTAKES]
    rows, columns = (axis.tolist() for axis in np.unravel_index(most_first, wrong.shape))
    return [
        (
            classifier.categories[i],
            classifier.categories[j],
            int(wrong[i, j]),
            wrong[i, j] / truths_count[i],
        )
        for i, j in zip(rows, columns, strict=True)
        if wrong[i, j]
    ]


def _format_figure(value: float | int | None) -> str:
    """Format a number: counts whole, shares with three decimals, NaN and None empty."""
    if value is None or not np.isfinite(value):
        return ""
    if isinstance(value, int) or abs(value) >= 100 or (abs(value) > 1 and value == round(value)):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _format_signed(value: float | int | None) -> str:
    """Format a difference with its sign."""
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:+,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:+.3f}"


def _thumbnail_data_url(image: ReportImage) -> str:
    """Return a small JPEG as a data address."""
    pixels = decode.decode_image(image.content, THUMBNAIL_PX)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=_THUMBNAIL_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
