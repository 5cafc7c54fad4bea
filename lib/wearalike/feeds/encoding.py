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
_ENCODING_DECLARATION = re.compile(
    rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)'|([\w.:-]+))""", re.IGNORECASE
)
# Codecs in which a byte below 128 that markup uses is never a part of another character.
_ASCII_CODECS = re.compile(
    r"cp\d+|iso8859-\d+|koi8-\w|mac-\w+|tis-620|ptcp154|kz1048"
    r"|gbk|gb2312|gb18030|big5|big5hkscs|euc_jp|euc_kr|shift_jis"
)
# Names that shops write and Python does not know, without anything but letters and digits.
_NICKNAMES = {
    **dict.fromkeys(("utf8mb4", "utf8bom", "utf8withoutbom", "unicode", "unicodeutf8"), "utf-8"),
    **dict.fromkeys(("ansi", "cyrillic", "windowscyrillic", "win", "windows"), "cp1251"),
    "xsjis": "shift_jis",
    "latin": "iso8859-1",
}
_CODE_PAGE = re.compile(
    r"x?(?:cp|win|windows|ansi|ms|dos|ibm)?(125[0-8]|866|437|850|852|855|932|949)"
)
_NUMBERED_CODEC = re.compile(r"(iso8859|koi8|utf)([0-9]{1,2}|[rut])")
# Characters before the declaration that say nothing: white space, marks without width, byte order
# marks in UTF-8, NUL.
_LEADING_CHARACTERS = re.compile(
    rb"(?:[ \t\r\n\x0b\x0c\0]|\xc2[\x85\xa0]|\xef\xbb\xbf"
    rb"|\xe2\x80[\x8b-\x8f\xa8\xa9\xaf]|\xe2\x81\xa0"
    rb"|[\xa0](?=\s*<)){1,1000}"
)
_EXPECTED_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
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
        self._unread_name = ""
        self._wide_decoder: codecs.IncrementalDecoder | None = None

    def begin(self, head: bytes) -> bytes:
        """Detect the encoding from the first bytes of a feed.

        Args:
            head: The first bytes, byte order mark and XML declaration included.

        Returns:
            The head without its mark, in an encoding that contains ASCII. UTF-16 and UTF-32 become
            UTF-8; pass each later chunk through `narrow`.

        """
        marked_name = next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), "")
        if marked_name in ("utf-16", "utf-32"):
            self._wide_decoder = codecs.getincrementaldecoder(marked_name)("replace")
            return self._drop_leading(self.narrow(head))
        if unmarked := _detect_wide(head):
            self._wide_decoder = codecs.getincrementaldecoder(unmarked)("replace")
            return self._drop_leading(self.narrow(head))
        head = self._drop_leading(head)
        declared = _ENCODING_DECLARATION.match(head)
        declared_name = (
            next(filter(None, declared.groups()), b"").decode("latin-1") if declared else ""
        )
        wanted = marked_name or declared_name or self._charset or "utf-8"
        name = _codec_name(wanted)
        if not name and not marked_name and self._charset:
            name = _codec_name(self._charset)
        if name.startswith(("utf-16", "utf-32")):
            # We could read the declaration as ASCII, so it is wrong.
            name = "utf-8"
            self._warning_counts[FeedWarning.ENCODING] = 1
        if name == "ascii":
            name = "utf-8"
        if name != "utf-8" and not _ASCII_CODECS.fullmatch(name):
            # Most such feeds are UTF-8. The first bytes that are not refuse the feed.
            self._unread_name = wanted
            self._warning_counts[FeedWarning.ENCODING] = 1
            name = "utf-8"
        self.encoding = name
        return head

    def _drop_leading(self, head: bytes) -> bytes:
        """Return the head from the declaration or the root on, with the new lines before it."""
        leading = _LEADING_CHARACTERS.match(head)
        if not leading:
            return head
        if not _EXPECTED_START.fullmatch(leading[0]):
            self._warning_counts[FeedWarning.LEADING_CHARACTERS] += 1
        return b"\n" * leading[0].count(b"\n") + head[leading.end() :]

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

        Raises:
            BadFeed: BAD_ENCODING if the feed declares an encoding that is not read, and the bytes
                are not UTF-8.
        """
        try:
            block.decode()
        except UnicodeDecodeError:
            return self._repair(block)
        if self.encoding != "utf-8" and not block.isascii():
            self._warning_counts[FeedWarning.ENCODING] = 1
        return block

    def _repair(self, block: bytes) -> bytes:
        """Return a block in UTF-8 that is single-byte, or UTF-8 with stray single bytes.

        Raise BadFeed (BAD_ENCODING) if the feed declares an encoding that is not read.
        """
        if self._unread_name:
            raise BadFeed(
                FeedReason.BAD_ENCODING,
                f"{self._unread_name[:80]!r}, and the bytes are no UTF-8; wanted UTF-8, UTF-16 or "
                "an encoding as windows-1251 that contains ASCII",
            )
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


def _detect_wide(head: bytes) -> str:
    """Return UTF-16 or UTF-32 with its order for a feed that begins "<" in it without a mark."""
    patterns = {
        b"<\0\0\0": "utf-32-le",
        b"\0\0\0<": "utf-32-be",
        b"<\0": "utf-16-le",
        b"\0<\0": "utf-16-be",
    }
    return next((name for start, name in patterns.items() if head.startswith(start)), "")


def _codec_name(name: str) -> str:
    """Return Python's name of an encoding as shops write it, or "" for an unknown one."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    page = _CODE_PAGE.fullmatch(key)
    part = _NUMBERED_CODEC.fullmatch(key)
    known = f"cp{page[1]}" if page else _NICKNAMES.get(key, name)
    if part:
        known = f"{part[1]}-{part[2]}"
    for spelling in (known, key):
        try:
            return codecs.lookup(spelling).name
        except (LookupError, ValueError):  # the latter for a NUL
            continue
    return ""
