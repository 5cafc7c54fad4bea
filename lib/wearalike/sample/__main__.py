"""Serve the sample shops in the foreground; the first line printed is their address.

python -m wearalike.sample --port 8765 --day 2
"""

import contextlib
import threading

import click

from wearalike.sample.server import serve_shops


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
        with serve_shops(day, port) as address, contextlib.suppress(KeyboardInterrupt):
            click.echo(f"{address}/")
            threading.Event().wait()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"port {port}: {reason}; name another by --port") from error


if __name__ == "__main__":
    main(prog_name="python -m wearalike.sample")
