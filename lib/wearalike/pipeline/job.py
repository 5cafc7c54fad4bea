"""All stages and commands share this: settings, shards and progress."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from tqdm import tqdm

from wearalike import settings
from wearalike.operator_error import OperatorError
from wearalike.storage import data_lock, mirror, run_tables
from wearalike.tables import Table

log = logging.getLogger("wearalike")

MAX_SHARDS = 100
# A log that keeps every second of a nightly run helps nobody; a terminal can be redrawn often.
LOG_INTERVAL_S = 60.0
TERMINAL_INTERVAL_S = 0.2


class JobRejected(OperatorError):
    """The work was done and the answer is no: a failed gate, a broken mapping."""


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n".

    Args:
        text: what the user wrote, e.g. "2/4".

    Returns:
        The shard's number and the number of shards, 1 <= i <= n <= MAX_SHARDS.

    Raises:
        ValueError: the text is something else.
    """
    left, _, right = text.partition("/")
    if not (left.isdecimal() and right.isdecimal() and 1 <= int(left) <= int(right) <= MAX_SHARDS):
        raise ValueError(f"{text!r}: wanted I/N with 1 <= I <= N <= {MAX_SHARDS}, e.g. 2/4")
    return int(left), int(right)


def is_in_shard(key: str, shard: tuple[int, int] | None) -> bool:
    """Return True if a key belongs to a shard; every key belongs to exactly one of the n.

    Args:
        key: hexadecimal digits, at least 8 (a sha256).
        shard: (i, n), or None for everything.

    Returns:
        True if the key is this shard's work.
    """
    if shard is None:
        return True
    number, count = shard
    return int(key[:8], 16) % count == number - 1


def load_settings(args: SimpleNamespace) -> settings.Settings:
    """Return the settings that a stage's options name; --data-dir goes before the file."""
    if getattr(args, "settings", None) is None:
        args.settings = read_settings(args.config, args.data_dir)
    found: settings.Settings = args.settings
    return found


def run_stage_work(work: Callable[[SimpleNamespace], None], args: SimpleNamespace) -> None:
    """Do the work of a stage while nothing of its data folder is pruned.

    Args:
        work: does the work of the options.
        args: the stage's options.
    """
    with data_lock.use_data(load_settings(args).data_dir):
        work(args)


def read_settings(
    config: Path | None = None,
    data_dir: Path | None = None,
    *,
    needs_feeds: bool = True,
    needs_deployment: bool = True,
    opens_data: bool = True,
) -> settings.Settings:
    """Read the settings for one command.

    Args:
        config: the settings file; None: $WEARALIKE_CONFIG, else wearalike.toml here or in
            settings/.
        data_dir: folder of all tables, in place of the one in the settings.
        needs_feeds: as of settings.read_settings.
        needs_deployment: False for a command that labelled folders are enough for: where there is
            no settings file, it says so and goes on.
        opens_data: False leaves an object store as it is, for a command that checks it.

    Returns:
        The settings.

    Raises:
        settings.BadSettings: the file cannot be used, or nothing names the folder of the tables.
        StoreFault: the object store refuses, or does not answer.
    """
    env = dict(os.environ)
    if data_dir:
        # A path has lost the second slash of an address.
        env["WEARALIKE_DATA_DIR"] = re.sub(r"^(s3|gs|az):/+", r"\1://", str(data_dir))
    if data_dir and data_dir.exists() and not data_dir.is_dir():
        raise settings.BadSettings(f"{data_dir}: a file; --data-dir names the folder of all tables")
    is_named = bool(config or env.get("WEARALIKE_CONFIG"))
    if not is_named and not settings.find_default_file().is_file():
        if needs_deployment and not env.get("WEARALIKE_DATA_DIR"):
            raise settings.BadSettings(
                f"{Path.cwd()}: no {settings.DEFAULT_FILE} here; go to the folder of a deployment, "
                "name its file by --config, or begin a deployment: wearalike init DIR"
            )
        log.warning(
            "%s: no %s here; all settings%s have their defaults",
            Path.cwd(),
            settings.DEFAULT_FILE,
            " but data_dir" if env.get("WEARALIKE_DATA_DIR") else "",
        )
        needs_deployment = False
    found = settings.read_settings(config, env, needs_feeds=needs_feeds)
    if needs_deployment and "data_dir" not in found.model_fields_set:
        path = config or env.get("WEARALIKE_CONFIG") or settings.find_default_file()
        raise settings.BadSettings(
            f'{path}: data_dir is missing, the folder of all tables, e.g. data_dir = "data"'
        )
    if opens_data:
        mirror.open_cache(found.data_dir, found.storage)
    return found


def is_up_to_date(args: SimpleNamespace, root: Path, table: Table, signature: str) -> bool:
    """Return True, and log it, if the table was made from the same inputs and parameters.

    Args:
        args: the stage's options; --force makes every table out of date.
        root: folder of all tables.
        table: the table that the stage writes.
        signature: hash of inputs and parameters.

    Returns:
        True if there is nothing to do.
    """
    if args.force or not run_tables.is_complete(root, table, args.run, signature):
        return False
    log.info("%s: up to date, nothing to do", table.name)
    return True


class Progress(tqdm):
    """A progress bar on a terminal; elsewhere one log line a minute."""

    # No thread that watches over slow bars: stages fork processes.
    monitor_interval = 0

    def __init__(self, label: str, total: int) -> None:
        """Start at zero.

        Args:
            label: the things that are counted, e.g. "images".
            total: how many there are.
        """
        self._is_terminal = sys.stderr.isatty()
        super().__init__(
            total=total,
            desc=label,
            disable=not total,
            file=sys.stderr if self._is_terminal else io.StringIO(),
            mininterval=TERMINAL_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S,
            miniters=1,
            unit="",
            dynamic_ncols=self._is_terminal,
            bar_format=None
            if self._is_terminal
            else "{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left",
        )

    def update(self, n: int = 1) -> None:
        """Count n more; the last one ends the bar."""
        super().update(n)
        if self.n >= self.total:
            self.close()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or log it where nobody watches a terminal."""
        if self._is_terminal:
            return bool(super().display(msg, pos))
        if self.n:
            log.info("%s", self)
        return True
