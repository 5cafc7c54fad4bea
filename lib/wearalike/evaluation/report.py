"""What was measured on one page that opens from disk: nothing in it is fetched from anywhere, everything in it is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wearalike.evaluation import plots
from wearalike.evaluation.pivot import Pivot, PlotImage, QueryValues, ResultRow, leaders
from wearalike.evaluation.plots import PlotLine
from wearalike.imaging import decode
from wearalike.metrics.categories import SMALLER_IS_BETTER, CategoryComparison
from wearalike.metrics.classification import ClassifierMetrics

if TYPE_CHECKING:
    from wearalike.evaluation.compare_encoders import EncoderResults

THUMBNAIL_PX = 144
MAX_MISTAKES = 12
# A confusion table of more categories than this is no longer read: its most frequent mistakes are.
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
    """content: the picture file's bytes, of a format that decode.decode_image takes. is_right: whether it is what was asked for."""

    content: bytes
    caption: str = ""
    is_right: bool | None = None


@dataclass(frozen=True, slots=True)
class ReportExample:
    """A query and its results, best first."""

    query: ReportImage
    results: Sequence[ReportImage]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportExampleGroup:
    """Strips under one title, such as one encoder's worst queries."""

    title: str
    strips: Sequence[ReportExample]
    note: str = ""


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """A detector or classifier beside its last version. rows: as detection.compare_categories gives them, worst first. measures: columns, the
    first one drawn. classifier, former: what detection.compute_classifier_metrics found of this version and of the last one, where it is one."""

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
    """Training curves on one pair of axes."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[PlotLine]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All that a page shows; what is empty is left out. facts: short words about how it was made, by name. differences: rows whose
    values are by how much they exceed those of `reference`. values: where given, they tell which encoder is best."""

    title: str
    rows: Sequence[ResultRow] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    values: QueryValues = field(default_factory=dict)
    reference: str = ""
    differences: Sequence[ResultRow] = ()
    strips: Sequence[ReportExampleGroup] = ()
    versions: Sequence[VersionComparison] = ()
    curves: Sequence[TrainingCurves] = ()


def build_report(title: str, results: EncoderResults, facts: Mapping[str, str]) -> EvaluationReport:
    """What encoders' results are on a page; `dataclasses.replace` adds detectors, classifiers and curves to it. Reads the strips'
    pictures."""
    values: dict[tuple[str, str, str, str], dict[tuple[str, int], NDArray[np.float64]]] = {}
    for table in results.queries:
        columns = {name: table[name].to_numpy() for name in table.column_names}
        for measure in dict.fromkeys(columns["measure"]):
            here = columns["measure"] == measure
            dataset, split, encoder, distance, k = (
                columns[n][here][0] for n in ("dataset", "split", "encoder", "distance", "k")
            )
            values.setdefault((dataset, split, encoder, distance), {})[measure, int(k)] = columns[
                "value"
            ][here]
    groups: dict[str, list[ReportExample]] = {}
    for strip in results.examples:
        name = f"{strip.dataset}: {strip.encoder}, {strip.distance}: {'best' if strip.is_best else 'worst'} by {strip.label}"
        marked = zip(strip.results, strip.is_relevant, strict=True)
        shown = [
            ReportImage(path.read_bytes(), caption, is_right)
            for (path, caption), is_right in marked
        ]
        path, caption = strip.query
        groups.setdefault(name, []).append(
            ReportExample(
                ReportImage(path.read_bytes(), caption), shown, f"relevance {strip.value:.2f}"
            )
        )
    return EvaluationReport(
        title,
        results.rows,
        facts,
        values,
        str(results.differences[0]["reference"]) if results.differences else "",
        results.differences,
        [ReportExampleGroup(name, strips) for name, strips in groups.items()],
    )


def write_html(folder: Path, evaluation: EvaluationReport) -> Path:
    """Writes evaluation.html into a folder and returns its path. Raises pixels.BadPixels for a picture that is none."""
    path = folder / "evaluation.html"
    path.write_text(render_html(evaluation), encoding="utf-8")
    return path


def render_html(evaluation: EvaluationReport) -> str:
    """The page, HTML."""
    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Any] = {
        "figure": _format_figure,
        "signed": _format_signed,
        "picture": _thumbnail_data_url,
        "mistakes": _frequent_mistakes,
    }
    environment.filters |= filters
    environment.tests |= {"number": lambda v: v is not None and np.isfinite(v)}
    found = leaders(evaluation.rows, evaluation.values)
    gains = {
        (r["dataset"], r["split"]): Pivot(_rows_of_dataset(evaluation.differences, r), {})
        for r in evaluation.differences
    }
    return environment.from_string(source).render(
        e=evaluation,
        retrieval={
            (r["dataset"], r["split"]): Pivot(_rows_of_dataset(evaluation.rows, r), found)
            for r in evaluation.rows
        },
        gains=gains,
        curves=[
            PlotImage(c.title, plots.plot_lines(c.title, c.x_name, c.y_name, c.lines))
            for c in evaluation.curves
        ],
        smaller=SMALLER_IS_BETTER,
        names=METRIC_NAMES,
        readable=MAX_CONFUSION_CATEGORIES,
    )


def _rows_of_dataset(rows: Iterable[ResultRow], place: ResultRow) -> list[ResultRow]:
    return [r for r in rows if (r["dataset"], r["split"]) == (place["dataset"], place["split"])]


def _frequent_mistakes(classifier: ClassifierMetrics) -> list[tuple[str, str, int, float]]:
    """What is most often taken for what: truth, guess, how often, and the share of the truth's images."""
    wrong = classifier.confusion - np.diag(classifier.confusion.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_MISTAKES]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    of = classifier.confusion.sum(axis=1)
    return [
        (classifier.categories[i], classifier.categories[j], int(wrong[i, j]), wrong[i, j] / of[i])
        for i, j in pairs
        if wrong[i, j]
    ]


def _format_figure(value: float | int | None) -> str:
    """A number as it is read: counts whole, shares with three places, what is no number empty."""
    if value is None or not np.isfinite(value):
        return ""
    if isinstance(value, int) or abs(value) >= 100 or (abs(value) > 1 and value == round(value)):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _format_signed(value: float | int | None) -> str:
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:+,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:+.3f}"


def _thumbnail_data_url(picture: ReportImage) -> str:
    """A small JPEG as a data address."""
    out = io.BytesIO()
    Image.fromarray(decode.decode_image(picture.content, THUMBNAIL_PX)).save(
        out, "JPEG", quality=72
    )
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
