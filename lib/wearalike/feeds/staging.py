"""The records of one feed in Parquet files, sorted and deduplicated by DuckDB on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike.feeds.articles import count_evidence, find_articles
from wearalike.feeds.dialect import WithdrawnOffer
from wearalike.feeds.normalize import OfferReason
from wearalike.feeds.offers import Offer, RefusedOffer
from wearalike.tables import OFFERS, REFUSED

BATCH_ROWS = 8192
# DuckDB sorts on disk what exceeds this.
SORT_MEMORY_LIMIT = "256MB"

# position: the number of the record in the feed, from 1.
_STAGED_OFFERS_SCHEMA = pa.schema(
    [*(OFFERS.arrow_schema.field(name) for name in Offer._fields), pa.field("position", pa.int64())]
)
# Refused offers, and withdrawn ones with reason null.
_STAGED_NON_OFFERS_SCHEMA = pa.schema(
    [
        ("offer_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("position", pa.int64()),
    ]
)
_READ_COLUMNS = ", ".join(Offer._fields)
_OFFER_COLUMNS = ", ".join(OFFERS.column_names)

# The last record of an id counts, even if it is refused or withdrawn. For a shop with a delta feed,
# old_offers and old_refused hold the earlier run's rows; they stay where no record names their id.
_LAST_RECORDS_SQL = """
CREATE TEMP TABLE last AS
SELECT offer_id, max(position) AS position
FROM (
    SELECT offer_id, position FROM read
    UNION ALL
    SELECT offer_id, position FROM unread WHERE offer_id IS NOT NULL
)
GROUP BY offer_id
"""
_WRITTEN_OFFERS_SQL = f"""
CREATE TEMP TABLE written AS
SELECT {_READ_COLUMNS} FROM read SEMI JOIN last USING (offer_id, position)
UNION ALL
SELECT {_READ_COLUMNS} FROM old_offers
WHERE shop_id = $shop AND offer_id NOT IN (SELECT offer_id FROM last)
"""
_OFFERS_WITH_ARTICLES_SQL = f"""
SELECT {_OFFER_COLUMNS} FROM written LEFT JOIN articles USING (product_id) ORDER BY product_id
"""
_REFUSED_OFFERS_SQL = f"""
SELECT 'offers' AS stage, $shop AS shop_id, 'offer' AS kind,
    $shop || ':' || coalesce(offer_id, '#' || position) AS key, reason, detail
FROM unread
WHERE reason IS NOT NULL AND (
    offer_id IS NULL OR (offer_id, position) IN (SELECT (offer_id, position) FROM last)
)
UNION ALL
SELECT 'offers', $shop, 'offer', $shop || ':' || offer_id || '#' || earlier.position,
    '{OfferReason.DUPLICATE_ID}',
    'offer ' || earlier.position || ' of the feed; offer ' || last.position
        || ' has the same id and counts'
FROM (
    SELECT offer_id, position FROM read
    UNION ALL
    SELECT offer_id, position FROM unread WHERE reason IS NOT NULL
) AS earlier
JOIN last USING (offer_id)
WHERE earlier.position < last.position
UNION ALL
SELECT stage, shop_id, kind, key, reason, detail FROM old_refused
WHERE shop_id = $shop
    AND reason NOT IN ('{OfferReason.DUPLICATE_ID}', '{OfferReason.MISSING_ID}')
    AND key NOT IN (SELECT $shop || ':' || offer_id FROM last)
