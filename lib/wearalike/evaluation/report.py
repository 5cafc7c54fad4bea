"""All results of an evaluation on one HTML page that opens from disk.

Nothing on it is fetched from anywhere, and every text of the data is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from wearalike.evaluation import plots
from wearalike.evaluation.pivot import Pivot, PlotImage, QueryValues, leaders
from wearalike.evaluation.plots import PlotLine
from wearalike.evaluation.results import ResultRow
from wearalike.evaluation.summary import SummaryTable, has_bits_and_floats, is_cost_row
from wearalike.imaging import decode
from wearalike.metrics.categories import SMALLER_IS_BETTER, CategoryComparison
from wearalike.metrics.classification import ClassifierMetrics
from wearalike.reports import html

if TYPE_CHECKING:
    from wearalike.evaluation.compare_encoders import EncoderResults
    from wearalike.evaluation.query_examples import QueryExample

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


@dataclass(frozen=True, slots=True)
class ReportImage:
    """An image of the page.

    Attributes:
        content: Bytes of an image file that decode.decode_image takes.
        caption: Text below it.
        is_right: True or False if it is a relevant result or not; None for a query.
    """

    content: bytes
    caption: str = ""
    is_right: bool | None = None


@dataclass(frozen=True, slots=True)
class ReportExample:
    """A query and its results.

    Attributes:
        query: The query.
        results: Its results, best first.
        note: Text beside it.
    """

    query: ReportImage
    results: Sequence[ReportImage]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportExampleGroup:
    """Examples under one title, such as one encoder's worst queries.

    Attributes:
        title: The title.
        strips: The examples.
        note: Text below the title.
    """

    title: str
    strips: Sequence[ReportExample]
    note: str = ""


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """A detector or classifier beside its last version.

    Attributes:
        kind: "detector" or "classifier".
        dataset: Name of the labelled set.
        split: Its split.
        this: The version.
        last: The version that it is compared with, if any.
        rows: Rows of categories.compare_categories.
        note: Text below the title.
        measures: Fields of CategoryMetrics to show; the first one is drawn.
        classifier: Metrics of this version as a classifier, if it is one.
        former: The same of the last version.
    """

    kind: str
    dataset: str
    split: str
    this: str
    last: str | None
    rows: Sequence[CategoryComparison]
    note: str = ""
    measures: Sequence[str] = ("ap50", "map50_95", "tpr", "fpr", "precision")
    classifier: ClassifierMetrics | None = None
    former: ClassifierMetrics | None = None


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """Training curves on one pair of axes.

    Attributes:
        title: The title.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
        lines: The curves.
    """

    title: str
    x_name: str
    y_name: str
    lines: Sequence[PlotLine]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All that the page shows; empty parts are left out.

    Attributes:
        title: Title of the page.
        rows: Rows of evaluation.json.
        facts: Short texts about how the evaluation was made, by name.
        values: Values of every query; with them the page tells which encoder leads.
        reference: Version that `differences` are from.
        differences: Rows whose values exceed those of the reference by so much.
        strips: Example queries.
        versions: Detectors and classifiers.
        curves: Training curves.
        summary: Tables of the figures that matter, first on the page.
    """

    title: str
    rows: Sequence[ResultRow] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    values: QueryValues = field(default_factory=dict)
    reference: str = ""
    differences: Sequence[ResultRow] = ()
    strips: Sequence[ReportExampleGroup] = ()
    versions: Sequence[VersionComparison] = ()
    curves: Sequence[TrainingCurves] = ()
    summary: Sequence[SummaryTable] = ()


def build_report(title: str, results: EncoderResults, facts: Mapping[str, str]) -> EvaluationReport:
    """Build the report of encoders; `dataclasses.replace` adds detectors and curves to it.

    Args:
        title: Title of the page.
        results: Results of the encoders.
        facts: Short texts about how the evaluation was made, by name.

    Returns:
        The report, with the images of the example queries.
    """
    differences = results.differences
    return EvaluationReport(
        title=title,
        rows=results.rows,
        facts=facts,
        values=_values_by_contestant(results.queries),
        reference=str(differences[0]["reference"]) if differences else "",
        differences=differences,
        strips=_example_groups(results.examples),
    )


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


def _values_by_contestant(
    queries: Iterable[pa.Table],
) -> dict[tuple[str, str, str, str], dict[tuple[str, int], NDArray[np.float64]]]:
    """Return the values of tables of QUERIES_SCHEMA as QueryValues."""
    values: dict[tuple[str, str, str, str], dict[tuple[str, int], NDArray[np.float64]]] = {}
    for table in queries:
        columns = {name: table[name].to_numpy() for name in table.column_names}
        for measure, k in dict.fromkeys(zip(columns["measure"], columns["k"], strict=True)):
            is_measure = (columns["measure"] == measure) & (columns["k"] == k)
            dataset, split, encoder, distance = (
                columns[name][is_measure][0] for name in ("dataset", "split", "encoder", "distance")
            )
            of_contestant = values.setdefault((dataset, split, encoder, distance), {})
            of_contestant[measure, int(k)] = columns["value"][is_measure]
    return values


def _example_groups(examples: Iterable[QueryExample]) -> list[ReportExampleGroup]:
    """Read the images of examples and group them by encoder, and by best or worst."""
    groups: dict[str, list[ReportExample]] = {}
    for example in examples:
        rank = "best" if example.is_best else "worst"
        contestant = f"{example.dataset}: {example.encoder}, {example.distance}"
        marked = zip(example.results, example.is_relevant, strict=True)
        results = [
            ReportImage(path.read_bytes(), caption, is_relevant)
            for (path, caption), is_relevant in marked
        ]
        path, caption = example.query
        query = ReportImage(path.read_bytes(), caption)
        group = groups.setdefault(f"{contestant}: {rank} by {example.label}", [])
        group.append(ReportExample(query, results, example.note))
    return [ReportExampleGroup(title, group) for title, group in groups.items()]


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
