"""The command line of a stage: its options as a click command, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from types import SimpleNamespace
from typing import Any

import click

from wearalike.pipeline import job
from wearalike.pipeline.command_frame import (
    CONTEXT_SETTINGS,
    PATH,
    ParsedText,
    run_logged,
    verbosity_options,
)
from wearalike.settings import RUN_PATTERN, check_spark_master, today

# The options of a stage by name, e.g. `run` and `data_dir`.
StageOptions = SimpleNamespace


def device_option(help_text: str = "Default: the settings' device.") -> click.Option:
    """Return the option --device."""
    return click.Option(["--device"], type=click.Choice(["auto", "cpu", "cuda"]), help=help_text)


def run_option_attributes() -> dict[str, Any]:
    """Return the attributes of --run, for click: a run is of today unless it is named."""
    return {
        "type": ParsedText("RUN", _check_run_name),
        "default": lambda: today().isoformat(),
        "show_default": "today in UTC, e.g. 2026-11-21",
        "help": "Name of the run. One that does not begin with a date is a trial.",
    }


def _check_run_name(text: str) -> str:
    """Return the name of a run as it is. Raises ValueError."""
    if not RUN_PATTERN.fullmatch(text):
        raise ValueError(
            f"{text!r}: wanted at most 64 letters, digits, '_', '.' or '-', e.g. 2026-11-21"
        )
    return text


def day_option() -> click.Option:
    """Return the option --day."""
    return click.Option(["--day"], **day_option_attributes())


def day_option_attributes() -> dict[str, Any]:
    """Return the attributes of --day, for click."""
    return {
        "type": ParsedText("YYYY-MM-DD", _parse_day),
        "help": "Day of the run, for rules and the age of feeds. "
        "Default: the date in its name, else today in UTC.",
    }


def _parse_day(text: str) -> date:
    """Return a date. Raises ValueError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r}: wanted a date such as 2026-11-21") from None


def spark_master_option() -> click.Option:
    """Return the option --spark-master."""
    return click.Option(
        ["--spark-master"],
        type=ParsedText("MASTER", check_spark_master),
        help="Spark's master, e.g. local[*]; default: the settings'.",
    )


def build_stage_command(
    work: Callable[[StageOptions], None],
    doc: str | None,
    options: Sequence[click.Option] = (),
    *,
    is_sharded: bool = False,
) -> click.Command:
    """Return a stage as a command, with the options that mean the same in every stage.

    Args:
        work: does the work of the options.
        doc: the stage's docstring, which becomes its --help.
        options: the stage's own options.
        is_sharded: adds --shard, for stages whose work can be cut into shards.

    Returns:
        A command whose result is its exit code.
    """
    shared = [
        click.Option(["--run"], **run_option_attributes()),
        click.Option(
            ["--data-dir"],
            type=PATH,
            help="Folder of all tables; default: the settings' data_dir.",
        ),
        click.Option(
            ["--config"],
            type=PATH,
            help="Settings file; default: $WEARALIKE_CONFIG, else wearalike.toml here or in "
            "settings/.",
        ),
        click.Option(
            ["--force"], is_flag=True, help="Do the work again although its result is complete."
        ),
    ]
    if is_sharded:
        shared.append(
            click.Option(
                ["--shard"],
                type=ParsedText("I/N", job.parse_shard),
                help="Only fill the cache for shard I of N (1/4 .. 4/4); "
                "without it: everything that is left, and the table.",
            )
        )

    def run_work(**values: Any) -> int:
        return run_logged(job.run_stage_work, work, StageOptions(**values))

    return click.Command(
        None,
        callback=run_work,
        params=[*shared, *options, *verbosity_options()],
        help=doc,
        context_settings=CONTEXT_SETTINGS,
    )
