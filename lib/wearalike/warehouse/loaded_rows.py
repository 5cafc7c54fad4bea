"""The rows that a load takes, as both engines check, clean and show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.settings import RUN_PATTERN
from wearalike.tables import EXPERIMENT_TABLES, PUBLISHED_TABLES, Table
from wearalike.warehouse.base import Rejected

# Rows that a load takes at a time.
BATCH_ROWS = 16_384


def current_view_ddl(table: Table) -> str:
    """Return the DDL of the view that shows the published run alone."""
    return (
        f"CREATE VIEW current_{table.name} AS SELECT * FROM {table.name}"
        " WHERE run = (SELECT run FROM published)"
    )


def check_run_and_tables(run: str, rows: Mapping[str, ds.Dataset]) -> None:
    """Raise ValueError for a bad run name, or for other tables than the published ones."""
    if not RUN_PATTERN.fullmatch(run):
        raise ValueError(
            f"run {run!r}: wanted letters, digits, '_', '.', '-', at most 64, e.g. 2026-11-21"
        )
    wanted = {table.name for table in PUBLISHED_TABLES}
    if set(rows) - {table.name for table in EXPERIMENT_TABLES} != wanted:
        raise ValueError(f"run {run}: wanted the tables {sorted(wanted)}, got {sorted(rows)}")


def check_row_count(run: str, table: Table, found: int, counts: Mapping[str, int]) -> None:
    """Raise Rejected where the rows loaded are not as many as expected."""
    if found != (wanted := counts.get(table.name, 0)):
        raise Rejected(f"{table.name} of run {run}: {found} rows loaded, wanted {wanted}")


def find_rows(rows: Mapping[str, ds.Dataset], table: Table) -> ds.Dataset:
    """Return the rows of a table; none for one of an experiment that the run has not."""
    return rows.get(table.name) or ds.dataset(table.arrow_schema.empty_table())


def clean_batches(
    table: Table, rows: ds.Dataset, struck: Counter[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield a table's rows in batches, with text that both engines can hold.

    Args:
        table: The table.
        rows: Its rows.
        struck: Counts the changed texts by table name.
        batch_rows: Rows in a batch.
    """
    for batch in rows.to_batches(columns=table.column_names, batch_size=batch_rows):
        cleaned = [_clean_column(column) for column in batch.columns]
        struck[table.name] += sum(count for _, count in cleaned)
        yield pa.RecordBatch.from_arrays(
            [column for column, _ in cleaned], schema=table.arrow_schema
        )


def _clean_column(column: pa.Array) -> tuple[pa.Array, int]:
    """Return the column without NUL bytes and invalid UTF-8, and how many values that changed.

    Lone surrogates are the invalid UTF-8 that occurs.
    """
    is_list = pa.types.is_list(column.type)
    text = column.flatten() if is_list else column
    if not pa.types.is_string(text.type) or not _has_invalid_text(text):
        return column, 0
    raw = pa.list_(pa.binary()) if is_list else pa.binary()
    old = column.cast(raw).to_pylist()
    new = [
        None
        if v is None
        else [_strip_invalid_bytes(e) for e in v]
        if is_list
        else _strip_invalid_bytes(v)
        for v in old
    ]
    return pa.array(new, raw).cast(column.type), sum(a != b for a, b in zip(old, new, strict=True))


def _strip_invalid_bytes(value: bytes) -> bytes:
    """Remove NUL bytes and what is not UTF-8."""
    return value.replace(b"\0", b"").decode("utf-8", "ignore").encode()


def _has_invalid_text(text: pa.StringArray) -> bool:
    """Return True if a value holds a NUL byte or is not UTF-8.

    It looks at the whole buffer at once, since nearly no column has such a value.
    """
    _, offsets, data = text.buffers()
    if not len(text) or data is None:
        return False
    first, last = np.frombuffer(offsets, np.int32)[[text.offset, text.offset + len(text)]]
    if np.frombuffer(data, np.uint8)[first:last].min(initial=1) == 0:
        return True
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False
