"""Training losses as a picture, for a person to see if a training goes well."""

from __future__ import annotations

import csv
from pathlib import Path

_MAX_PANELS_ACROSS = 4
_PANEL_SIZE_INCHES = (3.2, 2.4)


def plot_losses(losses_csv: Path, png_path: Path) -> None:
    """Plot every loss over the steps, a panel each.

    Args:
        losses_csv: CSV file of `loop.append_losses_csv`: the step, then a column a loss.
        png_path: PNG file to write.
    """
    from matplotlib.figure import Figure

    with losses_csv.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    losses_count = len(header) - 1
    across = min(_MAX_PANELS_ACROSS, losses_count)
    down = -(-losses_count // across)
    width, height = _PANEL_SIZE_INCHES
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    steps = [float(row[0]) for row in rows]
    for number, name in enumerate(header[1:], 1):
        values = [float(row[number]) if row[number] else float("nan") for row in rows]
        panel = figure.add_subplot(down, across, number)
        panel.plot(steps, values, linewidth=1.2)
        panel.set_title(name, fontsize=9)
        panel.set_ylim(bottom=0)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3)
    figure.supxlabel(header[0], fontsize=9)
    figure.savefig(png_path, dpi=110)
