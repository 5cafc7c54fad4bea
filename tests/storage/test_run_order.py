"""Runs come in the order of their days, whatever they are called."""

import json
from datetime import date
from pathlib import Path

import pytest

from wearalike.settings import day_of_run, today
from wearalike.storage import run_order, run_tables
from wearalike.tables import FEEDS, OFFERS


def make(root: Path, run: str, day: str | None = None) -> None:
    folder = root / FEEDS.name / f"run={run}"
    folder.mkdir(parents=True)
    facts = {"signature": "s"} | ({"day": day} if day else {})
    (folder / "_manifest.json").write_text(json.dumps(facts), encoding="utf-8")


def test_a_trial_comes_before_every_dated_run_and_numbers_count(tmp_path):
    for run in ("2026-11-21", "try-10", "2026-11-20-again", "try-9", "2026-11-20"):
        make(tmp_path, run)
    make(tmp_path, "autumn", "2026-11-30")
    assert run_tables.list_runs(tmp_path, FEEDS) == [
        "autumn",
        "try-9",
        "try-10",
        "2026-11-20",
        "2026-11-20-again",
        "2026-11-21",
    ]
    assert run_tables.list_earlier_runs(tmp_path, FEEDS, "2026-11-20") == [
        "autumn",
        "try-9",
        "try-10",
    ]
    assert run_tables.list_earlier_runs(tmp_path, FEEDS, "autumn") == []
    assert run_tables.list_earlier_runs(tmp_path, OFFERS, "2026-11-21") == []


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("2026-11-21", date(2026, 11, 21)),
        ("2026-11-21-again", date(2026, 11, 21)),
        ("20261121", None),
        ("2026-13-21", None),
        ("try-1", None),
    ],
)
def test_the_day_in_a_name(name, day):
    assert run_order.dated_day(name) == day


def test_the_recorded_day_goes_before_the_clock(tmp_path):
    make(tmp_path, "try-1", "2026-01-02")
    assert run_order.run_day(tmp_path, "try-1") == date(2026, 1, 2)
    assert run_order.run_day(tmp_path, "2026-11-21") == date(2026, 11, 21)
    assert run_order.run_day(tmp_path, "try-2") == today() == day_of_run("try-2")
