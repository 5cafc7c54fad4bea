"""A judged run to what the site reads: through the gate, into the warehouse, counted, then the pointer moves."""

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
    """What came of publishing. move: None where the very same run was published already, or a `later` day is.
    overridden: what forbade it and an override let through."""

    load: RunLoad
    move: PointerMove | None
    overridden_failures: list[str]
    later_run: str | None = None


def parse_override(text: str) -> GateOverride:
    """The override of "who: why". Raises ValueError where either is missing."""
    who, _, why = (part.strip() for part in text.partition(":"))
    if not (who and why):
        raise ValueError(
            f"override {text!r}: wanted 'who: why', e.g. 'anna: the shop closed its shoe department'"
        )
    return GateOverride(who, why)


def failed_metrics(quality: pa.Table) -> list[str]:
    """The measures of a run (tables.QUALITY) whose verdict is fail, one text each, in the table's order."""
    failed = quality.filter(pc.equal(quality["verdict"], "fail")).to_pylist()
    return [
        f"{m['metric']} of {m['scope']} is {m['value']:g} {m['unit']}, wanted {m['threshold']}"
        for m in failed
    ]


def later_published_run(run: str, published: str | None) -> str | None:
    """The published run, where both are named by a date, YYYY-MM-DD first, and its date is after the run's; else None."""
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
) -> PublishResult:
    """Loads a run's published tables and moves the pointer to it; may be killed anywhere and repeated.

    A run whose quality holds a `fail`, or no measure at all, is published by an override only, which the log of
    publications keeps. So is a day before the published one (a night that is late, a backfill): without, it is loaded
    and the site goes on reading the later day. Loaded already from the same tables, it is not loaded again unless `redo`.
    Raises run_tables.TableNotFound, run_tables.CorruptTable, GateClosed, warehouse.Rejected (nothing is loaded), warehouse.Unreachable.
    """
    signature = run_signature(root, run)
    failed = failed_metrics(measures := run_tables.read_table(root, QUALITY, run)) or (
        [] if measures.num_rows else ["no measure: the run was not judged"]
    )
    try:
        state = warehouse.state()
        load = state.find_load(run)
        if load and load.signature == signature and not redo:
            if state.published_run == run:
                return PublishResult(load, None, [])
        else:
            load = None
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
        move = warehouse.publish(run, str(override) if against else None)
    except Unreachable as error:
        raise Unreachable(f"run {run} is in Parquet only and not published: {error}") from error
    return PublishResult(load, move, against)


def run_signature(root: Path, run: str) -> str:
    """What a load of the run's tables, as they lie in the root now, is known by in a warehouse. Raises run_tables.TableNotFound."""
    return run_tables.signature(
        {t.name: run_tables.input_hash(root, t, run) for t in PUBLISHED_TABLES}, {}
    )


def rollback(settings: Settings) -> PointerMove:
    """Moves the pointer of the place's warehouse to the run published before. Raises as Warehouse.rollback."""
    return open_warehouse(settings.warehouse).rollback()


def published_run(settings: Settings) -> str | None:
    """The run that the site reads now; None before the first publication."""
    return open_warehouse(settings.warehouse).state().published_run
