"""Offers to products: decided once for each distinct category and person, then gathered by Arrow."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.catalog.mapping import ShopMapping
from wearalike.catalog.taxonomy import Taxonomy
from wearalike.tables import PRODUCTS, REFUSED, AgeGroup, Gender


class CategoryReason(StrEnum):
    """Why an offer is no product."""

    UNMAPPED_CATEGORY = "unmapped_category"
    IGNORED_CATEGORY = "ignored_category"
    NO_CATEGORY = "no_category"


_MAPPING_INPUTS = ["category_ids", "category_paths", "gender", "age_group"]
_MAPPING_RESULT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("reason", "detail")]
    + [
        PRODUCTS.arrow_schema.field(name)
        for name in (
            "category",
            "super_category",
            "shape_weight",
            "colour_weight",
            "gender",
            "age_group",
        )
    ]
)


def map_offers(
    offers: pa.Table, mapping: ShopMapping, taxonomy: Taxonomy
) -> tuple[pa.Table, pa.Table]:
    """(products, refused) of one shop's offers, each offer in just one of the two, in their order.

    offers: tables.OFFERS. products: tables.PRODUCTS, gender and age_group the feed's, else the leaf's, else unisex and adult.
    refused: tables.REFUSED; key the product_id, reason a CategoryReason, detail the shop's word (`word_of`), for an ignored
    category followed by ": " and the mapping's reason.
    """
    which, first = _distinct_inputs(offers)
    asked = offers.select(_MAPPING_INPUTS).take(first).to_pylist()
    decided = pa.Table.from_pylist(
        [_map_one(row, mapping, taxonomy) for row in asked], _MAPPING_RESULT_SCHEMA
    ).take(which)
    is_product = pc.is_null(decided["reason"])
    products = offers.drop_columns(["gender", "age_group"]).filter(is_product)
    related = products["related_offer_ids"]
    products = products.drop_columns("related_offer_ids").append_column(
        "related_offer_ids", related.fill_null(pa.scalar([], related.type))
    )
    for name in _MAPPING_RESULT_SCHEMA.names[2:]:
        products = products.append_column(name, decided[name].filter(is_product))
    is_refused = pc.invert(is_product)
    told, shops, keys = (
        decided.filter(is_refused),
        offers["shop_id"].filter(is_refused),
        offers["product_id"].filter(is_refused),
    )
    stage, kind = pa.repeat(PRODUCTS.name, len(keys)), pa.repeat("offer", len(keys))
    refused = pa.table(
        [stage, shops, kind, keys, told["reason"], told["detail"]], REFUSED.column_names
    )
    return products.select(PRODUCTS.column_names).cast(PRODUCTS.arrow_schema), refused.cast(
        REFUSED.arrow_schema
    )


def _distinct_inputs(offers: pa.Table) -> tuple[pa.Array, pa.Array]:
    """(which, first): for each offer the number of its distinct _DECIDING values; for each such number the first offer that has it."""
    lists = [
        pc.binary_join(offers[name].cast(pa.list_(pa.string())), "\x1f")
        for name in _MAPPING_INPUTS[:2]
    ]
    columns = [*lists, *(offers[name] for name in _MAPPING_INPUTS[2:])]
    keys = pc.binary_join_element_wise(
        *columns, "\x1e", null_handling="replace", null_replacement="\x1d"
    )
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return pa.array(which), pa.array(first)


def _map_one(offer: dict[str, Any], mapping: ShopMapping, taxonomy: Taxonomy) -> dict[str, Any]:
    """A row of _DECISION for one offer's _DECIDING values."""
    word = category_word(offer["category_ids"], offer["category_paths"])
    if word is None:
        return {"reason": CategoryReason.NO_CATEGORY, "detail": "neither a category id nor a path"}
    line = mapping.find_line(
        offer["category_ids"], offer["category_paths"], offer["gender"], offer["age_group"]
    )
    if line is None:
        return {"reason": CategoryReason.UNMAPPED_CATEGORY, "detail": word}
    if line.leaf_id is None:
        return {"reason": CategoryReason.IGNORED_CATEGORY, "detail": f"{word}: {line.reason}"}
    leaf = taxonomy.leaves[line.leaf_id]
    return {
        "category": leaf.id,
        "super_category": leaf.super_category,
        "shape_weight": leaf.shape_weight,
        "colour_weight": leaf.colour_weight,
        "gender": offer["gender"] or leaf.gender or Gender.UNISEX,
        "age_group": offer["age_group"] or leaf.age_group or AgeGroup.ADULT,
    }


def category_word(ids: list[str], paths: list[str]) -> str | None:
    """The shop's word for an offer's category: its main path, else "#" and its main id, else None."""
    return next((path for path in paths if path.strip()), None) or next(
        (f"#{ident}" for ident in ids if ident.strip()), None
    )


def unmapped_words(refused: pa.Table) -> list[tuple[str, int]]:
    """(word, offers) of what was refused as unmapped, most offers first, then by word. refused: tables.REFUSED."""
    details = refused.filter(pc.equal(refused["reason"], CategoryReason.UNMAPPED_CATEGORY.value))[
        "detail"
    ]
    counted = ((entry["values"], entry["counts"]) for entry in details.value_counts().to_pylist())
    return sorted(counted, key=lambda pair: (-pair[1], pair[0]))
