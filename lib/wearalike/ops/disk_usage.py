"""The bytes and files of a data folder, by kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wearalike.tables import MATCHES, MATCHES_VARIANTS, PHOTO_QUERIES, QUALITY, TABLES_BY_NAME


class DiskKind(StrEnum):
    """A kind of things in a data folder; each comment says where they are."""

    PICTURES = "pictures"  # cache/images
    LEDGERS = "download ledgers"  # cache/downloads
    ITEMS = "items"  # cache/items, by detector
    CODES = "codes"  # cache/codes, by encoder
    DESCRIPTORS = "descriptors"  # cache/descriptors, by encoder
    LEAVES = "leaves"  # cache/leaves, by leaf classifier
    POSES = "poses"  # cache/poses, by what tells them
    NETWORKS = "networks"  # cache/networks, converted, by the model's version
    RUNS = "tables of runs"  # <table>/run=<run>
    CANDIDATES = "candidates"  # matches/run=<run>/candidates
    REPORTS = "reports"  # quality/run=<run> and reports
    PHOTOS = "photo queries"  # photo_queries
    EVENTS = "events"  # events
    MODELS = "models"  # models
    WAREHOUSE = "warehouse"  # warehouse, if it is DuckDB in the data folder
    OTHER = "other"  # anything else


_KIND_OF_CACHE = {
    "images": DiskKind.PICTURES,
    "downloads": DiskKind.LEDGERS,
    "items": DiskKind.ITEMS,
    "codes": DiskKind.CODES,
    "descriptors": DiskKind.DESCRIPTORS,
    "leaves": DiskKind.LEAVES,
    "poses": DiskKind.POSES,
    "networks": DiskKind.NETWORKS,
}
_KIND_OF_FOLDER = {
    "events": DiskKind.EVENTS,
    "models": DiskKind.MODELS,
    "warehouse": DiskKind.WAREHOUSE,
    "reports": DiskKind.REPORTS,
    PHOTO_QUERIES.name: DiskKind.PHOTOS,
    QUALITY.name: DiskKind.REPORTS,
    **{name: DiskKind.RUNS for name in TABLES_BY_NAME if name not in (QUALITY.name, "refused")},
}


@dataclass(slots=True)
class DiskUsage:
    """The room that files take.

    Attributes:
        bytes: Their sizes.
        files: How many there are.
    """

    bytes: int = 0
    files: int = 0

    def add(self, size: int) -> None:
        """Count one more file of a size in bytes."""
        self.bytes += size
        self.files += 1


def measure_disk(root: Path) -> dict[DiskKind, DiskUsage]:
    """Return what each kind takes, in the order of DiskKind; kinds without a file are left out.

    Files that go meanwhile are not counted.

    Args:
        root: The data folder, which need not exist.
    """
    found: dict[DiskKind, DiskUsage] = {}
    for path, size in iter_files(root):
        found.setdefault(_kind_of(path[len(str(root)) + 1 :]), DiskUsage()).add(size)
    return {kind: found[kind] for kind in DiskKind if kind in found}


def folder_bytes(folder: Path) -> int:
    """Return the sizes of all files in a folder, together."""
    return sum(size for _, size in iter_files(folder))


def iter_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield path and size in bytes of every file in a folder, but of links."""
    waiting = [str(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                try:
                    yield entry.path, entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue


def describe_bytes(count: int) -> str:
    """Return a number of bytes in words: "512 B", "1.4 MB", "23 GB"."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _kind_of(path: str) -> DiskKind:
    """Return the kind of a file, by its path in the data folder."""
    parts = path.split(os.sep)
    if parts[0] == "cache" and len(parts) > 2:
        return _KIND_OF_CACHE.get(parts[1], DiskKind.OTHER)
    if (
        parts[0] in (MATCHES.name, MATCHES_VARIANTS.name)
        and len(parts) > 3
        and parts[2] == "candidates"
    ):
        return DiskKind.CANDIDATES
    if len(parts) > 1:
        return _KIND_OF_FOLDER.get(parts[0], DiskKind.OTHER)
    return DiskKind.OTHER
