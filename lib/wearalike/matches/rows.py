"""What was found as rows of tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.matches.galleries import Gallery
from wearalike.matches.hunt import Found, ShortReason
from wearalike.matches.scores import score
from wearalike.tables import MATCHES, SIMILAR_LISTS, SIMILAR_PRODUCTS


def table(gallery: Gallery, found: list[Found]) -> pa.RecordBatch:
    """Rows of tables.MATCHES, sorted by product_id."""
    found = sorted(found, key=lambda f: f.row)
    results = [
        [
            {
                "product_id": gallery.product_ids[r],
                "item_id": gallery.item_ids[r],
                "shape_distance": s,
                "colour_distance": c,
                "rule": rule,
                "fallback": fallback,
            }
            for r, s, c, rule, fallback in zip(f.results.tolist(), f.shape.tolist(), f.colour.tolist(), f.rules, f.fallbacks, strict=True)
        ]
        for f in found
    ]
    columns = {
        "product_id": [gallery.product_ids[f.row] for f in found],
        "item_id": [gallery.item_ids[f.row] for f in found],
        "short_reason": [f.short_reason for f in found],
        "results": results,
    }
    return pa.RecordBatch.from_pydict(columns, schema=MATCHES.arrow_schema)


def without_code(product_ids: pa.Array) -> pa.RecordBatch:
    """Rows of tables.MATCHES for products that have no code: an empty list, and why."""
    n = len(product_ids)
    columns = [
        product_ids,
        pa.nulls(n, pa.string()),
        pa.array([ShortReason.NO_CODE.value] * n, pa.string()),
        pa.array([[]] * n, MATCHES.arrow_schema.field("results").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MATCHES.arrow_schema)


def similar_products(matches: pa.Table, products: pa.Table, detector: str, encoder: str) -> pa.Table:
    """Rows of tables.SIMILAR_PRODUCTS, one a result, in the order of `matches`, rank 1 first.

    matches: tables.MATCHES. products: product_id, w_shape, w_colour of at least these. detector, encoder: versions.
    """
    matches = matches.combine_chunks()
    results = pc.list_flatten(matches["results"]).combine_chunks()
    asking = pc.list_parent_indices(matches["results"]).combine_chunks()
    at = pc.index_in(matches["product_id"], products["product_id"].combine_chunks()).take(asking)
    w_shape, w_colour = (products[name].take(at).to_numpy() for name in ("w_shape", "w_colour"))
    shape, colour = (results.field(f"{name}_distance").to_numpy() for name in ("shape", "colour"))
    counts = pc.list_value_length(matches["results"]).to_numpy()
    ranks = np.arange(len(asking)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    columns = {
        "product_id": matches["product_id"].take(asking),
        "rank": ranks,
        "similar_product_id": results.field("product_id"),
        "score": score(w_shape * shape + w_colour * colour, w_shape + w_colour),
        "shape_score": score(shape, 1),
        "colour_score": score(colour, 1),
        "shape_distance": shape,
        "colour_distance": colour,
        "w_shape": w_shape,
        "w_colour": w_colour,
        "item_id": matches["item_id"].take(asking),
        "similar_item_id": results.field("item_id"),
        "rule": results.field("rule"),
        "fallback": results.field("fallback"),
        "detector": pa.repeat(pa.scalar(detector), len(asking)),
        "encoder": pa.repeat(pa.scalar(encoder), len(asking)),
    }
    return pa.table({name: columns[name] for name in SIMILAR_PRODUCTS.column_names}).cast(SIMILAR_PRODUCTS.arrow_schema)


def similar_lists(matches: pa.Table, entries: pa.Table) -> pa.Table:
    """Rows of tables.SIMILAR_LISTS, one a product, in the order of `matches`. entries: product_id and image_id of tables.ENTRIES."""
    at = pc.index_in(matches["product_id"], entries["product_id"].combine_chunks())
    columns = {
        "product_id": matches["product_id"],
        "similar_count": pc.list_value_length(matches["results"]),
        "short_reason": matches["short_reason"],
        "image_id": entries["image_id"].take(at),
        "item_id": matches["item_id"],
    }
    return pa.table(columns).cast(SIMILAR_LISTS.arrow_schema)
