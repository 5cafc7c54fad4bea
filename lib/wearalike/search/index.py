"""Codes to indexes: which item represents each product, and a binary Faiss index a super-category.

An index holds 256-bit codes, 16 bytes of shape then 16 of colour. Its entry ids number the products
of the super-category from 0, in the order of their ids. The table `indexes` beside it maps entries
to products. _manifest.json holds the hashes of all files, so an index of another run is never taken
for this one's.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.encoding import views
from wearalike.metrics import boxes
from wearalike.search import product_codes
from wearalike.tables import CODE_BITS, INDEXES, REFUSED, ImageView, SuperCategory

_ENTRY_BITS = 2 * CODE_BITS  # of shape and of colour
_HALF_BYTES = CODE_BITS // 8
_ENTRY_BYTES = _ENTRY_BITS // 8


# The columns of tables.PRODUCTS and tables.IMAGES that entries are selected by.
PRODUCT_COLUMNS = ["product_id", "shop_id", "super_category"]
IMAGE_COLUMNS = ["product_id", "position", "image_id"]
# Order of the items of a product, the best first.
_BEST_FIRST = [
    ("product_id", "ascending"),
    ("is_second_choice", "ascending"),
    ("is_partly_shown", "ascending"),
    ("position", "ascending"),
    ("worth", "descending"),
    ("item_id", "ascending"),
]


class IndexReason(StrEnum):
    """Why a product has no entry."""

    NO_IMAGE = "no_image"
    NO_ITEM = "no_item"
    NO_CODE = "no_code"


class BadIndex(ValueError):
    """An index file and its table do not belong together, or its codes cannot be compared."""


def select_entries(
    products: pa.Table, images: pa.Table, items: pa.Table, codes: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """Select the item that represents each product.

    An item must have a code and be of the product's super-category, or be unnamed: what stands out
    of the image's ground. In an image that somebody wears the product in, what stands out is the
    person, so the named item comes first. In a flat image (views.FLAT, as the encoder says) on
    plain ground what stands out is the product, and comes first.

    Images come in their order, but one that shows a detail or a back comes after all others. A
    second choice comes after the first choice of any image, if the detector named the product in
    one. In an image the best item is sure and large: confidence times the square root of the box's
    area. The item shown is the best one; the code is that of all the product's images together
    (product_codes).

    Args:
        products: PRODUCT_COLUMNS of tables.PRODUCTS.
        images: IMAGE_COLUMNS of tables.IMAGES.
        items: Rows of tables.ITEMS.
        codes: Rows of tables.CODES.

    Returns:
        The entries (tables.INDEXES), and the other products with their reason (tables.REFUSED),
        both sorted by product_id.

    Raises:
        BadIndex: The codes are of several encoders.
    """
    encoders = sorted(pc.unique(codes["encoder"]).to_pylist())
    if len(encoders) > 1:
        raise BadIndex(
            f"codes of {', '.join(encoders)}: only codes of one encoder can be compared; "
            "encode the items again with --force"
        )
    wanted = products.select(PRODUCT_COLUMNS).rename_columns(["product_id", "shop_id", "wanted"])
    fitting = _fitting_items(wanted, images, items)
    coded = fitting.join(codes.select(["item_id", "shape", "colour"]), "item_id", join_type="inner")
    flat_images = views.image_ids_with_views(items, codes, (ImageView.FLAT,))
    coded = coded.append_column("is_second_choice", _is_second_choice(coded, flat_images))
    partial_images = views.image_ids_with_views(items, codes, views.PARTIAL_VIEWS)
    coded = coded.append_column("is_partly_shown", pc.is_in(coded["image_id"], partial_images))
    ranked = coded.sort_by(_BEST_FIRST)
    voting = product_codes.voting_rows(
        ranked, images, views.image_ids_with_views(items, codes, (ImageView.DETAIL,))
    )
    votes = ranked.take(pa.array(voting))
    best = _first_of_each_product(votes)
    voted = product_codes.vote_codes(
        votes["product_id"], code_array(votes["shape"], votes["colour"])
    )
    columns = {
        name: best["wanted" if name == "super_category" else name]
        for name in INDEXES.column_names
        if name not in ("entry_id", "shape", "colour")
    }
    columns["entry_id"] = pa.array(_number_entries(columns["super_category"]), pa.int64())
    columns["shape"] = _binary_column(voted[:, :_HALF_BYTES])
    columns["colour"] = _binary_column(voted[:, _HALF_BYTES:])
    entries = pa.table(columns).select(INDEXES.column_names).cast(INDEXES.arrow_schema)
    return entries, _build_refused(wanted, images, fitting, entries)


def _binary_column(halves: NDArray[np.uint8]) -> pa.Array:
    """Return rows of 16 bytes as binary values."""
    return pa.array([row.tobytes() for row in halves], pa.binary(_HALF_BYTES))


def may_represent(products: pa.Table, images: pa.Table, items: pa.Table) -> pa.Array:
    """Return which items may represent a product; no other one needs a code.

    Args:
        products: product_id and super_category of tables.PRODUCTS.
        images: product_id and image_id of tables.IMAGES.
        items: Rows of tables.ITEMS.

    Returns:
        bool, a value for each item: True for the unnamed ones, and for those of the super-category
        of a product that the image shows.
    """
    shown = images.select(["product_id", "image_id"]).join(
        products.select(["product_id", "super_category"]), "product_id", join_type="inner"
    )
    key = ("image_id", "super_category")
    wanted, seen = (
        pc.binary_join_element_wise(*(table[name] for name in key), "/") for table in (shown, items)
    )
    # The key of an unnamed item is null.
    fits = pc.or_(pc.is_null(seen), pc.is_in(seen, wanted.combine_chunks()))
    return fits.combine_chunks()


def _fitting_items(wanted: pa.Table, images: pa.Table, items: pa.Table) -> pa.Table:
    """Return the items in each product's images that may represent it."""
    scored = items.select(["image_id", "item_id", "super_category", "confidence"]).append_column(
        "worth", _item_scores(items)
    )
    placed = images.select(IMAGE_COLUMNS)
    seen = placed.join(scored, "image_id", join_type="inner")
    seen = seen.join(wanted, "product_id", join_type="inner")
    fits = pc.or_kleene(
        pc.is_null(seen["super_category"]), pc.equal(seen["super_category"], seen["wanted"])
    )
    return seen.filter(fits)


