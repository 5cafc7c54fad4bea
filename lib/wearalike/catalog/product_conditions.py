"""Conditions on what a feed says of a product, for filters of questions and for rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductConditions:
    """Conditions that must all hold; of several values of one condition, any.

    An empty condition holds for every product. A product that does not say what a condition is
    about does not meet it.

    Attributes:
        product_ids: Its product_id.
        categories: Leaves or branches of the taxonomy.
        shops: Its shop_id.
        brands: Its brand, in any letter case.
        colours: Ids of colours.xml, each with its shades; a shade such as dark_blue is that alone.
        sizes: A size as the shop writes it, in any letter case, with or without the unit.
        min_price_cents: The least price, hundredths of `currency`.
        max_price_cents: The largest price, hundredths of `currency`.
        currency: ISO 4217; the prices are of this currency.
    """

    product_ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    shops: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    min_price_cents: int | None = None
    max_price_cents: int | None = None
    currency: str | None = None

    def __bool__(self) -> bool:
        return self != _NOTHING

    @property
    def has_price(self) -> bool:
        """True if they are about the price."""
        return self.min_price_cents is not None or self.max_price_cents is not None

    @property
    def columns(self) -> set[str]:
        """The columns of tables.PRODUCTS that lists and texts of the conditions are found in."""
        return {
            column
            for name, columns in _COLUMNS.items()
            if getattr(self, name) not in ((), None)
            for column in columns
        }


_COLUMNS = {"colours": ("colour_names",), "sizes": ("sizes",)}
_NOTHING = ProductConditions()
# Every column of tables.PRODUCTS that a condition may be about, beside those that all rules read.
CONDITION_COLUMNS = tuple(sorted({name for names in _COLUMNS.values() for name in names}))
