"""Products whose pictures contradict their mapping: a CSV file, and a table on the run's page."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from PIL import Image

from wearalike.imaging import decode
from wearalike.storage import content_cache

FILE_NAME = "contradicted_mappings.csv"
# Products with their pictures, and lines of mappings, on the page; the file has all products.
MAX_PAGE_PRODUCTS = 24
MAX_PAGE_LINES = 40
_THUMBNAIL_PX = 96
_COLUMNS = (
    "shop_id",
    "product_id",
    "title",
    "shop_category",
    "category",
    "leaf",
    "probability",
    "category_probability",
    "url",
    "image_id",
)
# Characters at which a spreadsheet begins a formula; a feed's text may begin with one.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

# The surest first: those whose pictures show least of the mapped kind.
PRODUCTS_SQL = """
SELECT p.shop_id, l.product_id, p.title, p.category_paths[1] AS shop_category, p.category, l.leaf,
    l.probability, l.category_probability, p.url, i.image_id
FROM product_leaves AS l
JOIN products AS p USING (product_id)
JOIN items AS i USING (item_id)
WHERE l.contradicts
ORDER BY l.category_probability, l.probability DESC, l.product_id
"""

# A line of a mapping that many pictures contradict is likely wrong; a single product more likely
# has a wrong picture, or lies in the wrong category of its shop.
LINES_SQL = """
SELECT p.shop_id, p.category_paths[1] AS shop_category, p.category,
    count(*) FILTER (l.contradicts) AS contradicted, count(*) AS products,
    mode(l.leaf) FILTER (l.contradicts) AS leaf
FROM products AS p JOIN product_leaves AS l USING (product_id)
GROUP BY ALL HAVING contradicted > 0
ORDER BY contradicted / products DESC, contradicted DESC, p.shop_id, shop_category, p.category
"""


def list_contradictions(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return every product whose pictures contradict its mapping, the surest first.

    Args:
        con: The run's tables, opened by quality.metrics.open_run_tables.
    """
    return _query_rows(con, PRODUCTS_SQL)


def list_contradicted_lines(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the shops' categories with such products, those with the greatest share first.

    Args:
        con: The run's tables, opened by quality.metrics.open_run_tables.
    """
    return _query_rows(con, LINES_SQL)


def format_csv(contradictions: list[dict[str, Any]]) -> str:
    """Return the file of all such products, with a heading.

    Args:
        contradictions: Rows of `list_contradictions`.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in contradictions:
        numbers = {k: f"{v:.3f}" for k, v in row.items() if isinstance(v, float)}
        writer.writerow({k: _guard_formula(v) for k, v in row.items()} | numbers)
    return out.getvalue()


def add_pictures(root: Path, contradictions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first of such products with a small picture each.

    Args:
        root: The data folder.
        contradictions: Rows of `list_contradictions`.

    Returns:
        At most MAX_PAGE_PRODUCTS rows with `picture`, a data: URI; None where its file is gone.
    """
    return [
        {**row, "picture": _read_thumbnail(root, row["image_id"])}
        for row in contradictions[:MAX_PAGE_PRODUCTS]
    ]


def _guard_formula(value: object) -> object:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _read_thumbnail(root: Path, image_id: str) -> str | None:
    """Return a small copy of a stored image as a data: URI; None if it cannot be read."""
    try:
        rgb = decode.decode_image(content_cache.read_image(root, image_id), _THUMBNAIL_PX)
    except (content_cache.LostImage, decode.BadPixels):
        return None
    jpeg = io.BytesIO()
    Image.fromarray(rgb).save(jpeg, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def _query_rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts."""
    cursor = con.execute(sql)
    names = [c[0] for c in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