def _is_second_choice(coded: pa.Table, flat_images: pa.Array) -> pa.Array:
    """Return which rows are not what shows the product best in their image, bool."""
    is_unnamed = pc.is_null(coded["super_category"])
    is_flat = pc.is_in(coded["image_id"], flat_images)
    # The unnamed item is sure of nothing, 0, where the ground is not plain: it is the whole image.
    is_on_plain_ground = pc.is_in(
        coded["image_id"],
        coded.filter(pc.and_(is_unnamed, pc.greater(coded["confidence"], 0)))[
            "image_id"
        ].combine_chunks(),
    )
    is_unnamed_best = pc.and_(is_flat, is_on_plain_ground)
    has_named = pc.is_in(
        coded["product_id"],
        coded.filter(pc.invert(is_unnamed))["product_id"].combine_chunks(),
    )
    return pc.and_(has_named, pc.equal(is_unnamed, pc.invert(is_unnamed_best))).combine_chunks()


def _first_of_each_product(ranked: pa.Table) -> pa.Table:
    """Return the first row of each product; rows of one product are neighbours."""
    product_ids = ranked["product_id"].to_numpy(zero_copy_only=False)
    is_first = np.ones(len(product_ids), bool)
    is_first[1:] = product_ids[1:] != product_ids[:-1]
    return ranked.filter(pa.array(is_first))


def _item_scores(items: pa.Table) -> pa.Array:
    """Return the confidence-and-size score of each row of tables.ITEMS, float64."""
    corners = np.stack([items[name].to_numpy() for name in boxes.BOX_COLUMNS], axis=1)
    return pa.array(boxes.confidence_size_score(corners, items["confidence"].to_numpy()))


