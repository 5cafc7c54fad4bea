"""One line a run for dashboards, and the same as an Atom feed.

    <root>/reports/runs.jsonl    a JSON object a run, in the order of their names: verdict, counts, and whether it is published
    <root>/reports/runs.atom     the last ones, newest first, for a feed reader

Both are written whole or not at all, by one writer at a time. The same run again replaces its line; the line of a run whose
tables were removed stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from wearalike.quality.metrics import K
from wearalike.quality.thresholds import Verdict
from wearalike.storage import run_tables
from wearalike.tables import QUALITY
from wearalike.warehouse.base import State

log = logging.getLogger("wearalike.reports")

FOLDER = "reports"
ENTRIES = 50
# What a line says of the whole run and of each shop, under the measures' own names.
OF_RUN = (
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
OF_SHOP = (
    "offers_count",
    "products_count",
    "with_5_matches_ratio",
    "refused_offers_ratio",
    "products_kept_ratio",
    f"churn@{K}",
)
# Not in XML 1.0.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATOM = "http://www.w3.org/2005/Atom"

Line = dict[str, Any]


class BadLines(ValueError):
    """runs.jsonl holds what no writer of ours left there."""


@contextlib.contextmanager
def without_stopping() -> Iterator[None]:
    """What goes wrong in the block with files of reports is a warning: they never stop a night, and the next one mends them."""
    try:
        yield
    except (OSError, ValueError) as error:
        log.warning("the reports of all runs are not renewed: %s", error)


def of_run(root: Path, run: str) -> Line:
    """The line of a judged run that is not published yet. Raises store.NotMade."""
    made = run_tables.made(root, QUALITY, run)
    rows = run_tables.read(root, QUALITY, run).to_pylist()
    values = {(row["scope"], row["measure"]): _number(row) for row in rows}
    refused: dict[str, int] = {}
    for row in rows:
        if row["measure"] == "refused_count":
            stage, reason = (part.partition("=")[2] for part in row["scope"].split(",")[:2])
            refused[f"{stage}/{reason}"] = refused.get(f"{stage}/{reason}", 0) + int(row["value"])
    shops = sorted(
        {scope.removeprefix("shop=") for scope, _ in values if scope.startswith("shop=")}
    )
    judged_at = (run_tables.folder(root, QUALITY, run) / "made.json").stat().st_mtime
    return {
        "run": run,
        "judged_at": _time(datetime.fromtimestamp(judged_at, UTC)),
        "verdict": made["verdict"],
        "failed": made["failed"],
        "warned": sorted({row["measure"] for row in rows if row["verdict"] == Verdict.WARN}),
        "last_run": made["parameters"]["last_run"],
        "is_published": False,
        "published_at": None,
        "not_published": "the gate is closed" if made["verdict"] == Verdict.FAIL else "not yet",
        **{name: values.get(("all", name)) for name in OF_RUN},
        "recommendations_count": values.get(("table=similar_products", "rows_written_count")),
        "refused_count": sum(refused.values()),
        "refused": refused,
        "shops": {
            shop: {name: values.get((f"shop={shop}", name)) for name in OF_SHOP} for shop in shops
        },
    }


def _number(row: Mapping[str, Any]) -> float | int:
    return int(row["value"]) if row["unit"] == "count" else row["value"]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def judged(root: Path, run: str) -> None:
    """Writes the line of a run anew; what was said of its publication stays. Raises store.NotMade, BadLines, OSError."""
    with _changed(root) as lines:
        was, line = lines.get(run), of_run(root, run)
        if was and was["published_at"]:
            line |= {name: was[name] for name in ("is_published", "published_at", "not_published")}
        lines[run] = line


def published(root: Path, state: State) -> None:
    """Says of every line whether the site reads it now, and when it last began to. Raises BadLines, OSError."""
    moved_at = {p.run: _time(p.published_at) for p in state.publications}
    with _changed(root) as lines:
        for run, line in lines.items():
            line["is_published"] = run == state.published
            if run in moved_at:
                line |= {"published_at": moved_at[run], "not_published": None}


def not_published(root: Path, run: str, why: str) -> None:
    """Says in the line of a run, if it has one, why it was not published. Raises BadLines, OSError."""
    with _changed(root) as lines:
        if run in lines:
            lines[run]["not_published"] = why


def read(path: Path) -> dict[str, Line]:
    """The lines by run; none where there is no file. Raises BadLines."""
    if not path.exists():
        return {}
    found = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            found[line["run"]] = line
        except (ValueError, TypeError, KeyError) as error:
            raise BadLines(
                f"{path}: line {number} is no line of a run: {text[:80]!r}; mend it, or remove the file"
            ) from error
    return found


@contextlib.contextmanager
def _changed(root: Path) -> Iterator[dict[str, Line]]:
    """The lines, to be changed in the block; then both files are written. Others wait."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = read(folder / "runs.jsonl")
        yield lines
        ordered = [lines[run] for run in sorted(lines)]
        text = "".join(
            json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in ordered
        )
        _write(folder / "runs.jsonl", text.encode("utf-8", "replace"))
        _write(folder / "runs.atom", atom(ordered, root.resolve().as_uri()))


def _write(path: Path, content: bytes) -> None:
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def atom(lines: list[Line], place: str) -> bytes:
    """An Atom feed (RFC 4287) of the last ENTRIES lines, newest first. place: what tells this root's runs from others', a URI."""
    feed = etree.Element(f"{{{_ATOM}}}feed", nsmap={None: _ATOM})
    newest = sorted(lines, key=_updated, reverse=True)[:ENTRIES]
    _add(feed, "id", _id(place))
    _add(feed, "title", "wearalike: the nights")
    _add(feed, "updated", _updated(newest[0]) if newest else "1970-01-01T00:00:00Z")
    _add(_add(feed, "author"), "name", "wearalike")
    _add(feed, "link", rel="self", href="runs.atom")
    for line in newest:
        entry = _add(feed, "entry")
        _add(entry, "id", _id(f"{place}#{line['run']}"))
        _add(entry, "title", f"Run {line['run']}: {line['verdict']}, {_where(line)}")
        _add(entry, "updated", _updated(line))
        _add(
            entry,
            "link",
            rel="alternate",
            type="text/html",
            href=f"../quality/run={line['run']}/quality.html",
        )
        _add(entry, "content", _told(line), type="text")
    return etree.tostring(feed, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add(
    parent: etree._Element, name: str, text: str | None = None, **attributes: str
) -> etree._Element:
    child = etree.SubElement(parent, f"{{{_ATOM}}}{name}", dict(attributes))
    child.text = None if text is None else _ILLEGAL.sub("\ufffd", text)
    return child


def _id(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def _updated(line: Line) -> str:
    return max(line["judged_at"], line["published_at"] or "")


def _where(line: Line) -> str:
    if line["is_published"]:
        return "published"
    return "was published" if line["published_at"] else f"not published: {line['not_published']}"


def _told(line: Line) -> str:
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
