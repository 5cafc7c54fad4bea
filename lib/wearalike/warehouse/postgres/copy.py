"""Encode Arrow batches as the stream of PostgreSQL's binary COPY, one column at a time.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". Every field is
its length in bytes (four bytes, big-endian; -1 for null) and its value as the type's own receive
function reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def encode_binary_copy(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Buffer]:
    """Yield the stream that `COPY ... FROM STDIN (FORMAT binary)` takes: header, rows, trailer.

    PostgreSQL converts nothing here, so the table's columns must have exactly these types.

    Args:
        batches: Columns of text, int32, int64, float32, float64, or lists of text. Lists and their
            elements have no nulls; the others may.
    """
    yield pa.py_buffer(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for batch in batches:
        # An empty file is one empty batch, which Arrow would encode as an empty row.
        if not batch.num_rows:
            continue
        count = pa.scalar(struct.pack(">h", batch.num_columns), pa.binary())
        rows = _join_binaries(
            count, *(piece for column in batch.columns for piece in _encode_field(column))
        )
        _, _, data = rows.buffers()
        if data is not None:
            yield data
    yield pa.py_buffer(b"\xff\xff")


def _encode_field(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return each row's field length (-1 for null) and its bytes."""
    if pa.types.is_list(column.type):
        is_known = column.is_valid()
        lengths = pc.list_value_length(column).fill_null(0)
        texts = pa.ListArray.from_arrays(
            _list_offsets(lengths), _join_binaries(*_encode_field(column.flatten()))
        )
        # Dimensions, no nulls, the type text, then the one dimension's length and first index.
        heads = np.tile(np.array([1, 0, 25, 0, 1], ">i4"), (len(column), 1))
        heads[:, 3] = lengths
        fields = _join_binaries(_fixed_width_binaries(heads), pc.binary_join(texts, b""))
        column = pc.if_else(is_known, fields, None)
    elif pa.types.is_string(column.type):
        column = column.cast(pa.binary())
    else:
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        column = pc.if_else(
            column.is_valid(),
            _fixed_width_binaries(values.astype(values.dtype.newbyteorder(">"))),
            None,
        )
    return _fixed_width_binaries(
        pc.binary_length(column).fill_null(-1).to_numpy().astype(">i4")
    ), column.fill_null(b"")


def _fixed_width_binaries(values: np.ndarray[Any, Any]) -> pa.Array:
    """Return (N,) or (N, k) numbers as N binaries, each number's bytes as they are."""
    width = values.nbytes // len(values) if len(values) else 0
    offsets = np.arange(0, values.nbytes + 1, width or 1, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    )


def _list_offsets(lengths: pa.Array) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _join_binaries(*pieces: pa.Array | pa.Scalar) -> pa.Array:
    """Return (N,) binaries: those of each row, one after the other."""
    return pc.binary_join_element_wise(*pieces, b"")
