"""`wearalike run`: every stage in order, in this process."""

from __future__ import annotations

import contextlib
from datetime import date
from pathlib import Path
from typing import Any

import click

from wearalike.commands.groups import command
from wearalike.commands.options import settings_options
from wearalike.commands.prune_data import prune_by_policy
from wearalike.operator_error import OperatorError
from wearalike.pipeline import job, runner
from wearalike.pipeline.quality_options import run_options
from wearalike.pipeline.stage_command import day_option_attributes, run_option_attributes


@command("run")
@click.option("--run", "run_name", **run_option_attributes())
@click.option("--day", **day_option_attributes())
@click.option(
    "--force", is_flag=True, help="Pull the feeds again although this run has pulled them."
)
@run_options
@settings_options
def run(
    run_name: str,
    day: date | None,
    force: bool,
    data_dir: Path | None,
    config: Path | None,
    **quality_values: Any,
) -> None:
    """Run every stage in order, without Airflow.

    It stops at the first stage that fails. The same command goes on from there: finished work is
    kept and skipped. An option that decides quality overrides the settings for this call alone;
    only the stages that depend on it work again. Where the settings have a section [keep], what no
    run needs any more is pruned at the end.
    """
    try:
        runner.run_stages(
            run_name,
            data_dir=data_dir,
            config=config,
            force_feeds=force,
            day=day,
            quality_values=quality_values,
        )
        settings = job.read_settings(config, data_dir)
        if settings.compared_encoders:
            from wearalike.commands.describe_items import describe_by_settings

            describe_by_settings(settings, run_name)
        prune_by_policy(settings)
    finally:
        _print_outcome(run_name, data_dir, config)


def _print_outcome(run: str, data_dir: Path | None, config: Path | None) -> None:
    """Print what is published, what the run warned of, and where to look."""
    from wearalike.reports import read_status, run_status

    # A fault of the settings or of the first stage has been told.
    with contextlib.suppress(ValueError, OSError, OperatorError):
        settings = job.read_settings(config, data_dir)
        print("\n" + run_status.format_status(read_status.read_status(settings, run)))
        print("browse     wearalike serve")
