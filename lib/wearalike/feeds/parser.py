"""Read the offers of a feed one by one; memory stays flat whatever the size of the feed."""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from wearalike.catalog.attributes import AttributeTable, packaged_attribute_table
from wearalike.feeds.dialect import Dialect, RawOffer, WithdrawnOffer
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.feed_date import read_feed_date
from wearalike.feeds.google import GoogleDialect
from wearalike.feeds.normalize import InvalidOffer, OfferReason
from wearalike.feeds.offers import MAX_ID_CHARS, Offer, RefusedOffer, normalize_offer
from wearalike.feeds.sanitize import SanitizedFeed
from wearalike.feeds.table_feed import read_table_rows
from wearalike.feeds.table_rows import BrokenRow
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.feeds.yml import YmlDialect
from wearalike.settings import ShopSettings

log = logging.getLogger("wearalike.feeds")

# The most bytes without a whole offer; a feed with a larger one is refused before it fills memory.
MAX_OFFER_BYTES = 64 << 20
# More offers that our own code fails over refuse the feed; so many of their tracebacks are logged.
MAX_UNEXPECTED_OFFERS = 100
MAX_LOGGED_TRACEBACKS = 3
# Bytes the parser receives at once: their tree stays in the processor's cache until it is read.
PARSER_BLOCK_BYTES = 1 << 15

_SAFE_PARSER_OPTIONS: dict[str, Any] = {
    "encoding": "utf-8",
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
}
# Google's and Meta's feeds as tables.
TABLE_DIALECT = "google_table"
# The dialects of each root element, in any namespace; without a setting the first one is meant.
_DIALECTS_BY_ROOT = {
    "yml_catalog": ("yml", "admitad"),
    "rss": ("google_rss",),
    "RDF": ("google_rss",),
    "channel": ("google_rss",),
    "feed": ("google_atom",),
}
# Enough for the end tag of any root element, and for the beginning of an offer.
_TAIL_BYTES = 256
_OFFER_START = re.compile(rb"<(?:\w+:)?(?:item|entry|offer)[\s>]")
# libxml2's numbers of what it tells of namespaces and languages: none of it breaks the tree.
_HARMLESS_ERRORS = (*range(97, 101), *range(200, 206))


def read_offers(
    path: Path,
    shop: ShopSettings,
    charset: str | None = None,
    day: date | None = None,
    attributes: AttributeTable | None = None,
) -> FeedReader:
    """Return a reader of the offers of a feed file. The same bytes always give the same offers.

        reader = read_offers(Path("feed.xml"), shop)
        records = list(reader)
        print(reader.dialect, reader.offers_count, reader.warning_counts)

    Args:
        path: The file, gzip or not.
        shop: The shop; its dialect may be None to detect it.
        charset: HTTP's charset, used if the file declares none.
        day: The run's day, on which sales count. Default: today in UTC.
        attributes: The words of attributes. Default: those that come with wearalike.

    Returns:
        The reader, to be iterated once.
    """
    return FeedReader(
        path,
        shop,
        charset,
        day or datetime.now(UTC).date(),
        attributes or packaged_attribute_table(),
    )


