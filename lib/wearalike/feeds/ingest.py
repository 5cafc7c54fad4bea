"""One shop's feed to its rows of a run: fresh, stale with the last good offers, or missing."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from wearalike.catalog.attributes import AttributeTable
from wearalike.feeds import staging, volume_checks
from wearalike.feeds.errors import BadFeed, FeedWarning
from wearalike.feeds.feed_date import MAX_FEED_AGE_DAYS
from wearalike.feeds.feed_faults import find_bad_feed
from wearalike.feeds.fetch import FetchedFeed, FetchedFile, fetch_feed
from wearalike.feeds.parser import FeedReader, read_offers
from wearalike.feeds.staging import LastGoodFeed
from wearalike.feeds.supplement import Supplement
from wearalike.feeds.unpack import unpack_chunks
from wearalike.feeds.volume_checks import OfferMapper
from wearalike.net import address_guard
from wearalike.settings import ShopSettings, day_of_run

# The refused offers of a feed that was read and is not used (tables.REFUSED by key).
UNUSED_REFUSED = "unused_refused.parquet"
_MAX_SHOWN_REASONS = 5
# Words of each kind that a run remembers of a shop.
MAX_SHOWN_WORDS = 100


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The outcome of ingesting one feed.

    Attributes:
        feed_row: The shop's row of tables.FEEDS.
        folder: Holds offers.parquet (tables.OFFERS by product_id) and refused.parquet
            (tables.REFUSED by key); for a feed that was read and is not used also UNUSED_REFUSED.
        warning_counts: The number of repairs of each FeedWarning.
        unknown_words: For each kind of word (see Vocabulary) those that nothing knows, with the
            number of offers that have each, most first, at most MAX_SHOWN_WORDS.
        ignored_fields: How often each field that is ignored on purpose occurred.
        article_evidence: How many offers each ArticleEvidence joins with others.
    """

    feed_row: dict[str, Any]
    folder: Path
    warning_counts: dict[str, int] = field(default_factory=dict)
    unknown_words: dict[str, dict[str, int]] = field(default_factory=dict)
    ignored_fields: dict[str, int] = field(default_factory=dict)
    article_evidence: dict[str, int] = field(default_factory=dict)


def ingest_shop(
    shop: ShopSettings,
    run: str,
    folder: Path,
    previous: LastGoodFeed | None,
    map_offers: OfferMapper | None = None,
    attributes: AttributeTable | None = None,
    day: date | None = None,
    fetched: FetchedFeed | None = None,
) -> IngestResult:
    """Download a shop's feed and write its offers.

    If the feed is refused (see FeedReason), the offers of `previous` are kept row by row, and the
    shop is stale. Without them it is missing.

    Args:
        shop: The shop.
        run: The run that ingests.
        folder: An existing folder; it receives offers.parquet and refused.parquet.
        previous: The shop's last good offers, if there are any.
        map_offers: The shop's mapping, to check that it still fits; None for a shop without one.
        attributes: The words of attributes; None for those that come with wearalike.
        day: The run's day; None for the one in its name, see `settings.day_of_run`.
        fetched: The feed's files, of `fetch.fetch_feeds`; None to fetch them.

    Returns:
        The row of tables.FEEDS, the counted repairs and the words that nothing knows.
    """
    day = day or day_of_run(run)
    row: dict[str, Any] = {
        "shop_id": shop.id,
        "status": "fresh",
        "source_run": run,
        "withdrawn_count": 0,
        "warnings_count": 0,
    }
    with TemporaryDirectory(dir=folder) as scratch_name:
        scratch = Path(scratch_name)
        try:
            files = fetch_feed(shop, scratch) if fetched is None else fetched
            reader = _open_feed(shop, day, attributes, files, row)
            ignored_fields = Counter[str]()
            with ExitStack() as stack:
                if shop.supplements:
                    reader.supplement = stack.enter_context(Supplement(scratch / "supplement"))
                    ignored_fields = _add_supplements(shop, attributes, files, row, reader)
                withdrawn_count = staging.stage_records(reader, scratch)
            ignored_fields.update(reader.ignored_fields)
            row["dialect"] = reader.dialect
            base = previous if shop.is_delta else None
            written_count, refused_count, evidence = staging.deduplicate(
                shop.id, scratch, folder, base
            )
            volume_checks.check_volume(shop, written_count, refused_count, previous)
            if previous and map_offers:
                volume_checks.check_mapped_share(
                    shop, folder / "offers.parquet", previous, map_offers
                )
        except Exception as error:  # noqa: BLE001 - the boundary of one feed
            bad = find_bad_feed(error, shop)
            detail = bad.detail + _keep_unused_refused(folder)
            row["reason"] = str(bad.reason)
            row["detail"] = shop.redact_secrets(address_guard.redact_url(detail))
            row |= staging.copy_last_good(shop.id, folder, previous)
            return IngestResult(row, folder)
    _check_feed_date(reader, day, row)
    # The offers that a delta feed left unchanged count as read, too.
    unchanged_and_read = written_count + refused_count + withdrawn_count
    row |= {
        "offers_count": unchanged_and_read if shop.is_delta else reader.offers_count,
        "written_count": written_count,
        "refused_count": refused_count,
        "withdrawn_count": withdrawn_count,
        "warnings_count": reader.warning_counts.total(),
    }
    return IngestResult(
        row,
        folder,
        dict(sorted(reader.warning_counts.items())),
        _most_frequent_words(reader.vocabulary.unknown_words),
        dict(sorted(ignored_fields.items())),
        evidence,
    )


