"""One shop's feed to its rows of a run: fresh, stale with the last good offers, or missing."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow.parquet as pq

from wearalike.catalog.attributes import AttributeTable
from wearalike.feeds import staging, volume_checks
from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning
from wearalike.feeds.feed_date import MAX_FEED_AGE_DAYS
from wearalike.feeds.parser import FeedReader, read_offers
from wearalike.feeds.staging import LastGoodFeed
from wearalike.feeds.supplement import Supplement
from wearalike.feeds.unpack import unpack_chunks
from wearalike.feeds.volume_checks import OfferMapper
from wearalike.net import address_guard, http_client
from wearalike.settings import ShopSettings, day_of_run

_CHARSET_PARAMETER = re.compile(r"""charset=["']?([\w.:-]+)""", re.IGNORECASE)


# The refused offers of a feed that was read and is not used (tables.REFUSED by key).
UNUSED_REFUSED = "unused_refused.parquet"
_MAX_SHOWN_REASONS = 5
# Words of each kind that a run remembers of a shop.
MAX_SHOWN_WORDS = 100

log = logging.getLogger("wearalike.feeds")


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
            reader = _download_feed(shop, day, attributes, scratch, row)
            ignored_fields = Counter[str]()
            with ExitStack() as stack:
                if shop.supplements:
                    reader.supplement = stack.enter_context(Supplement(scratch / "supplement"))
                    ignored_fields = _add_supplements(shop, attributes, scratch, row, reader)
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
            bad = _expected_error(error, shop)
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


def _expected_error(error: Exception, shop: ShopSettings) -> BadFeed:
    """Return the BadFeed of an error; one of our own faults is one, too, with its traceback logged.

    The disk and the memory of this machine are no part of a feed: their errors are raised again.
    """
    if isinstance(error, BadFeed):
        return error
    if isinstance(error, OSError | MemoryError | duckdb.IOException | duckdb.OutOfMemoryException):
        raise error
    log.error("%s: the feed failed unexpectedly", shop.id, exc_info=error)
    return BadFeed(FeedReason.UNEXPECTED, f"{type(error).__name__}: {error}"[:500])


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


def _download_feed(
    shop: ShopSettings,
    day: date,
    attributes: AttributeTable | None,
    scratch: Path,
    row: dict[str, Any],
) -> FeedReader:
    """Download the feed; put its size and hash into `row`. Raise BadFeed if that fails."""
    # The hash is of the unpacked bytes: gzip writes the time of packing into its own.
    digest = hashlib.sha256()
    row["feed_bytes"] = 0
    path = scratch / "feed"
    charset = _download_file(shop, shop.feed.get_secret_value(), path, digest, row)
    return read_offers(path, shop, charset, day, attributes)


def _download_file(
    shop: ShopSettings, address: str, path: Path, digest: hashlib._Hash, row: dict[str, Any]
) -> str | None:
    """Download one file; add to size and hash in `row`. Return HTTP's charset. Raise BadFeed."""
    guard = address_guard.AddressGuard(shop.allowed_networks, shop.allowed_ports)
    try:
        response = http_client.download(
            address,
            path,
            guard=guard,
            max_bytes=shop.max_feed_bytes,
            policy=replace(
                http_client.FEED_FETCH_POLICY,
                contact=shop.contact,
                keeps_cookies=shop.keeps_cookies,
            ),
        )
    except http_client.FetchError as error:
        raise _bad_feed(error, shop) from error
    row["feed_bytes"] += response.size_bytes
    for chunk in unpack_chunks(path, shop.max_feed_bytes):
        digest.update(chunk)
    row["feed_sha256"] = digest.hexdigest()
    charset = _CHARSET_PARAMETER.search(response.headers.get("content-type", ""))
    return charset[1] if charset else None


def _add_supplements(
    shop: ShopSettings,
    attributes: AttributeTable | None,
    scratch: Path,
    row: dict[str, Any],
    reader: FeedReader,
) -> Counter[str]:
    """Download the supplemental feeds for the reader to join; return their ignored fields.

    Their words and repairs are counted with those of the feed. Raise BadFeed if one of them cannot
    be used: without it the offers would be other ones.
    """
    assert reader.supplement
    ignored_fields = Counter[str]()
    digest = hashlib.sha256(row["feed_sha256"].encode())
    any_dialect = shop.model_copy(update={"dialect": None})
    for number, address in enumerate(shop.supplements, 1):
        path = scratch / f"supplement-{number}"
        try:
            charset = _download_file(shop, address.get_secret_value(), path, digest, row)
            part = read_offers(path, any_dialect, charset, None, attributes)
            for texts in part.iter_texts():
                if not reader.supplement.add(texts):
                    part.warning_counts[FeedWarning.BAD_SUPPLEMENT] += 1
        except BadFeed as error:
            where = f"supplement {number} of {len(shop.supplements)}"
            raise BadFeed(error.reason, f"{where}: {error.detail}") from error
        path.unlink()
        reader.warning_counts.update(part.warning_counts)
        reader.vocabulary.unknown_words.update(part.vocabulary.unknown_words)
        ignored_fields.update(part.ignored_fields)
    return ignored_fields


def _bad_feed(error: http_client.FetchError, shop: ShopSettings) -> BadFeed:
    """Return the BadFeed that a failed download means."""
    if error.reason is http_client.FetchReason.HTTP_400 and shop.dialect == "admitad":
        # Admitad answers 400 for a shop it has closed.
        return BadFeed(FeedReason.CLOSED, error.detail)
    same_reason = next((reason for reason in FeedReason if reason == error.reason), None)
    return BadFeed(same_reason or FeedReason.NOT_FETCHED, f"{error.reason}: {error.detail}")
