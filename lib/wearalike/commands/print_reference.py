"""`wearalike reference`: docs/reference.md, made from the code.

It lists commands, settings, stages, tables, reasons, and the doctor's checks.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wearalike import (
    catalog,
    experiment_settings,
    feeds,
    quality_settings,
    search,
    settings,
    tables,
    validation,
)
from wearalike.commands.groups import CONTEXT_SETTINGS
from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.feeds import fields
from wearalike.imaging import decode, image_tables
from wearalike.net import http_client
from wearalike.ops import doctor
from wearalike.pipeline import stages
from wearalike.quality import event_files
from wearalike.search import index

# Where a row may be refused or fall short, in the data's order.
REASON_ENUMS: tuple[type[StrEnum], ...] = (
    http_client.FetchReason,
    feeds.FeedReason,
    feeds.OfferReason,
    catalog.CategoryReason,
    decode.PixelReason,
    image_tables.ImageReason,
    detect.ItemReason,
    encoders.CodeReason,
    index.IndexReason,
    search.ShortfallReason,
    event_files.EventReason,
)
# Argparse and click fold lines by the terminal's width.
HELP_WIDTH = 100


@click.command("reference", context_settings=CONTEXT_SETTINGS)
def reference() -> None:
    """Print docs/reference.md, made from the code."""
    sys.stdout.write(reference_page())


def reference_page() -> str:
    """Return the whole page in Markdown."""
    os.environ["COLUMNS"] = str(HELP_WIDTH)
    parts = [
        "# Reference",
        "Made from the code by `wearalike reference > docs/reference.md`; "
        "a test checks that it is fresh.",
        "## Commands",
        *command_blocks(),
        "## Settings",
        "`wearalike.toml`, or the file that `--config` or `$WEARALIKE_CONFIG` names. "
        "An unknown key is an error.\n"
        "These environment variables override the file: "
        + ", ".join(f"`{name}`" for name in settings.ENVIRONMENT_VARIABLES.values())
        + ", and `WEARALIKE_<SECTION>_<KEY>` those of `[models]`, `[lists]` and `[gate]`, "
        "e.g. `WEARALIKE_LISTS_MIN_SCORE`. Comma-separated, "
        + " and ".join(f"`{name}`" for name in settings.SERVER_VARIABLES.values())
        + " override two lists of `[serve]`.",
        _settings_table(settings.Settings, ""),
        "### [[shops]]",
        _settings_table(settings.ShopSettings, ""),
        "### [serve]",
        _settings_table(settings.ServerSettings, ""),
        "### [spark]",
        _settings_table(settings.SparkSettings, ""),
        "### [storage]",
        _settings_table(settings.StorageSettings, ""),
        "### [keep]",
        _settings_table(settings.RetentionSettings, ""),
        *(
            part
            for section, model in quality_settings.SECTIONS.items()
            for part in (f"### [{section}]", _settings_table(model, ""))
        ),
        "### [experiment]",
        _settings_table(experiment_settings.ExperimentSettings, ""),
        "### [experiment.variants.NAME]",
        _settings_table(experiment_settings.ListVariantSettings, ""),
        "## Stages of a run",
        "`python -m wearalike.pipeline STAGE`, or `jobs/STAGE.py` for spark-submit.",
        stages.markdown(),
        *stage_blocks(),
        "## Tables",
        tables.markdown().strip(),
        "## Fields of feeds",
        "Each field that the documents of a dialect name: read, or ignored on purpose. A field "
        "that is not here is counted by its name; the page of a run lists such names. "
        "Letter case, `_` and `-` in names are ignored.",
        *(fields.markdown(name, declared) for name, declared in feeds.FIELDS.items()),
        "Names of params, and elements that are not here, may be attributes by "
        "`mappings/attributes.xml`.",
        "## Reasons",
        "Why a row did not go on, or a list is short. "
        "The table `refused` has one row for each, with what was found and what was wanted.",
        *(_reason_list(kind) for kind in REASON_ENUMS),
        "## Checks of the doctor",
        "\n".join(
            f"- **{check.__name__}**: {inspect.getdoc(check)}"
            for check in (*doctor.CHECKS, *doctor.DEEP_CHECKS)
        ),
    ]
    return "\n\n".join(parts) + "\n"


def command_blocks() -> Iterator[str]:
    """Yield the help of every command."""
    from wearalike.commands.app import app

    context = _context(app, "wearalike", None)
    yield from _group_blocks(app, context)


def _group_blocks(group: click.Group, context: click.Context) -> Iterator[str]:
    """Yield the help of a group's commands, and of the groups in it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        own_context = _context(command, name, context)
        if isinstance(command, click.Group):
            yield from _group_blocks(command, own_context)
        else:
            yield _block(own_context.command_path, command.get_help(own_context))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    """Return a context whose help has a fixed width."""
    return click.Context(
        command,
        parent,
        info_name=name,
        terminal_width=HELP_WIDTH,
        max_content_width=HELP_WIDTH,
    )


def stage_blocks() -> Iterator[str]:
    """Yield the help of every stage."""
    for name in stages.STAGE_NAMES:
        command = importlib.import_module(f"wearalike.pipeline.{name}").command()
        context = _context(command, f"python -m wearalike.pipeline {name}", None)
        yield _block(name, command.get_help(context))


def _block(title: str, text: str) -> str:
    """Return a section with a help text."""
    # A path of this machine is another one elsewhere.
    text = text.replace(str(Path.cwd()), ".").strip()
    text = "\n".join(line.rstrip() for line in text.splitlines())
    return f"### {title}\n\n```text\n{text}\n```"


def _settings_table(
    settings_class: type[BaseModel],
    prefix: str,
) -> str:
    """Return a settings class's docstring, then a table of its keys with type and default."""
    rows = ["| key | type | default |", "|---|---|---|"]
    for name, field in validation.written_fields(settings_class).items():
        default = "required" if field.is_required() else _format_default(field)
        key_type = validation.describe_type(field.annotation)
        rows.append(f"| {prefix}{name} | {key_type.removeprefix('a ')} | {default} |")
    return f"{inspect.getdoc(settings_class)}\n\n" + "\n".join(rows)


def _format_default(field: FieldInfo) -> str:
    """Return a default value as the table shows it."""
    if field.default_factory or isinstance(field.default, BaseModel):
        return "as described"
    return f"`{field.default}`" if field.default not in (None, ()) else "none"


def _reason_list(reason_enum: type[StrEnum]) -> str:
    """List the reasons of a kind, each with its comment in the code or its text in feeds.ADVICE."""
    comments = dict(
        re.findall(r'^\s+\w+ = "(\w+)"\s+# (.+)$', inspect.getsource(reason_enum), re.MULTILINE)
    )
    text_by_reason = {str(reason): comments.get(str(reason), "") for reason in reason_enum}
    if reason_enum is feeds.FeedReason:
        text_by_reason = {
            str(reason): f"to do: {advice}" for reason, advice in feeds.ADVICE.items()
        }
    doc = (
        (inspect.getdoc(reason_enum) or "").splitlines()[0]
        if reason_enum.__doc__ != StrEnum.__doc__
        else ""
    )
    lines = [
        f"**{reason_enum.__module__.removeprefix('wearalike.')}.{reason_enum.__name__}**"
        + (f": {doc}" if doc else ""),
        "",
    ]
    return "\n".join(
        [
            *lines,
            *(
                f"- `{reason}`" + (f": {text}" if text else "")
                for reason, text in text_by_reason.items()
            ),
        ]
    )
