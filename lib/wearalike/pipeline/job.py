"""What every job does alike: its options, its log lines, its exit code. The work itself is in jobs/."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wearalike import settings
from wearalike.storage import atomic, run_tables
from wearalike.tables import Table

log = logging.getLogger("wearalike")


class JobRejected(RuntimeError):
    """The job did its work and the answer is no: a failed gate, a broken mapping. The text is for the operator."""


def parser(doc: str | None, *, is_sharded: bool = False) -> argparse.ArgumentParser:
    """A parser with the options that mean the same in every job; `doc`, the job's docstring, is its --help."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--run", required=True, help="name of the run, e.g. 2026-11-21")
    made.add_argument(
        "--data-dir", type=Path, help="folder of all tables; default: the settings' root"
    )
    made.add_argument(
        "--config",
        type=Path,
        help="settings file; default: $WEARALIKE_CONFIG, else ./wearalike.toml",
    )
    made.add_argument(
        "--force", action="store_true", help="do the work again although its result stands"
    )
    if is_sharded:
        made.add_argument(
            "--chunk",
            type=parse_shard,
            metavar="I/N",
            help="only fill the kept work for share I of N (1/4 .. 4/4); without it: all, and the table",
        )
    return made


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of "i/n", 1 <= i <= n <= 100."""
    left, _, right = text.partition("/")
    if not (left.isdecimal() and right.isdecimal() and 1 <= int(left) <= int(right) <= 100):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted I/N with 1 <= I <= N <= 100, e.g. 2/4")
    return int(left), int(right)


def is_in_shard(key: str, shard: tuple[int, int] | None) -> bool:
    """Whether a hex key (a sha256) belongs to a share; every key belongs to just one of the n."""
    return shard is None or int(key[:8], 16) % shard[1] == shard[0] - 1


def load_settings(args: argparse.Namespace) -> settings.Settings:
    """The settings of this job, --data-dir over the file's."""
    return settings.read_settings(
        args.config,
        {**os.environ, **({"WEARALIKE_DATA_DIR": str(args.data_dir)} if args.data_dir else {})},
    )


def is_up_to_date(args: argparse.Namespace, root: Path, table: Table, signature: str) -> bool:
    """Whether the table is there, made from the same inputs and parameters, so that nothing is to be done. Says so."""
    if args.force or not run_tables.is_complete(root, table, args.run, signature):
        return False
    log.info("%s: stands, nothing to do", table.name)
    return True


def run_job(
    work: Callable[[argparse.Namespace], None],
    arg_parser: argparse.ArgumentParser,
    argv: list[str] | None = None,
) -> int:
    """Parses, runs, logs one line at the end. Exit code 0, 1 with one clear line for what the operator can mend,
    2 for bad usage. What nobody foresaw is raised with its traceback."""
    args = arg_parser.parse_args(argv)
    if not logging.getLogger().handlers:
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        for chatty in ("py4j", "faiss"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
    start = time.monotonic()
    try:
        work(args)
    except (
        JobRejected,
        run_tables.TableNotFound,
        run_tables.RowCountMismatch,
        atomic.Superseded,
        ValueError,
        OSError,
    ) as error:
        log.error("%s: %s", type(error).__name__, error)
        log.debug("traceback", exc_info=True)
        return 1
    log.info("done in %.1f s", time.monotonic() - start)
    return 0


class Progress:
    """Says how far a job is: one line a minute in the log, a bar on a terminal."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.count = label, total, 0
        self._started_at_s = self._reported_at_s = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def update(self, count: int) -> None:
        self.count += count
        now = time.monotonic()
        if (
            now - self._reported_at_s < (0.2 if self._is_terminal else 60)
            and self.count < self.total
        ):
            return
        self._reported_at_s = now
        rate = self.count / max(now - self._started_at_s, 1e-9)
        left_s = (self.total - self.count) / rate if rate else 0
        line = (
            f"{self.label}: {self.count:,} of {self.total:,}, {rate:,.0f}/s, {left_s:,.0f} s left"
        )
        if self._is_terminal:
            width = 30 * self.count // max(self.total, 1)
            print(
                f"\r[{'#' * width}{'.' * (30 - width)}] {line}\033[K",
                end="\n" if self.count >= self.total else "",
                file=sys.stderr,
                flush=True,
            )
        else:
            log.info("%s", line)
