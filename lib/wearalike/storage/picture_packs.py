"""Keep pictures in an object store in packs, since a request costs more than a picture's bytes.

| key | content |
|---|---|
| pictures/<pack>.tar | pictures, each by its SHA-256, in the order in which they came |
| pictures/<pack>.<hash>.parquet | the index of the pack: image_id, start, bytes; written last |

<pack> and <hash> begin the SHA-256 of both objects. A pack without index is never read. The indexes
are kept in the local cache; a picture is read by its range and checked against its own SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import tarfile
import threading
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wearalike.storage import atomic
from wearalike.storage.checked_files import hash_file
from wearalike.storage.image_files import image_path
from wearalike.storage.object_store import ObjectFacts, ObjectStore

log = logging.getLogger("wearalike.storage")

PREFIX = "pictures/"
INDEX_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("start", pa.int64()), ("bytes", pa.int64()), ("pack", pa.string())]
)
_STORED_COLUMNS = INDEX_SCHEMA.names[:3]
_NAME_CHARS = 32
# Bytes of pictures in one pack at most; a larger picture has a pack of its own.
MAX_PACK_BYTES = 64 << 20
# Bytes of pictures that are held at once while they are fetched.
_FETCH_BYTES = 64 << 20


class PicturePacks:
    """The packs of one store, with their indexes in a local cache."""

    def __init__(self, root: Path, store: ObjectStore) -> None:
        """Open them; nothing is read yet.

        Args:
            root: The local cache.
            store: The store.
        """
        self._root, self._store = root, store
        self._folder = root / "cache" / "packs"
        self._lock = threading.Lock()
        self._loaded = _Index(INDEX_SCHEMA.empty_table())

    def refresh(self) -> None:
        """Read the indexes that are new in the store, and forget those that are gone."""
        found = {
            facts.key.removeprefix(PREFIX): facts.modified_at.timestamp()
            for facts in self.list_objects()
            if _is_index(facts.key)
        }
        names = list(found)
        for name in names:
            path = self._folder / name
            if not (path.exists() and _hash_file(path) == name.split(".")[1]):
                with atomic.replace_file(path, sync_folder=False) as hidden:
                    if not self._store.download(PREFIX + name, hidden):
                        hidden.touch()  # pruned meanwhile
                    os.utime(hidden, (found[name], found[name]))
                if _hash_file(path) != name.split(".")[1]:
                    path.unlink()
                    log.warning("%s%s: no index of this name; its pictures are lost", PREFIX, name)
        for path in self._folder.glob("[!.]*.parquet"):
            if path.name not in names:
                path.unlink(missing_ok=True)
        self._load([self._folder / name for name in names if (self._folder / name).exists()])

    def list_objects(self) -> list[ObjectFacts]:
        """Return packs and indexes as the store lists them."""
        return self._store.list(PREFIX)

    @property
    def index(self) -> pa.Table:
        """Rows of INDEX_SCHEMA, a row for each picture of each pack."""
        return self._loaded.rows

    def size_bytes(self, image_id: str) -> int | None:
        """Return the size of a packed picture; None if no pack holds it."""
        loaded = self._loaded
        row = loaded.find_row(image_id)
        return None if row is None else int(loaded.rows["bytes"][row].as_py())

    def packed_at_s(self) -> dict[str, float]:
        """Return when each pack was written, seconds since 1970."""
        paths = self._folder.glob("[!.]*.parquet")
        return {path.name.split(".")[0]: path.stat().st_mtime for path in paths}

    def add(self, image_ids: Iterable[str]) -> None:
        """Pack pictures that lie in the local cache and in no pack.

        Args:
            image_ids: The pictures; those without a local file are left out.
        """
        group: list[str] = []
        group_bytes = 0
        for image_id in dict.fromkeys(image_ids):
            if self._loaded.find_row(image_id) is not None:
                continue
            try:
                size = image_path(self._root, image_id).stat().st_size
            except FileNotFoundError:
                continue
            if group and group_bytes + size > MAX_PACK_BYTES:
                self._write_pack(group)
                group, group_bytes = [], 0
            group.append(image_id)
            group_bytes += size
        if group:
            self._write_pack(group)

    def fetch(self, image_ids: Iterable[str]) -> int:
        """Write packed pictures into the local cache; those that lie there stay as they are.

        Args:
            image_ids: The pictures; those that no pack holds are left out.

        Returns:
            Pictures that were written.
        """
        missing = [i for i in dict.fromkeys(image_ids) if not image_path(self._root, i).exists()]
        loaded = self._loaded
        rows = [row for row in map(loaded.find_row, missing) if row is not None]
        wanted = loaded.rows.take(pa.array(rows, pa.int64())).sort_by(
            [("pack", "ascending"), ("start", "ascending")]
        )
        count = 0
        batch: list[dict[str, object]] = []
        for row in [*wanted.to_pylist(), None]:
            is_full = row is None or (
                batch
                and (row["pack"] != batch[0]["pack"] or _sum_bytes([*batch, row]) > _FETCH_BYTES)
            )
            if batch and is_full:
                count += self._fetch_batch(batch)
                batch = []
            if row is not None:
                batch.append(row)
        return count

    def remove(self, image_ids: pa.ChunkedArray) -> int:
        """Remove pictures: a pack of which less than half stays is written anew with the rest.

        Args:
            image_ids: The pictures.

        Returns:
            Bytes that went from the store.
        """
        index = self.index
        is_gone = pc.is_in(index["image_id"], image_ids.combine_chunks())
        freed = 0
        for pack in pc.unique(index.filter(is_gone)["pack"]).to_pylist():
            of_pack = pc.equal(index["pack"], pack)
            rows, gone = index.filter(of_pack), is_gone.filter(of_pack)
            gone_bytes = pc.sum(rows.filter(gone)["bytes"]).as_py()
            if 2 * gone_bytes < pc.sum(rows["bytes"]).as_py():
                continue
            kept_ids = rows.filter(pc.invert(gone))["image_id"].to_pylist()
            self.fetch(kept_ids)
            kept = [i for i in kept_ids if image_path(self._root, i).exists()]
            if kept:
                self._write_pack(kept)
            # The index first: a pack without one is no pack.
            keys = [f.key for f in self._store.list(PREFIX) if f.key.startswith(PREFIX + pack)]
            self._store.delete(sorted(keys, key=lambda key: not _is_index(key)))
            freed += gone_bytes
        self.refresh()
        return freed

    def _write_pack(self, image_ids: list[str]) -> None:
        """Write a pack, then its index."""
        rows = []
        path = self._folder / f".{uuid.uuid4().hex}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for image_id in image_ids:
                    content = image_path(self._root, image_id).read_bytes()
                    if hashlib.sha256(content).hexdigest() != image_id:
                        continue  # rotten on this disk; whoever reads it finds out
                    member = tarfile.TarInfo(image_id)
                    member.size = len(content)
                    rows.append((image_id, tar.offset + tarfile.BLOCKSIZE, len(content)))
                    tar.addfile(member, io.BytesIO(content))
            if not rows:
                return
            pack = _hash_file(path)
            columns = list(zip(*rows, strict=True))
            table = pa.table(dict(zip(_STORED_COLUMNS, columns, strict=True)))
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd")
            content = sink.getvalue().to_pybytes()
            name = f"{pack}.{hashlib.sha256(content).hexdigest()[:_NAME_CHARS]}.parquet"
            self._store.write(f"{PREFIX}{pack}.tar", path)
        finally:
            path.unlink(missing_ok=True)
        self._store.write(PREFIX + name, content)
        atomic.write_bytes(self._folder / name, content, sync_folder=False)
        with self._lock:
            self._loaded = _Index(pa.concat_tables([self.index, _with_pack(table, pack)]))

    def _fetch_batch(self, rows: list[dict[str, object]]) -> int:
        """Fetch pictures of one pack, and write those whose bytes are right."""
        key = f"{PREFIX}{rows[0]['pack']}.tar"
        starts, sizes = ([int(str(row[name])) for row in rows] for name in ("start", "bytes"))
        parts = self._store.read_ranges(key, starts, sizes)
        count = 0
        for row, content in zip(rows, parts or (), strict=False):
            image_id = str(row["image_id"])
            if hashlib.sha256(content).hexdigest() != image_id:
                log.warning("%s: the bytes of picture %s have changed", key, image_id)
                continue
            _write_unsynced(image_path(self._root, image_id), content)
            count += 1
        return count

    def _load(self, paths: Collection[Path]) -> None:
        parts = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                parts.append(_with_pack(pq.read_table(path), path.name.split(".")[0]))
        with self._lock:
            self._loaded = _Index(pa.concat_tables([INDEX_SCHEMA.empty_table(), *parts]))


class _Index:
    """Rows of INDEX_SCHEMA by picture. It never changes, so that readers need no lock."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows.sort_by([("image_id", "ascending"), ("pack", "ascending")])
        self._ids = self.rows["image_id"].to_numpy().astype("S64")

    def find_row(self, image_id: str) -> int | None:
        """Return the first row of a picture; None without one."""
        row = int(np.searchsorted(self._ids, np.bytes_(image_id)))
        is_there = row < len(self._ids) and self._ids[row].decode() == image_id
        return row if is_there else None


def _write_unsynced(path: Path, content: bytes) -> None:
    """Write a file whole. A power failure may lose it: whoever reads it checks its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        with atomic.wrap_disk_full(path):
            hidden.write_bytes(content)
            os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _with_pack(table: pa.Table, pack: str) -> pa.Table:
    names = pa.array([pack] * table.num_rows, pa.string())
    return table.select(_STORED_COLUMNS).append_column("pack", names).cast(INDEX_SCHEMA)


def _is_index(key: str) -> bool:
    return key.endswith(".parquet")


def _sum_bytes(rows: list[dict[str, object]]) -> int:
    return sum(int(str(row["bytes"])) for row in rows)


def _hash_file(path: Path) -> str:
    return hash_file(path)[:_NAME_CHARS]
