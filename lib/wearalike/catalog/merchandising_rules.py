"""The merchandiser's rules, from rules.xml: they change a list beyond similarity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from lxml import etree

from wearalike.catalog.taxonomy import Taxonomy
from wearalike.catalog.xml_validation import XmlDocument, did_you_mean, read_validated_xml
from wearalike.settings import day_of_run

# Products within this factor of a price are in one price band.
DEFAULT_PRICE_FACTOR = 1.5
# Attributes of rules.xml whose names differ from those of MerchandisingRule, or hold numbers.
_FIELD_BY_ATTRIBUTE = {
    "from": "starts",
    "until": "ends",
    "same": "attribute",
    "different": "attribute",
}
_NUMBER_TYPES = {"at": int, "boost": float, "factor": float}


class MerchandisingRuleKind(StrEnum):
    """The effect of a rule."""

    PIN = "pin"
    HIDE = "hide"
    REQUIRE = "require"
    PREFER = "prefer"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class MerchandisingRule:
    """One rule. Its values are plain, so that its asdict() can travel as JSON.

    Attributes:
        id: Its name, unique in the file.
        kind: A MerchandisingRuleKind.
        on_category: The rule holds on pages of this category; None for any.
        on_shop: The rule holds on pages of this shop; None for any.
        on_product: The rule holds on the page of this product; None for any.
        starts: The first day, YYYY-MM-DD; None for no first day.
        ends: The last day, YYYY-MM-DD; None for no last day.
        product: The product that is pinned, hidden or preferred.
        brand: The brand that is hidden or preferred.
        shop: The shop that is hidden or preferred.
        at: The rank of a pinned product, from 1.
        boost: Added to the score of a preferred product, 0..0.2.
        attribute: The attribute that a require compares: brand, shop or price_band.
        is_same: True if that attribute must be equal, False if it must differ.
        factor: The most times dearer that is still one price_band.
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

    def is_active_on(self, day: date) -> bool:
        """Return True if the rule holds on a day."""
        return (self.starts or "") <= day.isoformat() <= (self.ends or "9999-12-31")


def read_rules(
    path: Path, taxonomy: Taxonomy, schema: Path | None = None
) -> tuple[MerchandisingRule, ...]:
    """Read the rules and check them against rules.rng beside the file.

    Args:
        path: The file; it need not exist.
        taxonomy: The taxonomy with the categories that rules name.
        schema: The schema; None: rules.rng beside the file.

    Returns:
        The rules in the order of the file; none without a file.

    Raises:
        BadMapping: With every mistake of the file.
    """
    if not path.is_file():
        return ()
    document = read_validated_xml(path, schema or path.with_suffix(".rng"))
    rules: dict[str, MerchandisingRule] = {}
    for element in document.valid_elements:
        if element is document.root:
            continue
        rule = _parse_rule(element)
        _check_rule(document, element, rule, taxonomy)
        if rule.id in rules:
            document.add_mistake(element.sourceline, f"id={rule.id!r}: another rule has this id")
        rules[rule.id] = rule
    document.raise_mistakes()
    return tuple(rules.values())


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
    return tuple(rule for rule in rules if rule.is_active_on(day))


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
            is_same_rank = one.at == other.at and one.product != other.product
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


def _parse_rule(element: etree._Element) -> MerchandisingRule:
    """Return the rule of an element."""
    attributes = {str(name): " ".join(str(value).split()) for name, value in element.items()}
    values = {
        _FIELD_BY_ATTRIBUTE.get(name, name): _NUMBER_TYPES.get(name, str)(value)
        for name, value in attributes.items()
    }
    return MerchandisingRule(kind=str(element.tag), is_same="different" not in attributes, **values)


def _check_rule(
    document: XmlDocument, element: etree._Element, rule: MerchandisingRule, taxonomy: Taxonomy
) -> None:
    """Note the mistakes of a rule that the schema cannot find."""
    line = element.sourceline
    categories = {*taxonomy.leaves, *taxonomy.group_ids}
    if rule.on_category is not None and rule.on_category not in categories:
        hint = did_you_mean(rule.on_category, categories)
        document.add_mistake(line, f"on_category={rule.on_category!r}: no such category{hint}")
    for name in ("product", "on_product"):
        value = getattr(rule, name)
        if value is not None and ":" not in value:
            document.add_mistake(line, f"{name}={value!r}: wanted shop:offer")
    if rule.starts and rule.ends and rule.starts > rule.ends:
        document.add_mistake(line, f"from={rule.starts!r}: after until={rule.ends!r}")
    if "factor" in element.attrib and rule.attribute != "price_band":
        document.add_mistake(
            line, f"factor: wanted with price_band only, found with {rule.attribute}"
        )
