"""Serve the sample shops in the foreground; the first line printed is their address.

python -m wearalike.sample --port 8765 --day 2
"""

import sys
import threading

import click

from wearalike.sample.server import serve_shops
from wearalike.stop_signals import run_until_stopped


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="0 takes a free port.",
)
@click.option(
    "--day",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="The day whose offers are served.",
)
def main(port: int, day: int) -> None:
    """Serve the sample shops until interrupted; the first line printed is their address."""
    try:
        with serve_shops(day, port) as address:
            click.echo(f"{address}/")
            threading.Event().wait()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"port {port}: {reason}; name another by --port") from error


def run() -> int:
    """Run the command, and return its exit code."""
    try:
        main.main(prog_name="python -m wearalike.sample", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(run_until_stopped(run))
