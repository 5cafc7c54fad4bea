"""One line a run for dashboards, and the same as an Atom feed.

    <root>/reports/runs.jsonl    a JSON object a run, in the order of their names: verdict, counts, and whether it is published
    <root>/reports/runs.atom     the last ones, newest first, for a feed reader

Both are written whole or not at all, by one writer at a time. The same run again replaces its line; the line of a run whose
tables were removed stays.
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
from wearalike.storage import atomic, run_tables
from wearalike.tables import QUALITY
from wearalike.warehouse.base import WarehouseState

log = logging.getLogger("wearalike.reports")

REPORTS_FOLDER = "reports"
MAX_ATOM_ENTRIES = 50
# What a line says of the whole run and of each shop, under the measures' own names.
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
    """runs.jsonl holds what no writer of ours left there."""


@contextlib.contextmanager
def warn_on_errors() -> Iterator[None]:
    """What goes wrong in the block with files of reports is a warning: they never stop a night, and the next one mends them."""
    try:
        yield
    except (OSError, ValueError) as error:
        log.warning("the reports of all runs are not renewed: %s", error)


def run_record(root: Path, run: str) -> RunRecord:
    """The line of a judged run that is not published yet. Raises run_tables.TableNotFound."""
    made = run_tables.read_manifest(root, QUALITY, run)
    rows = run_tables.read_table(root, QUALITY, run).to_pylist()
    values = {(row["scope"], row["metric"]): _metric_value(row) for row in rows}
    refused: dict[str, int] = {}
    for row in rows:
        if row["metric"] == "refused_count":
            stage, reason = (part.partition("=")[2] for part in row["scope"].split(",")[:2])
            refused[f"{stage}/{reason}"] = refused.get(f"{stage}/{reason}", 0) + int(row["value"])
    shops = sorted(
        {scope.removeprefix("shop=") for scope, _ in values if scope.startswith("shop=")}
    )
    judged_at = (run_tables.table_dir(root, QUALITY, run) / "_manifest.json").stat().st_mtime
    return {
        "run": run,
        "judged_at": _format_time(datetime.fromtimestamp(judged_at, UTC)),
        "verdict": made["verdict"],
        "failed": made["failed"],
        "warned": sorted({row["metric"] for row in rows if row["verdict"] == GateVerdict.WARN}),
        "last_run": made["parameters"]["last_run"],
        "is_published": False,
        "published_at": None,
        "not_published": "the gate is closed" if made["verdict"] == GateVerdict.FAIL else "not yet",
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
    return int(row["value"]) if row["unit"] == "count" else row["value"]


def _format_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_verdict(root: Path, run: str) -> None:
    """Writes the line of a run anew; what was said of its publication stays. Raises run_tables.TableNotFound, CorruptRunLog, OSError."""
    with _edit_run_log(root) as lines:
        was, line = lines.get(run), run_record(root, run)
        if was and was["published_at"]:
            line |= {name: was[name] for name in ("is_published", "published_at", "not_published")}
        lines[run] = line


def record_publications(root: Path, state: WarehouseState) -> None:
    """Says of every line whether the site reads it now, and when it last began to. Raises CorruptRunLog, OSError."""
    moved_at = {p.run: _format_time(p.published_at) for p in state.publications}
    with _edit_run_log(root) as lines:
        for run, line in lines.items():
            line["is_published"] = run == state.published_run
            if run in moved_at:
                line |= {"published_at": moved_at[run], "not_published": None}


def record_unpublished(root: Path, run: str, reason: str) -> None:
    """Says in the line of a run, if it has one, why it was not published. Raises CorruptRunLog, OSError."""
    with _edit_run_log(root) as lines:
        if run in lines:
            lines[run]["not_published"] = reason


def read_run_log(path: Path) -> dict[str, RunRecord]:
    """The lines by run; none where there is no file. Raises CorruptRunLog."""
    if not path.exists():
        return {}
    found = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            found[line["run"]] = line
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptRunLog(
                f"{path}: line {number} is no line of a run: {text[:80]!r}; mend it, or remove the file"
            ) from error
    return found


@contextlib.contextmanager
def _edit_run_log(root: Path) -> Iterator[dict[str, RunRecord]]:
    """The lines, to be changed in the block; then both files are written. Others wait."""
    folder = root / REPORTS_FOLDER
    with atomic.lock_file(folder / ".lock"):
        lines = read_run_log(folder / "runs.jsonl")
        yield lines
        ordered = [lines[run] for run in sorted(lines)]
        text = "".join(
            json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in ordered
        )
        atomic.write_bytes(folder / "runs.jsonl", text.encode("utf-8", "replace"))
        feed = build_atom_feed(ordered, root.resolve().as_uri())
        atomic.write_bytes(folder / "runs.atom", feed)


def build_atom_feed(records: list[RunRecord], base_uri: str) -> bytes:
    """An Atom feed (RFC 4287) of the last ENTRIES lines, newest first. place: what tells this root's runs from others', a URI."""
    feed = etree.Element(f"{{{_ATOM_NAMESPACE}}}feed", nsmap={None: _ATOM_NAMESPACE})
    newest = sorted(records, key=_updated_at, reverse=True)[:MAX_ATOM_ENTRIES]
    _add_element(feed, "id", _entry_urn(base_uri))
    _add_element(feed, "title", "wearalike: the nights")
    _add_element(feed, "updated", _updated_at(newest[0]) if newest else "1970-01-01T00:00:00Z")
    _add_element(_add_element(feed, "author"), "name", "wearalike")
    _add_element(feed, "link", rel="self", href="runs.atom")
    for line in newest:
        entry = _add_element(feed, "entry")
        _add_element(entry, "id", _entry_urn(f"{base_uri}#{line['run']}"))
        _add_element(
            entry, "title", f"Run {line['run']}: {line['verdict']}, {_publication_text(line)}"
        )
        _add_element(entry, "updated", _updated_at(line))
        _add_element(
            entry,
            "link",
            rel="alternate",
            type="text/html",
            href=f"../quality/run={line['run']}/quality.html",
        )
        _add_element(entry, "content", _summary_text(line), type="text")
    return etree.tostring(feed, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add_element(
    parent: etree._Element, name: str, text: str | None = None, **attributes: str
) -> etree._Element:
    child = etree.SubElement(parent, f"{{{_ATOM_NAMESPACE}}}{name}", dict(attributes))
    child.text = None if text is None else _ILLEGAL_XML_CHARS.sub("\ufffd", text)
    return child


def _entry_urn(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def _updated_at(line: RunRecord) -> str:
    return max(line["judged_at"], line["published_at"] or "")


def _publication_text(line: RunRecord) -> str:
    if line["is_published"]:
        return "published"
    return "was published" if line["published_at"] else f"not published: {line['not_published']}"


def _summary_text(line: RunRecord) -> str:
    """The line for a person."""
    shops = [f"{shop} {of['products_count'] or 0:,}" for shop, of in line["shops"].items()]
    told = [
        f"{line['products_count'] or 0:,} products ({', '.join(shops)}), {line['recommendations_count'] or 0:,} recommendations"
    ]
    told += [
        f"{name} {line[name]:.3f}"
        for name in (f"precision@{K}", f"churn@{K}", "with_5_matches_ratio")
        if line[name] is not None
    ]
    told += [
        f"{line['refused_count']:,} refused",
        *(f"warning: {name}" for name in line["warned"]),
        *line["failed"],
    ]
    return "\n".join(told)
