"""The nightly run: shops' feeds to published recommendations.

**Normal.** Every task is green. A run takes a few minutes for ten thousand products, most of it
encoding on the first night and downloading on the others. `publish_tables` is the only one that a
reader of the site can notice. `describe_items` after it describes the items by the encoders that
the settings name for the page Compare. `prune_data` removes what no run needs, where the settings
have a section `[keep]`.

**First.** Unpaused, it waits for its hour. Trigger it to have a run at once: there is one, not two.

**Late** when it has not ended an hour after its start: look at `download_images` first (a slow
shop), then at the shards of `encode_items` (no GPU where there should be one).

**Red.** `report_quality` red means that the gate said no: its log names the failing expectation,
the page `quality.html` in the run's folder shows examples, and the site still reads the last good
run. Any other task can be cleared and run again at any time: finished work is kept and skipped. A
shop whose feed is broken does not turn anything red. It is a warning in the log of `ingest_feeds`
and a row in the table `feeds`.

**Alerts.** A task that failed for good and a run that is late are logged, and reported to whom the
Airflow Variable `wearalike_alerts` names.

**Undo** a bad run with `wearalike rollback`.

The pools `network` and `gpu` must exist (`airflow pools set network 2 downloads`, `airflow pools
set gpu 1 models`).
"""

from __future__ import annotations

import sys
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import (
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    SyncCallback,
    chain,
    dag,
    task,
)

from wearalike.airflow import callbacks
from wearalike.airflow.gate_operator import GateOperator
from wearalike.airflow.lineage import stage_lineage
from wearalike.pipeline.quality_options import RUN_OPTIONS, dag_parameters, stage_options_text
from wearalike.pipeline.stages import STAGES, Stage

LATE_RUN_ALERT = DeadlineAlert(
    DeadlineReference.DAGRUN_QUEUED_AT,
    timedelta(hours=1),
    SyncCallback(callbacks.alert_late_run, {"doc": __doc__}),
)
# Unpausing starts no run of the past, unless it was due within this time. There is no start date:
# with one, Airflow would start the last run that was due.
LATEST_FIRST_START = timedelta(minutes=30)
# `airflow dags test` ends a good run with an error where there is a deadline: 3.3 looks it up among
# those that a scheduler has stored.
IS_TEST = sys.argv[1:3] == ["dags", "test"]
RUN_TEMPLATE = (
    "{{ params.run or (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"
)
STAGE_OPTIONS = {
    # A run by hand may have pulled its feeds under this night's name.
    "ingest_feeds": "{{ '--force' if params.force else '' }}"
    "{{ '--since ' ~ dag_run.run_after.isoformat()"
    " if dag_run and dag_run.run_type == 'scheduled' and not params.force else '' }}",
    # Quoted for the shell: the values come from a form.
    **{
        stage: f"{{{{ stage_options_text('{stage}', params) }}}}"
        for stage in (*{option.stage: None for option in RUN_OPTIONS}, "report_quality")
    },
}
# The gate does not change its mind on a second try.
STAGE_RETRIES = {"report_quality": 0}


def stage_command(stage: Stage, options: str = "") -> str:
    """Return the command line of a stage."""
    command = f"{sys.executable} -m wearalike.pipeline {stage.name} --run {RUN_TEMPLATE} {options}"
    return command.rstrip()


def operator_options(stage: Stage) -> dict[str, object]:
    """Return a stage's pool and retries, where they are not the default."""
    options: dict[str, object] = {}
    if stage.pool:
        options["pool"] = stage.pool
    if stage.name in STAGE_RETRIES:
        options["retries"] = STAGE_RETRIES[stage.name]
    return options


@dag(
    dag_id="similar_products",
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC", run_immediately=LATEST_FIRST_START),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["wearalike"],
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "append_env": True,
        "execution_timeout": timedelta(hours=6),
        "on_success_callback": callbacks.emit_row_counts,
        "on_failure_callback": callbacks.alert_task_failure,
    },
    deadline=None if IS_TEST else LATE_RUN_ALERT,
    params={
        "run": Param(
            None,
            type=["null", "string"],
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
            description="name of the run; empty: the date",
        ),
        "shards": Param(
            2,
            type="integer",
            minimum=1,
            maximum=100,
            description="shards of downloading, detecting and encoding, which run side by side",
        ),
        "force": Param(
            False,
            type="boolean",
            description="pull the feeds again although this run has pulled them",
        ),
        **{key: Param(None, **schema) for key, schema in dag_parameters().items()},
    },
    user_defined_macros={"stage_options_text": stage_options_text},
)
def similar_products() -> None:
    """Build the DAG: every stage after the one before, a sharded one after its shards, pruning."""

    @task
    def list_shards(params: dict[str, int] | None = None) -> list[dict[str, str]]:
        """Return the environment of each shard's task."""
        count = (params or {})["shards"]
        return [{"SHARD": f"{i}/{count}"} for i in range(1, count + 1)]

    shards = list_shards()
    tasks = []
    for stage in STAGES:
        if stage.is_sharded:
            # The shards fill the cache. The stage itself then finds all work done.
            shard_task = BashOperator.partial(
                task_id=f"{stage.name}_shard",
                bash_command=stage_command(
                    stage, f"--shard $SHARD {STAGE_OPTIONS.get(stage.name, '')}"
                ),
                **operator_options(stage),
            ).expand(env=shards)
            tasks.append(shard_task)
        operator = GateOperator if stage.name == "report_quality" else BashOperator
        stage_task = operator(
            task_id=stage.name,
            bash_command=stage_command(stage, STAGE_OPTIONS.get(stage.name, "")),
            **stage_lineage(stage.name),
            **operator_options(stage),
        )
        tasks.append(stage_task)
    prune_task = BashOperator(
        task_id="prune_data",
        bash_command=f"{sys.executable} -m wearalike prune --if-set",
    )
    # Where the settings name encoders to compare; a run does not need them.
    describe_task = BashOperator(
        task_id="describe_items",
        bash_command=f"{sys.executable} -m wearalike describe-items --if-set --run {RUN_TEMPLATE}",
        pool="gpu",
    )
    chain(*tasks, [describe_task, prune_task])


similar_products()
