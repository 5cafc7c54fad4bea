"""The filters of questions as options of commands, as the API has them as parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow.compute as pc

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
from wearalike.commands.options import ParsedText
from wearalike.pipeline import job
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS


def _parse_currency(text: str) -> str:
    """Return a currency as it is. Raises ValueError."""
    if not re.fullmatch(CURRENCY_PATTERN, text):
        raise ValueError(f"{text!r}: wanted three capital letters, e.g. EUR")
    return text


def _parse_price(text: str) -> float:
    """Return a price. Raises ValueError."""
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0 <= price <= MAX_PRICE:
        raise ValueError(f"{text!r}: wanted a price from 0 to {MAX_PRICE:,.0f}, e.g. 19.90")
    return price


def _build_option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of a filter."""
    text = FILTER_HELP[name]
    metavar = "CATEGORY" if name == "within" else name.upper()
    more: dict[str, Any] = {"metavar": metavar, "multiple": True}
    if name in ("min_price", "max_price"):
        more = {"type": ParsedText("PRICE", _parse_price)}
    elif name == "currency":
        more = {"type": ParsedText("CODE", _parse_currency)}
        text = "Three capital letters, of both prices; default: the only one of the run"
    else:
        text += "; may be given several times: any of them"
    option = click.option(
        f"--{name.replace('_', '-')}", help=f"{text[0].upper()}{text[1:]}.", **more
    )
    return option


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each filter; it receives them as keyword arguments."""
    for name in reversed(FILTER_HELP):
        function = _build_option(name)(function)
    return function


def read_filters(
    root: Path, run: str, within: Sequence[str], values: Mapping[str, Any]
) -> ProductConditions:
    """Return the conditions of the options, checked against a run.

    Args:
        root: The data folder.
        run: The run to be searched.
        within: The categories.
        values: The other options of `filter_options`, by name.

    Raises:
        JobRejected: No product can meet them, or the run does not know their words.
    """
    if not within and all(value in (None, ()) for value in values.values()):
        return ProductConditions()
    try:
        filters = build_filters(**values)
        signature = run_tables.input_hash(root, PRODUCTS, run)
        filters = check_filter_words(filters, root, run, signature, within)
        currencies = []
        if filters.has_price and not filters.currency:
            column = run_tables.read_table(root, PRODUCTS, run, ["currency"])["currency"]
            currencies = sorted(pc.unique(column).to_pylist())
        return complete_currency(filters, currencies)
    except BadFilter as error:
        option = error.name.replace("_", "-")
        raise job.JobRejected(f"--{option}: {error}") from error
