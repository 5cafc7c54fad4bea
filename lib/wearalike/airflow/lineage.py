"""The inputs and outputs of each task, for Airflow and OpenLineage, from pipeline.stages.

Parsing a DAG file imports this module, so it imports no heavy library. The columns of a table come
from wearalike.tables when OpenLineage asks for them, in the process of the task.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.lineage.entities import Column
from airflow.providers.common.compat.lineage.entities import Table as LineageTable
from airflow.sdk import Asset

from wearalike.pipeline.stages import ENCODER_TABLES, STAGES, STAGES_BY_NAME
from wearalike.settings import find_default_file

# Databases of the assets: a run's tables, and those that the site reads.
RUN_TABLES = "tables"
PUBLISHED = "published"


class RunTable(LineageTable):
    """A table for OpenLineage, whose columns and description are read from wearalike.tables."""

    def __init__(self, database: str, name: str) -> None:
        """Keep the name.

        Args:
            database: RUN_TABLES or PUBLISHED.
            name: the table's name.
        """
        self.cluster = "wearalike"
        self.database = database
        self.name = name
        self.tags = []
        self.owners = []
        self.extra = {}

    def __repr__(self) -> str:
        """Return the name alone: Airflow stores this text when it serializes the DAG."""
        return f"RunTable({self.database}.{self.name})"

    @property
    def description(self) -> str:  # type: ignore[override]
        """Return what a row of the table is."""
        from wearalike.tables import TABLES_BY_NAME

        return TABLES_BY_NAME[self.name].meaning

    @property
    def columns(self) -> list[Column]:  # type: ignore[override]
        """Return the columns with their types and meanings."""
        from wearalike.tables import TABLES_BY_NAME

        return [
            Column(name=column.name, data_type=str(column.type), description=column.meaning)
            for column in TABLES_BY_NAME[self.name].columns
        ]


def stage_lineage(name: str) -> dict[str, list[Any]]:
    """Return the inlets and outlets of a stage's task.

    Each table is an Asset, for Airflow's pages and schedules, and a RunTable for OpenLineage. The
    last stage writes what the site reads: its assets are wearalike://published/<table>. The tables
    of an experiment are named where the settings have one.

    Args:
        name: the stage's name.

    Returns:
        The keyword arguments `inlets` and `outlets` of an operator.
    """
    stage = STAGES_BY_NAME[name]
    absent = _list_absent_tables()
    reads = [*stage.reads, *(t for t in stage.experiment_reads if t not in absent)]
    writes = [*stage.writes, *(t for t in stage.experiment_writes if t not in absent)]
    outlets = [part for table in writes for part in _asset_and_table(RUN_TABLES, table)]
    if stage is STAGES[-1]:
        outlets = [part for table in reads for part in _asset_and_table(PUBLISHED, table)]
    inlets = [part for table in reads for part in _asset_and_table(RUN_TABLES, table)]
    return {"inlets": inlets, "outlets": outlets}


def _list_absent_tables() -> set[str]:
    """Return the tables of experiments that runs by the settings' file do not have.

    The file is read as it is: what parses DAGs need not know the secrets that it names, and an
    error in it is told by the tasks.
    """
    of_experiments = {table for stage in STAGES for table in stage.experiment_writes}
    path = Path(os.environ.get("WEARALIKE_CONFIG") or find_default_file())
    try:
        variants = tomllib.loads(path.read_text(encoding="utf-8"))["experiment"]["variants"]
        has_encoder = any("encoder" in variant for variant in variants.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return of_experiments
    return set() if has_encoder else set(ENCODER_TABLES)


def _asset_and_table(database: str, name: str) -> tuple[Asset, RunTable]:
    """Return a table as an asset and as OpenLineage wants it."""
    asset = Asset(name=f"{database}/{name}", uri=f"wearalike://{database}/{name}")
    return asset, RunTable(database, name)
