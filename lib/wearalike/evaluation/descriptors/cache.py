"""Descriptors of items, kept by content: an item is described once by a version, whichever nights it is seen in.

<root>/cache/descriptors/<version>/*.parquet     item_id, kind of number, the numbers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.models.files import BadModel
from wearalike.storage import run_tables

CACHE_KIND = "descriptors"
# numbers: of little-endian float32, or bits packed into bytes.
CACHE_SCHEMA = pa.schema(
    [("item_id", pa.string()), ("kind", pa.string()), ("numbers", pa.binary())]
)
FLOAT_DISTANCES = ("cosine", "euclidean", "manhattan")
# Rows at a time, so that float64 copies stay small.
_BLOCK_ROWS = 4096
_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint8": np.dtype(np.uint8)}


FeatureRows = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CachedDescriptors:
    """What a version says of items. item_ids (n,); rows: float32 (n, d), or bits packed as uint8 (n, b), row i of item_ids[i]."""

    version: str
    item_ids: list[str]
    rows: FeatureRows

    @property
    def distances(self) -> tuple[str, ...]:
        return ("hamming",) if self.rows.dtype == np.uint8 else FLOAT_DISTANCES


def cached_versions(root: Path) -> list[str]:
    """Versions that have described anything, by name."""
    return sorted(
        path.name
        for path in (root / "cache" / CACHE_KIND).glob("*")
        if any(path.glob("[!.]*.parquet"))
    )


def cache_descriptors(root: Path, version: str, item_ids: Sequence[str], rows: FeatureRows) -> None:
    """Adds descriptors to those that are kept; row i is of item_ids[i]."""
    kind = str(rows.dtype)
    numbers = [row.astype(_DTYPES[kind]).tobytes() for row in rows]
    run_tables.cache_rows(
        root,
        CACHE_KIND,
        version,
        pa.table([list(item_ids), [kind] * len(item_ids), numbers], schema=CACHE_SCHEMA),
    )


def read_cached_descriptors(root: Path, version: str, item_ids: Sequence[str]) -> CachedDescriptors:
    """What is kept of these items, by item_id; those never described are left out. Raises BadModel for rows that do not fit together."""
    rows = (
        run_tables.read_cached(
            root, CACHE_KIND, version, CACHE_SCHEMA, pa.array(sorted(item_ids), pa.string())
        )
        .sort_by("item_id")
        .combine_chunks()
    )
    kinds, widths = set(rows["kind"].to_pylist()), {len(n) for n in rows["numbers"].to_pylist()}
    if len(kinds) > 1 or len(widths) > 1:
        raise BadModel(
            f"{root}: descriptors of {version} are of {len(kinds)} kinds and {len(widths)} widths, wanted one of each"
        )
    dtype = _DTYPES[kinds.pop() if kinds else "float32"]
    width = widths.pop() // dtype.itemsize if widths else 0
    numbers = np.frombuffer(b"".join(rows["numbers"].to_pylist()), dtype).reshape(len(rows), width)
    return CachedDescriptors(version, rows["item_id"].to_pylist(), numbers)


def compute_distances(one: FeatureRows, rows: FeatureRows, distance: str) -> NDArray[np.float64]:
    """How far each row is from one, float64 (n,), smaller is more alike.

    one: (d,), rows: (n, d), of one type. distance: "hamming" counts differing bits of uint8; of float32 "cosine" is 1 - cosine,
    0..2 (a row of zeros is 1 from all), "euclidean" and "manhattan" are sums over differences. Raises ValueError for another.
    """
    if distance == "hamming" and rows.dtype == np.uint8:
        return np.bitwise_count(np.bitwise_xor(rows, one)).sum(axis=1).astype(np.float64)
    if rows.dtype == np.uint8 or distance not in FLOAT_DISTANCES:
        raise ValueError(f"distance {distance!r} is not for {rows.dtype} rows")
    query = one.astype(np.float64)
    blocks = [
        _float_distances(query, rows[start : start + _BLOCK_ROWS].astype(np.float64), distance)
        for start in range(0, len(rows), _BLOCK_ROWS)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _float_distances(
    query: NDArray[np.float64], rows: NDArray[np.float64], distance: str
) -> NDArray[np.float64]:
    if distance == "manhattan":
        return np.abs(rows - query).sum(axis=1)
    if distance == "euclidean":
        return np.linalg.norm(rows - query, axis=1)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)
