"""The galleries of a run, read from its tables and indexes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from wearalike import catalog, search
from wearalike.catalog import feed_distances
from wearalike.catalog.category_weights import NO_WEIGHTS, CategoryWeights, replace_weights
from wearalike.catalog.product_conditions import CONDITION_COLUMNS
from wearalike.search import index
from wearalike.storage import run_tables
from wearalike.tables import DISPLAY_COLUMNS, INDEXES, INDEXES_VARIANTS, MATCHES, PRODUCTS

# The columns of tables.PRODUCTS that a photo's results show, beside the id.
_PRODUCT_COLUMNS = [*DISPLAY_COLUMNS, "category", "availability", "image_urls"]

# By default Arrow reads ahead 16 batches of 131,072 rows.
_DATASET_READ_OPTIONS = {"batch_readahead": 1, "fragment_readahead": 1}

# glibc's malloc.h: arrays from so many bytes are mapped one by one, and unmapped when they go.
_M_MMAP_THRESHOLD = -3
_LARGE_ARRAY_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class GalleryWithProducts:
    """One super-category of a run.

    Attributes:
        gallery: Its gallery.
        products: The columns that results show; row i is that of row i of the gallery.
    """

    gallery: search.Gallery
    products: pa.Table

    def display_rows(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return what results show of rows, with product_id, and the first image as image_url."""
        products: list[dict[str, Any]] = self.products.take(pa.array(rows)).to_pylist()
        for row, product in zip(rows.tolist(), products, strict=True):
            product["product_id"] = self.gallery.product_ids[row]
            product["image_url"] = next(iter(product.pop("image_urls")), None)
        return products


