"""Repair XML text that would stop a parser: bare ampersands, HTML entities, control characters."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from html.entities import html5

from wearalike.feeds.errors import FeedWarning

# A longer text is cut. libxml2 gives up the whole file at a text of 10 MB.
MAX_TEXT_BYTES = 1 << 20

_XML_ENTITIES = ("amp;", "lt;", "gt;", "quot;", "apos;")
_CONTROL_BYTES = bytes(c for c in range(32) if c not in b"\t\n\r")
_SECTION_ENDS = {b"<![CDATA[": b"]]>", b"<!--": b"-->"}
_SECTION_START = re.compile(rb"<!(?:\[CDATA\[|--)")
# Characters that XML 1.0 forbids, and two of them (U+FFFE, U+FFFF) in UTF-8.
_FORBIDDEN_CHARS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NONCHARACTER = re.compile(rb"\xef\xbf[\xbe\xbf]")
_SUSPECT_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)")
_AMPERSAND = re.compile(r"&(#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{0,31};)?")


class XmlSanitizer:
    """Repairs the consecutive blocks of one XML document.

    The blocks are UTF-8, and each is cut before a "<". So no tag or entity is split between two.
    """

    def __init__(self, warning_counts: Counter[FeedWarning]) -> None:
        """Prepare to repair.

        Args:
            warning_counts: Counts the repairs; this class adds to it.
        """
        self._warning_counts = warning_counts
        # Inside a CDATA section or a comment: its closing bytes, the bytes it has had so far, and
        # whether its rest is being dropped.
        self._section_end = b""
        self._section_bytes = 0
        self._is_cut = False

    def sanitize(self, block: bytes) -> bytes:
        """Return the next block of the document, repaired."""
        sections = self._split_sections(block)
        if self._is_clean(block):
            for _ in sections:  # keeps track of open sections
                pass
            return block
        return b"".join(
            self._sanitize_text(block[start:end])
            if bytes_before is None
            else self._sanitize_literal(block[start:end], bytes_before)
            for start, end, bytes_before in sections
        )

    def _is_clean(self, block: bytes) -> bool:
        """Return True if the block needs no repair; most blocks do not."""
        if self._section_end and self._section_bytes > MAX_TEXT_BYTES:
            return False
        if _SUSPECT_AMPERSAND.search(block) or _NONCHARACTER.search(block):
            return False
        return len(block.translate(None, _CONTROL_BYTES)) == len(block)

    def _split_sections(self, block: bytes) -> Iterator[tuple[int, int, int | None]]:
        """Yield (start, end, bytes_before) for each part of the block.

        bytes_before counts the bytes its CDATA section or comment had in earlier blocks. It is None
        for other text.
        """
        start = 0
        while start < len(block):
            searched = start
            if not self._section_end:
                opening = _SECTION_START.search(block, start)
                end = opening.start() if opening else len(block)
                yield start, end, None
                if opening is None:
                    return
                start = end
                searched = opening.end()
                self._section_end = _SECTION_ENDS[opening[0]]
                self._section_bytes = 0
            closing = block.find(self._section_end, searched)
            end = len(block) if closing < 0 else closing + len(self._section_end)
            bytes_before = self._section_bytes
            self._section_bytes += end - start
            yield start, end, bytes_before
            if closing >= 0:
                self._section_end = b""
            start = end

    def _sanitize_literal(self, part: bytes, bytes_before: int) -> bytes:
        """Return a part of a CDATA section or comment; drop it if the section is too long."""
        if bytes_before <= MAX_TEXT_BYTES:
            self._is_cut = False
            return self._strip_forbidden(part.decode()).encode()
        self._warning_counts[FeedWarning.LONG_TEXT] += not self._is_cut
        self._is_cut = True
        return self._section_end if part.endswith(self._section_end) else b""

    def _sanitize_text(self, part: bytes) -> bytes:
        """Return tags and text with valid characters and references only."""
        text = self._strip_forbidden(part.decode())
        return _AMPERSAND.sub(self._replace_reference, text).encode()

    def _strip_forbidden(self, text: str) -> str:
        """Remove the characters that XML forbids."""
        text, count = _FORBIDDEN_CHARS.subn("", text)
        if count:
            self._warning_counts[FeedWarning.CONTROL_CHARACTER] += count
        return text

    def _replace_reference(self, match: re.Match[str]) -> str:
        """Return a reference that XML knows, with the same meaning as the matched one."""
        name = match[1]
        if name is None:
            self._warning_counts[FeedWarning.AMPERSAND] += 1
            return "&amp;"
        if name.startswith("#"):
            code = int(name[2:-1], 16) if name[1] in "xX" else int(name[1:-1])
            if _is_xml_char(code):
                return f"&#{code};"
            self._warning_counts[FeedWarning.CONTROL_CHARACTER] += 1
            return ""
        if name in _XML_ENTITIES:
            return match[0]
        if name in html5:
            self._warning_counts[FeedWarning.ENTITY] += 1
            return html.escape(html5[name])
        self._warning_counts[FeedWarning.AMPERSAND] += 1
        return f"&amp;{name}"


def _is_xml_char(code: int) -> bool:
    """Return True for a code point that XML 1.0 allows (its production Char)."""
    return (
        code in (9, 10, 13)
        or 0x20 <= code < 0xD800
        or 0xE000 <= code < 0xFFFE
        or 0x10000 <= code < 0x110000
    )
