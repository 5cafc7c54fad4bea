"""Keep a data folder in an object store; the folder is this machine's cache of it.

| key | content |
|---|---|
| manifests/, tables/ | the tables of runs, see `stored_tables` |
| cache/<kind>/<version>/<hash>.parquet | rows of cached work, named by their content |
| pictures/ | the pictures, see `picture_packs` |
| models/ | promoted models and the pointers to them |
| reports/ | the log of runs |

A folder knows its store by the file MARKER in it, so that every function that takes a folder works
on both.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from wearalike.storage import atomic
from wearalike.storage.checked_files import CheckedFiles, read_bytes
from wearalike.storage.object_store import ObjectFacts, ObjectStore
from wearalike.storage.picture_packs import PicturePacks
from wearalike.storage.stored_rows import StoredFiles, StoredRows
from wearalike.storage.stored_tables import StoredTables
from wearalike.storage_settings import StorageSettings

MARKER = ".object_store.json"


class CacheTaken(ValueError):
    """The cache folder holds another data folder than the one that the settings name."""


class Mirror:
    """One local cache of one store."""

    def __init__(self, root: Path, settings: StorageSettings) -> None:
        """Open it; nothing is sent yet.

        Args:
            root: The local cache.
            settings: Name the store.
        """
        assert settings.url
        self.root = root
        self.settings = settings
        self.url = settings.url
        self.store = ObjectStore(settings.url, settings.endpoint, settings.retry_s)
        self.pictures = PicturePacks(root, self.store)
        self.files = StoredFiles(root, self.store)
        checked = CheckedFiles()
        self.rows = StoredRows(root, self.store, checked)
        self.tables = StoredTables(root, self.store, checked)
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Take over what other machines have finished: manifests, indexes of pictures, models.

        Raises:
            StoreFault: The store refuses, or does not answer.
        """
        with self._lock:
            self.rows.forget()
            self.tables.refresh_all()
            self.pictures.indexes.refresh()
            self.files.fetch_models()
            self.files.fetch("reports/runs.jsonl")

    def list_unnamed(self) -> list[ObjectFacts]:
        """Return objects that no manifest and no index names: killed writers left them."""
        return self.tables.list_unnamed() + self.pictures.list_unnamed()


_mirrors: dict[Path, tuple[int, Mirror]] = {}


def attach_store(root: Path, settings: StorageSettings) -> Mirror | None:
    """Make a folder the cache of the store that the settings name.

    Args:
        root: The folder, which is created.
        settings: The settings; without `url` the folder is no cache.

    Raises:
        CacheTaken: It is the cache of another store, or a data folder of its own.
    """
    marker = root / MARKER
    facts = json.loads(settings.model_dump_json(exclude={"cache"})) | {"url": settings.url}
    known = _read_marker(root)
    if settings.url is None:
        if known:
            raise CacheTaken(f"{root}: the cache of {known['url']}; name that as data_dir")
        return None
    if known and known["url"] != settings.url:
        raise CacheTaken(
            f"{root}: the cache of {known['url']}, not of {settings.url}; name an empty folder as "
            "[storage] cache"
        )
    if known is None and any(root.glob("*/run=*")):
        raise CacheTaken(
            f"{root}: it holds tables of its own; name an empty folder as [storage] cache"
        )
    if known != facts:
        atomic.write_bytes(marker, (json.dumps(facts) + "\n").encode())
    mirror = Mirror(root, settings)
    _mirrors[root.absolute()] = (os.getpid(), mirror)
    return mirror


def open_cache(root: Path, settings: StorageSettings) -> None:
    """Make a folder the cache of a store, and take over what other machines have finished.

    Args:
        root: The data folder.
        settings: The settings; without `url` there is nothing to do.

    Raises:
        CacheTaken: It is the cache of another store, or a data folder of its own.
        StoreFault: The store refuses, or does not answer.
    """
    if store := attach_store(root, settings):
        store.refresh()


def find_mirror(root: Path) -> Mirror | None:
    """Return the mirror of a folder that is the cache of a store; None for any other folder."""
    if not os.path.exists(root / MARKER):
        return None
    key = root.absolute()
    pid, mirror = _mirrors.get(key, (0, None))
    if mirror is None or pid != os.getpid():
        mirror = Mirror(root, StorageSettings(cache=root, **(_read_marker(root) or {})))
        mirror.pictures.indexes.refresh()
        _mirrors[key] = (os.getpid(), mirror)
    return mirror


def _read_marker(root: Path) -> dict[str, Any] | None:
    """Return the facts of the store that a folder is the cache of; None for any other folder."""
    content = read_bytes(root / MARKER)
    if content is None:
        return None
    try:
        facts: dict[str, Any] = json.loads(content)
        return {"url": facts["url"], **facts}
    except (ValueError, TypeError, KeyError):
        raise CacheTaken(f"{root / MARKER}: damaged; empty the folder, which is a cache") from None
