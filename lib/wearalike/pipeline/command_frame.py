"""The frame of every command line: parameter types, logging, and one exit code for each outcome.

It imports neither settings nor tables, so that a command's help comes at once.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

import click

from wearalike import extras
from wearalike.operator_error import OperatorError
from wearalike.stop_signals import run_until_stopped

log = logging.getLogger("wearalike")

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
# A path as the rest of the code has it.
PATH = click.Path(path_type=Path)
# Libraries that log each call at INFO.
_CHATTY_LOGGERS = ("py4j", "faiss")
# Errors that an operator can mend: one line in the log and exit code 1, without a traceback.
OPERATOR_ERRORS = (OperatorError, extras.MissingExtra, ValueError, OSError)


class ParsedText(click.ParamType):
    """A text that a function parses; its ValueError becomes bad usage."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        """Keep the function.

        Args:
            name: shown in usage and help, e.g. "SHAPE:COLOUR".
            parse: returns the value of a text. Raises ValueError that says what was wanted.
        """
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; values that are parsed already pass."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the name as it is."""
        return self.name


def verbosity_options() -> list[click.Parameter]:
    """Return the options --quiet and --verbose, which act as soon as they are read."""

    def choose(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, param: click.Parameter, is_given: bool) -> None:
            if is_given:
                configure_logging(level)

        return callback

    shared: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True}
    return [
        click.Option(
            ["-q", "--quiet"],
            callback=choose(logging.WARNING),
            help="Log warnings and errors alone.",
            **shared,
        ),
        click.Option(
            ["-v", "--verbose"],
            callback=choose(logging.DEBUG),
            help="Log every step, and tracebacks.",
            **shared,
        ),
    ]


def describe_error(error: BaseException) -> str:
    """Return an operator's error as one sentence in one line, without numbers or class names."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror.lower()}"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror).lower()
    return " ".join(str(error).split())


def run_logged(work: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Call the work, log one line at its end, and return the exit code.

    An unforeseen error is raised with its traceback.

    Args:
        work: the function to call.
        *args: its positional arguments.
        **kwargs: its keyword arguments.

    Returns:
        0 when done; 1 for an error that the operator can mend, whose text is logged.
    """
    configure_logging()
    started_at_s = time.monotonic()
    try:
        with extras.explain_missing():
            work(*args, **kwargs)
    except OPERATOR_ERRORS as error:
        log.error("%s", describe_error(error))
        log.debug("traceback", exc_info=True)
        return 1
    log.info("done in %.1f s", time.monotonic() - started_at_s)
    return 0


def configure_logging(level: int | None = None) -> None:
    """Log to stderr, unless the process has chosen handlers of its own.

    Args:
        level: least level of our own lines, e.g. logging.DEBUG; None: INFO, or what was chosen.
    """
    if level is not None:
        log.setLevel(level)
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogFormatter(is_coloured=_is_coloured(sys.stderr)))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    for chatty in _CHATTY_LOGGERS:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _is_coloured(stream: TextIO) -> bool:
    """Return True for a terminal whose user has not asked for plain text (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _LogFormatter(logging.Formatter):
    """Our log lines; on a terminal warnings are yellow, errors red, and times pale."""

    _COLOURS: ClassVar = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}

    def __init__(self, *, is_coloured: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if not self._is_coloured:
            return line
        time_text, rest = line[:23], line[23:]
        if colour := self._COLOURS.get(record.levelno):
            rest = f"\x1b[{colour}m{rest}\x1b[0m"
        return f"\x1b[2m{time_text}\x1b[0m{rest}"


def run_command(
    command: click.Command, argv: Sequence[str] | None = None, name: str | None = None
) -> int:
    """Run a command, and return its exit code.

    Args:
        command: the command.
        argv: the arguments; None: those of the process.
        name: its name in the usage; None: the name of the program.

    Returns:
        0 when done; 1 for an error that the operator can mend, which is logged; 130 after Ctrl-C,
        143 after SIGTERM.

    Raises:
        SystemExit: bad usage, with code 2 and the usage on stderr.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_until_stopped(lambda: _run_command(command, arguments, name))


def _run_command(command: click.Command, arguments: list[str], name: str | None) -> int:
    """Run a command, and return its exit code."""
    try:
        return int(command.main(arguments, prog_name=name, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
