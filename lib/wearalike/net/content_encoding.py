"""Undo content encodings that a server applied unasked, without unpacking a bomb.

A picture is asked for as it is. Some servers and CDNs pack it all the same and say so in the header
Content-Encoding, as HTTP allows them to.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

# Several encodings of one body; nobody needs more.
_MAX_ENCODINGS = 3
_CHUNK_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_NAMES = ("gzip", "x-gzip")
# Encodings that Arrow reads as a stream, by their names there.
_ARROW_CODECS = {**dict.fromkeys(_GZIP_NAMES, "gzip"), "br": "brotli", "zstd": "zstd"}
# First bytes of pictures and of XML: such a body is not packed, whatever its header says.
_PLAIN_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x1cftyp"),
    *(b"<", b"\xef\xbb\xbf<"),
)


class TooMuchContent(ValueError):
    """A body that unpacks to more bytes than allowed."""


class BrokenContent(ValueError):
    """A body that is not of the encoding that its header names."""


def undo_content_encoding(content: bytes, header: str, max_bytes: int) -> bytes:
    """Return a body as it was before its server packed it.

    A body of gzip without a header is unpacked, too.

    Args:
        content: The body as it came.
        header: Content-Encoding; "" if there is none.
        max_bytes: The most bytes to unpack.

    Raises:
        TooMuchContent: It unpacks to more.
        BrokenContent: It is cut off or damaged, or the encoding is not known.
    """
    names = _encoding_names(header)
    if not names and content.startswith(_GZIP_MAGIC):
        names = ["gzip"]
    for name in names:
        if not content.startswith(_PLAIN_STARTS):
            content = b"".join(_iter_unpacked(pa.BufferReader(content), name, max_bytes))
    return content


def undo_file_encoding(path: Path, header: str, max_bytes: int) -> None:
    """Unpack a file in place; gzip is left to its reader, which knows it by its first bytes.

    Args:
        path: The body as it came.
        header: Content-Encoding; "" if there is none.
        max_bytes: The most bytes to unpack.

    Raises:
        TooMuchContent: It unpacks to more.
        BrokenContent: It is cut off or damaged, or the encoding is not known.
    """
    for name in _encoding_names(header):
        with path.open("rb") as file:
            is_plain = file.read(len(max(_PLAIN_STARTS, key=len))).startswith(_PLAIN_STARTS)
        if name in _GZIP_NAMES or is_plain:
            return
        unpacked_path = path.with_name(f"{path.name}.unpacked")
        try:
            with pa.OSFile(str(path)) as packed, unpacked_path.open("wb") as unpacked:
                unpacked.writelines(_iter_unpacked(packed, name, max_bytes))
            os.replace(unpacked_path, path)
        finally:
            unpacked_path.unlink(missing_ok=True)


def _encoding_names(header: str) -> list[str]:
    """Return the names of a body's encodings, the last applied first."""
    names = [name.strip().lower() for name in header.split(",")]
    return [name for name in reversed(names) if name not in ("", "identity")][:_MAX_ENCODINGS]


def _iter_unpacked(packed: pa.NativeFile, name: str, max_bytes: int) -> Iterator[bytes]:
    """Yield a body without one encoding, in chunks."""
    if name not in (*_ARROW_CODECS, "deflate"):
        raise BrokenContent(f"content encoding {name[:40]!r}, and nobody asked for one")
    if name == "deflate":
        chunks = _iter_inflated(packed)
    else:
        stream = pa.CompressedInputStream(packed, _ARROW_CODECS[name])
        chunks = iter(lambda: stream.read(_CHUNK_BYTES), b"")
    total = 0
    try:
        for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise TooMuchContent(f"unpacks to more than {max_bytes:,} bytes")
            yield chunk
    except (OSError, zlib.error) as error:
        raise BrokenContent(f"content encoding {name}: {error}") from error


def _iter_inflated(packed: pa.NativeFile) -> Iterator[bytes]:
    """Yield a body without deflate, which servers send with zlib's frame or without."""
    head = packed.read(2)
    # A frame of zlib begins with a multiple of 31 whose low half byte is 8 (RFC 1950).
    is_framed = len(head) == 2 and head[0] & 15 == 8 and int.from_bytes(head, "big") % 31 == 0
    inflater = zlib.decompressobj(zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS)
    rest = head
    while not inflater.eof:
        rest = rest or packed.read(_CHUNK_BYTES)
        if not rest:
            raise BrokenContent("content encoding deflate: ends early")
        yield inflater.decompress(rest, _CHUNK_BYTES)
        rest = inflater.unconsumed_tail
