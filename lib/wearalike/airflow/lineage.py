"""The inputs and outputs of each task, for Airflow and OpenLineage, from pipeline.stages.

Parsing a DAG file imports this module, so it imports no heavy library. The columns of a table come
from wearalike.tables when OpenLineage asks for them, in the process of the task.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.lineage.entities import Column
from airflow.providers.common.compat.lineage.entities import Table as LineageTable
from airflow.sdk import Asset

from wearalike.pipeline.stages import STAGES, STAGES_BY_NAME

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
    last stage writes what the site reads: its assets are wearalike://published/<table>.

    Args:
        name: the stage's name.

    Returns:
        The keyword arguments `inlets` and `outlets` of an operator.
    """
    stage = STAGES_BY_NAME[name]
    outlets = [part for table in stage.writes for part in _asset_and_table(RUN_TABLES, table)]
    if stage is STAGES[-1]:
        outlets = [part for table in stage.reads for part in _asset_and_table(PUBLISHED, table)]
    inlets = [part for table in stage.reads for part in _asset_and_table(RUN_TABLES, table)]
    return {"inlets": inlets, "outlets": outlets}


def _asset_and_table(database: str, name: str) -> tuple[Asset, RunTable]:
    """Return a table as an asset and as OpenLineage wants it."""
    asset = Asset(name=f"{database}/{name}", uri=f"wearalike://{database}/{name}")
    return asset, RunTable(database, name)
