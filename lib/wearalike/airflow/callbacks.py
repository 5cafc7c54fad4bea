"""Callbacks for Airflow at the end of a task or a run: gauges of row counts, and alerts.

Nothing here changes what a run does. An alert is a line in the log, and goes to the notifier that
the Airflow Variable `wearalike_alerts` names, if any: a class of Airflow or of a provider, and its
arguments. In these `{{ alert.title }}`, `{{ alert.text }}` and `{{ alert.html }}` stand for the
message.

Parsing a DAG file imports this module, so heavy libraries are imported where they are used.
"""

from __future__ import annotations

import contextlib
import html
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.observability import stats

from wearalike.pipeline.stages import STAGES_BY_NAME

log = logging.getLogger("wearalike.airflow")
ALERTS_VARIABLE = "wearalike_alerts"
MAX_REASON_CHARS = 300


def emit_row_counts(context: Mapping[str, Any]) -> None:
    """Send the gauges wearalike.<table>.rows_written and .rows_refused of the task's tables.

    Args:
        context: of Airflow's on_success_callback. A shard's task writes no table, and sends none.
    """
    stage = STAGES_BY_NAME.get(context["task"].task_id)
    if stage is None or not stage.writes:
        return
    from wearalike import settings
    from wearalike.storage import mirror, run_tables
    from wearalike.tables import TABLES_BY_NAME

    found = settings.read_settings(needs_feeds=False)
    root = found.data_dir
    mirror.open_cache(root, found.storage)
    run = run_name(context["dag_run"])
    of_experiment = [
        name
        for name in stage.experiment_writes
        if run_tables.is_complete(root, TABLES_BY_NAME[name], run)
    ]
    for name in (*stage.writes, *of_experiment):
        rows = run_tables.read_manifest(root, TABLES_BY_NAME[name], run)["rows"]
        stats.gauge(f"wearalike.{name}.rows_written", rows["written"])
        stats.gauge(f"wearalike.{name}.rows_refused", sum(rows["refused"].values()))


@dataclass(frozen=True, slots=True)
class Alert:
    """A message to an operator.

    Attributes:
        title: one line.
        text: what, where, since when, and what to do.
    """

    title: str
    text: str

    @property
    def html(self) -> str:
        """Return the text as HTML."""
        return f"<pre>{html.escape(self.text)}</pre>"


def alert_task_failure(context: Mapping[str, Any]) -> None:
    """Alert that a task has failed for good; a failure that will be retried is no alert.

    Args:
        context: of Airflow's on_failure_callback.
    """
    instance = context["ti"]
    run = run_name(context["dag_run"])
    reason = _failure_reason(instance.task_id, run, context.get("exception"))
    lines = [
        f"What:  task {instance.task_id} of the DAG {instance.dag_id} failed: {reason}",
        f"Where: run {run}, in Airflow {instance.run_id}, try {instance.try_number}, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"Log:   {instance.log_url}",
    ]
    title = f"{instance.task_id} of run {run} failed"
    send_alert(_build_alert(title, lines, "Red", context["dag"].doc_md), context)


def _failure_reason(task_id: str, run: str, exception: object) -> str:
    """Return one line: the gate's or publishing's own reason, else Airflow's words."""
    from wearalike import settings
    from wearalike.operator_error import OperatorError
    from wearalike.reports import run_feed
    from wearalike.storage import mirror

    with contextlib.suppress(ValueError, OSError, OperatorError):
        found = settings.read_settings(needs_feeds=False)
        mirror.open_cache(found.data_dir, found.storage)
        reports = found.data_dir / run_feed.REPORTS_FOLDER
        line = run_feed.read_run_log(reports / "runs.jsonl").get(run, {})
        if task_id == "report_quality" and line.get("failed"):
            return "the gate is closed, " + "; ".join(line["failed"])
        if task_id == "publish_tables" and line.get("not_published"):
            return str(line["not_published"])
    lines = str(exception or "").strip().splitlines() or ["no exception"]
    return lines[0][:MAX_REASON_CHARS]


def alert_late_run(doc: str, context: Mapping[str, Any]) -> None:
    """Alert that a run has not ended in time.

    Args:
        doc: the DAG's docstring.
        context: of Airflow's deadline callback.
    """
    dag_run = context["dag_run"]
    deadline = datetime.fromisoformat(str(context["deadline"]["deadline_time"]))
    run = run_name(dag_run)
    lines = [
        f"What:  the run has not ended by {deadline:%Y-%m-%d %H:%M} UTC",
        f"Where: run {run}, in Airflow {dag_run['dag_run_id']}",
    ]
    send_alert(_build_alert(f"run {run} is late", lines, "Late", doc), context)


def _build_alert(title: str, lines: list[str], heading: str, doc: str | None) -> Alert:
    """Return an alert that says what to do in the words of the DAG's docstring.

    Args:
        title: one line.
        lines: what happened.
        heading: of the docstring's paragraph that says what to do, "Red" or "Late".
        doc: the docstring.
    """
    paragraph = re.search(rf"\*\*{heading}\.?\*\*.+?(?=\n\s*\n|\Z)", doc or "", re.DOTALL)
    to_do = "look into the log"
    if paragraph:
        to_do = re.sub(r"[*`]", "", " ".join(paragraph[0].split()))
    text = "\n".join([*lines, f"Site:  {_site_status()}", f"To do: {to_do}"])
    return Alert(f"wearalike: {title}", text)


def _site_status() -> str:
    """Return which run the site reads meanwhile, and since when."""
    from wearalike import settings
    from wearalike.warehouse.base import open_warehouse

    try:
        publications = (
            open_warehouse(settings.read_settings(needs_feeds=False).warehouse).state().publications
        )
    except (ValueError, OSError, ImportError) as error:
        return f"what it reads stays as it is; since when is unknown, {error}"
    if not publications:
        return "nothing has been published yet"
    last = publications[-1]
    return (
        f"reads run {last.run}, published {last.published_at:%Y-%m-%d %H:%M} UTC, "
        "until another one is published"
    )


def run_name(dag_run: Any) -> str:
    """Return the run's name as the DAG's template makes it: the one asked for, else the date.

    Args:
        dag_run: Airflow's object, or its JSON.

    Returns:
        The name, e.g. 2026-11-21.
    """
    facts = dag_run
    if not isinstance(dag_run, Mapping):
        names = ("logical_date", "run_after", "conf")
        facts = {name: getattr(dag_run, name, None) for name in names}
    moment = facts.get("logical_date") or facts.get("run_after")
    return (facts.get("conf") or {}).get("run") or str(moment)[:10]


def send_alert(alert: Alert, context: Mapping[str, Any]) -> None:
    """Log an alert, and hand it to the notifier that the Variable names, if any.

    Args:
        alert: the message.
        context: Airflow's, for the notifier.

    Raises:
        ValueError: the Variable is not what is wanted.
        Exception: whatever the notifier raises.
    """
    log.error("%s\n%s", alert.title, alert.text)
    chosen = Variable.get(ALERTS_VARIABLE, default=None, deserialize_json=True)
    if chosen is None:
        return
    if not isinstance(chosen, dict) or not isinstance(chosen.get("notifier"), str):
        raise ValueError(
            f'Variable {ALERTS_VARIABLE}: wanted {{"notifier": "module.Class", ...}}, '
            f"got {chosen!r}"
        )
    arguments = {name: value for name, value in chosen.items() if name != "notifier"}
    module, _, class_name = chosen["notifier"].rpartition(".")
    notifier = getattr(import_module(module), class_name)(**arguments)
    notifier({**context, "alert": alert})
