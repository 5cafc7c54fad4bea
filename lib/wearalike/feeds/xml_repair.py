"""Repair XML text that would stop a parser.

Repaired are bare `&`, `<` and `]]>`, HTML's entities and unclosed tags, and control characters.
Processing instructions are dropped: no dialect uses one, and they would split the text of an
element.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from html.entities import html5

import numpy as np
from numpy.typing import NDArray

from wearalike.feeds.errors import FeedWarning

# A longer text is cut. libxml2 gives up the whole file at a text of 10 MB.
MAX_TEXT_BYTES = 1 << 20

_XML_ENTITIES = ("amp;", "lt;", "gt;", "quot;", "apos;")
_CONTROL_BYTES = bytes(c for c in range(32) if c not in b"\t\n\r")
_CDATA = b"<![CDATA["
_COMMENT = b"<!--"
_INSTRUCTION = b"<?"
_SECTION_ENDS = {_CDATA: b"]]>", _COMMENT: b"-->", _INSTRUCTION: b"?>"}
# A name begins with a letter: "<?" alone is text.
_SECTION_START = re.compile(rb"<!\[CDATA\[|<!--|<\?(?=[A-Za-z_:])")
# Characters that XML 1.0 forbids, and two of them (U+FFFE, U+FFFF) in UTF-8.
_FORBIDDEN_CHARS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NONCHARACTER = re.compile(rb"\xef\xbf[\xbe\xbf]")
_SUSPECT_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)")
# A "<" that begins no tag, comment or CDATA section, and the end of no CDATA section. Any byte
# beyond ASCII may begin a name.
_BARE_MARKUP = re.compile(rb"<(?!/?[A-Za-z_:\x80-\xff]|!--|!\[CDATA\[)|\]\]>")
_ESCAPED_MARKUP = {b"<": b"&lt;", b"]]>": b"]]&gt;"}
# Tags that HTML never closes. An <img> without src is an element of a feed.
_VOID_TAG = re.compile(
    rb"<(/?)((?:(?:br|hr|wbr)(?=[\s/>])|img\s[^<>]*?\bsrc\s*=)[^<>]*?)\s*/?>(?!\s*</img)",
    re.IGNORECASE,
)
# The bytes that begin the name of a tag, but for the first letters of those.
_PLAIN_NAME = re.compile(rb"[ac-gj-vx-zAC-GJ-VX-Z_:\x80-\xff]")
_PLAIN_NAME_START = np.array([bool(_PLAIN_NAME.match(bytes([byte]))) for byte in range(256)])
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
        # Inside a CDATA section, a comment or an instruction: its closing bytes, the bytes it has
        # had so far, and whether its rest is being dropped.
        self._section_end = b""
        self._section_bytes = 0
        self._is_cut = False
        # Ends of CDATA sections that stood in other ones.
        self._surplus_ends = 0

    def sanitize(self, block: bytes) -> bytes:
        """Return the next block of the document, repaired."""
        is_long = bool(self._section_end) and self._section_bytes > MAX_TEXT_BYTES
        suspects = _find_suspect_tags(block)
        sections = [(0, len(block), b"", 0)]
        if self._section_end or len(suspects):
            sections = list(self._split_sections(block))
        if not is_long and self._is_clean(block, sections, suspects):
            return block
        return b"".join(
            self._sanitize_part(block[start:end], section_end, bytes_before)
            for start, end, section_end, bytes_before in sections
        )

    def _is_clean(
        self,
        block: bytes,
        sections: list[tuple[int, int, bytes, int]],
        suspects: NDArray[np.int64],
    ) -> bool:
        """Return True if the block needs no repair; most blocks do not."""
        if _SUSPECT_AMPERSAND.search(block) or _NONCHARACTER.search(block):
            return False
        if len(block.translate(None, _CONTROL_BYTES)) < len(block):
            return False
        for start, end, section_end, _ in sections:
            if not section_end:
                if block.find(b"]]>", start, end) >= 0:
                    return False
                continue
            is_instruction = section_end == _SECTION_ENDS[_INSTRUCTION]
            if is_instruction or block.find(_CDATA, start + 1, end) >= 0:
                return False
        if len(suspects):
            starts = [start for start, *_ in sections]
            is_text = np.array([not section_end for _, _, section_end, _ in sections])
            suspects = suspects[is_text[np.searchsorted(starts, suspects, side="right") - 1]]
        return not any(
            _BARE_MARKUP.match(block, at) or _VOID_TAG.match(block, at) for at in suspects.tolist()
        )

    def _split_sections(self, block: bytes) -> Iterator[tuple[int, int, bytes, int]]:
        """Yield (start, end, section_end, bytes_before) for each part of the block.

        section_end closes its CDATA section, comment or instruction; it is empty for other text.
        bytes_before counts the bytes that the section had in earlier blocks.
        """
        start = 0
        while start < len(block):
            searched = start
            if not self._section_end:
                opening = _SECTION_START.search(block, start)
                end = opening.start() if opening else len(block)
                yield start, end, b"", 0
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
            section_end = self._section_end
            if closing >= 0:
                self._section_end = b""
            yield start, end, section_end, bytes_before
            start = end

    def _sanitize_part(self, part: bytes, section_end: bytes, bytes_before: int) -> bytes:
        """Return a part of a block, repaired; an instruction is dropped."""
        if not section_end:
            return self._sanitize_text(part)
        if section_end == _SECTION_ENDS[_INSTRUCTION]:
            if part.endswith(section_end):
                self._warning_counts[FeedWarning.INSTRUCTION] += 1
            return b""
        return self._sanitize_literal(part, section_end, bytes_before)

    def _sanitize_literal(self, part: bytes, section_end: bytes, bytes_before: int) -> bytes:
        """Return a part of a CDATA section or comment; drop it if the section is too long."""
        if bytes_before <= MAX_TEXT_BYTES:
            self._is_cut = False
            if section_end == _SECTION_ENDS[_CDATA]:
                part = self._merge_nested(part, 0 if bytes_before else len(_CDATA))
            return self._strip_forbidden(part.decode()).encode()
        self._warning_counts[FeedWarning.LONG_TEXT] += not self._is_cut
        self._is_cut = True
        return section_end if part.endswith(section_end) else b""

    def _merge_nested(self, part: bytes, start: int) -> bytes:
        """Return a part of a CDATA section without the openings of sections within it."""
        if nested_count := part.count(_CDATA, start):
            self._warning_counts[FeedWarning.BARE_MARKUP] += nested_count
            self._surplus_ends += nested_count
            return part[:start] + part[start:].replace(_CDATA, b"")
        return part

    def _sanitize_text(self, part: bytes) -> bytes:
        """Return tags and text with valid characters and references only."""
        part = _BARE_MARKUP.sub(self._escape_markup, part)
        part = _VOID_TAG.sub(self._close_void_tag, part)
        text = self._strip_forbidden(part.decode())
        return _AMPERSAND.sub(self._replace_reference, text).encode()

    def _escape_markup(self, match: re.Match[bytes]) -> bytes:
        """Return the text that the shop meant; nothing for the end of a section in a section."""
        if match[0] == _SECTION_ENDS[_CDATA] and self._surplus_ends:
            self._surplus_ends -= 1
            return b""
        self._warning_counts[FeedWarning.BARE_MARKUP] += 1
        return _ESCAPED_MARKUP[match[0]]

    def _close_void_tag(self, match: re.Match[bytes]) -> bytes:
        """Return a tag that HTML never closes as an empty element; drop its closing tag."""
        is_end, content = match.groups()
        if not is_end and match[0].endswith(b"/>"):
            return match[0]
        self._warning_counts[FeedWarning.HTML_TAG] += 1
        return b"" if is_end else b"<%b/>" % content

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


def _find_suspect_tags(block: bytes) -> NDArray[np.int64]:
    """Return where a "<" begins no tag, or one that HTML may leave open, int64 (n,).

    A pattern would ask each tag by itself, which takes as long as parsing it.
    """
    padded = np.frombuffer(block + b"\0\0", np.uint8)
    tags = np.flatnonzero(padded == ord("<"))
    after = padded[tags + 1]
    after = np.where(after == ord("/"), padded[tags + 2], after)
    return tags[~_PLAIN_NAME_START[after]]


def _is_xml_char(code: int) -> bool:
    """Return True for a code point that XML 1.0 allows (its production Char)."""
    return (
        code in (9, 10, 13)
        or 0x20 <= code < 0xD800
        or 0xE000 <= code < 0xFFFE
        or 0x10000 <= code < 0x110000
    )
