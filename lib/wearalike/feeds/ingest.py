"""One shop's feed to its rows of a run: fresh, stale with the last good offers, or missing."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike import catalog
from wearalike.feeds.normalize import OfferReason
from wearalike.feeds.offers import Offer, WithdrawnOffer
from wearalike.feeds.parser import FeedReader, read_offers
from wearalike.feeds.sanitize import BadFeed, FeedReason, unpack_chunks
from wearalike.net import address_guard, http_client
from wearalike.settings import ShopSettings
from wearalike.tables import OFFERS, REFUSED

BATCH_ROWS = 8192
SORT_MEMORY_LIMIT = "256MB"
# So many of the words that no line maps are told.
MAX_SHOWN_WORDS = 10
# A gain of so few is no reason to doubt a feed.
MAX_UNCHECKED_GAIN_OFFERS = 100

# What an operator can do about a feed that was not used.
ADVICE = {
    FeedReason.NOT_FETCHED: "check the address, the credentials and the shop's server, then run again with --force",
    FeedReason.CLOSED: "the network says the shop is closed: take it out of the settings, or ask for a new feed address",
    FeedReason.EMPTY: "ask the shop why its feed holds nothing",
    FeedReason.HTML_PAGE: "the address answers with a page: check it and its credentials in a browser",
    FeedReason.NOT_XML: "choose the shop's XML export; CSV, JSON and zip are not read",
    FeedReason.WRONG_ROOT: "check the address, and the shop's dialect in the settings",
    FeedReason.BROKEN: "ask the shop to mend its export at the line named",
    FeedReason.TRUNCATED: "the feed was cut off: run again later with --force; ask the shop if it stays so",
    FeedReason.ENTITIES: "ask the shop for a feed without a DTD of its own; it is never read",
    FeedReason.TOO_LARGE: "if the size is right, raise max_feed_bytes of the shop; a bomb stays refused",
    FeedReason.BAD_ENCODING: "ask the shop for a feed in UTF-8",
    FeedReason.TOO_FEW: "see refused for the reasons; if the shop is that small now, lower min_offers of the shop",
    FeedReason.TOO_MANY_LOST: "if the loss is real, raise max_drop_ratio of the shop for one run",
    FeedReason.TOO_MANY_NEW: "if the shop has grown so much, raise max_growth_ratio of the shop for one run",
    FeedReason.TOO_MANY_UNMAPPED: "map the shop's new words, then run again with --force; if it does sell other things now, "
    "raise max_drop_ratio of the shop for one run",
}

_STAGED_OFFERS_SCHEMA = pa.schema([*OFFERS.arrow_schema, pa.field("position", pa.int64())])
_STAGED_NON_OFFERS_SCHEMA = pa.schema(
    [
        ("offer_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("position", pa.int64()),
    ]
)
_OFFER_COLUMNS = ", ".join(OFFERS.column_names)

# The last record of an id counts, whatever it says. Of a delta's shop the earlier run's rows stay where no record speaks of them.
_LAST_RECORDS_SQL = """
CREATE TEMP TABLE last AS SELECT offer_id, max(position) AS position
FROM (SELECT offer_id, position FROM read UNION ALL SELECT offer_id, position FROM unread WHERE offer_id IS NOT NULL) GROUP BY offer_id
"""
_WRITTEN_OFFERS_SQL = f"""
SELECT {_OFFER_COLUMNS} FROM read SEMI JOIN last USING (offer_id, position)
UNION ALL SELECT {_OFFER_COLUMNS} FROM old_offers WHERE shop_id = $shop AND offer_id NOT IN (SELECT offer_id FROM last)
ORDER BY product_id
"""
_REFUSED_OFFERS_SQL = f"""
SELECT 'offers' AS stage, $shop AS shop_id, 'offer' AS kind, $shop || ':' || coalesce(offer_id, '#' || position) AS key, reason, detail
FROM unread WHERE reason IS NOT NULL AND (offer_id IS NULL OR (offer_id, position) IN (SELECT (offer_id, position) FROM last))
UNION ALL SELECT 'offers', $shop, 'offer', $shop || ':' || offer_id || '#' || earlier.position, '{OfferReason.DUPLICATE_ID}',
    'offer ' || earlier.position || ' of the feed; offer ' || last.position || ' has the same id and counts'