@dataclass(frozen=True, slots=True)
class StoredColumns:
    """Columns of the rows of a table that meet a condition, each read when it is asked for.

    A gallery is built of one column after another: to hold all of them would take most of the
    memory of a worker.

    Attributes:
        rows: The table.
        column_names: The columns that may be asked for.
        condition: True of the rows.
    """

    rows: ds.Dataset
    column_names: list[str]
    condition: ds.Expression

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Return a column."""
        return self.read([name])[name]

    def iter_chunks(self, name: str) -> Iterator[pa.Array]:
        """Yield a column chunk by chunk."""
        for batch in self.rows.to_batches([name], filter=self.condition, **_DATASET_READ_OPTIONS):
            yield batch[name]

    def read(self, names: list[str]) -> pa.Table:
        """Return some of the columns."""
        return self.rows.to_table(names, self.condition, **_DATASET_READ_OPTIONS)


def load_gallery(
    root: Path,
    run: str,
    super_category: str,
    more_columns: Iterable[str] = (),
    weights: CategoryWeights = NO_WEIGHTS,
    encoder: str | None = None,
) -> search.Gallery:
    """Load the gallery of a super-category of a run, its codes mapped from the Faiss index.

    Args:
        root: The data folder.
        run: Name of the run; its files must stay while the gallery is used.
        super_category: A `tables.SuperCategory` value.
        more_columns: Those of CONDITION_COLUMNS that rules or filters look at.
        weights: Weights in place of those of the products.
        encoder: Version of the encoder of a variant of the lists; None for that of the run.

    Raises:
        TableNotFound: The run has no such table.
        BadIndex: The index is not the file that _manifest.json names, or not one of ours.
    """
    columns = list(dict.fromkeys([*search.GALLERY_COLUMNS, *sorted(more_columns)]))
    gallery, _ = _load_gallery(
        root, run, super_category, index.read_codes_mmap, columns, weights, encoder
    )
    _release_unused_memory()
    return gallery


def load_gallery_with_products(root: Path, run: str, super_category: str) -> GalleryWithProducts:
    """Load a gallery with what lists show of its products; it outlives the run's files.

    Args:
        root: The data folder.
        run: Name of the run.
        super_category: A `tables.SuperCategory` value.

    Raises:
        TableNotFound: The run has no such table.
        BadIndex: The index is not the file that _manifest.json names, or not one of ours.
    """
    columns = [*search.GALLERY_COLUMNS, *_PRODUCT_COLUMNS, *CONDITION_COLUMNS]
    columns = list(dict.fromkeys(columns))
    gallery, products = _load_gallery(root, run, super_category, index.read_codes, columns)
    rows = pc.index_in(pa.array(gallery.product_ids), products["product_id"].combine_chunks())
    shown = products.read(_PRODUCT_COLUMNS).take(rows).combine_chunks()
    return GalleryWithProducts(gallery, shown)


def read_entries(root: Path, run: str, columns: list[str], encoder: str | None = None) -> pa.Table:
    """Return columns of tables.INDEXES.

    Args:
        root: The data folder.
        run: Name of the run.
        columns: The columns.
        encoder: Version of the encoder of a variant of the lists; None for that of the run.

    Raises:
        TableNotFound: The run has no such table.
    """
    if encoder is None:
        return run_tables.read_table(root, INDEXES, run, columns)
    rows = run_tables.open_dataset(root, INDEXES_VARIANTS, run)
    return rows.to_table(columns, ds.field("encoder") == encoder)


def return_memory_early() -> None:
    """Let this process return memory to the system as soon as it is free, for a worker.

    Arrow's default, mimalloc, keeps a quarter more than jemalloc while a gallery is built, and
    glibc keeps freed arrays of up to 32 MB.
    """
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(0)
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's alone
        set_option(_M_MMAP_THRESHOLD, _LARGE_ARRAY_BYTES)


def _release_unused_memory() -> None:
    """Return to the system what building a gallery took beyond what it keeps."""
    pa.default_memory_pool().release_unused()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def list_super_categories(root: Path, run: str) -> list[str]:
    """Return the super-categories that have an index in the run, sorted.

    Raises:
        TableNotFound: The run has no table `indexes`.
    """
    files = run_tables.read_manifest(root, INDEXES, run)["files"]
    return sorted(name.removesuffix(".faiss") for name in files if name.endswith(".faiss"))


def load_merchandising_rules(root: Path, run: str) -> tuple[catalog.MerchandisingRule, ...]:
    """Return the merchandiser's rules that a run was matched by: those of the run's day.

    Raises:
        TableNotFound: The run has no table `matches`.
    """
    parameters = run_tables.read_manifest(root, MATCHES, run)["parameters"]
    return tuple(catalog.MerchandisingRule(**rule) for rule in parameters.get("merchandise", []))


def _load_gallery(
    root: Path,
    run: str,
    super_category: str,
    read_index: Callable[[Path], tuple[NDArray[np.int64], NDArray[np.uint8]]],
    columns: list[str],
    weights: CategoryWeights = NO_WEIGHTS,
    encoder: str | None = None,
) -> tuple[search.Gallery, StoredColumns]:
    """Return the gallery and the columns of its products, in the order of tables.PRODUCTS."""
    name = f"{super_category}.faiss" if encoder is None else f"{encoder}/{super_category}.faiss"
    table = INDEXES if encoder is None else INDEXES_VARIANTS
    path = run_tables.fetch_files(root, table, run, name.__eq__) / name
    if run_tables.sha256(path) != run_tables.read_manifest(root, table, run)["files"][name]:
        raise index.BadIndex(
            f"{path}: not the file that _manifest.json names; build the indexes again with --force"
        )
    entry_ids, codes = read_index(path)
    is_in_super_category = ds.field("super_category") == super_category
    is_own = is_in_super_category
    if encoder is not None:
        is_own &= ds.field("encoder") == encoder
    entries = StoredColumns(
        run_tables.open_dataset(root, table, run),
        ["entry_id", "product_id", "item_id", "image_id"],
        is_own,
    )
    if not np.array_equal(entries["entry_id"].to_numpy(), entry_ids):
        raise index.BadIndex(f"{path}: its ids are not those of the table beside it")
    products = StoredColumns(
        run_tables.open_dataset(root, PRODUCTS, run), columns, is_in_super_category
    )
    distances = feed_distances.read_feed_distances(root, run)
    # In another order than the entries', but the same for each column.
    weighted = replace_weights(products.read(columns), weights) if weights else products
    return search.build_gallery(entries, codes, weighted, distances), products
