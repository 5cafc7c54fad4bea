"""The merchandiser's rules, from rules.xml: they change a list beyond similarity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.settings import day_of_run

# Products within this factor of a price are in one price band.
DEFAULT_PRICE_FACTOR = 1.5
# Before the name of a condition it makes it one on the page's product.
ON = "on_"
_GTIN_DIGITS = 14


class MerchandisingRuleKind(StrEnum):
    """The effect of a rule."""

    PIN = "pin"
    HIDE = "hide"
    REQUIRE = "require"
    PREFER = "prefer"
    BURY = "bury"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class MerchandisingRule:
    """One rule. Its values are plain, so that its asdict() can travel as JSON.

    It has conditions on products: which are pinned, hidden, required, preferred or buried. The
    same conditions with on_ before their names are on the product of the page: where the rule
    acts. One that is None holds for all.

    Attributes:
        id: Its name, unique in the file.
        kind: A MerchandisingRuleKind.
        starts: The first day, YYYY-MM-DD; None for no first day.
        ends: The last day, YYYY-MM-DD; None for no last day.
        at: The rank of a pinned product, from 1.
        boost: Added to the score of a preferred product, taken from that of a buried one, 0..0.2.
        attribute: The attribute that a require compares: brand, shop, price_band, category, colour
            or pattern; None for one with conditions.
        is_same: True if that attribute must be equal, False if it must differ.
        factor: The most times dearer that is still one price_band.
        currency: The currency of all prices of the rule.
        product: The product itself.
        category: A category, with those inside it.
        family: A family of kinds; the taxonomy names it.
        family_leaves: The leaves of that family.
        brand: Its brand.
        shop: Its shop.
        min_price: The least price, in units of the currency.
        max_price: The largest price, likewise.
        sale: "yes" if it costs less than before, "no" if not.
        new_days: It was seen first in the last so many days.
        first_seen_from: The day that new_days leads back to, from the day of the run.
        min_sizes: The least number of sizes left.
        max_sizes: The largest number of sizes left.
        colour: A colour of colours.xml, with its shades.
        pattern: A word of its patterns.
        gtin: Its GTIN, EAN or UPC.
    """

    id: str
    kind: str
    on_category: str | None = None
    on_shop: str | None = None
    on_product: str | None = None
    starts: str | None = None
    ends: str | None = None
    product: str | None = None
    brand: str | None = None
    shop: str | None = None
    at: int = 0
    boost: float = 0.0
    attribute: str | None = None
    is_same: bool = True
    factor: float = DEFAULT_PRICE_FACTOR
    currency: str | None = None
    category: str | None = None
    family: str | None = None
    family_leaves: tuple[str, ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    sale: str | None = None
    new_days: int | None = None
    first_seen_from: str | None = None
    min_sizes: int | None = None
    max_sizes: int | None = None
    colour: str | None = None
    pattern: str | None = None
    gtin: str | None = None
    on_family: str | None = None
    on_family_leaves: tuple[str, ...] = ()
    on_brand: str | None = None
    on_min_price: float | None = None
    on_max_price: float | None = None
    on_sale: str | None = None
    on_new_days: int | None = None
    on_first_seen_from: str | None = None
    on_min_sizes: int | None = None
    on_max_sizes: int | None = None
    on_colour: str | None = None
    on_pattern: str | None = None
    on_gtin: str | None = None

    @property
    def conditions(self) -> ProductConditions:
        """The conditions on the products that it pins, hides, requires, prefers or buries."""
        return _build_conditions(self, "")

    @property
    def page_conditions(self) -> ProductConditions:
        """The conditions on the products on whose pages it acts."""
        return _build_conditions(self, ON)

    @property
    def columns(self) -> set[str]:
        """The columns of tables.PRODUCTS that it looks at, of CONDITION_COLUMNS."""
        compared = {"colour": "colour_names", "pattern": "patterns"}.get(self.attribute or "")
        own = {compared} if compared else set()
        return own | self.conditions.columns | self.page_conditions.columns

    def of_day(self, day: date) -> MerchandisingRule:
        """Return the rule with the first days that new_days leads back to from a day."""
        back: dict[str, Any] = {
            f"{prefix}first_seen_from": (day - timedelta(days)).isoformat()
            for prefix in ("", ON)
            if (days := getattr(self, f"{prefix}new_days")) is not None
        }
        return replace(self, **back) if back else self

    def is_active_on(self, day: date) -> bool:
        """Return True if the rule holds on a day."""
        return (self.starts or "") <= day.isoformat() <= (self.ends or "9999-12-31")


def active_rules(
    rules: Iterable[MerchandisingRule], run: str, day: date | None = None
) -> tuple[MerchandisingRule, ...]:
    """Return the rules that hold on the day of a run.

    Args:
        rules: The rules.
        run: The run.
        day: The run's day; None: see `settings.day_of_run`.
    """
    day = day or day_of_run(run)
    return tuple(rule.of_day(day) for rule in rules if rule.is_active_on(day))


def find_shared_ranks(
    rules: Sequence[MerchandisingRule],
) -> Iterator[tuple[MerchandisingRule, MerchandisingRule]]:
    """Yield pins of two products that want one rank and may meet on a page, each pair once.

    Args:
        rules: Rules that hold on one day, in the order of the file.
    """
    pins = [rule for rule in rules if rule.kind == MerchandisingRuleKind.PIN]
    for i, one in enumerate(pins):
        for other in pins[i + 1 :]:
            is_same_rank = one.at == other.at and (one.product, one.gtin) != (
                other.product,
                other.gtin,
            )
            if is_same_rank and _may_share_page(one, other):
                yield one, other


def _may_share_page(one: MerchandisingRule, other: MerchandisingRule) -> bool:
    """Return whether the conditions of two rules do not exclude each other."""
    shops, products = {one.on_shop, other.on_shop}, {one.on_product, other.on_product}
    if len(shops - {None}) > 1 or len(products - {None}) > 1:
        return False
    if one.on_category is None or other.on_category is None:
        return True
    paths = f"{one.on_category}.", f"{other.on_category}."
    return paths[0].startswith(paths[1]) or paths[1].startswith(paths[0])


def _build_conditions(rule: MerchandisingRule, prefix: str) -> ProductConditions:
    """Return the conditions of a rule whose names begin with a prefix."""

    def one(name: str) -> tuple[str, ...]:
        value = getattr(rule, f"{prefix}{name}")
        return () if value is None else (value,)

    def cents(name: str) -> int | None:
        value = getattr(rule, f"{prefix}{name}")
        return None if value is None else round(100 * value)

    sale = getattr(rule, f"{prefix}sale")
    return ProductConditions(
        product_ids=one("product"),
        categories=one("category"),
        family_leaves=tuple(getattr(rule, f"{prefix}family_leaves")),
        shops=one("shop"),
        brands=one("brand"),
        colours=one("colour"),
        patterns=one("pattern"),
        gtins=tuple(gtin.zfill(_GTIN_DIGITS) for gtin in one("gtin")),
        min_price_cents=cents("min_price"),
        max_price_cents=cents("max_price"),
        currency=rule.currency,
        is_on_sale=None if sale is None else sale == "yes",
        first_seen_from=getattr(rule, f"{prefix}first_seen_from"),
        min_sizes=getattr(rule, f"{prefix}min_sizes"),
        max_sizes=getattr(rule, f"{prefix}max_sizes"),
    )
