"""The gate's SQL and the search's masks, written apart, say the same of every rule and pair."""

from dataclasses import asdict

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.catalog.product_conditions import CONDITION_COLUMNS
from wearalike.quality.rule_checks import BROKEN_RULE, broken_rule_macro_sql
from wearalike.search.page_rules import CompiledRules
from wearalike.search.product_attributes import build_attributes
from wearalike.storage.string_arrays import Texts
from wearalike.tables import PRODUCTS

PATTERNS = ["Striped", "pin-striped, narrow", "striped_wide", "ПОЛОСКА", "dots", "-"]
PRODUCT = st.fixed_dictionaries(
    {
        "shop_id": st.sampled_from(["s", "t"]),
        "brand": st.sampled_from([None, "Lipa", "ŻABKA", "O'Neil"]),
        "category": st.sampled_from(["bags", "bags.totes", "bagsful", "women.dresses.midi"]),
        "price_cents": st.integers(1, 9),
        "old_price_cents": st.none() | st.integers(1, 9),
        "currency": st.sampled_from(["EUR", "RUB"]),
        "colour_names": st.lists(st.sampled_from(["blue", "dark_blue", "red"]), max_size=2),
        "patterns": st.none() | st.lists(st.sampled_from(PATTERNS), max_size=2),
        "gtins": st.lists(st.sampled_from(["04006381333931", "00000000000017"]), max_size=1),
        "sizes_left": st.none() | st.integers(0, 3),
        "first_seen": st.none() | st.sampled_from(["2026-12-01", "2026-12-09"]),
    }
)
ONE_CONDITION = [
    {"product": "p:1"},
    {"category": "bags"},
    {"family_leaves": ("women.dresses.midi", "bags.totes")},
    {"brand": "żabka"},
    {"brand": "o'neil"},
    {"shop": "t"},
    {"min_price": 0.03, "currency": "EUR"},
    {"max_price": 0.05, "currency": "EUR"},
    {"sale": "yes"},
    {"sale": "no"},
    {"first_seen_from": "2026-12-05"},
    {"min_sizes": 1},
    {"min_sizes": 0},
    {"max_sizes": 1},
    {"colour": "blue"},
    {"colour": "dark_blue"},
    {"pattern": "striped"},
    {"pattern": "Striped wide"},
    {"pattern": "полоска"},
    {"gtin": "4006381333931"},
]
CONDITION = st.sampled_from(ONE_CONDITION)
ON = st.sampled_from([{}, *({f"on_{k}": v for k, v in one.items()} for one in ONE_CONDITION)]).map(
    lambda fields: {("currency" if k == "on_currency" else k): v for k, v in fields.items()}
)
COMPARED = st.sampled_from(["shop", "brand", "category", "price_band", "colour", "pattern"])
RULE = st.one_of(
    st.builds(
        lambda kind, one, two, on: MerchandisingRule("r", kind, **{**one, **two, **on}),
        st.sampled_from(["hide", "require"]),
        CONDITION,
        CONDITION,
        ON,
    ),
    st.builds(
        lambda compared, is_same, on: MerchandisingRule(
            "r", "require", attribute=compared, is_same=is_same, **on
        ),
        COMPARED,
        st.booleans(),
        ON,
    ),
)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(PRODUCT, min_size=1, max_size=6), rule=RULE)
def test_the_gate_breaks_what_the_search_leaves_out(rows, rule):
    rows = [{**row, "product_id": f"p:{n}"} for n, row in enumerate(rows)]
    schema = pa.schema([field.with_nullable(True) for field in PRODUCTS.arrow_schema])
    products = pa.Table.from_pylist(rows, schema=schema)
    attributes = build_attributes(
        products.__getitem__, Texts(products["product_id"]), CONDITION_COLUMNS
    )
    compiled = CompiledRules([rule], attributes)
    everything = np.arange(len(rows))
    shown = [
        compiled.rules_for_page(page).may_show(everything).tolist() for page in range(len(rows))
    ]
    with duckdb.connect() as con:
        con.register("products", products)
        con.execute(broken_rule_macro_sql([asdict(rule)]))
        pairs = con.execute(
            f"SELECT {BROKEN_RULE} FROM products p CROSS JOIN products a "
            "ORDER BY p.product_id, a.product_id"
        ).fetchall()
    kept = [text is None for (text,) in pairs]
    assert kept == [one for page in shown for one in page], rule
    assert {text for (text,) in pairs} <= {None, f"{rule.kind}:r"}
