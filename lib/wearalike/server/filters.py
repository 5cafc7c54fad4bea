"""Filters of questions: query parameters to conditions on products, checked against the run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from wearalike.catalog.filter_words import (
    CURRENCY_PATTERN,
    FILTER_HELP,
    MAX_PRICE,
    BadFilter,
    build_filters,
    check_filter_words,
    complete_currency,
)
from wearalike.catalog.product_conditions import ProductConditions
from wearalike.server.snapshot import Snapshot

# Values of one filter; more say nothing.
_MAX_VALUES = 20
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Price = Annotated[float | None, Query(ge=0, le=MAX_PRICE, allow_inf_nan=False)]


def _several(name: str) -> object:
    """Return the query parameter of a filter that may be given several times."""
    return Query(
        description=f"{FILTER_HELP[name]}; may be given several times: any of them",
        max_length=_MAX_VALUES,
    )


def read_filters(
    shop: Annotated[list[_Text] | None, _several("shop")] = None,
    brand: Annotated[list[_Text] | None, _several("brand")] = None,
    colour: Annotated[list[_Text] | None, _several("colour")] = None,
    size: Annotated[list[_Text] | None, _several("size")] = None,
    min_price: Annotated[_Price, Query(description=FILTER_HELP["min_price"])] = None,
    max_price: Annotated[_Price, Query(description=FILTER_HELP["max_price"])] = None,
    currency: Annotated[
        str | None, Query(description=FILTER_HELP["currency"], pattern=CURRENCY_PATTERN)
    ] = None,
) -> ProductConditions:
    """Return the conditions that query parameters name.

    Raises:
        RequestValidationError: No price lies between min_price and max_price.
    """
    try:
        return build_filters(
            shop or (), brand or (), colour or (), size or (), min_price, max_price, currency
        )
    except BadFilter as error:
        raise refuse(error) from error


FiltersDep = Annotated[ProductConditions, Depends(read_filters)]
WithinQuery = Annotated[list[_Text] | None, _several("within")]


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
        RequestValidationError: The run knows no such shop, colour, category or currency, or has
            prices in several currencies and none is named.
    """
    try:
        filters = check_filter_words(filters, root, s.run, s.signature, within or ())
        needs_currencies = filters.has_price and not (filters.currency or currency)
        currencies = s.currencies() if needs_currencies else []
        return complete_currency(filters, currencies, currency)
    except BadFilter as error:
        raise refuse(error) from error


def refuse(error: BadFilter) -> RequestValidationError:
    """Return the error of a query parameter that is wrong."""
    return RequestValidationError(
        [{"loc": ("query", error.name), "msg": str(error), "type": "value_error"}]
    )
