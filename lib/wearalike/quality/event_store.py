"""Keep the events of a site, each joined to the published run that its visitor saw.

| path | content |
|---|---|
| <data_dir>/events/<sha256>.parquet | the events of one file, by the file's hash |
| <data_dir>/events/refused/<sha256>.csv | its refused rows, with their reasons |
| <data_dir>/events/rates.parquet | the rates of all runs, see `event_rates` |

Where the data folder is the cache of an object store, the files of events lie there, too.
"""

from __future__ import annotations

import bisect
import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike.quality.event_files import (
    EventReason,
    RefusedEvent,
    SiteEvent,
    file_hash,
    read_events,
)
from wearalike.quality.event_places import RunPlaces
from wearalike.storage import atomic, mirror, run_tables
from wearalike.warehouse.base import WarehouseState

FOLDER = "events"
EVENT_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("kind", pa.string()),
        ("occurred_at", pa.timestamp("us", "UTC")),
        ("run", pa.string()),
        ("product_id", pa.string()),
        ("similar_product_id", pa.string()),
        ("rank", pa.int32()),
        ("rule", pa.string()),
        ("encoder", pa.string()),
        ("category", pa.string()),
        ("shop_id", pa.string()),
        # An experiment's, where the site says the variant; files of earlier versions lack them.
        ("experiment", pa.string()),
        ("variant", pa.string()),
        ("team", pa.string()),
        ("view_id", pa.string()),
    ]
)


@dataclass
class LoadedEvents:
    """The outcome of loading one file.

    Attributes:
        path: The file.
        is_new: False for a file that was loaded before; nothing is done then.
        events_count: Rows taken.
        refused: Refused rows by reason.
        refused_path: Where they are, None without any.
    """

    path: Path
    is_new: bool
    events_count: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refused_path: Path | None = None


def load_event_file(root: Path, state: WarehouseState, path: Path, now: datetime) -> LoadedEvents:
    """Read a file of events, join it to the runs, and keep it; the same file again does nothing.

    Args:
        root: The data folder.
        state: The state of the warehouse, which says what was published when.
        path: The file.
        now: Now, in UTC.

    Raises:
        BadEventFile: The file cannot be read as events.
    """
    # Two files may hold the same events. Where there are no locks, load one after the other.
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(atomic.LocksUnsupported):
            stack.enter_context(atomic.lock_file(root / FOLDER / ".lock"))
        return _load_event_file(root, state, path, now)


def _load_event_file(root: Path, state: WarehouseState, path: Path, now: datetime) -> LoadedEvents:
    name = file_hash(path)
    target = root / FOLDER / f"{name}.parquet"
    store = _fetch_events(root)
    if target.exists():
        return LoadedEvents(path, is_new=False)
    events: list[tuple[int, SiteEvent]] = []
    refused: list[RefusedEvent] = []
    seen = _known_ids(root)
    publications = [(move.published_at, move.run) for move in state.publications]
    for row, found in read_events(path, now):
        if isinstance(found, RefusedEvent):
            refused.append(found)
            continue
        reason, detail = None, ""
        run = found.run or _run_at(publications, found.occurred_at)
        if found.event_id in seen:
            reason, detail = EventReason.TWICE, f"event_id {found.event_id!r} came before"
        elif run is None:
            at = f"{found.occurred_at:%Y-%m-%d %H:%M} UTC"
            reason, detail = EventReason.UNKNOWN_RUN, f"nothing was published at {at}"
        elif all(run != published for _, published in publications):
            reason, detail = EventReason.UNKNOWN_RUN, f"{run} was never published"
        if reason or run is None:
            refused.append(RefusedEvent(path.name, row, reason or EventReason.UNKNOWN_RUN, detail))
            continue
        seen.add(found.event_id)
        events.append((row, SiteEvent(**{**_fields(found), "run": run})))
    table = _join_runs(root, path.name, events, refused)
    loaded = LoadedEvents(path, True, table.num_rows, Counter(str(r.reason) for r in refused))
    if refused:
        loaded.refused_path = root / FOLDER / "refused" / f"{name}.csv"
        content = _refused_csv(refused)
        if store:
            store.files.put_once(f"{FOLDER}/refused/{name}.csv", content)
        atomic.write_bytes(loaded.refused_path, content)
    with atomic.replace_file(target) as hidden:
        pq.write_table(table, hidden, compression="zstd")
        if store:
            store.files.put_once(f"{FOLDER}/{name}.parquet", hidden)
    return loaded


def open_events(root: Path) -> ds.Dataset | None:
    """Open all kept events as EVENT_SCHEMA; None without any."""
    _fetch_events(root)
    paths = sorted(map(str, (root / FOLDER).glob("[0-9a-f]*.parquet")))
    return ds.dataset(paths, schema=EVENT_SCHEMA, format="parquet") if paths else None


def _fetch_events(root: Path) -> mirror.Mirror | None:
    """Bring events that the object store has, and return it; None without one."""
    if store := mirror.find_mirror(root):
        store.files.fetch_new(FOLDER)
    return store


def _known_ids(root: Path) -> set[str]:
    events = open_events(root)
    return set(events.to_table(columns=["event_id"])["event_id"].to_pylist()) if events else set()


def _run_at(publications: Sequence[tuple[datetime, str]], at: datetime) -> str | None:
    """Return the run that the site read at a time; None before the first publication."""
    after = bisect.bisect_right(publications, at, key=lambda move: move[0])
    return publications[after - 1][1] if after else None


def _fields(event: SiteEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in SiteEvent.__slots__}


def _join_runs(
    root: Path,
    file: str,
    events: Sequence[tuple[int, SiteEvent]],
    refused: list[RefusedEvent],
) -> pa.Table:
    """Return the events with the places that their runs gave the products; refuse the others."""
    by_run: dict[str, list[tuple[int, SiteEvent]]] = {}
    for row, event in events:
        by_run.setdefault(event.run or "", []).append((row, event))
    rows: list[dict[str, Any]] = []
    for run, own in by_run.items():
        try:
            places = RunPlaces(root, run, {event.product_id for _, event in own})
        except run_tables.TableNotFound:
            detail = f"the tables of run {run} are not in the data folder any more"
            refused += [RefusedEvent(file, n, EventReason.UNKNOWN_RUN, detail) for n, _ in own]
            continue
        for number, event in own:
            if fault := places.describe_unknown(event):
                refused.append(RefusedEvent(file, number, EventReason.UNKNOWN_VARIANT, fault))
                continue
            place = places.find(event)
            if place is None:
                detail = f"{event.similar_product_id} is not in the list of {event.product_id}"
                reason = EventReason.UNKNOWN_PAIR
                refused.append(RefusedEvent(file, number, reason, f"run {run}: {detail}"))
            else:
                rows.append({**_fields(event), **place, "kind": str(event.kind)})
    return pa.Table.from_pylist(rows, EVENT_SCHEMA)


def _refused_csv(refused: Iterable[RefusedEvent]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "row", "reason", "detail"])
    for one in sorted(refused, key=lambda r: r.row):
        writer.writerow([one.file, one.row, str(one.reason), one.detail])
    return text.getvalue().encode("utf-8", "replace")
