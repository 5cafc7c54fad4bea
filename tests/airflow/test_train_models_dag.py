"""The training DAG refuses what a shell would obey, and calls commands that exist, in order."""

import copy
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from tests.support.command_line import parse

from wearalike.datasets import layouts
from wearalike.models import registry

REPOSITORY = Path(__file__).resolve().parents[2]
# Classifiers of leaves are taught by the command alone.
KINDS = (registry.ModelKind.ENCODER, registry.ModelKind.DETECTOR)
GIVEN = {"labelled": "/data/photos", "folder": "/data/training"}


@pytest.fixture(scope="module")
def dag(tmp_path_factory):
    os.environ["AIRFLOW_HOME"] = str(tmp_path_factory.mktemp("airflow"))
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags" / "train_models.py")
    assert bag.import_errors == {}
    return bag.dags["train_models"]


def parameters(dag, given) -> dict:
    """What a run sees that was started with these."""
    params = copy.deepcopy(dag.params)
    params.update(given)
    return params.validate()


def commands(dag, given) -> dict[str, list[str]]:
    """The app's arguments of every task, by the task, in their order."""
    run = SimpleNamespace(logical_date=None, run_after=datetime(2026, 11, 24, 3, 0, tzinfo=UTC))
    found = {}
    for task in dag.topological_sort():
        text = jinja2.Template(task.bash_command, undefined=jinja2.StrictUndefined).render(
            params=parameters(dag, given), dag_run=run
        )
        python, m, module, *arguments = shlex.split(text)
        assert (python, m, module) == (sys.executable, "-m", "wearalike")
        found[task.task_id] = arguments
    return found


def parsed(arguments: list[str]) -> SimpleNamespace:
    """What the app makes of its arguments."""
    return SimpleNamespace(**parse(arguments).params)


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_is_one_that_its_job_understands(dag, kind):
    jobs = commands(dag, {**GIVEN, "kind": str(kind)})
    assert {task: parse(arguments).command_path for task, arguments in jobs.items()} == {
        "train": f"wearalike train {kind}",
        "evaluate": "wearalike evaluate",
        "promote": "wearalike promote",
    }
    version = f"{kind}-20261124-030000"
    out = Path("/data/training") / version
    candidate = out / f"{version}.safetensors"
    train, promote = parsed(jobs["train"]), parsed(jobs["promote"])
    assert registry.VERSION_PATTERN.fullmatch(version) and train.version == version
    assert (
        train.out == out and train.data == (("folder", Path("/data/photos")),) and train.seed == 0
    )
    assert (
        promote.kind == kind
        and promote.candidate == candidate
        and promote.evaluation == out / "evaluation"
    )
    assert promote.override is None and not promote.is_rollback
    evaluate = parsed(jobs["evaluate"])
    assert evaluate.data == train.data and evaluate.out == promote.evaluation
    assert vars(evaluate)[f"{kind}s"] == ("promoted", str(candidate))


def test_the_parameters_reach_the_job(dag):
    train = parsed(
        commands(
            dag,
            {
                **GIVEN,
                "version": "shops-2",
                "steps": 700,
                "seed": 5,
                "data": "fashion-product-images",
                "init_from": "fashion",
            },
        )["train"]
    )
    assert (train.version, train.steps, train.seed, train.data) == (
        "shops-2",
        700,
        5,
        (("fashion-product-images", Path("/data/photos")),),
    )
    assert train.init_from == "fashion" and registry.load_by_name(
        registry.ModelKind.ENCODER, train.init_from
    ).version.startswith("fashion-")
    with pytest.raises(registry.BadModel, match="wanted detector; packaged are garments"):
        registry.load_by_name(
            registry.ModelKind.DETECTOR,
            str(registry.packaged_model(registry.ModelKind.ENCODER, "fashion").path),
        )
    with pytest.raises(registry.BadModel, match="no such file"):
        registry.load_by_name(registry.ModelKind.ENCODER, "fashions")
    steps = {
        kind: parsed(commands(dag, {**GIVEN, "kind": str(kind)})["train"]).steps for kind in KINDS
    }
    assert steps["detector"] > 0, "without the parameter the job's own"
    assert steps["encoder"] is None, "without the parameter the job's own, by what it starts from"


def test_the_layouts_offered_are_those_that_can_be_read(dag):
    assert sorted(dag.params.get_param("data").schema["enum"]) == sorted(layouts.DATASET_LAYOUTS)


@pytest.mark.parametrize(
    "change",
    [
        {"labelled": "/data; rm -rf /"},
        {"labelled": "photos"},
        {"folder": "/data/$(id)"},
        {"version": "Shops 2"},
        {"version": "../2"},
        {"kind": "photo"},
        {"data": "x=y"},
        {"init_from": "../other"},
        {"init_from": "fashion; id"},
        {"steps": 0},
        {"steps": "9; id"},
        {"seed": -1},
        {"last_runs": -1},
        {"last_runs": "3; id"},
    ],
)
def test_what_a_shell_would_obey_is_refused(dag, change):
    assert parameters(dag, GIVEN)["seed"] == 0
    with pytest.raises(ValueError, match="Invalid input for param"):
        parameters(dag, {**GIVEN, **change})


def test_on_its_schedule_an_encoder_learns_from_the_runs_alone(dag):
    """Nobody says anything then, so every parameter has a default."""
    jobs = commands(dag, {})
    train, evaluate = parsed(jobs["train"]), parsed(jobs["evaluate"])
    assert (train.data, train.last_runs, train.init_from) == ((), 14, None)
    assert evaluate.data == (("run", Path("latest")),) and evaluate.encoders[0] == "promoted"
    assert parsed(jobs["promote"]).evaluation == evaluate.out
    assert dag.timetable.can_be_scheduled and not dag.catchup


@pytest.mark.parametrize(
    ("given", "last_runs", "measured"),
    [
        ({}, 0, ["folder"]),
        ({"last_runs": 3}, 3, ["folder", "run"]),
        ({"labelled": None, "last_runs": 0}, 0, []),
    ],
)
def test_an_encoder_is_measured_on_what_it_learns_from(dag, given, last_runs, measured):
    jobs = commands(dag, {**GIVEN, **given})
    assert parsed(jobs["train"]).last_runs == last_runs
    if measured:
        assert [kind for kind, _ in parsed(jobs["evaluate"]).data] == measured


def test_a_detector_never_learns_from_runs(dag):
    jobs = commands(dag, {**GIVEN, "kind": "detector", "last_runs": 3})
    assert [kind for kind, _ in parsed(jobs["train"]).data] == ["folder"]
    assert [kind for kind, _ in parsed(jobs["evaluate"]).data] == ["folder"]


def test_one_task_follows_the_other_and_only_promoting_is_not_tried_again(dag):
    assert [t.task_id for t in dag.topological_sort()] == ["train", "evaluate", "promote"]
    assert dag.get_task("promote").upstream_task_ids == {"evaluate"} and dag.get_task(
        "evaluate"
    ).upstream_task_ids == {"train"}
    assert [t.retries for t in dag.topological_sort()] == [3, 1, 0]
    assert all(f"**{word}" in dag.doc_md for word in ("Normal.**", "Late**", "Red.**", "Undo**"))
    assert dag.max_active_runs == 1
