"""All results of an evaluation, as `report_page` shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.evaluation.pivot import QueryValues
from wearalike.evaluation.plots import PlotLine
from wearalike.evaluation.results import ResultRow
from wearalike.evaluation.summary import SummaryTable
from wearalike.metrics.categories import CategoryComparison
from wearalike.metrics.classification import ClassifierMetrics

if TYPE_CHECKING:
    from wearalike.evaluation.compare_encoders import EncoderResults
    from wearalike.evaluation.query_examples import QueryExample


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
