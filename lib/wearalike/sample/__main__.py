"""Serve the sample shops in the foreground; the first line printed is their address.

python -m wearalike.sample --port 8765 --day 2
"""

import argparse
import contextlib
import threading

from wearalike.sample.server import serve_shops


def main(argv: list[str] | None = None) -> None:
    """Serve until interrupted.

    Args:
        argv: The arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        "python -m wearalike.sample",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument(
        "--day",
        type=int,
        default=1,
        choices=(1, 2),
        help="the day whose offers are served (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    with serve_shops(args.day, args.port) as address, contextlib.suppress(KeyboardInterrupt):
        print(f"{address}/", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