class FeedReader:
    """Yields a record for each offer of a feed, in the order of the feed.

    Attributes:
        dialect: "yml", "admitad", "google_rss", "google_atom" or "google_table". Known once the
            iteration began.
        encoding: The encoding of the feed. Known once the iteration began.
        warning_counts: The repairs so far, by kind.
        offers_count: The offers so far.
        vocabulary: Reads the shop's words; its unknown_words are those that nothing knows.
        ignored_fields: How often each field that is ignored on purpose occurred.
        feed_date: The day that the feed names as its own. Known once the iteration began.
    """

    def __init__(
        self,
        path: Path,
        shop: ShopSettings,
        charset: str | None,
        day: date,
        attributes: AttributeTable,
    ) -> None:
        """Prepare to read; the arguments are those of `read_offers`."""
        self.dialect: str | None = None
        self.encoding = "utf-8"
        self.warning_counts: Counter[FeedWarning] = Counter()
        self.offers_count = 0
        self.feed_date: date | None = None
        self._path = path
        self._shop = shop
        self._charset = charset
        self._day = day
        self.vocabulary = Vocabulary(attributes, self.warning_counts)
        self.ignored_fields: Mapping[str, int] = {}
        self._unexpected_count = 0

    def __iter__(self) -> Iterator[Offer | RefusedOffer | WithdrawnOffer]:
        """Yield the records.

        Raises:
            BadFeed: The feed cannot be used. A feed that was cut off raises it at the end, so
                do not use the offers before the iteration has ended.
        """
        repairs = Counter[FeedWarning]()
        rows = self._open_table(repairs)
        if rows is not None:
            yield from self._read_rows(rows)
            self.warning_counts.update(repairs)
            return
        source = self._open_feed(self.warning_counts)
        blocks = iter(source)
        first = next(blocks)
        self.encoding = source.encoding
        self.feed_date = read_feed_date(first)
        root = _root_name(first)
        self.dialect = _detect_dialect(root, self._shop.dialect)
        dialect = self._make_dialect(root)
        self.ignored_fields = dialect.finder.ignored_fields
        elements = _iter_elements(chain([first], blocks), dialect.tags, self.warning_counts)
        for element in elements:
            try:
                record = self._read_element(dialect, element)
            except Exception as error:  # noqa: BLE001 - the boundary of one offer
                record = self._refuse_unexpected(_find_id(element), error)
            if record is not None:
                self.offers_count += 1
                yield record

    def _open_table(
        self, repairs: Counter[FeedWarning]
    ) -> Iterator[dict[str, str] | BrokenRow] | None:
        """Return the rows of a feed that is a table, or None for any other."""
        try:
            return read_table_rows(self._path, self._shop.max_feed_bytes, self._charset, repairs)
        except BadFeed:
            return None  # the reader of XML says what is wrong

    def _read_rows(
        self, rows: Iterator[dict[str, str] | BrokenRow]
    ) -> Iterator[Offer | RefusedOffer]:
        """Yield the records of the rows of a table. Raise BadFeed for another wanted dialect."""
        if self._shop.dialect not in (None, TABLE_DIALECT):
            raise BadFeed(FeedReason.WRONG_ROOT, f"a table; wanted dialect {self._shop.dialect}")
        self.dialect = TABLE_DIALECT
        dialect = GoogleDialect(self.vocabulary, self.warning_counts)
        self.ignored_fields = dialect.finder.ignored_fields
        for row in rows:
            self.offers_count += 1
            if isinstance(row, BrokenRow):
                yield RefusedOffer(None, OfferReason.BROKEN_ROW, row.detail)
                continue
            try:
                yield self._normalize(dialect.parse_row(row))
            except Exception as error:  # noqa: BLE001 - the boundary of one offer
                yield self._refuse_unexpected(row.get("id[0]", "")[:MAX_ID_CHARS] or None, error)

    def _normalize(self, raw: RawOffer) -> Offer | RefusedOffer:
        """Return the offer that the shop's words describe, or its refusal."""
        try:
            return normalize_offer(raw, self._shop, self._day, self.vocabulary, self.warning_counts)
        except InvalidOffer as error:
            return RefusedOffer(raw.offer_id or None, error.reason, error.detail)

    def _read_element(
        self, dialect: Dialect, element: Element
    ) -> Offer | RefusedOffer | WithdrawnOffer | None:
        """Return the record of an element, or None if it is no offer."""
        raw = dialect.parse_element(element)
        if raw is None:
            return None
        if isinstance(raw, WithdrawnOffer):
            return raw if raw.offer_id else _WITHDRAWN_WITHOUT_ID
        return self._normalize(raw)

    def _refuse_unexpected(self, ident: str | None, error: Exception) -> RefusedOffer:
        """Return the refusal of an offer over which our own code fails.

        Raise BadFeed if that has happened too often: then the fault is not in the offer. The disk
        and the memory are no part of an offer either.
        """
        if isinstance(error, OSError | MemoryError):
            raise error
        self._unexpected_count += 1
        detail = f"{type(error).__name__}: {error}"[:300]
        if self._unexpected_count <= MAX_LOGGED_TRACEBACKS:
            log.error("%s: offer %s: unexpected", self._shop.id, ident, exc_info=error)
        if self._unexpected_count > MAX_UNEXPECTED_OFFERS:
            raise BadFeed(
                FeedReason.UNEXPECTED,
                f"{self._unexpected_count} offers failed unexpectedly, the last: {detail}",
            ) from error
        return RefusedOffer(ident, OfferReason.UNEXPECTED, detail)

    def _make_dialect(self, root: str) -> YmlDialect | GoogleDialect:
        """Return the reader of a feed's elements."""
        if root == "yml_catalog":
            return YmlDialect(
                self._shop, self.vocabulary, self.warning_counts, self._iter_categories
            )
        return GoogleDialect(self.vocabulary, self.warning_counts)

    def _open_feed(self, warning_counts: Counter[FeedWarning]) -> SanitizedFeed:
        """Open the feed from its beginning."""
        return SanitizedFeed(self._path, self._shop.max_feed_bytes, self._charset, warning_counts)

    def _iter_categories(self) -> Iterator[Element]:
        """Yield every category of the feed, read anew; its repairs are not counted twice."""
        unused_counts = Counter[FeedWarning]()
        return _iter_elements(iter(self._open_feed(unused_counts)), ("category",), unused_counts)


