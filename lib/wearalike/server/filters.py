"""Filters of questions: query parameters to conditions on products, checked against the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from wearalike.catalog import feed_distances
from wearalike.catalog.colour_names import SHADES
from wearalike.catalog.product_conditions import ProductConditions
from wearalike.catalog.xml_validation import did_you_mean
from wearalike.server.snapshot import Snapshot
from wearalike.storage import run_tables

# Values of one filter; more say nothing.
_MAX_VALUES = 20
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Price = Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)]


def _several(description: str) -> object:
    """Return a query parameter that may be given several times."""
    return Query(
        description=f"{description}; may be given several times: any of them",
        max_length=_MAX_VALUES,
    )


def read_filters(
    shop: Annotated[list[_Text] | None, _several("products of this shop only")] = None,
    brand: Annotated[list[_Text] | None, _several("of this brand, in any letter case")] = None,
    colour: Annotated[
        list[_Text] | None,
        _several("of this colour, an id of colours.xml such as blue, with all its shades"),
    ] = None,
    size: Annotated[
        list[_Text] | None, _several("in this size, as the shop writes it, e.g. 42 or XL")
    ] = None,
    min_price: Annotated[_Price, Query(description="the least price, e.g. 19.90")] = None,
    max_price: Annotated[_Price, Query(description="the largest price, e.g. 50")] = None,
    currency: Annotated[
        str | None,
        Query(
            description="three capital letters, of both prices; default: the asked product's, "
            "else the only one of the run",
            pattern="^[A-Z]{3}$",
        ),
    ] = None,
) -> ProductConditions:
    """Return the conditions that query parameters name.

    Raises:
        RequestValidationError: No price lies between min_price and max_price.
    """
    if min_price is not None and max_price is not None and min_price > max_price:
        raise refuse("min_price", f"{min_price:g}: wanted at most max_price, {max_price:g}")
    return ProductConditions(
        shops=tuple(shop or ()),
        brands=tuple(brand or ()),
        colours=tuple(colour or ()),
        sizes=tuple(size or ()),
        min_price_cents=None if min_price is None else round(100 * min_price),
        max_price_cents=None if max_price is None else round(100 * max_price),
        currency=currency,
    )


FiltersDep = Annotated[ProductConditions, Depends(read_filters)]
WithinQuery = Annotated[
    list[_Text] | None,
    _several("of this category only, a leaf or branch of the taxonomy, e.g. women.dresses"),
]


def complete_filters(
    filters: ProductConditions,
    s: Snapshot,
    root: Path,
    within: Iterable[str] | None = None,
    currency: str | None = None,
) -> ProductConditions:
    """Return filters with their categories and their currency, checked against the run.

    Args:
        filters: The conditions of `read_filters`.
        s: The published run.
        root: The data folder, which holds the run's colours and categories.
        within: The categories.
        currency: The currency of prices that name none.

    Raises:
        RequestValidationError: The run knows no such colour or category, or has prices in several
            currencies and none is named.
    """
    filters = replace(filters, categories=tuple(within or ()))
    categories, colours = _known_words(root, s.run, s.signature)
    for name, values, known in (
        ("within", filters.categories, categories),
        ("colour", filters.colours, colours),
    ):
        for value in values:
            if known and value not in known:
                what = "category" if name == "within" else name
                raise refuse(name, f"{value!r}: no such {what}{did_you_mean(value, known)}")
    if not filters.has_price:
        return replace(filters, currency=None)
    wanted = filters.currency or currency
    if wanted is None:
        found = s.currencies()
        if len(found) > 1:
            raise refuse("currency", f"wanted with a price, one of {', '.join(found)}")
        wanted = found[0] if found else ""
    return replace(filters, currency=wanted)


def refuse(name: str, what: str) -> RequestValidationError:
    """Return the error of a query parameter that is wrong."""
    return RequestValidationError([{"loc": ("query", name), "msg": what, "type": "value_error"}])


@lru_cache(2)
def _known_words(root: Path, run: str, signature: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the categories and the colours of a run; empty where the data folder lacks it.

    The signature is part of the cache's key: a run may be published again with other tables.
    """
    try:
        distances = feed_distances.read_feed_distances(root, run)
    except run_tables.TableNotFound:
        return frozenset(), frozenset()
    leaves = distances.kinds.kind_of_category if distances.kinds else {}
    parts = [leaf.split(".") for leaf in leaves]
    branches = {".".join(part[:n]) for part in parts for n in range(1, len(part) + 1)}
    plain = [name for name, look in distances.colours.items() if look]
    shades = {f"{shade}_{name}" for shade in SHADES for name in plain}
    return frozenset(branches), frozenset(distances.colours) | shades
