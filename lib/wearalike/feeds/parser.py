"""Read the offers of a feed one by one; memory stays flat whatever the size of the feed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from wearalike.feeds.dialect import Dialect, WithdrawnOffer
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.google import ATOM_NAMESPACE, GoogleDialect
from wearalike.feeds.normalize import InvalidOffer, OfferReason
from wearalike.feeds.offers import Offer, RefusedOffer, normalize_offer
from wearalike.feeds.sanitize import SanitizedFeed
from wearalike.feeds.yml import YmlDialect
from wearalike.settings import ShopSettings

# The most bytes without a whole offer; a feed with a larger one is refused before it fills memory.
MAX_OFFER_BYTES = 64 << 20
# Bytes the parser receives at once: their tree stays in the processor's cache until it is read.
PARSER_BLOCK_BYTES = 1 << 15

_SAFE_PARSER_OPTIONS: dict[str, Any] = {
    "encoding": "utf-8",
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
}
# The dialects of each root element; without a setting the first one is meant.
_DIALECTS_BY_ROOT = {
    "yml_catalog": ("yml", "admitad"),
    "rss": ("google_rss",),
    f"{ATOM_NAMESPACE}feed": ("google_atom",),
}


def read_offers(
    path: Path, shop: ShopSettings, charset: str | None = None, day: date | None = None
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

    Returns:
        The reader, to be iterated once.
    """
    return FeedReader(path, shop, charset, day or datetime.now(UTC).date())


class FeedReader:
    """Yields a record for each offer of a feed, in the order of the feed.

    Attributes:
        dialect: "yml", "admitad", "google_rss" or "google_atom". Known once the iteration began.
        encoding: The encoding of the feed. Known once the iteration began.
        warning_counts: The repairs so far, by kind.
        offers_count: The offers so far.
    """

    def __init__(self, path: Path, shop: ShopSettings, charset: str | None, day: date) -> None:
        """Prepare to read; the arguments are those of `read_offers`."""
        self.dialect: str | None = None
        self.encoding = "utf-8"
        self.warning_counts: Counter[FeedWarning] = Counter()
        self.offers_count = 0
        self._path = path
        self._shop = shop
        self._charset = charset
        self._day = day

    def __iter__(self) -> Iterator[Offer | RefusedOffer | WithdrawnOffer]:
        """Yield the records.

        Raises:
            BadFeed: The feed cannot be used. A feed that was cut off raises it at the end, so
                do not use the offers before the iteration has ended.
        """
        source = self._open_feed(self.warning_counts)
        blocks = iter(source)
        first = next(blocks)
        self.encoding = source.encoding
        root = _root_tag(first)
        self.dialect = _detect_dialect(root, self._shop.dialect)
        dialect = self._make_dialect(root)
        for element in _iter_elements(chain([first], blocks), dialect.tags):
            raw = dialect.parse_element(element)
            if raw is None:
                continue
            self.offers_count += 1
            if isinstance(raw, WithdrawnOffer):
                yield raw if raw.offer_id else _WITHDRAWN_WITHOUT_ID
                continue
            try:
                yield normalize_offer(raw, self._shop, self._day, self.warning_counts)
            except InvalidOffer as error:
                yield RefusedOffer(raw.offer_id or None, error.reason, error.detail)

    def _make_dialect(self, root: str) -> Dialect:
        """Return the reader of a feed's elements."""
        if root == "yml_catalog":
            return YmlDialect(self._shop, self.warning_counts, self._iter_categories)
        return GoogleDialect(self.warning_counts)

    def _open_feed(self, warning_counts: Counter[FeedWarning]) -> SanitizedFeed:
        """Open the feed from its beginning."""
        return SanitizedFeed(self._path, self._shop.max_feed_bytes, self._charset, warning_counts)

    def _iter_categories(self) -> Iterator[Element]:
        """Yield every category of the feed, read anew; its repairs are not counted twice."""
        return _iter_elements(iter(self._open_feed(Counter())), ("category",))


_WITHDRAWN_WITHOUT_ID = RefusedOffer(None, OfferReason.MISSING_ID, "deleted, but without an id")


def _root_tag(block: bytes) -> str:
    """Return the tag of the root element, "{namespace}name" if it has one. Raise BadFeed."""
    parser = etree.XMLPullParser(events=("start",), **_SAFE_PARSER_OPTIONS)
    _feed_parser(parser, block)
    for _, element in parser.read_events():
        return str(element.tag)
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


def _iter_elements(blocks: Iterator[bytes], tags: tuple[str, ...]) -> Iterator[Element]:
    """Yield the elements with these tags in their order, whole, and drop each after use.

    The parser is asked for one event only: that of a processing instruction placed before the root,
    by which the root is found. Events of elements would slow the parser by a fifth.
    """
    parser = etree.XMLPullParser(
        events=("pi",), remove_comments=True, collect_ids=False, **_SAFE_PARSER_OPTIONS
    )
    _feed_parser(parser, b"<?mark?>")
    _, mark = next(parser.read_events())
    root = None
    waiting_bytes = 0
    for piece in _split_blocks(blocks):
        _feed_parser(parser, piece)
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
    try:
        rest = parser.close()
    except etree.XMLSyntaxError as error:
        raise BadFeed(
            FeedReason.TRUNCATED, f"ends before its root element does: {error}"
        ) from error
    yield from rest.iter(*tags)


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
        if child.tag in tags:
            yield child
        else:
            yield from child.iter(*tags)
    del node[: len(whole)]
    if len(last) and last.tag not in tags:
        yield from _iter_complete_elements(last, tags)


def _feed_parser(parser: etree.XMLPullParser, block: bytes) -> None:
    """Parse more bytes. Raise BadFeed (BROKEN) if they are not well-formed."""
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        raise BadFeed(FeedReason.BROKEN, f"not well-formed XML: {error}") from error
