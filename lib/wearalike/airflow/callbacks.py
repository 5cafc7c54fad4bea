"""What Airflow is told of a night: what each task reads and makes, how many rows, and whom to call when one fails or is late.

Nothing here changes what a night does. Lineage shows as assets in Airflow's pages, and as OpenLineage events where its provider is on;
rows go out as gauges where `[metrics]` is on; an alert is a line in the log, and what the Airflow Variable `wearalike_alerts`
names besides: a notifier of Airflow or of one of its providers and its arguments, in which `{{ alert.title }}`, `{{ alert.text }}`
and `{{ alert.html }}` stand for the message.
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

from airflow.providers.common.compat.lineage.entities import Column
from airflow.providers.common.compat.lineage.entities import Table as Lineage
from airflow.sdk import Asset, Variable
from airflow.sdk.observability import stats

from wearalike import settings
from wearalike.reports import run_feed as of_runs
from wearalike.storage import run_tables
from wearalike.tables import PUBLISHED_TABLES, TABLES_BY_NAME, Table
from wearalike.warehouse.base import open_warehouse

log = logging.getLogger("wearalike.watching")
ALERTS_VARIABLE = "wearalike_alerts"

# What each job makes, and what it reads; a chunk of a job makes nothing yet.
OUTPUT_TABLES: Mapping[str, tuple[str, ...]] = {
    "ingest_feeds": ("feeds", "offers"),
    "map_products": ("products",),
    "download_images": ("images",),
    "detect_items": ("items",),
    "encode_items": ("codes",),
    "detect_looks": ("looks",),
    "build_indexes": ("indexes",),
    "match_products": ("matches", "similar_products", "similar_lists"),
    "match_looks": ("look_products",),
    "report_quality": ("quality",),
}
INPUT_TABLES: Mapping[str, tuple[str, ...]] = {
    "map_products": ("offers",),
    "download_images": ("products",),
    "detect_items": ("images",),
    "encode_items": ("items",),
    "detect_looks": ("products", "images", "items"),
    "build_indexes": ("products", "images", "items", "codes"),
    "match_products": ("products", "indexes"),
    "match_looks": ("products", "looks", "indexes"),
    "report_quality": tuple(
        table for job, made in OUTPUT_TABLES.items() if job != "report_quality" for table in made
    ),
    "publish_tables": tuple(table.name for table in PUBLISHED_TABLES),
}


def lineage(name: str) -> dict[str, list[Any]]:
    """Inlets and outlets of a job's task: each table as an asset, for Airflow's pages and schedules, and with its columns for OpenLineage.

    publish_tables makes what the site reads: its assets are wearalike://published/<table>.
    """
    made = [_table_assets("tables", TABLES_BY_NAME[table]) for table in OUTPUT_TABLES.get(name, ())]
    if name == "publish_tables":
        made = [_table_assets("published", table) for table in PUBLISHED_TABLES]
    read = [_table_assets("tables", TABLES_BY_NAME[table]) for table in INPUT_TABLES.get(name, ())]
    return {
        "inlets": [one for both in read for one in both],
        "outlets": [one for both in made for one in both],
    }


def _table_assets(place: str, table: Table) -> tuple[Asset, Lineage]:
    columns = [
        Column(name=c.name, data_type=str(c.type), description=c.meaning) for c in table.columns
    ]
    asset = Asset(name=f"{place}/{table.name}", uri=f"wearalike://{place}/{table.name}")
    return asset, Lineage(
        cluster="wearalike",
        database=place,
        name=table.name,
        description=table.meaning,
        columns=columns,
    )


def emit_row_counts(context: Mapping[str, Any]) -> None:
    """A gauge for the rows written, and one for those refused, of every table that the task made: wearalike.<table>.rows_written."""
    root, run = settings.read_settings().data_dir, run_name(context["dag_run"])
    for name in OUTPUT_TABLES.get(context["task"].task_id, ()):
        rows = run_tables.read_manifest(root, TABLES_BY_NAME[name], run)["rows"]
        stats.gauge(f"wearalike.{name}.rows_written", rows["written"])
        stats.gauge(f"wearalike.{name}.rows_refused", sum(rows["refused"].values()))


@dataclass(frozen=True, slots=True)
class Alert:
    """What, where, since when and what to do; the title is one line."""

    title: str
    text: str

    @property
    def html(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>"


def alert_task_failure(context: Mapping[str, Any]) -> None:
    """Alerts that a task has failed for good; one that will be tried again is none."""
    instance, run = context["ti"], run_name(context["dag_run"])
    lines = [
        f"What:  task {instance.task_id} of the DAG {instance.dag_id} failed: {_failure_reason(instance.task_id, run, context.get('exception'))}",
        f"Where: run {run}, in Airflow {instance.run_id}, try {instance.try_number}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"Log:   {instance.log_url}",
    ]
    send_alert(
        _build_alert(
            f"{instance.task_id} of run {run} failed", lines, "Red", context["dag"].doc_md
        ),
        context,
    )


def _failure_reason(task_id: str, run: str, exception: object) -> str:
    """In one line: of the gate what failed, of publishing why not, of any other task Airflow's own words."""
    with contextlib.suppress(ValueError, OSError):
        line = of_runs.read_run_log(
            settings.read_settings().data_dir / of_runs.REPORTS_FOLDER / "runs.jsonl"
        ).get(run, {})
        if task_id == "report_quality" and line.get("failed"):
            return "the gate is closed, " + "; ".join(line["failed"])
        if task_id == "publish_tables" and line.get("not_published"):
            return line["not_published"]
    return (str(exception or "").strip().splitlines() or ["no exception"])[0][:300]


