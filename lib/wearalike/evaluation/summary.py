"""The summary of an evaluation: the figures that matter, sets that nobody trained on first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wearalike.evaluation.distances import ASYMMETRIC, FLOAT, HAMMING, parse_weights
from wearalike.evaluation.distinct_codes import DISTINCT_CODES
from wearalike.evaluation.product_questions import PRODUCT_RECALL, SIBLING_RECALL
from wearalike.evaluation.rank import PATTERN_LABEL
from wearalike.evaluation.results import ResultRow
from wearalike.evaluation.shop_lists import LIST_BOTH, LIST_K, LIST_ORACLE, LIST_TYPE
from wearalike.evaluation.strangers import SetOrigin

# Origin of a set for an encoder, by dataset and version.
Origins = Mapping[tuple[str, str], SetOrigin]
# Kind of distance that shows what the bits cost, by its name in the table.
BIT_COSTS = {"floats": FLOAT, "floats ask, bits answer": ASYMMETRIC, "bits": HAMMING}


@dataclass(frozen=True, slots=True)
class SummaryColumn:
    """A column of a summary.

    Attributes:
        name: Its heading.
        note: The cut-off rank and the weights, below the heading.
        measure: Name of the measure.
        k: Cut-off rank; 0 for a measure without one, None for the first that was measured.
        weights: Weights of shape and colour.
    """

    name: str
    note: str
    measure: str
    k: int | None
    weights: str


_PRODUCT_1 = SummaryColumn("same product", "R@1, 1:1", PRODUCT_RECALL, 1, "1:1")
_PRODUCT_10 = SummaryColumn("same product", "R@10, 1:1", PRODUCT_RECALL, 10, "1:1")
_SIBLING = SummaryColumn("other colour, by shape", "R@10, 1:0", SIBLING_RECALL, 10, "1:0")
_TYPE = SummaryColumn("type", "P@{k}, 1:1", "type", None, "1:1")
_COLOUR = SummaryColumn("colour", "P@{k}, 1:1", "colour", None, "1:1")
_BOTH = SummaryColumn("type and colour", "P@{k}, 1:1", "both", None, "1:1")
_COLOUR_ALONE = SummaryColumn("colour, by colour", "P@{k}, 0:1", "colour", None, "0:1")
_PATTERN_ALONE = SummaryColumn("pattern, by colour", "P@{k}, 0:1", PATTERN_LABEL, None, "0:1")
_PATTERN = SummaryColumn("pattern", "P@{k}, 1:1", PATTERN_LABEL, None, "1:1")
_LIST_TYPE = SummaryColumn("lists: type", "@5", LIST_TYPE, LIST_K, "1:1")
_LIST_BOTH = SummaryColumn("lists: type and colour", "@5", LIST_BOTH, LIST_K, "1:1")
_LIST_ORACLE = SummaryColumn("the most of it", "@5", LIST_ORACLE, LIST_K, "1:1")
_DISTINCT = SummaryColumn("distinct codes", "1:1", DISTINCT_CODES, 0, "1:1")
_COLUMNS = (
    _PRODUCT_1,
    _PRODUCT_10,
    _SIBLING,
    _TYPE,
    _COLOUR,
    _BOTH,
    _COLOUR_ALONE,
    _PATTERN_ALONE,
    _PATTERN,
    _LIST_TYPE,
    _LIST_BOTH,
    _LIST_ORACLE,
    _DISTINCT,
)
_COST_COLUMNS = (_PRODUCT_10, _SIBLING, _TYPE, _BOTH, _PATTERN_ALONE)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A row of a summary.

    Attributes:
        encoder: Version of the encoder.
        note: The set's origin to it, or the kind of distance.
        cells: A row of results for each column; None where nothing was measured.
    """

    encoder: str
    note: str
    cells: tuple[ResultRow | None, ...]


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """A table of the summary.

    Attributes:
        title: Its title.
        columns: Name and note of each column.
        rows: Its rows.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[SummaryRow, ...]


def build_summary(rows: Sequence[ResultRow], origins: Origins) -> list[SummaryTable]:
    """Build the tables of a summary.

    Args:
        rows: Rows of evaluation.json.
        origins: Origin of each set for each encoder.

    Returns:
        A table a set, those first that the fewest encoders learned from. Then a table a set of what
        the bits cost, for encoders that have floats and bits.
    """
    datasets: dict[tuple[str, str], list[ResultRow]] = {}
    for row in rows:
        datasets.setdefault((row["dataset"], row["split"]), []).append(row)

    def homes(place: tuple[str, str]) -> int:
        return sum(
            origin != SetOrigin.NEVER_SEEN
            for (dataset, _), origin in origins.items()
            if dataset == place[0]
        )

    ordered = sorted(datasets.items(), key=lambda item: homes(item[0]))
    tables = [_dataset_table(place, of_set, origins) for place, of_set in ordered]
    tables += [_cost_table(place, of_set) for place, of_set in ordered]
    return [table for table in tables if table.rows and table.columns]


def format_markdown(tables: Sequence[SummaryTable]) -> str:
    """Format the summary as Markdown.

    Args:
        tables: Its tables.

    Returns:
        The tables below their titles; a cell has the value and its 95 % interval.
    """
    lines: list[str] = []
    for table in tables:
        heads = " | ".join(f"{name}, {note}" for name, note in table.columns)
        lines += ["", f"### {table.title}", "", f"| encoder | {heads} |"]
        lines.append("|---" * (len(table.columns) + 1) + "|")
        for row in table.rows:
            cells = " | ".join(map(_format_cell, row.cells))
            lines.append(f"| `{row.encoder}` ({row.note}) | {cells} |")
    return "\n".join([*lines[1:], ""])


def has_bits_and_floats(rows: Sequence[ResultRow]) -> dict[str, bool]:
    """Tell of each encoder whether it was measured by its bits and by its floats.

    Args:
        rows: Rows of evaluation.json.

    Returns:
        By the encoder's version.
    """
    kinds: dict[str, set[str]] = {}
    for row in rows:
        kinds.setdefault(row["encoder"], set()).add(row["distance"].partition(" ")[0])
    return {encoder: {HAMMING, FLOAT} <= names for encoder, names in kinds.items()}


def is_cost_row(row: ResultRow, has_both: Mapping[str, bool]) -> bool:
    """Tell if a row only shows what the bits of its encoder cost.

    Args:
        row: A row of evaluation.json.
        has_both: Result of `has_bits_and_floats`.
    """
    weighted = parse_weights(row["distance"])
    return has_both.get(row["encoder"], False) and weighted is not None and weighted.kind != HAMMING


def _dataset_table(
    place: tuple[str, str], rows: Sequence[ResultRow], origins: Origins
) -> SummaryTable:
    """Return the table of one set: an encoder a row."""
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    own = {encoder: _own_kind(encoder, rows) for encoder in encoders}
    table_rows = [
        SummaryRow(
            encoder,
            str(origins.get((place[0], encoder), SetOrigin.UNKNOWN)),
            tuple(_find_cell(rows, encoder, own[encoder], column) for column in _COLUMNS),
        )
        for encoder in encoders
    ]
    return _without_empty_columns(f"{place[0]}, {place[1]} asks", _COLUMNS, table_rows)


def _cost_table(place: tuple[str, str], rows: Sequence[ResultRow]) -> SummaryTable:
    """Return the table of what the bits cost on one set."""
    has_both = has_bits_and_floats(rows)
    table_rows = [
        SummaryRow(
            encoder,
            name,
            tuple(_find_cell(rows, encoder, kind, column) for column in _COST_COLUMNS),
        )
        for encoder in dict.fromkeys(row["encoder"] for row in rows if has_both[row["encoder"]])
        for name, kind in BIT_COSTS.items()
    ]
    title = f"What the bits cost: {place[0]}, {place[1]} asks"
    return _without_empty_columns(title, _COST_COLUMNS, table_rows)


def _own_kind(encoder: str, rows: Sequence[ResultRow]) -> str:
    """Return the kind of distance that an encoder is used with, or its only distance."""
    measured = [row["distance"] for row in rows if row["encoder"] == encoder and row["distance"]]
    kinds = {distance.partition(" ")[0] for distance in measured if parse_weights(distance)}
    return next((kind for kind in (HAMMING, FLOAT) if kind in kinds), measured[0])


def _find_cell(
    rows: Sequence[ResultRow], encoder: str, kind: str, column: SummaryColumn
) -> ResultRow | None:
    """Return the row of results that belongs into a cell."""
    names = (f"{kind} {column.weights}", kind)
    return next(
        (
            row
            for row in rows
            if row["encoder"] == encoder
            and row["distance"] in names
            and row["measure"] == column.measure
            and (column.k is None or (row["k"] or 0) == column.k)
            and row["value"] is not None
        ),
        None,
    )


def _without_empty_columns(
    title: str, columns: Sequence[SummaryColumn], rows: Sequence[SummaryRow]
) -> SummaryTable:
    """Return a table of the columns that hold anything, and of the rows that do."""
    kept = [i for i in range(len(columns)) if any(row.cells[i] for row in rows)]
    heads = []
    for i in kept:
        cells = [cell for row in rows if (cell := row.cells[i])]
        queries = max(cell["queries"] for cell in cells)
        note = columns[i].note.format(k=cells[0]["k"])
        heads.append((columns[i].name, f"{note}, {queries:,} queries"))
    return SummaryTable(
        title,
        tuple(heads),
        tuple(
            SummaryRow(row.encoder, row.note, tuple(row.cells[i] for i in kept))
            for row in rows
            if any(row.cells)
        ),
    )


def _format_cell(cell: ResultRow | None) -> str:
    """Format a value with its interval, without leading zeros."""
    if cell is None:
        return ""
    value, low, high = (f"{cell[name]:.3f}".removeprefix("0") for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
