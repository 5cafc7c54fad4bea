"""The state of the deployment for machines: /v1/status as JSON, /metrics for Prometheus.

The metrics are gauges, read from the tables at each scrape. This process counts nothing, so the
text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/) needs no client
library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from wearalike.reports.run_status import DeploymentStatus, collect_status
from wearalike.server import errors, parameters
from wearalike.server.snapshot import PublishedRepository
from wearalike.warehouse.base import Unreachable

api_router = APIRouter(dependencies=[Depends(parameters.refuse_unknown)])
metrics_router = APIRouter()
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "wearalike_"


@api_router.get(
    "/status",
    response_model=DeploymentStatus,
    responses=errors.openapi_responses(),
    summary="Status",
)
def status(request: Request, response: Response) -> DeploymentStatus:
    """Return what is published, how fresh it is, and what the last run did."""
    published: PublishedRepository = request.app.state.published
    response.headers["Cache-Control"] = "no-store"
    found = collect_status(request.app.state.settings.data_dir, published.state())
    # Where the files lie is nobody's business outside.
    last = replace(found.last_run, page=None) if found.last_run else None
    return replace(found, last_run=last)


@metrics_router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """Return the same as gauges in the text format of Prometheus."""
    root = request.app.state.settings.data_dir
    published: PublishedRepository = request.app.state.published
    try:
        found = collect_status(root, published.state())
    except Unreachable:
        found = collect_status(root, None, "away")
    text = format_metrics(found)
    return PlainTextResponse(text, media_type=METRICS_TYPE, headers={"Cache-Control": "no-store"})


def format_metrics(status: DeploymentStatus) -> str:
    """Return the state as gauges.

    Args:
        status: The state.

    Returns:
        Lines in the text format 0.0.4, each metric with its HELP and TYPE.
    """
    lines: list[str] = []
    known = ""
    for name, meaning, labels, value in _gauges(status):
        if name != known:
            lines += [f"# HELP {_PREFIX}{name} {meaning}", f"# TYPE {_PREFIX}{name} gauge"]
            known = name
        lines.append(f"{_PREFIX}{name}{_format_labels(labels)} {value:.15g}")
    return "\n".join([*lines, ""])


def _format_labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    return "{" + ",".join(f'{k}="{v.translate(escapes)}"' for k, v in labels.items()) + "}"


def _gauges(status: DeploymentStatus) -> Iterator[tuple[str, str, dict[str, str], float]]:
    """Yield name, meaning, labels and value of each gauge; those of one name side by side."""
    yield "warehouse_up", "1 if the warehouse answers.", {}, not status.warehouse_fault
    if published := status.published:
        yield "published_info", "The published run.", {"run": published.run}, 1
        yield (
            "published_timestamp_seconds",
            "When it was published, seconds since 1970.",
            {},
            published.published_at.timestamp(),
        )
        yield "published_age_seconds", "Seconds since it was published.", {}, published.age_s
        yield "published_fresh", "1 if it is no older than 36 hours.", {}, published.is_fresh
        for table, count in sorted(published.counts.items()):
            yield "published_rows", "Published rows by table.", {"table": table}, count
    if last := status.last_run:
        labels = {"run": last.run, "verdict": last.verdict or "none"}
        yield "last_run_info", "The last run, and the verdict of its gate.", labels, 1
        yield "last_run_published", "1 if the site reads the last run.", {}, last.is_published
        if last.last_made_at:
            yield (
                "last_run_made_timestamp_seconds",
                "When its last table was made, seconds since 1970.",
                {},
                last.last_made_at.timestamp(),
            )
        unfinished_count = len(last.unfinished_tables)
        yield "last_run_unfinished_tables", "Tables it has not made.", {}, unfinished_count
        yield "last_run_failed_checks", "Checks that failed.", {}, len(last.failed)
        yield "last_run_warned_metrics", "Metrics with a warning.", {}, len(last.warned)
        for table, count in last.rows_written.items():
            yield "last_run_rows", "Rows it wrote by table.", {"table": table}, count
        for name, count in last.refused.items():
            table, _, reason = name.partition("/")
            refused = {"table": table, "reason": reason}
            yield "last_run_refused_rows", "Rows it refused, by table and reason.", refused, count
        for feed in last.feeds:
            is_fresh = feed.status == "fresh"
            yield "feed_fresh", "1 if the shop's feed was used.", {"shop": feed.shop_id}, is_fresh
        for feed in last.feeds:
            shop = {"shop": feed.shop_id}
            yield "feed_offers", "Offers of the shop in the last run.", shop, feed.offers_count