ORDER BY key
"""
_OLD_OFFERS_SQL = (
    f"SELECT {_OFFER_COLUMNS} FROM old_offers WHERE shop_id = $shop ORDER BY product_id"
)
_OLD_REFUSED_SQL = "SELECT * FROM old_refused WHERE shop_id = $shop ORDER BY key"


@dataclass(frozen=True, slots=True)
class LastGoodFeed:
    """The last good offers of a shop.

    Attributes:
        source_run: The run that downloaded them.
        written_count: Their number.
        offers_files: Parquet files that hold them (tables.OFFERS), among rows of other shops.
        refused_files: The same for the refused offers (tables.REFUSED).
    """

    source_run: str
    written_count: int
    offers_files: tuple[Path, ...]
    refused_files: tuple[Path, ...]


def stage_records(records: Iterable[Offer | RefusedOffer | WithdrawnOffer], scratch: Path) -> int:
    """Write the records of a feed to files in a scratch folder.

    Args:
        records: The records, in the order of the feed.
        scratch: The folder; it receives read.parquet and unread.parquet.

    Returns:
        The number of withdrawn offers.

    Raises:
        BadFeed: From the iteration over the records.
    """
    withdrawn_count = 0
    offers: list[tuple[Any, ...]] = []
    others: list[tuple[Any, ...]] = []
    with (
        pq.ParquetWriter(scratch / "read.parquet", _STAGED_OFFERS_SCHEMA) as read,
        pq.ParquetWriter(scratch / "unread.parquet", _STAGED_NON_OFFERS_SCHEMA) as unread,
    ):
        for position, record in enumerate(records, 1):
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
        _flush_rows(read, offers)
        _flush_rows(unread, others)
    return withdrawn_count


def _flush_rows(writer: pq.ParquetWriter, rows: list[tuple[Any, ...]]) -> None:
    """Write the rows and empty the list."""
    if not rows:
        return
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(values, column.type) for values, column in zip(columns, writer.schema, strict=True)
    ]
    writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))
    rows.clear()


def deduplicate(
    shop_id: str, scratch: Path, folder: Path, base: LastGoodFeed | None
) -> tuple[int, int, dict[str, int]]:
    """Write the last record of each offer id, and tell which offers are one article.

    Args:
        shop_id: The shop.
        scratch: The folder that `stage_records` filled.
        folder: Receives offers.parquet (by product_id) and refused.parquet (by key).
        base: The offers that a delta feed changes; None for a full feed.

    Returns:
        (written, refused, evidence): counts of rows, and of the offers that each kind of evidence
        joins with others.
    """
    with _open_duckdb(scratch, base) as database:
        database.read_parquet(str(scratch / "read.parquet")).create_view("read")
        database.read_parquet(str(scratch / "unread.parquet")).create_view("unread")
        database.execute(_LAST_RECORDS_SQL)
        database.execute(_WRITTEN_OFFERS_SQL, {"shop": shop_id})
        articles = find_articles(database)
        database.register("articles", articles)
        counts = _write_tables(
            database, _OFFERS_WITH_ARTICLES_SQL, _REFUSED_OFFERS_SQL, shop_id, folder
        )
        return (*counts, count_evidence(articles))


def copy_last_good(shop_id: str, folder: Path, previous: LastGoodFeed | None) -> dict[str, Any]:
    """Copy the last good rows of a shop unchanged.

    Args:
        shop_id: The shop.
        folder: Receives offers.parquet and refused.parquet.
        previous: The last good offers, if there are any.

    Returns:
        The columns of tables.FEEDS that describe the copied rows.
    """
    with (
        TemporaryDirectory(dir=folder) as scratch,
        _open_duckdb(Path(scratch), previous) as database,
    ):
        written_count, refused_count = _write_tables(
            database, _OLD_OFFERS_SQL, _OLD_REFUSED_SQL, shop_id, folder
        )
    return {
        "status": "stale" if previous else "missing",
        "source_run": previous.source_run if previous else None,
        "offers_count": written_count + refused_count,
        "written_count": written_count,
        "refused_count": refused_count,
    }


def _open_duckdb(scratch: Path, base: LastGoodFeed | None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB with the views old_offers and old_refused; it sorts in the scratch folder."""
    database = duckdb.connect(
        config={
            "memory_limit": SORT_MEMORY_LIMIT,
            "threads": 1,
            "temp_directory": str(scratch / "sort"),
        }
    )
    views = (
        ("old_offers", OFFERS, base.offers_files if base else ()),
        ("old_refused", REFUSED, base.refused_files if base else ()),
    )
    for name, table, files in views:
        # A column that an earlier version of the files lacks is null.
        rows = ds.dataset([str(f) for f in files], schema=table.arrow_schema, format="parquet")
        database.from_arrow(rows).create_view(name)
    return database


def _write_tables(
    database: duckdb.DuckDBPyConnection,
    offers_sql: str,
    refused_sql: str,
    shop_id: str,
    folder: Path,
) -> tuple[int, int]:
    """Write offers.parquet and refused.parquet; return the number of rows in each."""
    offers_count = _write_query(
        database, offers_sql, shop_id, folder / "offers.parquet", OFFERS.arrow_schema
    )
    refused_count = _write_query(
        database, refused_sql, shop_id, folder / "refused.parquet", REFUSED.arrow_schema
    )
    return offers_count, refused_count


def _write_query(
    database: duckdb.DuckDBPyConnection, query: str, shop_id: str, path: Path, schema: pa.Schema
) -> int:
    """Write the rows of a query to a file batch by batch; return their number."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        parameters = {"shop": shop_id} if "$shop" in query else None
        reader = database.sql(query, params=parameters).to_arrow_reader(BATCH_ROWS)
        for batch in reader:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
            count += batch.num_rows
    return count
