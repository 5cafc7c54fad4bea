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
from wearalike.imaging import decode, download
from wearalike.net import http_client
from wearalike.ops import doctor
from wearalike.search import index

# Where a row may be refused or fall short, in the data's order.
REASONS: tuple[type[StrEnum], ...] = (
    http_client.Reason,
    feeds.FeedReason,
    feeds.OfferReason,
    catalog.CategoryReason,
    decode.PixelReason,
    download.ImageReason,
    detect.ItemReason,
    encoders.CodeReason,
    index.IndexReason,
    search.ShortReason,
)
OTHERS = (
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
WIDTH = "120"


def reference() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = WIDTH
    parts = [
        "# Reference",
        "Made from the code by `python -m wearalike.commands.print_reference > docs/reference.md`; a test sees to it that it is fresh.",
        "## Commands",
        *(_block(f"wearalike {name}", sub) for name, sub in _commands(app.parser())),
        "## Settings",
        "`wearalike.toml`, or what `--config` or `$WEARALIKE_CONFIG` names. An unknown key is an error. `$WEARALIKE_ROOT`, `_WAREHOUSE`,\n"
        "`_DEVICE`, `_MASTER` and `_MAPPINGS` go before the file.",
        _keys(settings.Settings, ""),
        "### [[shops]]",
        _keys(settings.Shop, ""),
        "### [serve]",
        _keys(settings.Serve, ""),
        "## Jobs of a night",
        *(
            _block(name, importlib.import_module(f"wearalike.pipeline.{name}").parser())
            for name in app.NIGHT
        ),
        "## Other jobs",
        *(
            _block(name, importlib.import_module(f"wearalike.commands.{name}").parser())
            for name in OTHERS
        ),
        "## Tables",
        tables.markdown().strip(),
        "## Reasons",
        "Why a row did not go on, or a list is short. `refused` has one row for each, with what was found and what was wanted.",
        *(_reasons(kind) for kind in REASONS),
        "## What the doctor looks at",
        "\n".join(f"- **{check.__name__}**: {inspect.getdoc(check)}" for check in doctor.CHECKS),
    ]
    return "\n\n".join(parts) + "\n"


def _commands(made: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    (commands,) = (
        action for action in made._actions if isinstance(action, argparse._SubParsersAction)
    )
    helps = {action.dest: action.help for action in commands._choices_actions}
    for name, sub in commands.choices.items():
        sub.description = sub.description or helps.get(name)
    return list(commands.choices.items())


def _block(title: str, made: argparse.ArgumentParser) -> str:
    made.prog = title
    text = made.format_help()
    # What is a path here is another one elsewhere, and today is another day.
    text = re.sub(r"\(default: \d{4}-\d{2}-\d{2}\)", "(default: today)", text).replace(
        str(Path.cwd()), "."
    )
    return f"### {title}\n\n```text\n{text.strip()}\n```"


def _keys(
    kind: type[settings.Settings] | type[settings.Shop] | type[settings.Serve], prefix: str
) -> str:
    """The keys of a dataclass of settings with type and default; what they mean is its docstring."""
    rows = ["| key | type | default |", "|---|---|---|"]
    for key in settings.keys(kind):
        default = (
            "required"
            if key.default is MISSING and key.default_factory is MISSING
            else _shown(key.default)
        )
        rows.append(f"| {prefix}{key.name} | {str(key.type).replace('|', 'or')} | {default} |")
    return f"{inspect.getdoc(kind)}\n\n" + "\n".join(rows)


def _shown(value: object) -> str:
    return "none" if value is MISSING or value is None or value == () else f"`{value}`"


def _reasons(kind: type[StrEnum]) -> str:
    """The reasons of a kind with what is said beside each: after `#` in the code, or in feeds.ADVICE."""
    comments = dict(
        re.findall(r'^\s+\w+ = "(\w+)"\s+# (.+)$', inspect.getsource(kind), re.MULTILINE)
    )
    told = {str(reason): comments.get(str(reason), "") for reason in kind}
    if kind is feeds.FeedReason:
        told = {str(reason): f"to do: {advice}" for reason, advice in feeds.ADVICE.items()}
    doc = (inspect.getdoc(kind) or "").splitlines()[0] if kind.__doc__ != StrEnum.__doc__ else ""
    lines = [
        f"**{kind.__module__.removeprefix('wearalike.')}.{kind.__name__}**"
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
    sys.stdout.write(reference())
    return 0


if __name__ == "__main__":
    sys.exit(main())
