"""A feed to its offers, one by one: memory stays flat whatever the feed's size."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from wearalike.feeds.google import ATOM_NAMESPACE, GoogleDialect
from wearalike.feeds.normalize import InvalidOffer, OfferReason
from wearalike.feeds.offers import Offer, RefusedOffer, WithdrawnOffer, normalize_offer
from wearalike.feeds.sanitize import BadFeed, FeedReason, FeedWarning, SanitizedFeed
from wearalike.feeds.yml import YmlDialect
from wearalike.settings import ShopSettings

# Of one offer, its markup included; a feed with a bigger one is refused before it fills the memory.
MAX_OFFER_BYTES = 64 << 20
# What the parser is fed at once: a tree so small stays in the processor's cache until it is read.
PARSER_BLOCK_BYTES = 1 << 15

_SAFE_PARSER_OPTIONS: dict[str, Any] = {
    "encoding": "utf-8",
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
}
_DIALECTS_BY_ROOT = {
    "yml_catalog": ("yml", "admitad"),
    "rss": ("google_rss",),
    f"{ATOM_NAMESPACE}feed": ("google_atom",),
}


def read_offers(path: Path, shop: ShopSettings, charset: str | None = None) -> FeedReader:
    """The offers of a feed file, to be iterated once, with what is known of the feed when that is done.

    charset: HTTP's, used where the file itself declares none. The same bytes give the same offers.
    Iterating raises BadFeed, at the end for a feed that was cut off: offers read before must not be used then.
    """
    return FeedReader(path, shop, charset)


class FeedReader:
    """Yields an Offer, Refused or Withdrawn for each offer of a feed, in the feed's order.

    dialect: "yml", "admitad", "google_rss" or "google_atom", and encoding: known once iterating began.
    repairs: what was mended, by kind. offers_count: offers seen.
    """

    def __init__(self, path: Path, shop: ShopSettings, charset: str | None) -> None:
        self.dialect: str | None = None
        self.encoding = "utf-8"
        self.warning_counts: Counter[FeedWarning] = Counter()
        self.offers_count = 0
        self._path, self._shop, self._charset = path, shop, charset

    def __iter__(self) -> Iterator[Offer | RefusedOffer | WithdrawnOffer]:
        source = SanitizedFeed(
            self._path, self._shop.max_feed_bytes, self._charset, self.warning_counts
        )
        blocks = iter(source)
        first = next(blocks)
        self.encoding = source.encoding
        root = _root_tag(first)
        self.dialect = _detect_dialect(root, self._shop.dialect)
        reader = (
            YmlDialect(self._shop, self.warning_counts, self._iter_categories)
            if root == "yml_catalog"
            else GoogleDialect(self.warning_counts)
        )
        for element in _iter_elements(chain([first], blocks), reader.tags):
            raw = reader.parse_element(element)
            if raw is None:
                continue
            self.offers_count += 1
            if isinstance(raw, WithdrawnOffer):
                yield (
                    raw
                    if raw.offer_id
                    else RefusedOffer(None, OfferReason.MISSING_ID, "deleted, but without an id")
                )
                continue
            try:
                yield normalize_offer(raw, self._shop, self.warning_counts)
            except InvalidOffer as error:
                yield RefusedOffer(raw.offer_id or None, error.reason, error.detail)

    def _iter_categories(self) -> Iterator[Element]:
        """Every category of the feed, read anew; its repairs are not counted twice."""
        source = SanitizedFeed(self._path, self._shop.max_feed_bytes, self._charset, Counter())
        return _iter_elements(iter(source), ("category",))


def _root_tag(block: bytes) -> str:
    """The root's name, "{namespace}name" where it has one. Raises BadFeed."""
    parser = etree.XMLPullParser(events=("start",), **_SAFE_PARSER_OPTIONS)
    _feed_parser(parser, block)
    for _, element in parser.read_events():
        return str(element.tag)
    raise BadFeed(
        FeedReason.TRUNCATED,
        f"ends within its first element: {block[:60].decode('utf-8', 'replace')!r}",
    )


def _detect_dialect(root: str, wanted: str | None) -> str:
    dialects = _DIALECTS_BY_ROOT.get(root, ())
    if not dialects or (wanted and wanted not in dialects):
        expected = ", ".join(
            f"<{name}>"
            for name, spoken in _DIALECTS_BY_ROOT.items()
            if not wanted or wanted in spoken
        )
        raise BadFeed(
            FeedReason.WRONG_ROOT,
            f"root is <{root[:80]}>; wanted {expected}"
            + (f" for dialect {wanted}" if wanted else ""),
        )
    return wanted or dialects[0]


def _iter_elements(blocks: Iterator[bytes], tags: tuple[str, ...]) -> Iterator[Element]:
    """The elements of these names in their order, each whole when it comes and dropped after. Raises BadFeed.

    No event is asked for but the one of a mark before the root, by which the root is found: events of elements would
    slow the parser by a fifth.
    """
    parser = etree.XMLPullParser(
        events=("pi",), remove_comments=True, collect_ids=False, **_SAFE_PARSER_OPTIONS
    )
    _feed_parser(parser, b"<?mark?>")
    _, mark = next(parser.read_events())
    root, waiting_bytes = None, 0
    for piece in (
        block[at : at + PARSER_BLOCK_BYTES]
        for block in blocks
        for at in range(0, len(block), PARSER_BLOCK_BYTES)
    ):
        _feed_parser(parser, piece)
        deque(parser.read_events(), maxlen=0)  # other processing instructions
        waiting_bytes += len(piece)
        root = mark.getnext() if root is None else root
        for element in (
            _iter_complete_elements(root, tags) if root is not None and len(root) else ()
        ):
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


def _iter_complete_elements(node: Element, tags: tuple[str, ...]) -> Iterator[Element]:
    """What is whole below a node that is not, dropped when read: all but the last child, and the same of that one."""
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
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        raise BadFeed(FeedReason.BROKEN, f"not well-formed XML: {error}") from error
