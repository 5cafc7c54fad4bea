"""Plots for a page that opens from disk: each an SVG picture inside a data address, letters drawn as outlines, so that it looks
the same everywhere and no text of the data is markup or a formula."""

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

_INK, _SOFT, _LINE = "#1d2129", "#667085", "#e4e7ec"
# Told apart by most colour-blind people (Okabe and Ito), darkest first; beyond them the markers change.
COLOURS = ("#0b5fa5", "#d1560f", "#0a8a63", "#a8457f", "#8a6d00", "#3b3f46", "#3d9bd1")
_MARKERS = "osD^vP*X"
_STYLE: Any = {  # its type lists every setting there is
    "svg.hashsalt": "wearalike",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a version's name may hold a $
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
    """One line of a plot: y over x; low and high, where given, are the ends of each point's interval."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """One point of a plot, y with its interval; is_marked: drawn in another colour."""

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
    """Lines over a common x, as a data address. ticks: where x is marked, and with what; else as it comes out."""

    def draw(axes: Axes) -> None:
        for i, line in enumerate(lines):
            # A long curve has no room for a marker at each point.
            marker = _MARKERS[i // len(COLOURS) % len(_MARKERS)] if len(line.x) <= 20 else ""
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(
                line.x,
                line.y,
                color=colour,
                linewidth=1.7,
                label=line.name,
                marker=marker,
                markersize=4.5,
            )
            if line.low is not None and line.high is not None:
                axes.fill_between(
                    line.x, line.low, line.high, color=colour, alpha=0.12, linewidth=0
                )
        if ticks:
            axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
        if len(lines) > 1 or any(line.name for line in lines):
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.2),
                ncols=min(3, len(lines)),
                handlelength=1.4,
                columnspacing=1.2,
            )

    return _render_svg(title, x_name, y_name, draw)


def plot_points(title: str, x_name: str, y_name: str, points: Sequence[PlotPoint]) -> str:
    """One point or more, numbered from 1 in the order given, x (above 0) growing by factors; as a data address. Their names are for
    a list beside it, where they cannot lie on each other."""

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        # The first are drawn last, above the others.
        for number, spot in reversed(list(enumerate(points, 1))):
            colour, over = (
                (COLOURS[2] if spot.is_marked else COLOURS[0]),
                2 + 2 * (len(points) - number),
            )
            axes.vlines(
                spot.x, spot.low, spot.high, color=colour, linewidth=2.5, alpha=0.5, zorder=over
            )
            axes.plot(
                spot.x,
                spot.y,
                "o",
                markersize=13,
                color=colour,
                markeredgecolor="white",
                zorder=over,
            )
            axes.annotate(
                str(number),
                (spot.x, spot.y),
                ha="center",
                va="center_baseline",
                fontsize=8,
                color="white",
                zorder=over + 1,
            )
        axes.set_xlim(min(s.x for s in points) / 1.6, max(s.x for s in points) * 1.6)
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))

    return _render_svg(title, x_name, y_name, draw)


def _render_svg(title: str, x_name: str, y_name: str, draw: Callable[[Axes], None]) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.7, 3.3))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(title, pad=10)
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name)
        draw(axes)
        out = io.BytesIO()
        # Without a date the same figures give the same bytes.
        figure.savefig(
            out,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.06,
            transparent=True,
            metadata={"Date": None},
        )
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"
