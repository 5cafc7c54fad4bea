"""Match tasks on Spark's workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from wearalike.pipeline import match_task
from wearalike.pipeline.match_task import MatchTask
from wearalike.tables import MATCHES


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
