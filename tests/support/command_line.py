"""What the app `wearalike` makes of a command line, without running the command."""

from __future__ import annotations

from collections.abc import Sequence

import click

from wearalike.commands.app import app


def parse(arguments: Sequence[str]) -> click.Context:
    """Return the context of the command that the arguments call; its params are the options."""
    command: click.Command = app
    name, rest, context = "wearalike", list(arguments), None
    while True:
        context = command.make_context(name, rest, parent=context)
        if not isinstance(command, click.Group):
            return context
        found, next_command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert found and next_command
        name, command = found, next_command
