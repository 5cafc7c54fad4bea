"""The earlier runs that a run is compared with."""

from __future__ import annotations

from pathlib import Path

from wearalike.quality.metrics import COMPARED_TABLES
from wearalike.quality.thresholds import GateVerdict
from wearalike.storage import run_tables
from wearalike.tables import QUALITY


def passed_runs(root: Path, run: str | None = None) -> list[str]:
    """Return the runs that passed the gate, newest first.

    Args:
        root: The data folder.
        run: Only those before this one; None for all.
    """
    judged = (
        run_tables.list_runs(root, QUALITY)
        if run is None
        else run_tables.list_earlier_runs(root, QUALITY, run)
    )
    return [
        earlier
        for earlier in reversed(judged)
        if run_tables.read_manifest(root, QUALITY, earlier)["verdict"] != GateVerdict.FAIL
    ]


def has_compared_tables(root: Path, run: str) -> bool:
    """Return whether a run has all tables that a later one is compared with."""
    return all(run_tables.is_complete(root, t, run) for t in COMPARED_TABLES)
