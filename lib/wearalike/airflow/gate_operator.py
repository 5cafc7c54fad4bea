"""The gate's task: its verdict goes out with the OpenLineage event, as assertions about tables.

Parsing a DAG file imports this module, so it imports no heavy library.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator

from wearalike.airflow.callbacks import run_name


class GateOperator(BashOperator):
    """The command of the gate; OpenLineage asks it for its assertions, also when it has failed."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the task's tables for OpenLineage, each input with the expectations of it.

        Expectations of no one table, such as those of metrics, are of the table `quality`.

        Args:
            task_instance: Airflow's.

        Returns:
            An OperatorLineage.
        """
        from airflow.providers.openlineage.extractors import OperatorLineage
        from airflow.providers.openlineage.extractors.manager import ExtractorManager
        from openlineage.client.event_v2 import InputDataset

        from wearalike.tables import QUALITY

        found: Any = OperatorLineage()
        ExtractorManager().extract_inlets_and_outlets(found, self, task_instance)
        by_table = self._read_assertions(run_name(task_instance.get_template_context()["dag_run"]))
        inputs = []
        for dataset in found.inputs:
            assertions = by_table.pop(dataset.name.rpartition(".")[2], None)
            facets = {"dataQualityAssertions": assertions} if assertions else {}
            inputs.append(
                InputDataset(
                    namespace=dataset.namespace,
                    name=dataset.name,
                    facets=dataset.facets,
                    inputFacets=facets,
                )
            )
        measured = next((d for d in found.outputs if d.name.endswith(f".{QUALITY.name}")), None)
        if measured is not None and by_table:
            rest = [one for facet in by_table.values() for one in facet.assertions]
            facet = type(next(iter(by_table.values())))(assertions=rest)
            facets = {"dataQualityAssertions": facet}
            inputs.append(
                InputDataset(namespace=measured.namespace, name=measured.name, inputFacets=facets)
            )
        return OperatorLineage(inputs=inputs, outputs=found.outputs)

    def _read_assertions(self, run: str) -> dict[str, Any]:
        """Return a facet for each table that expectations are named by; none without a verdict."""
        from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality_facets

        from wearalike import settings
        from wearalike.quality.thresholds import GateVerdict
        from wearalike.storage import mirror, run_tables
        from wearalike.tables import QUALITY

        place = settings.read_settings(needs_feeds=False)
        root = place.data_dir
        mirror.open_cache(root, place.storage)
        path = run_tables.fetch_files(root, QUALITY, run, "verdict.json".__eq__) / "verdict.json"
        if not path.is_file():
            return {}
        by_table = defaultdict(list)
        for outcome in json.loads(path.read_text(encoding="utf-8"))["outcomes"]:
            suite, _, rest = outcome["name"].partition(".")
            column = rest.partition("(")[2].rstrip(")").split(",")[0].strip()
            # The lists of all variants of an experiment are one table.
            table, of_variant, _ = suite.partition("_variant_")
            by_table[f"{table}_variants" if of_variant else table].append(
                quality_facets.Assertion(
                    assertion=rest.partition("(")[0],
                    success=outcome["verdict"] == GateVerdict.OK,
                    column=column or None,
                    severity="error" if outcome["is_critical"] else "warn",
                    name=outcome["name"],
                    description=outcome["meaning"],
                    actual=str(outcome["violations_count"]),
                )
            )
        return {
            suite: quality_facets.DataQualityAssertionsDatasetFacet(assertions=assertions)
            for suite, assertions in by_table.items()
        }
