"""The looks that feeds name: products that a shop shows beside another, its cross-sell.

They are shown as search results are: in stock, for the same audience, under the rules hide and
require, one of an article, k of a super-category. Each link has one fate, and is counted by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.eligibility import is_for_audience
from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.catalog.product_conditions import CONDITION_COLUMNS
from wearalike.search.page_rules import CompiledRules
from wearalike.search.product_attributes import (
    ATTRIBUTE_COLUMNS,
    ProductAttributes,
    build_attributes,
)
from wearalike.search.reasons import describe_feed_look
from wearalike.storage.string_arrays import Texts
from wearalike.tables import LOOK_PRODUCTS, Availability, LookSource

# The columns of tables.PRODUCTS that `build_feed_looks` needs, beside those of the rules.
FEED_LOOK_COLUMNS = [
    *ATTRIBUTE_COLUMNS,
    "super_category",
    "availability",
    "gender",
    "age_group",
    "group_id",
    "article_id",
    "related_offer_ids",
]


class LinkFate(StrEnum):
    """Outcome of a link from one product of a feed to another."""

    SHOWN = "shown"
    NOT_IN_RUN = "not_in_run"  # the run has no such product
    SAME_SUPER_CATEGORY = "same_super_category"  # it is rather alike than worn with it
    NOT_IN_STOCK = "not_in_stock"
    OTHER_AUDIENCE = "other_audience"
    WORN = "worn"  # the product's own pictures say what it is worn with there
    RULES = "rules"  # hide or require leaves it out
    SAME_ARTICLE = "same_article"  # another size or colour stands there
    BEYOND_K = "beyond_k"


def build_feed_looks(
    products: pa.Table, worn: pa.Table, rules: Sequence[MerchandisingRule], k: int
) -> tuple[pa.Table, dict[LinkFate, int]]:
    """Build the looks that feeds name.

    Args:
        products: FEED_LOOK_COLUMNS and the columns of the rules, of the whole run.
        worn: product_id and super_category of the rows of LOOK_PRODUCTS that come from the
            products' own pictures; feeds add nothing there.
        rules: The merchandiser's rules, of which hide and require act.
        k: Most products of a super-category, the first ones named.

    Returns:
        Rows of tables.LOOK_PRODUCTS, and how many links had each fate.
    """
    related = products["related_offer_ids"].combine_chunks()
    pages = pc.list_parent_indices(related)
    named = pc.binary_join_element_wise(
        products["shop_id"].take(pages), pc.list_flatten(related), ":"
    )
    product_ids = products["product_id"].combine_chunks()
    found = pc.index_in(named.combine_chunks(), product_ids)
    page, shown = pages.to_numpy().astype(np.int64), pc.fill_null(found, 0).to_numpy()
    fates = np.full(len(page), LinkFate.SHOWN, dtype=object)

    def mark(fate: LinkFate, is_out: NDArray[np.bool_]) -> None:
        """Give links that would be shown another fate."""
        fates[(fates == LinkFate.SHOWN) & is_out] = fate

    mark(LinkFate.NOT_IN_RUN, pc.is_null(found).to_numpy(zero_copy_only=False))
    super_category, names = _number_values(products["super_category"])
    mark(LinkFate.SAME_SUPER_CATEGORY, super_category[shown] == super_category[page])
    in_stock = pc.equal(products["availability"], Availability.IN_STOCK.value)
    mark(LinkFate.NOT_IN_STOCK, ~in_stock.to_numpy()[shown])
    audience, audiences = _number_values(
        pc.binary_join_element_wise(products["age_group"], products["gender"], "\n")
    )
    fits = np.array(
        [
            [is_for_audience(*other.split("\n"), *own.split("\n")) for own in audiences]
            for other in audiences
        ],
        bool,
    ).reshape(len(audiences), len(audiences))
    mark(LinkFate.OTHER_AUDIENCE, ~fits[audience[shown], audience[page]])
    worn_pages = pc.index_in(worn["product_id"], product_ids).to_numpy()
    worn_places = (
        worn_pages * len(names)
        + pc.index_in(worn["super_category"], pa.array(names, pa.string())).to_numpy()
    )
    mark(LinkFate.WORN, np.isin(page * len(names) + super_category[shown], worn_places))
    if rules:
        mark(LinkFate.RULES, ~_may_show(products, page, shown, rules))
    article, _ = _number_values(
        pc.coalesce(
            products["article_id"],
            pc.binary_join_element_wise(
                products["shop_id"], pc.utf8_lower(products["group_id"]), "\n"
            ),
            products["product_id"],
        )
    )
    frame = pd.DataFrame(
        {"page": page, "super_category": super_category[shown], "article": article[shown]}
    )
    firsts = frame[fates == LinkFate.SHOWN].drop_duplicates()
    mark(LinkFate.SAME_ARTICLE, ~frame.index.isin(firsts.index))
    rank = np.zeros(len(frame), np.int64)
    rank[firsts.index] = firsts.groupby(["page", "super_category"]).cumcount() + 1
    mark(LinkFate.BEYOND_K, rank > k)
    is_shown = fates == LinkFate.SHOWN
    rows = _build_rows(products, page[is_shown], shown[is_shown], rank[is_shown])
    return rows, {fate: int((fates == fate).sum()) for fate in LinkFate}


def _number_values(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each text among the distinct ones, int64 (n,), and these."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _may_show(
    products: pa.Table,
    page: NDArray[np.int64],
    shown: NDArray[np.int64],
    rules: Sequence[MerchandisingRule],
) -> NDArray[np.bool_]:
    """Tell which links the rules let their pages show, bool (links,)."""
    linking, page_number = np.unique(page, return_inverse=True)
    linked, shown_number = np.unique(shown, return_inverse=True)
    compiled_rules = CompiledRules(
        rules, _attributes_of(products, linked), _attributes_of(products, linking)
    )
    may_show = np.ones(len(page), bool)
    # The links of a page stand together.
    starts = np.searchsorted(page_number, np.arange(len(linking) + 1))
    for number in np.flatnonzero(compiled_rules.is_ruled).tolist():
        own = slice(starts[number], starts[number + 1])
        page_rules = compiled_rules.rules_for_page(number)
        may_show[own] = page_rules.may_show(shown_number[own])
    return may_show


def _attributes_of(products: pa.Table, rows: NDArray[np.int64]) -> ProductAttributes:
    """Return the attributes of some rows of products."""
    some = products.take(pa.array(rows))
    more = [name for name in CONDITION_COLUMNS if name in products.column_names]
    return build_attributes(lambda name: some[name], Texts(some["product_id"]), more)


def _build_rows(
    products: pa.Table,
    page: NDArray[np.int64],
    shown: NDArray[np.int64],
    rank: NDArray[np.int64],
) -> pa.Table:
    """Return rows of tables.LOOK_PRODUCTS; what an item worn would say is null."""
    columns = {
        "product_id": products["product_id"].take(pa.array(page)),
        "super_category": products["super_category"].take(pa.array(shown)),
        "rank": rank,
        "look_product_id": products["product_id"].take(pa.array(shown)),
        "source": pa.repeat(pa.scalar(LookSource.FEED.value), len(page)),
        "reason": pa.repeat(pa.scalar(describe_feed_look("en")), len(page)),
        "reason_ru": pa.repeat(pa.scalar(describe_feed_look("ru")), len(page)),
    }
    ordered = {
        column.name: columns.get(column.name, pa.nulls(len(page), column.type))
        for column in LOOK_PRODUCTS.columns
    }
    return pa.table(ordered).cast(LOOK_PRODUCTS.arrow_schema)
