"""Read a feed file, packed by gzip, zip or not, without unpacking a bomb."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path
from typing import Any

from wearalike.feeds.errors import BadFeed, FeedReason
from wearalike.feeds.zip_member import ZIP_MAGIC, open_zip_member

CHUNK_BYTES = 1 << 18
# Unpacked bytes for each packed byte. Feeds of similar offers reach 60; a bomb has 1,000 a layer.
MAX_UNPACK_RATIO = 300
# A file that unpacks to fewer bytes than this may have any ratio.
RATIO_EXEMPT_BYTES = 16 << 20
MAX_LAYERS = 2

_GZIP_MAGIC = b"\x1f\x8b"


def unpack_chunks(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of a file, with at most two layers of packing removed.

    Gzip and zip are recognised by their first bytes, not by the name of the file. A zip must be the
    outer layer and hold one file.

    Args:
        path: The file.
        max_bytes: The most bytes that may be unpacked.

    Yields:
        Chunks of at most CHUNK_BYTES.

    Raises:
        BadFeed: TOO_LARGE past `max_bytes`, past MAX_UNPACK_RATIO or for a third layer; ARCHIVE for
            a zip without its one feed; TRUNCATED or BROKEN for damaged packing.
    """
    total = 0
    with path.open("rb") as packed:
        try:
            file, count_packed = _remove_layers(packed)
            while chunk := file.read(CHUNK_BYTES):
                total += len(chunk)
                _check_size(total, count_packed(), max_bytes)
                yield chunk
        except EOFError as error:
            raise BadFeed(
                FeedReason.TRUNCATED, f"ends early, after {total:,} bytes unpacked"
            ) from error
        except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, LZMAError) as error:
            raise BadFeed(
                FeedReason.BROKEN, f"bad gzip or zip after {total:,} bytes unpacked: {error}"
            ) from error


def _remove_layers(packed: Any) -> tuple[Any, Callable[[], int]]:
    """Return the file within the layers of packing, and a function for the packed bytes so far."""
    file = packed
    count_packed: Callable[[], int] = packed.tell
    layers = 0
    if packed.peek(4)[:4] in ZIP_MAGIC:
        file, packed_bytes = open_zip_member(packed)
        layers = 1
        count_packed = lambda: packed_bytes  # noqa: E731
    while layers < MAX_LAYERS and file.peek(2)[:2] == _GZIP_MAGIC:
        file = gzip.GzipFile(fileobj=file, mode="rb")
        layers += 1
    inner = file.peek(4)[:4]
    if layers and inner[:2] == _GZIP_MAGIC:
        raise BadFeed(
            FeedReason.TOO_LARGE, f"more than {MAX_LAYERS} layers of packing; wanted at most two"
        )
    if layers and inner in ZIP_MAGIC:
        raise BadFeed(FeedReason.ARCHIVE, "a zip within another packing; wanted one zip or gzip")
    return file, count_packed


def _check_size(unpacked_bytes: int, packed_bytes: int, max_bytes: int) -> None:
    """Raise BadFeed (TOO_LARGE) past either limit."""
    if unpacked_bytes > max_bytes:
        raise BadFeed(FeedReason.TOO_LARGE, f"unpacked more than max_feed_bytes = {max_bytes:,}")
    if unpacked_bytes > RATIO_EXEMPT_BYTES and unpacked_bytes > MAX_UNPACK_RATIO * packed_bytes:
        raise BadFeed(
            FeedReason.TOO_LARGE,
            f"unpacks to more than {MAX_UNPACK_RATIO} times its size, as a bomb does",
        )
