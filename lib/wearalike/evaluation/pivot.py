"""Rows of encoders' measures as the tables and plots of a page, and which of them lead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy import float64
from numpy.typing import NDArray

from wearalike.evaluation import plots
from wearalike.evaluation.plots import PlotLine, PlotPoint
from wearalike.metrics.bootstrap import bootstrap_difference

SPEED_MEASURE, SIZE_MEASURE = "images a second", "bytes an image"
_WEIGHTS_PATTERN = re.compile(r"(\d+):(\d+)$")

# A row of evaluation.json: dataset, split, encoder, distance, measure, k, value, low, high, queries.
ResultRow = Mapping[str, Any]
# Of each contestant (dataset, split, encoder, distance): each measure's value for every query, float64 (q,), by (measure, k).
QueryValues = Mapping[tuple[str, str, str, str], Mapping[tuple[str, int], NDArray[float64]]]


def leaders(
    rows: Iterable[ResultRow], values: QueryValues
) -> dict[tuple[str, str, str, int], tuple[str, str]]:
    """The best encoder and distance of each (dataset, split, measure, k), where there is one: where its paired difference from each
    other has a 95 % interval above 0. Without the values of any of them nobody is called best."""
    columns: dict[tuple[str, str, str, int], list[ResultRow]] = {}
    for row in rows:
        if row["value"] is not None and row["k"]:
            columns.setdefault((row["dataset"], row["split"], row["measure"], row["k"]), []).append(
                row
            )
    found = {}
    for (dataset, split, measure, k), column in columns.items():
        who = [(r["encoder"], r["distance"]) for r in sorted(column, key=lambda r: -r["value"])]
        each = [values.get((dataset, split, *w), {}).get((measure, k)) for w in who]
        first, *others = each
        if (
            others
            and first is not None
            and all(o is not None and bootstrap_difference(first, o).low > 0 for o in others)
        ):
            found[dataset, split, measure, k] = who[0]
    return found


@dataclass(frozen=True, slots=True)
class PlotImage:
    """names: what its numbered points are called."""

    title: str
    uri: str
    names: Sequence[str] = ()


class Pivot:
    """The rows of one dataset and split as tables: encoders and distances down, labels across, one table a measure."""

    def __init__(
        self, rows: Sequence[ResultRow], best: Mapping[tuple[str, str, str, int], tuple[str, str]]
    ) -> None:
        self.cells = {(r["encoder"], r["distance"], r["measure"], r["k"] or 0): r for r in rows}
        self._best = best
        measured = [r for r in rows if r["k"]]
        self.contestants = list(dict.fromkeys((r["encoder"], r["distance"]) for r in measured))
        # "mAP type" is the measure mAP of the label type; a label alone is precision.
        self.tables: dict[tuple[str, int], dict[str, str]] = {}
        for row in measured:
            kind, _, label = row["measure"].rpartition(" ")
            self.tables.setdefault((kind or "precision", row["k"]), {})[label] = row["measure"]
        self.extras = [
            name
            for name in (SPEED_MEASURE, SIZE_MEASURE)
            if any(r["measure"] == name for r in rows)
        ]

    def cell(self, contestant: tuple[str, str], measure: str, k: int = 0) -> ResultRow | None:
        """The row, if there is one with a value. What an encoder has whatever its distance stands beside each of them."""
        encoder, distance = contestant
        row = self.cells.get((encoder, distance, measure, k)) or self.cells.get(
            (encoder, "", measure, k)
        )
        return row if row and row["value"] is not None else None

    def query_count(self, measure: str, k: int) -> int:
        """How many queries a column is of: the most that any of its rows has."""
        return max(
            r["queries"] for (_, _, *column), r in self.cells.items() if column == [measure, k]
        )

    def is_best(self, row: ResultRow) -> bool:
        """Whether the row is the one that leads its column."""
        return self._best.get((row["dataset"], row["split"], row["measure"], row["k"])) == (
            row["encoder"],
            row["distance"],
        )

    def bars(self, measure: str, k: int) -> list[ResultRow]:
        """Each encoder by the distance that suits it best, highest first."""
        rows = sorted(
            (c for who in self.contestants if (c := self.cell(who, measure, k))),
            key=lambda r: -r["value"],
        )
        found: dict[str, ResultRow] = {}
        for row in rows:
            found.setdefault(row["encoder"], row)
        return list(found.values())

    @cached_property
    def highest(self) -> list[tuple[str, int, ResultRow]]:
        """The highest precision of each label, with its k."""
        tables = {k: labels for (kind, k), labels in self.tables.items() if kind == "precision"}
        return [
            (label, k, self.bars(m, k)[0])
            for k, labels in tables.items()
            for label, m in labels.items()
            if self.bars(m, k)
        ]

    @cached_property
    def plots(self) -> list[PlotImage]:
        """Each plot there is something for: precision by weight, and speed against quality."""
        tables = [(k, labels) for (kind, k), labels in self.tables.items() if kind == "precision"]
        return [
            plot
            for k, labels in tables
            for plot in (*self._plots_by_weight(labels, k), *self._plots_by_speed(labels, k))
        ]

    def _plots_by_weight(self, labels: Mapping[str, str], k: int) -> Iterator[PlotImage]:
        for encoder in dict.fromkeys(e for e, _ in self.contestants):
            weighed = sorted(
                (_shape_share(d), d)
                for e, d in self.contestants
                if e == encoder and _WEIGHTS_PATTERN.search(d)
            )
            if len({x for x, _ in weighed}) < 3:
                continue
            drawn = []
            for label, measure in labels.items():
                cells = [(x, c) for x, d in weighed if (c := self.cell((encoder, d), measure, k))]
                low, high = ([_interval(c)[end] for _, c in cells] for end in (0, 1))
                drawn.append(
                    PlotLine(
                        label, [x for x, _ in cells], [c["value"] for _, c in cells], low, high
                    )
                )
            title = f"{encoder}: precision@{k} by weight"
            ticks = [(x, d.rpartition(" ")[2]) for x, d in weighed]
            yield PlotImage(
                title,
                plots.plot_lines(title, "weight of shape : weight of colour", "", drawn, ticks),
            )

    def _plots_by_speed(self, labels: Mapping[str, str], k: int) -> Iterator[PlotImage]:
        # The label that asks most, such as type and colour both, is the last.
        label, measure = list(labels.items())[-1]
        drawn, names = [], []
        for row in self.bars(measure, k):
            speed, size = (
                self.cell((row["encoder"], row["distance"]), name)
                for name in (SPEED_MEASURE, SIZE_MEASURE)
            )
            if speed and speed["value"] > 0:
                drawn.append(
                    PlotPoint(speed["value"], row["value"], *_interval(row), self.is_best(row))
                )
                names.append(
                    f"{row['encoder']}, {size['value']:,.0f} bytes" if size else row["encoder"]
                )
        if len(drawn) > 1:
            title = f"Speed and {label}@{k}"
            yield PlotImage(
                title, plots.plot_points(title, SPEED_MEASURE, f"{label}@{k}", drawn), names
            )


def _interval(row: ResultRow) -> tuple[float, float]:
    """Its interval, or where it has none the value itself."""
    return row["value"] if row["low"] is None else row["low"], row["value"] if row[
        "high"
    ] is None else row["high"]


def _shape_share(distance: str) -> float:
    shape, colour = map(int, _WEIGHTS_PATTERN.search(distance).groups())  # type: ignore[union-attr]
    return shape / (shape + colour) if shape + colour else 0.0
