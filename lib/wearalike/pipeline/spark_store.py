"""Match tasks on a cluster whose machines share no folder: all goes through the object store.

An executor keeps a cache of the store in Spark's scratch folder, which ends with the executor.
It fetches the indexes and products of its tasks, and puts their rows and candidates beside them
under a prefix that no manifest names. The driver takes them into the table, and removes them.
`wearalike prune` removes after a day what a killed driver leaves there.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from wearalike.pipeline import match_task
from wearalike.pipeline.match_task import MatchTask
from wearalike.storage import mirror, run_tables
from wearalike.storage.checked_files import run_each
from wearalike.storage.object_store import StoreFault
from wearalike.storage_settings import StorageSettings
from wearalike.tables import (
    INDEXES,
    INDEXES_VARIANTS,
    MATCHES,
    PRODUCTS,
    TABLES_BY_NAME,
    Table,
)

# An executor's cache, in the folder that Spark gives it.
_CACHE_NAME = "wearalike-cache"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where executors find the inputs of tasks, and put what they make.

    Attributes:
        settings: The store, as JSON of `StorageSettings`.
        url: Its address.
        prefix: The start of the keys of rows and candidates.
        input_hashes: Hashes of the tables of the run that tasks read, by name.
    """

    settings: str
    url: str
    prefix: str
    input_hashes: dict[str, str]

    def key(self, kind: str, number: int) -> str:
        """Return the key of the rows or candidates of a task."""
        return f"{self.prefix}{kind}/{number:06}.parquet"


def write_rows(
    spark: SparkSession, tasks: Sequence[MatchTask], store: mirror.Mirror, folder: Path
) -> None:
    """Do tasks on executors, and bring their rows and candidates into folders of this machine.

    Args:
        spark: The session.
        tasks: The tasks, of one run and encoder.
        store: The mirror of their data folder.
        folder: Receives the rows, a file a task, in the order of the tasks.

    Raises:
        StoreFault: The store refuses, or does not answer.
    """
    run = tasks[0].run
    place = StorePlace(
        store.settings.model_dump_json(exclude={"cache"}),
        store.url,
        f"tables/{MATCHES.name}/run={run}/{uuid.uuid4().hex}/",
        _hash_inputs(store.root, tasks[0]),
    )
    try:
        numbered = spark.sparkContext.parallelize(list(enumerate(tasks)), len(tasks))
        numbered.foreach(partial(_run_task, place))
        folder.mkdir()
        run_each(partial(_take_results, store, place, folder), list(enumerate(tasks)))
    finally:
        store.store.delete([facts.key for facts in store.store.list(place.prefix)])


def _take_results(
    store: mirror.Mirror, place: StorePlace, folder: Path, numbered: tuple[int, MatchTask]
) -> None:
    """Download the rows and candidates of a task."""
    number, task = numbered
    paths = {
        "rows": folder / f"part-{number:05}.parquet",
        "candidates": match_task.candidates_path(task),
    }
    for kind, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not store.store.download(place.key(kind, number), path):
            raise StoreFault(f"{place.url}/{place.key(kind, number)}: gone; run the job again")


def _run_task(place: StorePlace, numbered: tuple[int, MatchTask]) -> None:
    """Do a task on an executor, and put its rows and candidates into the store."""
    number, task = numbered
    store = _open_cache(place, task)
    with tempfile.TemporaryDirectory(dir=_scratch_folder()) as scratch:
        own = replace(task, root=str(store.root), candidates_dir=scratch)
        rows = pa.Table.from_batches([match_task.run_match_task(own)])
        path = Path(scratch) / "rows.parquet"
        pq.write_table(rows.cast(MATCHES.arrow_schema), path, compression="zstd")
        store.store.write(place.key("rows", number), path)
        store.store.write(place.key("candidates", number), match_task.candidates_path(own))


def _list_inputs(task: MatchTask) -> tuple[Table, Table]:
    """Return the tables of its run that a task reads."""
    return PRODUCTS, INDEXES if task.encoder is None else INDEXES_VARIANTS


def _hash_inputs(root: Path, task: MatchTask) -> dict[str, str]:
    """Return the hashes of the tables of its run that a task reads, by name."""
    tables = _list_inputs(task)
    return {table.name: run_tables.input_hash(root, table, task.run) for table in tables}


def _scratch_folder() -> Path:
    """Return the first folder that Spark gives a Python worker for its files."""
    return Path(os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")[0])


def _open_cache(place: StorePlace, task: MatchTask) -> mirror.Mirror:
    """Return the executor's cache, with the manifests of the tables that a task reads.

    Raises:
        StoreFault: The store refuses, or another process has made an input again meanwhile.
    """
    root = _scratch_folder() / _CACHE_NAME
    store = mirror.find_mirror(root)
    if store is None:
        root.mkdir(parents=True, exist_ok=True)
        settings = StorageSettings.model_validate_json(place.settings)
        store = mirror.attach_store(root, settings.model_copy(update={"url": place.url}))
        assert store
    wanted = [(table.name, task.run) for table in _list_inputs(task)]
    if task.previous_run:
        tables = (*_list_inputs(task), TABLES_BY_NAME[task.previous_table])
        wanted += [(table.name, task.previous_run) for table in tables]
    for name, run in wanted:
        if not run_tables.is_complete(root, TABLES_BY_NAME[name], run):
            store.tables.refresh(name, run)
    if _hash_inputs(root, task) != place.input_hashes:
        raise StoreFault(
            f"{place.url}: products or indexes of run {task.run} were made again meanwhile; "
            "run match_products again"
        )
    return store
