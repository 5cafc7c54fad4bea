"""Codes to indexes: which item stands for a product, and one binary Faiss index a super-category.

An index holds 256-bit codes, 16 bytes of shape then 16 of colour, under entry ids: the products of the super-category
in the order of their ids, from 0. The table `indexes` beside it says whose entry is whose, and _manifest.json holds the
hashes of all of them, so an index of another run is never taken for this one's.
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
from wearalike.tables import INDEXES, REFUSED, SuperCategory


class IndexReason(StrEnum):
    NO_IMAGE = "no_image"
    NO_ITEM = "no_item"
    NO_CODE = "no_code"


class BadIndex(ValueError):
    """An index file and its table do not belong together, or codes that cannot be compared."""


def select_entries(
    products: pa.Table, images: pa.Table, items: pa.Table, codes: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """The entry of every product that has a code (tables.INDEXES), and the others with their reason (tables.REFUSED).

    A product is stood for by the best item of its first image in which an item of its super-category was seen and has a
    code; where none was in any image, by what the detector saw without naming it. An image that shows a detail or somebody's back
    comes after all others. The best item is sure and large: confidence times the root of its area. Sorted by product_id. Raises
    BadIndex for codes of several encoders.
    """
    if len(encoders := sorted(pc.unique(codes["encoder"]).to_pylist())) > 1:
        raise BadIndex(
            f"codes of {', '.join(encoders)}: those of one encoder alone can be compared; encode the items again with --force"
        )
    seen = images.select(["product_id", "position", "image_id"]).join(
        items.select(["image_id", "item_id", "super_category"]).append_column(
            "worth", _item_scores(items)
        ),
        "image_id",
        join_type="inner",
    )
    wanted = products.select(["product_id", "shop_id", "super_category"]).rename_columns(
        ["product_id", "shop_id", "wanted"]
    )
    seen = seen.join(wanted, "product_id", join_type="inner")
    fits = pc.or_kleene(
        pc.is_null(seen["super_category"]), pc.equal(seen["super_category"], seen["wanted"])
    )
    seen = seen.filter(fits)
    coded = seen.join(codes.select(["item_id", "shape", "colour"]), "item_id", join_type="inner")
    coded = coded.append_column("is_unnamed", pc.is_null(coded["super_category"]))
    is_partly = pc.is_in(
        coded["image_id"], views.image_ids_with_views(items, codes, views.PARTIAL_VIEWS)
    )
    coded = coded.append_column("is_partly_shown", is_partly)
    by = ("product_id", "is_unnamed", "is_partly_shown", "position", "worth", "item_id")
    coded = coded.sort_by([(name, "descending" if name == "worth" else "ascending") for name in by])
    ids = coded["product_id"].to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    best = coded.filter(pa.array(first))
    found = pa.table(
        {
            c: best["wanted" if c == "super_category" else c]
            for c in INDEXES.column_names
            if c != "entry_id"
        }
    )
    found = found.append_column(
        "entry_id", pa.array(_number_entries(found["super_category"]), pa.int64())
    )
    return found.select(INDEXES.column_names).cast(INDEXES.arrow_schema), _build_refused(
        wanted, images, seen, found
    )


def _item_scores(items: pa.Table) -> pa.Array:
    """Return the confidence-and-size score of each row of tables.ITEMS, float64."""
    corners = np.stack([items[name].to_numpy() for name in boxes.BOX_COLUMNS], axis=1)
    return pa.array(boxes.confidence_size_score(corners, items["confidence"].to_numpy()))


def _number_entries(super_categories: pa.ChunkedArray) -> NDArray[np.int64]:
    """For every row, how many earlier rows share its super-category."""
    values = np.asarray(super_categories.to_pylist(), dtype=object)
    numbers = np.zeros(len(values), np.int64)
    for super_category in SuperCategory:
        here = values == super_category.value
        numbers[here] = np.arange(here.sum())
    return numbers


def _build_refused(wanted: pa.Table, images: pa.Table, seen: pa.Table, found: pa.Table) -> pa.Table:
    missing = wanted.filter(
        pc.invert(pc.is_in(wanted["product_id"], found["product_id"].combine_chunks()))
    ).sort_by("product_id")
    has_image = pc.is_in(missing["product_id"], images["product_id"].combine_chunks())
    has_item = pc.is_in(missing["product_id"], seen["product_id"].combine_chunks())
    reason = pc.if_else(
        has_item,
        IndexReason.NO_CODE.value,
        pc.if_else(has_image, IndexReason.NO_ITEM.value, IndexReason.NO_IMAGE.value),
    )
    return pa.table(
        {
            "stage": pa.array([INDEXES.name] * len(missing)),
            "shop_id": missing["shop_id"],
            "kind": pa.array(["product"] * len(missing)),
            "key": missing["product_id"],
            "reason": reason,
            "detail": pa.nulls(len(missing), pa.string()),
        },
        schema=REFUSED.arrow_schema,
    )


def code_array(shape: pa.ChunkedArray, colour: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Codes as Faiss and the matcher take them: uint8 (n, 32), shape in 0..15, colour in 16..31; row i is row i."""
    halves = [
        np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, 16)
        for column in (shape, colour)
    ]
    return np.concatenate(halves, axis=1)


def write_index(path: Path, entry_ids: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """Writes a binary Faiss index. entry_ids: int64 (n,); codes: uint8 (n, 32); row i of both is one entry."""
    index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(256))
    index.add_with_ids(np.ascontiguousarray(codes), entry_ids)
    faiss.write_index_binary(index, str(path))


def read_codes(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Entry ids, int64 (n,), and codes, uint8 (n, 32), of an index file. Check its hash first: Faiss trusts its input.

    Raises BadIndex where it is not one of ours.
    """
    index = _open_index(path)
    flat = faiss.downcast_IndexBinary(index.index)
    return faiss.vector_to_array(index.id_map), faiss.vector_to_array(flat.xb).reshape(-1, 32)  # type: ignore[attr-defined]


def read_codes_mmap(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """What `read` returns, the codes where they lie in the file: its pages are those of every process that maps it, and what is
    written into the array stays with the process. For as long as the file is left alone. Raises as `read`.
    """
    index = _open_index(path)  # its id_map lives no longer than itself
    ids = faiss.vector_to_array(index.id_map)
    # A length of 8 bytes and the codes, a length and the ids: so the file ends.
    count, start = len(ids), path.stat().st_size - 8 * (len(ids) + 1) - 32 * len(ids)
    with path.open("rb") as file:
        file.seek(start - 8)
        if int.from_bytes(file.read(8), "little") != 32 * count:
            raise BadIndex(
                f"{path}: its codes are not where Faiss {faiss.__version__} is known to put them"
            )
    return ids, np.memmap(path, np.uint8, "c", start, (count, 32)) if count else np.empty(
        (0, 32), np.uint8
    )


def _open_index(path: Path) -> faiss.IndexBinaryIDMap:
    index = faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC)
    if not isinstance(index, faiss.IndexBinaryIDMap) or index.d != 256:
        raise BadIndex(
            f"{path}: wanted a binary index of 256 bits with ids, got {type(index).__name__} of {index.d} bits"
        )
    return index
