"""A metric over runs as an SVG plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Edges of a plot in the units of its viewBox, 320 by 150.
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 306, 12, 126


@dataclass(frozen=True, slots=True)
class RunPlot:
    """A metric over runs, as coordinates of an SVG plot.

    Attributes:
        metric: Name of the metric.
        title: Caption of the plot.
        description: The plot in words, for screen readers.
        line: Points of the line, as an SVG polyline has them.
        area: Points of the polygon of the intervals; empty without them.
        ticks: (y, text) of the vertical axis.
        points: (x, y, verdict, text) of each run.
        names: (x, run, text-anchor) of the first and the last run.
        values: The value as text, by run.
    """

    metric: str
    title: str
    description: str
    line: str
    area: str
    ticks: list[tuple[float, str]]
    points: list[tuple[float, float, str | None, str]]
    names: list[tuple[float, str, str]]
    values: dict[str, str]


def build_run_plot(metric: str, title: str, rows: Sequence[dict[str, Any]]) -> RunPlot:
    """Build the plot of a metric over runs.

    Args:
        metric: Name of the metric.
        title: Caption of the plot.
        rows: The metric in some runs, by run, at least one: run, value, low, high, unit, verdict.

    Returns:
        The plot.
    """
    is_count = rows[0]["unit"] == "count"
    texts = [f"{row['value']:,.0f}" if is_count else f"{row['value']:.3f}" for row in rows]
    highest = max(row["value"] if row["high"] is None else row["high"] for row in rows)
    # Ratios above a half are drawn on the whole scale, so that plots can be compared.
    top = 1.0 if not is_count and highest > 0.5 else _round_up(highest)
    step = (_RIGHT - _LEFT) / max(1, len(rows) - 1)
    xs = [_LEFT + i * step for i in range(len(rows))]
    if len(rows) == 1:
        xs = [(_LEFT + _RIGHT) / 2]

    def y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)

    def line(column: str) -> list[str]:
        return [f"{x:.1f},{y(row[column])}" for x, row in zip(xs, rows, strict=True)]

    has_area = len(rows) > 1 and all(None not in (row["low"], row["high"]) for row in rows)
    area = [*line("high"), *reversed(line("low"))] if has_area else []
    names = [(xs[0], str(rows[0]["run"])[:18], "start" if len(rows) > 1 else "middle")]
    if len(rows) > 1:
        names.append((xs[-1], str(rows[-1]["run"])[:18], "end"))
    has_whole_ticks = is_count and top >= 4
    tick_values = [top * share for share in (0, 0.5, 1)]
    described = zip(rows[-12:], texts[-12:], strict=True)
    return RunPlot(
        metric=metric,
        title=title,
        description=f"{title} by run: " + ", ".join(f"{r['run']} {text}" for r, text in described),
        line=" ".join(line("value")),
        area=" ".join(area),
        ticks=[(y(v), f"{v:,.0f}" if has_whole_ticks else f"{v:.2g}") for v in tick_values],
        points=[
            (round(x, 1), y(row["value"]), row["verdict"], f"{row['run']}: {text}")
            for x, row, text in zip(xs, rows, texts, strict=True)
        ],
        names=names,
        values={row["run"]: text for row, text in zip(rows, texts, strict=True)},
    )


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5, 10 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    exponent = len(f"{int(value)}") - 1
    if value < 1:
        exponent = -next(i for i in range(1, 30) if value * 10**i >= 1)
    power = 10.0**exponent
    return next(power * step for step in (1, 2, 4, 5, 10) if power * step >= value)
