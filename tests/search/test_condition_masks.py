"""Conditions on products: the masks of the search say what the rows themselves say."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike.catalog.product_conditions import CONDITION_COLUMNS, ProductConditions
from wearalike.search.condition_masks import match_conditions
from wearalike.search.product_attributes import build_attributes
from wearalike.storage.string_arrays import Texts
from wearalike.tables import PRODUCTS

PRODUCT = st.fixed_dictionaries(
    {
        "shop_id": st.sampled_from(["s", "t"]),
        "brand": st.sampled_from([None, "Lipa", "ŻABKA", "Verano"]),
        "category": st.sampled_from(["bags", "bags.totes", "bagsful", "women.dresses.midi"]),
        "price_cents": st.integers(1, 9) | st.just(5000),
        "currency": st.sampled_from(["EUR", "RUB"]),
        "colour_names": st.lists(
            st.sampled_from(["blue", "dark_blue", "red", "navy"]), max_size=2, unique=True
        ),
        "sizes": st.lists(st.sampled_from(["42", "42 RU", "XL", "420"]), max_size=3, unique=True),
    }
)
CONDITIONS = st.builds(
    ProductConditions,
    categories=st.sampled_from([(), ("bags",), ("women.dresses", "bags.totes")]),
    shops=st.sampled_from([(), ("s",), ("s", "t"), ("u",)]),
    brands=st.sampled_from([(), ("lipa",), ("żabka", "VERANO")]),
    colours=st.sampled_from([(), ("blue",), ("dark_blue", "red")]),
    sizes=st.sampled_from([(), ("42",), ("xl", "42 ru")]),
    min_price_cents=st.none() | st.integers(0, 9),
    max_price_cents=st.none() | st.integers(0, 9),
    currency=st.just("EUR"),
)


def is_met(row: dict, wanted: ProductConditions) -> bool:
    """Tell by the definition if a product meets conditions."""
    checks = [
        not wanted.categories
        or any(f"{row['category']}.".startswith(f"{c}.") for c in wanted.categories),
        not wanted.shops or row["shop_id"] in wanted.shops,
        not wanted.brands
        or (row["brand"] or "").lower() in {brand.lower() for brand in wanted.brands},
        not wanted.colours
        or any(c == n or n.endswith(f"_{c}") for c in wanted.colours for n in row["colour_names"]),
        not wanted.sizes
        or any(
            own.lower() == size.lower() or own.lower().startswith(f"{size.lower()} ")
            for size in wanted.sizes
            for own in row["sizes"]
        ),
    ]
    if wanted.has_price:
        checks.append(row["currency"] == wanted.currency)
        checks.append((wanted.min_price_cents or 0) <= row["price_cents"])
        checks.append(
            row["price_cents"] <= (wanted.max_price_cents or 0)
            or not (wanted.max_price_cents is not None)
        )
    return all(checks)


def attributes_of(rows: list[dict]):
    rows = [{**row, "product_id": f"s:{n}"} for n, row in enumerate(rows)]
    schema = pa.schema([field.with_nullable(True) for field in PRODUCTS.arrow_schema])
    table = pa.Table.from_pylist(rows, schema=schema)
    return build_attributes(table.__getitem__, Texts(table["product_id"]), CONDITION_COLUMNS)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(PRODUCT, min_size=1, max_size=8), wanted=CONDITIONS)
def test_a_mask_tells_which_products_meet_conditions(rows, wanted):
    found = match_conditions(wanted, attributes_of(rows))
    assert found.tolist() == [is_met(row, wanted) for row in rows]


@pytest.mark.parametrize("kind", ["product_ids", "shops"])
def test_several_values_are_joined_by_or(kind):
    row = dict(
        shop_id="s", brand=None, category="bags", price_cents=1, currency="EUR",
        colour_names=[], sizes=[],
    )  # fmt: skip
    wanted = ProductConditions(product_ids=("s:0", "s:2"))
    if kind == "shops":
        wanted = ProductConditions(shops=("x", "s"))
    found = match_conditions(wanted, attributes_of([row] * 3))
    assert found.tolist() == ([True, False, True] if kind == "product_ids" else [True] * 3)


def test_conditions_name_the_columns_that_they_look_at():
    assert ProductConditions(shops=("s",)).columns == set()
    assert ProductConditions(colours=("red",), sizes=("42",)).columns == {"colour_names", "sizes"}
    assert not ProductConditions() and ProductConditions(max_price_cents=0)