def _find_id(element: Element) -> str | None:
    """Return the id of an offer that could not be read, if it has one."""
    texts = (child.text for child in element if _local_name(str(child.tag)) in ("id", "g:id"))
    return (element.get("id") or next(filter(None, texts), "")).strip()[:MAX_ID_CHARS] or None


_WITHDRAWN_WITHOUT_ID = RefusedOffer(None, OfferReason.MISSING_ID, "deleted, but without an id")


def _root_name(block: bytes) -> str:
    """Return the name of the root element, without a namespace. Raise BadFeed."""
    parser = etree.XMLPullParser(events=("start",), **_SAFE_PARSER_OPTIONS)
    _feed_parser(parser, block)
    for _, element in parser.read_events():
        return _local_name(str(element.tag)).rpartition(":")[2]
    raise BadFeed(
        FeedReason.TRUNCATED,
        f"ends within its first element: {block[:60].decode('utf-8', 'replace')!r}",
    )


def _detect_dialect(root: str, wanted: str | None) -> str:
    """Return the dialect of a root element. Raise BadFeed if it is not the wanted one."""
    dialects = _DIALECTS_BY_ROOT.get(root, ())
    if dialects and wanted in (None, "", *dialects):
        return wanted or dialects[0]
    expected = ", ".join(
        f"<{name}>"
        for name, names_of_dialects in _DIALECTS_BY_ROOT.items()
        if not wanted or wanted in names_of_dialects
    )
    suffix = f" for dialect {wanted}" if wanted else ""
    raise BadFeed(FeedReason.WRONG_ROOT, f"root is <{root[:80]}>; wanted {expected}{suffix}")


def _iter_elements(
    blocks: Iterator[bytes], tags: tuple[str, ...], warning_counts: Counter[FeedWarning]
) -> Iterator[Element]:
    """Yield the elements with these names in their order, whole, and drop each after use.

    The parser is asked for one event only: that of a processing instruction placed before the root,
    by which the root is found. Events of elements would slow the parser by a fifth.
    """
    parser = etree.XMLPullParser(
        events=("pi",), remove_comments=True, collect_ids=False, **_SAFE_PARSER_OPTIONS
    )
    _feed_parser(parser, b"<?mark?>")
    _, mark = next(parser.read_events())
    root = None
    waiting_bytes = read_bytes = 0
    is_open = True
    tail = b""
    pieces = _split_blocks(blocks)
    for piece in pieces:
        is_open = _feed_parser(parser, piece)
        tail = (tail + piece)[-_TAIL_BYTES:]
        read_bytes += len(piece)
        deque(parser.read_events(), maxlen=0)  # other processing instructions
        waiting_bytes += len(piece)
        if root is None:
            root = mark.getnext()
        if root is not None and len(root):
            for element in _iter_complete_elements(root, tags):
                yield element
                waiting_bytes = 0
        if waiting_bytes > MAX_OFFER_BYTES:
            raise BadFeed(
                FeedReason.TOO_LARGE, f"{waiting_bytes:,} bytes and no whole offer in them"
            )
        if not is_open:
            _check_trailing(mark.getnext(), piece, pieces, is_first=len(piece) == read_bytes)
            warning_counts[FeedWarning.TRAILING_CHARACTERS] += 1
            break
    if is_open:
        _close_parser(parser, mark, tail, warning_counts)
    if (rest := mark.getnext()) is not None:
        yield from rest.iter(*_in_any_namespace(tags))


