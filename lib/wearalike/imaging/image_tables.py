"""Image addresses of products, and the tables of images that downloaded rows become."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.tables import IMAGES, REFUSED

IMAGE_SOURCE_COLUMNS = ["product_id", "shop_id", "group_id", "article_id", "image_urls"]
_IMAGE_URLS_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("position", pa.int32()),
        ("image_url", pa.string()),
        ("shop_id", pa.string()),
        ("group", pa.string()),
    ]
)
_LEDGER_COLUMNS = ("image_id", "format", "width_px", "height_px", "bytes", "reason", "detail")


class ImageReason(StrEnum):
    """Why a downloaded image is refused.

    Other reasons come from http_client.FetchReason and decode.PixelReason.
    """

    PLACEHOLDER = "placeholder"
    UNEXPECTED = "unexpected"


def explode_image_urls(products: pa.Table) -> pa.Table:
    """Return one row for each image of each product.

    Args:
        products: tables.PRODUCTS, at least its IMAGE_SOURCE_COLUMNS.

    Returns:
        product_id, position (from 0), image_url, shop_id and group. The group tells models apart
        inside a shop: it is made of the article_id, else of the group_id, else of the product_id.
    """
    batches = products.select(IMAGE_SOURCE_COLUMNS).to_batches()
    return pa.Table.from_batches(map(_explode_batch, batches), _IMAGE_URLS_SCHEMA)


def _explode_batch(products: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of one batch of products."""
    urls = products["image_urls"]
    owner = pc.list_parent_indices(urls)
    counts = pc.list_value_length(urls).to_numpy()
    position = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    group = pc.coalesce(
        pc.binary_join_element_wise("product", products["article_id"], ":"),
        pc.binary_join_element_wise("group", products["group_id"], ":"),
        pc.binary_join_element_wise("product", products["product_id"], ":"),
    )
    columns = [
        products["product_id"].take(owner),
        pa.array(position, pa.int32()),
        pc.list_flatten(urls),
        products["shop_id"].take(owner),
        group.take(owner),
    ]
    return pa.record_batch(columns, schema=_IMAGE_URLS_SCHEMA)


def build_tables(
    image_urls: pa.Table, ledger_by_shop: Mapping[str, pa.Table], max_groups_per_image: int
) -> tuple[pa.Table, pa.Table]:
    """Build the images and the refused rows of a run.

    Args:
        image_urls: As `explode_image_urls` returns it.
        ledger_by_shop: For each shop its `read_ledger` of the run.
        max_groups_per_image: An image shared by more groups of a shop is a placeholder.

    Returns:
        (images, refused): tables.IMAGES by (product_id, position), and tables.REFUSED by key. Each
        row of `image_urls` is in exactly one of them.

    Raises:
        ValueError: An address was never requested.
    """
    images = [IMAGES.arrow_schema.empty_table()]
    refused = [REFUSED.arrow_schema.empty_table()]
    for shop_id, ledger in ledger_by_shop.items():
        rows = image_urls.filter(pc.equal(image_urls["shop_id"], shop_id))
        answers = ledger.take(pc.index_in(rows["image_url"], ledger["url"].combine_chunks()))
        if missing := answers["url"].null_count:
            raise ValueError(
                f"shop {shop_id}: {missing} of {rows.num_rows} images were never requested"
            )
        for column in _LEDGER_COLUMNS:
            rows = rows.append_column(column, answers[column])
        rows = _mark_placeholders(rows, max_groups_per_image)
        is_taken = pc.is_null(rows["reason"])
        taken = rows.filter(is_taken).select(IMAGES.column_names)
        images.append(taken.cast(IMAGES.arrow_schema))
        refused.append(_refused_rows(rows.filter(pc.invert(is_taken))))
    order = [("product_id", "ascending"), ("position", "ascending")]
    return pa.concat_tables(images).sort_by(order), pa.concat_tables(refused).sort_by("key")


def _mark_placeholders(rows: pa.Table, max_groups: int) -> pa.Table:
    """Return the rows with a reason for each image that more than `max_groups` groups share."""
    groups = rows.group_by("image_id").aggregate([("group", "count_distinct")])
    is_over = pc.greater(groups["group_count_distinct"], max_groups)
    shared = groups.filter(pc.and_(pc.is_valid(groups["image_id"]), is_over))
    is_shared = pc.is_in(rows["image_id"], shared["image_id"].combine_chunks())
    detail = f"more than {max_groups} groups of the shop show this image"
    for column, value in (("reason", ImageReason.PLACEHOLDER), ("detail", detail)):
        values = pc.if_else(is_shared, pa.scalar(str(value)), rows[column])
        rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    return rows


def _refused_rows(rows: pa.Table) -> pa.Table:
    """Return tables.REFUSED for rows of image addresses that have a reason."""
    position = rows["position"].cast(pa.string())
    columns = {
        "stage": pa.array([IMAGES.name] * rows.num_rows, pa.string()),
        "kind": pa.array(["image"] * rows.num_rows, pa.string()),
        "key": pc.binary_join_element_wise(rows["product_id"], position, "#"),
        "shop_id": rows["shop_id"],
        "reason": rows["reason"],
        "detail": rows["detail"],
    }
    return pa.table(columns).select(REFUSED.column_names).cast(REFUSED.arrow_schema)
