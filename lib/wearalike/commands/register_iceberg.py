"""`wearalike register-iceberg`: the published run as Apache Iceberg tables."""

from __future__ import annotations

from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import settings_options
from wearalike.pipeline import job


@command("register-iceberg")
@click.option(
    "--catalog",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Name of the catalogue in ~/.pyiceberg.yaml or in PYICEBERG_CATALOG__NAME__URI.",
)
@click.option("--namespace", default="wearalike", show_default=True, help="Of the tables.")
@click.option(
    "--keep",
    type=click.IntRange(min=2),
    default=7,
    show_default=True,
    metavar="N",
    help="Versions of runs whose rows stay in the tables.",
)
@settings_options
def register_iceberg(
    catalog: str, namespace: str, keep: int, data_dir: Path | None, config: Path | None
) -> None:
    """Register the published run as Apache Iceberg tables.

    Each published table gets the run's rows, with the column run_version, in one commit. The table
    published_run comes last: who reads it first sees all tables of one run.
    """
    from pyiceberg.catalog import load_catalog

    from wearalike.warehouse import iceberg

    settings = job.read_settings(config, data_dir, needs_feeds=False)
    run = iceberg.register_published_run(settings, load_catalog(catalog), namespace, keep)
    print(f"registered {run} in {namespace}" if run else f"{namespace} is up to date")
