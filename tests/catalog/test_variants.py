"""Variants of an article: every product that shares it, ranked, and no product that is alone."""

import pyarrow as pa
import pyarrow.dataset as ds

from wearalike import catalog
from wearalike.tables import PRODUCT_VARIANTS, PRODUCTS

ROWS = [
    # product_id, article_id, colour_names, sizes
    ("moda:1", "moda:1", ["red"], ["44"]),
    ("moda:2", "moda:1", ["blue"], ["42"]),
    ("moda:3", "moda:1", ["red"], ["42"]),
    ("lipa:9", "moda:1", [], []),
    ("moda:4", None, ["red"], ["42"]),
    ("moda:5", "moda:5", ["red"], ["42"]),
]


def products() -> pa.Table:
    rows = [
        {
            "product_id": product_id,
            "shop_id": product_id.partition(":")[0],
            "article_id": article_id,
            "colour_names": names,
            "colours": names,
            "sizes": sizes,
            "availability": "in_stock",
        }
        for product_id, article_id, names, sizes in ROWS
    ]
    schema = pa.schema([field.with_nullable(True) for field in PRODUCTS.arrow_schema])
    return pa.Table.from_pylist(rows, schema=schema)


def test_the_products_of_an_article_are_its_variants():
    batches = catalog.iter_variants(ds.dataset(products()))
    found = pa.Table.from_batches(batches).to_pylist()
    assert [(row["product_id"], row["rank"], row["variants_count"]) for row in found] == [
        ("lipa:9", 1, 4),
        ("moda:1", 4, 4),
        ("moda:2", 2, 4),
        ("moda:3", 3, 4),
    ]
    assert {row["article_id"] for row in found} == {"moda:1"}
    assert [list(row) for row in found] == [PRODUCT_VARIANTS.column_names] * 4
    assert (found[1]["sizes"], found[2]["colour_names"]) == (["44"], ["blue"])


def test_a_run_without_variants_has_no_row():
    assert sum(b.num_rows for b in catalog.iter_variants(ds.dataset(products().slice(4)))) == 0
