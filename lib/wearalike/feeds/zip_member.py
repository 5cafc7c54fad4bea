"""Open the one feed in a zip archive; its name, and every other promise of it, is ignored."""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO

from wearalike.feeds.errors import BadFeed, FeedReason

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
# The list of members is read at once. An archive of one feed has some hundred bytes of it.
MAX_DIRECTORY_BYTES = 1 << 20
_END_RECORD = struct.Struct("<4s4H2LH")
_MAX_COMMENT_BYTES = 1 << 16
_METHODS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
)
_IS_ENCRYPTED = 1
# Damaged archives cause these. A name that claims UTF-8 and is not causes a ValueError.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    OverflowError,
    ValueError,
    struct.error,
)
# Folders, and what the systems of Apple and Windows add.
_NO_FEED_NAMES = ("__MACOSX/", ".DS_Store", "Thumbs.db")


def open_zip_member(file: BinaryIO) -> tuple[zipfile.ZipExtFile, int]:
    """Open the only file in an archive.

    Args:
        file: The archive.

    Returns:
        (member, packed_bytes): the file to read, and its packed size.

    Raises:
        BadFeed: ARCHIVE if it holds no file, several, an encrypted one, or one of a packing that is
            not read; TRUNCATED or BROKEN for a damaged archive.
    """
    _check_directory(file)
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise BadFeed(FeedReason.BROKEN, f"bad zip: {error}") from error
    members = [info for info in archive.infolist() if _may_be_feed(info)]
    if len(members) != 1:
        shown = ", ".join(repr(info.filename[:40]) for info in members[:5]) or "none"
        raise BadFeed(
            FeedReason.ARCHIVE, f"{len(members)} files in the zip ({shown}); wanted one feed"
        )
    (info,) = members
    if info.flag_bits & _IS_ENCRYPTED:
        raise BadFeed(FeedReason.ARCHIVE, "the file in the zip is encrypted; wanted a plain one")
    if info.compress_type not in _METHODS:
        raise BadFeed(FeedReason.ARCHIVE, f"packed by method {info.compress_type}; wanted deflate")
    try:
        return archive.open(info), info.compress_size  # type: ignore[return-value]
    except _ZIP_ERRORS as error:
        raise BadFeed(FeedReason.BROKEN, f"bad zip: {error}") from error


def _may_be_feed(info: zipfile.ZipInfo) -> bool:
    """Tell if a member is a file, and none that a system adds by itself."""
    return not info.is_dir() and not any(name in info.filename for name in _NO_FEED_NAMES)


def _check_directory(file: BinaryIO) -> None:
    """Raise BadFeed if the archive has no end, or a list of members that would fill memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_RECORD.size - _MAX_COMMENT_BYTES))
    tail = file.read()
    file.seek(0)
    start = tail.rfind(b"PK\x05\x06")
    if start < 0 or len(tail) - start < _END_RECORD.size:
        raise BadFeed(FeedReason.TRUNCATED, f"zip of {size:,} bytes without its end")
    directory_bytes = _END_RECORD.unpack_from(tail, start)[5]
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise BadFeed(
            FeedReason.ARCHIVE,
            f"{directory_bytes:,} bytes name the files in the zip; wanted one feed",
        )
