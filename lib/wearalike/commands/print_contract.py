"""`wearalike contract`: the data contract of the published tables, as YAML."""

from __future__ import annotations

import sys

import click

from wearalike.commands.groups import CONTEXT_SETTINGS


@click.command("contract", context_settings=CONTEXT_SETTINGS)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["odcs", "dbt"]),
    default="odcs",
    show_default=True,
    help="Open Data Contract Standard, or sources of a dbt project.",
)
def contract(file_format: str) -> None:
    """Print the data contract of the published tables as YAML."""
    from wearalike.reports import data_contract

    is_dbt = file_format == "dbt"
    text = data_contract.format_dbt_sources() if is_dbt else data_contract.format_contract()
    sys.stdout.write(text)
