"""The night: a second day of the same shops beside their first, from feeds to published,
each by `wearalike run` in its own process.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.benchmarks.measure import BenchOptions, BenchResult, seconds

from wearalike import sample
from wearalike.sample.server import ShopResponses

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
TARGET = "≤ 0.15"
_STAGE_LINE = re.compile(r"== (\w+)|done in ([\d.]+) s")


@dataclass(frozen=True, slots=True)
class TwoDays:
    """Two days, done. folder: wearalike.toml and root/. first_s, second_s: from feeds to published.
    stages: seconds of each job of the second day that took one or more.
    """

    folder: Path
    first_s: float
    second_s: float
    stages: dict[str, float]


@cache
def run_two_days(command: str | None) -> TwoDays:
    """Of the sample shops, or of those that a command serves;
    its folder lives as long as this process.
    """
    folder = Path(tempfile.mkdtemp(prefix="wearalike-nights-", dir=_temporary_folder().name))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config, texts = folder / "wearalike.toml", []

    def night(day: int) -> None:
        run = [
            sys.executable,
            "-m",
            "wearalike",
            "run",
            "--run",
            f"day-{day}",
            "--config",
            str(config),
        ]
        texts.append(subprocess.run(run, check=True, stderr=subprocess.PIPE, text=True).stderr)

    took = []
    for day in (1, 2):
        with serve_day(command, day, port) as address:
            if command is None:
                sample.write_settings(config, address, folder / "root", MAPPINGS)
            else:
                feeds = {f"{shop}": f"{address}/{shop}/feed.xml" for shop in _list_shops(address)}
                config.write_text(
                    sample.settings_text(feeds, folder / "root", MAPPINGS), encoding="utf-8"
                )
            took.append(seconds(lambda day=day: night(day)))
    return TwoDays(folder, took[0], took[1], stage_seconds(texts[1]))


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="wearalike-bench-")


@contextlib.contextmanager
def serve_day(command: str | None, day: int, port: int) -> Iterator[str]:
    """The address of a day's shops. command: has {day} and {port} in it."""
    if command is None:
        # Drawing belongs to no night.
        stalls = ShopResponses(day)
        for path in stalls.picture_paths:
            stalls.respond(path, "")
        with sample.serve_shops(day, port) as address:
            yield address
        return
    process = subprocess.Popen(
        shlex.split(command.format(day=day, port=port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                _list_shops(address)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command}: no shops at {address}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _list_shops(address: str) -> list[str]:
    import json

    with urllib.request.urlopen(f"{address}/", timeout=30) as answer:
        return list(json.load(answer))


def stage_seconds(text: str) -> dict[str, float]:
    """Seconds of each job, from what `wearalike run` says, the longest first."""
    found: dict[str, float] = {}
    name = ""
    for line in text.splitlines():
        told = _STAGE_LINE.search(line)
        if told and told[1]:
            name = told[1]
        elif told and name:
            # The last one said is of them all, and of no job.
            found[name], name = float(told[2]), ""
    return {name: s for name, s in sorted(found.items(), key=lambda pair: -pair[1]) if s >= 1}


def second_day(options: BenchOptions) -> BenchResult:
    done = run_two_days(options.shops)
    ratio = done.second_s / done.first_s
    what = (
        options.shops or "the sample shops, 300 offers: mostly what a night costs whatever its size"
    )
    slow = ", ".join(f"{name} {s:.0f} s" for name, s in done.stages.items())
    settings = f"the first day by the same command, DuckDB; {what}"
    return BenchResult(
        "night",
        done.second_s,
        done.first_s,
        "s",
        ratio,
        TARGET,
        ratio <= 0.15,
        1,
        settings,
        None,
        f"the second day: {slow}",
    )


BENCHES = (second_day,)