FROM (SELECT offer_id, position FROM read UNION ALL SELECT offer_id, position FROM unread WHERE reason IS NOT NULL) AS earlier
JOIN last USING (offer_id) WHERE earlier.position < last.position
UNION ALL SELECT stage, shop_id, kind, key, reason, detail FROM old_refused
WHERE shop_id = $shop AND reason NOT IN ('{OfferReason.DUPLICATE_ID}', '{OfferReason.MISSING_ID}')
    AND key NOT IN (SELECT $shop || ':' || offer_id FROM last)
ORDER BY key
"""


# A shop's offers (tables.OFFERS) to what its mapping makes of them: (products, refused).
OfferMapper = Callable[[pa.Table], tuple[pa.Table, pa.Table]]


@dataclass(frozen=True, slots=True)
class LastGoodFeed:
    """A shop's last good offers.

    source_run: the run that pulled them. written_count: how many. offers, refused: the Parquet files that hold them,
    other shops' rows among them.
    """

    source_run: str
    written_count: int
    offers_files: tuple[Path, ...]
    refused_files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What came of a shop's feed. row: of tables.FEEDS. folder: holds offers.parquet (tables.OFFERS, in order of
    product_id) and refused.parquet (tables.REFUSED, in order of key). repairs: how often each kind of warning came."""

    feed_row: dict[str, Any]
    folder: Path
    warning_counts: dict[str, int] = field(default_factory=dict)


def ingest_shop(
    shop: ShopSettings,
    run: str,
    folder: Path,
    previous: LastGoodFeed | None,
    map_offers: OfferMapper | None = None,
) -> IngestResult:
    """Pulls a shop's feed and leaves its offers in `folder`, which must exist. mapped: None for a shop without a mapping.

    A feed of no use (see FeedReason) keeps the offers of `previous`, row by row; without any, the shop is missing.
    """
    row: dict[str, Any] = {
        "shop_id": shop.id,
        "status": "fresh",
        "source_run": run,
        "withdrawn_count": 0,
        "warnings_count": 0,
    }
    with TemporaryDirectory(dir=folder) as scratch:
        try:
            reading = _download_feed(shop, Path(scratch), row)
            withdrawn_count = _stage_records(reading, Path(scratch), row)
            counts = _deduplicate(shop, Path(scratch), folder, previous if shop.is_delta else None)
            _check_volume(shop, counts, previous)
            if previous and map_offers:
                _check_mapped_share(shop, folder / "offers.parquet", previous, map_offers)
        except BadFeed as error:
            told = {
                "reason": str(error.reason),
                "detail": shop.redact_secrets(address_guard.redact_url(error.detail)),
            }
            return IngestResult({**row, **told, **_copy_last_good(shop, folder, previous)}, folder)
    # A delta's offers are counted with those it left as they were.
    read_count = sum(counts) + withdrawn_count if shop.is_delta else reading.offers_count
    row |= {
        "offers_count": read_count,
        "written_count": counts[0],
        "refused_count": counts[1],
        "withdrawn_count": withdrawn_count,
    }
    return IngestResult(
        {**row, "warnings_count": reading.warning_counts.total()},
        folder,
        dict(sorted(reading.warning_counts.items())),
    )


def _download_feed(shop: ShopSettings, scratch: Path, row: dict[str, Any]) -> FeedReader:
    """The feed, fetched and ready to be read; its size and hash go into `row`. Raises BadFeed."""
    path = scratch / "feed"
    guard = address_guard.AddressGuard(shop.allowed_networks, shop.allowed_ports)
    try:
        answer = http_client.download(shop.feed, path, guard=guard, max_bytes=shop.max_feed_bytes)
    except http_client.FetchError as error:
        if error.reason is http_client.FetchReason.HTTP_400 and shop.dialect == "admitad":
            raise BadFeed(FeedReason.CLOSED, error.detail) from error
        same = next(
            (reason for reason in FeedReason if reason == error.reason), FeedReason.NOT_FETCHED
        )
        raise BadFeed(same, f"{error.reason}: {error.detail}") from error
    row["feed_bytes"] = answer.size_bytes
    # Of what was packed, not of the packing: gzip puts the hour into its bytes.
    digest = hashlib.sha256()
    for block in unpack_chunks(path, shop.max_feed_bytes):
        digest.update(block)
    row["feed_sha256"] = digest.hexdigest()
    charset = re.search(
        r"""charset=["']?([\w.:-]+)""", answer.headers.get("content-type", ""), re.IGNORECASE
    )
    return read_offers(path, shop, charset[1] if charset else None)


