"""The products of one super-category, side by side for the search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.search import merchandising
from wearalike.search.kernels import bitplane
from wearalike.storage.string_arrays import Texts, intern_texts
from wearalike.tables import Availability, Gender

if TYPE_CHECKING:
    from wearalike.search.kernels import torch_gpu


@dataclass(frozen=True)
class Gallery:
    """The products of one super-category that have a code; row i of every array is the same product, in product_id order.
    The arrays stay as they are: what is made of them is kept.

    product_ids, item_ids: (n,). codes: uint64 (n, 4), two words of shape, two of colour. shape_weight, colour_weight: int32 (n,).
    gender, age_group: object (n,). is_in_stock: bool (n,). groups, brands: int64 (n,), equal for products of one group or
    brand, negative and unlike any other where a product has none. pages: what the merchandiser's rules look at.
    device: where it is searched, "cpu" or "cuda"; the answer is the same.
    """

    product_ids: Texts | NDArray[np.object_]
    item_ids: Texts | NDArray[np.object_]
    codes: NDArray[np.uint64]
    shape_weight: NDArray[np.int32]
    colour_weight: NDArray[np.int32]
    gender: NDArray[np.object_]
    age_group: NDArray[np.object_]
    is_in_stock: NDArray[np.bool_]
    groups: NDArray[np.int64]
    brands: NDArray[np.int64]
    attributes: merchandising.ProductAttributes
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.product_ids)

    # What every task of a worker asks of its gallery is made once.

    @cached_property
    def id_columns(self) -> tuple[pa.StringArray, pa.StringArray]:
        """product_ids and item_ids as columns."""
        return pa.array(self.product_ids, pa.string()), pa.array(self.item_ids, pa.string())

    @cached_property
    def audiences(self) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """The (age_group, gender) that there are, in order, and of each row which one, int64 (n,)."""
        texts = [pa.array(column, pa.string()) for column in (self.age_group, self.gender)]
        found = pc.binary_join_element_wise(*texts, "\n").dictionary_encode()
        return [
            tuple(text.split("\n")) for text in found.dictionary.to_pylist()
        ], found.indices.to_numpy().astype(np.int64)

    @cached_property
    def _candidates_by_audience(self) -> dict[tuple[str, str], Candidates]:
        return {}

    def candidates_for_audience(self, age_group: str, gender: str) -> Candidates:
        """What an audience may be shown."""
        asked = (age_group, gender)
        if asked not in self._candidates_by_audience:
            self._candidates_by_audience[asked] = Candidates(
                self, np.flatnonzero(eligible_candidates(self, age_group, gender))
            )
        return self._candidates_by_audience[asked]


@dataclass(frozen=True)
class Candidates:
    """rows: int64 (n,), the products of the gallery that may be shown, in order."""

    gallery: Gallery
    rows: NDArray[np.int64]

    # Laid out when asked, for many a search finds all that it needs remembered.

    @cached_property
    def tiles(self) -> bitplane.BitPlaneTiles:
        """Their codes; 64 bytes a candidate, half of it where all may be shown."""
        return bitplane.transpose_codes(self._candidate_codes)

    @cached_property
    def _device_codes(self) -> torch_gpu.DeviceCodes:
        from wearalike.search.kernels import torch_gpu

        return torch_gpu.upload_codes(self._candidate_codes, self.gallery.device)

    @property
    def _candidate_codes(self) -> NDArray[np.uint64]:
        codes = self.gallery.codes
        return codes if len(self.rows) == len(codes) else codes[self.rows]

    def find_nearest(
        self,
        codes: NDArray[np.uint64],
        shape_weight: NDArray[np.int32],
        colour_weight: NDArray[np.int32],
        limits: NDArray[np.int64],
        k: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """bitplane.nearest_flat of them, on the gallery's device: how many each code has, and their rows of the gallery."""
        if self.gallery.device == "cpu":
            counts, positions = bitplane.nearest_flat(
                codes, self.tiles, shape_weight, colour_weight, limits, k
            )
        else:
            # torch takes seconds and a quarter of a GB to import.
            from wearalike.search.kernels import torch_gpu

            counts, positions = torch_gpu.nearest_flat(
                codes, self._device_codes, shape_weight, colour_weight, limits, k
            )
        return counts, self.rows[positions]


def eligible_candidates(gallery: Gallery, age_group: str, gender: str) -> NDArray[np.bool_]:
    """Whom an audience may be shown: in stock, the same age group, the same gender or either one unisex."""
    kinds, kind = gallery.audiences
    fits = np.array(
        [a == age_group and (g == gender or Gender.UNISEX in (g, gender)) for a, g in kinds], bool
    )
    return gallery.is_in_stock & fits[kind]


# The columns of tables.PRODUCTS that a gallery is made of.
GALLERY_COLUMNS = [
    *merchandising.ATTRIBUTE_COLUMNS,
    "group_id",
    "availability",
    "gender",
    "age_group",
    "shape_weight",
    "colour_weight",
]


def build_gallery(entries: pa.Table, codes: NDArray[np.uint8], products: pa.Table) -> Gallery:
    """A gallery of one super-category.

    entries: tables.INDEXES in product_id order. codes: uint8 (n, 32), row i of entry i, shape then colour.
    products: at least these, with PRODUCT_COLUMNS. Raises ValueError where an entry has no product.
    """
    at = pc.index_in(entries["product_id"], products["product_id"].combine_chunks())
    if at.null_count:
        raise ValueError(
            f"{at.null_count} entries have no product, e.g. {entries['product_id'].filter(pc.is_null(at))[0]}"
        )
    product_ids = Texts(entries["product_id"])

    def column(name: str) -> pa.ChunkedArray:
        """A column of the products, row i that of entry i; made when asked for, so that there is one at a time."""
        return products[name].take(at)

    groups = pc.binary_join_element_wise(column("shop_id"), pc.utf8_lower(column("group_id")), "\n")
    return Gallery(
        product_ids=product_ids,
        item_ids=Texts(entries["item_id"]),
        codes=np.ascontiguousarray(codes).view(np.uint64),
        shape_weight=column("shape_weight").to_numpy().astype(np.int32),
        colour_weight=column("colour_weight").to_numpy().astype(np.int32),
        gender=intern_texts(column("gender")),
        age_group=intern_texts(column("age_group")),
        is_in_stock=pc.equal(column("availability"), Availability.IN_STOCK.value).to_numpy(
            zero_copy_only=False
        ),
        groups=_encode_equal_values(groups),
        brands=_encode_equal_values(pc.utf8_lower(column("brand"))),
        attributes=merchandising.build_attributes(column, product_ids),
    )


def _encode_equal_values(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Equal numbers for equal texts; a number of its own, below 0, for every null."""
    numbers = (
        pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1)
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
    )
    return np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers)
