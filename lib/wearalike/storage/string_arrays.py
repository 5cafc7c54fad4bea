"""Columns of texts of a million rows, in a few bytes a row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Texts:
    """Texts that are all different, as ids are: Arrow's one buffer in place of an object each. It is asked as an object array
    (n,) is, by row, rows or mask; Arrow takes it as the column that it is, and NumPy makes objects of all of it only where it must.
    """

    __slots__ = ("_column",)

    def __init__(self, column: pa.ChunkedArray) -> None:
        """column: strings without nulls."""
        self._column: pa.StringArray = column.combine_chunks()

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, rows: Any) -> Any:
        """The text of a row, or an object array of those of several."""
        if isinstance(rows, int | np.integer):
            return self._column[int(rows)].as_py()
        at = (
            rows
            if isinstance(rows, np.ndarray) and rows.dtype.kind == "i"
            else np.arange(len(self))[rows]
        )
        return np.asarray(self._column.take(pa.array(at)).to_pylist(), dtype=object)

    def __iter__(self) -> Iterator[str]:
        return (text.as_py() for text in self._column)

    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Row by row, as an object array says it."""
        if isinstance(other, str):
            return np.asarray(pc.equal(self._column, other).to_numpy(zero_copy_only=False))
        return np.asarray(self) == other

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._column.to_pylist(), dtype=object if dtype is None else dtype)

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return self._column if type is None else self._column.cast(type)

    def tolist(self) -> list[str]:
        return list(self._column.to_pylist())

    def searchsorted(self, texts: Any, side: str = "left", sorter: None = None) -> Any:
        """Where a text, or each of several, stands or would stand in them, which are sorted; np.searchsorted asks this."""
        if side != "left" or sorter is not None:
            raise ValueError(f"side {side!r}, sorter {sorter!r}: wanted 'left' and none")
        if isinstance(texts, str):
            return bisect_left(range(len(self)), texts, key=self.__getitem__)
        return np.array([self.searchsorted(text) for text in texts], np.int64)


def intern_texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Few texts many times over, as an object array (n,) in which equal texts are one object; None for a null."""
    words = column.combine_chunks().dictionary_encode()
    objects = np.array([*words.dictionary.to_pylist(), None], dtype=object)
    return np.asarray(objects[words.indices.fill_null(-1).to_numpy()])
