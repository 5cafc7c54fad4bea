"""Exposure and spread: counted one by one on a small night."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from wearalike import tables
from wearalike.quality import exposure, metrics

LISTS = {"a:1": ["a:2", "b:1"], "a:2": ["b:1"], "a:3": ["b:1", "a:2"], "b:1": ["a:2"]}
PRODUCTS = {"a:1": True, "a:2": True, "a:3": False, "b:1": True, "b:2": True}


def rows_of(table: tables.Table, rows: list[dict]) -> pa.Table:
    schema = pa.schema([field.with_nullable(True) for field in table.arrow_schema])
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture(scope="module")
def codes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {product_id: rng.random(256) < 0.5 for product_id in PRODUCTS}


@pytest.fixture(scope="module")
def night(codes) -> dict[str, pa.Table]:
    packed = {i: np.packbits(bits).tobytes() for i, bits in codes.items()}
    return {
        "products": rows_of(
            tables.PRODUCTS,
            [
                {
                    "product_id": i,
                    "shop_id": i[0],
                    "super_category": "bags",
                    "availability": "in_stock" if is_there else "out_of_stock",
                }
                for i, is_there in PRODUCTS.items()
            ],
        ),
        "indexes": rows_of(
            tables.INDEXES,
            [
                {"product_id": i, "shape": code[:16], "colour": code[16:]}
                for i, code in packed.items()
            ],
        ),
        "similar_products": rows_of(
            tables.SIMILAR_PRODUCTS,
            [
                {"product_id": i, "rank": rank, "similar_product_id": other}
                for i, others in LISTS.items()
                for rank, other in enumerate(others, 1)
            ],
        ),
    }


def answer(night, sql: str) -> dict[str, dict]:
    with metrics.open_run_tables(night) as con:
        rows = con.execute(sql).to_arrow_table().to_pylist()
    return {row.pop("scope"): row for row in rows}


def test_exposure_counts_who_is_recommended(night):
    found = answer(night, exposure.EXPOSURE_SQL)
    # Four are in stock; two of them stand in lists, each in three.
    assert found["all"] == {
        "recommended_ratio": 0.5,
        "hub_share_ratio": 0.5,
        "most_recommended_count": 3,
        "shown_share_ratio": None,
        "could_be_shown_ratio": None,
    }
    assert found["shop=a"] == {
        "recommended_ratio": 0.5,
        "hub_share_ratio": 1.0,
        "most_recommended_count": 3,
        "shown_share_ratio": 0.5,
        "could_be_shown_ratio": 0.5,
    }
    assert found["super_category=bags"]["recommended_ratio"] == 0.5


def test_spread_is_the_share_of_bits_between_results(night, codes):
    found = answer(night, exposure.SPREAD_SQL)
    spreads = [
        np.mean([(codes[one] != codes[other]).mean() for one, other in combinations(others, 2)])
        for others in LISTS.values()
        if len(others) > 1
    ]
    assert found["all"]["spread@10"] == pytest.approx(np.mean(spreads))
    assert found["super_category=bags"] == found["all"]
