"""Commands over the published run: `wearalike rollback`, `wearalike export`, `wearalike serve`."""

from __future__ import annotations

from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, PORT, settings_options
from wearalike.pipeline import job


@command("rollback")
@settings_options
def rollback(data_dir: Path | None, config: Path | None) -> None:
    """Publish again the run that was published before.

    The site reads it from now on. The tables of both runs stay.
    """
    from wearalike.reports import run_feed
    from wearalike.storage import mirror
    from wearalike.warehouse import publish
    from wearalike.warehouse.base import open_warehouse

    # In need neither secrets of feeds nor an object store may stand in the way.
    settings = job.read_settings(config, data_dir, needs_feeds=False, opens_data=False)
    print(publish.rollback(settings))
    with run_feed.warn_on_errors():
        mirror.open_cache(settings.data_dir, settings.storage)
        publications = open_warehouse(settings.warehouse).state()
        run_feed.record_publications(settings.data_dir, publications)


@command("export")
@click.option(
    "--out",
    type=PATH,
    required=True,
    metavar="FILE",
    help="File to write, whole or not at all.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl"]),
    default="jsonl",
    show_default=True,
    help="One JSON object a line.",
)
@settings_options
def export(out: Path, file_format: str, data_dir: Path | None, config: Path | None) -> None:
    """Write the published lists as keys and values, for Redis and the like."""
    from wearalike.warehouse import export as exporting

    count = exporting.write_jsonl(job.read_settings(config, data_dir, needs_feeds=False), out)
    print(f"{count:,} products in {out}")


@command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="0: any free port.")
@settings_options
def serve(host: str, port: int, data_dir: Path | None, config: Path | None) -> None:
    """Serve the JSON API and the pages over the published run, until Ctrl-C."""
    from wearalike.server import serve as server_process

    server_process.serve(job.read_settings(config, data_dir, needs_feeds=False), host, port)
