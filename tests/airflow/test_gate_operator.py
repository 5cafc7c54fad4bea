"""OpenLineage's own manager gets the gate's expectations, passed or failed."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from wearalike.storage import run_tables
from wearalike.tables import QUALITY

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gate_task(tmp_path_factory):
    os.environ["AIRFLOW_HOME"] = str(tmp_path_factory.mktemp("airflow"))
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags")
    assert bag.import_errors == {}
    return bag.dags["similar_products"].get_task("report_quality")


def extract(task, state: str):
    """The lineage of a task that has ended, as the provider sends it."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.utils.state import TaskInstanceState

    dag_run = SimpleNamespace(conf={"run": "day-1"}, logical_date=None, run_after=None, run_id="x")
    instance = SimpleNamespace(get_template_context=lambda: {"dag_run": dag_run})
    return ExtractorManager().extract_metadata(dag_run, task, TaskInstanceState(state), instance)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_the_verdict_is_a_facet_of_the_tables(gate_task, night, tmp_path, monkeypatch, state):
    pytest.importorskip("airflow.providers.openlineage")
    from wearalike.airflow.gate_operator import GateOperator
    from wearalike.airflow.lineage import stage_lineage

    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8").replace(str(night), str(tmp_path))
    (tmp_path / "wearalike.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("WEARALIKE_CONFIG", str(tmp_path / "wearalike.toml"))
    path = run_tables.table_dir(tmp_path / "root", QUALITY, "day-1") / "verdict.json"
    verdict = json.loads(path.read_text(encoding="utf-8"))
    if state == "failed":
        broken = next(o for o in verdict["outcomes"] if o["name"].startswith("products."))
        broken |= {"verdict": "fail", "violations_count": 7}
        of_variant = broken | {"name": "similar_products_variant_b.expect_x(rank)"}
        verdict["outcomes"].append(of_variant)
        path.write_text(json.dumps(verdict), encoding="utf-8")
    if state == "failed":
        text += "[experiment]\nname = 'w'\nvariants.b.weights = '2:8:4'\n"
        (tmp_path / "wearalike.toml").write_text(text, encoding="utf-8")
        gate_task = GateOperator(
            task_id="report_quality", bash_command="true", **stage_lineage("report_quality")
        )
    found = extract(gate_task, state)
    inputs = {
        d.name: d.inputFacets["dataQualityAssertions"].assertions
        for d in found.inputs
        if d.inputFacets
    }
    sent = {a.name: a for assertions in inputs.values() for a in assertions}
    assert sorted(sent) == sorted(o["name"] for o in verdict["outcomes"])
    for outcome in verdict["outcomes"]:
        assert sent[outcome["name"]].success == (outcome["verdict"] == "ok")
    assert "tables.products" in inputs and "tables.quality" in inputs
    assert all(a.name.startswith("products.") for a in inputs["tables.products"])
    if state == "failed":
        assert sent[broken["name"]].actual == "7"
        (assertion,) = inputs["tables.similar_products_variants"]
        assert assertion.name == of_variant["name"] and assertion.column == "rank"
    (products,) = [d for d in found.inputs if d.name == "tables.products"]
    assert "schema" in products.facets
    assert "tables.quality" in {d.name for d in found.outputs}


def test_before_there_is_a_verdict_the_tables_go_out_alone(gate_task, night, monkeypatch):
    pytest.importorskip("airflow.providers.openlineage")
    monkeypatch.setenv("WEARALIKE_CONFIG", str(night / "wearalike.toml"))
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.utils.state import TaskInstanceState

    dag_run = SimpleNamespace(conf={"run": "none"}, logical_date=None, run_after=None, run_id="x")
    instance = SimpleNamespace(get_template_context=lambda: {"dag_run": dag_run})
    found = ExtractorManager().extract_metadata(
        dag_run, gate_task, TaskInstanceState.FAILED, instance
    )
    assert found.inputs and not any(d.inputFacets for d in found.inputs)
