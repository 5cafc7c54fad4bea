"""This library as a zip for a cluster's workers: executors need its dependencies installed, not itself, and run the driver's version."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import wearalike

ZIP_PREFIX = "wearalike-"
# No file's own date: the same sources make the same zip.
_ZIP_DATE = (2000, 1, 1, 0, 0, 0)


@contextlib.contextmanager
def build_library_zip() -> Iterator[Path]:
    """A zip of the package wearalike, its modules alone, named by its content; gone with the block."""
    modules = sorted(_modules())
    told = hashlib.sha256()
    for name, content in modules:
        told.update(f"{name} {len(content)}\n".encode() + content)
    with tempfile.TemporaryDirectory(prefix=ZIP_PREFIX) as folder:
        path = Path(folder) / f"{ZIP_PREFIX}{told.hexdigest()[:16]}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in modules:
                packed.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content, zipfile.ZIP_DEFLATED)
        yield path


def _modules() -> Iterator[tuple[str, bytes]]:
    for folder in wearalike.__path__:
        for path in Path(folder).rglob("*.py"):
            yield f"wearalike/{path.relative_to(folder).as_posix()}", path.read_bytes()
