"""The night: shops' feeds to published recommendations.

**Normal.** Every task is green, a few minutes for ten thousand products, most of it encoding on the first night and
downloading on the others. `publish_tables` is the last task and the only one that a reader of the site can notice.

**Late** when it has not ended an hour after its start: look at `download_images` first (a slow shop), then at the
chunks of `encode_items` (no GPU where there should be one).

**Red.** `report_quality` red means that the gate said no: its log names the failing expectation, the page
`quality.html` in the run's folder shows examples, and the site still reads the last good run. Any other task can be
cleared and run again at any time: finished work is kept and skipped. A shop whose feed is broken does not turn
anything red; it is a warning in the log of `ingest_feeds` and a row in the table `feeds`.

**Alerts.** A task that failed for good and a night that is late say so in the log, and to whom the Airflow Variable
`wearalike_alerts` names (`docs/operations.md`).

**Undo** a bad night with `wearalike rollback`.

The pools `network` and `gpu` must exist (`airflow pools set network 2 downloads`, `airflow pools set gpu 1 models`).
"""

from __future__ import annotations

import sys
from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DeadlineAlert, DeadlineReference, Param, SyncCallback, dag, task

from wearalike.airflow import callbacks

LATE_RUN_ALERT = DeadlineAlert(
    DeadlineReference.DAGRUN_QUEUED_AT,
    timedelta(hours=1),
    SyncCallback(callbacks.alert_late_run, {"doc": __doc__}),
)
# `airflow dags test` ends a good run with an error where there is a deadline: 3.3 looks it up among those that a scheduler has stored.
IS_TEST = sys.argv[1:3] == ["dags", "test"]
RUN_TEMPLATE = (
    "{{ params.run or (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"
)


def job_command(name: str, more: str = "") -> str:
    return f"{sys.executable} -m wearalike.pipeline.{name} --run {RUN_TEMPLATE} {more}".rstrip()


def job_operator(name: str, more: str = "", **options: object) -> BashOperator:
    return BashOperator(
        task_id=name, bash_command=job_command(name, more), **callbacks.lineage(name), **options
    )


@dag(
    dag_id="similar_products",
    schedule="30 2 * * *",
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
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
        "chunks": Param(
            2,
            type="integer",
            minimum=1,
            maximum=100,
            description="shares that downloading, detecting and encoding are cut into",
        ),
        "redo": Param(
            False,
            type="boolean",
            description="pull the feeds again although this run has pulled them",
        ),
    },
)
def similar_products() -> None:
    @task
    def shares(params: dict[str, int] | None = None) -> list[dict[str, str]]:
        count = (params or {})["chunks"]
        return [{"CHUNK": f"{i}/{count}"} for i in range(1, count + 1)]

    chunks = shares()

    def chunked(name: str, pool: str) -> tuple[BashOperator, BashOperator]:
        """The shares of a job side by side, then the job itself, which finds their work done and writes the table."""
        every = BashOperator.partial(
            task_id=f"{name}_chunk", bash_command=job_command(name, "--chunk $CHUNK"), pool=pool
        ).expand(env=chunks)
        return every, job_operator(name, pool=pool)

    ingest = job_operator("ingest_feeds", "{{ '--force' if params.redo else '' }}", pool="network")
    mapped = job_operator("map_products")
    download, images = chunked("download_images", "network")
    detect, items = chunked("detect_items", "gpu")
    encode, codes = chunked("encode_items", "gpu")
    figures, looks = chunked("detect_looks", "gpu")
    last = [job_operator(name) for name in ("build_indexes", "match_products", "match_looks")]
    # The gate does not change its mind on a second try.
    gate = job_operator("report_quality", retries=0)
    ingest >> mapped >> download >> images >> detect >> items >> encode >> codes >> figures >> looks
    looks >> last[0] >> last[1] >> last[2] >> gate >> job_operator("publish_tables")


similar_products()
