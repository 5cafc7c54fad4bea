"""`wearalike contract`: the data contract of the published tables, as YAML."""

from __future__ import annotations

import sys

import click

from wearalike.commands.groups import CONTEXT_SETTINGS


@click.command("contract", context_settings=CONTEXT_SETTINGS)
def contract() -> None:
    """Print the data contract of the published tables (Open Data Contract Standard, YAML)."""
    from wearalike.reports import data_contract

    sys.stdout.write(data_contract.format_contract())
