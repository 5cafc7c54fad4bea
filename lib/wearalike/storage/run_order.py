"""The day and the order of runs: what comes before what, whatever the runs are called.

A name that begins with a date is a run of that day. Any other name is a trial: its day is the one
on which its feeds were read, or the one that `--day` gave, and it comes before every dated run.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

from wearalike.settings import day_of_run
from wearalike.tables import FEEDS

# Sorts as (date in the name, name with its numbers read as numbers).
RunOrder = tuple[date, tuple[tuple[int, str], ...]]


def dated_day(run: str) -> date | None:
    """Return the date YYYY-MM-DD at the start of a run's name; None for a trial."""
    try:
        return date.fromisoformat(run[:10]) if re.match(r"\d{4}-\d\d-\d\d", run) else None
    except ValueError:
        return None


def name_order(run: str) -> RunOrder:
    """Return the sort key of a run: trials by name, then dated runs by date and name.

        >>> sorted(["try-10", "2026-11-21", "try-9", "2026-11-20"], key=name_order)
        ['try-9', 'try-10', '2026-11-20', '2026-11-21']

    Args:
        run: The run's name.
    """
    return (dated_day(run) or date.min, _natural_key(run))


def run_day(root: Path, run: str) -> date:
    """Return the day of a run: recorded with its feeds, else in its name, else today in UTC.

    Args:
        root: The data folder.
        run: The run's name.
    """
    return _recorded_day(root, run) or day_of_run(run)


def known_day(root: Path, run: str) -> date | None:
    """Return the day of a run, recorded with its feeds or else in its name; None for none.

    Args:
        root: The data folder.
        run: The run's name.
    """
    return _recorded_day(root, run) or dated_day(run)


def _recorded_day(root: Path, run: str) -> date | None:
    """Return the day in the manifest of the run's feeds; None where there is none."""
    path = root / FEEDS.name / f"run={run}" / "_manifest.json"
    try:
        return date.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["day"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _natural_key(run: str) -> tuple[tuple[int, str], ...]:
    """Return the name in pieces that sort numbers by value: (number, "") or (-1, text)."""
    pieces = re.findall(r"\d+|\D+", run)
    return tuple((int(p), "") if p.isdecimal() else (-1, p) for p in pieces)
