"""Where a Spark worker keeps the machine code of the library that was shipped to it."""

from __future__ import annotations

import os
from pathlib import Path

from numba.core import config
from numba.core.caching import ZipCacheLocator


class ShippedCacheLocator(ZipCacheLocator):
    """Cache compiled code under the zip's name, which is a hash of its content.

    Numba keeps compiled code under the folder of its source. Spark puts the zip into another folder
    for every job and executor, so each would compile again, for ten seconds and more.
    """

    def get_cache_path(self) -> str:
        """Return the folder of a module's compiled code."""
        folder = Path(
            config.CACHE_DIR  # type: ignore[attr-defined]
            or Path(self._cache_path).parent
        )
        return os.fspath(folder / Path(self._zip_path).stem / Path(self._internal_path).parent)

    @classmethod
    def from_function(cls, py_func, py_file):  # type: ignore[no-untyped-def]
        """Return a locator for a module of the shipped zip; None for any other file."""
        from wearalike.pipeline.spark_package import ZIP_PREFIX

        return super().from_function(py_func, py_file) if f"/{ZIP_PREFIX}" in py_file else None
