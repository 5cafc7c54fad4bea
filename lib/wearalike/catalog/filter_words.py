"""Filters that people name, as conditions on products: read once for the API and for commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from wearalike.catalog import feed_distances
from wearalike.catalog.colour_names import SHADES
from wearalike.catalog.product_conditions import ProductConditions
from wearalike.catalog.xml_validation import did_you_mean
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS

# The help of each filter, for the API and for commands.
FILTER_HELP = {
    "shop": "products of this shop only",
    "brand": "of this brand, in any letter case",
    "colour": "of this colour, an id of colours.xml such as blue, with all its shades",
    "size": "in this size, as the shop writes it, e.g. 42 or XL",
    "min_price": "the least price, e.g. 19.90",
    "max_price": "the largest price, e.g. 50",
    "currency": "three capital letters, of both prices; default: the asked product's, "
    "else the only one of the run",
    "within": "of this category only, a leaf or branch of the taxonomy, e.g. women.dresses",
}
MAX_PRICE = 1e9
CURRENCY_PATTERN = "^[A-Z]{3}$"
# Shops or currencies that a message names at most.
_MAX_NAMED = 10


class BadFilter(ValueError):
    """A filter that no product can meet, or that the run does not know.

    Attributes:
        name: The name of the filter.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(what)
        self.name = name


def build_filters(
    shop: Sequence[str] = (),
    brand: Sequence[str] = (),
    colour: Sequence[str] = (),
    size: Sequence[str] = (),
    min_price: float | None = None,
    max_price: float | None = None,
    currency: str | None = None,
) -> ProductConditions:
    """Return the conditions that filters name; see FILTER_HELP.

    Raises:
        BadFilter: No price lies between min_price and max_price.
    """
    if min_price is not None and max_price is not None and min_price > max_price:
        raise BadFilter("min_price", f"{min_price:g}: wanted at most max_price, {max_price:g}")
    return ProductConditions(
        shops=tuple(shop),
        brands=tuple(brand),
        colours=tuple(colour),
        sizes=tuple(size),
        min_price_cents=None if min_price is None else round(100 * min_price),
        max_price_cents=None if max_price is None else round(100 * max_price),
        currency=currency,
    )


def check_filter_words(
    filters: ProductConditions, root: Path, run: str, signature: str, within: Iterable[str] = ()
) -> ProductConditions:
    """Return filters with their categories, checked against the run.

    Args:
        filters: The conditions of `build_filters`.
        root: The data folder, which holds the run's colours and categories.
        run: The run.
        signature: Hash of the run's tables; it may be made again with others.
        within: The categories.

    Raises:
        BadFilter: The run knows no such shop, colour, category or currency.
    """
    filters = replace(filters, categories=tuple(within))
    known_words = _read_known_words(root, run, signature)
    for name, values, known in (
        ("within", filters.categories, known_words.categories),
        ("colour", filters.colours, known_words.colours),
        ("shop", filters.shops, known_words.shops),
        ("currency", (filters.currency,) if filters.currency else (), known_words.currencies),
    ):
        for value in values:
            if known and value not in known:
                what = "category" if name == "within" else name
                hint = did_you_mean(value, known)
                if not hint and name in ("shop", "currency"):
                    hint = f"; known are {', '.join(sorted(known)[:_MAX_NAMED])}"
                raise BadFilter(name, f"{value!r}: no such {what}{hint}")
    return filters


def complete_currency(
    filters: ProductConditions, currencies: Sequence[str], currency: str | None = None
) -> ProductConditions:
    """Return filters with the currency of their prices; none without prices.

    Args:
        filters: The conditions.
        currencies: Those of the run's prices.
        currency: The currency of prices that name none; None if it is not known.

    Raises:
        BadFilter: The run has prices in several currencies and none is named.
    """
    if not filters.has_price:
        return replace(filters, currency=None)
    wanted = filters.currency or currency
    if wanted is None:
        if len(currencies) > 1:
            raise BadFilter("currency", f"wanted with a price, one of {', '.join(currencies)}")
        wanted = currencies[0] if currencies else ""
    return replace(filters, currency=wanted)


@dataclass(frozen=True, slots=True)
class _KnownWords:
    """The words that filters of a run may name; empty where the data folder lacks the run."""

    categories: frozenset[str] = frozenset()
    colours: frozenset[str] = frozenset()
    shops: frozenset[str] = frozenset()
    currencies: frozenset[str] = frozenset()


@lru_cache(2)
def _read_known_words(root: Path, run: str, signature: str) -> _KnownWords:
    """Return the words of a run.

    The signature is part of the cache's key: a run may be published again with other tables.
    """
    try:
        distances = feed_distances.read_feed_distances(root, run)
        products = run_tables.read_table(root, PRODUCTS, run, ["shop_id", "currency"])
    except run_tables.TableNotFound:
        return _KnownWords()
    leaves = distances.kinds.kind_of_category if distances.kinds else {}
    parts = [leaf.split(".") for leaf in leaves]
    plain = [name for name, look in distances.colours.items() if look]
    shades = {f"{shade}_{name}" for shade in SHADES for name in plain}
    return _KnownWords(
        frozenset(".".join(part[:n]) for part in parts for n in range(1, len(part) + 1)),
        frozenset(distances.colours) | shades,
        *(frozenset(products[name].unique().to_pylist()) for name in ("shop_id", "currency")),
    )
