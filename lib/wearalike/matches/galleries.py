"""The products of one super-category, side by side for the search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike import merchandising
from wearalike.tables import Availability
from wearalike.texts import Texts, shared


@dataclass(frozen=True, slots=True)
class Gallery:
    """The products of one super-category that have a code; row i of every array is the same product, in product_id order.

    product_ids, item_ids: (n,). codes: uint64 (n, 4), two words of shape, two of colour. w_shape, w_colour: int32 (n,).
    gender, age_group: object (n,). is_in_stock: bool (n,). groups, brands: int64 (n,), equal for products of one group or
    brand, negative and unlike any other where a product has none. pages: what the merchandiser's rules look at.
    """

    product_ids: Texts | NDArray[np.object_]
    item_ids: Texts | NDArray[np.object_]
    codes: NDArray[np.uint64]
    w_shape: NDArray[np.int32]
    w_colour: NDArray[np.int32]
    gender: NDArray[np.object_]
    age_group: NDArray[np.object_]
    is_in_stock: NDArray[np.bool_]
    groups: NDArray[np.int64]
    brands: NDArray[np.int64]
    pages: merchandising.Pages

    def __len__(self) -> int:
        return len(self.product_ids)


# The columns of tables.PRODUCTS that a gallery is made of.
PRODUCT_COLUMNS = [*merchandising.COLUMNS, "group_id", "availability", "gender", "age_group", "w_shape", "w_colour"]


def gallery(entries: pa.Table, codes: NDArray[np.uint8], products: pa.Table) -> Gallery:
    """A gallery of one super-category.

    entries: tables.ENTRIES in product_id order. codes: uint8 (n, 32), row i of entry i, shape then colour.
    products: at least these, with PRODUCT_COLUMNS. Raises ValueError where an entry has no product.
    """
    at = pc.index_in(entries["product_id"], products["product_id"].combine_chunks())
    if at.null_count:
        raise ValueError(f"{at.null_count} entries have no product, e.g. {entries['product_id'].filter(pc.is_null(at))[0]}")
    product_ids = Texts(entries["product_id"])

    def column(name: str) -> pa.ChunkedArray:
        """A column of the products, row i that of entry i; made when asked for, so that there is one at a time."""
        return products[name].take(at)

    groups = pc.binary_join_element_wise(column("shop_id"), pc.utf8_lower(column("group_id")), "\n")
    return Gallery(
        product_ids=product_ids,
        item_ids=Texts(entries["item_id"]),
        codes=np.ascontiguousarray(codes).view(np.uint64),
        w_shape=column("w_shape").to_numpy().astype(np.int32),
        w_colour=column("w_colour").to_numpy().astype(np.int32),
        gender=shared(column("gender")),
        age_group=shared(column("age_group")),
        is_in_stock=pc.equal(column("availability"), Availability.IN_STOCK.value).to_numpy(zero_copy_only=False),
        groups=_alike(groups),
        brands=_alike(pc.utf8_lower(column("brand"))),
        pages=merchandising.pages(column, product_ids),
    )


def _alike(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Equal numbers for equal texts; a number of its own, below 0, for every null."""
    numbers = pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers)