def alert_late_run(doc: str, context: Mapping[str, Any]) -> None:
    """Alerts that a night has not ended in time. doc: the DAG's docstring."""
    dag_run, by = (
        context["dag_run"],
        datetime.fromisoformat(str(context["deadline"]["deadline_time"])),
    )
    run = run_name(dag_run)
    lines = [
        f"What:  the night has not ended by {by:%Y-%m-%d %H:%M} UTC",
        f"Where: run {run}, in Airflow {dag_run['dag_run_id']}",
    ]
    send_alert(_build_alert(f"run {run} is late", lines, "Late", doc), context)


def _build_alert(title: str, lines: list[str], head: str, doc: str | None) -> Alert:
    """head: how the paragraph of the DAG's docstring begins that says what to do."""
    found = re.search(rf"\*\*{head}\.?\*\*.+?(?=\n\s*\n|\Z)", doc or "", re.DOTALL)
    to_do = re.sub(r"[*`]", "", " ".join(found[0].split())) if found else "look into the log"
    return Alert(
        f"wearalike: {title}", "\n".join([*lines, f"Site:  {_site_status()}", f"To do: {to_do}"])
    )


def _site_status() -> str:
    """What the site reads meanwhile, and since when."""
    try:
        publications = open_warehouse(settings.read_settings().warehouse).state().publications
    except (ValueError, OSError, ImportError) as error:
        return f"what it reads stays as it is; since when cannot be said, {error}"
    if not publications:
        return "nothing has been published yet"
    last = publications[-1]
    return f"reads run {last.run}, published {last.published_at:%Y-%m-%d %H:%M} UTC, until another one is published"


def run_name(dag_run: Any) -> str:
    """The run's name as the DAG's template RUN makes it: the one asked for, else the date. dag_run: Airflow's, or its JSON."""
    of = dag_run.get if isinstance(dag_run, Mapping) else lambda name: getattr(dag_run, name, None)
    at = of("logical_date") or of("run_after")
    return (of("conf") or {}).get("run") or str(at)[:10]


def send_alert(alert: Alert, context: Mapping[str, Any]) -> None:
    """Logs the alert, then hands it to the notifier that the Variable names, if any; what that one raises is raised."""
    log.error("%s\n%s", alert.title, alert.text)
    chosen = Variable.get(ALERTS_VARIABLE, default=None, deserialize_json=True)
    if chosen is None:
        return
    if not isinstance(chosen, dict) or not isinstance(chosen.get("notifier"), str):
        raise ValueError(
            f'Variable {ALERTS_VARIABLE}: wanted {{"notifier": "module.Class", ...}}, got {chosen!r}'
        )
    arguments = {name: value for name, value in chosen.items() if name != "notifier"}
    module, _, kind = chosen["notifier"].rpartition(".")
    getattr(import_module(module), kind)(**arguments)({**context, "alert": alert})