def _check_trailing(
    root: Element | None, piece: bytes, pieces: Iterator[bytes], is_first: bool
) -> None:
    """Raise BadFeed (BROKEN) if another document, or offers, stand behind the root element.

    Notices of PHP and numbers of bytes are often there; they cost nothing.

    Args:
        root: The root element, which has ended in the piece or before it.
        piece: The bytes that hold more than the end of the document.
        pieces: The bytes behind it.
        is_first: The piece is the first one of the feed, so it holds the start of the root.
    """
    name = "" if root is None else re.escape(_local_name(str(root.tag)))
    end = re.search(rf"</(?:\w+:)?{name}\s*>".encode(), piece)
    starts = re.findall(rf"<(?:\w+:)?{name}[\s>]".encode(), piece)
    carried = piece[end.end() :] if end else piece
    has_more = len(starts) > is_first or bool(_OFFER_START.search(carried))
    for following in pieces:
        carried = carried[-_TAIL_BYTES:] + following
        has_more = has_more or bool(_OFFER_START.search(carried))
    if has_more:
        raise BadFeed(FeedReason.BROKEN, "a second document, or offers, behind the root element")


def _close_parser(
    parser: etree.XMLPullParser, mark: Element, tail: bytes, warning_counts: Counter[FeedWarning]
) -> None:
    """End a document. Raise BadFeed if its root element has not ended.

    The tail, its last bytes, tells a feed that is cut off from one with a fault before its end.
    libxml2 tells the last error only, and an undeclared prefix may hide that the end is missing. So
    a second mark is put behind the root element. It is the root's sibling only if the root is
    whole.
    """
    is_whole = False
    try:
        parser.feed(b"<?mark?>")
        root = mark.getnext()
        is_whole = root is not None and root.getnext() is not None
        parser.close()
    except etree.XMLSyntaxError as error:
        root = mark.getnext()
        name = "" if root is None else _local_name(str(root.tag))
        has_end = bool(name) and re.search(rf"</(?:\w+:)?{name}\s*>\s*$".encode(), tail)
        if not (is_whole or has_end):
            shown = "" if error.code in _HARMLESS_ERRORS else f": {error}"
            detail = f"ends before its root element does{shown}"
            raise BadFeed(FeedReason.TRUNCATED, detail) from error
        if error.code not in _HARMLESS_ERRORS:
            raise BadFeed(FeedReason.BROKEN, f"not well-formed XML: {error}") from error
        warning_counts[FeedWarning.UNDECLARED_NAMESPACE] += 1


def _in_any_namespace(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return lxml's patterns of names in any namespace, or none."""
    return tuple(f"{{*}}{name}" for name in tags)


@lru_cache(maxsize=4096)
def _local_name(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition("}")[2]


def _split_blocks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of the blocks in pieces of at most PARSER_BLOCK_BYTES."""
    for block in blocks:
        for start in range(0, len(block), PARSER_BLOCK_BYTES):
            yield block[start : start + PARSER_BLOCK_BYTES]


def _iter_complete_elements(node: Element, tags: tuple[str, ...]) -> Iterator[Element]:
    """Yield and drop the whole elements below a node that is not yet whole.

    All children but the last are whole; below the last one the same holds.
    """
    *whole, last = node
    for child in whole:
        if _local_name(str(child.tag)) in tags:
            yield child
        else:
            yield from child.iter(*_in_any_namespace(tags))
    del node[: len(whole)]
    if len(last) and _local_name(str(last.tag)) not in tags:
        yield from _iter_complete_elements(last, tags)


def _feed_parser(parser: etree.XMLPullParser, block: bytes) -> bool:
    """Parse more bytes; return False if the document has ended before they do.

    Raise BadFeed (BROKEN) if they are not well-formed.
    """
    try:
        parser.feed(block)
        return True
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_DOCUMENT_END:
            return False
        raise BadFeed(FeedReason.BROKEN, f"not well-formed XML: {error}") from error
