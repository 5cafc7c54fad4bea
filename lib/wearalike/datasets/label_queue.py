"""The pictures of a run to label, those first of which the detector is least sure.

The margin of a picture is c1 - c2. c1 is the confidence of the surest box that may stand for the
picture's product: one of the product's super-category, else one whose super-category the detector
does not name. c2 is the confidence of the surest other such box that overlaps the first. A box
that is missing counts 0. So a picture without any such box has margin 0, and two boxes that fight
for one garment have nearly 0. (Margin sampling: Scheffer, Decomain and Wrobel, "Active Hidden
Markov Models for Information Extraction", IDA 2001.)
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from wearalike.datasets.picture_labels import LabelPicture
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, ITEMS, PRODUCTS

# More than people label of one run.
MAX_PICTURES = 1000
MARGIN_TEXT = (
    "The margin is the confidence of the surest box that may show the product, less that of the "
    "surest other one that overlaps it."
)

# $1: pictures. A picture of several products is taken for the first of them.
_QUEUE_SQL = """
WITH shown AS (
    SELECT i.image_id, i.format, i.width_px, i.height_px, p.product_id, p.super_category,
        CASE WHEN p.group_id IS NULL THEN p.product_id ELSE p.shop_id || ':' || p.group_id END
            AS article
    FROM images i JOIN products p USING (product_id)
    QUALIFY row_number() OVER (PARTITION BY i.image_id ORDER BY p.product_id) = 1),
near AS (
    SELECT s.image_id, t.item_id, t.x0, t.y0, t.x1, t.y1, t.confidence,
        rank() OVER (PARTITION BY s.image_id ORDER BY t.super_category IS NULL) AS choice
    FROM shown s JOIN items t ON t.image_id = s.image_id
        AND (t.super_category IS NULL OR t.super_category = s.super_category)),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY image_id ORDER BY confidence DESC, item_id) AS place
    FROM near WHERE choice = 1),
best AS (SELECT * FROM ranked WHERE place = 1),
rivals AS (
    SELECT r.image_id, max(r.confidence) AS confidence
    FROM ranked r JOIN best b USING (image_id)
    WHERE r.place > 1 AND least(r.x1, b.x1) > greatest(r.x0, b.x0)
        AND least(r.y1, b.y1) > greatest(r.y0, b.y0)
    GROUP BY r.image_id)
SELECT s.image_id, s.format, s.width_px, s.height_px, s.product_id, s.article,
    round(coalesce(b.confidence, 0)::DOUBLE - coalesce(r.confidence, 0)::DOUBLE, 6) AS margin
FROM shown s LEFT JOIN best b USING (image_id) LEFT JOIN rivals r USING (image_id)
ORDER BY margin, image_id LIMIT $1
"""


def read_queue(root: Path, run: str, limit: int = MAX_PICTURES) -> list[LabelPicture]:
    """Return the pictures of a run by rising margin.

    Args:
        root: The data folder.
        run: The run; its tables products, images and items must be finished.
        limit: Most pictures.

    Returns:
        The pictures; of equal margins in the order of image_id, which is as good as drawn.

    Raises:
        TableNotFound: A table is not finished.
    """
    with duckdb.connect() as con:
        for table in (PRODUCTS, IMAGES, ITEMS):
            con.register(table.name, run_tables.open_dataset(root, table, run))
        rows = con.execute(_QUEUE_SQL, [limit]).fetchall()
    return [LabelPicture(*row) for row in rows]
