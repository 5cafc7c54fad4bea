"""Read the offers of a feed one by one; memory stays flat whatever the size of the feed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from lxml.etree import _Element as Element

from wearalike.catalog.attributes import AttributeTable, packaged_attribute_table
from wearalike.feeds.collected import CollectedTexts
from wearalike.feeds.dialect import WithdrawnOffer
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.feed_date import read_feed_date
from wearalike.feeds.google import GoogleDialect
from wearalike.feeds.normalize import InvalidOffer, OfferReason
from wearalike.feeds.offers import MAX_ID_CHARS, Offer, RefusedOffer, normalize_offer
from wearalike.feeds.sanitize import SanitizedFeed
from wearalike.feeds.supplement import Supplement
from wearalike.feeds.table_feed import NEEDED_COLUMNS, read_table_rows
from wearalike.feeds.table_rows import BrokenRow
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.feeds.xml_elements import iter_elements, local_name, root_name
from wearalike.feeds.yml import YmlDialect
from wearalike.settings import ShopSettings

log = logging.getLogger("wearalike.feeds")

# Describes one offer: an element, or a row of a table.
_Source = Element | dict[str, str] | BrokenRow

# More offers that our own code fails over refuse the feed; so many of their tracebacks are logged.
MAX_UNEXPECTED_OFFERS = 100
MAX_LOGGED_TRACEBACKS = 3
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
        supplement: Its texts replace those of the offers. Set before the iteration.
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
        self.supplement: Supplement | None = None
        self._unexpected_count = 0

    def __iter__(self) -> Iterator[Offer | RefusedOffer | WithdrawnOffer]:
        """Yield the records.

        Raises:
            BadFeed: The feed cannot be used. A feed that was cut off raises it at the end, so
                do not use the offers before the iteration has ended.
        """
        supplement = self.supplement
        for dialect, source in self._iter_sources(NEEDED_COLUMNS):
            if supplement:
                dialect.supplement = supplement
            try:
                record = self._read_source(dialect, source)
            except Exception as error:  # noqa: BLE001 - the boundary of one offer
                record = self._refuse_unexpected(_find_id(source), error)
            if record is not None:
                self.offers_count += 1
                yield record
        if self.supplement and (unused_count := self.supplement.count_unused()):
            self.warning_counts[FeedWarning.UNUSED_SUPPLEMENT] = unused_count

    def iter_texts(self) -> Iterator[CollectedTexts]:
        """Yield the texts of each offer of a supplemental feed, which needs no more than ids.

        Raises:
            BadFeed: The feed cannot be used.
        """
        for dialect, source in self._iter_sources(frozenset(("id",))):
            if isinstance(source, BrokenRow):
                self.warning_counts[FeedWarning.BAD_SUPPLEMENT] += 1
            elif isinstance(source, dict):
                yield dialect.collect_row(source)
            elif texts := dialect.collect_texts(source):
                yield texts

    def _iter_sources(self, needed_columns: frozenset[str]) -> Iterator[tuple[Any, _Source]]:
        """Yield what describes an offer, with the dialect that reads it."""
        repairs = Counter[FeedWarning]()
        rows = self._open_table(needed_columns, repairs)
        if rows is not None:
            yield from self._iter_rows(rows)
            self.warning_counts.update(repairs)
            return
        source = self._open_feed(self.warning_counts)
        blocks = iter(source)
        first = next(blocks)
        self.encoding = source.encoding
        self.feed_date = read_feed_date(first)
        root = root_name(first)
        self.dialect = _detect_dialect(root, self._shop.dialect)
        dialect = self._make_dialect(root)
        self.ignored_fields = dialect.finder.ignored_fields
        for element in iter_elements(chain([first], blocks), dialect.tags, self.warning_counts):
            yield dialect, element

    def _open_table(
        self, needed_columns: frozenset[str], repairs: Counter[FeedWarning]
    ) -> Iterator[dict[str, str] | BrokenRow] | None:
        """Return the rows of a feed that is a table, or None for any other."""
        try:
            return read_table_rows(
                self._path, self._shop.max_feed_bytes, self._charset, repairs, needed_columns
            )
        except BadFeed:
            return None  # the reader of XML says what is wrong

    def _iter_rows(
        self, rows: Iterator[dict[str, str] | BrokenRow]
    ) -> Iterator[tuple[Any, _Source]]:
        """Yield the rows of a table. Raise BadFeed for another wanted dialect."""
        if self._shop.dialect not in (None, TABLE_DIALECT):
            raise BadFeed(FeedReason.WRONG_ROOT, f"a table; wanted dialect {self._shop.dialect}")
        self.dialect = TABLE_DIALECT
        dialect = GoogleDialect(self.vocabulary, self.warning_counts)
        self.ignored_fields = dialect.finder.ignored_fields
        for row in rows:
            yield dialect, row

    def _read_source(
        self, dialect: Any, source: _Source
    ) -> Offer | RefusedOffer | WithdrawnOffer | None:
        """Return the record of an element or row, or None if it is no offer."""
        if isinstance(source, BrokenRow):
            return RefusedOffer(None, OfferReason.BROKEN_ROW, source.detail)
        is_row = isinstance(source, dict)
        raw = dialect.parse_row(source) if is_row else dialect.parse_element(source)
        if raw is None:
            return None
        if isinstance(raw, WithdrawnOffer):
            return raw if raw.offer_id else _WITHDRAWN_WITHOUT_ID
        try:
            return normalize_offer(raw, self._shop, self._day, self.vocabulary, self.warning_counts)
        except InvalidOffer as error:
            return RefusedOffer(raw.offer_id or None, error.reason, error.detail)

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
        return iter_elements(iter(self._open_feed(unused_counts)), ("category",), unused_counts)


def _find_id(source: _Source) -> str | None:
    """Return the id of an offer that could not be read, if it has one."""
    if isinstance(source, BrokenRow):
        return None
    if isinstance(source, dict):
        return source.get("id[0]", "").strip()[:MAX_ID_CHARS] or None
    element = source
    texts = (child.text for child in element if local_name(str(child.tag)) in ("id", "g:id"))
    return (element.get("id") or next(filter(None, texts), "")).strip()[:MAX_ID_CHARS] or None


_WITHDRAWN_WITHOUT_ID = RefusedOffer(None, OfferReason.MISSING_ID, "deleted, but without an id")


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
