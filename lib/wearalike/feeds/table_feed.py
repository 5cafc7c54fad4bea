"""Read Google's and Meta's feeds as tables with a head line: TSV and CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from wearalike.feeds.encoding import FeedDecoder
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.unpack import unpack_chunks

# By Meta's documents; the most frequent one in the head line counts.
DELIMITERS = "\t,;|~"
# A head line has at least these columns.
_NEEDED_COLUMNS = frozenset(("id", "title", "price"))
_MAX_CELL_BYTES = 1 << 20
_MAX_COMMENT_LINES = 20
_MAX_HEAD_CHARS = 100_000


def read_table_rows(
    path: Path, max_bytes: int, charset: str | None, warning_counts: Counter[FeedWarning]
) -> Iterator[dict[str, str]] | None:
    """Return the rows of a table as texts by column, or None for a file that is no table.

    Lines that begin with "#" before the head line are comments.

    Args:
        path: The file.
        max_bytes: The most bytes it may unpack to.
        charset: The charset of the HTTP answer, if it named one.
        warning_counts: Counts the repairs; this function adds to it.

    Raises:
        BadFeed: The file cannot be unpacked or decoded, or a row cannot be read.
    """
    decoder = FeedDecoder(charset, warning_counts)
    chunks = unpack_chunks(path, max_bytes)
    first = next(chunks, b"")
    start = decoder.begin(first) if first else b""
    if start.lstrip()[:1] in (b"<", b""):
        return None
    lines = _iter_lines(decoder, chain([start], map(decoder.narrow, chunks)))
    head = next(lines, "")
    for _ in range(_MAX_COMMENT_LINES):
        if not head.startswith("#"):
            break
        head = next(lines, "")
    if len(head) > _MAX_HEAD_CHARS:
        return None
    delimiter = max(DELIMITERS, key=head.count)
    columns = next(csv.reader([head], delimiter=delimiter), [])
    names = [name.strip().casefold().removeprefix("g:") for name in columns]
    if not set(names) >= _NEEDED_COLUMNS:
        return None
    return _iter_rows(names, lines, delimiter)


def _iter_rows(names: list[str], lines: Iterator[str], delimiter: str) -> Iterator[dict[str, str]]:
    """Yield the rows; a column that is named again is numbered, so that no cell is lost."""
    csv.field_size_limit(_MAX_CELL_BYTES)
    columns = [f"{name}[{names[:i].count(name)}]" for i, name in enumerate(names)]
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            if any(cells):
                yield dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise BadFeed(FeedReason.BROKEN, f"a row that cannot be read: {error}") from error


def _iter_lines(decoder: FeedDecoder, chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines of a file in any encoding that feeds have."""
    unread = b""
    for chunk in chunks:
        unread += chunk
        cut = unread.rfind(b"\n") + 1
        if len(unread) - cut > _MAX_CELL_BYTES * 16:
            raise BadFeed(FeedReason.TOO_LARGE, f"{len(unread):,} bytes and no end of a line")
        yield from (
            decoder.to_utf8(unread[:cut]).decode("utf-8", "replace").splitlines(keepends=True)
        )
        unread = unread[cut:]
    if unread:
        yield decoder.to_utf8(unread).decode("utf-8", "replace")
