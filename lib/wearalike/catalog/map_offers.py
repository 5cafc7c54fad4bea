"""Map offers to products.

Offers share few distinct categories and audiences. Each distinct combination is decided once, and
Arrow gathers the decisions for all offers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.catalog.colour_names import ColourNames, packaged_colour_names
from wearalike.catalog.google_categories import (
    GoogleCategories,
    guess_audience,
    packaged_google_categories,
)
from wearalike.catalog.mapping import ShopMapping, path_key
from wearalike.catalog.taxonomy import Leaf, Taxonomy
from wearalike.tables import PRODUCTS, REFUSED, AgeGroup, Gender


class CategoryReason(StrEnum):
    """Why an offer does not become a product."""

    UNMAPPED_CATEGORY = "unmapped_category"
    IGNORED_CATEGORY = "ignored_category"
    NO_CATEGORY = "no_category"


# The columns of an offer that decide its leaf.
_LIST_INPUTS = ["category_ids", "category_paths"]
_WORD_INPUTS = ["gender", "age_group", "google_category"]
_MAPPING_INPUTS = [*_LIST_INPUTS, *_WORD_INPUTS]
# The columns of a product that the leaf decides.
_DECIDED_COLUMNS = (
    "category",
    "super_category",
    "shape_weight",
    "colour_weight",
    "kind_weight",
    "gender",
    "age_group",
)
# Columns that need other offers or runs: map_products fills them.
_RUN_COLUMNS = ("sizes_left", "first_seen")
_DECISION_SCHEMA = pa.schema(
    [
        ("reason", pa.string()),
        ("detail", pa.string()),
        *(PRODUCTS.arrow_schema.field(name) for name in _DECIDED_COLUMNS),
    ]
)


def map_offers(
    offers: pa.Table,
    mapping: ShopMapping,
    taxonomy: Taxonomy,
    google: GoogleCategories | None = None,
    colours: ColourNames | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Split the offers of a shop into products and refused rows.

    Args:
        offers: tables.OFFERS of one shop.
        mapping: The shop's mapping.
        taxonomy: The taxonomy with the leaves that the mapping names.
        google: Google's categories, for offers that no line of the mapping fits. Default: those
            that come with wearalike.
        colours: The colours that feeds name. Default: those that come with wearalike.

    Returns:
        (products, refused), in the order of the offers, each offer in exactly one of them.

        products: tables.PRODUCTS. Gender and age group are the feed's, else the leaf's, else unisex
        and adult.

        refused: tables.REFUSED. The key is the product_id and the reason a CategoryReason. The
        detail is the shop's `category_word`; for an ignored category ": " and the mapping's reason
        follow it.
    """
    decision_of_offer, first_offer = _distinct_inputs(offers)
    inputs = offers.select(_MAPPING_INPUTS).take(first_offer).to_pylist()
    google = google or packaged_google_categories()
    decisions = [_map_one(row, mapping, taxonomy, google) for row in inputs]
    decided = pa.Table.from_pylist(decisions, _DECISION_SCHEMA).take(decision_of_offer)
    is_product = pc.is_null(decided["reason"])
    products = _product_rows(
        offers.filter(is_product), decided.filter(is_product), colours or packaged_colour_names()
    )
    is_refused = pc.invert(is_product)
    named = offers.select(["shop_id", "product_id"])
    refused = _refused_rows(named.filter(is_refused), decided.filter(is_refused))
    return products, refused


def _product_rows(offers: pa.Table, decided: pa.Table, colours: ColourNames) -> pa.Table:
    """Return tables.PRODUCTS of offers and the decisions about them."""
    names = [list(colours.find(texts or ())) for texts in offers["colours"].to_pylist()]
    related = offers["related_offer_ids"]
    products = offers.drop_columns(["gender", "age_group", "related_offer_ids"])
    products = products.append_column(
        "related_offer_ids", related.fill_null(pa.scalar([], related.type))
    )
    for name in _DECIDED_COLUMNS:
        products = products.append_column(name, decided[name])
    products = products.append_column("colour_names", pa.array(names, pa.list_(pa.string())))
    for name in _RUN_COLUMNS:
        field = PRODUCTS.arrow_schema.field(name)
        products = products.append_column(field, pa.nulls(len(products), field.type))
    return products.select(PRODUCTS.column_names).cast(PRODUCTS.arrow_schema)


def _refused_rows(offers: pa.Table, decided: pa.Table) -> pa.Table:
    """Return tables.REFUSED of offers and the decisions about them."""
    columns = [
        pa.repeat(PRODUCTS.name, offers.num_rows),
        offers["shop_id"],
        pa.repeat("offer", offers.num_rows),
        offers["product_id"],
        decided["reason"],
        decided["detail"],
    ]
    return pa.table(columns, REFUSED.column_names).cast(REFUSED.arrow_schema)


