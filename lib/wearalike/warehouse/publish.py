"""Publish a judged run: pass the gate, load it into the warehouse, count it, move the pointer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.settings import Settings
from wearalike.storage import run_order, run_tables
from wearalike.tables import (
    LIST_VARIANTS,
    LOADED_TABLES,
    PRODUCT_VARIANTS,
    PUBLISHED_TABLES,
    QUALITY,
    Table,
)
from wearalike.warehouse.base import (
    PointerMove,
    RunLoad,
    Unreachable,
    Warehouse,
    WarehouseState,
    open_warehouse,
)


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


class _LaterDayPublished(Exception):
    """The published run is of a later day; `args` holds its name."""


def later_published_run(root: Path, run: str, state: WarehouseState) -> str | None:
    """Return the published run if its day is after the run's day; else None.

    A published run of no known day, such as a trial, has the day of the one published before it.

    Args:
        root: The data folder, whose feeds tell the days of runs.
        run: The run to publish.
        state: The warehouse's state.
    """
    own_day = run_order.known_day(root, run)
    if own_day is None:
        return None
    days = (run_order.known_day(root, event.run) for event in reversed(state.publications))
    published_day = next((day for day in days if day is not None), None)
    return state.published_run if published_day and published_day > own_day else None


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
            loaded = list_loaded_tables(root, run)
            for table in loaded:
                run_tables.check_files(root, table, run)
            counts = {
                t.name: run_tables.read_manifest(root, t, run)["rows"]["written"] for t in loaded
            }
            load = warehouse.load(
                run,
                {t.name: run_tables.open_dataset(root, t, run) for t in loaded},
                counts,
                signature,
            )

        def refuse_later_day(now: WarehouseState) -> None:
            if later := later_published_run(root, run, now):
                raise _LaterDayPublished(later)

        later = later_published_run(root, run, state)
        against = [*failed, *([f"the site reads {later}, a later day"] if later else [])]
        note = str(override) if against else None
        check = None if override else refuse_later_day
        # Looked at again when the pointer is locked: another process may publish meanwhile.
        move = warehouse.publish(run, note, check, is_again=may_return)
    except _LaterDayPublished as error:
        assert load is not None
        return PublishResult(load, None, [], error.args[0])
    except Unreachable as error:
        raise Unreachable(f"run {run} is in Parquet only and not published: {error}") from error
    return PublishResult(load, move, against)


def list_loaded_tables(root: Path, run: str) -> tuple[Table, ...]:
    """Return the tables of a run that a warehouse loads: those of an experiment if it has one."""
    has_experiment = run_tables.is_complete(root, LIST_VARIANTS, run)
    return LOADED_TABLES if has_experiment else PUBLISHED_TABLES


def run_signature(root: Path, run: str) -> str:
    """Return the hash over a run's published tables, by which a warehouse knows their load.

    A run of an earlier version has no product_variants, and one without an experiment none of its
    tables; it is known by its other tables.

    Raises:
        run_tables.TableNotFound: A table is not finished.
    """
    hashes = {}
    for table in list_loaded_tables(root, run):
        try:
            hashes[table.name] = run_tables.input_hash(root, table, run)
        except run_tables.TableNotFound:
            if table is not PRODUCT_VARIANTS:
                raise
    return run_tables.signature(hashes, {})


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
