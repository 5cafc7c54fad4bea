"""`python -m wearalike.pipeline STAGE ...` runs one stage: what the DAG starts."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from wearalike.pipeline.command_frame import CONTEXT_SETTINGS, run_command
from wearalike.pipeline.stages import STAGES, STAGES_BY_NAME


class StageGroup(click.Group):
    """The stages as commands; a stage's module is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the stages in their order."""
        return list(STAGES_BY_NAME)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a stage; None for an unknown name."""
        if cmd_name not in STAGES_BY_NAME:
            return None
        found = import_module(f"wearalike.pipeline.{cmd_name}").command()
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the stage that the first argument names; an unknown one is bad usage."""
        if args[0] not in STAGES_BY_NAME:
            ctx.fail(f"no stage {args[0]!r}; the stages are {', '.join(STAGES_BY_NAME)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of stages into the help."""
        with formatter.section("Stages"):
            formatter.write_dl([(stage.name, stage.summary) for stage in STAGES])


app = StageGroup(
    help="Run one stage of a run.",
    subcommand_metavar="STAGE ...",
    context_settings=CONTEXT_SETTINGS,
)


def main(argv: list[str] | None = None) -> int:
    """Run the stage that the first argument names, with the options that follow.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The stage's exit code.
    """
    return run_command(app, argv, "python -m wearalike.pipeline")


if __name__ == "__main__":
    sys.exit(main())
