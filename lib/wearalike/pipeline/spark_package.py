"""This library as a zip for a cluster's workers, so that they run the driver's version.

Executors need the library's dependencies installed, not the library itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import wearalike

ZIP_PREFIX = "wearalike-"
# A fixed date instead of the files' own, so that the same sources make the same zip.
_ZIP_DATE = (2000, 1, 1, 0, 0, 0)


@contextlib.contextmanager
def build_library_zip() -> Iterator[Path]:
    """Build a zip of the modules of the package wearalike, and remove it after the block.

    Yields:
        The zip, named by a hash of its content.
    """
    modules = sorted(_modules())
    digest = hashlib.sha256()
    for name, content in modules:
        digest.update(f"{name} {len(content)}\n".encode() + content)
    with tempfile.TemporaryDirectory(prefix=ZIP_PREFIX) as folder:
        path = Path(folder) / f"{ZIP_PREFIX}{digest.hexdigest()[:16]}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in modules:
                packed.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content, zipfile.ZIP_DEFLATED)
        yield path


def _modules() -> Iterator[tuple[str, bytes]]:
    """Yield the path in the zip and the source of every module."""
    for folder in wearalike.__path__:
        for path in Path(folder).rglob("*.py"):
            yield f"wearalike/{path.relative_to(folder).as_posix()}", path.read_bytes()
