"""The facts of products that merchandising rules compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

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

    A page that is no product's has None where nothing is known.

    Attributes:
        product_id: Text (n,).
        shop: object (n,).
        brand: object (n,), in lower case; "" for none.
        category: object (n,), a leaf of the taxonomy.
        price_cents: int64 (n,).
        currency: object (n,). None if the price is not known.
        more: Further columns of tables.PRODUCTS (n,) by name, those that conditions are about.
    """

    product_id: Texts | NDArray[np.object_]
    shop: NDArray[np.object_]
    brand: NDArray[np.object_]
    category: NDArray[np.object_]
    price_cents: NDArray[np.int64]
    currency: NDArray[np.object_]
    more: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)


def build_attributes(
    column: Callable[[str], pa.ChunkedArray], product_ids: Texts, more: Iterable[str] = ()
) -> ProductAttributes:
    """Return the attributes of products.

    Args:
        column: Returns a column of tables.PRODUCTS by its name, in the order of `product_ids`.
        product_ids: Their ids, text (n,).
        more: Names of columns beside ATTRIBUTE_COLUMNS.
    """
    return ProductAttributes(
        product_id=product_ids,
        shop=intern_texts(column("shop_id")),
        brand=intern_texts(pc.fill_null(pc.utf8_lower(column("brand")), "")),
        category=intern_texts(column("category")),
        price_cents=column("price_cents").to_numpy().astype(np.int64),
        currency=intern_texts(column("currency")),
        more={name: column(name) for name in more},
    )


def build_photo_page(
    category: str, on_shop: str | None = None, on_brand: str | None = None
) -> ProductAttributes:
    """Return what is known of the page that shows the products most alike a photo's item.

    Args:
        category: The category that the item takes.
        on_shop: The shop whose page asks; None if it is not said.
        on_brand: The brand whose page asks; None if it is not said.
    """

    def one(value: str | None) -> NDArray[np.object_]:
        return np.array([value], dtype=object)

    brand = None if on_brand is None else pc.utf8_lower(pa.scalar(on_brand)).as_py()
    unknown = one(None)
    return ProductAttributes(
        unknown, one(on_shop), one(brand), one(category), np.zeros(1, np.int64), unknown
    )
