"""The log of runs: one line a run for dashboards, and the same as an Atom feed.

    <root>/reports/runs.jsonl    a JSON object a run, by name: verdict, counts, publication
    <root>/reports/runs.atom     the latest runs, newest first, for feed readers

Both files are written whole or not at all, by one writer at a time. A repeated run replaces its
line. The line of a run stays when its tables are removed.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wearalike.quality.metrics import K
from wearalike.quality.thresholds import GateVerdict
from wearalike.reports.atom_feed import RunRecord, build_atom_feed
from wearalike.storage import atomic, mirror, run_order, run_tables
from wearalike.storage.object_store import StoreFault
from wearalike.storage.stored_rows import FileConflict
from wearalike.tables import QUALITY
from wearalike.warehouse.base import WarehouseState

log = logging.getLogger("wearalike.reports")

REPORTS_FOLDER = "reports"
_ATTEMPTS = 5
# Metrics of the whole run and of each shop that a line contains, under their own names.
RUN_METRICS = (
    "products_count",
    "with_image_ratio",
    "with_code_ratio",
    "with_5_matches_ratio",
    f"precision@{K}",
    f"precision@{K}_lift",
    f"leaf_precision@{K}",
    f"churn@{K}",
    "score_p50",
    "score_psi",
    "category_psi",
)
SHOP_METRICS = (
    "offers_count",
    "products_count",
    "with_5_matches_ratio",
    "refused_offers_ratio",
    "products_kept_ratio",
    f"churn@{K}",
)


class CorruptRunLog(ValueError):
    """runs.jsonl has a line that is not a run's record."""


@contextlib.contextmanager
def warn_on_errors() -> Iterator[None]:
    """Log errors of the block as a warning: reports never stop a run, and the next renews them."""
    try:
        yield
    except (OSError, ValueError, StoreFault) as error:
        log.warning("the reports of all runs could not be renewed: %s", error)


def run_record(root: Path, run: str) -> RunRecord:
    """Build the record of a judged run that is not published yet.

    Args:
        root: The data folder.
        run: The run.

    Returns:
        Verdict, metrics of RUN_METRICS, refusals by "stage/reason", and the metrics of each shop.

    Raises:
        TableNotFound: The run has no quality table.
    """
    manifest = run_tables.read_manifest(root, QUALITY, run)
    rows = run_tables.read_table(root, QUALITY, run).to_pylist()
    values = {(row["scope"], row["metric"]): _metric_value(row) for row in rows}
    refused: dict[str, int] = {}
    for row in rows:
        if row["metric"] == "refused_count":
            stage, reason = (part.partition("=")[2] for part in row["scope"].split(",")[:2])
            refused[f"{stage}/{reason}"] = refused.get(f"{stage}/{reason}", 0) + int(row["value"])
    prefix = "shop="
    shops = sorted({s.removeprefix(prefix) for s, _ in values if s.startswith(prefix)})
    judged_at = (run_tables.table_dir(root, QUALITY, run) / "_manifest.json").stat().st_mtime
    is_closed = manifest["verdict"] == GateVerdict.FAIL
    return {
        "run": run,
        "judged_at": _format_time(datetime.fromtimestamp(judged_at, UTC)),
        "verdict": manifest["verdict"],
        "failed": manifest["failed"],
        "warned": sorted({row["metric"] for row in rows if row["verdict"] == GateVerdict.WARN}),
        "last_run": manifest["parameters"]["last_run"],
        "is_published": False,
        "published_at": None,
        "not_published": "the gate is closed" if is_closed else "not yet",
        **{name: values.get(("all", name)) for name in RUN_METRICS},
        "recommendations_count": values.get(("table=similar_products", "rows_written_count")),
        "refused_count": sum(refused.values()),
        "refused": refused,
        "shops": {
            shop: {name: values.get((f"shop={shop}", name)) for name in SHOP_METRICS}
            for shop in shops
        },
    }


def _metric_value(row: Mapping[str, Any]) -> float | int:
    """Return the value of a metric; counts as int."""
    return int(row["value"]) if row["unit"] == "count" else row["value"]


def _format_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_verdict(root: Path, run: str) -> None:
    """Write the record of a run; an earlier publication of the run stays recorded.

    Args:
        root: The data folder.
        run: The run.

    Raises:
        TableNotFound: The run has no quality table.
        CorruptRunLog: runs.jsonl has a bad line.
        OSError: The files cannot be written.
    """

    def put_record(records: dict[str, RunRecord]) -> None:
        record = run_record(root, run)
        earlier = records.get(run)
        if earlier and earlier["published_at"]:
            names = ("is_published", "published_at", "not_published")
            record |= {name: earlier[name] for name in names}
        records[run] = record

    _edit_run_log(root, put_record)


def record_publications(root: Path, state: WarehouseState) -> None:
    """Record for every run when it was last published, and which one the site reads now.

    Args:
        root: The data folder.
        state: State of the warehouse.

    Raises:
        CorruptRunLog: runs.jsonl has a bad line.
        OSError: The files cannot be written.
    """
    published_at = {p.run: _format_time(p.published_at) for p in state.publications}

    def mark_published(records: dict[str, RunRecord]) -> None:
        for run, record in records.items():
            record["is_published"] = run == state.published_run
            if run in published_at:
                record |= {"published_at": published_at[run], "not_published": None}

    _edit_run_log(root, mark_published)


def record_unpublished(root: Path, run: str, reason: str) -> None:
    """Record why a run was not published, if the run has a record.

    Args:
        root: The data folder.
        run: The run.
        reason: For example "a newer run is published".

    Raises:
        CorruptRunLog: runs.jsonl has a bad line.
        OSError: The files cannot be written.
    """

    def put_reason(records: dict[str, RunRecord]) -> None:
        if run in records:
            records[run]["not_published"] = reason

    _edit_run_log(root, put_reason)


def read_run_log(path: Path) -> dict[str, RunRecord]:
    """Read runs.jsonl.

    Args:
        path: The file.

    Returns:
        Records by run; empty if there is no file.

    Raises:
        CorruptRunLog: A line is not a run's record.
    """
    if not path.exists():
        return {}
    records = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(text)
            records[record["run"]] = record
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptRunLog(
                f"{path}: line {number} is not the record of a run: {text[:80]!r}; "
                "repair it, or remove the file"
            ) from error
    return records


def _edit_run_log(root: Path, edit: Callable[[dict[str, RunRecord]], None]) -> None:
    """Change the records, and write both files under a lock; again if another machine was faster.

    Args:
        root: The data folder.
        edit: Changes the records in place; it may be called several times.
    """
    folder = root / REPORTS_FOLDER
    with atomic.lock_file(folder / ".lock"):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                ordered = _put_run_log(root, edit)
                break
            except FileConflict:
                if attempt == _ATTEMPTS:
                    raise
        feed = build_atom_feed(ordered, root.resolve().as_uri())
        atomic.write_bytes(folder / "runs.atom", feed)


def _put_run_log(root: Path, edit: Callable[[dict[str, RunRecord]], None]) -> list[RunRecord]:
    """Read runs.jsonl, change its records, write it, and return them in the order of runs."""
    path = root / REPORTS_FOLDER / "runs.jsonl"
    store, name = mirror.find_mirror(root), f"{REPORTS_FOLDER}/runs.jsonl"
    former = store.files.fetch(name) if store else None
    records = read_run_log(path)
    edit(records)
    ordered = [records[run] for run in sorted(records, key=run_order.name_order)]
    lines = [json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in ordered]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    if store:
        store.files.put(name, content, former)
    atomic.write_bytes(path, content)
    return ordered
