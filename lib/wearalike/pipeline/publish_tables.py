"""Load a run's tables into the warehouse; then the site reads this run.

The tables are products, product_variants, similar_products, similar_lists, look_products and
quality. A run whose quality table holds a `fail` is not published. The job then ends with 1 and
names the failing measures, and the site keeps the run before. --override publishes the run
nevertheless; who and why are kept in `publications`.

A run that was rolled back stays off the site, whoever repeats this job, until --again or --override
publishes it.

A run of an earlier day than the published one is loaded but not published, unless --override says
so. The job may be killed and repeated at any moment; a published run is left as it is. Where the
warehouse does not answer, the tables stay in Parquet, the site does not change, and the job ends
with 1.
"""

from __future__ import annotations

import logging

import click

from wearalike.pipeline import job
from wearalike.pipeline.command_frame import ParsedText, run_command
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.reports import run_feed
from wearalike.warehouse import publish
from wearalike.warehouse.base import Unreachable, open_warehouse

log = logging.getLogger("wearalike.publish_tables")


def command() -> click.Command:
    """Return the stage as a command."""
    options = [
        click.Option(
            ["--override"],
            type=ParsedText("WHO: WHY", publish.parse_override),
            help="Publish although the gate is closed.",
        ),
        click.Option(
            ["--again"],
            is_flag=True,
            help="Publish although the run was rolled back.",
        ),
        click.Option(
            ["--keep"],
            type=click.IntRange(min=1),
            default=7,
            show_default=True,
            metavar="N",
            help="Runs that stay in the warehouse.",
        ),
    ]
    return build_stage_command(work, __doc__, options)


def work(args: StageOptions) -> None:
    """Load and publish a run, then prune old ones."""
    place = job.load_settings(args)
    warehouse = open_warehouse(place.warehouse)
    try:
        done = publish.publish_run(
            place.data_dir,
            args.run,
            warehouse,
            args.override,
            redo=args.force,
            is_again=args.again,
        )
    except (ValueError, OSError) as error:
        with run_feed.warn_on_errors():
            run_feed.record_unpublished(place.data_dir, args.run, str(error))
        raise
    with run_feed.warn_on_errors():
        run_feed.record_publications(place.data_dir, warehouse.state())
    if done.overridden_failures:
        log.warning(
            "published against the gate by %s: %s",
            args.override,
            "; ".join(done.overridden_failures),
        )
    try:
        gone = warehouse.prune(args.keep)
    except Unreachable as error:
        # The site reads the new run already; the next run prunes.
        log.warning("old runs are not pruned: %s", error)
        gone = []
    counts = ", ".join(f"{count:,} {name}" for name, count in done.load.counts.items())
    if done.load.struck_count:
        counts += (
            f"; {done.load.struck_count:,} texts held NUL bytes or half characters, struck out"
        )
    if done.later_run:
        log.warning(
            "%s is loaded and not published: the site reads %s, a later day; "
            "--override publishes it",
            args.run,
            done.later_run,
        )
    if done.move:
        moved = f"published {done.move}"
    elif done.later_run:
        moved = f"{args.run} is loaded"
    else:
        moved = f"{args.run} is published already, nothing to do"
    log.info("%s: %s%s", moved, counts, f"; pruned {', '.join(gone)}" if gone else "")


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
