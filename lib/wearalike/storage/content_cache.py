"""Work kept by its content, for all runs: images and what models made of them.

| path | content |
|---|---|
| <data_dir>/cache/<kind>/<version>/*.parquet | rows of a kind of work, by the model's version |
| <data_dir>/cache/images/<first two>/<sha256> | the images |

The data folder may be the cache of an object store (`storage.mirror`). Rows are put there before
they are written here, and pictures lie there in packs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike.storage import atomic, mirror
from wearalike.storage.image_files import image_path, is_stored_image

__all__ = [
    "LostImage",
    "cache_rows",
    "cached_files",
    "fetch_images",
    "image_path",
    "image_size_bytes",
    "is_stored_image",
    "keep_images",
    "read_cached",
    "read_image",
    "remove_rows",
    "write_atomic",
]


class LostImage(ValueError):
    """A stored image is gone, or its bytes are not those of its name any more."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a file that exists is left as it is."""
    if not path.exists():
        atomic.write_bytes(path, content, sync_folder=False)


def fetch_images(root: Path, image_ids: Iterable[str]) -> None:
    """Bring images into the data folder, if it is the cache of an object store.

    Args:
        root: The data folder.
        image_ids: The images; those that are nowhere stored are left out.

    Raises:
        StoreFault: The store refuses, or does not answer.
    """
    if store := mirror.find_mirror(root):
        store.pictures.fetch(image_ids)


def keep_images(root: Path, image_ids: Iterable[str]) -> None:
    """Put images of the data folder into its object store, if it has one; call it for many."""
    if store := mirror.find_mirror(root):
        store.pictures.add(image_ids)


def image_size_bytes(root: Path, image_id: str) -> int | None:
    """Return the size of a stored image's file; None if there is none."""
    try:
        return image_path(root, image_id).stat().st_size
    except FileNotFoundError:
        store = mirror.find_mirror(root)
        return store.pictures.indexes.size_bytes(image_id) if store else None


def read_image(root: Path, image_id: str) -> bytes:
    """Read a stored image.

    A file whose bytes are not those of its name any more is removed, so that the next run requests
    the image anew. Where an object store holds the image, it is fetched from there.

    Raises:
        LostImage: The file is gone, or its bytes have changed.
    """
    path = image_path(root, image_id)
    fetch_images(root, [image_id])
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise LostImage(f"{path}: gone; the next run downloads it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != image_id:
        with contextlib.suppress(OSError):
            path.unlink()
        fetch_images(root, [image_id])
        if is_stored_image(root, image_id):
            return path.read_bytes()
        raise LostImage(
            f"{path}: its bytes have changed, sha256 {found}; the next run downloads it again"
        )
    return content


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
    if not path.exists() and (store := mirror.find_mirror(root)):
        store.rows.add(kind, version, name, content)
    write_atomic(path, content)
    return path


def cached_files(root: Path, kind: str, version: str) -> tuple[str, ...]:
    """Return the names of the files of a kind and version; they change with what is cached."""
    if store := mirror.find_mirror(root):
        store.rows.fetch(kind, version)
    return tuple(sorted(p.name for p in (root / "cache" / kind / version).glob("[!.]*.parquet")))


def remove_rows(root: Path, kind: str, version: str, paths: Iterable[Path]) -> None:
    """Remove files of cached rows that one of the others replaces.

    Args:
        root: The data folder.
        kind: Name of the cached work.
        version: The version of the model that made it.
        paths: The files, which may be gone.
    """
    gone = sorted(paths)
    if store := mirror.find_mirror(root):
        store.rows.remove(kind, version, [path.name for path in gone])
    for path in gone:
        path.unlink(missing_ok=True)


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
    if store := mirror.find_mirror(root):
        store.rows.fetch(kind, version)
    wanted = None if keys is None else pc.field(schema.names[0]).isin(keys)
    former_paths: list[str] | None = None
    while True:
        paths = sorted(map(str, (root / "cache" / kind / version).glob("[!.]*.parquet")))
        if not paths:
            return schema.empty_table()
        try:
            rows = ds.dataset(paths, schema=schema, format="parquet").to_table(filter=wanted)
            break
        except FileNotFoundError:
            # Another process has just merged the files into one. If not, they are not readable.
            if paths == former_paths:
                raise
            former_paths = paths
    return rows.group_by(schema.names, use_threads=False).aggregate([]).select(schema.names)
