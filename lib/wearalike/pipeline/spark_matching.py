"""Match tasks on Spark's workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from wearalike.pipeline import match_task, spark_store
from wearalike.pipeline.match_task import MatchTask
from wearalike.pipeline.work_size import is_cluster
from wearalike.storage import mirror
from wearalike.tables import MATCHES


def write_rows(spark: SparkSession, tasks: Sequence[MatchTask], folder: Path) -> None:
    """Write the rows of tables.MATCHES of tasks into a folder, as files part-*.parquet in order.

    A cluster writes into the folder, which its machines share. Where the data folder is the cache
    of an object store, the rows come through the store.

    Args:
        spark: The session.
        tasks: The tasks, of one run.
        folder: The folder, which does not exist yet.
    """
    store = mirror.find_mirror(Path(tasks[0].root)) if tasks else None
    if store and is_cluster(str(spark.sparkContext.master)):
        spark_store.write_rows(spark, tasks, store, folder)
    else:
        run_tasks(spark, tasks, len(tasks)).write.parquet(f"file://{folder}")


def run_tasks(spark: SparkSession, tasks: Sequence[MatchTask], parts: int) -> DataFrame:
    """Return the rows of tables.MATCHES of the tasks, in their order.

    Args:
        spark: The session.
        tasks: The tasks.
        parts: Number of partitions; a worker does the tasks of one, one after another.
    """
    rows = spark.sparkContext.parallelize([astuple(task) for task in tasks], parts)
    frame = spark.createDataFrame(rows, match_task.TASK_SCHEMA)
    return frame.mapInArrow(_match_batches, from_arrow_schema(MATCHES.arrow_schema))


def _match_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Match the tasks of Spark's batches, a task after the other."""
    for batch in batches:
        for row in batch.to_pylist():
            yield match_task.run_match_task(MatchTask(**row))
