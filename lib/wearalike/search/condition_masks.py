"""Which products of a gallery meet conditions on what their feeds say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.product_conditions import ProductConditions, fold_words, shades_of
from wearalike.search.product_attributes import ProductAttributes
from wearalike.storage.string_arrays import Texts


def match_conditions(
    conditions: ProductConditions, attributes: ProductAttributes
) -> NDArray[np.bool_]:
    """Tell which products meet all conditions, bool (n,).

    Args:
        conditions: The conditions.
        attributes: The products, with the columns that the conditions name.
    """
    count = len(attributes.shop)
    is_met = np.ones(count, bool)
    if conditions.product_ids:
        is_met &= _equals_any(attributes.product_id, conditions.product_ids, count)
    if conditions.categories:
        is_met &= np.isin(attributes.category, _leaves_inside(conditions, attributes))
    if conditions.family_leaves:
        is_met &= np.isin(attributes.category, list(conditions.family_leaves))
    if conditions.shops:
        is_met &= _equals_any(attributes.shop, conditions.shops, count)
    if conditions.brands:
        is_met &= _equals_any(attributes.brand, map(lower_brand, conditions.brands), count)
    if conditions.colours:
        names = {name for colour in conditions.colours for name in shades_of(colour)}
        is_met &= _has_text(attributes, "colour_names", names.__contains__)
    if conditions.patterns:
        words = [fold_words(pattern) for pattern in conditions.patterns]
        is_met &= _has_text(
            attributes, "patterns", lambda text: any(w in fold_words(text) for w in words)
        )
    if conditions.sizes:
        is_met &= _has_text(attributes, "sizes", lambda text: is_size(text, conditions.sizes))
    if conditions.gtins:
        is_met &= _has_text(attributes, "gtins", conditions.gtins.__contains__)
    if conditions.has_price:
        is_met &= _is_priced(conditions, attributes)
    if conditions.is_on_sale is not None:
        old_price = _numbers(attributes, "old_price_cents")
        is_met &= (old_price > attributes.price_cents) == conditions.is_on_sale
        is_met &= "old_price_cents" in attributes.more
    if conditions.first_seen_from is not None:
        is_met &= _is_from(attributes, conditions.first_seen_from)
    if conditions.min_sizes is not None:
        is_met &= _numbers(attributes, "sizes_left") >= conditions.min_sizes
    if conditions.max_sizes is not None:
        sizes_left = _numbers(attributes, "sizes_left")
        is_met &= (sizes_left >= 0) & (sizes_left <= conditions.max_sizes)
    return is_met


def lower_brand(brand: str) -> str:
    """Return a brand in lower case as Arrow has it, like the attributes; Python's differs."""
    return str(pc.utf8_lower(pa.scalar(brand)).as_py())


def is_size(text: str, wanted: Iterable[str]) -> bool:
    """Tell if a shop's size is one of those wanted, in any letter case; its unit may be left out.

    >>> is_size("42 RU", ["42"]), is_size("XL", ["xl"]), is_size("42", ["42 RU"])
    (True, True, False)
    """
    own = f"{text.lower()} "
    return any(own.startswith(f"{size.lower()} ") for size in wanted)


def _equals_any(
    values: Texts | NDArray[np.object_], wanted: Iterable[str], count: int
) -> NDArray[np.bool_]:
    """Tell which values are among those wanted."""
    is_equal = np.zeros(count, bool)
    for value in wanted:
        is_equal |= np.asarray(values == value, bool)
    return is_equal


def _leaves_inside(conditions: ProductConditions, attributes: ProductAttributes) -> list[str]:
    """Return the categories of the products that are, or lie inside, one of those wanted."""
    branches = tuple(f"{category}." for category in conditions.categories)
    return [leaf for leaf in set(attributes.category) if f"{leaf}.".startswith(branches)]


def _has_text(
    attributes: ProductAttributes, name: str, is_wanted: Callable[[str], bool]
) -> NDArray[np.bool_]:
    """Tell which products have a text in a column of lists for which is_wanted holds."""
    has_text = np.zeros(len(attributes.shop), bool)
    lists = attributes.more.get(name)
    if lists is None or not len(lists):
        return has_text
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    encoded = pc.list_flatten(lists).dictionary_encode()
    wanted = np.array([is_wanted(text) for text in encoded.dictionary.to_pylist()], bool)
    rows = pc.list_parent_indices(lists).to_numpy()
    has_text[rows[wanted[encoded.indices.to_numpy()]]] = True
    return has_text


def _numbers(attributes: ProductAttributes, name: str) -> NDArray[np.int64]:
    """Return a column of whole numbers, int64 (n,); -1 where a product does not say it."""
    column = attributes.more.get(name)
    if column is None:
        return np.full(len(attributes.shop), -1, np.int64)
    return np.asarray(pc.fill_null(column, -1).to_numpy(), np.int64)


def _is_from(attributes: ProductAttributes, day: str) -> NDArray[np.bool_]:
    """Tell which products were first seen on a day or later."""
    column = attributes.more.get("first_seen")
    if column is None:
        return np.zeros(len(attributes.shop), bool)
    is_from = pc.fill_null(pc.greater_equal(column, day), False)
    return np.asarray(is_from.to_numpy(zero_copy_only=False), bool)


def _is_priced(conditions: ProductConditions, attributes: ProductAttributes) -> NDArray[np.bool_]:
    """Tell which products have a price in the range, of the currency."""
    is_inside = np.asarray(attributes.currency == conditions.currency, bool)
    if conditions.min_price_cents is not None:
        is_inside &= attributes.price_cents >= conditions.min_price_cents
    if conditions.max_price_cents is not None:
        is_inside &= attributes.price_cents <= conditions.max_price_cents
    return is_inside
