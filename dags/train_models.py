"""Labelled photos or runs to a promoted model: train, evaluate, promote if it is better.

**Normal.** Once a week an encoder learns from the last runs' own tables, if this DAG is unpaused.
It is promoted only if it is better for these shops. Started by hand with the parameters below, it
trains on labelled photos too. `train` takes hours on two cores and minutes on a GPU, the others
some minutes. When all is green, the next run detects or encodes with the new model. The rows of the
former model stay.

**Late** when `train` logs that more is left than you want to wait for: stop it, nothing is lost.
Cleared, it continues from its last checkpoint.

**Red.** `promote` red is an answer: its log says by which metrics the candidate is not better, with
intervals, and runs go on with the former model. The evaluation lies in
`<folder>/<version>/evaluation`. If you know better, run `wearalike promote` with
`--override REASON`. `train` or `evaluate` red names file and line of what it cannot use: mend it,
then clear the task.

**Undo** a promotion with `wearalike promote --kind encoder --rollback` (or `detector`). No version
is ever overwritten: to train again on other photos, give another version, or none.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import CronTriggerTimetable, Param, dag

# Unpausing starts no run of the past, unless it was due within this time. There is no start date:
# with one, Airflow would start the last run that was due.
LATEST_FIRST_START = timedelta(minutes=30)
VERSION = (
    "{{ params.version or params.kind ~ "
    "(dag_run.logical_date or dag_run.run_after).strftime('-%Y%m%d-%H%M%S') }}"
)
OUT = "{{ params.folder }}/" + VERSION
CANDIDATE = f"{OUT}/{VERSION}.safetensors"
LABELLED = "{{ '--data ' ~ params.data ~ '=' ~ params.labelled if params.labelled else '' }}"
# Without labelled photos, an encoder learns from two weeks of nightly runs.
_LAST_RUNS = (
    "(params.last_runs if params.last_runs is not none else (0 if params.labelled else 14)) "
    "if params.kind == 'encoder' else 0"
)
LAST_RUNS = "{{ '--last-runs ' ~ (" + _LAST_RUNS + ") if params.kind == 'encoder' else '' }}"
LATEST_RUN = "{{ '--data run=latest' if (" + _LAST_RUNS + ") else '' }}"
TRAINING_FOLDER = os.environ.get("WEARALIKE_DATA_DIR", "/var/lib/wearalike") + "/training"
# These texts go into a shell.
_PATH = r"^/[A-Za-z0-9_./-]+$"


def command(name: str, *options: str) -> str:
    """Return the command line of a command of the app."""
    return " ".join([sys.executable, "-m", "wearalike", name, *options])


@dag(
    dag_id="train_models",
    schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC", run_immediately=LATEST_FIRST_START),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["wearalike"],
    default_args={
        "retries": 1,
        "retry_delay": timedelta(minutes=1),
        "append_env": True,
        "execution_timeout": timedelta(days=2),
    },
    params={
        "labelled": Param(
            None,
            type=["null", "string"],
            pattern=_PATH,
            description="folder of labelled photos; empty: the last runs alone",
        ),
        "last_runs": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            description="an encoder learns from so many of the last runs; empty: 14, or none "
            "beside labelled photos",
        ),
        "data": Param(
            "folder",
            enum=["folder", "fashion-product-images", "clothing-dataset", "ccp"],
            description="how that folder is laid out",
        ),
        "kind": Param("encoder", enum=["encoder", "detector"], description="the model to train"),
        "folder": Param(
            TRAINING_FOLDER,
            type="string",
            pattern=_PATH,
            description="folder of checkpoints, candidates and evaluations",
        ),
        "version": Param(
            None,
            type=["null", "string"],
            pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
            description="of the model, a new one each time; empty: kind and time",
        ),
        "init_from": Param(
            None,
            type=["null", "string"],
            pattern=r"^([a-z0-9][a-z0-9._-]{0,63}|/[A-Za-z0-9_./-]+)$",
            description="model to start from: a packaged one (fashion, garments) or a file; "
            "best where there are few photos; empty: ImageNet, or the promoted one for runs",
        ),
        "steps": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            description="of training; empty: the command's default",
        ),
        "seed": Param(0, type="integer", minimum=0),
    },
)
def train_models() -> None:
    """Build the DAG: train, then evaluate, then promote."""
    train = BashOperator(
        task_id="train",
        bash_command=command(
            "train {{ params.kind }}",
            LABELLED,
            LAST_RUNS,
            f"--version {VERSION}",
            f"--out {OUT}",
            "{{ '--init-from ' ~ params.init_from if params.init_from else '' }}",
            "{{ '--steps ' ~ params.steps if params.steps else '' }}",
            "--seed {{ params.seed }}",
        ),
        retries=3,
    )
    evaluate = BashOperator(
        task_id="evaluate",
        bash_command=command(
            "evaluate",
            LABELLED,
            LATEST_RUN,
            "--{{ params.kind }} promoted",
            f"--{{{{ params.kind }}}} {CANDIDATE}",
            f"--out {OUT}/evaluation",
        ),
    )
    promote = BashOperator(
        task_id="promote",
        bash_command=command(
            "promote",
            "--kind {{ params.kind }}",
            f"--candidate {CANDIDATE}",
            f"--evaluation {OUT}/evaluation",
        ),
        # The answer is the same on a second try.
        retries=0,
    )
    train >> evaluate >> promote


train_models()
