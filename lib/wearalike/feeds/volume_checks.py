"""Refuse a feed that lost, gained or failed to map far too many offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike import catalog
from wearalike.feeds.errors import BadFeed, FeedReason
from wearalike.feeds.staging import BATCH_ROWS, LastGoodFeed
from wearalike.settings import ShopSettings
from wearalike.tables import OFFERS

# An error names at most so many of the words that no mapping line knows.
MAX_SHOWN_WORDS = 10
# A smaller gain is no reason to doubt a feed.
MAX_UNCHECKED_GAIN_OFFERS = 100

# Maps offers of a shop (tables.OFFERS) to (products, refused), as catalog.map_offers does.
OfferMapper = Callable[[pa.Table], tuple[pa.Table, pa.Table]]


def check_volume(
    shop: ShopSettings, written_count: int, refused_count: int, previous: LastGoodFeed | None
) -> None:
    """Compare the number of usable offers with the shop's limits.

    Args:
        shop: The shop and its min_offers, max_drop_ratio and max_growth_ratio.
        written_count: Usable offers of the feed.
        refused_count: Refused offers of the feed.
        previous: The last good offers, if there are any.

    Raises:
        BadFeed: TOO_FEW, TOO_MANY_LOST or TOO_MANY_NEW.
    """
    if written_count < shop.min_offers:
        raise BadFeed(
            FeedReason.TOO_FEW,
            f"{written_count:,} usable offers, {refused_count:,} refused; "
            f"wanted at least min_offers = {shop.min_offers:,}",
        )
    if not previous:
        return
    before = previous.written_count
    change = f"{written_count:,} usable offers after {before:,} in run {previous.source_run}"
    if before - written_count > shop.max_drop_ratio * before:
        raise BadFeed(
            FeedReason.TOO_MANY_LOST,
            f"{change}; wanted to lose at most max_drop_ratio = {shop.max_drop_ratio:g}",
        )
    if written_count - before > max(MAX_UNCHECKED_GAIN_OFFERS, shop.max_growth_ratio * before):
        raise BadFeed(
            FeedReason.TOO_MANY_NEW,
            f"{change}; wanted to gain at most max_growth_ratio = {shop.max_growth_ratio:g}",
        )


def check_mapped_share(
    shop: ShopSettings, offers_file: Path, previous: LastGoodFeed, map_offers: OfferMapper
) -> None:
    """Compare how many offers the shop's mapping knows with how many it knew of the last good feed.

    Both counts use today's mapping.

    Args:
        shop: The shop and its max_drop_ratio.
        offers_file: Parquet of the new offers (tables.OFFERS).
        previous: The last good offers.
        map_offers: The shop's mapping.

    Raises:
        BadFeed: TOO_MANY_UNMAPPED.
    """
    new_batches = pq.ParquetFile(offers_file).iter_batches(BATCH_ROWS)
    count, unmapped_words = _count_mapped(new_batches, map_offers)
    old_files = [str(path) for path in previous.offers_files]
    old_offers = ds.dataset(old_files, schema=OFFERS.arrow_schema, format="parquet")
    old_batches = old_offers.to_batches(
        filter=pc.field("shop_id") == shop.id, batch_size=BATCH_ROWS
    )
    before, _ = _count_mapped(old_batches, map_offers)
    if before - count <= shop.max_drop_ratio * before:
        return
    shown_words = ", ".join(
        f"{word!r} ({offers:,})" for word, offers in unmapped_words.most_common(MAX_SHOWN_WORDS)
    )
    hidden_count = len(unmapped_words) - MAX_SHOWN_WORDS
    more = f" and {hidden_count} more" if hidden_count > 0 else ""
    raise BadFeed(
        FeedReason.TOO_MANY_UNMAPPED,
        f"{count:,} offers of categories that the mapping knows after {before:,} "
        f"in run {previous.source_run}; "
        f"wanted to lose at most max_drop_ratio = {shop.max_drop_ratio:g}; "
        f"not mapped: {shown_words or 'none'}{more}",
    )


def _count_mapped(
    batches: Iterable[pa.RecordBatch], map_offers: OfferMapper
) -> tuple[int, Counter[str]]:
    """Return the number of offers that become products, and the offers of each unmapped word."""
    count = 0
    unmapped_words = Counter[str]()
    for batch in batches:
        if not batch.num_rows:
            continue
        products, refused = map_offers(pa.Table.from_batches([batch]))
        count += products.num_rows
        is_unmapped = pc.field("reason") == catalog.CategoryReason.UNMAPPED_CATEGORY
        unmapped_words.update(refused.filter(is_unmapped)["detail"].to_pylist())
    return count, unmapped_words
