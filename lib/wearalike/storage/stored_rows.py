"""Keep rows of cached work, and small files that are written again and again, in a store."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from wearalike.storage import atomic
from wearalike.storage.checked_files import CheckedFiles, hash_file, read_bytes, run_each
from wearalike.storage.object_store import (
    ObjectStore,
    ObjectVersion,
    StoreFault,
    VersionConflict,
)

_ATTEMPTS = 5
# A server that runs for days sees within a minute what other machines have added.
_MAX_AGE_S = 60.0


class FileConflict(StoreFault):
    """Another machine has put a file since it was fetched."""


class StoredRows:
    """Rows of cached work: objects named by their content, which never change."""

    def __init__(self, root: Path, store: ObjectStore, checked: CheckedFiles) -> None:
        """Open them; nothing is read yet.

        Args:
            root: The local cache.
            store: The store.
            checked: Files of the cache that were found right.
        """
        self._root, self._store, self._checked = root, store, checked
        self._lock = threading.Lock()
        # When each prefix was listed, monotonic seconds.
        self._fetched_at_s: dict[str, float] = {}

    def forget(self) -> None:
        """Look into the store again when rows are asked for."""
        self._fetched_at_s.clear()

    def add(self, kind: str, version: str, name: str, content: bytes) -> None:
        """Put rows; equal names mean equal bytes."""
        self._store.write(_prefix(kind, version) + name, content)

    def remove(self, kind: str, version: str, names: Iterable[str]) -> None:
        """Remove rows that a merged file replaces."""
        self._store.delete([_prefix(kind, version) + name for name in names])

    def fetch(self, kind: str, version: str) -> None:
        """Bring rows into the local cache, unless that was done lately.

        Raises:
            StoreFault: An object's bytes are not those of its name.
        """
        prefix = _prefix(kind, version)
        with self._lock:
            if self._is_fresh(prefix):
                return
            for _ in range(_ATTEMPTS):
                keys = [facts.key for facts in self._store.list(prefix)]
                new = [key for key in keys if not self._is_here(key)]
                with contextlib.suppress(FileNotFoundError):  # merged meanwhile
                    run_each(self._fetch_one, new)
                    break
            self._fetched_at_s[prefix] = time.monotonic()

    def fetch_kinds(self, kind: str | None = None) -> None:
        """Bring the rows of all versions of a kind, or of all kinds, into the local cache."""
        prefix = f"cache/{kind}/" if kind else "cache/"
        if self._is_fresh(prefix):
            return
        keys = [facts.key.split("/") for facts in self._store.list(prefix)]
        for one_kind, version in sorted({(key[1], key[2]) for key in keys if len(key) == 4}):
            self.fetch(one_kind, version)
        self._fetched_at_s[prefix] = time.monotonic()

    def _is_fresh(self, prefix: str) -> bool:
        at_s = self._fetched_at_s.get(prefix)
        return at_s is not None and time.monotonic() - at_s < _MAX_AGE_S

    def _is_here(self, key: str) -> bool:
        path = self._root / key
        return self._checked.is_whole(path, path.stem)

    def _fetch_one(self, key: str) -> None:
        path = self._root / key
        with atomic.replace_file(path, sync_folder=False) as hidden:
            if not self._store.download(key, hidden):
                raise FileNotFoundError(key)
            if not hash_file(hidden).startswith(path.stem):
                raise StoreFault(
                    f"{self._store.url}/{key}: its bytes are not those of its name; remove it, and "
                    "the work is done again"
                )


class StoredFiles:
    """Small files that are written again and again, each over the version that was read."""

    def __init__(self, root: Path, store: ObjectStore) -> None:
        """Open them; nothing is read yet.

        Args:
            root: The local cache.
            store: The store.
        """
        self._root, self._store = root, store

    def fetch(self, name: str) -> ObjectVersion | None:
        """Bring a file into the local cache.

        Args:
            name: Its path in the data folder.

        Returns:
            Its version, for `put`; None if there is none.
        """
        answer = self._store.read(name)
        if answer is None:
            return None
        path = self._root / name
        if read_bytes(path) != answer[0]:
            atomic.write_bytes(path, answer[0])
        modified_at_s = answer[1].modified_at.timestamp()
        os.utime(path, (modified_at_s, modified_at_s))
        return answer[1].version

    def fetch_models(self) -> None:
        """Bring models and the pointers to them, where they are new or were written again."""
        listed = self._store.list("models/")
        # A pointer comes after the model that it names.
        for facts in sorted(listed, key=lambda facts: facts.key.endswith(".json")):
            path = self._root / facts.key
            at_s = facts.modified_at.timestamp()
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if (found.st_mtime, found.st_size) == (at_s, facts.bytes):
                    continue
            self.fetch(facts.key)
            # The time of a listing: some stores tell it finer there than beside an object.
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (at_s, at_s))

    def fetch_new(self, folder: str) -> None:
        """Bring those files of a folder, each put once, that are not in the local cache."""
        for facts in self._store.list(f"{folder}/"):
            if not (self._root / facts.key).exists():
                self.fetch(facts.key)

    def put_once(self, name: str, content: bytes | Path) -> None:
        """Put a file that never changes, so that it is the same whoever puts it."""
        self._store.write(name, content)

    def put(self, name: str, content: bytes, former: ObjectVersion | None) -> None:
        """Put a file over the version that `fetch` returned.

        Raises:
            FileConflict: Another machine has put another since.
            StoreFault: The store refuses, or does not answer.
        """
        try:
            if former is None:
                self._store.create(name, content)
            else:
                self._store.replace(name, content, former)
        except VersionConflict:
            # A request that was sent again may meet its own first success.
            answer = self._store.read(name)
            if answer is None or answer[0] != content:
                raise FileConflict(
                    f"{self._store.url}/{name}: another machine has written it meanwhile; try again"
                ) from None


def _prefix(kind: str, version: str) -> str:
    return f"cache/{kind}/{version}/"
