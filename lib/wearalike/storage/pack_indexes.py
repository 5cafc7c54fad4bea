"""Keep the indexes of packs in a local cache: they say where in which pack a picture lies.

The object pictures/<pack>.<hash>.parquet is the index of a pack. <hash> begins its own SHA-256, so
that a damaged one is known by its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wearalike.storage import atomic
from wearalike.storage.checked_files import hash_file, run_each
from wearalike.storage.object_store import ObjectStore

log = logging.getLogger("wearalike.storage")

PREFIX = "pictures/"
INDEX_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("start", pa.int64()), ("bytes", pa.int64()), ("pack", pa.string())]
)
_STORED_COLUMNS = INDEX_SCHEMA.names[:3]
NAME_CHARS = 32


class PackIndexes:
    """The indexes of all packs of one store."""

    def __init__(self, root: Path, store: ObjectStore) -> None:
        """Open them; nothing is read yet.

        Args:
            root: The local cache.
            store: The store.
        """
        self.folder = root / "cache" / "packs"
        self._store = store
        self._lock = threading.RLock()
        self._loaded = _SortedRows(INDEX_SCHEMA.empty_table())

    def refresh(self) -> None:
        """Read the indexes that are new in the store, and forget those that are gone."""
        with self._lock:
            found = {
                facts.key.removeprefix(PREFIX): facts.modified_at.timestamp()
                for facts in self._store.list(PREFIX)
                if is_index(facts.key)
            }
            new = [name for name in found if not self._is_whole(name)]
            run_each(lambda name: self._fetch(name, found[name]), new)
            for path in self._list_files():
                if path.name not in found:
                    path.unlink(missing_ok=True)
            self._load(found)

    @property
    def rows(self) -> pa.Table:
        """Rows of INDEX_SCHEMA by image_id, a row for each picture of each pack."""
        return self._loaded.rows

    def find(self, image_ids: Iterable[str]) -> pa.Table:
        """Return a row of INDEX_SCHEMA for each picture that a pack holds, by pack and start."""
        loaded = self._loaded
        found = [row for row in map(loaded.find_row, image_ids) if row is not None]
        return loaded.rows.take(pa.array(found, pa.int64())).sort_by(
            [("pack", "ascending"), ("start", "ascending")]
        )

    def size_bytes(self, image_id: str) -> int | None:
        """Return the size of a packed picture; None if no pack holds it."""
        loaded = self._loaded
        row = loaded.find_row(image_id)
        return None if row is None else int(loaded.rows["bytes"][row].as_py())

    def packed_at_s(self) -> dict[str, float]:
        """Return when each pack was written, seconds since 1970."""
        return {_pack_of(path.name): path.stat().st_mtime for path in self._list_files()}

    def list_keys(self, pack: str) -> list[str]:
        """Return the keys of a pack's indexes."""
        return [PREFIX + path.name for path in self.folder.glob(f"{pack}.*.parquet")]

    def write(self, pack: str, rows: pa.Table) -> str:
        """Put the index of a pack that stands.

        Args:
            pack: Its name.
            rows: image_id, start and bytes of its pictures.

        Returns:
            The key of the index.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(rows.select(_STORED_COLUMNS), sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        name = f"{pack}.{hashlib.sha256(content).hexdigest()[:NAME_CHARS]}.parquet"
        self._store.write(PREFIX + name, content)
        with self._lock:
            atomic.write_bytes(self.folder / name, content, sync_folder=False)
            self._loaded = _SortedRows(pa.concat_tables([self.rows, _add_pack(rows, pack)]))
        return PREFIX + name

    def forget(self, lost: pa.Table) -> None:
        """Take pictures out of the indexes of their packs, which no longer hold their bytes.

        Args:
            lost: Their rows of INDEX_SCHEMA.
        """
        with self._lock:
            for pack in pc.unique(lost["pack"]).to_pylist():
                former = set(self.list_keys(pack))
                ids = lost.filter(pc.equal(lost["pack"], pack))["image_id"].combine_chunks()
                of_pack = self.rows.filter(pc.equal(self.rows["pack"], pack))
                left = of_pack.filter(pc.invert(pc.is_in(of_pack["image_id"], ids)))
                if left.num_rows:
                    former -= {self.write(pack, left.sort_by("start"))}
                self._store.delete(sorted(former))
            self.refresh()

    def _list_files(self) -> list[Path]:
        return list(self.folder.glob("[!.]*.parquet"))

    def _is_whole(self, name: str) -> bool:
        try:
            return hash_file(self.folder / name).startswith(name.split(".")[1])
        except FileNotFoundError:
            return False

    def _fetch(self, name: str, modified_at_s: float) -> None:
        path = self.folder / name
        with atomic.replace_file(path, sync_folder=False) as hidden:
            self._store.download(PREFIX + name, hidden)
            os.utime(hidden, (modified_at_s, modified_at_s))
        if not self._is_whole(name):
            path.unlink(missing_ok=True)
            log.warning("%s%s: gone, or no index of this name", PREFIX, name)

    def _load(self, names: Iterable[str]) -> None:
        parts = []
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                parts.append(_add_pack(pq.read_table(self.folder / name), _pack_of(name)))
        self._loaded = _SortedRows(pa.concat_tables([INDEX_SCHEMA.empty_table(), *parts]))


class _SortedRows:
    """Rows of INDEX_SCHEMA by picture. It never changes, so that readers need no lock."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows.sort_by([("image_id", "ascending"), ("pack", "ascending")])
        self._ids = self.rows["image_id"].to_numpy().astype("S64")

    def find_row(self, image_id: str) -> int | None:
        """Return the first row of a picture; None without one."""
        row = int(np.searchsorted(self._ids, np.bytes_(image_id)))
        is_there = row < len(self._ids) and self._ids[row].decode() == image_id
        return row if is_there else None


def is_index(key: str) -> bool:
    """Return True for the key of an index; False for that of a pack."""
    return key.endswith(".parquet")


def _pack_of(name: str) -> str:
    return name.split(".")[0]


def _add_pack(rows: pa.Table, pack: str) -> pa.Table:
    names = pa.array([pack] * rows.num_rows, pa.string())
    return rows.select(_STORED_COLUMNS).append_column("pack", names).cast(INDEX_SCHEMA)
