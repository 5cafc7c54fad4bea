"""The products of one super-category, laid out for the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wearalike.catalog import colour_names
from wearalike.catalog.colour_names import NameTable
from wearalike.catalog.eligibility import is_for_audience
from wearalike.catalog.feed_distances import FeedDistances
from wearalike.catalog.kinds import KindTable
from wearalike.catalog.product_conditions import CONDITION_COLUMNS
from wearalike.search.kernels import bitplane
from wearalike.search.kernels.query_batch import QueryBatch
from wearalike.search.product_attributes import (
    ATTRIBUTE_COLUMNS,
    ProductAttributes,
    build_attributes,
)
from wearalike.search.scores import weight_sum
from wearalike.storage.string_arrays import Texts, intern_texts, unpack_hex
from wearalike.tables import Availability

if TYPE_CHECKING:
    from wearalike.search.kernels import torch_gpu

# The columns of tables.PRODUCTS that a gallery is built from.
GALLERY_COLUMNS = [
    *ATTRIBUTE_COLUMNS,
    "group_id",
    "article_id",
    "availability",
    "gender",
    "age_group",
    "shape_weight",
    "colour_weight",
    "kind_weight",
    "colour_names",
]
# An odd number whose bits look random: 2 to the 64th divided by the golden ratio.
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
# Bytes of a picture's id, a SHA-256.
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Traits:
    """The distinct pairs of kind and colour names of a gallery's products.

    Attributes:
        number: int64 (n,). The trait of each product.
        kind: int64 (traits,). Row of each trait in the gallery's kind_table.
        colour_name: int64 (traits,). Row of each trait in the gallery's name_table.
    """

    number: NDArray[np.int64]
    kind: NDArray[np.int64]
    colour_name: NDArray[np.int64]


@dataclass(frozen=True)
class Gallery:
    """The products of one super-category that have a code, in product_id order.

    Row i of every array is the same product. The arrays must not change: what is derived from
    them is cached.

    Attributes:
        product_ids: Text (n,).
        item_ids: Text (n,).
        codes: uint64 (n, 4). Two words of shape, two of colour.
        shape_weight: int32 (n,), 0..255.
        colour_weight: int32 (n,), 0..255.
        kind_weight: int32 (n,), 0..255.
        kind: int64 (n,). Row of the product's kind in kind_table.
        colour_name: int64 (n,). Row of the product's colour names in name_table.
        gender: object (n,).
        age_group: object (n,).
        is_in_stock: bool (n,).
        groups: int64 (n,). Equal for the products of one article, and for those of a shop with one
            picture or one code; unique and negative without one.
        brands: int64 (n,). Equal for the products of one brand; unique and negative without one.
        attributes: The facts that merchandising rules compare.
        kind_table: The kinds of the products.
        name_table: The colour names of the products.
        device: Where it is searched, "cpu" or "cuda"; the results are the same.
    """

    product_ids: Texts | NDArray[np.object_]
    item_ids: Texts | NDArray[np.object_]
    codes: NDArray[np.uint64]
    shape_weight: NDArray[np.int32]
    colour_weight: NDArray[np.int32]
    kind_weight: NDArray[np.int32]
    kind: NDArray[np.int64]
    colour_name: NDArray[np.int64]
    gender: NDArray[np.object_]
    age_group: NDArray[np.object_]
    is_in_stock: NDArray[np.bool_]
    groups: NDArray[np.int64]
    brands: NDArray[np.int64]
    attributes: ProductAttributes
    kind_table: KindTable
    name_table: NameTable
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.product_ids)

    @property
    def distance_arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that the weighted distance of a pair is computed from, as kernels take them.

        They are codes, the three weights, kind, the kinds' distances, colour_name, and the names'
        distances.
        """
        return (
            self.codes,
            self.shape_weight,
            self.colour_weight,
            self.kind_weight,
            self.kind,
            self.kind_table.distances,
            self.colour_name,
            self.name_table.distances,
        )

    def weight_sums(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what `scores.weight_sum` gives for rows, float64 (m,)."""
        return weight_sum(
            self.shape_weight[rows],
            self.colour_weight[rows],
            self.kind_weight[rows],
            np.array([text != "" for text in self.name_table.names])[self.colour_name[rows]],
        )

    def kind_distances(
        self, query_rows: NDArray[np.int64], candidate_rows: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        """Return the kind distance of query_rows[i] to candidate_rows[i], int32 (m,), 0..64."""
        return self.kind_table.distances[self.kind[query_rows], self.kind[candidate_rows]]

    def name_distances(
        self, query_rows: NDArray[np.int64], candidate_rows: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        """Return the distance of the colour names of such pairs, int32 (m,), 0..32."""
        rows = self.colour_name[query_rows], self.colour_name[candidate_rows]
        return self.name_table.distances[rows]

    @cached_property
    def traits(self) -> Traits:
        """The traits of the products; the kernels add one offset for each."""
        pairs = self.kind * len(self.name_table.names) + self.colour_name
        # As np.unique with the inverse, which sorts all rows in four times the memory.
        number, distinct = pd.factorize(pairs, sort=True)
        kind, colour_name = np.divmod(distinct, len(self.name_table.names))
        return Traits(number, kind, colour_name)

    def trait_offsets(self, query_rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return what each trait adds to the distance from products that ask, int32 (m, traits)."""
        of_kind = self.kind_table.distances[self.kind[query_rows]][:, self.traits.kind]
        of_name = self.name_table.distances[self.colour_name[query_rows]]
        weights = self.kind_weight[query_rows, None], self.colour_weight[query_rows, None]
        return weights[0] * of_kind + weights[1] * of_name[:, self.traits.colour_name]

    @cached_property
    def id_columns(self) -> tuple[pa.StringArray, pa.StringArray]:
        """product_ids and item_ids as Arrow columns."""
        return pa.array(self.product_ids, pa.string()), pa.array(self.item_ids, pa.string())

    @cached_property
    def audiences(self) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """The distinct (age_group, gender), and the number of each row's one, int64 (n,)."""
        # Both have few values, which pandas numbers without a copy of the texts.
        age_group, age_groups = pd.factorize(self.age_group)
        gender, genders = pd.factorize(self.gender)
        pairs = age_group * len(genders) + gender
        is_pair = np.bincount(pairs, minlength=len(age_groups) * len(genders)) > 0
        audiences = [
            (str(age_groups[pair // len(genders)]), str(genders[pair % len(genders)]))
            for pair in np.flatnonzero(is_pair).tolist()
        ]
        return audiences, (np.cumsum(is_pair) - 1)[pairs]

    @cached_property
    def _largest_brand_shares(self) -> NDArray[np.float64]:
        """The share of the most frequent brand among the products of each row's shop, (n,)."""
        shop, shops = pd.factorize(self.attributes.shop)
        has_brand = self.brands >= 0
        brand_count = max(self.brands.max(initial=0) + 1, 1)
        pairs, counts = np.unique(
            shop[has_brand] * brand_count + self.brands[has_brand], return_counts=True
        )
        most = np.zeros(len(shops), np.int64)
        np.maximum.at(most, pairs // brand_count, counts)
        return (most / np.bincount(shop, minlength=len(most)))[shop]

    def is_of_one_brand_shop(self, max_brand_share: float) -> NDArray[np.bool_]:
        """Tell for each product if one brand has a larger share of its shop, bool (n,).

        Args:
            max_brand_share: 0..1; 1 is exceeded by no share.
        """
        return self._largest_brand_shares > max_brand_share

    @cached_property
    def _candidates_by_audience(self) -> dict[tuple[str, str], CandidateSet]:
        return {}

    def candidates_for_audience(self, age_group: str, gender: str) -> CandidateSet:
        """Return the products that an audience may be shown; each audience's are cached."""
        audience = (age_group, gender)
        if audience not in self._candidates_by_audience:
            rows = np.flatnonzero(eligible_candidates(self, age_group, gender))
            self._candidates_by_audience[audience] = CandidateSet(self, rows)
        return self._candidates_by_audience[audience]

    def split_by_audience(
        self, start: int, stop: int
    ) -> Iterator[tuple[NDArray[np.int64], CandidateSet]]:
        """Yield the rows start..stop by audience, each with what that audience may be shown.

        Rows of one trait stand together, so that a block of them is near the same candidates.
        """
        rows = np.arange(start, min(stop, len(self)))
        audiences, audience = self.audiences
        numbers = np.unique(audience[rows]).tolist()
        for number in sorted(numbers, key=audiences.__getitem__):
            asking = rows[audience[rows] == number]
            asking = asking[np.argsort(self.traits.number[asking], kind="stable")]
            yield asking, self.candidates_for_audience(*audiences[number])


@dataclass(frozen=True)
class CandidateSet:
    """The products of a gallery that may be shown in a list.

    Attributes:
        gallery: The gallery.
        rows: int64 (n,). Their rows, ascending.
        whole: The set whose twins these rows stand for; None for those of `rows` alone.
    """

    gallery: Gallery
    rows: NDArray[np.int64]
    whole: CandidateSet | None = None

    # Built on first use: an incremental search often needs none.

    @cached_property
    def without_twins(self) -> CandidateSet:
        """The first row of each set of twins: equal code, kind, colour names, group and brand.

        Shops write an offer a size, and all sizes of a colour are twins. Where a list has one
        result a group, it is the first of its twins that stands in it.
        """
        gallery, rows = self.gallery, self.rows
        # No limit acts on products without a brand.
        brands = np.maximum(gallery.brands, -1)
        keys = (gallery.groups, brands, gallery.traits.number, *gallery.codes.T)
        columns = [key[rows] for key in keys]
        # Stable, so that twins are in the order of their rows.
        order = np.lexsort(columns)
        is_first = np.zeros(len(rows), bool)
        is_first[order[:1]] = True
        for column in columns:
            is_first[order[1:]] |= column[order[1:]] != column[order[:-1]]
        return self if is_first.all() else CandidateSet(gallery, rows[is_first], self)

    @cached_property
    def tiles(self) -> bitplane.BitPlaneTiles:
        """Their codes for the CPU kernel: 64 bytes a candidate, half of it if all are eligible."""
        return bitplane.transpose_codes(
            self._candidate_codes, self.gallery.traits.number[self.rows]
        )

    @cached_property
    def _device_codes(self) -> torch_gpu.DeviceCodes:
        from wearalike.search.kernels import torch_gpu

        return torch_gpu.upload_codes(
            self._candidate_codes, self.gallery.device, self.gallery.traits.number[self.rows]
        )

    @property
    def _candidate_codes(self) -> NDArray[np.uint64]:
        codes = self.gallery.codes
        return codes if len(self.rows) == len(codes) else codes[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def find_nearest(
        self, queries: QueryBatch, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the nearest candidates of every query, searched on the gallery's device.

        Args:
            queries: The batch.
            k: Candidates a query, at most.

        Returns:
            How many each query has, int64 (q,), and their rows of the gallery, one query after
            another, int64 (sum,): by weighted distance, then row.
        """
        if self.gallery.device == "cpu":
            counts, positions = bitplane.nearest_flat(queries, self.tiles, k)
        else:
            # Imported late: torch takes seconds and a quarter of a GB to import.
            from wearalike.search.kernels import torch_gpu

            counts, positions = torch_gpu.nearest_flat(queries, self._device_codes, k)
        return counts, self.rows[positions]


def eligible_candidates(
    gallery: Gallery, age_group: str | None, gender: str | None
) -> NDArray[np.bool_]:
    """Tell which products an audience may be shown: in stock, and by `catalog.eligibility`.

    Args:
        gallery: The gallery.
        age_group: The audience's age group; None for any.
        gender: The audience's gender; None for any.

    Returns:
        bool (n,).
    """
    audiences, audience = gallery.audiences
    is_for = [is_for_audience(*of_products, age_group, gender) for of_products in audiences]
    return gallery.is_in_stock & np.array(is_for, bool)[audience]


class ColumnSource(Protocol):
    """Columns by name: of a table, or each read when it is asked for."""

    @property
    def column_names(self) -> list[str]:
        """The columns that may be asked for."""
        ...

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Return a column."""
        ...

    def iter_chunks(self, name: str) -> Iterator[pa.Array]:
        """Yield a column chunk by chunk."""
        ...


def build_gallery(
    entries: pa.Table | ColumnSource,
    codes: NDArray[np.uint8],
    products: pa.Table | ColumnSource,
    feed_distances: FeedDistances | None = None,
) -> Gallery:
    """Build the gallery of one super-category.

    Args:
        entries: Rows of tables.INDEXES in product_id order.
        codes: uint8 (n, 32), shape then colour; row i is that of entry i.
        products: GALLERY_COLUMNS of tables.PRODUCTS, of at least these products, in any order. A
            kind_weight that is missing or null, as in a run of an earlier version, is 0, and
            colour_names may be missing.
        feed_distances: The kinds of the run's taxonomy and its colours; default: all categories are
            one kind, and names of colours do not count.

    Raises:
        ValueError: An entry has no product.
    """
    # Numbered first and alone: the ids of pictures take twice the bytes of the codes.
    pictures = [_number_pictures(entries)] if "image_id" in entries.column_names else []
    product_ids = Texts(entries["product_id"])
    product_rows = _find_rows(product_ids, products)

    def column(name: str) -> pa.ChunkedArray:
        """Return a column of the products in the order of the entries; one is held at a time."""
        return products[name].take(product_rows)

    kind_weight = np.zeros(len(product_ids), np.int32)
    if "kind_weight" in products.column_names:
        kind_weight = pc.fill_null(column("kind_weight"), 0).to_numpy().astype(np.int32)
    distances = feed_distances or FeedDistances(None, {})
    kind, kind_table = _number_kinds(column("category"), distances)
    colour_name, name_table = np.zeros(len(product_ids), np.int64), NameTable.single()
    if "colour_names" in products.column_names:
        colour_name, name_table = _number_names(column("colour_names"), distances)
    groups = pc.coalesce(
        column("article_id"),
        pc.binary_join_element_wise(column("shop_id"), pc.utf8_lower(column("group_id")), "\n"),
    )
    is_in_stock = pc.equal(column("availability"), Availability.IN_STOCK.value)
    return Gallery(
        product_ids=product_ids,
        item_ids=Texts(entries["item_id"]),
        codes=np.ascontiguousarray(codes).view(np.uint64),
        shape_weight=column("shape_weight").to_numpy().astype(np.int32),
        colour_weight=column("colour_weight").to_numpy().astype(np.int32),
        kind_weight=kind_weight,
        kind=kind,
        colour_name=colour_name,
        gender=intern_texts(column("gender")),
        age_group=intern_texts(column("age_group")),
        is_in_stock=is_in_stock.to_numpy(zero_copy_only=False),
        groups=join_groups(
            _number_equal_values(groups),
            _number_equal_values(column("shop_id")),
            np.ascontiguousarray(codes).view(np.uint64),
            pictures,
        ),
        brands=_number_equal_values(pc.utf8_lower(column("brand"))),
        attributes=build_attributes(
            column, product_ids, [c for c in CONDITION_COLUMNS if c in products.column_names]
        ),
        kind_table=kind_table,
        name_table=name_table,
    )


def _find_rows(product_ids: Texts, products: pa.Table | ColumnSource) -> pa.Array:
    """Return the row of each product among products, int32 (n,); ValueError if one has none."""
    ids = pa.array(product_ids)
    rows = pc.index_in(ids, products["product_id"].combine_chunks())
    if rows.null_count:
        example = ids.filter(pc.is_null(rows))[0]
        raise ValueError(f"{rows.null_count} entries have no product, e.g. {example}")
    return rows


def join_groups(
    groups: NDArray[np.int64],
    shops: NDArray[np.int64],
    codes: NDArray[np.uint64],
    pictures: list[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Join the groups of products of one shop that have the same code or picture.

    Args:
        groups: int64 (n,). Equal for the products of one article; unique and negative without one.
        shops: int64 (n,). Equal for the products of one shop.
        codes: uint64 (n, 4).
        pictures: Arrays of int64 (n,), equal for the products of one picture.

    Returns:
        int64 (n,). The groups, joined; those without a twin are unchanged.
    """
    pairs = [
        pair
        for keys in (*pictures, _number_equal_codes(codes))
        for pair in [_find_twins(shops, keys)]
        if len(pair)
    ]
    if not pairs:
        return groups
    twins = np.concatenate(pairs)
    _, numbers = np.unique(groups, return_inverse=True)
    ends = numbers[twins]
    size = int(numbers.max()) + 1
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), (size, size))
    _, labels = connected_components(graph, directed=False)
    joined = labels[numbers].astype(np.int64)
    is_shared = np.bincount(labels)[labels] > 1
    # Numbers above those of the groups, so that no other group has them.
    return np.where(is_shared[numbers], joined + groups.max() + 1 + len(groups), groups)


def _number_pictures(entries: pa.Table | ColumnSource) -> NDArray[np.int64]:
    """Return equal numbers for equal ids of pictures, and no others, int64 (n,)."""
    is_table = isinstance(entries, pa.Table)
    chunks = entries["image_id"].chunks if is_table else entries.iter_chunks("image_id")
    digests = []
    for chunk in chunks:
        digest = unpack_hex(chunk, _DIGEST_BYTES)
        if digest is None:  # ids that are no hashes
            return _number_equal_values(entries["image_id"])
        digests.append(digest)
    empty = np.zeros((0, _DIGEST_BYTES), np.uint8)
    return _number_equal_codes(np.concatenate([empty, *digests]).view(np.uint64))


def _number_equal_codes(codes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return equal numbers for equal codes (n, words), and no others: a hash is checked."""
    mixed = np.zeros(len(codes), np.uint64)
    for word in range(codes.shape[1]):
        mixed = (mixed ^ codes[:, word]) * _HASH_FACTOR
        mixed ^= mixed >> np.uint64(29)
    first = _find_first_equal(mixed)
    later = np.flatnonzero(first != np.arange(len(first)))
    is_other = (codes[later] != codes[first[later]]).any(axis=1)
    first[later[is_other]] = -1 - later[is_other]
    return first


def _find_first_equal(keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first row with the key of each row, int64 (n,).

    Sorting takes a third of the memory of Arrow's dictionaries.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_new = np.ones(len(keys), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    del ordered
    starts = np.flatnonzero(is_new)
    counts = np.diff(starts, append=len(keys))
    first = np.empty(len(keys), np.int64)
    first[order] = np.repeat(order[starts], counts)
    return first


def _find_twins(shops: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return int64 (m, 2): the rows that share shop and key with an earlier row, and that row."""
    # One number for a shop and a key: as many for each shop as the keys span.
    span = int(keys.max(initial=0)) - int(keys.min(initial=0)) + 1
    first = _find_first_equal(shops * np.int64(span) + keys)
    rows = np.flatnonzero(first != np.arange(len(first)))
    return np.stack([rows, first[rows]], axis=1)


def _number_kinds(
    categories: pa.ChunkedArray, distances: FeedDistances
) -> tuple[NDArray[np.int64], KindTable]:
    """Return the row of each category's kind in the table of the kinds that occur, int64 (n,)."""
    if distances.kinds is None or not len(categories):
        return np.zeros(len(categories), np.int64), KindTable.single()
    encoded = categories.combine_chunks().dictionary_encode()
    names = [distances.kinds.kind(category) for category in encoded.dictionary.to_pylist()]
    table = distances.kinds.table.select(names)
    rows = np.array([table.names.index(name) for name in names], np.int64)
    return rows[encoded.indices.to_numpy()], table


def _number_names(
    names: pa.ChunkedArray, distances: FeedDistances
) -> tuple[NDArray[np.int64], NameTable]:
    """Return the row of each product's names in the table of those that occur, int64 (n,)."""
    if not distances.colours:
        return np.zeros(len(names), np.int64), NameTable.single()
    texts = pc.fill_null(pc.binary_join(names.cast(pa.list_(pa.string())), "+"), "")
    encoded = texts.combine_chunks().dictionary_encode()
    occurring = encoded.dictionary.to_pylist()
    table = colour_names.build_name_table(occurring, distances.colours)
    rows = np.array([table.names.index(text) for text in occurring], np.int64)
    return rows[encoded.indices.to_numpy()], table


def _number_equal_values(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return equal numbers for equal texts; every null has a number of its own, below 0."""
    indices = pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1)
    numbers = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers)
