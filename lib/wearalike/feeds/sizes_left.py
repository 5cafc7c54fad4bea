"""Count the sizes in which an article is left, whether its shop writes one offer a size or one."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike.tables import Availability

_SIZES_LEFT_SQL = f"""
WITH sized AS (
    SELECT product_id, shop_id, coalesce(article_id, product_id) AS article, colours, availability,
        sizes
    FROM offers WHERE len(sizes) > 0),
    left_over AS (
        SELECT shop_id, article, colours, count(DISTINCT lower(size)) AS sizes_left
        FROM (SELECT *, unnest(sizes) AS size FROM sized
            WHERE availability = '{Availability.IN_STOCK}')
        GROUP BY ALL)
SELECT product_id, coalesce(sizes_left, 0)::INTEGER AS sizes_left
FROM sized LEFT JOIN left_over USING (shop_id, article, colours) ORDER BY product_id
"""


class SizesLeft:
    """The sizes in stock of each offer's article, of its colours, in its shop.

    Args:
        offers: tables.OFFERS.
    """

    def __init__(self, offers: ds.Dataset) -> None:
        with duckdb.connect() as database:
            database.register("offers", offers)
            found = database.sql(_SIZES_LEFT_SQL).to_arrow_table().combine_chunks()
        self._product_ids = found["product_id"].combine_chunks()
        self._counts = found["sizes_left"].combine_chunks()

    def of_products(self, product_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return how many sizes are left, int32; null where the feed names none."""
        return self._counts.take(pc.index_in(product_ids, self._product_ids))
