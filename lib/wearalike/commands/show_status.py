"""`wearalike status`: what is published, how fresh it is, and what the last run did."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import settings_options
from wearalike.pipeline import job


@command("status")
@click.option("--run", "run_name", help="Run to tell of; default: the last.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON, as /v1/status answers.")
@settings_options
def status(run_name: str | None, is_json: bool, data_dir: Path | None, config: Path | None) -> None:
    """Show what is published, how fresh it is, and what the last run did."""
    from wearalike.reports import read_status, run_status

    settings = job.read_settings(config, data_dir, needs_feeds=False)
    found = read_status.read_status(settings, run_name)
    if is_json:
        print(json.dumps(asdict(found), indent=1, default=str, ensure_ascii=False))
    else:
        print(run_status.format_status(found))
