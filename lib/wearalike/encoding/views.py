"""Views of products in images, as the encoder sees them in the foreground (tables.ImageView)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.tables import ImageView

# Views whose codes tell little, and which show no look.
PARTIAL_VIEWS = (ImageView.BACK, ImageView.DETAIL)
# Views of somebody who wears the product, as encoders tell them.
WORN_VIEWS = (ImageView.FIGURE, ImageView.FRONT)


def image_ids_with_views(items: pa.Table, codes: pa.Table, views: Sequence[ImageView]) -> pa.Array:
    """Return the ids of the images that show one of some views.

    Images of unknown view are not among them.

    Args:
        items: Rows of tables.ITEMS. The item without a super-category is the foreground.
        codes: item_id and view of tables.CODES.
        views: The views.

    Returns:
        Ids, string.
    """
    is_wanted = pc.is_in(codes["view"], pa.array(views, pa.string()))
    item_ids = codes.filter(is_wanted)["item_id"].combine_chunks()
    is_foreground = pc.is_null(items["super_category"])
    foregrounds = items.filter(pc.and_(is_foreground, pc.is_in(items["item_id"], item_ids)))
    return foregrounds["image_id"].combine_chunks()


def merge_facing(view: ImageView | None, facing: ImageView | None) -> ImageView | None:
    """Return the view that an encoder and a pose together tell.

    A pose may be seen in a flat garment, too. So it speaks only where the encoder does not see one,
    and says a back only where the encoder sees somebody.

    Args:
        view: As the encoder says; None if it is not confident.
        facing: FIGURE, FRONT or BACK, as the pose says; None if it is not sure.
    """
    if facing == ImageView.BACK and view in WORN_VIEWS:
        return ImageView.BACK
    if facing == ImageView.FIGURE and (view is None or view in WORN_VIEWS):
        return ImageView.FIGURE
    if facing == ImageView.FRONT and view is None:
        return ImageView.FRONT
    return view
