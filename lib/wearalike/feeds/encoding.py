"""Detect the encoding of a feed and turn its bytes into UTF-8, whatever it declares."""

from __future__ import annotations

import codecs
import re
from collections import Counter

from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning

# The marks of UTF-32 come first: the mark of UTF-16 is the beginning of one of them.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ENCODING_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)""")
_SINGLE_BYTE_CODECS = re.compile(r"cp\d+|iso8859-\d+|koi8-\w|mac-\w+|tis-620|ptcp154|kz1048")
# Bytes that are no UTF-8, as Python's "surrogateescape" shows them.
_STRAY_BYTES = re.compile("[\udc80-\udcff]+")


class FeedDecoder:
    """Decodes the bytes of one feed.

    The byte order mark decides the encoding, then the XML declaration, then HTTP's charset, then
    UTF-8. Bytes that contradict it are read as what they are, and counted as warnings.

    Attributes:
        encoding: "utf-8", or the single-byte encoding that the feed declares. Known after `begin`.
    """

    def __init__(self, charset: str | None, warning_counts: Counter[FeedWarning]) -> None:
        """Prepare to decode.

        Args:
            charset: The charset of the HTTP answer, if it named one.
            warning_counts: Counts the repairs; this class adds to it.
        """
        self.encoding = "utf-8"
        self._charset = charset
        self._warning_counts = warning_counts
        self._wide_decoder: codecs.IncrementalDecoder | None = None

    def begin(self, head: bytes) -> bytes:
        """Detect the encoding from the first bytes of a feed.

        Args:
            head: The first bytes, byte order mark and XML declaration included.

        Returns:
            The head without its mark, in an encoding that contains ASCII. UTF-16 and UTF-32 become
            UTF-8; pass each later chunk through `narrow`.

        Raises:
            BadFeed: BAD_ENCODING for an encoding that is not read.
        """
        mark, marked_name = next(
            ((mark, name) for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), (b"", "")
        )
        declared = _ENCODING_DECLARATION.match(head)
        declared_name = declared[1].decode() if declared else ""
        wanted = marked_name or declared_name or self._charset or "utf-8"
        name = _codec_name(wanted)
        if mark and name in ("utf-16", "utf-32"):
            self._wide_decoder = codecs.getincrementaldecoder(name)("replace")
            return self.narrow(head).removeprefix(codecs.BOM_UTF8)
        if name.startswith(("utf-16", "utf-32")):
            # We could read the declaration as ASCII, so it is wrong.
            name = "utf-8"
            self._warning_counts[FeedWarning.ENCODING] = 1
        if name == "ascii":
            name = "utf-8"
        if name != "utf-8" and not _SINGLE_BYTE_CODECS.fullmatch(name):
            raise BadFeed(
                FeedReason.BAD_ENCODING,
                f"{wanted!r}; wanted UTF-8, UTF-16 with its mark, "
                "or a single-byte one as windows-1251",
            )
        self.encoding = name
        return head.removeprefix(codecs.BOM_UTF8)

    def narrow(self, chunk: bytes) -> bytes:
        """Return a chunk of UTF-16 or UTF-32 as UTF-8, and any other chunk unchanged."""
        return self._wide_decoder.decode(chunk).encode() if self._wide_decoder else chunk

    def to_utf8(self, block: bytes) -> bytes:
        """Return a block in UTF-8, whatever encoding was declared.

        A block that is valid UTF-8 is UTF-8: single-byte Russian text never is.

        Args:
            block: Bytes cut between characters.

        Returns:
            UTF-8.
        """
        try:
            block.decode()
        except UnicodeDecodeError:
            return self._repair(block)
        if self.encoding != "utf-8" and not block.isascii():
            self._warning_counts[FeedWarning.ENCODING] = 1
        return block

    def _repair(self, block: bytes) -> bytes:
        """Return a block in UTF-8 that is single-byte, or UTF-8 with stray single bytes."""
        single = "cp1251" if self.encoding == "utf-8" else self.encoding
        text = block.decode("utf-8", "surrogateescape")
        stray_count = sum(map(len, _STRAY_BYTES.findall(text)))
        valid_count = len(text) - len(text.encode("ascii", "ignore")) - stray_count

        def decode_stray(match: re.Match[str]) -> str:
            return match[0].encode("utf-8", "surrogateescape").decode(single, "replace")

        if stray_count < valid_count:
            self._warning_counts[FeedWarning.STRAY_BYTES] += stray_count
            return _STRAY_BYTES.sub(decode_stray, text).encode()
        if self.encoding == "utf-8":
            self._warning_counts[FeedWarning.ENCODING] = 1
        return block.decode(single, "replace").encode()


def _codec_name(name: str) -> str:
    """Return Python's name of an encoding, or "" for an unknown one."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ""
