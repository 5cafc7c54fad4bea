"""The variants of one article: its products in several colours and sizes, of one shop or more."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.tables import PRODUCT_VARIANTS

_BATCH_ROWS = 8192
# Lists are compared entry by entry, in DuckDB and by the reader of the docs alike.
_VARIANTS_SQL = f"""
WITH joined AS (SELECT * FROM products WHERE article_id IS NOT NULL),
    ranked AS (
        SELECT *,
            row_number() OVER (
                PARTITION BY article_id ORDER BY shop_id, colour_names, sizes, product_id) AS rank,
            count(*) OVER (PARTITION BY article_id) AS variants_count
        FROM joined)
SELECT {", ".join(PRODUCT_VARIANTS.column_names)} FROM ranked WHERE variants_count > 1
ORDER BY product_id
"""


def iter_variants(products: ds.Dataset) -> Iterator[pa.RecordBatch]:
    """Yield rows of tables.PRODUCT_VARIANTS, by product_id.

    A product whose article has no other product in the run has no row.

    Args:
        products: tables.PRODUCTS.
    """
    with duckdb.connect(config={"threads": 1}) as database:
        database.register("products", products)
        yield from database.sql(_VARIANTS_SQL).to_arrow_reader(_BATCH_ROWS)
