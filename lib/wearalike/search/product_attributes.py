"""The facts of products that merchandising rules compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.storage.string_arrays import Texts, intern_texts

# The columns of tables.PRODUCTS that rules look at.
ATTRIBUTE_COLUMNS = ["product_id", "shop_id", "brand", "category", "price_cents", "currency"]


@dataclass(frozen=True, slots=True)
class ProductAttributes:
    """Facts of n products as columns, row i of every array the same product.

    Attributes:
        product_id: Text (n,).
        shop: object (n,).
        brand: object (n,), in lower case; "" for none.
        category: object (n,), a leaf of the taxonomy.
        price_cents: int64 (n,).
        currency: object (n,).
    """

    product_id: Texts | NDArray[np.object_]
    shop: NDArray[np.object_]
    brand: NDArray[np.object_]
    category: NDArray[np.object_]
    price_cents: NDArray[np.int64]
    currency: NDArray[np.object_]


def build_attributes(
    column: Callable[[str], pa.ChunkedArray], product_ids: Texts
) -> ProductAttributes:
    """Return the attributes of products.

    Args:
        column: Returns one of ATTRIBUTE_COLUMNS by its name, in the order of `product_ids`.
        product_ids: Their ids, text (n,).
    """
    return ProductAttributes(
        product_id=product_ids,
        shop=intern_texts(column("shop_id")),
        brand=intern_texts(pc.fill_null(pc.utf8_lower(column("brand")), "")),
        category=intern_texts(column("category")),
        price_cents=column("price_cents").to_numpy().astype(np.int64),
        currency=intern_texts(column("currency")),
    )
