"""A feed's bytes to blocks of well-formed UTF-8: unpacked, decoded and mended while they stream by.

One unescaped "H&M", one &nbsp; or one control character stops an XML parser for the whole file, and an entity
under a DOCTYPE vanishes without a word. So the text is mended before the parser sees it, each repair is counted,
and nothing of the text is lost. DOCTYPE and XML declaration are dropped: the parser never sees a DTD.
"""

from __future__ import annotations

import codecs
import gzip
import html
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from html.entities import html5
from pathlib import Path

CHUNK_BYTES = 1 << 18
# Of one text, more than this is cut. libxml2 gives the file up at 10 MB.
MAX_TEXT_BYTES = 1 << 20
MAX_PROLOG_BYTES = 1 << 16
# Unpacked to packed. Feeds of alike offers reach 60; a bomb has 1,000 a layer.
MAX_UNPACK_RATIO = 300
RATIO_EXEMPT_BYTES = 16 << 20

_GZIP_MAGIC = b"\x1f\x8b"
_XML_ENTITIES = ("amp;", "lt;", "gt;", "quot;", "apos;")
_CONTROL_BYTES = bytes(c for c in range(32) if c not in b"\t\n\r")
_SECTION_ENDS = {b"<![CDATA[": b"]]>", b"<!--": b"-->"}
_SECTION_START = re.compile(rb"<!(?:\[CDATA\[|--)")
_FORBIDDEN_CHARS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NONCHARACTER = re.compile(rb"\xef\xbf[\xbe\xbf]")
_SUSPECT_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)")
_AMPERSAND = re.compile(r"&(#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{0,31};)?")
_STRAY_BYTES = re.compile("[\udc80-\udcff]+")
_ENCODING_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)""")
_SINGLE_BYTE_CODECS = re.compile(r"cp\d+|iso8859-\d+|koi8-\w|mac-\w+|tis-620|ptcp154|kz1048")
_QUOTED_LITERAL = rb"""(?:"[^"]*"|'[^']*')"""
_DOCTYPE = rb"<!DOCTYPE\s+[\w:.-]+(?:\s+(?:PUBLIC\s+%b\s+%b|SYSTEM\s+%b))?\s*>" % (
    (_QUOTED_LITERAL,) * 3
)
_PROLOG = re.compile(rb"\s*(?:(?:<\?.*?\?>|<!--.*?-->|%b)\s*)*" % _DOCTYPE, re.DOTALL)
_HTML_START = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
# UTF-32's first: UTF-16's mark begins like it.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class FeedReason(StrEnum):
    """Why a shop's feed is not used, and its last good offers stay."""

    NOT_FETCHED = "not_fetched"
    CLOSED = "closed"
    EMPTY = "empty"
    HTML_PAGE = "html_page"
    NOT_XML = "not_xml"
    WRONG_ROOT = "wrong_root"
    BROKEN = "broken"
    TRUNCATED = "truncated"
    ENTITIES = "entities"
    TOO_LARGE = "too_large"
    BAD_ENCODING = "bad_encoding"
    TOO_FEW = "too_few"
    TOO_MANY_LOST = "too_many_lost"
    TOO_MANY_NEW = "too_many_new"
    TOO_MANY_UNMAPPED = "too_many_unmapped"


