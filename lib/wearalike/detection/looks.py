"""Find looks: the other items that a product is worn with in its own pictures.

A look comes only from a full figure. There, a detector that names super-categories has found the
product's own item. It has also found two garments or shoes of different super-categories, one above
the other; the product may be one of them.

The product itself is never part of its look. So its look has nothing of its super-category and
nothing that lies on its item. It has nothing worn in its place either, such as trousers if it is a
dress. An item cut
off by the picture's edge has no shape to compare and is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.detection.detectors import MIN_CONFIDENCE
from wearalike.encoding import views
from wearalike.metrics.boxes import BOX_COLUMNS, box_corners, box_iou, item_scores
from wearalike.tables import LOOK_PRODUCTS, LOOKS, REFUSED, ImageView, SuperCategory, Table

ItemRow = Mapping[str, Any]


class LookReason(StrEnum):
    """Why a product has no look, or no recommendation for it."""

    NO_IMAGE = "no_image"
    NOT_WORN = "not_worn"  # no picture shows it on a figure with other things
    CUT_OFF = "cut_off"  # what else is worn is cut off by the picture's edge, or too small
    NO_CODE = "no_code"  # what else is worn could not be encoded
    NOTHING_ALIKE = "nothing_alike"  # nothing alike is in stock for the same people


# A figure is at least this many times as high as wide, and fills this share of the picture's
# height.
_MIN_FIGURE_ASPECT = 1.2
_MIN_FIGURE_HEIGHT_RATIO = 0.8
# Pictures that show no look.
_NON_FIGURE_VIEWS = (*views.PARTIAL_VIEWS, ImageView.FLAT)
# The detector sees at most this many pictures of a product.
MAX_IMAGES_PER_PRODUCT = 6
# Boxes with this IoU are one item, even if their super-categories differ.
_SAME_ITEM_IOU = 0.5
# Items are worn one above the other if their middles are this share of the figure's height apart.
_MIN_HEIGHT_GAP_RATIO = 0.2
# An item that comes closer to the picture's edge than this share of its side is cut off by it.
_EDGE_RATIO = 0.01
# The code of a smaller item says little.
_MIN_SIDE_PX = 16
# Only these make a figure: a bag with its buckle, or a skirt with its belt, is none.
_BODY_CATEGORIES = {
    SuperCategory.UPPER_WEAR,
    SuperCategory.LOWER_WEAR,
    SuperCategory.FULL_BODY,
    SuperCategory.OUTERWEAR,
    SuperCategory.FOOT_WEAR,
}
# Super-categories worn in place of another, never with it: of two detections one is wrong.
_EXCLUSIVE_CATEGORIES = {
    SuperCategory.FULL_BODY: {SuperCategory.UPPER_WEAR, SuperCategory.LOWER_WEAR},
    SuperCategory.UPPER_WEAR: {SuperCategory.FULL_BODY},
    SuperCategory.LOWER_WEAR: {SuperCategory.FULL_BODY},
}

# An item of a look: its product, and the item as detected.
WORN_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("super_category", pa.string()),
        ("image_id", pa.string()),
        ("item_id", pa.string()),
        *((name, pa.int32()) for name in BOX_COLUMNS),
        ("confidence", pa.float32()),
        ("worth", pa.float64()),
    ]
)


def figure_candidates(images: pa.Table, items: pa.Table, codes: pa.Table) -> pa.Table:
    """Return the images that may show a figure; the detector need not see the others.

    Their foreground is tall. If the encoder knows the view, it is of a person seen from the front.

    Args:
        images: Rows of tables.IMAGES.
        items: Rows of tables.ITEMS. The item without a super-category is the foreground, or the
            whole picture if the background is not plain.
        codes: item_id and view of tables.CODES.

    Returns:
        At most MAX_IMAGES_PER_PRODUCT rows a product, whole figures first.
    """
    images = images.filter(
        pc.invert(
            pc.is_in(
                images["image_id"], views.image_ids_with_views(items, codes, _NON_FIGURE_VIEWS)
            )
        )
    )
    outline = items.filter(pc.is_null(items["super_category"]))
    at = pc.index_in(images["image_id"], outline["image_id"].combine_chunks())
    images, outline = images.filter(pc.is_valid(at)), outline.take(pc.drop_null(at))
    height = pc.subtract(outline["y1"], outline["y0"]).to_numpy()
    width = pc.subtract(outline["x1"], outline["x0"]).to_numpy()
    is_tall = (height >= _MIN_FIGURE_ASPECT * width) & (
        height >= _MIN_FIGURE_HEIGHT_RATIO * images["height_px"].to_numpy()
    )
    candidates = images.filter(pa.array(is_tall))
    is_cut = pc.invert(
        pc.is_in(
            candidates["image_id"], views.image_ids_with_views(items, codes, (ImageView.FIGURE,))
        )
    )
    by = ("product_id", "is_cut", "position")
    candidates = (
        candidates.append_column("is_cut", is_cut)
        .sort_by([(name, "ascending") for name in by])
        .drop_columns("is_cut")
    )
    ids = candidates["product_id"].to_numpy(zero_copy_only=False)
    first = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.empty(0, np.int64)
    turn = np.arange(len(ids)) - np.repeat(first, np.diff(np.r_[first, len(ids)]))
    return candidates.filter(pa.array(turn < MAX_IMAGES_PER_PRODUCT))


def worn_items(
    products: pa.Table, images: pa.Table, detections: pa.Table
) -> tuple[pa.Table, set[str]]:
    """Return the items that products are worn with.

    Args:
        products: product_id and super_category.
        images: Rows of tables.IMAGES that the detector has seen.
        detections: Its items in them (columns of tables.ITEMS), the unnamed foreground too.

    Returns:
        Rows of WORN_SCHEMA, and the products shown on a full figure, with such an item or without.
    """
    own = dict(
        zip(*(products[name].to_pylist() for name in ("product_id", "super_category")), strict=True)
    )
    by_image: dict[str, list[ItemRow]] = defaultdict(list)
    for item in detections.to_pylist():
        by_image[item["image_id"]].append(item)
    rows: list[dict[str, Any]] = []
    figures: set[str] = set()
    for image in images.select(["product_id", "image_id", "width_px", "height_px"]).to_pylist():
        product_id, (width, height) = image["product_id"], (image["width_px"], image["height_px"])
        if product_id not in own:
            continue
        worn = worn_with_product(by_image[image["image_id"]], own[product_id], height)
        if worn:
            figures.add(product_id)
        whole = [item for item in worn if _is_whole(item, width, height)]
        rows += [
            {**item, "product_id": product_id, "worth": score}
            for item, score in zip(whole, item_scores(whole).tolist(), strict=True)
        ]
    return pa.Table.from_pylist(rows, WORN_SCHEMA), figures


def worn_with_product(items: list[ItemRow], own_category: str, height: int) -> list[ItemRow]:
    """Return the other items worn in a product's picture.

    Args:
        items: All detections in the picture.
        own_category: The product's super-category.
        height: Height of the picture in px, used if it has no foreground.

    Returns:
        Items by falling confidence-and-size score; none if the picture is no full figure.
    """
    ordered = [items[i] for i in np.argsort(-item_scores(items), kind="stable")]
    own_row = next(
        (i for i, item in enumerate(ordered) if item["super_category"] == own_category), None
    )
    if own_row is None:
        return []
    never_worn_with = {
        None,
        own_category,
        SuperCategory.UNDERWEAR,
        *_EXCLUSIVE_CATEGORIES.get(SuperCategory(own_category), ()),
    }
    corners = box_corners(ordered)
    overlaps = box_iou(corners, corners)
    separate_rows = [own_row]
    for i, item in enumerate(ordered):
        is_unsure = item["confidence"] < MIN_CONFIDENCE
        if is_unsure or item["super_category"] in never_worn_with:
            continue
        alternatives = _EXCLUSIVE_CATEGORIES.get(item["super_category"], ())
        is_same_item = (overlaps[i, separate_rows] >= _SAME_ITEM_IOU).any()
        if not is_same_item and all(
            ordered[o]["super_category"] not in alternatives for o in separate_rows
        ):
            separate_rows.append(i)
    tall = next(
        (item["y1"] - item["y0"] for item in items if item["super_category"] is None), height
    )
    middles = [
        (ordered[i]["y0"] + ordered[i]["y1"]) / 2
        for i in separate_rows
        if ordered[i]["super_category"] in _BODY_CATEGORIES
    ]
    if not middles or max(middles) - min(middles) < _MIN_HEIGHT_GAP_RATIO * tall:
        return []
    return [ordered[i] for i in separate_rows if i != own_row]


def _is_whole(item: ItemRow, width: int, height: int) -> bool:
    margin = min(
        item["x0"] / width, item["y0"] / height, 1 - item["x1"] / width, 1 - item["y1"] / height
    )
    return (
        margin >= _EDGE_RATIO
        and min(item["x1"] - item["x0"], item["y1"] - item["y0"]) >= _MIN_SIDE_PX
    )


def build_looks(
    products: pa.Table, images: pa.Table, worn: pa.Table, figures: set[str], codes: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """Build the looks of products, by product_id.

    Args:
        products: product_id and shop_id.
        images: Rows of tables.IMAGES.
        worn: Rows of WORN_SCHEMA of all these products.
        figures: The products shown on a full figure.
        codes: item_id, shape and colour; null if an item could not be encoded.

    Returns:
        Rows of tables.LOOKS, and of tables.REFUSED for the products without a look.
    """
    coded = worn.join(
        codes.filter(pc.is_valid(codes["shape"])).select(["item_id", "shape", "colour"]),
        "item_id",
        join_type="inner",
    )
    order = [
        ("product_id", "ascending"),
        ("super_category", "ascending"),
        ("worth", "descending"),
        ("item_id", "ascending"),
    ]
    items: dict[str, dict[str, ItemRow]] = defaultdict(dict)
    for row in coded.sort_by(order).to_pylist():
        items[row["product_id"]].setdefault(row["super_category"], row)
    rows = [
        {"product_id": product_id, "items": list(by_category.values())}
        for product_id, by_category in sorted(items.items())
    ]
    has_image, has_worn = set(images["product_id"].to_pylist()), set(worn["product_id"].to_pylist())
    refused = [
        (product_id, shop_id, _refusal_reason(product_id, has_image, figures, has_worn))
        for product_id, shop_id in sorted(
            zip(products["product_id"].to_pylist(), products["shop_id"].to_pylist(), strict=True)
        )
        if product_id not in items
    ]
    return pa.Table.from_pylist(rows, LOOKS.arrow_schema), _refused_rows(LOOKS, refused)


def _refusal_reason(
    product_id: str, has_image: set[str], figures: set[str], has_worn: set[str]
) -> LookReason:
    if product_id not in has_image:
        return LookReason.NO_IMAGE
    if product_id not in figures:
        return LookReason.NOT_WORN
    return LookReason.NO_CODE if product_id in has_worn else LookReason.CUT_OFF


def refuse_unmatched_looks(
    product_ids: pa.ChunkedArray, products: pa.Table, matched: pa.Table
) -> pa.Table:
    """Return tables.REFUSED of products with a look but no row in `matched`, LOOK_PRODUCTS.

    Args:
        product_ids: The products with a look.
        products: product_id and shop_id of at least these.
        matched: product_id of tables.LOOK_PRODUCTS.
    """
    left = product_ids.filter(
        pc.invert(pc.is_in(product_ids, matched["product_id"].combine_chunks()))
    )
    shops = products["shop_id"].take(pc.index_in(left, products["product_id"].combine_chunks()))
    return _refused_rows(
        LOOK_PRODUCTS,
        [
            (i, s, LookReason.NOTHING_ALIKE)
            for i, s in zip(left.to_pylist(), shops.to_pylist(), strict=True)
        ],
    )


def _refused_rows(table: Table, rows: list[tuple[str, str, LookReason]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"stage": table.name, "kind": "product", "key": key, "shop_id": shop, "reason": reason}
            for key, shop, reason in rows
        ],
        REFUSED.arrow_schema,
    )


def explode_looks(looks: pa.Table) -> pa.Table:
    """Return tables.LOOKS with one row for each item: product_id and the item's columns."""
    looks = looks.combine_chunks()
    rows = pc.list_flatten(looks["items"]).combine_chunks()
    at = pc.list_parent_indices(looks["items"])
    columns = dict(zip((field.name for field in rows.type), rows.flatten(), strict=True))
    return pa.table({"product_id": looks["product_id"].take(at), **columns})
