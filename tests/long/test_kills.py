"""200 kills: runs are killed, resumed and killed again, and each ends like the undisturbed one.

build/long/kills.jsonl records the survived kills: a stopped suite resumes (`make test-long`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.conftest import ServeShops
from tests.support.kill import assert_equal_runs, kill_until_complete, run_command

from wearalike import sample

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("WEARALIKE_KILLS", "200"))
RECORD_FILE = REPOSITORY / "build" / "long" / "kills.jsonl"
# The most processor time before a kill. A run takes about fifty seconds, a resumed one far less.
MAX_CPU_S = 20.0


@pytest.mark.long
@pytest.mark.timeout(0)
def test_two_hundred_kills_are_survived(
    night: Path, serve_shops: ServeShops, tmp_path: Path
) -> None:
    RECORD_FILE.parent.mkdir(parents=True, exist_ok=True)
    with serve_shops(1) as address:
        while _survived_kills() < KILLS:
            number = len(_read_records())
            folder = tmp_path / str(number)
            folder.mkdir()
            sample.write_settings(
                folder / "wearalike.toml", address, folder / "root", REPOSITORY / "mappings"
            )
            victims = kill_until_complete(
                run_command("day-1", folder / "wearalike.toml"), folder / "root", number, MAX_CPU_S
            )
            assert_equal_runs(night / "root", folder / "root", "day-1")
            with RECORD_FILE.open("a") as record:
                record.write(
                    json.dumps(
                        {"night": number, "kills": sum(victims.values()), "victims": victims}
                    )
                    + "\n"
                )
            print(f"\n{_survived_kills()} of {KILLS} kills survived, rows lost: 0", flush=True)
    assert _survived_kills() >= KILLS


def _read_records() -> list[dict]:
    return (
        [json.loads(line) for line in RECORD_FILE.read_text().splitlines()]
        if RECORD_FILE.exists()
        else []
    )


def _survived_kills() -> int:
    return sum(night["kills"] for night in _read_records())
