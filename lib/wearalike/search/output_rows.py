"""Lists as rows of tables: matches, similar_products, similar_lists, look_products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.search.candidates import ranges_to_indices
from wearalike.search.gallery import Gallery
from wearalike.search.ranked_lists import RankedList, RankedLists, ShortfallReason
from wearalike.search.reasons import ALIKE_BITS, describe_likenesses, describe_looks
from wearalike.search.scores import colour_scale, score, weight_sum
from wearalike.tables import LOOK_PRODUCTS, MATCHES, SIMILAR_LISTS, SIMILAR_PRODUCTS, LookSource


def build_matches(gallery: Gallery, ranked_lists: Sequence[RankedLists]) -> pa.RecordBatch:
    """Return rows of tables.MATCHES, sorted by product_id.

    Args:
        gallery: The gallery that was searched.
        ranked_lists: The lists of `search_gallery`, at least one.
    """
    query_rows = np.concatenate([lists.candidates.query_rows for lists in ranked_lists])
    counts = np.concatenate([np.diff(lists.starts) for lists in ranked_lists])
    order = np.argsort(query_rows)
    starts, entries = ranges_to_indices((np.cumsum(counts) - counts)[order], counts[order])

    def gather(name: str) -> NDArray[Any]:
        """Return an array of all results, in the order of the rows."""
        return np.concatenate([getattr(lists, name) for lists in ranked_lists])[entries]

    product_ids, item_ids = gallery.id_columns
    results = pa.array(gather("results"))
    result_columns = {
        "product_id": product_ids.take(results),
        "item_id": item_ids.take(results),
        "shape_distance": pa.array(gather("shape")),
        "colour_distance": pa.array(gather("colour")),
        "kind_distance": pa.array(gather("kind")),
        "colour_name_distance": pa.array(gather("colour_name")),
        "rule": pa.array(gather("rules"), pa.string()),
        "fallback": pa.array(gather("fallbacks"), pa.string()),
    }
    list_type = MATCHES.arrow_schema.field("results").type
    fields = list(list_type.value_type)
    structs = pa.StructArray.from_arrays(
        [result_columns[field.name] for field in fields], fields=fields
    )
    lists_column = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), structs, list_type)
    reasons = np.concatenate([lists.shortfall_reasons for lists in ranked_lists])[order]
    rows = pa.array(query_rows[order])
    columns = [
        product_ids.take(rows),
        item_ids.take(rows),
        pa.array(reasons, pa.string()),
        lists_column,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MATCHES.arrow_schema)


def build_matches_without_code(product_ids: pa.Array) -> pa.RecordBatch:
    """Return rows of tables.MATCHES for products without a code: an empty list and its reason."""
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
    """Return rows of tables.SIMILAR_PRODUCTS, one a result, in the order of `matches`.

    Args:
        matches: Rows of tables.MATCHES.
        products: product_id, colour_names and the three weights, of at least these products.
        detector: Version of the detector.
        encoder: Version of the encoder.
    """
    matches = matches.combine_chunks()
    results = pc.list_flatten(matches["results"]).combine_chunks()
    match_rows = pc.list_parent_indices(matches["results"]).combine_chunks()
    product_rows = pc.index_in(matches["product_id"], products["product_id"].combine_chunks())
    product_rows = product_rows.take(match_rows)
    shape, colour, kind, colour_name = (
        results.field(f"{part}_distance").to_numpy()
        for part in ("shape", "colour", "kind", "colour_name")
    )
    named_colour = colour + colour_name
    names = pc.list_value_length(products["colour_names"].take(product_rows))
    has_name = pc.fill_null(pc.greater(names, 0), False).to_numpy().astype(bool)
    shape_weight, colour_weight, kind_weight = (
        products[f"{part}_weight"].take(product_rows).to_numpy()
        for part in ("shape", "colour", "kind")
    )
    distance = shape_weight * shape + colour_weight * named_colour + kind_weight * kind
    # Two that both shops call black are of no other colour, however a picture was lit.
    is_said_same = has_name & (colour_name == 0)
    said_colour = np.where(is_said_same, np.minimum(named_colour, ALIKE_BITS), named_colour)
    columns = {
        "product_id": matches["product_id"].take(match_rows),
        "rank": _ranks(pc.list_value_length(matches["results"]).to_numpy()),
        "similar_product_id": results.field("product_id"),
        **_score_columns(shape, colour, shape_weight, colour_weight),
        "score": score(distance, weight_sum(shape_weight, colour_weight, kind_weight, has_name)),
        "colour_score": score(named_colour, colour_scale(has_name)),
        "kind_score": score(kind, 1),
        "kind_distance": kind,
        "colour_name_distance": colour_name,
        "kind_weight": kind_weight,
        "reason": describe_likenesses(kind, said_colour, shape, "en"),
        "reason_ru": describe_likenesses(kind, said_colour, shape, "ru"),
        "item_id": matches["item_id"].take(match_rows),
        "similar_item_id": results.field("item_id"),
        "rule": results.field("rule"),
        "fallback": results.field("fallback"),
        "detector": pa.repeat(pa.scalar(detector), len(match_rows)),
        "encoder": pa.repeat(pa.scalar(encoder), len(match_rows)),
    }
    ordered = {name: columns[name] for name in SIMILAR_PRODUCTS.column_names}
    return pa.table(ordered).cast(SIMILAR_PRODUCTS.arrow_schema)


def build_similar_lists(matches: pa.Table, entries: pa.Table) -> pa.Table:
    """Return rows of tables.SIMILAR_LISTS, one a product, in the order of `matches`.

    Args:
        matches: Rows of tables.MATCHES.
        entries: product_id and image_id of tables.INDEXES.
    """
    entry_rows = pc.index_in(matches["product_id"], entries["product_id"].combine_chunks())
    columns = {
        "product_id": matches["product_id"],
        "similar_count": pc.list_value_length(matches["results"]),
        "shortfall_reason": matches["shortfall_reason"],
        "image_id": entries["image_id"].take(entry_rows),
        "item_id": matches["item_id"],
    }
    return pa.table(columns).cast(SIMILAR_LISTS.arrow_schema)


def build_look_products(
    gallery: Gallery,
    items: pa.Table,
    ranked_lists: Sequence[RankedList],
    weight_rows: NDArray[np.int64],
    source: LookSource,
    detector: str,
    encoder: str,
) -> pa.Table:
    """Return rows of tables.LOOK_PRODUCTS, one a result, in the order of `items`.

    Args:
        gallery: The gallery of the items' super-category.
        items: product_id, worn_with_product_id and the columns of an item in tables.LOOKS.
        ranked_lists: The list of each item.
        weight_rows: int64 (items,). Row of the gallery whose weights each item was searched with.
        source: Where the items are worn.
        detector: Version of the detector.
        encoder: Version of the encoder.
    """
    counts = np.array([len(ranked.results) for ranked in ranked_lists], np.int64)
    items = items.take(pa.array(np.repeat(np.arange(len(ranked_lists)), counts)))
    weight_rows = np.repeat(weight_rows, counts)
    nothing = np.empty(0, np.int64)
    rows = np.concatenate([nothing, *(ranked.results for ranked in ranked_lists)])
    shape = np.concatenate([nothing, *(ranked.shape for ranked in ranked_lists)])
    colour = np.concatenate([nothing, *(ranked.colour for ranked in ranked_lists)])
    columns = {
        **{name: items[name] for name in LOOK_PRODUCTS.column_names if name in items.column_names},
        "rank": _ranks(counts),
        "look_product_id": pa.array(gallery.product_ids[rows], pa.string()),
        "source": pa.repeat(pa.scalar(source.value), len(rows)),
        **_score_columns(
            shape, colour, gallery.shape_weight[weight_rows], gallery.colour_weight[weight_rows]
        ),
        "reason": describe_looks(source, colour, shape, "en"),
        "reason_ru": describe_looks(source, colour, shape, "ru"),
        "look_item_id": pa.array(gallery.item_ids[rows], pa.string()),
        "detector": pa.repeat(pa.scalar(detector), len(rows)),
        "encoder": pa.repeat(pa.scalar(encoder), len(rows)),
    }
    ordered = {name: columns[name] for name in LOOK_PRODUCTS.column_names}
    return pa.table(ordered).cast(LOOK_PRODUCTS.arrow_schema)


def _ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ranks of results, 1 first in each list; counts: results in each list."""
    starts = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - np.repeat(starts, counts) + 1


def _score_columns(
    shape: NDArray[np.integer],
    colour: NDArray[np.integer],
    shape_weight: NDArray[np.integer],
    colour_weight: NDArray[np.integer],
) -> dict[str, NDArray[Any]]:
    """Return the scores of results by their codes, with the distances and weights behind them."""
    distance = shape_weight * shape + colour_weight * colour
    return {
        "score": score(distance, shape_weight + colour_weight),
        "shape_score": score(shape, 1),
        "colour_score": score(colour, 1),
        "shape_distance": shape,
        "colour_distance": colour,
        "shape_weight": shape_weight,
        "colour_weight": colour_weight,
    }
