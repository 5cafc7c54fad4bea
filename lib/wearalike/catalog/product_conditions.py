"""Conditions on what a feed says of a product, for filters of questions and for rules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wearalike.catalog.colour_names import SHADES

_BETWEEN_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class ProductConditions:
    """Conditions that must all hold; of several values of one condition, any.

    An empty condition holds for every product. A product that does not say what a condition is
    about does not meet it.

    Attributes:
        product_ids: Its product_id.
        categories: Leaves or branches of the taxonomy.
        family_leaves: Leaves of one family of kinds.
        shops: Its shop_id.
        brands: Its brand, in any letter case.
        colours: Ids of colours.xml, each with its shades; a shade such as dark_blue is that alone.
        patterns: Words that its patterns contain, as `fold_words` compares them.
        sizes: A size as the shop writes it, in any letter case, with or without the unit.
        gtins: Its GTIN, in 14 digits.
        min_price_cents: The least price, hundredths of `currency`.
        max_price_cents: The largest price, hundredths of `currency`.
        currency: ISO 4217; the prices are of this currency.
        is_on_sale: True if it costs less than before, False if not.
        first_seen_from: The first run that had it was on this day or later, YYYY-MM-DD.
        min_sizes: The least number of sizes left.
        max_sizes: The largest number of sizes left.
    """

    product_ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    family_leaves: tuple[str, ...] = ()
    shops: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    gtins: tuple[str, ...] = ()
    min_price_cents: int | None = None
    max_price_cents: int | None = None
    currency: str | None = None
    is_on_sale: bool | None = None
    first_seen_from: str | None = None
    min_sizes: int | None = None
    max_sizes: int | None = None

    def __bool__(self) -> bool:
        return self != _NOTHING

    @property
    def has_price(self) -> bool:
        """True if they are about the price."""
        return self.min_price_cents is not None or self.max_price_cents is not None

    @property
    def columns(self) -> set[str]:
        """The columns of tables.PRODUCTS that they look at, of CONDITION_COLUMNS."""
        return {
            column for name, column in _COLUMNS.items() if getattr(self, name) not in ((), None)
        }


_COLUMNS = {
    "colours": "colour_names",
    "patterns": "patterns",
    "sizes": "sizes",
    "gtins": "gtins",
    "is_on_sale": "old_price_cents",
    "first_seen_from": "first_seen",
    "min_sizes": "sizes_left",
    "max_sizes": "sizes_left",
}
_NOTHING = ProductConditions()
# Every column of tables.PRODUCTS that a condition may be about, beside those that all rules read.
CONDITION_COLUMNS = tuple(sorted(set(_COLUMNS.values())))


def fold_words(text: str) -> str:
    """Return the words of a text in lower case, a blank before and after each.

    >>> fold_words("Pin-stripe, narrow")
    ' pin stripe narrow '
    """
    return f" {_BETWEEN_WORDS.sub(' ', text.lower()).strip()} "


def base_colour(name: str) -> str:
    """Return the colour of a name without its shade.

    >>> base_colour("dark_blue"), base_colour("navy")
    ('blue', 'navy')
    """
    shade, _, colour = name.partition("_")
    return colour if shade in SHADES and colour else name


def shades_of(colour: str) -> tuple[str, ...]:
    """Return a colour and its shades; of a shade that alone.

    >>> shades_of("blue"), shades_of("dark_blue")
    (('blue', 'dark_blue', 'light_blue'), ('dark_blue',))
    """
    if base_colour(colour) != colour:
        return (colour,)
    return colour, *(f"{shade}_{colour}" for shade in SHADES)
