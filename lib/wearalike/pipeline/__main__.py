"""`python -m wearalike.pipeline STAGE ...` runs one stage: what the DAG starts."""

from __future__ import annotations

import argparse
import sys

from wearalike.pipeline.runner import run_stage
from wearalike.pipeline.stages import STAGE_NAMES


def main(argv: list[str] | None = None) -> int:
    """Run the stage that the first argument names, with the options that follow.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The stage's exit code.
    """
    parser = argparse.ArgumentParser("python -m wearalike.pipeline", description=__doc__)
    parser.add_argument("stage", choices=STAGE_NAMES, metavar="STAGE", help=", ".join(STAGE_NAMES))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see STAGE --help")
    args = parser.parse_args(argv)
    return run_stage(args.stage, args.options)


if __name__ == "__main__":
    sys.exit(main())
