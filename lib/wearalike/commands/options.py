"""Options and parameter types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from wearalike.pipeline.command_frame import PATH, ParsedText

__all__ = ["PATH", "ParsedText"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _combine(*decorators: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    """Return one decorator that applies several, the first outermost."""

    def decorate(function: _Function) -> _Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


# Every command that reads the settings takes these two.
settings_options = _combine(
    click.option(
        "--data-dir", type=PATH, help="Folder of all tables; default: the settings' data_dir."
    ),
    click.option(
        "--config",
        type=PATH,
        help="Settings file; default: $WEARALIKE_CONFIG, else wearalike.toml here or in settings/.",
    ),
)

# A port to listen on.
PORT = click.IntRange(0, 65535)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where networks run.",
)


strict_labels_option = click.option(
    "--strict-labels",
    is_flag=True,
    help="Refuse label files with any bad label; else the pictures with one are left out.",
)


def parse_kind_and_folder(kinds: tuple[str, ...]) -> Callable[[str], tuple[str, Path]]:
    """Return a parser of KIND=FOLDER.

    Args:
        kinds: the kinds that are allowed.

    Returns:
        A function from text to kind and folder, which raises ValueError for another text.
    """

    def parse(text: str) -> tuple[str, Path]:
        kind, _, folder = text.partition("=")
        if kind not in kinds or not folder:
            raise ValueError(f"{text!r}: wanted KIND=FOLDER, KIND one of {', '.join(kinds)}")
        return kind, Path(folder)

    return parse


def parse_name_and_file(text: str) -> tuple[str, Path]:
    """Return name and path of NAME=FILE.

    Args:
        text: what the user wrote.

    Returns:
        The name, and the path after the first equals sign.

    Raises:
        ValueError: either is missing.
    """
    name, _, path = text.partition("=")
    if not (name and path):
        raise ValueError(f"{text!r}: wanted NAME=FILE")
    return name, Path(path)


def parse_name_and_text(text: str) -> tuple[str, str]:
    """Return name and value of NAME=TEXT.

    Args:
        text: what the user wrote.

    Returns:
        The name, and the text after the first equals sign.

    Raises:
        ValueError: either is missing.
    """
    name, _, value = text.partition("=")
    if not (name and value):
        raise ValueError(f"{text!r}: wanted NAME=TEXT")
    return name, value


def parse_optional_name(text: str) -> tuple[str, str]:
    """Return name and value of NAME=TEXT, or an empty name and the value of TEXT.

    Args:
        text: what the user wrote.

    Returns:
        The name, which may be empty, and the value.

    Raises:
        ValueError: a part is missing.
    """
    return parse_name_and_text(text) if "=" in text else ("", text)
