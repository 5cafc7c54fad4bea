"""Read files of events strictly: what visitors of the site were shown, clicked and ordered.

A file is Parquet, CSV with a heading, or JSON lines. A row that cannot be used is refused with a
reason; the others go on.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.experiment_settings import INTERLEAVED
from wearalike.settings import RUN_PATTERN

MAX_TEXT_CHARS = 300


class EventKind(StrEnum):
    """An action of a visitor."""

    IMPRESSION = "impression"  # the recommendation was seen
    CLICK = "click"  # its link was followed
    ORDER = "order"  # the product was ordered after that


class EventReason(StrEnum):
    """Why a row of a file of events is refused."""

    BROKEN_ROW = "broken_row"  # no JSON object, or other cells than columns
    MISSING_VALUE = "missing_value"  # kind, occurred_at, product_id or similar_product_id is empty
    UNKNOWN_KIND = "unknown_kind"  # another kind than impression, click and order
    BAD_TIME = "bad_time"  # occurred_at is no ISO 8601 time with a zone, or lies in the future
    BAD_VALUE = "bad_value"  # a value is no text, or a text is too long
    TWICE = "twice"  # its event_id came before
    UNKNOWN_RUN = "unknown_run"  # the run is not in the warehouse, or none was published then
    UNKNOWN_VARIANT = "unknown_variant"  # the run's experiment has no such variant or team
    UNKNOWN_PAIR = "unknown_pair"  # the run does not recommend this product there


class BadEventFile(ValueError):
    """A file cannot be read as events at all."""


@dataclass(frozen=True, slots=True)
class SiteEvent:
    """One event.

    Attributes:
        event_id: Tells it from all others; made of file and row where the file has none.
        kind: The action of the visitor.
        occurred_at: When, UTC.
        product_id: The product whose page was shown.
        similar_product_id: The recommended product.
        run: The run that the site read, if the file says it.
        variant: The variant whose list was seen, control or interleaved, if the file says it.
        team: The variant, or control, whose pick it was in an interleaved list.
        view_id: Tells the views of a list apart, if the file says it.
    """

    event_id: str
    kind: EventKind
    occurred_at: datetime
    product_id: str
    similar_product_id: str
    run: str | None
    variant: str | None = None
    team: str | None = None
    view_id: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """A row that is not used.

    Attributes:
        file: Name of the file.
        row: Number of the row in it, from 1, without the heading.
        reason: Why.
        detail: The value that was found, and the one wanted.
    """

    file: str
    row: int
    reason: EventReason
    detail: str


_REQUIRED = ("kind", "occurred_at", "product_id", "similar_product_id")
COLUMNS = (*_REQUIRED, "event_id", "run", "variant", "team", "view_id")


def read_events(path: Path, now: datetime) -> Iterator[tuple[int, SiteEvent | RefusedEvent]]:
    """Yield the number and the event of every row of a file, or why it is refused.

    Args:
        path: A file that ends with .parquet, .csv, .jsonl or .ndjson.
        now: Now, in UTC.

    Raises:
        BadEventFile: It is none of these, cannot be read, or lacks a column.
    """
    readers = {
        ".parquet": _iter_parquet,
        ".csv": _iter_csv,
        ".jsonl": _iter_json_lines,
        ".ndjson": _iter_json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadEventFile(f"{path}: wanted a name that ends with {', '.join(readers)}")
    try:
        file_id = file_hash(path)[:24]
        for number, row in enumerate(reader(path), 1):
            yield number, _parse_row(path.name, f"{file_id}-{number}", number, row, now)
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise BadEventFile(f"{path}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        if error.filename is not None:
            raise  # of this machine; Arrow tells damaged pages without a name
        raise BadEventFile(f"{path}: {str(error).splitlines()[0]}") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _iter_parquet(path: Path) -> Iterator[dict[str, Any] | str]:
    file = pq.ParquetFile(path)
    _check_columns(path, file.schema_arrow.names)
    names = [name for name in file.schema_arrow.names if name in COLUMNS]
    for batch in file.iter_batches(columns=names):
        rows = pa.Table.from_batches([batch])
        at = rows.schema.get_field_index("occurred_at")
        if pa.types.is_timestamp(rows.schema.types[at]):
            # Text holds every time; a datetime ends with the year 9999.
            rows = rows.set_column(at, "occurred_at", rows["occurred_at"].cast(pa.string()))
        yield from rows.to_pylist()


def _iter_csv(path: Path) -> Iterator[dict[str, Any] | str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        heading = next(rows, [])
        _check_columns(path, heading)
        for row in rows:
            if len(row) == len(heading):
                yield dict(zip(heading, row, strict=True))
            elif row:
                yield f"{len(row)} cells, wanted {len(heading)}"


def _iter_json_lines(path: Path) -> Iterator[dict[str, Any] | str]:
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"not JSON: {error}"
                continue
            yield row if isinstance(row, dict) else f"{type(row).__name__}, wanted an object"


def _check_columns(path: Path, names: list[str]) -> None:
    if missing := [name for name in _REQUIRED if name not in names]:
        raise BadEventFile(f"{path}: no column {missing[0]}; wanted {', '.join(_REQUIRED)}")


def _is_text(value: object) -> bool:
    """Return True for a text that a table and PostgreSQL can hold."""
    is_short = isinstance(value, str) and len(value) <= MAX_TEXT_CHARS
    return is_short and not re.search("[\\0\ud800-\udfff]", str(value))


def _parse_time(text: str) -> datetime | None:
    """Return an ISO 8601 time in UTC; None if it is none, or has no zone."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _parse_row(
    file: str, made_id: str, number: int, row: dict[str, Any] | str, now: datetime
) -> SiteEvent | RefusedEvent:
    """Return the event of a row, or why it is refused; a text says why the row cannot be read."""

    def refuse(reason: EventReason, detail: str) -> RefusedEvent:
        return RefusedEvent(file, number, reason, detail[:MAX_TEXT_CHARS])

    if isinstance(row, str):
        return refuse(EventReason.BROKEN_ROW, row)
    texts: dict[str, str] = {}
    for name in COLUMNS:
        value = row.get(name)
        if value is None or value == "":
            if name in _REQUIRED:
                return refuse(EventReason.MISSING_VALUE, f"{name} is empty")
        elif not _is_text(value):
            return refuse(
                EventReason.BAD_VALUE,
                f"{name}: wanted a text of at most {MAX_TEXT_CHARS} characters, without NUL and "
                f"lone surrogates, got {value!r}",
            )
        else:
            texts[name] = value
    if texts["kind"] not in set(EventKind):
        wanted = ", ".join(EventKind)
        return refuse(EventReason.UNKNOWN_KIND, f"{texts['kind']!r}, wanted {wanted}")
    at = _parse_time(texts["occurred_at"])
    if at is None or at > now:
        wanted = "wanted a time with its zone, not after now, such as 2026-11-21T10:15:00+00:00"
        return refuse(EventReason.BAD_TIME, f"{texts['occurred_at']!r}: {wanted}")
    run = texts.get("run")
    if run is not None and not RUN_PATTERN.fullmatch(run):
        return refuse(EventReason.UNKNOWN_RUN, f"{run!r} is no name of a run")
    if "team" in texts and texts.get("variant") != INTERLEAVED:
        detail = f"team {texts['team']!r} of variant {texts.get('variant')!r}, wanted {INTERLEAVED}"
        return refuse(EventReason.UNKNOWN_VARIANT, detail)
    return SiteEvent(
        event_id=texts.get("event_id", made_id),
        kind=EventKind(texts["kind"]),
        occurred_at=at,
        product_id=texts["product_id"],
        similar_product_id=texts["similar_product_id"],
        run=run,
        **{name: texts.get(name) for name in ("variant", "team", "view_id")},
    )
