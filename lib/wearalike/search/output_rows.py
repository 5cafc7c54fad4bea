"""What was found as rows of tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.search.gallery import Gallery
from wearalike.search.incremental import ranges_to_indices
from wearalike.search.ranking import RankedList, RankedLists, ShortfallReason
from wearalike.search.scores import score
from wearalike.tables import LOOK_PRODUCTS, MATCHES, SIMILAR_LISTS, SIMILAR_PRODUCTS


def build_matches(gallery: Gallery, ranked_lists: Sequence[RankedLists]) -> pa.RecordBatch:
    """Rows of tables.MATCHES, sorted by product_id."""
    names = ("results", "shape", "colour", "rules", "fallbacks", "shortfall_reasons")
    told = {
        name: np.concatenate([getattr(lists, name) for lists in ranked_lists]) for name in names
    }
    asking = np.concatenate([lists.candidates.asking for lists in ranked_lists])
    counts = np.concatenate([np.diff(lists.starts) for lists in ranked_lists])
    order = np.argsort(asking)
    starts, entries = ranges_to_indices((np.cumsum(counts) - counts)[order], counts[order])
    ids, items = gallery.id_columns
    results, asking = pa.array(told["results"][entries]), pa.array(asking[order])
    columns = {
        "product_id": ids.take(results),
        "item_id": items.take(results),
        "shape_distance": pa.array(told["shape"][entries]),
        "colour_distance": pa.array(told["colour"][entries]),
        "rule": pa.array(told["rules"][entries], pa.string()),
        "fallback": pa.array(told["fallbacks"][entries], pa.string()),
    }
    type_of = MATCHES.arrow_schema.field("results").type
    of_results = pa.StructArray.from_arrays(
        [columns[field.name] for field in type_of.value_type], fields=list(type_of.value_type)
    )
    lists_of = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), of_results, type_of)
    reasons = pa.array(told["shortfall_reasons"][order], pa.string())
    return pa.RecordBatch.from_arrays(
        [ids.take(asking), items.take(asking), reasons, lists_of], schema=MATCHES.arrow_schema
    )


def build_matches_without_code(product_ids: pa.Array) -> pa.RecordBatch:
    """Rows of tables.MATCHES for products that have no code: an empty list, and why."""
    n = len(product_ids)
    columns = [
        product_ids,
        pa.nulls(n, pa.string()),
        pa.array([ShortfallReason.NO_CODE.value] * n, pa.string()),
        pa.array([[]] * n, MATCHES.arrow_schema.field("results").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MATCHES.arrow_schema)


def build_similar_products(
    matches: pa.Table, products: pa.Table, detector: str, encoder: str
) -> pa.Table:
    """Rows of tables.SIMILAR_PRODUCTS, one a result, in the order of `matches`, rank 1 first.

    matches: tables.MATCHES. products: product_id, shape_weight, colour_weight of at least these. detector, encoder: versions.
    """
    matches = matches.combine_chunks()
    results = pc.list_flatten(matches["results"]).combine_chunks()
    asking = pc.list_parent_indices(matches["results"]).combine_chunks()
    at = pc.index_in(matches["product_id"], products["product_id"].combine_chunks()).take(asking)
    shape_weight, colour_weight = (
        products[name].take(at).to_numpy() for name in ("shape_weight", "colour_weight")
    )
    shape, colour = (results.field(f"{name}_distance").to_numpy() for name in ("shape", "colour"))
    counts = pc.list_value_length(matches["results"]).to_numpy()
    ranks = np.arange(len(asking)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    columns = {
        "product_id": matches["product_id"].take(asking),
        "rank": ranks,
        "similar_product_id": results.field("product_id"),
        "score": score(shape_weight * shape + colour_weight * colour, shape_weight + colour_weight),
        "shape_score": score(shape, 1),
        "colour_score": score(colour, 1),
        "shape_distance": shape,
        "colour_distance": colour,
        "shape_weight": shape_weight,
        "colour_weight": colour_weight,
        "item_id": matches["item_id"].take(asking),
        "similar_item_id": results.field("item_id"),
        "rule": results.field("rule"),
        "fallback": results.field("fallback"),
        "detector": pa.repeat(pa.scalar(detector), len(asking)),
        "encoder": pa.repeat(pa.scalar(encoder), len(asking)),
    }
    return pa.table({name: columns[name] for name in SIMILAR_PRODUCTS.column_names}).cast(
        SIMILAR_PRODUCTS.arrow_schema
    )


def build_similar_lists(matches: pa.Table, entries: pa.Table) -> pa.Table:
    """Rows of tables.SIMILAR_LISTS, one a product, in the order of `matches`. entries: product_id and image_id of tables.INDEXES."""
    at = pc.index_in(matches["product_id"], entries["product_id"].combine_chunks())
    columns = {
        "product_id": matches["product_id"],
        "similar_count": pc.list_value_length(matches["results"]),
        "shortfall_reason": matches["shortfall_reason"],
        "image_id": entries["image_id"].take(at),
        "item_id": matches["item_id"],
    }
    return pa.table(columns).cast(SIMILAR_LISTS.arrow_schema)


def build_look_products(
    gallery: Gallery,
    items: pa.Table,
    ranked_lists: list[RankedList],
    weight_rows: NDArray[np.int64],
    detector: str,
    encoder: str,
) -> pa.Table:
    """Rows of tables.LOOK_PRODUCTS, one a result, in the order of `items`, rank 1 first.

    gallery: of the items' super-category. items: product_id and what tables.LOOKS says of an item; found: the list of each;
    voted: int64 (items,), the row of the gallery whose weights it was searched with. detector, encoder: versions.
    """
    counts = np.array([len(f.results) for f in ranked_lists], np.int64)
    items, weighted = (
        items.take(pa.array(np.repeat(np.arange(len(ranked_lists)), counts))),
        np.repeat(weight_rows, counts),
    )
    shape_weight, colour_weight = gallery.shape_weight[weighted], gallery.colour_weight[weighted]
    rows, shape, colour = (
        np.concatenate([np.empty(0, np.int64), *(getattr(f, name) for f in ranked_lists)])
        for name in ("results", "shape", "colour")
    )
    columns = {
        **{name: items[name] for name in LOOK_PRODUCTS.column_names if name in items.column_names},
        "rank": np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1,
        "look_product_id": pa.array(gallery.product_ids[rows], pa.string()),
        "score": score(shape_weight * shape + colour_weight * colour, shape_weight + colour_weight),
        "shape_score": score(shape, 1),
        "colour_score": score(colour, 1),
        "shape_distance": shape,
        "colour_distance": colour,
        "shape_weight": shape_weight,
        "colour_weight": colour_weight,
        "look_item_id": pa.array(gallery.item_ids[rows], pa.string()),
        "detector": pa.repeat(pa.scalar(detector), len(rows)),
        "encoder": pa.repeat(pa.scalar(encoder), len(rows)),
    }
    return pa.table({name: columns[name] for name in LOOK_PRODUCTS.column_names}).cast(
        LOOK_PRODUCTS.arrow_schema
    )
