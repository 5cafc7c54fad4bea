"""Rows of encoders' results as the tables and plots of a page, and the leader of each column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from numpy import float64
from numpy.typing import NDArray

from wearalike.evaluation import plots
from wearalike.evaluation.distinct_codes import DISTINCT_CODES
from wearalike.evaluation.plots import PlotLine, PlotPoint
from wearalike.evaluation.results import SIZE_MEASURE, SPEED_MEASURE, ResultRow, split_measure
from wearalike.metrics.bootstrap import bootstrap_difference

_WEIGHTS_PATTERN = re.compile(r"(\d+):(\d+)$")
# A line over weights needs this many of them.
_MIN_WEIGHTS = 3

# Encoder and distance.
Contestant = tuple[str, str]
# Dataset, split, measure and k.
ColumnKey = tuple[str, str, str, int]
# Values of every query, float64 (q,), by (dataset, split, encoder, distance), then by (measure, k).
QueryValues = Mapping[tuple[str, str, str, str], Mapping[tuple[str, int], NDArray[float64]]]


def leaders(rows: Iterable[ResultRow], values: QueryValues) -> dict[ColumnKey, Contestant]:
    """Find the encoder and distance that lead each column.

    A contestant leads if its paired difference from each other one has a 95 % interval above 0.
    Without the values of any contestant, a column has no leader.

    Args:
        rows: Rows of evaluation.json.
        values: Values of every query.

    Returns:
        The leader of each column that has one.
    """
    columns: dict[ColumnKey, list[ResultRow]] = {}
    for row in rows:
        if row["value"] is not None and row["k"]:
            key = (row["dataset"], row["split"], row["measure"], row["k"])
            columns.setdefault(key, []).append(row)
    found = {}
    for (dataset, split, measure, k), column in columns.items():
        best_first = sorted(column, key=lambda row: -row["value"])
        contestants = [(row["encoder"], row["distance"]) for row in best_first]
        first, *others = (
            values.get((dataset, split, *contestant), {}).get((measure, k))
            for contestant in contestants
        )
        if first is None or not others:
            continue
        if all(o is not None and bootstrap_difference(first, o).low > 0 for o in others):
            found[dataset, split, measure, k] = contestants[0]
    return found


@dataclass(frozen=True, slots=True)
class PlotImage:
    """A plot of the page.

    Attributes:
        title: Title above it.
        uri: SVG image as a data address.
        names: Names of its numbered points.
    """

    title: str
    uri: str
    names: Sequence[str] = ()


class Pivot:
    """The rows of one dataset and split as tables: contestants down, labels across.

    Attributes:
        cells: Rows by (encoder, distance, measure, k); k is 0 for a measure without one.
        contestants: Encoders with their distances, in the rows' order.
        tables: Measures by label, by (kind of measure, k).
        extras: Names of the measures without a cut-off rank that the rows have.
    """

    def __init__(self, rows: Sequence[ResultRow], best: Mapping[ColumnKey, Contestant]) -> None:
        """Arrange the rows.

        Args:
            rows: Rows of one dataset and split.
            best: The leader of each column.
        """
        self.cells = {(r["encoder"], r["distance"], r["measure"], r["k"] or 0): r for r in rows}
        self._best = best
        ranked = [row for row in rows if row["k"]]
        self.contestants: list[Contestant] = list(
            dict.fromkeys((row["encoder"], row["distance"]) for row in ranked)
        )
        self.tables: dict[tuple[str, int], dict[str, str]] = {}
        for row in ranked:
            kind, label = split_measure(row["measure"])
            table = self.tables.setdefault((kind, row["k"]), {})
            table[label] = row["measure"]
        measures = {row["measure"] for row in rows}
        extras = (SPEED_MEASURE, SIZE_MEASURE, DISTINCT_CODES)
        self.extras = [name for name in extras if name in measures]

    def cell(self, contestant: Contestant, measure: str, k: int = 0) -> ResultRow | None:
        """Return one row of a contestant.

        A row without a distance, such as an encoder's speed, belongs to all its distances.

        Args:
            contestant: Encoder and distance.
            measure: Name of the measure.
            k: Cut-off rank; 0 for a measure without one.

        Returns:
            The row; None if there is none with a value.
        """
        encoder, distance = contestant
        row = self.cells.get((encoder, distance, measure, k))
        row = row or self.cells.get((encoder, "", measure, k))
        return row if row and row["value"] is not None else None

    def query_count(self, measure: str, k: int) -> int:
        """Return the largest number of queries of a column's rows.

        Args:
            measure: Name of the measure.
            k: Cut-off rank.

        Returns:
            The number of queries.
        """
        return max(
            row["queries"] for (_, _, *column), row in self.cells.items() if column == [measure, k]
        )

    def is_best(self, row: ResultRow) -> bool:
        """Tell if a row leads its column.

        Args:
            row: A row of this table.

        Returns:
            True for the leader.
        """
        leader = self._best.get((row["dataset"], row["split"], row["measure"], row["k"]))
        return leader == (row["encoder"], row["distance"])

    def bars(self, measure: str, k: int) -> list[ResultRow]:
        """Return each encoder with its best distance, highest value first.

        Args:
            measure: Name of the measure.
            k: Cut-off rank.

        Returns:
            A row an encoder.
        """
        rows = [row for c in self.contestants if (row := self.cell(c, measure, k))]
        best_by_encoder: dict[str, ResultRow] = {}
        for row in sorted(rows, key=lambda row: -row["value"]):
            best_by_encoder.setdefault(row["encoder"], row)
        return list(best_by_encoder.values())

    @cached_property
    def highest(self) -> list[tuple[str, int, ResultRow]]:
        """The highest precision of each label: label, k and row."""
        tables = {k: labels for (kind, k), labels in self.tables.items() if kind == "precision"}
        return [
            (label, k, bars[0])
            for k, labels in tables.items()
            for label, measure in labels.items()
            if (bars := self.bars(measure, k))
        ]

    @cached_property
    def plots(self) -> list[PlotImage]:
        """The plots that have data: precision by weight, and speed against quality."""
        images: list[PlotImage] = []
        for (kind, k), labels in self.tables.items():
            if kind == "precision":
                images += self._plots_by_weight(labels, k)
                images += self._plots_by_speed(labels, k)
        return images

    def _plots_by_weight(self, labels: Mapping[str, str], k: int) -> Iterator[PlotImage]:
        """Yield a plot for each encoder that was measured with enough weights."""
        for encoder in dict.fromkeys(encoder for encoder, _ in self.contestants):
            weighted = sorted(
                (_shape_share(distance), distance)
                for e, distance in self.contestants
                if e == encoder and _WEIGHTS_PATTERN.search(distance)
            )
            if len({share for share, _ in weighted}) < _MIN_WEIGHTS:
                continue
            title = f"{encoder}: precision@{k} by weight"
            lines = [
                self._line_by_weight(label, encoder, weighted, measure, k)
                for label, measure in labels.items()
            ]
            ticks = [(share, distance.rpartition(" ")[2]) for share, distance in weighted]
            x_name = "weight of shape : weight of colour"
            yield PlotImage(title, plots.plot_lines(title, x_name, "", lines, ticks))

    def _line_by_weight(
        self,
        label: str,
        encoder: str,
        weighted: Sequence[tuple[float, str]],
        measure: str,
        k: int,
    ) -> PlotLine:
        """Return the line of one label over the share of the shape weight."""
        points = [
            (share, row)
            for share, distance in weighted
            if (row := self.cell((encoder, distance), measure, k))
        ]
        intervals = [_interval(row) for _, row in points]
        return PlotLine(
            name=label,
            x=[share for share, _ in points],
            y=[row["value"] for _, row in points],
            low=[low for low, _ in intervals],
            high=[high for _, high in intervals],
        )

    def _plots_by_speed(self, labels: Mapping[str, str], k: int) -> Iterator[PlotImage]:
        """Yield a plot of speed and quality if two encoders have both."""
        # The last label is the hardest, such as type and colour both.
        label, measure = list(labels.items())[-1]
        points: list[PlotPoint] = []
        names: list[str] = []
        for row in self.bars(measure, k):
            contestant = (row["encoder"], row["distance"])
            speed = self.cell(contestant, SPEED_MEASURE)
            size = self.cell(contestant, SIZE_MEASURE)
            if speed is None or speed["value"] <= 0:
                continue
            low, high = _interval(row)
            points.append(PlotPoint(speed["value"], row["value"], low, high, self.is_best(row)))
            size_note = f", {size['value']:,.0f} bytes" if size else ""
            names.append(f"{row['encoder']}{size_note}")
        if len(points) > 1:
            title = f"Speed and {label}@{k}"
            uri = plots.plot_points(title, SPEED_MEASURE, f"{label}@{k}", points)
            yield PlotImage(title, uri, names)


def _interval(row: ResultRow) -> tuple[float, float]:
    """Return a row's interval, or its value twice if it has none."""
    value = row["value"]
    low = value if row["low"] is None else row["low"]
    high = value if row["high"] is None else row["high"]
    return low, high


def _shape_share(distance: str) -> float:
    """Return the share of the shape weight in a distance such as "hamming 8:2"."""
    match = _WEIGHTS_PATTERN.search(distance)
    assert match is not None
    shape_weight, colour_weight = map(int, match.groups())
    total = shape_weight + colour_weight
    return shape_weight / total if total else 0.0
