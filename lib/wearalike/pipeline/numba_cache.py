"""Where a worker keeps the machine code of the library that was shipped to it."""

from __future__ import annotations

import os
from pathlib import Path

from numba.core import config
from numba.core.caching import ZipCacheLocator


class ShippedCacheLocator(ZipCacheLocator):
    """Numba keeps what it compiled under the folder of its source, and Spark puts a zip into another folder for every job and
    executor: each would compile anew, for ten seconds and more. Here it lies under the zip's name, which is its content's."""

    def get_cache_path(self) -> str:
        folder = Path(
            config.CACHE_DIR  # type: ignore[attr-defined]
            or Path(self._cache_path).parent
        )
        return os.fspath(folder / Path(self._zip_path).stem / Path(self._internal_path).parent)

    @classmethod
    def from_function(cls, py_func, py_file):  # type: ignore[no-untyped-def]
        from wearalike.pipeline.spark_package import ZIP_PREFIX

        return super().from_function(py_func, py_file) if f"/{ZIP_PREFIX}" in py_file else None
