"""Losses over steps as a picture, for a person to see whether a training goes well."""

from __future__ import annotations

import csv
from pathlib import Path


def plot_losses(losses_csv: Path, png_path: Path) -> None:
    """Writes a PNG of a CSV whose first column is the step and whose others are what is to be seen, a panel each."""
    from matplotlib.figure import Figure

    with losses_csv.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    columns = len(head) - 1
    across = min(4, columns)
    down = -(-columns // across)
    figure = Figure(figsize=(3.2 * across, 2.4 * down), layout="constrained")
    steps = [float(row[0]) for row in rows]
    for number, name in enumerate(head[1:], 1):
        panel = figure.add_subplot(down, across, number)
        panel.plot(
            steps,
            [float(row[number]) if row[number] else float("nan") for row in rows],
            linewidth=1.2,
        )
        panel.set_title(name, fontsize=9)
        panel.set_ylim(bottom=0)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3)
    figure.supxlabel(head[0], fontsize=9)
    figure.savefig(png_path, dpi=110)
