"""Read a feed file, gzip or not, without unpacking a bomb."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from wearalike.feeds.errors import BadFeed, FeedReason

CHUNK_BYTES = 1 << 18
# Unpacked bytes for each packed byte. Feeds of similar offers reach 60; a bomb has 1,000 a layer.
MAX_UNPACK_RATIO = 300
# A file that unpacks to fewer bytes than this may have any ratio.
RATIO_EXEMPT_BYTES = 16 << 20

_GZIP_MAGIC = b"\x1f\x8b"


def unpack_chunks(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of a file, with at most two layers of gzip removed.

    Gzip is recognised by its first bytes, not by the name of the file.

    Args:
        path: The file.
        max_bytes: The most bytes that may be unpacked.

    Yields:
        Chunks of at most CHUNK_BYTES.

    Raises:
        BadFeed: TOO_LARGE past `max_bytes`, past MAX_UNPACK_RATIO or for a third layer;
            TRUNCATED or BROKEN for damaged gzip.
    """
    total = 0
    with path.open("rb") as packed:
        file: io.BufferedReader | gzip.GzipFile = packed
        try:
            for _ in range(2):
                if file.peek(2)[:2] == _GZIP_MAGIC:
                    file = gzip.GzipFile(fileobj=file, mode="rb")
            if file is not packed and file.peek(2)[:2] == _GZIP_MAGIC:
                raise BadFeed(
                    FeedReason.TOO_LARGE, "gzip within gzip within gzip; wanted at most two layers"
                )
            while chunk := file.read(CHUNK_BYTES):
                total += len(chunk)
                _check_size(total, packed.tell(), max_bytes)
                yield chunk
        except EOFError as error:
            raise BadFeed(
                FeedReason.TRUNCATED, f"gzip ends early, after {total:,} bytes unpacked"
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadFeed(
                FeedReason.BROKEN, f"bad gzip after {total:,} bytes unpacked: {error}"
            ) from error


def _check_size(unpacked_bytes: int, packed_bytes: int, max_bytes: int) -> None:
    """Raise BadFeed (TOO_LARGE) past either limit."""
    if unpacked_bytes > max_bytes:
        raise BadFeed(FeedReason.TOO_LARGE, f"unpacked more than max_feed_bytes = {max_bytes:,}")
    if unpacked_bytes > RATIO_EXEMPT_BYTES and unpacked_bytes > MAX_UNPACK_RATIO * packed_bytes:
        raise BadFeed(
            FeedReason.TOO_LARGE,
            f"unpacks to more than {MAX_UNPACK_RATIO} times its size, as a gzip bomb does",
        )
