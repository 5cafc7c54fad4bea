"""The one way jobs come by a Spark session."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wearalike import placing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def session(name: str, master: str) -> SparkSession:
    """A session on `master` (local[*], spark://..., yarn, k8s://...), workers on this interpreter unless the environment says otherwise."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    built = (
        SparkSession.builder.appName(name)
        .master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    built.sparkContext.setLogLevel("ERROR")
    return built


@contextlib.contextmanager
def working(path: Path) -> Iterator[None]:
    """Lets Spark's failure for want of room where `path` is be the OSError that it was in its worker."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        if "No space left on device" not in str(error):
            raise
        raise placing.no_room(path) from error
