"""docs/reference.md, made from the code: commands, settings, jobs, tables and reasons.

python -m wearalike.commands.print_reference > docs/reference.md
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import sys
from dataclasses import MISSING
from enum import StrEnum
from pathlib import Path

from wearalike import catalog, feeds, search, settings, tables
from wearalike.commands import app
from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.imaging import decode, image_tables
from wearalike.net import http_client
from wearalike.ops import doctor
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
)
OTHER_JOBS = (
    "run_demo",
    "run_demo_photos",
    "train_encoder",
    "train_detector",
    "evaluate_models",
    "promote_model",
    "describe_items",
    "check_labels",
)
# Argparse folds lines by the terminal's width.
HELP_WIDTH = "120"


def reference_page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = HELP_WIDTH
    parts = [
        "# Reference",
        "Made from the code by `python -m wearalike.commands.print_reference > docs/reference.md`; a test sees to it that it is fresh.",
        "## Commands",
        *(_usage_block(f"wearalike {name}", sub) for name, sub in _subcommands(app.parser())),
        "## Settings",
        "`wearalike.toml`, or what `--config` or `$WEARALIKE_CONFIG` names. An unknown key is an error.\n"
        "These environment variables override the file: "
        + ", ".join(f"`{name}`" for name in settings.ENVIRONMENT_VARIABLES.values())
        + ".",
        _settings_table(settings.Settings, ""),
        "### [[shops]]",
        _settings_table(settings.ShopSettings, ""),
        "### [serve]",
        _settings_table(settings.ServerSettings, ""),
        "## Jobs of a night",
        *(
            _usage_block(name, importlib.import_module(f"wearalike.pipeline.{name}").parser())
            for name in app.NIGHTLY_JOBS
        ),
        "## Other jobs",
        *(
            _usage_block(name, importlib.import_module(f"wearalike.commands.{name}").parser())
            for name in OTHER_JOBS
        ),
        "## Tables",
        tables.markdown().strip(),
        "## Reasons",
        "Why a row did not go on, or a list is short. `refused` has one row for each, with what was found and what was wanted.",
        *(_reason_list(kind) for kind in REASON_ENUMS),
        "## What the doctor looks at",
        "\n".join(f"- **{check.__name__}**: {inspect.getdoc(check)}" for check in doctor.CHECKS),
    ]
    return "\n\n".join(parts) + "\n"


def _subcommands(arg_parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    (commands,) = (
        action for action in arg_parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    helps = {action.dest: action.help for action in commands._choices_actions}
    for name, sub in commands.choices.items():
        sub.description = sub.description or helps.get(name)
    return list(commands.choices.items())


def _usage_block(title: str, arg_parser: argparse.ArgumentParser) -> str:
    arg_parser.prog = title
    text = arg_parser.format_help()
    # What is a path here is another one elsewhere, and today is another day.
    text = re.sub(r"\(default: \d{4}-\d{2}-\d{2}\)", "(default: today)", text).replace(
        str(Path.cwd()), "."
    )
    return f"### {title}\n\n```text\n{text.strip()}\n```"


def _settings_table(
    settings_class: type[settings.Settings]
    | type[settings.ShopSettings]
    | type[settings.ServerSettings],
    prefix: str,
) -> str:
    """The keys of a dataclass of settings with type and default; what they mean is its docstring."""
    rows = ["| key | type | default |", "|---|---|---|"]
    for key in settings.settings_fields(settings_class):
        default = (
            "required"
            if key.default is MISSING and key.default_factory is MISSING
            else _format_default(key.default)
        )
        rows.append(f"| {prefix}{key.name} | {str(key.type).replace('|', 'or')} | {default} |")
    return f"{inspect.getdoc(settings_class)}\n\n" + "\n".join(rows)


def _format_default(value: object) -> str:
    return "none" if value is MISSING or value is None or value == () else f"`{value}`"


def _reason_list(reason_enum: type[StrEnum]) -> str:
    """The reasons of a kind with what is said beside each: after `#` in the code, or in feeds.ADVICE."""
    comments = dict(
        re.findall(r'^\s+\w+ = "(\w+)"\s+# (.+)$', inspect.getsource(reason_enum), re.MULTILINE)
    )
    told = {str(reason): comments.get(str(reason), "") for reason in reason_enum}
    if reason_enum is feeds.FeedReason:
        told = {str(reason): f"to do: {advice}" for reason, advice in feeds.ADVICE.items()}
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
            *(f"- `{reason}`" + (f": {text}" if text else "") for reason, text in told.items()),
        ]
    )


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    sys.stdout.write(reference_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
