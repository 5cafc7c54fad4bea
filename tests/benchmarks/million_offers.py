"""A night of many offers: ten drawn shops on loopback, each stage in a process of its own.

    python -m tests.benchmarks.million_offers OFFERS... [--known-pictures]

A line a stage, as JSON: seconds of clock and processor, peak memory of all its processes, bytes
written. From the second size on it has the exponent of the processor time's growth. Finished stages
are kept in the folder: the same command goes on where it was stopped. With --known-pictures the
night meets no new picture, and no network runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.measure import exponent
from tests.support.drawn_offers import SHOP_IDS, DrawnOffers
from tests.support.known_pictures import fill_caches, plain_pictures

from wearalike.pipeline.stages import STAGE_NAMES, STAGES_BY_NAME
from wearalike.sample.server import serve_responses, settings_text

BUILD = Path(__file__).resolve().parents[2] / "build"
MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
RUN = "2026-11-21"
# Seconds between two looks at the memory of a stage's processes.
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one stage.

    Attributes:
        offers: Offers of the night.
        stage: The stage.
        clock_s: Seconds of the clock.
        processor_s: Seconds of processor, of all its processes.
        peak_bytes: The most memory its processes had together; shared pages count once.
        written_bytes: Bytes that it wrote to disk, scratch files included.
        data_bytes: Bytes of the data folder and the warehouse afterwards.
    """

    offers: int
    stage: str
    clock_s: float
    processor_s: float
    peak_bytes: int
    written_bytes: int
    data_bytes: int


def iter_costs(offers: int, folder: Path, with_known: bool = False) -> Iterator[StageCost]:
    """Yield the cost of each stage of a night, of those finished before from the folder's file.

    Args:
        offers: Offers of the night.
        folder: The folder of this night.
        with_known: The pictures are known, and their codes drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "stages.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    done = [StageCost(**json.loads(line)) for line in lines]
    yield from done
    left = STAGE_NAMES[len(done) :]
    if not left:
        return
    drawn = DrawnOffers(offers)
    if with_known:
        drawn.pictures = plain_pictures(drawn)
    else:
        drawn.draw_pictures(folder / "pictures")
    config = folder / "wearalike.toml"
    # The addresses are those of the former call, whose stages are kept.
    kept_port = folder / "port"
    port = int(kept_port.read_text(encoding="utf-8")) if kept_port.exists() else 0
    with serve_responses(drawn.respond, port) as address:
        kept_port.write_text(address.rpartition(":")[2], encoding="utf-8")
        drawn.write_mappings(MAPPINGS, folder / "mappings")
        feeds = {shop: f"{address}/{shop}/feed.xml.gz" for shop in SHOP_IDS}
        text = settings_text(feeds, folder / "root", folder / "mappings")
        if with_known:
            text = f'looks = "off"\nposes = "off"\n{text}\n[models]\ndetector = "whole"\n'
            if not done:
                fill_caches(folder / "root", drawn, address, RUN)
        config.write_text(text, encoding="utf-8")
        for stage in left:
            cost = measure_stage(offers, stage, config, folder)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(cost)) + "\n")
            yield cost


def measure_stage(offers: int, stage: str, config: Path, folder: Path) -> StageCost:
    """Run a stage in a process of its own, and return its cost.

    Args:
        offers: Offers of the night.
        stage: The stage.
        config: The settings file.
        folder: Receives the stage's log.

    Raises:
        SystemExit: The stage failed.
    """
    # A call that was cut off may have left the tables of a stage that it did not count.
    for table in STAGES_BY_NAME[stage].writes:
        shutil.rmtree(folder / "root" / table / f"run={RUN}", ignore_errors=True)
    command = [sys.executable, "-m", "wearalike.pipeline", stage, "--run", RUN]
    command += ["--config", str(config)]
    log, began_at_s = folder / f"{stage}.log", time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    peaks: list[int] = []
    used_by_pid: dict[str, tuple[float, int]] = {}
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, used_by_pid))
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    clock_s = time.monotonic() - began_at_s
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{stage} failed with {process.returncode}; see {log}")
    # Spark's processes are nobody's children: they count as they were last seen.
    seen_s = sum(seconds for seconds, _ in used_by_pid.values())
    seen_bytes = sum(count for _, count in used_by_pid.values())
    return StageCost(
        offers,
        stage,
        round(clock_s, 1),
        round(max(used.ru_utime + used.ru_stime, seen_s), 1),
        max(peaks, default=0),
        max(512 * used.ru_oublock, seen_bytes),
        sum(path.stat().st_size for path in (folder / "root").rglob("*") if path.is_file()),
    )


def _watch(session: int, peaks: list[int], used: dict[str, tuple[float, int]]) -> None:
    """Watch a session's processes until its first process is gone.

    Args:
        session: Its first process.
        peaks: Receives the memory of all at each look.
        used: Receives seconds of processor and bytes written of each process.
    """
    while os.path.exists(f"/proc/{session}"):
        pids = _list_processes(session)
        found = sum(map(_proportional_bytes, pids))
        used |= {pid: told for pid in pids if (told := _read_used(pid))}
        if found:
            peaks.append(found)
        elif _is_zombie(session):
            return
        time.sleep(_LOOK_S)


def _list_processes(session: int) -> list[str]:
    """Return the ids of the processes of a session."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        except OSError:
            continue
        if int(fields.split()[3]) == session:
            found.append(pid)
    return found


def _read_used(pid: str) -> tuple[float, int] | None:
    """Return seconds of processor and bytes written of a process; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        written = Path(f"/proc/{pid}/io").read_text(encoding="utf-8")
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(written.partition("\nwrite_bytes:")[2].split()[0])


def _proportional_bytes(pid: str) -> int:
    """Return the memory of a process; what n processes share counts as an n-th."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0
    return 1024 * int(text.partition("\nPss:")[2].split()[0]) if "\nPss:" in text else 0


def _is_zombie(pid: int) -> bool:
    """Tell if a process has ended, and only waits to be asked for its exit code."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def describe_growth(costs: Sequence[StageCost]) -> float | None:
    """Return the exponent of the processor time's growth over the sizes; None for one size.

    Args:
        costs: The cost of one stage at each size.
    """
    if len(costs) < 2:
        return None
    times = [max(cost.processor_s, 0.1) for cost in costs]
    return round(exponent([cost.offers for cost in costs], times), 2)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("offers", type=int, nargs="+", help="sizes, the smallest first")
    made.add_argument("--known-pictures", action="store_true", help="no picture is new")
    made.add_argument("--folder", type=Path, default=BUILD / "million-offers")
    made.add_argument("--keep", action="store_true", help="keep the data folder of each size")
    args = made.parse_args()
    by_stage: dict[str, list[StageCost]] = {}
    for offers in args.offers:
        folder = args.folder / f"{offers}{'-known' * args.known_pictures}"
        for cost in iter_costs(offers, folder, args.known_pictures):
            costs = by_stage.setdefault(cost.stage, [])
            costs.append(cost)
            line = {**asdict(cost), "exponent": describe_growth(costs[-2:])}
            print(json.dumps(line), flush=True)
        if not args.keep:
            for name in ("root", "pictures", "mappings"):
                shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    main()
