"""Click groups and commands of the app: loaded when called, and with one way to report errors."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from wearalike import extras
from wearalike.pipeline.command_frame import CONTEXT_SETTINGS, run_logged, verbosity_options

__all__ = ["CONTEXT_SETTINGS", "LazyGroup", "LoggedCommand", "command"]


class LoggedCommand(click.Command):
    """A command whose result is its exit code, and whose errors are one line in the log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add the options --quiet and --verbose, which every command has."""
        super().__init__(*args, **kwargs)
        self.params += verbosity_options()

    def invoke(self, ctx: click.Context) -> int:
        """Do the command's work and return 0, or 1 for an error that the operator can mend."""
        return run_logged(super().invoke, ctx)


command = functools.partial(click.command, cls=LoggedCommand, context_settings=CONTEXT_SETTINGS)


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called.

    Its help and its completion come from the table of commands, so that neither imports PyTorch.
    """

    def __init__(self, *, lazy_commands: dict[str, tuple[str, str]], **attrs: Any) -> None:
        """Keep the table.

        Args:
            lazy_commands: by name of the command: "module:attribute", and one line of help.
            **attrs: as click.Group takes them.
        """
        super().__init__(**attrs)
        self._lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(self._lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in self._lazy_commands:
            return None
        module, _, attribute = self._lazy_commands[cmd_name][0].partition(":")
        try:
            with extras.explain_missing():
                found = getattr(import_module(module), attribute)
        except extras.MissingExtra as error:
            raise click.ClickException(str(error)) from error
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table into the group's help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy_commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, and the group's own options."""
        commands = [
            CompletionItem(name, help=text)
            for name, (_, text) in self._lazy_commands.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)
