"""The merchandiser's rules, from rules.xml: what may stand in a list beyond likeness."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

from lxml import etree

from wearalike.catalog.taxonomy import Taxonomy
from wearalike.catalog.xml_validation import XmlDocument, did_you_mean, read_validated_xml

DEFAULT_PRICE_FACTOR = 1.5


class MerchandisingRuleKind(StrEnum):
    PIN = "pin"
    HIDE = "hide"
    REQUIRE = "require"
    PREFER = "prefer"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class MerchandisingRule:
    """One rule; plain values only, so that asdict() of it travels as JSON. None: not said.

    on_category, on_shop, on_product: the pages it holds for. starts, ends: its first and last day, YYYY-MM-DD.
    product, brand, shop: what a pin, hide or prefer is about. at: a pin's rank, from 1. boost: of a prefer, in score, 0..0.2.
    attribute: what a require compares (brand, shop, price_band); is_same: whether it is to be equal; factor: how many times
    dearer is still one price_band.
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
        return (self.starts or "") <= day.isoformat() <= (self.ends or "9999-12-31")


def read_rules(path: Path, taxonomy: Taxonomy) -> tuple[MerchandisingRule, ...]:
    """The rules of the file in its order, held against the schema beside it (rules.rng); none where there is no file.

    Raises BadMapping with every mistake.
    """
    if not path.is_file():
        return ()
    document = read_validated_xml(path, path.with_suffix(".rng"))
    rules: dict[str, MerchandisingRule] = {}
    for element in (e for e in document.valid_elements if e is not document.root):
        rule = _parse_rule(element)
        _check_rule(document, element, rule, taxonomy)
        if rule.id in rules:
            document.add_mistake(element.sourceline, f"id={rule.id!r}: another rule has it")
        rules[rule.id] = rule
    document.raise_mistakes()
    return tuple(rules.values())


def active_rules(rules: Iterable[MerchandisingRule], run: str) -> tuple[MerchandisingRule, ...]:
    """The rules that hold on the day of a run. It is the date its name begins with, YYYY-MM-DD; else today, UTC."""
    try:
        day = date.fromisoformat(run[:10])
    except ValueError:
        day = datetime.now(UTC).date()
    return tuple(rule for rule in rules if rule.is_active_on(day))


def _parse_rule(element: etree._Element) -> MerchandisingRule:
    said = {str(name): " ".join(str(value).split()) for name, value in element.items()}
    renamed = {"from": "starts", "until": "ends", "same": "attribute", "different": "attribute"}
    numbers = {"at": int, "boost": float, "factor": float}
    values = {
        renamed.get(name, name): numbers.get(name, str)(value) for name, value in said.items()
    }
    return MerchandisingRule(kind=str(element.tag), is_same="different" not in said, **values)


def _check_rule(
    document: XmlDocument, element: etree._Element, rule: MerchandisingRule, taxonomy: Taxonomy
) -> None:
    known = {*taxonomy.leaves, *taxonomy.group_ids}
    if rule.on_category is not None and rule.on_category not in known:
        document.add_mistake(
            element.sourceline,
            f"on_category={rule.on_category!r}: no such category{did_you_mean(rule.on_category, known)}",
        )
    for name in ("product", "on_product"):
        value = getattr(rule, name)
        if value is not None and ":" not in value:
            document.add_mistake(element.sourceline, f"{name}={value!r}: wanted shop:offer")
    if rule.starts and rule.ends and rule.starts > rule.ends:
        document.add_mistake(element.sourceline, f"from={rule.starts!r}: after until={rule.ends!r}")
    if "factor" in element.attrib and rule.attribute != "price_band":
        document.add_mistake(
            element.sourceline, f"factor: wanted with price_band only, found with {rule.attribute}"
        )
