"""Spark sessions: on this machine, or on a cluster to which the library is shipped."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wearalike.pipeline import job
from wearalike.storage import atomic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("wearalike.spark")
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
        job.JobRejected: Spark does not start.
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
    on_interrupt = signal.getsignal(signal.SIGINT)
    spark = _start(builder, master)
    if threading.current_thread() is threading.main_thread():
        # Spark's own handler asks the JVM in the midst of another question to it.
        signal.signal(signal.SIGINT, on_interrupt)
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


def _start(builder: Any, master: str) -> SparkSession:
    """Start a session, or take the one that runs; say so, since the JVM takes seconds.

    Raises:
        job.JobRejected: the JVM or the master refused.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is None:
        log.info("starting Spark on %s", master)
    if master.startswith("local") and "SPARK_HOME" not in os.environ:
        os.environ.setdefault("SPARK_CONF_DIR", str(Path(__file__).with_name("spark_conf")))
    try:
        with _keep_off_terminal():
            return builder.getOrCreate()
    except (PySparkException, Py4JJavaError) as error:
        cause = next((line for line in str(error).splitlines() if "Exception:" in line), str(error))
        reason = " ".join(re.sub(r"^\[\w+\] ", "", cause.rpartition("Exception:")[2]).split())
        raise job.JobRejected(
            f"Spark does not start on {master}: {reason.rstrip('.')}; "
            "`wearalike doctor` checks Java and the master"
        ) from error


@contextlib.contextmanager
def _keep_off_terminal() -> Iterator[None]:
    """Write what a JVM that starts in the block says on its own into a file, not on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with (Path(tempfile.gettempdir()) / f"wearalike-spark-{os.getuid()}.log").open("ab") as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


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
