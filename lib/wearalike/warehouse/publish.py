"""Publish a judged run: pass the gate, load it into the warehouse, count it, move the pointer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import PUBLISHED_TABLES, QUALITY
from wearalike.warehouse.base import PointerMove, RunLoad, Unreachable, Warehouse, open_warehouse


class GateClosed(ValueError):
    """The run's quality forbids publishing it."""


@dataclass(frozen=True, slots=True)
class GateOverride:
    """Who publishes a run that failed the gate, and why."""

    who: str
    why: str

    def __str__(self) -> str:
        return f"{self.who}: {self.why}"


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The outcome of publishing.

    Attributes:
        load: The load of the run.
        move: None if this very run was published already, or a later day is published.
        overridden_failures: Failures that an override let through.
        later_run: The later day that stays published.
    """

    load: RunLoad
    move: PointerMove | None
    overridden_failures: list[str]
    later_run: str | None = None


def parse_override(text: str) -> GateOverride:
    """Parse an override of the form "who: why".

    Raises:
        ValueError: Either part is missing.
    """
    who, _, why = (part.strip() for part in text.partition(":"))
    if not (who and why):
        raise ValueError(
            f"override {text!r}: wanted 'who: why',"
            " e.g. 'anna: the shop closed its shoe department'"
        )
    return GateOverride(who, why)


def failed_metrics(quality: pa.Table) -> list[str]:
    """Return the metrics of a run whose verdict is fail, one text each, in the table's order.

    Args:
        quality: Rows of tables.QUALITY.
    """
    failed = quality.filter(pc.equal(quality["verdict"], "fail")).to_pylist()
    return [
        f"{m['metric']} of {m['scope']} is {m['value']:g} {m['unit']}, wanted {m['threshold']}"
        for m in failed
    ]


def later_published_run(run: str, published: str | None) -> str | None:
    """Return the published run if its day is after the run's day; else None.

    Both names must begin with a date, YYYY-MM-DD.
    """
    try:
        return (
            published
            if published and date.fromisoformat(published[:10]) > date.fromisoformat(run[:10])
            else None
        )
    except ValueError:
        return None


def publish_run(
    root: Path,
    run: str,
    warehouse: Warehouse,
    override: GateOverride | None = None,
    *,
    redo: bool = False,
    is_again: bool = False,
) -> PublishResult:
    """Load a run's published tables and move the pointer to it.

    The call may be killed at any point and repeated. A run whose quality has a `fail`, or no metric
    at all, needs an override, which the log of publications keeps. So does a day before the
    published one (a late run, a backfill). Without one it is loaded, and readers stay on the later
    day.

    Args:
        root: The data folder.
        run: The run.
        warehouse: Where to publish it.
        override: Publishes a run that the gate or the calendar forbids.
        redo: Load again even if the same tables are loaded already.
        is_again: Publish the run although it was rolled back. An override does so too.

    Raises:
        run_tables.TableNotFound: A table is not finished.
        run_tables.CorruptTable: A file of a table was changed.
        GateClosed: The gate forbids it.
        warehouse.RolledBack: The run was rolled back; nothing is loaded.
        warehouse.Rejected: The warehouse refused; nothing is loaded.
        warehouse.Unreachable: The warehouse did not answer.
    """
    signature = run_signature(root, run)
    quality = run_tables.read_table(root, QUALITY, run)
    failed = failed_metrics(quality)
    if not quality.num_rows:
        failed = ["no measure: the run was not judged"]
    try:
        state = warehouse.state()
        load = state.find_load(run)
        if load and load.signature == signature and not redo:
            if state.published_run == run:
                return PublishResult(load, None, [])
        else:
            load = None
        may_return = is_again or override is not None
        if not may_return:
            state.check_rollback(run)
        if failed and not override:
            raise GateClosed(f"run {run} is not published: {'; '.join(failed)}")
        if load is None:
            for table in PUBLISHED_TABLES:
                run_tables.check_files(root, table, run)
            counts = {
                t.name: run_tables.read_manifest(root, t, run)["rows"]["written"]
                for t in PUBLISHED_TABLES
            }
            load = warehouse.load(
                run,
                {t.name: run_tables.open_dataset(root, t, run) for t in PUBLISHED_TABLES},
                counts,
                signature,
            )
        later = later_published_run(run, state.published_run)
        if later and not override:
            return PublishResult(load, None, [], later)
        against = [*failed, *([f"the site reads {later}, a later day"] if later else [])]
        move = warehouse.publish(run, str(override) if against else None, is_again=may_return)
    except Unreachable as error:
        raise Unreachable(f"run {run} is in Parquet only and not published: {error}") from error
    return PublishResult(load, move, against)


def run_signature(root: Path, run: str) -> str:
    """Return the hash over a run's published tables, by which a warehouse knows their load.

    Raises:
        run_tables.TableNotFound: A table is not finished.
    """
    return run_tables.signature(
        {t.name: run_tables.input_hash(root, t, run) for t in PUBLISHED_TABLES}, {}
    )


def rollback(settings: Settings) -> PointerMove:
    """Move the pointer of the settings' warehouse to the run published before.

    Raises:
        Rejected: No loaded run was published before.
        Unreachable: The warehouse did not answer.
    """
    return open_warehouse(settings.warehouse).rollback()


def published_run(settings: Settings) -> str | None:
    """Return the run that readers see now; None before the first publication."""
    return open_warehouse(settings.warehouse).state().published_run