class BadFeed(ValueError):
    """A feed of which no offer may be used."""

    def __init__(self, reason: FeedReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class FeedWarning(StrEnum):
    """What was mended in a feed or one of its offers, and counted as a warning."""

    ENCODING = "encoding"
    STRAY_BYTES = "stray_bytes"
    AMPERSAND = "ampersand"
    ENTITY = "entity"
    CONTROL_CHARACTER = "control_character"
    LONG_TEXT = "long_text"
    MANY_VALUES = "many_values"
    BAD_IMAGE_URL = "bad_image_url"
    BAD_OLD_PRICE = "bad_old_price"
    BAD_RELATED_ID = "bad_related_id"
    NO_CURRENCY = "no_currency"
    UNKNOWN_AVAILABILITY = "unknown_availability"
    UNKNOWN_CATEGORY = "unknown_category"
    MISSING_PARENT = "missing_parent"
    CATEGORY_CYCLE = "category_cycle"


def unpack_chunks(path: Path, max_bytes: int) -> Iterator[bytes]:
    """The file's bytes in chunks, at most two layers of gzip taken off, by magic and not by name.

    Raises BadFeed: TOO_LARGE past max_bytes, past MAX_RATIO or for a third layer; TRUNCATED; BROKEN.
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
                if total > max_bytes:
                    raise BadFeed(
                        FeedReason.TOO_LARGE, f"unpacked more than max_feed_bytes = {max_bytes:,}"
                    )
                if total > RATIO_EXEMPT_BYTES and total > MAX_UNPACK_RATIO * packed.tell():
                    raise BadFeed(
                        FeedReason.TOO_LARGE,
                        f"unpacks to more than {MAX_UNPACK_RATIO} times its size, as a gzip bomb does",
                    )
                yield chunk
        except EOFError as error:
            raise BadFeed(
                FeedReason.TRUNCATED, f"gzip ends early, after {total:,} bytes unpacked"
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadFeed(
                FeedReason.BROKEN, f"bad gzip after {total:,} bytes unpacked: {error}"
            ) from error


class SanitizedFeed:
    """A feed file as blocks of mended UTF-8, the first starting at the root element. Iterable once.

    encoding: "utf-8" or the single-byte encoding declared; the byte order mark, the XML declaration, then `charset`
    (HTTP's) decide. Bytes that tell otherwise are read as what they are, and counted.
    """

    def __init__(
        self, path: Path, max_bytes: int, charset: str | None, warning_counts: Counter[FeedWarning]
    ) -> None:
        self.encoding = "utf-8"
        self._chunks, self._charset, self._warning_counts = (
            unpack_chunks(path, max_bytes),
            charset,
            warning_counts,
        )
        self._sanitizer = XmlSanitizer(warning_counts)

    def __iter__(self) -> Iterator[bytes]:
        held, is_cut = self._read_root_block(), False
        for chunk in self._chunks:
            held += chunk
            cut = held.rfind(b"<")
            if cut > 0:
                yield self._sanitizer.sanitize(self._to_utf8(held[:cut]))
                held, is_cut = held[cut:], False
            elif len(held) > MAX_TEXT_BYTES + CHUNK_BYTES:
                # A text without end: its head is kept, and two bytes that may begin a CDATA's "]]>".
                self._warning_counts[FeedWarning.LONG_TEXT] += not is_cut
                held, is_cut = held[:MAX_TEXT_BYTES] + held[-2:], True
        yield self._sanitizer.sanitize(self._to_utf8(held))

    def _read_root_block(self) -> bytes:
        """The first bytes from the root element on, as many new lines before it as the prolog had. Sets `encoding`."""
        head = self._detect_encoding(self._read_head())
        end = _PROLOG.match(head).end()  # type: ignore[union-attr]  # it matches the empty text too
        prolog, rest = head[:end], head[end:]
        if not rest:
            raise BadFeed(FeedReason.EMPTY, f"{len(head)} bytes and no element; wanted an XML feed")
        if _HTML_START.match(rest):
            raise BadFeed(FeedReason.HTML_PAGE, f"begins {_quote_start(rest)}; wanted an XML feed")
        if rest[:9].upper() == b"<!DOCTYPE":
            raise BadFeed(
                FeedReason.ENTITIES,
                f"{_quote_start(rest)}: wanted a DOCTYPE without internal subset, or none",
            )
        if not re.match(rb"<[^\s!?/<>&]", rest):
            raise BadFeed(FeedReason.NOT_XML, f"begins {_quote_start(rest)}; wanted an XML feed")
        return b"\n" * prolog.count(b"\n") + rest

    def _read_head(self) -> bytes:
        head = b""
        while len(head) < MAX_PROLOG_BYTES and (chunk := next(self._chunks, b"")):
            head += chunk
        return head

    def _detect_encoding(self, head: bytes) -> bytes:
        """The head in an encoding that holds ASCII as ASCII: UTF-16 and UTF-32 become UTF-8, here and in what follows."""
        mark, told = next(
            ((mark, name) for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), (b"", "")
        )
        declared = _ENCODING_DECLARATION.match(head)
        named = told or (declared[1].decode() if declared else "") or self._charset or "utf-8"
        try:
            name = codecs.lookup(named).name
        except LookupError:
            name = ""
        if mark and name in ("utf-16", "utf-32"):
            decoder = codecs.getincrementaldecoder(name)("replace")
            self._chunks = (decoder.decode(chunk).encode() for chunk in self._chunks)
            return decoder.decode(head).encode().removeprefix(codecs.BOM_UTF8)
        if name.startswith(("utf-16", "utf-32")):  # declared in bytes we can read: it is not
            name, self._warning_counts[FeedWarning.ENCODING] = "utf-8", 1
        name = "utf-8" if name == "ascii" else name
        if name != "utf-8" and not _SINGLE_BYTE_CODECS.fullmatch(name):
            raise BadFeed(
                FeedReason.BAD_ENCODING,
                f"{named!r}; wanted UTF-8, UTF-16 with its mark, or a single-byte one as windows-1251",
            )
        self.encoding = name
        return head.removeprefix(codecs.BOM_UTF8)

    def _to_utf8(self, block: bytes) -> bytes:
        """The block in UTF-8, whatever was declared: single-byte Russian is never valid UTF-8, and UTF-8 always is."""
        try:
            block.decode()
        except UnicodeDecodeError:
            return self._repair_encoding(block)
        if self.encoding != "utf-8" and not block.isascii():
            self._warning_counts[FeedWarning.ENCODING] = 1
        return block

    def _repair_encoding(self, block: bytes) -> bytes:
        """A block that is not UTF-8: all of it single-byte, or UTF-8 with stray single bytes."""
        single = "cp1251" if self.encoding == "utf-8" else self.encoding
        text = block.decode("utf-8", "surrogateescape")
        stray = sum(map(len, _STRAY_BYTES.findall(text)))
        valid = len(text) - len(text.encode("ascii", "ignore")) - stray
        if stray < valid:
            self._warning_counts[FeedWarning.STRAY_BYTES] += stray
            return _STRAY_BYTES.sub(
                lambda found: found[0].encode("utf-8", "surrogateescape").decode(single, "replace"),
                text,
            ).encode()
        if self.encoding == "utf-8":
            self._warning_counts[FeedWarning.ENCODING] = 1
        return block.decode(single, "replace").encode()


class XmlSanitizer:
    """Mends UTF-8 blocks of XML that follow each other, each cut before a "<", so that no tag or entity is in two."""

    def __init__(self, warning_counts: Counter[FeedWarning]) -> None:
        self._warning_counts = warning_counts
        # Within a CDATA section or comment: what closes it, its bytes so far, and whether the rest is left out.
        self._section_end = b""
        self._section_bytes = 0
        self._is_cut = False

    def sanitize(self, block: bytes) -> bytes:
        sections = self._split_sections(block)
        if self._is_clean(block):
            for _ in sections:
                pass
            return block
        return b"".join(
            self._sanitize_text(block[at:end])
            if before is None
            else self._sanitize_literal(block[at:end], before)
            for at, end, before in sections
        )

    def _is_clean(self, block: bytes) -> bool:
        if self._section_end and self._section_bytes > MAX_TEXT_BYTES:
            return False
        if _SUSPECT_AMPERSAND.search(block) or _NONCHARACTER.search(block):
            return False
        return len(block.translate(None, _CONTROL_BYTES)) == len(block)

    def _split_sections(self, block: bytes) -> Iterator[tuple[int, int, int | None]]:
        """(at, end, before) of each part of the block. before: the bytes its CDATA or comment had already; None for other text."""
        at = 0
        while at < len(block):
            if not self._section_end:
                opening = _SECTION_START.search(block, at)
                end = opening.start() if opening else len(block)
                yield at, end, None
                if opening is None:
                    return
                at, searched, self._section_end, self._section_bytes = (
                    end,
                    opening.end(),
                    _SECTION_ENDS[opening[0]],
                    0,
                )
            else:
                searched = at
            found = block.find(self._section_end, searched)
            end = len(block) if found < 0 else found + len(self._section_end)
            before, self._section_bytes = self._section_bytes, self._section_bytes + end - at
            yield at, end, before
            if found >= 0:
                self._section_end = b""
            at = end

    def _sanitize_literal(self, part: bytes, before: int) -> bytes:
        if before <= MAX_TEXT_BYTES:
            self._is_cut = False
            return self._strip_forbidden(part.decode()).encode()
        self._warning_counts[FeedWarning.LONG_TEXT] += not self._is_cut
        self._is_cut = True
        return self._section_end if part.endswith(self._section_end) else b""

    def _sanitize_text(self, part: bytes) -> bytes:
        return _AMPERSAND.sub(
            self._replace_reference, self._strip_forbidden(part.decode())
        ).encode()

    def _strip_forbidden(self, text: str) -> str:
        text, count = _FORBIDDEN_CHARS.subn("", text)
        if count:
            self._warning_counts[FeedWarning.CONTROL_CHARACTER] += count
        return text

    def _replace_reference(self, found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            self._warning_counts[FeedWarning.AMPERSAND] += 1
            return "&amp;"
        if name.startswith("#"):
            code = int(name[2:-1], 16) if name[1] in "xX" else int(name[1:-1])
            if (
                code in (9, 10, 13)
                or 0x20 <= code < 0xD800
                or 0xE000 <= code < 0xFFFE
                or 0x10000 <= code < 0x110000
            ):
                return f"&#{code};"
            self._warning_counts[FeedWarning.CONTROL_CHARACTER] += 1
            return ""
        if name in _XML_ENTITIES:
            return found[0]
        if name in html5:
            self._warning_counts[FeedWarning.ENTITY] += 1
            return html.escape(html5[name])
        self._warning_counts[FeedWarning.AMPERSAND] += 1
        return f"&amp;{name}"


def _quote_start(start: bytes) -> str:
    return repr(start[:60].decode("utf-8", "replace"))
