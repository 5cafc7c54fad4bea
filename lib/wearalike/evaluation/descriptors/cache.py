"""Descriptors of items, cached by content: a version describes an item once for all runs.

<data_dir>/cache/descriptors/<version>/*.parquet     item_id, kind of number, the numbers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.models.files import BadModel
from wearalike.storage import content_cache, mirror

CACHE_KIND = "descriptors"
# numbers: little-endian float32, or bits packed into bytes.
CACHE_SCHEMA = pa.schema(
    [("item_id", pa.string()), ("kind", pa.string()), ("numbers", pa.binary())]
)
CACHED_FLOAT_DISTANCES = ("cosine", "euclidean", "manhattan")
# Rows whose distances are computed at once, so that float64 copies stay small.
_BLOCK_ROWS = 4096
_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint8": np.dtype(np.uint8)}


@dataclass(frozen=True, slots=True)
class CachedDescriptors:
    """Descriptors of items by one version.

    Attributes:
        version: Version of the descriptor.
        item_ids: The items.
        rows: Row i describes item i: float32 (n, d), or bits packed as uint8 (n, b).
    """

    version: str
    item_ids: list[str]
    rows: FeatureRows

    @property
    def distances(self) -> tuple[str, ...]:
        """Distances that apply to the rows."""
        return ("hamming",) if self.rows.dtype == np.uint8 else CACHED_FLOAT_DISTANCES


def cached_versions(root: Path) -> list[str]:
    """Return the versions that have described anything.

    Args:
        root: The data directory.

    Returns:
        Versions by name.
    """
    if store := mirror.find_mirror(root):
        store.rows.fetch_kinds(CACHE_KIND)
    folders = (root / "cache" / CACHE_KIND).glob("*")
    return sorted(folder.name for folder in folders if any(folder.glob("[!.]*.parquet")))


def cache_descriptors(root: Path, version: str, item_ids: Sequence[str], rows: FeatureRows) -> None:
    """Add descriptors to the cache.

    Args:
        root: The data directory.
        version: Version of the descriptor.
        item_ids: The items.
        rows: Row i describes item i.
    """
    kind = str(rows.dtype)
    numbers = [row.astype(_DTYPES[kind]).tobytes() for row in rows]
    columns = [list(item_ids), [kind] * len(item_ids), numbers]
    content_cache.cache_rows(root, CACHE_KIND, version, pa.table(columns, schema=CACHE_SCHEMA))


def read_cached_descriptors(root: Path, version: str, item_ids: Sequence[str]) -> CachedDescriptors:
    """Read the cached descriptors of items; items never described are left out.

    Args:
        root: The data directory.
        version: Version of the descriptor.
        item_ids: The items.

    Returns:
        The descriptors, by item_id.

    Raises:
        BadModel: The rows have more than one kind or width.
    """
    wanted = pa.array(sorted(item_ids), pa.string())
    table = content_cache.read_cached(root, CACHE_KIND, version, CACHE_SCHEMA, wanted)
    table = table.sort_by("item_id").combine_chunks()
    numbers = table["numbers"].to_pylist()
    kinds = set(table["kind"].to_pylist())
    widths = {len(row) for row in numbers}
    if len(kinds) > 1 or len(widths) > 1:
        raise BadModel(
            f"{root}: descriptors of {version} are of {len(kinds)} kinds and "
            f"{len(widths)} widths, wanted one of each"
        )
    dtype = _DTYPES[kinds.pop() if kinds else "float32"]
    width = widths.pop() // dtype.itemsize if widths else 0
    rows = np.frombuffer(b"".join(numbers), dtype).reshape(len(table), width)
    return CachedDescriptors(version, table["item_id"].to_pylist(), rows)


def compute_distances(one: FeatureRows, rows: FeatureRows, distance: str) -> NDArray[np.float64]:
    """Compute the distance of each row from one; smaller is more alike.

    Args:
        one: (d,). One row, of the same type.
        rows: (n, d).
        distance: "hamming" counts the differing bits of uint8. For float32, "cosine" is 1 - cosine,
            0..2, and a row of zeros is at 1 from all; "euclidean" and "manhattan".

    Returns:
        float64 (n,).

    Raises:
        ValueError: The distance is unknown, or does not apply to such rows.
    """
    if distance == "hamming" and rows.dtype == np.uint8:
        return np.bitwise_count(np.bitwise_xor(rows, one)).sum(axis=1).astype(np.float64)
    if rows.dtype == np.uint8 or distance not in CACHED_FLOAT_DISTANCES:
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
    """Return the distances of float64 rows from a query."""
    if distance == "manhattan":
        return np.abs(rows - query).sum(axis=1)
    if distance == "euclidean":
        return np.linalg.norm(rows - query, axis=1)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)
