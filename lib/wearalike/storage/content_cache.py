"""Work kept by its content, for all runs: images and what models made of them.

| path | content |
|---|---|
| <data_dir>/cache/<kind>/<version>/*.parquet | rows of a kind of work, by the model's version |
| <data_dir>/cache/images/<first two>/<sha256> | the images |
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike.storage import atomic


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a file that exists is left as it is."""
    if not path.exists():
        atomic.write_bytes(path, content, sync_folder=False)


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of the image with this SHA-256, which need not exist."""
    return root / "cache" / "images" / image_id[:2] / image_id


def cache_rows(root: Path, kind: str, version: str, rows: pa.Table) -> Path | None:
    """Add rows to the cache of a kind and version, whole or not at all.

    Rows with equal keys must be equal.

    Returns:
        The file, named by its content, so it may have been there; None for no rows.
    """
    if not rows.num_rows:
        return None
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    path = root / "cache" / kind / version / name
    write_atomic(path, content)
    return path


def read_cached(
    root: Path, kind: str, version: str, schema: pa.Schema, keys: pa.Array | None = None
) -> pa.Table:
    """Read the cached rows of a kind and version; equal rows are returned once.

    Args:
        root: The data folder.
        kind: Name of the cached work, e.g. "codes".
        version: The version of the model that made it.
        schema: Columns of the rows; the first is the key.
        keys: If given, only rows with these keys.
    """
    paths = sorted(map(str, (root / "cache" / kind / version).glob("[!.]*.parquet")))
    if not paths:
        return schema.empty_table()
    wanted = None if keys is None else pc.field(schema.names[0]).isin(keys)
    rows = ds.dataset(paths, schema=schema, format="parquet").to_table(filter=wanted)
    return rows.group_by(schema.names, use_threads=False).aggregate([]).select(schema.names)
