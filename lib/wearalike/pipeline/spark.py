"""Spark sessions: on this machine, or on a cluster to which the library is shipped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wearalike.storage import atomic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Ours for the library in its shipped zip (pipeline/numba_cache.py), then Numba's own.
_NUMBA_CACHE_LOCATORS = (
    "wearalike.pipeline.numba_cache.ShippedCacheLocator",
    "UserProvidedCacheLocator",
    "InTreeCacheLocator",
    "UserWideCacheLocator",
    "IPythonCacheLocator",
    "ZipCacheLocator",
)


@contextlib.contextmanager
def spark_session(name: str, master: str, folder: Path) -> Iterator[SparkSession]:
    """Open a Spark session for work that writes into a folder.

    Workers run this interpreter unless the environment says otherwise. A cluster's workers get this
    library, and are released when the block ends. A local session stays for the next job of the
    process.

    Args:
        name: name of the application.
        master: Spark's master: local[*], spark://..., yarn or k8s://...
        folder: where the workers write.

    Yields:
        The session.

    Raises:
        atomic.DiskFull: a worker had no room left on the folder's disk.
    """
    from pyspark.sql import SparkSession

    is_local = master.startswith("local")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if is_local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = (
        SparkSession.builder.appName(name)
        .master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
    )
    if not is_local:
        builder = builder.config(
            "spark.executorEnv.NUMBA_CACHE_LOCATOR_CLASSES", ",".join(_NUMBA_CACHE_LOCATORS)
        )
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        with contextlib.ExitStack() as stack:
            if not is_local:
                from wearalike.pipeline import spark_package

                spark.sparkContext.addPyFile(
                    str(stack.enter_context(spark_package.build_library_zip()))
                )
            with _translate_disk_full(folder):
                yield spark
    finally:
        if not is_local:
            spark.stop()


@contextlib.contextmanager
def _translate_disk_full(folder: Path) -> Iterator[None]:
    """Raise atomic.DiskFull for a worker's error that says so."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        if "No space left on device" not in str(error):
            raise
        raise atomic.disk_full_error(folder) from error