def _distinct_inputs(offers: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Number the distinct values of the mapping inputs.

    Return for each offer the number of its values, and for each number the first offer with them.
    """
    lists = [
        pc.binary_join(offers[name].cast(pa.list_(pa.string())), "\x1f") for name in _LIST_INPUTS
    ]
    words = [offers[name] for name in _WORD_INPUTS]
    keys = pc.binary_join_element_wise(
        *lists, *words, "\x1e", null_handling="replace", null_replacement="\x1d"
    )
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return pa.array(which), pa.array(first)


def _map_one(
    offer: dict[str, Any], mapping: ShopMapping, taxonomy: Taxonomy, google: GoogleCategories
) -> dict[str, Any]:
    """Return a row of _DECISION_SCHEMA for the mapping inputs of one offer."""
    ids, paths = _all_categories(offer, google)
    word = category_word(ids, paths)
    if word is None:
        return {"reason": CategoryReason.NO_CATEGORY, "detail": "neither a category id nor a path"}
    line = mapping.find_line(ids, paths, offer["gender"], offer["age_group"])
    if line is None:
        by_google = _map_by_google(offer, taxonomy, google)
        return by_google or {"reason": CategoryReason.UNMAPPED_CATEGORY, "detail": word}
    if line.leaf_id is None:
        return {"reason": CategoryReason.IGNORED_CATEGORY, "detail": f"{word}: {line.reason}"}
    return _decide(taxonomy.leaves[line.leaf_id], offer["gender"], offer["age_group"])


def _decide(leaf: Leaf, gender: str | None, age_group: str | None) -> dict[str, Any]:
    """Return the decision for a leaf; it tells the audience where the offer does not."""
    return {
        "category": leaf.id,
        "super_category": leaf.super_category,
        "shape_weight": leaf.shape_weight,
        "colour_weight": leaf.colour_weight,
        "kind_weight": leaf.kind_weight,
        "gender": gender or leaf.gender or Gender.UNISEX,
        "age_group": age_group or leaf.age_group or AgeGroup.ADULT,
    }


def _all_categories(offer: dict[str, Any], google: GoogleCategories) -> tuple[list[str], list[str]]:
    """Return the ids and paths of an offer, Google's own last, so that lines may name it."""
    ids, paths = offer["category_ids"], offer["category_paths"]
    text = (offer["google_category"] or "").strip()
    if not text:
        return ids, paths
    known = google.find(text)
    ident, path = (text, "") if text.isdigit() else ("", text)
    if known and text.isdigit():
        path = known.path
    elif known and path_key(known.path) == path_key(text):
        ident = known.id
    length = max(len(ids), len(paths))
    padded_ids = [*ids, *[""] * (length - len(ids))]
    padded_paths = [*paths, *[""] * (length - len(paths))]
    # A number of Google's beside a shop's own ids would be taken for one of them.
    return [*padded_ids, "" if ids else ident], [*padded_paths, path]


def _map_by_google(
    offer: dict[str, Any], taxonomy: Taxonomy, google: GoogleCategories
) -> dict[str, Any] | None:
    """Return the decision by google_product_category, or None where it tells no leaf."""
    category = google.find(offer["google_category"])
    if category is None:
        return None
    gender, age_group = guess_audience(offer["category_paths"], offer["gender"], offer["age_group"])
    leaf_id, is_certain = google.find_leaf(category, gender, age_group)
    leaf = taxonomy.leaves.get(leaf_id or "")
    if leaf is None:
        return None
    # Where nothing tells whom it is for, it may be for anybody.
    return _decide(leaf, gender if is_certain else gender or Gender.UNISEX, age_group)


def category_word(ids: list[str], paths: list[str]) -> str | None:
    """Return the shop's word for the category of an offer.

    Args:
        ids: Category ids of the offer, the main one first.
        paths: Category paths of the offer, the main one first.

    Returns:
        The first path, else "#" and the first id, else None.
    """
    path = next((path for path in paths if path.strip()), None)
    return path or next((f"#{ident}" for ident in ids if ident.strip()), None)


def unmapped_words(refused: pa.Table) -> list[tuple[str, int]]:
    """Count the offers of each category word that the mapping does not know.

    Args:
        refused: tables.REFUSED, as `map_offers` returns it.

    Returns:
        (word, offers), most offers first, then by word.
    """
    is_unmapped = pc.equal(refused["reason"], CategoryReason.UNMAPPED_CATEGORY.value)
    counts = refused.filter(is_unmapped)["detail"].value_counts().to_pylist()
    pairs = [(count["values"], count["counts"]) for count in counts]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