def _number_entries(super_categories: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return for every row how many earlier rows share its super-category."""
    values = np.asarray(super_categories.to_pylist(), dtype=object)
    numbers = np.zeros(len(values), np.int64)
    for super_category in SuperCategory:
        is_here = values == super_category.value
        numbers[is_here] = np.arange(is_here.sum())
    return numbers


def _build_refused(
    wanted: pa.Table, images: pa.Table, fitting: pa.Table, entries: pa.Table
) -> pa.Table:
    """Return the rows of tables.REFUSED for the products without an entry."""
    has_entry = pc.is_in(wanted["product_id"], entries["product_id"].combine_chunks())
    missing = wanted.filter(pc.invert(has_entry)).sort_by("product_id")
    has_image = pc.is_in(missing["product_id"], images["product_id"].combine_chunks())
    has_item = pc.is_in(missing["product_id"], fitting["product_id"].combine_chunks())
    without_item = pc.if_else(has_image, IndexReason.NO_ITEM.value, IndexReason.NO_IMAGE.value)
    columns = {
        "stage": pa.array([INDEXES.name] * len(missing)),
        "shop_id": missing["shop_id"],
        "kind": pa.array(["product"] * len(missing)),
        "key": missing["product_id"],
        "reason": pc.if_else(has_item, IndexReason.NO_CODE.value, without_item),
        "detail": pa.nulls(len(missing), pa.string()),
    }
    return pa.table(columns, schema=REFUSED.arrow_schema)


def code_array(shape: pa.ChunkedArray, colour: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return codes as Faiss and the search take them.

    Args:
        shape: n binary values of 16 bytes.
        colour: n binary values of 16 bytes.

    Returns:
        uint8 (n, 32), shape in 0..15, colour in 16..31.
    """
    halves = [
        np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, _HALF_BYTES)
        for column in (shape, colour)
    ]
    return np.concatenate(halves, axis=1)


def write_index(path: Path, entry_ids: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """Write a binary Faiss index.

    Args:
        path: The file.
        entry_ids: int64 (n,).
        codes: uint8 (n, 32); row i is the code of entry i.
    """
    faiss_index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(_ENTRY_BITS))
    faiss_index.add_with_ids(np.ascontiguousarray(codes), entry_ids)
    faiss.write_index_binary(faiss_index, str(path))


def read_codes(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Read an index file. Check its hash first: Faiss trusts its input.

    Returns:
        Entry ids, int64 (n,), and codes, uint8 (n, 32).

    Raises:
        BadIndex: It is not one of ours.
    """
    faiss_index = _open_index(path)
    flat = faiss.downcast_IndexBinary(faiss_index.index)
    codes = faiss.vector_to_array(flat.xb).reshape(-1, _ENTRY_BYTES)  # type: ignore[attr-defined]
    return faiss.vector_to_array(faiss_index.id_map), codes


def read_codes_mmap(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Read an index file as `read_codes`, its codes mapped from the file.

    All processes that map the file share its pages. Writing to the array changes only this
    process's copy. The file must stay as it is while the array is used.

    Returns:
        Entry ids, int64 (n,), and codes, uint8 (n, 32).

    Raises:
        BadIndex: It is not one of ours, or Faiss has put the codes elsewhere.
    """
    faiss_index = _open_index(path)  # its id_map lives no longer than itself
    ids = faiss.vector_to_array(faiss_index.id_map)
    count = len(ids)
    # The file ends with: length (8 bytes), codes, length (8 bytes), ids (8 bytes each).
    start = path.stat().st_size - 8 * (count + 1) - _ENTRY_BYTES * count
    with path.open("rb") as file:
        file.seek(start - 8)
        if int.from_bytes(file.read(8), "little") != _ENTRY_BYTES * count:
            raise BadIndex(
                f"{path}: its codes are not where Faiss {faiss.__version__} is known to put them"
            )
    if not count:
        return ids, np.empty((0, _ENTRY_BYTES), np.uint8)
    return ids, np.memmap(path, np.uint8, "c", start, (count, _ENTRY_BYTES))


def _open_index(path: Path) -> faiss.IndexBinaryIDMap:
    """Open an index file, mapped where Faiss can."""
    faiss_index = faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC)
    if not isinstance(faiss_index, faiss.IndexBinaryIDMap) or faiss_index.d != _ENTRY_BITS:
        raise BadIndex(
            f"{path}: wanted a binary index of 256 bits with ids, "
            f"got {type(faiss_index).__name__} of {faiss_index.d} bits"
        )
    return faiss_index
