"""The runs that may not be pruned, each with the reason."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from wearalike.quality.normal_week import WEEK_RUNS
from wearalike.quality.passed_runs import has_compared_tables, passed_runs
from wearalike.storage import run_tables
from wearalike.tables import FEEDS, INDEXES, MATCHES, OFFERS, PRODUCTS
from wearalike.warehouse.base import WarehouseState

# The next run goes on from the newest search; the one before it takes its place if it is damaged.
SEARCHED_RUNS = 2


def find_needed_runs(
    root: Path, state: WarehouseState, shop_ids: list[str] | None
) -> dict[str, str]:
    """Return the runs whose tables are needed, with the reason.

    Args:
        root: The data folder.
        state: The state of the warehouse.
        shop_ids: Shops that are still read; None for all.
    """
    needed: dict[str, str] = {}
    if state.published_run:
        needed[state.published_run] = "published"
    if state.rollback_target:
        needed.setdefault(state.rollback_target, "a rollback goes there")
    for load in state.loads:
        needed.setdefault(load.run, "in the warehouse")
    for run in find_searched_runs(root):
        needed.setdefault(run, "the next run goes on from it")
    compared = next((run for run in passed_runs(root) if has_compared_tables(root, run)), None)
    if compared:
        needed.setdefault(compared, "the next run is compared with it")
    for run, shop_id in find_offer_runs(root, shop_ids).items():
        needed.setdefault(run, f"has the last good offers of {shop_id}")
    return needed


def find_needed_reports(root: Path) -> set[str]:
    """Return the runs whose quality the next run is compared with, as a normal week."""
    passed = passed_runs(root)
    compared = next((i for i, run in enumerate(passed) if has_compared_tables(root, run)), 0)
    return set(passed[: compared + WEEK_RUNS])


def find_searched_runs(root: Path) -> list[str]:
    """Return the newest runs that a search may go on from, the newest first."""
    found: list[str] = []
    for run in reversed(run_tables.list_runs(root, MATCHES)):
        if len(found) == SEARCHED_RUNS:
            break
        if all(run_tables.is_complete(root, t, run) for t in (PRODUCTS, INDEXES)):
            found.append(run)
    return found


def find_offer_runs(root: Path, shop_ids: list[str] | None) -> dict[str, str]:
    """Return the newest run that has a shop's offers, for each shop: the shop by the run."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for run in reversed(run_tables.list_runs(root, FEEDS)):
        if shop_ids is not None and seen.issuperset(shop_ids):
            break
        if not run_tables.is_complete(root, OFFERS, run):
            continue
        rows = run_tables.read_table(root, FEEDS, run, ["shop_id", "source_run"])
        for shop_id in rows.filter(pc.is_valid(rows["source_run"]))["shop_id"].to_pylist():
            if shop_id in seen or (shop_ids is not None and shop_id not in shop_ids):
                continue
            seen.add(shop_id)
            found.setdefault(run, shop_id)
    return found