def _most_frequent_words(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Return the most frequent words of each kind, with their counts."""
    words: dict[str, dict[str, int]] = {}
    for (kind, word), count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        of_kind = words.setdefault(kind, {})
        if len(of_kind) < MAX_SHOWN_WORDS:
            of_kind[word] = count
    return dict(sorted(words.items()))


def _keep_unused_refused(folder: Path) -> str:
    """Put the refused offers of a feed that is not used aside; return their reasons as text."""
    refused = folder / "refused.parquet"
    if not refused.exists():
        return ""
    reasons = pq.read_table(refused, columns=["reason"])["reason"].to_pylist()
    if not reasons:
        return ""
    os.replace(refused, folder / UNUSED_REFUSED)
    shown = Counter(reasons).most_common(_MAX_SHOWN_REASONS)
    return f"; refused: {', '.join(f'{reason} {n:,}' for reason, n in shown)}"


def _check_feed_date(reader: FeedReader, day: date, row: dict[str, Any]) -> None:
    """Put the feed's day into `row`; count a warning if it is long before the run's day."""
    if reader.feed_date is None:
        return
    row["feed_date"] = reader.feed_date.isoformat()
    if (day - reader.feed_date).days > MAX_FEED_AGE_DAYS:
        reader.warning_counts[FeedWarning.OLD_DATE] = 1


def _open_feed(
    shop: ShopSettings,
    day: date,
    attributes: AttributeTable | None,
    files: FetchedFeed,
    row: dict[str, Any],
) -> FeedReader:
    """Return the feed's reader; put its size and hash into `row`. Raise BadFeed without a feed."""
    # The hash is of the unpacked bytes: gzip writes the time of packing into its own.
    digest = hashlib.sha256()
    row["feed_bytes"] = 0
    _take_file(shop, files[0], digest, row)
    return read_offers(files[0].path, shop, files[0].charset, day, attributes)


def _take_file(
    shop: ShopSettings, file: FetchedFile, digest: hashlib._Hash, row: dict[str, Any]
) -> None:
    """Add a file to size and hash in `row`. Raise BadFeed if it did not come."""
    if file.fault:
        raise BadFeed(*file.fault)
    row["feed_bytes"] += file.size_bytes
    for chunk in unpack_chunks(file.path, shop.max_feed_bytes):
        digest.update(chunk)
    row["feed_sha256"] = digest.hexdigest()


def _add_supplements(
    shop: ShopSettings,
    attributes: AttributeTable | None,
    files: FetchedFeed,
    row: dict[str, Any],
    reader: FeedReader,
) -> Counter[str]:
    """Let the reader join the supplemental feeds; return their ignored fields.

    Their words and repairs are counted with those of the feed. Raise BadFeed if one of them cannot
    be used: without it the offers would be other ones.
    """
    assert reader.supplement
    ignored_fields = Counter[str]()
    digest = hashlib.sha256(row["feed_sha256"].encode())
    any_dialect = shop.model_copy(update={"dialect": None})
    for number, file in enumerate(files[1:], 1):
        try:
            _take_file(shop, file, digest, row)
            part = read_offers(file.path, any_dialect, file.charset, None, attributes)
            for texts in part.iter_texts():
                if not reader.supplement.add(texts):
                    part.warning_counts[FeedWarning.BAD_SUPPLEMENT] += 1
        except BadFeed as error:
            where = f"supplement {number} of {len(shop.supplements)}"
            raise BadFeed(error.reason, f"{where}: {error.detail}") from error
        reader.warning_counts.update(part.warning_counts)
        reader.vocabulary.unknown_words.update(part.vocabulary.unknown_words)
        ignored_fields.update(part.ignored_fields)
    return ignored_fields
