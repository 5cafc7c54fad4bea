"""Nights that are killed: one process of the whole night, drawn at random,
at a moment drawn at random, again and again.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil

from wearalike import tables
from wearalike.storage import run_tables

# What a reader of the run gets; `quality` also speaks of the run before,
# so it is compared only where that is the same.
COMPARED_TABLES = [t for t in tables.TABLES if t not in (tables.QUALITY, tables.REFUSED)]
# A night of which nothing ends and nothing works any more hangs: so long,
# with less processor time than an idle JVM takes.
HANG_TIMEOUT_S, IDLE_CPU_S = 300.0, 3.0


def run_command(run: str, config: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "wearalike",
        "run",
        "--run",
        run,
        "--config",
        str(config),
    ]


def kill_until_complete(
    command: list[str], root: Path, seed: int, max_cpu_s: float, max_kills: int | None = None
) -> Counter[str]:
    """Kills by victim, of a night that is begun again whenever one has ended it, until it is whole;
    after `most` it is left alone.

    longest_s: of processor time that the night's processes have between two kills,
    so that a busy machine changes little. They are given more while nothing comes of it.
    """
    log, moments, victims, made, allowed_s = (
        root.with_name("log"),
        random.Random(seed),
        Counter[str](),
        -1,
        max_cpu_s,
    )
    while True:
        before = victims.total()
        with _start_run(command, log) as process:
            while (max_kills is None or victims.total() < max_kills) and _wait_for_cpu_time(
                process, moments.uniform(0.2, allowed_s), log
            ):
                victims.update(_kill_random_process(process, moments))
            _wait_for_cpu_time(process, math.inf, log)
        if process.returncode == 0:
            return victims
        assert victims.total() > before, (
            f"a night that nobody touched ended with {process.returncode}: {_log_tail(log)}"
        )
        last, made = made, len(list(root.glob("*/run=*/_manifest.json")))
        allowed_s = allowed_s * 1.5 if made == last else max_cpu_s
        print(f"{victims.total()} kills: {dict(victims)}, {made} tables", flush=True)


def _wait_for_cpu_time(process: subprocess.Popen[bytes], work_s: float, log: Path) -> bool:
    """Waits until the night's processes have worked for so long;
    False where the night has ended before.
    """
    start_s = seen_s = _cpu_time_s(process.pid)
    seen_at = time.monotonic()
    while process.poll() is None:
        now_s = _cpu_time_s(process.pid)
        if now_s - start_s >= work_s:
            return True
        if abs(now_s - seen_s) > IDLE_CPU_S:  # it falls where one of them ended
            seen_s, seen_at = now_s, time.monotonic()
        assert time.monotonic() - seen_at < HANG_TIMEOUT_S, f"the night hangs: {_log_tail(log)}"
        time.sleep(0.1)
    return False


def _cpu_time_s(pid: int) -> float:
    """Processor time of the process and of all that it has started."""
    total = 0.0
    for one in _process_tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


def _kill_random_process(process: subprocess.Popen[bytes], moments: random.Random) -> list[str]:
    """Kills one process of the night; its name, nothing where it has just ended.
    What it leaves running is let be, as a machine would.
    """
    family = sorted(_process_tree(process.pid), key=lambda p: (p.create_time(), p.pid))
    try:
        victim = moments.choice(family)
        name = _process_name(victim)
        victim.send_signal(signal.SIGKILL)
    except (IndexError, psutil.NoSuchProcess):
        return []
    if victim.pid == process.pid:
        process.wait()
    return [name]


@contextlib.contextmanager
def _start_run(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    seen: set[psutil.Process] = set()
    try:
        yield process
    finally:
        # Spark's workers lead groups of their own, so the session is what holds them together.
        seen = {p for p in psutil.process_iter() if _session_id(p.pid) == process.pid}
        for left in seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def _log_tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _session_id(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _process_tree(pid: int) -> list[psutil.Process]:
    """The process and all that it has started, those that are alive."""
    try:
        head = psutil.Process(pid)
        found = [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return [p for p in found if _is_alive(p)]


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _process_name(process: psutil.Process) -> str:
    words, parent = process.cmdline(), process.parent()
    if "pyspark.daemon" in words:
        return "worker" if parent and "pyspark.daemon" in parent.cmdline() else "daemon"
    return next(
        (name for name in ("wearalike.imaging.sandbox", "wearalike") if name in words),
        process.name(),
    )


def assert_equal_tables(one: Path, other: Path, run: str, without: tuple[str, ...] = ()) -> None:
    """Two roots hold the same tables of a run, with the same rows refused.

    without: columns that are not compared, since they tell of earlier runs.
    """
    for table in COMPARED_TABLES:
        names = [name for name in table.column_names if name not in without]
        assert run_tables.read_table(one, table, run, names).equals(
            run_tables.read_table(other, table, run, names)
        ), table.name
    key = [(name, "ascending") for name in tables.REFUSED.key]
    assert (
        run_tables.read_refused(one, run)
        .sort_by(key)
        .equals(run_tables.read_refused(other, run).sort_by(key))
    )


def assert_equal_runs(one: Path, other: Path, run: str) -> None:
    """Their tables are the same, every file is the one its manifest names,
    and their sites read the same.
    """
    assert_equal_tables(one, other, run)
    quality = [
        run_tables.read_table(root, tables.QUALITY, run, ["metric", "scope", "value", "verdict"])
        for root in (one, other)
    ]
    assert quality[0].equals(quality[1])
    for root in (one, other):
        for table in (t for t in tables.TABLES if run_tables.is_complete(root, t, run)):
            run_tables.check_files(root, table, run)
    shown = [_published_rows(root) for root in (one, other)]
    assert shown[0] == shown[1] and all(shown[0].values())


def _published_rows(root: Path) -> dict[str, list[tuple]]:
    with duckdb.connect(str(root / "warehouse" / "wearalike.duckdb"), read_only=True) as site:
        return {
            t.name: site.execute(f"SELECT * FROM current_{t.name} ORDER BY ALL").fetchall()
            for t in tables.PUBLISHED_TABLES
            if t is not tables.QUALITY
        }
