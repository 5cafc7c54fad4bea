"""The state of a deployment on one screen: what is published, how fresh, and what the last run did.

`wearalike status`, `/v1/status`, `/metrics` and the end of a run all read this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wearalike.metrics.ages import describe_age
from wearalike.quality.thresholds import GateVerdict
from wearalike.storage import run_order, run_tables
from wearalike.tables import (
    FEEDS,
    LIST_VARIANTS,
    QUALITY,
    SIMILAR_PRODUCTS,
    SIMILAR_PRODUCTS_VARIANTS,
    TABLES,
)
from wearalike.warehouse.base import MAX_FRESH_AGE_S, WarehouseState

# Tables that a stage writes of itself; a run has made its last one once it is judged.
_STAGE_TABLES = tuple(table for table in TABLES if table.name != "refused")
MAX_SHOWN_TEXTS = 8


@dataclass(frozen=True, slots=True)
class PublishedStatus:
    """The published run.

    Attributes:
        run: Its name.
        published_at: UTC.
        age_s: Seconds since it was published.
        is_fresh: It was published less than MAX_FRESH_AGE_S ago.
        counts: Rows by table.
        rollback_to: The run that a rollback would publish; None if there is none.
        note: Who published it against the gate, and why.
    """

    run: str
    published_at: datetime
    age_s: float
    is_fresh: bool
    counts: dict[str, int]
    rollback_to: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A shop's feed as the last run used it.

    Attributes:
        shop_id: The shop.
        status: "fresh", "stale" or "missing".
        offers_count: Offers that the run goes on with.
        reason: Why the feed was not used; None for a fresh one.
        source_run: The run whose offers are used; None if there are none.
    """

    shop_id: str
    status: str
    offers_count: int
    reason: str | None
    source_run: str | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The last run.

    Attributes:
        run: Its name.
        day: Its day, YYYY-MM-DD.
        last_made_at: When its last table was made, UTC.
        unfinished_tables: Tables that it has not made, in order.
        verdict: The gate's: "ok", "warn" or "fail"; None before it is judged.
        failed: The checks that failed, a text each.
        warned: The metrics that missed a threshold without failing, a text each.
        is_published: The site reads it now.
        feeds: One for each shop.
        rows_written: Rows by table.
        refused: Refused rows by "table/reason".
        page: Its page quality.html; None before it is judged.
    """

    run: str
    day: str
    last_made_at: datetime | None
    unfinished_tables: list[str]
    verdict: str | None
    failed: list[str]
    warned: list[str]
    is_published: bool
    feeds: list[FeedStatus] = field(default_factory=list)
    rows_written: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    page: str | None = None


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """The published run and the last run of a deployment.

    Attributes:
        published: The published run; None before the first publication.
        last_run: The last run in the data folder; None where there is none.
        warehouse_fault: Why the warehouse cannot be asked; None if it answers.
    """

    published: PublishedStatus | None
    last_run: RunStatus | None
    warehouse_fault: str | None = None


def collect_status(
    root: Path, state: WarehouseState | None, fault: str | None = None, run: str | None = None
) -> DeploymentStatus:
    """Collect the state of a deployment.

    Args:
        root: The data folder, which need not exist where only the site is served.
        state: The warehouse's state; None if it does not answer.
        fault: Why it does not answer.
        run: The run to tell of; None: the last one.
    """
    published = _published_status(state) if state else None
    runs = run_tables.list_runs(root, FEEDS)
    chosen = run or (runs[-1] if runs else None)
    published_run = state.published_run if state else None
    last = _run_status(root, chosen, chosen == published_run) if chosen else None
    return DeploymentStatus(published, last, fault)


def _published_status(state: WarehouseState) -> PublishedStatus | None:
    if not state.publications:
        return None
    last = state.publications[-1]
    age_s = max(0.0, (datetime.now(UTC) - last.published_at).total_seconds())
    load = state.find_load(last.run)
    return PublishedStatus(
        run=last.run,
        published_at=last.published_at,
        age_s=round(age_s, 1),
        is_fresh=age_s <= MAX_FRESH_AGE_S,
        counts=dict(load.counts) if load else {},
        rollback_to=state.rollback_target,
        note=last.note,
    )


def _run_status(root: Path, run: str, is_published: bool) -> RunStatus:
    manifests: dict[str, dict[str, Any]] = {}
    made_at: list[float] = []
    for table in _STAGE_TABLES:
        if run_tables.is_complete(root, table, run):
            manifests[table.name] = run_tables.read_manifest(root, table, run)
            path = run_tables.table_dir(root, table, run) / "_manifest.json"
            made_at.append(path.stat().st_mtime)
    judged = manifests.get(QUALITY.name)
    warned = []
    if judged:
        rows = run_tables.read_table(root, QUALITY, run).to_pylist()
        warned = [describe_metric(row) for row in rows if row["verdict"] == GateVerdict.WARN]
    refused = {
        f"{name}/{reason}": count
        for name, manifest in manifests.items()
        for reason, count in manifest["rows"]["refused"].items()
    }
    return RunStatus(
        run=run,
        day=run_order.run_day(root, run).isoformat(),
        last_made_at=datetime.fromtimestamp(max(made_at), UTC) if made_at else None,
        unfinished_tables=[t.name for t in _STAGE_TABLES if t.name not in manifests],
        verdict=judged["verdict"] if judged else None,
        failed=list(judged["failed"]) if judged else [],
        warned=warned,
        is_published=is_published,
        feeds=_feed_statuses(root, run) if FEEDS.name in manifests else [],
        rows_written={name: m["rows"]["written"] for name, m in manifests.items()},
        refused=refused,
        page=str(run_tables.table_dir(root, QUALITY, run) / "quality.html") if judged else None,
    )


def _feed_statuses(root: Path, run: str) -> list[FeedStatus]:
    return [
        FeedStatus(
            shop_id=row["shop_id"],
            status=row["status"],
            offers_count=row["written_count"] or 0,
            reason=row["reason"],
            source_run=row["source_run"],
        )
        for row in run_tables.read_table(root, FEEDS, run).to_pylist()
    ]


def describe_metric(row: dict[str, Any]) -> str:
    """Return a row of tables.QUALITY that missed its threshold, as a text."""
    value = f"{row['value']:,.0f}" if row["unit"] == "count" else f"{row['value']:.3g}"
    return f"{row['metric']} of {row['scope']} is {value}, wanted {row['threshold']}"


def format_status(status: DeploymentStatus) -> str:
    """Return the state as one screen of text, without a line break at its end."""
    lines = [*_published_lines(status), *(_run_lines(status.last_run) if status.last_run else [])]
    if status.last_run is None:
        lines.append(_line("last run", "none yet; start one: wearalike run"))
    return "\n".join(lines)


def _published_lines(status: DeploymentStatus) -> list[str]:
    if status.warehouse_fault:
        return [_line("published", f"unknown: {status.warehouse_fault}")]
    published = status.published
    if published is None:
        return [_line("published", "nothing yet")]
    at = f"{published.published_at:%Y-%m-%d %H:%M} UTC"
    lines = [_line("published", f"{published.run}, {describe_age(published.age_s)} ago, {at}")]
    if not published.is_fresh:
        lines.append(
            _line(
                "", f"OLD: more than {MAX_FRESH_AGE_S // 3600:.0f} hours; a night did not publish"
            )
        )
    counts = published.counts
    lines.append(
        _line(
            "",
            f"{counts.get('products', 0):,} products, "
            f"{counts.get(SIMILAR_PRODUCTS.name, 0):,} recommendations, "
            f"{counts.get('look_products', 0):,} for looks",
        )
    )
    if variants_count := counts.get(LIST_VARIANTS.name):
        rows_count = counts.get(SIMILAR_PRODUCTS_VARIANTS.name, 0)
        others_count = variants_count - 1  # without the control
        word = "variant" if others_count == 1 else "variants"
        lines.append(_line("", f"{rows_count:,} recommendations of {others_count} {word}"))
    if published.note:
        lines.append(_line("", f"against the gate, {published.note}"))
    if published.rollback_to:
        lines.append(_line("", f"wearalike rollback would publish {published.rollback_to} again"))
    return lines


def _run_lines(last: RunStatus) -> list[str]:
    outcome = "published" if last.is_published else "not published"
    if last.unfinished_tables:
        outcome = f"not finished; next is the table {last.unfinished_tables[0]}"
    elif last.verdict == GateVerdict.FAIL:
        outcome = "published against the gate" if last.is_published else "stopped by the gate"
    made_at = f", {last.last_made_at:%Y-%m-%d %H:%M} UTC" if last.last_made_at else ""
    lines = [_line("last run", f"{last.run}{made_at}: {outcome}")]
    names = ("offers", "products", "images", "codes", "similar_products")
    counts = [f"{last.rows_written[n]:,} {n}" for n in names if n in last.rows_written]
    lines.append(_line("made", ", ".join(counts) or "nothing"))
    lines += [
        _line("feed", f"{f.shop_id}: {f.status}, {f.reason}; {_kept_text(f)}")
        for f in last.feeds
        if f.status != "fresh"
    ]
    fresh_count = sum(f.status == "fresh" for f in last.feeds)
    lines.append(_line("feeds", f"{fresh_count} of {len(last.feeds)} fresh"))
    if last.refused:
        commonest = sorted(last.refused.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{count:,} {name}" for name, count in commonest[:MAX_SHOWN_TEXTS])
        lines.append(_line("refused", f"{sum(last.refused.values()):,} rows: {shown}"))
    lines += _text_lines("failed", last.failed)
    lines += _text_lines("warning", last.warned)
    if last.page:
        lines.append(_line("look at", Path(last.page).absolute().as_uri()))
    return lines


def _text_lines(label: str, texts: list[str]) -> list[str]:
    lines = [_line(label, text) for text in texts[:MAX_SHOWN_TEXTS]]
    if len(texts) > MAX_SHOWN_TEXTS:
        lines.append(_line("", f"and {len(texts) - MAX_SHOWN_TEXTS} more"))
    return lines


def _kept_text(feed: FeedStatus) -> str:
    if feed.source_run is None:
        return "no offers"
    return f"{feed.offers_count:,} offers of {feed.source_run} kept"


def _line(label: str, text: str) -> str:
    return f"{label:<10} {text}"
