"""What a run can be searched for: the gallery of each super-category, and what is shown of its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from wearalike import search
from wearalike.search import index
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, PRODUCTS

# What people are shown of a product, beside its id.
DISPLAY_COLUMNS = (
    "shop_id",
    "title",
    "brand",
    "url",
    "price_cents",
    "old_price_cents",
    "currency",
    "category",
    "availability",
    "image_urls",
)


# Arrow would hold sixteen batches of a hundred thousand rows ready.
_DATASET_READ_OPTIONS = {"batch_readahead": 1, "fragment_readahead": 1}


@dataclass(frozen=True, slots=True)
class GalleryWithProducts:
    """One super-category of a run. facts: SHOWN of every product, row i that of row i of the gallery."""

    gallery: search.Gallery
    products: pa.Table

    def display_rows(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """SHOWN of the rows with their product_id, the main picture as image_url."""
        found = self.products.take(pa.array(rows)).to_pylist()
        for row, fact in zip(rows.tolist(), found, strict=True):
            fact["product_id"] = self.gallery.product_ids[row]
            fact["image_url"] = next(iter(fact.pop("image_urls")), None)
        return found


def load_gallery(root: Path, run: str, super_category: str) -> search.Gallery:
    """The gallery of a super-category of a run, its codes mapped from the Faiss index, whose hash _manifest.json names.

    Raises run_tables.TableNotFound, indexes.BadIndex.
    """
    made = _load_gallery(root, run, super_category, index.read_codes_mmap, search.GALLERY_COLUMNS)[
        0
    ]
    pa.default_memory_pool().release_unused()  # several times what the gallery keeps
    return made


def load_gallery_with_products(root: Path, run: str, super_category: str) -> GalleryWithProducts:
    """The gallery with what is shown of its products, for a server that may outlive the run's files. Raises as `gallery`."""
    made, products = _load_gallery(
        root,
        run,
        super_category,
        index.read_codes,
        list(dict.fromkeys([*search.GALLERY_COLUMNS, *DISPLAY_COLUMNS])),
    )
    rows = pc.index_in(pa.array(made.product_ids), products["product_id"].combine_chunks())
    return GalleryWithProducts(
        made, products.select(list(DISPLAY_COLUMNS)).take(rows).combine_chunks()
    )


def list_super_categories(root: Path, run: str) -> list[str]:
    """Those that have an index in the run, in alphabetical order. Raises run_tables.TableNotFound."""
    return sorted(
        name.removesuffix(".faiss")
        for name in run_tables.read_manifest(root, INDEXES, run)["files"]
        if name.endswith(".faiss")
    )


def _load_gallery(
    root: Path,
    run: str,
    super_category: str,
    read_index: Callable[[Path], tuple[NDArray[np.int64], NDArray[np.uint8]]],
    columns: list[str],
) -> tuple[search.Gallery, pa.Table]:
    name = f"{super_category}.faiss"
    path = run_tables.table_dir(root, INDEXES, run) / name
    if run_tables.sha256(path) != run_tables.read_manifest(root, INDEXES, run)["files"][name]:
        raise index.BadIndex(
            f"{path}: not the file that _manifest.json names; build the indexes again with --force"
        )
    entry_ids, codes = read_index(path)
    is_ours = ds.field("super_category") == super_category
    entries = run_tables.open_dataset(root, INDEXES, run).to_table(
        ["entry_id", "product_id", "item_id"], is_ours, **_DATASET_READ_OPTIONS
    )
    if not np.array_equal(entries["entry_id"].to_numpy(), entry_ids):
        raise index.BadIndex(f"{path}: its ids are not those of the table beside it")
    products = run_tables.open_dataset(root, PRODUCTS, run).to_table(
        columns, is_ours, **_DATASET_READ_OPTIONS
    )
    return search.build_gallery(entries, codes, products), products
