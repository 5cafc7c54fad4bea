"""Weights in place of the taxonomy's: for all products, or by category and branch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Weights of shape, colour and kind by category or branch; the empty name stands for all.
CategoryWeights = Mapping[str, tuple[int, int, int]]
NO_WEIGHTS: CategoryWeights = MappingProxyType({})
_COLUMNS = ("shape_weight", "colour_weight", "kind_weight")


def find_weights(category: str, weights: CategoryWeights) -> tuple[int, int, int] | None:
    """Return the weights of a category: its own, else those of the nearest branch; None for none.

    Example:
        >>> find_weights("women.dresses.midi", {"women": (1, 1, 1), "women.dresses": (3, 7, 5)})
        (3, 7, 5)
    """
    while category not in weights:
        if not category:
            return None
        category = category.rpartition(".")[0]
    return weights[category]


def replace_weights(products: pa.Table, weights: CategoryWeights) -> pa.Table:
    """Return products with the weights of their categories, where these are given.

    Args:
        products: category and the three weights of tables.PRODUCTS, and any other columns.
        weights: The weights.
    """
    if not weights:
        return products
    categories = pc.unique(products["category"])
    found = [find_weights(category, weights) for category in categories.to_pylist()]
    rows = pc.index_in(products["category"], categories).to_numpy()
    is_given = np.array([one is not None for one in found], bool)[rows]
    for part, name in enumerate(_COLUMNS):
        position = products.column_names.index(name)
        given = np.array([one[part] if one else 0 for one in found], np.int32)[rows]
        column = pc.if_else(pa.array(is_given), pa.array(given), products[name])
        products = products.set_column(position, products.field(position), column)
    return products


def replace_weights_sql(weights: CategoryWeights) -> str:
    """Return the list of expressions that replaces the weights in a SELECT on products."""
    nearest_first = sorted(weights.items(), key=lambda item: -len(item[0]))

    def write_case(part: int, name: str) -> str:
        cases = [f"WHEN {_is_inside(category)} THEN {w[part]}" for category, w in nearest_first]
        return f"CAST(CASE {' '.join(cases)} ELSE {name} END AS INTEGER) AS {name}"

    return ", ".join(write_case(part, name) for part, name in enumerate(_COLUMNS))


def _is_inside(category: str) -> str:
    """Return the condition that a product is of a category or inside a branch."""
    quoted = category.replace("'", "''")
    if not category:
        return "true"
    return f"(category = '{quoted}' OR starts_with(category, '{quoted}.'))"
