"""What a picture shows of a product, as the encoder sees it in what stands out (tables.ImageView)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.tables import ImageView

# Of these a code tells little, and no look can be taken.
PARTIAL_VIEWS = (ImageView.BACK, ImageView.DETAIL)


def image_ids_with_views(items: pa.Table, codes: pa.Table, views: Sequence[ImageView]) -> pa.Array:
    """The ids of the images that show one of these views; an image of which nobody says what it shows is not among them.

    items: rows of tables.ITEMS; the one without a super-category is what stands out. codes: item_id and view of tables.CODES.
    """
    of = codes.filter(pc.is_in(codes["view"], pa.array(views, pa.string())))[
        "item_id"
    ].combine_chunks()
    outlines = items.filter(
        pc.and_(pc.is_null(items["super_category"]), pc.is_in(items["item_id"], of))
    )
    return outlines["image_id"].combine_chunks()
