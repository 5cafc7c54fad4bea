"""The merchandiser's rules, from rules.xml: what may stand in a list beyond likeness."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

from lxml import etree

from wearalike.catalog.taxonomy import Rubricator
from wearalike.catalog.xml_validation import Document, did_you_mean, parse

PRICE_FACTOR = 1.5


class RuleKind(StrEnum):
    PIN = "pin"
    HIDE = "hide"
    REQUIRE = "require"
    PREFER = "prefer"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class Rule:
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
    factor: float = PRICE_FACTOR

    def holds_on(self, day: date) -> bool:
        return (self.starts or "") <= day.isoformat() <= (self.ends or "9999-12-31")


def read_rules(path: Path, rubricator: Rubricator) -> tuple[Rule, ...]:
    """The rules of the file in its order, held against the schema beside it (rules.rng); none where there is no file.

    Raises BadMapping with every mistake.
    """
    if not path.is_file():
        return ()
    document = parse(path, path.with_suffix(".rng"))
    rules: dict[str, Rule] = {}
    for element in (e for e in document.sound if e is not document.root):
        rule = _rule(element)
        _check(document, element, rule, rubricator)
        if rule.id in rules:
            document.mistake(element.sourceline, f"id={rule.id!r}: another rule has it")
        rules[rule.id] = rule
    document.raise_mistakes()
    return tuple(rules.values())


def holding(rules: Iterable[Rule], run: str) -> tuple[Rule, ...]:
    """The rules that hold on the day of a run. It is the date its name begins with, YYYY-MM-DD; else today, UTC."""
    try:
        day = date.fromisoformat(run[:10])
    except ValueError:
        day = datetime.now(UTC).date()
    return tuple(rule for rule in rules if rule.holds_on(day))


def _rule(element: etree._Element) -> Rule:
    said = {str(name): " ".join(str(value).split()) for name, value in element.items()}
    renamed = {"from": "starts", "until": "ends", "same": "attribute", "different": "attribute"}
    numbers = {"at": int, "boost": float, "factor": float}
    values = {
        renamed.get(name, name): numbers.get(name, str)(value) for name, value in said.items()
    }
    return Rule(kind=str(element.tag), is_same="different" not in said, **values)


def _check(document: Document, element: etree._Element, rule: Rule, rubricator: Rubricator) -> None:
    known = {*rubricator.leaves, *rubricator.groups}
    if rule.on_category is not None and rule.on_category not in known:
        document.mistake(
            element.sourceline,
            f"on_category={rule.on_category!r}: no such category{did_you_mean(rule.on_category, known)}",
        )
    for name in ("product", "on_product"):
        value = getattr(rule, name)
        if value is not None and ":" not in value:
            document.mistake(element.sourceline, f"{name}={value!r}: wanted shop:offer")
    if rule.starts and rule.ends and rule.starts > rule.ends:
        document.mistake(element.sourceline, f"from={rule.starts!r}: after until={rule.ends!r}")
    if "factor" in element.attrib and rule.attribute != "price_band":
        document.mistake(
            element.sourceline, f"factor: wanted with price_band only, found with {rule.attribute}"
        )
