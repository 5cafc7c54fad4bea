"""Rows of results as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wearalike.evaluation.results import split_measure


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format results for a terminal.

    Args:
        rows: Rows with the keys of results.RESULT_KEYS.

    Returns:
        A block a set, measure and k; a line an encoder and distance; a column a label.
    """
    blocks: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        title, column = _block_and_column(row)
        block = blocks.setdefault((f"{row['dataset']}, {row['split']} asks", title), {})
        cells = block.setdefault(f"{row['encoder']}  {row['distance']}", {})
        cells[column] = _format_number(row)
    lines: list[str] = []
    for (dataset, title), block in blocks.items():
        columns = list(dict.fromkeys(column for cells in block.values() for column in cells))
        width = max(map(len, block))
        header = " " * width + "".join(f"  {column:>16}" for column in columns)
        lines += ["", f"{dataset}: {title}", header]
        for contestant, cells in block.items():
            numbers = "".join(f"  {cells.get(column, ''):>16}" for column in columns)
            lines.append(f"{contestant:{width}}{numbers}")
    return "\n".join(lines)


def _block_and_column(row: Mapping[str, object]) -> tuple[str, str]:
    """Return the title of the block that a row belongs to, and its column."""
    measure = str(row["measure"])
    if row["k"] is None:
        return "all photos", measure
    kind, label = split_measure(measure)
    return f"{kind}@{row['k']}", label


def _format_number(row: Mapping[str, object]) -> str:
    """Format a value with half the width of its interval."""
    value, low, high = row["value"], row["low"], row["high"]
    if not (isinstance(value, float) and isinstance(low, float) and isinstance(high, float)):
        return "-"
    digits = 3 if value <= 1 else 0
    half_width = f" ±{(high - low) / 2:,.{digits}f}" if high > low else ""
    return f"{value:,.{digits}f}{half_width}"
