"""Tell by their bytes which files of a cache are whole, and fetch several at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_REQUESTS_AT_ONCE = 8


class CheckedFiles:
    """Files whose bytes were read and found right; a file is read again once it was touched."""

    def __init__(self) -> None:
        # Modification time (ns) and size when the bytes were read, and their hash as it was wanted.
        self._states: dict[Path, tuple[int, int, str]] = {}

    def is_whole(self, path: Path, sha256: str) -> bool:
        """Return True if a file is there, and its SHA-256 begins so.

        Args:
            path: The file.
            sha256: Its hash, hex, or the first digits of it.
        """
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        state = (found.st_mtime_ns, found.st_size, sha256)
        if self._states.get(path) == state:
            return True
        if not hash_file(path).startswith(sha256):
            return False
        self._states[path] = state
        return True


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path) -> bytes | None:
    """Return the bytes of a file; None if there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def run_each(work: Callable[[Any], Any], items: Sequence[Any]) -> None:
    """Do work for all items, some at a time; raise the first error."""
    if len(items) == 1:
        work(items[0])
    elif items:
        with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(items))) as pool:
            for _ in pool.map(work, items):
                pass
