"""The products and the index of a run, of any size, as the matching job reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.search import index
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, PRODUCTS

RUN, SUPER_CATEGORY = "bench", "full_body"
_BLOCK_ROWS = 1 << 18


def write_run(root: Path, count: int) -> None:
    """Write women's dresses of 3,000 brands of ten shops, all in stock, with random codes."""
    rng = np.random.default_rng(7)
    with (
        run_tables.write_table(root, PRODUCTS, RUN, "s") as products,
        run_tables.write_table(root, INDEXES, RUN, "s") as entries,
    ):
        codes = rng.integers(0, 256, (count, 32), dtype=np.uint8)
        for start in range(0, count, _BLOCK_ROWS):
            rows = np.arange(start, min(start + _BLOCK_ROWS, count))
            products.write(_products_table(rows))
            entries.write(_entries_table(rows, codes[rows[0] : rows[-1] + 1], rng))
        index.write_index(entries.path / f"{SUPER_CATEGORY}.faiss", np.arange(count), codes)
        entries.manifest_extras |= {"detector": "bench", "encoder": "bench"}


def _numbered_texts(prefix: str, rows: np.ndarray, width: int) -> pa.Array:
    return pc.binary_join_element_wise(
        prefix, pc.utf8_lpad(pa.array(rows).cast(pa.string()), width, "0"), ""
    )


def _products_table(rows: np.ndarray) -> pa.Table:
    n = len(rows)
    nothing = pa.array([[]] * n, pa.list_(pa.string()))
    lists = [column.name for column in PRODUCTS.columns if pa.types.is_list(column.type)]
    columns = {
        "product_id": _numbered_texts("shop:", rows, 9),
        "shop_id": _numbered_texts("shop-", rows % 10, 1),
        "offer_id": _numbered_texts("", rows, 9),
        "title": _numbered_texts("Dress ", rows, 9),
        "brand": _numbered_texts("brand-", rows % 3000, 4),
        "price_cents": np.full(n, 4990),
        **dict.fromkeys(lists, nothing),
        "shape_weight": np.full(n, 2),
        "colour_weight": np.full(n, 8),
        "kind_weight": np.full(n, 5),
    }
    words = {
        "currency": "EUR",
        "availability": "in_stock",
        "gender": "female",
        "age_group": "adult",
        "category": "women.dresses.midi",
    }
    columns |= {
        name: pa.repeat(word, n)
        for name, word in (words | {"super_category": SUPER_CATEGORY}).items()
    }
    table = {
        column.name: columns.get(column.name, pa.nulls(n, column.type))
        for column in PRODUCTS.columns
    }
    return pa.table(table).cast(PRODUCTS.arrow_schema)


def _random_hex(count: int, bytes_each: int, rng: np.random.Generator) -> pa.Array:
    """Hex digits, as ids have them."""
    offsets = np.arange(count + 1, dtype=np.int32) * 2 * bytes_each
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets), pa.py_buffer(rng.bytes(count * bytes_each).hex().encode())
    )


def _entries_table(rows: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> pa.Table:
    halves = [
        pa.array([code.tobytes() for code in codes[:, half]], pa.binary(16))
        for half in (slice(0, 16), slice(16, 32))
    ]
    columns = {
        "product_id": _numbered_texts("shop:", rows, 9),
        "super_category": pa.repeat(SUPER_CATEGORY, len(rows)),
        "entry_id": rows,
        "item_id": _random_hex(len(rows), 16, rng),
        "image_id": _random_hex(len(rows), 32, rng),
        "shape": halves[0],
        "colour": halves[1],
    }
    return pa.table(columns).cast(INDEXES.arrow_schema)


if __name__ == "__main__":
    write_run(Path(sys.argv[1]), int(sys.argv[2]))
