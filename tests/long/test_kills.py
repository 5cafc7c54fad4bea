"""200 kills: nights begun, killed, gone on with and killed again, each ending as the undisturbed one.

What was survived is kept in build/long/kills.jsonl, so that a stopped suite goes on where it was. `make test-long`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.support.kill import assert_equal_nights, command, kill_until_whole

from wearalike import sample

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("WEARALIKE_KILLS", "200"))
RECORD = REPOSITORY / "build" / "long" / "kills.jsonl"
# Of processor time; a night takes about fifty seconds, and begun again it comes far more quickly to where it was.
LONGEST_S = 20.0


@pytest.mark.long
@pytest.mark.timeout(0)
def test_two_hundred_kills_are_survived(night: Path, night_port: int, tmp_path: Path) -> None:
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    with sample.serve(day=1, port=night_port) as address:
        while _survived() < KILLS:
            number = len(_told())
            folder = tmp_path / str(number)
            folder.mkdir()
            sample.write_settings(
                folder / "wearalike.toml", address, folder / "root", REPOSITORY / "mappings"
            )
            victims = kill_until_whole(
                command("day-1", folder / "wearalike.toml"), folder / "root", number, LONGEST_S
            )
            assert_equal_nights(night / "root", folder / "root", "day-1")
            with RECORD.open("a") as record:
                record.write(
                    json.dumps(
                        {"night": number, "kills": sum(victims.values()), "victims": victims}
                    )
                    + "\n"
                )
            print(f"\n{_survived()} of {KILLS} kills survived, rows lost: 0", flush=True)
    assert _survived() >= KILLS


def _told() -> list[dict]:
    return [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []


def _survived() -> int:
    return sum(night["kills"] for night in _told())
