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
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from wearalike.quality.metrics import K
from wearalike.quality.thresholds import GateVerdict
from wearalike.storage import atomic, mirror, run_order, run_tables
from wearalike.storage.object_store import StoreFault
from wearalike.tables import QUALITY
from wearalike.warehouse.base import WarehouseState

log = logging.getLogger("wearalike.reports")

REPORTS_FOLDER = "reports"
MAX_ATOM_ENTRIES = 50
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
# Not in XML 1.0.
_ILLEGAL_XML_CHARS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATOM_NAMESPACE = "http://www.w3.org/2005/Atom"

RunRecord = dict[str, Any]


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
    with _edit_run_log(root) as records:
        record = run_record(root, run)
        earlier = records.get(run)
        if earlier and earlier["published_at"]:
            names = ("is_published", "published_at", "not_published")
            record |= {name: earlier[name] for name in names}
        records[run] = record


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
    with _edit_run_log(root) as records:
        for run, record in records.items():
            record["is_published"] = run == state.published_run
            if run in published_at:
                record |= {"published_at": published_at[run], "not_published": None}


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
    with _edit_run_log(root) as records:
        if run in records:
            records[run]["not_published"] = reason


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


@contextlib.contextmanager
def _edit_run_log(root: Path) -> Iterator[dict[str, RunRecord]]:
    """Yield the records, to be changed in the block, then write both files under a lock."""
    folder = root / REPORTS_FOLDER
    store, name = mirror.find_mirror(root), f"{REPORTS_FOLDER}/runs.jsonl"
    with atomic.lock_file(folder / ".lock"):
        former = store.files.fetch(name) if store else None
        records = read_run_log(folder / "runs.jsonl")
        yield records
        ordered = [records[run] for run in sorted(records, key=run_order.name_order)]
        lines = [json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in ordered]
        text = "".join(f"{line}\n" for line in lines)
        content = text.encode("utf-8", "replace")
        if store:
            store.files.put(name, content, former)
        atomic.write_bytes(folder / "runs.jsonl", content)
        feed = build_atom_feed(ordered, root.resolve().as_uri())
        atomic.write_bytes(folder / "runs.atom", feed)


def build_atom_feed(records: list[RunRecord], base_uri: str) -> bytes:
    """Build an Atom feed (RFC 4287) of the latest MAX_ATOM_ENTRIES runs, newest first.

    Args:
        records: Records of runs, as in runs.jsonl.
        base_uri: URI of the data folder; it makes entry ids unique among deployments.

    Returns:
        The feed, XML.
    """
    feed = etree.Element(f"{{{_ATOM_NAMESPACE}}}feed", nsmap={None: _ATOM_NAMESPACE})
    newest = sorted(records, key=_updated_at, reverse=True)[:MAX_ATOM_ENTRIES]
    _add_element(feed, "id", _entry_urn(base_uri))
    _add_element(feed, "title", "wearalike: runs")
    _add_element(feed, "updated", _updated_at(newest[0]) if newest else "1970-01-01T00:00:00Z")
    _add_element(_add_element(feed, "author"), "name", "wearalike")
    _add_element(feed, "link", rel="self", href="runs.atom")
    for record in newest:
        run = record["run"]
        entry = _add_element(feed, "entry")
        _add_element(entry, "id", _entry_urn(f"{base_uri}#{run}"))
        title = f"Run {run}: {record['verdict']}, {_publication_text(record)}"
        _add_element(entry, "title", title)
        _add_element(entry, "updated", _updated_at(record))
        _add_element(
            entry,
            "link",
            rel="alternate",
            type="text/html",
            href=f"../quality/run={run}/quality.html",
        )
        _add_element(entry, "content", _summary_text(record), type="text")
    return etree.tostring(feed, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add_element(
    parent: etree._Element, name: str, text: str | None = None, **attributes: str
) -> etree._Element:
    """Append an Atom element; characters that XML 1.0 cannot hold are replaced."""
    child = etree.SubElement(parent, f"{{{_ATOM_NAMESPACE}}}{name}", dict(attributes))
    child.text = None if text is None else _ILLEGAL_XML_CHARS.sub("\ufffd", text)
    return child


def _entry_urn(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def _updated_at(record: RunRecord) -> str:
    return max(record["judged_at"], record["published_at"] or "")


def _publication_text(record: RunRecord) -> str:
    if record["is_published"]:
        return "published"
    if record["published_at"]:
        return "was published"
    return f"not published: {record['not_published']}"


def _summary_text(record: RunRecord) -> str:
    """Return the record as lines for people."""
    shops = [f"{shop} {of['products_count'] or 0:,}" for shop, of in record["shops"].items()]
    lines = [
        f"{record['products_count'] or 0:,} products ({', '.join(shops)}), "
        f"{record['recommendations_count'] or 0:,} recommendations"
    ]
    lines += [
        f"{name} {record[name]:.3f}"
        for name in (f"precision@{K}", f"churn@{K}", "with_5_matches_ratio")
        if record[name] is not None
    ]
    lines.append(f"{record['refused_count']:,} refused")
    lines += [f"warning: {name}" for name in record["warned"]]
    return "\n".join([*lines, *record["failed"]])
