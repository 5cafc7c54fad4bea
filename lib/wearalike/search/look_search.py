"""The products most alike items that are worn in looks, and whose looks a product takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.catalog.product_conditions import CONDITION_COLUMNS
from wearalike.search.code_search import search_codes, vote_category_weights
from wearalike.search.gallery import Gallery
from wearalike.search.index import code_array
from wearalike.search.page_rules import CompiledRules
from wearalike.search.product_attributes import ProductAttributes, build_attributes
from wearalike.search.ranked_lists import ListRules, RankedList
from wearalike.storage.string_arrays import Texts


def search_worn_items(
    gallery: Gallery,
    candidate_rows: NDArray[np.int64],
    items: pa.Table,
    products: pa.Table,
    rules: ListRules,
    merchandising_rules: Sequence[MerchandisingRule] = (),
    wanted_rows: NDArray[np.int64] | None = None,
) -> tuple[list[RankedList], NDArray[np.int64]]:
    """Search the products most alike items worn with products, exactly.

    An item takes the weights of the category that most of its nearest in shape have. Pages that
    show the same item, and on which no rule acts, share one search.

    Args:
        gallery: The products of the items' super-category.
        candidate_rows: int64 (m,), ascending, m >= 1. Rows that all pages may show.
        items: product_id of the page, and item_id, shape and colour of the item.
        products: ATTRIBUTE_COLUMNS and the columns of the rules, of at least the pages' products.
        rules: The rules of the lists.
        merchandising_rules: The merchandiser's rules, of which hide and require act.
        wanted_rows: int64, ascending. Those of the rows that filters leave; None for all. The vote
            on weights counts all.

    Returns:
        The list of each item, and int64 (items,): the row whose weights it was searched with.
    """
    compiled_rules = None
    is_ruled = np.zeros(len(items), bool)
    if merchandising_rules:
        pages = _page_attributes(items["product_id"], products)
        compiled_rules = CompiledRules(merchandising_rules, gallery.attributes, pages)
        is_ruled = compiled_rules.is_ruled
    own_page = pc.if_else(pa.array(is_ruled), items["product_id"], "")
    searches = pc.binary_join_element_wise(items["item_id"], own_page, "\n")
    numbers = searches.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(numbers, return_index=True)
    once = items.take(pa.array(first))
    codes = code_array(once["shape"], once["colour"]).view(np.uint64)
    weight_rows = vote_category_weights(gallery, candidate_rows, codes)
    page_rules = None
    if compiled_rules is not None:
        page_rules = [compiled_rules.rules_for_page(page) for page in first.tolist()]
    lists = list(
        search_codes(
            gallery,
            candidate_rows if wanted_rows is None else wanted_rows,
            codes,
            gallery.shape_weight[weight_rows],
            gallery.colour_weight[weight_rows],
            rules,
            page_rules=page_rules,
        )
    )
    return [lists[number] for number in numbers.tolist()], weight_rows[numbers]


def _page_attributes(product_ids: pa.ChunkedArray, products: pa.Table) -> ProductAttributes:
    """Return the attributes of the products whose pages show items, in their order."""
    rows = pc.index_in(product_ids, products["product_id"].combine_chunks())
    more = [name for name in CONDITION_COLUMNS if name in products.column_names]
    return build_attributes(lambda name: products[name].take(rows), Texts(product_ids), more)


def choose_most_alike(
    similar_products: ds.Dataset, asking: pa.Array, wearing: pa.Array, min_score: float
) -> pa.Table:
    """Choose the product whose look each product without one takes.

    It is the first of its list that has a look and is alike enough. Fallbacks of short lists do not
    count.

    Args:
        similar_products: Rows of tables.SIMILAR_PRODUCTS.
        asking: product_ids without a look.
        wearing: product_ids with a look of their own pictures.
        min_score: 0..1. The least score.

    Returns:
        product_id and worn_with_product_id, by product_id.
    """
    scanner = similar_products.scanner(
        columns=["product_id", "rank", "similar_product_id"],
        filter=ds.field("similar_product_id").isin(wearing)
        & ds.field("product_id").isin(asking)
        & (ds.field("score") >= min_score)
        & ds.field("fallback").is_null(),
        batch_readahead=1,
        fragment_readahead=1,
    )
    # The first of each batch, so that never all rows of a night are in memory.
    firsts = [_take_first_ranks(pa.table(batch)) for batch in scanner.to_batches()]
    chosen = _take_first_ranks(pa.concat_tables(firsts)) if firsts else scanner.head(0)
    return pa.table(
        {
            "product_id": chosen["product_id"],
            "worn_with_product_id": chosen["similar_product_id"],
        }
    )


def _take_first_ranks(rows: pa.Table) -> pa.Table:
    """Take each product's row of the first rank, by product_id."""
    rows = rows.sort_by([("product_id", "ascending"), ("rank", "ascending")])
    _, first = np.unique(
        rows["product_id"].combine_chunks().dictionary_encode().indices.to_numpy(),
        return_index=True,
    )
    return rows.take(pa.array(first))
