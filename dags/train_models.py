"""Labelled photos to a promoted model: train, evaluate, promote if it is better.

**Normal.** Started by hand with the parameters below. `train` takes hours on two cores and minutes on a GPU, the others some
minutes. Green to the end means that the next night detects or encodes with the new model; what the former has made is kept.

**Late** when `train` says in its log that more is left than you want to wait for: stop it, nothing is lost. Cleared, it goes on
from its last checkpoint.

**Red.** `promote` red is an answer: its log says by which measures the candidate is not better, with intervals, and the nights
go on with the former. The evaluation lies in `<folder>/<version>/evaluation`. Whoever knows better runs
`wearalike.commands.promote_model` with `--force REASON`. `train` or `evaluate` red names file and line of what it cannot use: mend it, clear it.

**Undo** a promotion with `wearalike.commands.promote_model --kind encoder --rollback` (or `detector`). No version is ever overwritten: to
train again on other photos, give another version, or none.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param, dag

VERSION = "{{ params.version or params.kind ~ (dag_run.logical_date or dag_run.run_after).strftime('-%Y%m%d-%H%M%S') }}"
OUT = "{{ params.folder }}/" + VERSION
CANDIDATE = f"{OUT}/{VERSION}.safetensors"
DATA = "--data {{ params.data }}={{ params.labelled }}"
# What these say goes into a shell.
_PATH = r"^/[A-Za-z0-9_./-]+$"


def job_command(name: str, *options: str) -> str:
    return " ".join([sys.executable, "-m", f"wearalike.commands.{name}", *options])


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
        "labelled": Param(
            type="string", pattern=_PATH, description="folder of labelled photos; see the README"
        ),
        "data": Param(
            "folder",
            enum=["folder", "fashion-product-images", "clothing-dataset", "ccp"],
            description="how that folder is laid out",
        ),
        "kind": Param("encoder", enum=["encoder", "detector"], description="what to train"),
        "folder": Param(
            type="string",
            pattern=_PATH,
            description="where checkpoints, candidates and evaluations lie",
        ),
        "version": Param(
            None,
            type=["null", "string"],
            pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
            description="of the model, a new one each time; empty: kind and time",
        ),
        "begin": Param(
            None,
            type=["null", "string"],
            pattern=r"^([a-z0-9][a-z0-9._-]{0,63}|/[A-Za-z0-9_./-]+)$",
            description="what to begin with: a packaged model (fashion, garments) or a file; few photos want it; empty: ImageNet",
        ),
        "steps": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            description="of training; empty: the job's own",
        ),
        "seed": Param(0, type="integer", minimum=0),
    },
)
def train_models() -> None:
    begin = "{{ '--from ' ~ params.begin if params.begin else '' }}"
    steps = "{{ '--steps ' ~ params.steps if params.steps else '' }}"
    options = (
        DATA,
        f"--version {VERSION}",
        f"--out {OUT}",
        begin,
        steps,
        "--seed {{ params.seed }}",
    )
    train = BashOperator(
        task_id="train", bash_command=job_command("train_{{ params.kind }}", *options), retries=3
    )
    evaluate = BashOperator(
        task_id="evaluate",
        bash_command=job_command(
            "evaluate_models",
            DATA,
            f"--{{{{ params.kind }}}}s promoted {CANDIDATE}",
            f"--out {OUT}/evaluation",
        ),
    )
    # The answer does not change on a second try.
    promote = BashOperator(
        task_id="promote",
        bash_command=job_command(
            "promote_model",
            "--kind {{ params.kind }}",
            f"--candidate {CANDIDATE}",
            f"--evaluation {OUT}/evaluation",
        ),
        retries=0,
    )
    train >> evaluate >> promote


train_models()
