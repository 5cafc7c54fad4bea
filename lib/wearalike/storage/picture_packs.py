"""Keep pictures in an object store in packs, since a request costs more than a picture's bytes.

| key | content |
|---|---|
| pictures/<pack>.tar | pictures, each by its SHA-256, in the order in which they came |
| pictures/<pack>.<hash>.parquet | the index of the pack: image_id, start, bytes; written last |

<pack> and <hash> begin the SHA-256 of both objects. A pack without index is never read. The indexes
are kept in the local cache; a picture is read by its range and checked against its own SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tarfile
import uuid
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.storage import atomic
from wearalike.storage.checked_files import hash_file
from wearalike.storage.image_files import image_path, is_stored_image
from wearalike.storage.object_store import ObjectFacts, ObjectStore
from wearalike.storage.pack_indexes import INDEX_SCHEMA, NAME_CHARS, PREFIX, PackIndexes, is_index

log = logging.getLogger("wearalike.storage")

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
        self.indexes = PackIndexes(root, store)

    def list_objects(self) -> list[ObjectFacts]:
        """Return packs and indexes as the store lists them."""
        return self._store.list(PREFIX)

    def list_unnamed(self) -> list[ObjectFacts]:
        """Return packs without an index: killed writers left them."""
        found = self.list_objects()
        indexed = {f.key.split(".")[0] for f in found if is_index(f.key)}
        return [f for f in found if f.key.split(".")[0] not in indexed]

    def add(self, image_ids: Iterable[str]) -> None:
        """Pack pictures that lie in the local cache and in no pack.

        Args:
            image_ids: The pictures; those without a local file are left out.
        """
        group: list[str] = []
        group_bytes = 0
        for image_id in dict.fromkeys(image_ids):
            if self.indexes.size_bytes(image_id) is not None:
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

    def fetch(self, image_ids: Iterable[str]) -> None:
        """Write packed pictures into the local cache; those that lie there stay as they are.

        A picture whose bytes are no longer in its pack goes from the index, so that the next run
        downloads it again.

        Args:
            image_ids: The pictures; those that no pack holds are left out.
        """
        missing = [i for i in dict.fromkeys(image_ids) if not image_path(self._root, i).exists()]
        lost = self._fetch_rows(self.indexes.find(missing))
        if lost.num_rows:
            self.indexes.refresh()  # another machine may have packed them anew meanwhile
            lost = self._fetch_rows(self.indexes.find(lost["image_id"].to_pylist()))
        if lost.num_rows:
            log.warning(
                "%d pictures of %s/%s are lost or changed, the first %s; the next run downloads "
                "them again",
                lost.num_rows,
                self._store.url,
                PREFIX,
                lost["image_id"][0],
            )
            self.indexes.forget(lost)
            # Two machines may have packed the same picture.
            self._fetch_rows(self.indexes.find(lost["image_id"].to_pylist()))

    def remove(self, image_ids: pa.ChunkedArray) -> int:
        """Remove pictures: a pack of which less than half stays is written anew with the rest.

        Args:
            image_ids: The pictures.

        Returns:
            Bytes that went from the store.
        """
        index = self.indexes.rows
        is_gone = pc.is_in(index["image_id"], image_ids.combine_chunks())
        freed = 0
        for pack in pc.unique(index.filter(is_gone)["pack"]).to_pylist():
            of_pack = pc.equal(index["pack"], pack)
            rows, gone = index.filter(of_pack), is_gone.filter(of_pack)
            gone_bytes = pc.sum(rows.filter(gone)["bytes"]).as_py()
            if 2 * gone_bytes < pc.sum(rows["bytes"]).as_py():
                continue
            kept_ids = rows.filter(pc.invert(gone))["image_id"].to_pylist()
            for image_id in kept_ids:
                if not is_stored_image(self._root, image_id):
                    # The pack may hold the last good copy of one that is rotten on this disk.
                    image_path(self._root, image_id).unlink(missing_ok=True)
            self.fetch(kept_ids)
            kept = [i for i in kept_ids if image_path(self._root, i).exists()]
            if kept:
                self._write_pack(kept)
            # The index first: a pack without one is no pack.
            self._store.delete(self.indexes.list_keys(pack))
            self._store.delete([f"{PREFIX}{pack}.tar"])
            freed += gone_bytes
        self.indexes.refresh()
        return freed

    def _write_pack(self, image_ids: list[str]) -> None:
        """Write a pack, then its index."""
        rows = []
        path = self.indexes.folder / f".{uuid.uuid4().hex}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for image_id in image_ids:
                    content = image_path(self._root, image_id).read_bytes()
                    if hashlib.sha256(content).hexdigest() != image_id:
                        continue  # rotten on this disk; whoever reads it finds out
                    member = tarfile.TarInfo(image_id)
                    member.size = len(content)
                    start = tar.offset + tarfile.BLOCKSIZE
                    rows.append({"image_id": image_id, "start": start, "bytes": len(content)})
                    tar.addfile(member, io.BytesIO(content))
            if not rows:
                return
            pack = hash_file(path)[:NAME_CHARS]
            self._store.write(f"{PREFIX}{pack}.tar", path)
        finally:
            path.unlink(missing_ok=True)
        self.indexes.write(pack, pa.Table.from_pylist(rows))

    def _fetch_rows(self, wanted: pa.Table) -> pa.Table:
        """Fetch pictures, neighbours of one pack at a time; return the rows of the lost ones."""
        lost = []
        batch: list[dict[str, object]] = []
        for row in [*wanted.to_pylist(), None]:
            is_full = row is None or (
                batch
                and (row["pack"] != batch[0]["pack"] or _sum_bytes([*batch, row]) > _FETCH_BYTES)
            )
            if batch and is_full:
                lost += self._fetch_batch(batch)
                batch = []
            if row is not None:
                batch.append(row)
        return pa.Table.from_pylist(lost, INDEX_SCHEMA)

    def _fetch_batch(self, rows: list[dict[str, object]]) -> list[dict[str, object]]:
        """Fetch pictures of one pack, write those whose bytes are right, return the others."""
        key = f"{PREFIX}{rows[0]['pack']}.tar"
        starts, sizes = ([int(str(row[name])) for row in rows] for name in ("start", "bytes"))
        parts = self._store.read_ranges(key, starts, sizes)
        if parts is None:
            return rows
        lost = []
        for row, content in zip(rows, parts, strict=True):
            image_id = str(row["image_id"])
            if hashlib.sha256(content).hexdigest() == image_id:
                _write_unsynced(image_path(self._root, image_id), content)
            else:
                lost.append(row)
        return lost


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


def _sum_bytes(rows: list[dict[str, object]]) -> int:
    return sum(int(str(row["bytes"])) for row in rows)
