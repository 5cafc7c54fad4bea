"""`wearalike load-events`: what visitors did with the published recommendations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, settings_options
from wearalike.pipeline import job


@command("load-events")
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@settings_options
def load_events(files: tuple[Path, ...], data_dir: Path | None, config: Path | None) -> None:
    """Take impressions, clicks and orders, and compute click and order rates.

    FILE is Parquet, CSV or JSON lines, with the columns kind, occurred_at, product_id and
    similar_product_id; event_id and run where you have them, and variant, team and view_id of an
    experiment. A row that cannot be used is refused
    with a reason. The same file again does nothing. The rates stand in the table event_rates of the
    warehouse, in reports/quality.xlsx and on the page /quality.
    """
    from wearalike.quality.event_rates import update_rates
    from wearalike.quality.event_store import LoadedEvents, load_event_file
    from wearalike.quality.experiment_rates import read_variant_rates, update_variant_rates
    from wearalike.reports import run_feed, workbook
    from wearalike.warehouse.base import open_warehouse

    settings = job.read_settings(config, data_dir, needs_feeds=False)
    root = settings.data_dir
    warehouse = open_warehouse(settings.warehouse)
    state = warehouse.state()
    loaded: list[LoadedEvents] = []
    for path in files:
        loaded.append(load_event_file(root, state, path, datetime.now(UTC)))
        print(_describe_file(loaded[-1]), flush=True)
    rates = update_rates(root, warehouse).to_pylist()
    update_variant_rates(root, warehouse)
    with run_feed.warn_on_errors():
        workbook.write_workbook(root, root / run_feed.REPORTS_FOLDER / workbook.WORKBOOK_NAME)
    for row in rates:
        if row["dimension"] == "all":
            print(_describe_rates(row))
    for row in read_variant_rates(root):
        print(_describe_variant(row))
    if not any(one.events_count or not one.is_new for one in loaded):
        raise job.JobRejected("no row of these files is used; see the reasons above")


def _describe_file(one: Any) -> str:
    if not one.is_new:
        return f"{one.path}: loaded before, nothing to do"
    refused = ", ".join(f"{count:,} {reason}" for reason, count in one.refused.most_common())
    line = f"{one.path}: {one.events_count:,} events"
    return f"{line}, refused: {refused}; see {one.refused_path}" if refused else line


def _describe_variant(row: dict[str, Any]) -> str:
    """Return the rates of an experiment's variant in one line."""
    turns = ", interleaved" if row["assignment"] == "interleave" else ""
    line = (
        f"experiment {row['experiment']}, {row['variant']}{turns}: {row['impressions_count']:,}"
        f" impressions, {row['clicks_count']:,} clicks, {row['orders_count']:,} orders"
    )
    if row["click_rate"] is not None:
        interval = f"{row['click_low']:.2%} to {row['click_high']:.2%}"
        line += f"; {row['click_rate']:.2%} clicked (95 % interval {interval})"
    if row["win_share"] is not None:
        interval = f"{row['win_low']:.0%} to {row['win_high']:.0%}"
        line += (
            f"; won {row['wins_count']:,} of {row['wins_count'] + row['losses_count']:,} lists,"
            f" {row['win_share']:.0%} (95 % interval {interval}, sign test {row['p_value']:.3f})"
        )
    return line


def _describe_rates(row: dict[str, Any]) -> str:
    """Return the rates of a run in one line."""
    line = (
        f"run {row['run']}: {row['impressions_count']:,} impressions,"
        f" {row['clicks_count']:,} clicks, {row['orders_count']:,} orders"
    )
    if row["click_rate"] is None:
        return f"{line}; no rate, because fewer were seen than clicked"
    interval = f"{row['click_low']:.2%} to {row['click_high']:.2%}"
    return f"{line}; {row['click_rate']:.2%} clicked (95 % interval {interval})"
