"""Keep the tables of runs in an object store: their files, and manifests that commit them.

| key | content |
|---|---|
| manifests/<table>/run=<run>.json | the manifest of a run's table: its commit, put last |
| tables/<table>/run=<run>/<hash>/... | the files that the manifest of this hash names |

A manifest is put on condition that the version stands which the writer has seen, or none. A table
without a manifest is not there, whatever lies under its keys. Files of former versions stay until
`wearalike prune`, so that whoever reads them ends. Files come into the folder when they
are read, and are checked against the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from wearalike.storage import atomic
from wearalike.storage.checked_files import CheckedFiles, hash_file, read_bytes, run_each
from wearalike.storage.object_store import (
    ObjectFacts,
    ObjectStore,
    ObjectVersion,
    StoreFault,
    VersionConflict,
)

log = logging.getLogger("wearalike.storage")

MANIFEST_NAME = "_manifest.json"
# Beside a manifest: the version that the object store gave it.
VERSION_NAME = ".version.json"
_ATTEMPTS = 5
_HASH_CHARS = 32
_MANIFEST_KEY = re.compile(r"manifests/([a-z_]+)/run=([\w.-]+)\.json")


class WriterConflict(Exception):
    """Another writer has finished the table since this one began; its table is in the folder."""


class StoredTables:
    """The tables of one store, with a local cache."""

    def __init__(self, root: Path, store: ObjectStore, checked: CheckedFiles) -> None:
        """Open them; nothing is read yet.

        Args:
            root: The local cache.
            store: The store.
            checked: Files of the cache that were found right.
        """
        self._root, self._store, self._checked = root, store, checked

    def refresh_all(self) -> None:
        """Take over the manifests that other machines have put, and forget removed tables."""
        found = {}
        for facts in self._store.list("manifests/"):
            if match := _MANIFEST_KEY.fullmatch(facts.key):
                found[match[1], match[2]] = facts
        stale = [
            name
            for name, facts in found.items()
            if (known := _read_version(self._folder(*name))) is None
            or known.e_tag != facts.version.e_tag
        ]
        for marker in self._root.glob(f"*/run=*/{VERSION_NAME}"):
            name = marker.parent.parent.name, marker.parent.name.removeprefix("run=")
            if name not in found:
                stale.append(name)  # removed by another machine, or made since the listing
        run_each(lambda name: self.refresh(*name), stale)

    def refresh(self, table: str, run: str) -> ObjectVersion | None:
        """Take over the present manifest of a table.

        Args:
            table: Its name.
            run: The run.

        Returns:
            The version of the manifest; None if no run has finished the table.
        """
        folder = self._folder(table, run)
        answer = self._store.read(_manifest_key(table, run))
        if answer is None:
            if (folder / VERSION_NAME).exists():
                atomic.remove_dir(folder)
            return None
        content, facts = answer
        for _ in range(_ATTEMPTS):
            if read_bytes(folder / MANIFEST_NAME) == content:
                _write_version(folder, facts.version)
                break
            with atomic.staging_dir(folder) as hidden:
                (hidden / MANIFEST_NAME).write_bytes(content)
                at_s = facts.modified_at.timestamp()
                os.utime(hidden / MANIFEST_NAME, (at_s, at_s))
                _write_version(hidden, facts.version)
                self._install(hidden, folder, content)
        return facts.version

    def commit(self, hidden: Path, table: str, run: str, former: ObjectVersion | None) -> None:
        """Put the files of a finished table and then its manifest, and keep them in the folder.

        Args:
            hidden: The filled folder, with its manifest.
            table: Its name.
            run: The run.
            former: Version of the manifest when the work began; None if there was none.

        Raises:
            WriterConflict: Another writer's manifest stands there by now; it was taken over.
            StoreFault: The store refuses, or does not answer. No reader sees anything of it.
        """
        content = (hidden / MANIFEST_NAME).read_bytes()
        key, prefix = _manifest_key(table, run), _files_prefix(table, run, content)
        names = list(json.loads(content)["files"])
        run_each(lambda name: self._store.write(prefix + name, hidden / name), names)
        try:
            if former is None:
                version = self._store.create(key, content)
            else:
                version = self._store.replace(key, content, former)
        except VersionConflict:
            # A request that was sent again may meet its own first success.
            answer = self._store.read(key)
            if answer is None or answer[0] != content:
                self.refresh(table, run)
                raise WriterConflict(f"{self._store.url}/{key}") from None
            version = answer[1].version
        _write_version(hidden, version)
        folder = self._folder(table, run)
        for _ in range(_ATTEMPTS):
            if read_bytes(folder / MANIFEST_NAME) == content:
                break
            self._install(hidden, folder, content)

    def fetch(
        self, table: str, run: str, is_wanted: Callable[[str], bool] = lambda name: True
    ) -> None:
        """Bring files of a table into the folder, and heal those whose bytes have changed.

        Args:
            table: Its name.
            run: The run.
            is_wanted: Chooses files by their names; default: all.

        Raises:
            StoreFault: A file is lost, or its bytes are not those that the manifest names.
        """
        folder = self._folder(table, run)
        for attempt in range(_ATTEMPTS):
            content = read_bytes(folder / MANIFEST_NAME)
            if content is None:
                return
            files: dict[str, str] = json.loads(content)["files"]
            prefix = _files_prefix(table, run, content)
            wanted = [name for name in files if is_wanted(name)]
            missing = [n for n in wanted if not self._checked.is_whole(folder / n, files[n])]
            try:
                fetch = self._build_fetch(folder, prefix, files)
                run_each(fetch, missing)
                return
            except FileNotFoundError as error:
                # Another machine may have made the table again meanwhile.
                former = _read_version(folder)
                if self.refresh(table, run) in (former, None) or attempt + 1 == _ATTEMPTS:
                    raise StoreFault(
                        f"{self._store.url}/{error}: gone, and the manifest of {table} names it; "
                        "run the table's job again with --force"
                    ) from None

    def remove(self, table: str, run: str) -> None:
        """Remove a table from the store: its manifest first, so that no reader sees a part."""
        self._store.delete([_manifest_key(table, run)])
        self._store.delete([f.key for f in self._store.list(f"tables/{table}/run={run}/")])

    def remove_files(self, table: str, run: str, folder: str) -> None:
        """Remove a folder of a table's files, such as its candidates; its manifest stays."""
        keys = [f.key for f in self._store.list(f"tables/{table}/run={run}/")]
        self._store.delete([key for key in keys if key.split("/")[4] == folder])

    def list_runs_with(self, table: str, folder: str) -> set[str]:
        """Return the runs of a table that has files in a folder of this name."""
        keys = [facts.key.split("/") for facts in self._store.list(f"tables/{table}/")]
        return {key[2].removeprefix("run=") for key in keys if key[4] == folder}

    def list_unnamed(self) -> list[ObjectFacts]:
        """Return files that no manifest names: killed writers or former versions left them."""
        prefixes = set()
        for facts in self._store.list("manifests/"):
            match = _MANIFEST_KEY.fullmatch(facts.key)
            if match and (answer := self._store.read(facts.key)):
                prefixes.add(_files_prefix(match[1], match[2], answer[0]))
        return [
            facts
            for facts in self._store.list("tables/")
            if "/".join(facts.key.split("/")[:4]) + "/" not in prefixes
        ]

    def _install(self, hidden: Path, folder: Path, content: bytes) -> None:
        """Move a filled folder into its place, over one of another version."""
        atomic.fsync_tree(hidden)
        with contextlib.suppress(atomic.Superseded):  # another process of this machine was faster
            atomic.commit_dir(
                hidden,
                folder,
                atomic.dir_identity(folder),
                lambda: read_bytes(folder / MANIFEST_NAME) == content,
            )

    def _build_fetch(
        self, folder: Path, prefix: str, files: dict[str, str]
    ) -> Callable[[str], None]:
        def fetch(name: str) -> None:
            path = folder / name
            if path.exists():
                log.warning("%s: its bytes have changed; it is fetched again", path)
            with atomic.replace_file(path, sync_folder=False) as hidden:
                if not self._store.download(prefix + name, hidden):
                    raise FileNotFoundError(prefix + name)
                if hash_file(hidden) != files[name]:
                    raise StoreFault(
                        f"{self._store.url}/{prefix}{name}: its bytes are not those that the "
                        "manifest of the table names; run the table's job again with --force"
                    )

        return fetch

    def _folder(self, table: str, run: str) -> Path:
        return self._root / table / f"run={run}"


def _manifest_key(table: str, run: str) -> str:
    return f"manifests/{table}/run={run}.json"


def _files_prefix(table: str, run: str, manifest: bytes) -> str:
    """Return where the files of a manifest lie: by its hash, so no two versions share a key."""
    return f"tables/{table}/run={run}/{hashlib.sha256(manifest).hexdigest()[:_HASH_CHARS]}/"


def _read_version(folder: Path) -> ObjectVersion | None:
    content = read_bytes(folder / VERSION_NAME)
    try:
        return ObjectVersion(**json.loads(content or b""))
    except (ValueError, TypeError):  # none, or it rots: the manifest is read again
        return None


def _write_version(folder: Path, version: ObjectVersion) -> None:
    atomic.write_bytes(folder / VERSION_NAME, json.dumps(asdict(version)).encode())
