"""Nights that are killed: one process of the whole night, drawn at random, at a moment drawn at random, again and again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from wearalike import store, tables

# What a reader of the run gets; `quality` also speaks of the run before, so it is compared only where that is the same.
COMPARED = [t for t in tables.TABLES if t not in (tables.QUALITY, tables.REFUSED)]
# A night whose process was killed must come to an end of its own.
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Kill:
    """victim: the name of the process killed. moment_s: after the night's start. code: what the night then ended with."""

    victim: str
    moment_s: float
    code: int


def command(run: str, config: Path) -> list[str]:
    return [sys.executable, "-m", "wearalike.cli", "run", "--run", run, "--config", str(config)]


def kill_one(night: list[str], moments: random.Random, longest_s: float, log: Path) -> Kill | None:
    """Starts the night and kills one process of it; None where the night was whole before that. What the night leaves running
    is let be until the block's end, as a machine would."""
    moment_s = moments.uniform(0.2, longest_s)
    with _started(night, log) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        if process.poll() is not None:
            assert process.returncode == 0, _end_of(log)
            return None
        victim = moments.choice(sorted(_family(process.pid), key=lambda p: (p.create_time(), p.pid)))
        name = _name(victim)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the night hangs after the kill of {name} at {moment_s:.1f} s: {_end_of(log)}") from None
        return Kill(name, moment_s, process.returncode)


def kill_until_whole(night: list[str], root: Path, seed: int, longest_s: float, most: int | None = None) -> Counter[str]:
    """Kills by victim, of a night that is begun again after each until it is whole; after `most` it is left alone.

    On a busy machine it is given longer while nothing comes of it.
    """
    log, moments, victims, made = root.with_name("log"), random.Random(seed), Counter(), -1
    allowed_s = longest_s
    while (most is None or victims.total() < most) and (kill := kill_one(night, moments, allowed_s, log)):
        victims[kill.victim] += 1
        before, made = made, len(list(root.glob("*/run=*/made.json")))
        allowed_s = allowed_s * 1.5 if made == before else max(longest_s, allowed_s / 1.2)
        print(f"{victims.total()} kills, the last of {kill.victim} at {kill.moment_s:.1f} s, {made} tables", flush=True)
        if kill.code == 0:  # one of Spark's workers, whose work another did
            return victims
    if victims.total() == most:
        subprocess.run(night, check=True, capture_output=True)
    return victims


@contextlib.contextmanager
def _started(night: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(night, stdout=out, stderr=out, start_new_session=True)
    seen: set[psutil.Process] = set()
    try:
        yield process
    finally:
        # Spark's workers lead groups of their own, so the session is what holds them together.
        seen = {p for p in psutil.process_iter() if _session(p.pid) == process.pid}
        for left in seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _family(pid: int) -> list[psutil.Process]:
    """The process and all that it has started, those that are alive."""
    head = psutil.Process(pid)
    found = [head, *head.children(recursive=True)]
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _name(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
        return "daemon" if "pyspark.daemon" in words else Path(words[0]).name if words else process.name()
    except psutil.NoSuchProcess:
        return "ended"


def assert_equal_tables(one: Path, other: Path, run: str) -> None:
    """Two roots hold the same tables of a run, with the same rows refused."""
    for table in COMPARED:
        assert store.read(one, table, run).equals(store.read(other, table, run)), table.name
    key = [(name, "ascending") for name in tables.REFUSED.key]
    assert store.refused(one, run).sort_by(key).equals(store.refused(other, run).sort_by(key))


def assert_equal_nights(one: Path, other: Path, run: str) -> None:
    """Their tables are the same, every file is the one its manifest names, and their sites read the same."""
    assert_equal_tables(one, other, run)
    quality = [store.read(root, tables.QUALITY, run, ["measure", "scope", "value", "verdict"]) for root in (one, other)]
    assert quality[0].equals(quality[1])
    for root in (one, other):
        for table in (t for t in tables.TABLES if store.is_made(root, t, run)):
            store.check_files(root, table, run)
    shown = [_shown(root) for root in (one, other)]
    assert shown[0] == shown[1] and all(shown[0].values())


def _shown(root: Path) -> dict[str, list[tuple]]:
    with duckdb.connect(str(root / "warehouse" / "wearalike.duckdb"), read_only=True) as site:
        return {
            t.name: site.execute(f"SELECT * FROM current_{t.name} ORDER BY ALL").fetchall()
            for t in tables.PUBLISHED
            if t is not tables.QUALITY
        }
