"""What a run can be searched for: the gallery of each super-category, and what is shown of its products."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from wearalike import indexes, matches, store
from wearalike.tables import ENTRIES, PRODUCTS

# What people are shown of a product, beside its id.
SHOWN = (
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


@dataclass(frozen=True, slots=True)
class Shelf:
    """One super-category of a run. facts: SHOWN of every product, row i that of row i of the gallery."""

    gallery: matches.Gallery
    facts: pa.Table

    def shown(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """SHOWN of the rows with their product_id, the main picture as image_url."""
        found = self.facts.take(pa.array(rows)).to_pylist()
        for row, fact in zip(rows.tolist(), found, strict=True):
            fact["product_id"] = self.gallery.product_ids[row]
            fact["image_url"] = next(iter(fact.pop("image_urls")), None)
        return found


def gallery(root: Path, run: str, super_category: str) -> matches.Gallery:
    """The gallery of a super-category of a run, its codes from the Faiss index, whose hash made.json names.

    Raises store.NotMade, indexes.BadIndex.
    """
    return _read(root, run, super_category, matches.PRODUCT_COLUMNS)[0]


def shelf(root: Path, run: str, super_category: str) -> Shelf:
    """The gallery with what is shown of its products. Raises as `gallery`."""
    made, products = _read(root, run, super_category, list(dict.fromkeys([*matches.PRODUCT_COLUMNS, *SHOWN])))
    order = np.argsort(np.asarray(products["product_id"].to_pylist(), dtype=object))
    ids = np.asarray(products["product_id"].to_pylist(), dtype=object)[order]
    rows = order[np.searchsorted(ids, made.product_ids)]
    return Shelf(made, products.select(list(SHOWN)).take(pa.array(rows)).combine_chunks())


def super_categories(root: Path, run: str) -> list[str]:
    """Those that have an index in the run, in alphabetical order. Raises store.NotMade."""
    return sorted(name.removesuffix(".faiss") for name in store.made(root, ENTRIES, run)["files"] if name.endswith(".faiss"))


def _read(root: Path, run: str, super_category: str, columns: list[str]) -> tuple[matches.Gallery, pa.Table]:
    name = f"{super_category}.faiss"
    path = store.folder(root, ENTRIES, run) / name
    if store.sha256(path) != store.made(root, ENTRIES, run)["files"][name]:
        raise indexes.BadIndex(f"{path}: not the file that made.json names; build the indexes again with --redo")
    entry_ids, codes = indexes.read(path)
    entries = store.dataset(root, ENTRIES, run).to_table(filter=ds.field("super_category") == super_category).sort_by("entry_id")
    if entries["entry_id"].to_pylist() != entry_ids.tolist():
        raise indexes.BadIndex(f"{path}: its ids are not those of the table beside it")
    products = store.dataset(root, PRODUCTS, run).to_table(columns=columns, filter=ds.field("super_category") == super_category)
    return matches.gallery(entries, codes, products), products
