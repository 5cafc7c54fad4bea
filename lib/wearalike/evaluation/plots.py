"""Plots for a page that opens from disk: each is an SVG image inside a data address.

Letters are drawn as outlines. So a plot looks the same everywhere, and no text of the data is
markup or a formula.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

_INK = "#1d2129"
_SOFT = "#667085"
_LINE = "#e4e7ec"
# Most colour-blind people tell these apart (Okabe and Ito), darkest first. Beyond them the markers
# change.
COLOURS = ("#0b5fa5", "#d1560f", "#0a8a63", "#a8457f", "#8a6d00", "#3b3f46", "#3d9bd1")
_MARKERS = "osD^vP*X"
# A longer line has no room for a marker at each point.
_MAX_MARKED_POINTS = 20
_MAX_LEGEND_COLUMNS = 3
_FIGURE_SIZE_INCHES = (4.7, 3.3)
# Free space left and right of the points, as a factor of x.
_X_MARGIN_FACTOR = 1.6
# The type of rc_context lists every setting there is; Any spares a copy of that list.
_STYLE: Any = {
    "svg.hashsalt": "wearalike",
    "svg.fonttype": "path",
    # A version's name may hold a $.
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "text.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True, slots=True)
class PlotLine:
    """One line of a plot.

    Attributes:
        name: Name in the legend.
        x: Positions.
        y: Values.
        low: Lower ends of the points' intervals, if known.
        high: Upper ends of the points' intervals, if known.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """One point of a plot, with its interval.

    Attributes:
        x: Position, above 0.
        y: Value.
        low: Lower end of the interval.
        high: Upper end of the interval.
        is_marked: True to draw it in another colour.
    """

    x: float
    y: float
    low: float
    high: float
    is_marked: bool = False


def plot_lines(
    title: str,
    x_name: str,
    y_name: str,
    lines: Sequence[PlotLine],
    ticks: Sequence[tuple[float, str]] = (),
) -> str:
    """Plot lines over a common x.

    Args:
        title: Title of the plot.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
        lines: The lines.
        ticks: Positions on the x axis and their texts; empty for matplotlib's own.

    Returns:
        SVG image as a data address.
    """

    def draw(axes: Axes) -> None:
        for number, line in enumerate(lines):
            _draw_line(axes, line, number)
        if ticks:
            axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
        if len(lines) > 1 or any(line.name for line in lines):
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.2),
                ncols=min(_MAX_LEGEND_COLUMNS, len(lines)),
                handlelength=1.4,
                columnspacing=1.2,
            )

    return _render_svg(title, x_name, y_name, draw)


def plot_points(title: str, x_name: str, y_name: str, points: Sequence[PlotPoint]) -> str:
    """Plot points numbered from 1 on a logarithmic x axis.

    The plot has no names; they stand in a list beside it, where they cannot overlap.

    Args:
        title: Title of the plot.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
        points: At least one point.

    Returns:
        SVG image as a data address.
    """

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        # The first points are drawn last, above the others.
        for number, point in reversed(list(enumerate(points, 1))):
            _draw_point(axes, point, str(number), 2 + 2 * (len(points) - number))
        xs = [point.x for point in points]
        axes.set_xlim(min(xs) / _X_MARGIN_FACTOR, max(xs) * _X_MARGIN_FACTOR)
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))

    return _render_svg(title, x_name, y_name, draw)


def _draw_line(axes: Axes, line: PlotLine, number: int) -> None:
    """Draw line `number`, with its interval as a band."""
    marker = _MARKERS[number // len(COLOURS) % len(_MARKERS)]
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(
        line.x,
        line.y,
        color=colour,
        linewidth=1.7,
        label=line.name,
        marker=marker if len(line.x) <= _MAX_MARKED_POINTS else "",
        markersize=4.5,
    )
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.12, linewidth=0)


def _draw_point(axes: Axes, point: PlotPoint, text: str, zorder: int) -> None:
    """Draw a point with its interval and a text on it."""
    colour = COLOURS[2] if point.is_marked else COLOURS[0]
    axes.vlines(
        point.x, point.low, point.high, color=colour, linewidth=2.5, alpha=0.5, zorder=zorder
    )
    axes.plot(
        point.x,
        point.y,
        "o",
        markersize=13,
        color=colour,
        markeredgecolor="white",
        zorder=zorder,
    )
    axes.annotate(
        text,
        (point.x, point.y),
        ha="center",
        va="center_baseline",
        fontsize=8,
        color="white",
        zorder=zorder + 1,
    )


def _render_svg(title: str, x_name: str, y_name: str, draw: Callable[[Axes], None]) -> str:
    """Return an SVG image as a data address; `draw` fills its axes."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_FIGURE_SIZE_INCHES)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(title, pad=10)
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name)
        draw(axes)
        svg = io.BytesIO()
        # Without a date the same data give the same bytes.
        figure.savefig(
            svg,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.06,
            transparent=True,
            metadata={"Date": None},
        )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"