def _stage_records(reading: FeedReader, scratch: Path, row: dict[str, Any]) -> int:
    """Reads the feed into read.parquet and unread.parquet, with each record's place in it; returns how many are withdrawn."""
    withdrawn_count = 0
    offers: list[tuple[Any, ...]] = []
    others: list[tuple[Any, ...]] = []
    with (
        pq.ParquetWriter(scratch / "read.parquet", _STAGED_OFFERS_SCHEMA) as read,
        pq.ParquetWriter(scratch / "unread.parquet", _STAGED_NON_OFFERS_SCHEMA) as unread,
    ):
        for position, record in enumerate(reading, 1):
            if isinstance(record, Offer):
                offers.append((*record, position))
            elif isinstance(record, WithdrawnOffer):
                withdrawn_count += 1
                others.append((record.offer_id, None, None, position))
            else:
                others.append((*record, position))
            if position % BATCH_ROWS == 0:
                _flush_rows(read, offers)
                _flush_rows(unread, others)
        row["dialect"] = reading.dialect
        _flush_rows(read, offers)
        _flush_rows(unread, others)
    return withdrawn_count


def _flush_rows(writer: pq.ParquetWriter, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        arrays = [
            pa.array(values, kind.type)
            for values, kind in zip(zip(*rows, strict=True), writer.schema, strict=True)
        ]
        writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))
        rows.clear()


def _deduplicate(
    shop: ShopSettings, scratch: Path, folder: Path, base: LastGoodFeed | None
) -> tuple[int, int]:
    """Sorts what was read, the last record of an id counting, over what `base` had; returns (written, refused) counts."""
    with _open_duckdb(scratch, base) as database:
        database.read_parquet(str(scratch / "read.parquet")).create_view("read")
        database.read_parquet(str(scratch / "unread.parquet")).create_view("unread")
        database.execute(_LAST_RECORDS_SQL)
        return _write_tables(database, _WRITTEN_OFFERS_SQL, _REFUSED_OFFERS_SQL, shop, folder)


def _check_volume(
    shop: ShopSettings, counts: tuple[int, int], previous: LastGoodFeed | None
) -> None:
    """Raises BadFeed where too few usable offers are left, too many of the last good ones are lost, or there are far more than those."""
    written_count, refused_count = counts
    if written_count < shop.min_offers:
        found = f"{written_count:,} usable offers, {refused_count:,} refused"
        raise BadFeed(
            FeedReason.TOO_FEW, f"{found}; wanted at least min_offers = {shop.min_offers:,}"
        )
    if not previous:
        return
    before, found = (
        previous.written_count,
        f"{written_count:,} usable offers after {previous.written_count:,} in run {previous.source_run}",
    )
    if before - written_count > shop.max_drop_ratio * before:
        raise BadFeed(
            FeedReason.TOO_MANY_LOST,
            f"{found}; wanted to lose at most max_drop_ratio = {shop.max_drop_ratio:g}",
        )
    if written_count - before > max(MAX_UNCHECKED_GAIN_OFFERS, shop.max_growth_ratio * before):
        raise BadFeed(
            FeedReason.TOO_MANY_NEW,
            f"{found}; wanted to gain at most max_growth_ratio = {shop.max_growth_ratio:g}",
        )


