"""Turn the bytes of a feed into blocks of well-formed UTF-8 while they stream by.

One unescaped "H&M", one &nbsp; or one control character stops an XML parser for the whole file. An
entity below a DOCTYPE vanishes silently. So the text is repaired before the parser sees it, each
repair is counted, and no text is lost. The DOCTYPE and the XML declaration are dropped: the parser
never sees a DTD.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wearalike.feeds.encoding import FeedDecoder
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.unpack import CHUNK_BYTES, unpack_chunks
from wearalike.feeds.xml_repair import MAX_TEXT_BYTES, XmlSanitizer

# The prolog (declaration, DOCTYPE, comments) must end within so many bytes.
MAX_PROLOG_BYTES = 1 << 16

_QUOTED_LITERAL = rb"""(?:"[^"]*"|'[^']*')"""
_DOCTYPE = rb"(?i:<!DOCTYPE\s+[\w:.-]+(?:\s+(?:PUBLIC\s+%b\s+%b|SYSTEM\s+%b))?)\s*>" % (
    (_QUOTED_LITERAL,) * 3
)
_PROLOG = re.compile(rb"\s*(?:(?:<\?.*?\?>|<!--.*?-->|%b)\s*)*" % _DOCTYPE, re.DOTALL)
_HTML_START = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_ROOT_START = re.compile(rb"<[^\s!?/<>&]")


class SanitizedFeed:
    """A feed file as blocks of repaired UTF-8; the first starts at the root element.

    It can be iterated once.
    """

    def __init__(
        self, path: Path, max_bytes: int, charset: str | None, warning_counts: Counter[FeedWarning]
    ) -> None:
        """Open a feed; nothing is read before the iteration.

        Args:
            path: The file, gzip or not.
            max_bytes: The most bytes it may unpack to.
            charset: The charset of the HTTP answer, if it named one.
            warning_counts: Counts the repairs; this class adds to it.
        """
        self._chunks = unpack_chunks(path, max_bytes)
        self._decoder = FeedDecoder(charset, warning_counts)
        self._sanitizer = XmlSanitizer(warning_counts)
        self._warning_counts = warning_counts

    @property
    def encoding(self) -> str:
        """The encoding of the feed, as FeedDecoder.encoding; known after the first block."""
        return self._decoder.encoding

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks.

        Raises:
            BadFeed: The file cannot be unpacked or decoded, or it is not an XML feed.
        """
        unread = self._read_root_block()
        is_cut = False
        for chunk in self._chunks:
            unread += self._decoder.narrow(chunk)
            cut = unread.rfind(b"<")
            if cut > 0:
                yield self._sanitize(unread[:cut])
                unread = unread[cut:]
                is_cut = False
            elif len(unread) > MAX_TEXT_BYTES + CHUNK_BYTES:
                # An endless text: keep its head, and two bytes that may begin the "]]>" of a CDATA.
                self._warning_counts[FeedWarning.LONG_TEXT] += not is_cut
                unread = unread[:MAX_TEXT_BYTES] + unread[-2:]
                is_cut = True
        yield self._sanitize(unread)

    def _sanitize(self, block: bytes) -> bytes:
        """Return a block decoded and repaired."""
        return self._sanitizer.sanitize(self._decoder.to_utf8(block))

    def _read_root_block(self) -> bytes:
        """Return the first bytes from the root element on.

        They begin with as many new lines as the prolog had, so that errors name the right line.
        """
        head = self._decoder.begin(self._read_head())
        end = _PROLOG.match(head).end()  # type: ignore[union-attr]  # it matches the empty text too
        prolog = head[:end]
        rest = head[end:]
        if not rest:
            raise BadFeed(FeedReason.EMPTY, f"{len(head)} bytes and no element; wanted an XML feed")
        start = repr(rest[:60].decode("utf-8", "replace"))
        if _HTML_START.match(rest):
            raise BadFeed(FeedReason.HTML_PAGE, f"begins {start}; wanted an XML feed")
        if rest[:9].upper() == b"<!DOCTYPE":
            raise BadFeed(
                FeedReason.ENTITIES, f"{start}: wanted a DOCTYPE without internal subset, or none"
            )
        if not _ROOT_START.match(rest):
            raise BadFeed(FeedReason.NOT_XML, f"begins {start}; wanted an XML feed")
        return b"\n" * prolog.count(b"\n") + rest

    def _read_head(self) -> bytes:
        """Return the first chunks, at least MAX_PROLOG_BYTES of a file that has so many."""
        head = b""
        while len(head) < MAX_PROLOG_BYTES and (chunk := next(self._chunks, b"")):
            head += chunk
        return head
