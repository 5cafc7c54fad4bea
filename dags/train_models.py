"""Labelled photos to a promoted model: train, evaluate, promote if it is better.

**Normal.** Started by hand with the parameters below. `train` takes hours on two cores and minutes
on a GPU, the others some minutes. When all is green, the next run detects or encodes with the new
model. The rows of the former model stay.

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

import sys
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param, dag

VERSION = (
    "{{ params.version or params.kind ~ "
    "(dag_run.logical_date or dag_run.run_after).strftime('-%Y%m%d-%H%M%S') }}"
)
OUT = "{{ params.folder }}/" + VERSION
CANDIDATE = f"{OUT}/{VERSION}.safetensors"
DATA = "--data {{ params.data }}={{ params.labelled }}"
# These texts go into a shell.
_PATH = r"^/[A-Za-z0-9_./-]+$"


def command(name: str, *options: str) -> str:
    """Return the command line of a command of the app."""
    return " ".join([sys.executable, "-m", "wearalike", name, *options])


@dag(
    dag_id="train_models",
    schedule=None,
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
        "labelled": Param(type="string", pattern=_PATH, description="folder of labelled photos"),
        "data": Param(
            "folder",
            enum=["folder", "fashion-product-images", "clothing-dataset", "ccp"],
            description="how that folder is laid out",
        ),
        "kind": Param("encoder", enum=["encoder", "detector"], description="the model to train"),
        "folder": Param(
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
            "best where there are few photos; empty: ImageNet",
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
            DATA,
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
            DATA,
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