def _check_mapped_share(
    shop: ShopSettings, offers_file: Path, previous: LastGoodFeed, map_offers: OfferMapper
) -> None:
    """Raises BadFeed where far fewer offers have categories that the mapping knows than the last good ones have, by the same mapping."""
    found, words = _count_mapped(pq.ParquetFile(offers_file).iter_batches(BATCH_ROWS), map_offers)
    held = ds.dataset(
        [str(path) for path in previous.offers_files], schema=OFFERS.arrow_schema, format="parquet"
    )
    before, _ = _count_mapped(
        held.to_batches(filter=pc.field("shop_id") == shop.id, batch_size=BATCH_ROWS), map_offers
    )
    if before - found > shop.max_drop_ratio * before:
        told = ", ".join(
            f"{word!r} ({count:,})" for word, count in words.most_common(MAX_SHOWN_WORDS)
        )
        more = f" and {len(words) - MAX_SHOWN_WORDS} more" if len(words) > MAX_SHOWN_WORDS else ""
        raise BadFeed(
            FeedReason.TOO_MANY_UNMAPPED,
            f"{found:,} offers of categories that the mapping knows after {before:,} in run {previous.source_run}; wanted to lose at "
            f"most max_drop_ratio = {shop.max_drop_ratio:g}; not mapped: {told or 'none'}{more}",
        )


def _count_mapped(
    batches: Iterable[pa.RecordBatch], map_offers: OfferMapper
) -> tuple[int, Counter[str]]:
    """How many offers become products, and the words that no line of the mapping knows, by their count of offers."""
    count, words = 0, Counter[str]()
    for batch in batches:
        if batch.num_rows:
            products, refused = map_offers(pa.Table.from_batches([batch]))
            count += products.num_rows
            words.update(
                refused.filter(pc.field("reason") == catalog.CategoryReason.UNMAPPED_CATEGORY)[
                    "detail"
                ].to_pylist()
            )
    return count, words


def _copy_last_good(
    shop: ShopSettings, folder: Path, previous: LastGoodFeed | None
) -> dict[str, Any]:
    """Copies the shop's last good rows as they are; returns what the row of tables.FEEDS says of them."""
    with (
        TemporaryDirectory(dir=folder) as scratch,
        _open_duckdb(Path(scratch), previous) as database,
    ):
        offers = (
            f"SELECT {_OFFER_COLUMNS} FROM old_offers WHERE shop_id = $shop ORDER BY product_id"
        )
        written_count, refused_count = _write_tables(
            database,
            offers,
            "SELECT * FROM old_refused WHERE shop_id = $shop ORDER BY key",
            shop,
            folder,
        )
    return {
        "status": "stale" if previous else "missing",
        "source_run": previous.source_run if previous else None,
        "offers_count": written_count + refused_count,
        "written_count": written_count,
        "refused_count": refused_count,
    }


def _open_duckdb(scratch: Path, base: LastGoodFeed | None) -> duckdb.DuckDBPyConnection:
    """DuckDB that sorts on disk what does not fit, and knows the earlier run's old_offers and old_refused."""
    database = duckdb.connect(
        config={
            "memory_limit": SORT_MEMORY_LIMIT,
            "threads": 1,
            "temp_directory": str(scratch / "sort"),
        }
    )
    for name, table, files in (
        ("old_offers", OFFERS, base.offers_files if base else ()),
        ("old_refused", REFUSED, base.refused_files if base else ()),
    ):
        # A column that an earlier version did not have is null.
        held = ds.dataset([str(f) for f in files], schema=table.arrow_schema, format="parquet")
        database.from_arrow(held).create_view(name)
    return database


def _write_tables(
    database: duckdb.DuckDBPyConnection,
    offers_sql: str,
    refused_sql: str,
    shop: ShopSettings,
    folder: Path,
) -> tuple[int, int]:
    """Writes both queries' rows into offers.parquet and refused.parquet; returns how many each has."""
    counts: Counter[str] = Counter()
    wanted: Mapping[str, tuple[str, pa.Schema]] = {
        "offers": (offers_sql, OFFERS.arrow_schema),
        "refused": (refused_sql, REFUSED.arrow_schema),
    }
    for name, (query, schema) in wanted.items():
        with pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
            for batch in database.sql(query, params={"shop": shop.id}).to_arrow_reader(BATCH_ROWS):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                counts[name] += batch.num_rows
    return counts["offers"], counts["refused"]
