"""Read Google's and Meta's feeds as tables with a head line: TSV and CSV."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from wearalike.feeds.encoding import FeedDecoder
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.table_rows import BrokenRow, RowReader, TableRow, split_lines
from wearalike.feeds.unpack import unpack_chunks

# By Meta's documents; the most frequent one in the head line counts.
DELIMITERS = "\t,;|~"
# A head line has at least these columns.
NEEDED_COLUMNS = frozenset(("id", "title", "price"))
_MAX_LINE_BYTES = 16 << 20
_MAX_COMMENT_LINES = 20
_MAX_HEAD_CHARS = 100_000
# A comment, or the line by which spreadsheets name the delimiter.
_HEAD_COMMENT = re.compile(r"#|sep=[^\r\n]\s*$", re.IGNORECASE)


def read_table_rows(
    path: Path,
    max_bytes: int,
    charset: str | None,
    warning_counts: Counter[FeedWarning],
    needed_columns: frozenset[str] = NEEDED_COLUMNS,
) -> Iterator[dict[str, str] | BrokenRow] | None:
    """Return the rows of a table as texts by column, or None for a file that is no table.

    Lines that begin with "#" before the head line are comments, and "sep=;" names the delimiter.

    Args:
        path: The file.
        max_bytes: The most bytes it may unpack to.
        charset: The charset of the HTTP answer, if it named one.
        warning_counts: Counts the repairs; this function adds to it.
        needed_columns: The head line has at least these columns.

    Raises:
        BadFeed: The file cannot be unpacked or decoded.
    """
    decoder = FeedDecoder(charset, warning_counts)
    chunks = unpack_chunks(path, max_bytes)
    first = next(chunks, b"")
    start = decoder.begin(first) if first else b""
    if start.lstrip()[:1] in (b"<", b""):
        return None
    lines = _iter_lines(decoder, chain([start], map(decoder.narrow, chunks)))
    delimiter = ""
    head = next(lines, "")
    head_number = 1
    while head_number <= _MAX_COMMENT_LINES and _HEAD_COMMENT.match(head):
        if head[0] != "#":
            delimiter = head[4]
        head = next(lines, "")
        head_number += 1
    if len(head) > _MAX_HEAD_CHARS:
        return None
    delimiter = delimiter or max(DELIMITERS, key=head.count)
    try:
        columns = next(csv.reader([head.strip("\r\n")], delimiter=delimiter), [])
    except csv.Error:
        return None
    names = [name.strip().casefold().removeprefix("g:") for name in columns]
    if not set(names) >= needed_columns:
        return None
    rows = RowReader(delimiter, len(names), head_number + 1).iter_rows(lines)
    return _name_cells(names, rows, warning_counts)


def _name_cells(
    names: list[str],
    rows: Iterator[TableRow | BrokenRow],
    warning_counts: Counter[FeedWarning],
) -> Iterator[dict[str, str] | BrokenRow]:
    """Yield the rows; a column that is named again is numbered, so that no cell is lost."""
    columns = [f"{name}[{names[:i].count(name)}]" for i, name in enumerate(names)]
    for row in rows:
        if isinstance(row, BrokenRow):
            yield row
            continue
        if row.is_repaired:
            warning_counts[FeedWarning.TABLE_QUOTES] += 1
        yield dict(zip(columns, row.cells, strict=False))


def _iter_lines(decoder: FeedDecoder, chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines of a file in any encoding that feeds have."""
    unread = b""
    for chunk in chunks:
        unread += chunk
        cut = unread.rfind(b"\n") + 1
        if len(unread) - cut > _MAX_LINE_BYTES:
            raise BadFeed(FeedReason.TOO_LARGE, f"{len(unread):,} bytes and no end of a line")
        yield from split_lines(decoder.to_utf8(unread[:cut]).decode("utf-8", "replace"))
        unread = unread[cut:]
    yield from split_lines(decoder.to_utf8(unread).decode("utf-8", "replace"))
