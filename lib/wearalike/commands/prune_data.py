"""`wearalike prune`: remove from the data folder what no run needs any more."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import settings_options
from wearalike.pipeline import command_frame, job
from wearalike.settings import Settings

log = logging.getLogger("wearalike.prune")


@command("prune")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would go; change nothing.")
@click.option(
    "--if-set",
    "is_if_set",
    is_flag=True,
    help="Do nothing where the settings have no section [keep], as at the end of a run.",
)
@settings_options
def prune(is_dry: bool, is_if_set: bool, data_dir: Path | None, config: Path | None) -> None:
    """Remove what no run needs any more, by the days and bytes of [keep] in the settings.

    Every run in the warehouse stays, so also the published one and the one of a rollback. So does
    what the next run goes on from. It may be killed at any moment. -v names every picture.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    if is_if_set:
        prune_by_policy(settings)
        return
    from wearalike.ops.retention.prune import describe_report, prune_data

    for line in describe_report(prune_data(settings, is_dry=is_dry)):
        print(line)


def prune_by_policy(settings: Settings) -> None:
    """Prune where the settings have a section [keep], and log what went.

    If it cannot, it warns: the run is published, and the next one prunes.

    Args:
        settings: the settings.
    """
    if settings.keep is None:
        log.info("nothing is pruned: the settings have no section [keep]")
        return
    from wearalike.ops.retention.prune import describe_report, prune_data
    from wearalike.storage import atomic, data_lock
    from wearalike.storage.object_store import StoreFault
    from wearalike.warehouse.base import Unreachable

    try:
        report = prune_data(settings)
    except (data_lock.DataInUse, atomic.LocksUnsupported, Unreachable, StoreFault) as error:
        log.warning("nothing is pruned: %s", command_frame.describe_error(error))
        return
    for line in describe_report(report):
        log.info("%s", line)
