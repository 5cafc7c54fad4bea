"""Read the merchandiser's rules from rules.xml, and name every mistake with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lxml import etree

from wearalike.catalog.colour_names import ColourNames, packaged_colour_names, read_colour_names
from wearalike.catalog.merchandising_rules import ON, MerchandisingRule
from wearalike.catalog.product_conditions import shades_of
from wearalike.catalog.taxonomy import Taxonomy
from wearalike.catalog.xml_validation import XmlDocument, did_you_mean, read_validated_xml

# Attributes of rules.xml whose names differ from those of MerchandisingRule.
_FIELD_BY_ATTRIBUTE = {
    "from": "starts",
    "until": "ends",
    "same": "attribute",
    "different": "attribute",
    "by": "boost",
}
_NUMBER_TYPES: dict[str, Callable[[str], Any]] = {
    "at": int,
    "boost": float,
    "by": float,
    "factor": float,
    "min_price": float,
    "max_price": float,
    "new_days": int,
    "min_sizes": int,
    "max_sizes": int,
}
_PRICE_ATTRIBUTES = ("min_price", "max_price", "on_min_price", "on_max_price")


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
    colours = _read_colours(path)
    rules: dict[str, MerchandisingRule] = {}
    for element in document.valid_elements:
        if element is document.root:
            continue
        rule = _parse_rule(element, taxonomy)
        _check_rule(document, element, rule)
        _check_conditions(document, element, rule, taxonomy, colours)
        if rule.id in rules:
            document.add_mistake(element.sourceline, f"id={rule.id!r}: another rule has this id")
        rules[rule.id] = rule
    document.raise_mistakes()
    return tuple(rules.values())


def _parse_rule(element: etree._Element, taxonomy: Taxonomy) -> MerchandisingRule:
    """Return the rule of an element."""
    attributes = {str(name): " ".join(str(value).split()) for name, value in element.items()}
    values: dict[str, Any] = {
        _FIELD_BY_ATTRIBUTE.get(name, name): _NUMBER_TYPES.get(name.removeprefix(ON), str)(value)
        for name, value in attributes.items()
    }
    for name in ("family", f"{ON}family"):
        if name in values:
            values[f"{name}_leaves"] = taxonomy.families.get(values[name], ())
    return MerchandisingRule(kind=str(element.tag), is_same="different" not in attributes, **values)


def _check_rule(document: XmlDocument, element: etree._Element, rule: MerchandisingRule) -> None:
    """Note the mistakes of a rule's days and comparison that the schema cannot find."""
    line = element.sourceline
    if rule.starts and rule.ends and rule.starts > rule.ends:
        document.add_mistake(line, f"from={rule.starts!r}: after until={rule.ends!r}")
    if "factor" in element.attrib and rule.attribute != "price_band":
        document.add_mistake(
            line, f"factor: wanted with price_band only, found with {rule.attribute}"
        )


def _check_conditions(
    document: XmlDocument,
    element: etree._Element,
    rule: MerchandisingRule,
    taxonomy: Taxonomy,
    colours: ColourNames,
) -> None:
    """Note the mistakes of a rule's conditions that the schema cannot find."""
    line = element.sourceline
    known_words = {
        "category": ("category", {*taxonomy.leaves, *taxonomy.group_ids}),
        "family": ("family", set(taxonomy.families)),
        "colour": ("colour of colours.xml", _known_colours(colours)),
    }
    for prefix in ("", ON):
        for name, (what, known) in known_words.items():
            value = getattr(rule, f"{prefix}{name}")
            if value is not None and value not in known:
                hint = did_you_mean(value, known)
                document.add_mistake(line, f"{prefix}{name}={value!r}: no such {what}{hint}")
        product = getattr(rule, f"{prefix}product")
        if product is not None and ":" not in product:
            document.add_mistake(line, f"{prefix}product={product!r}: wanted shop:offer")
        for what in ("price", "sizes"):
            least, most = (getattr(rule, f"{prefix}{end}_{what}") for end in ("min", "max"))
            if least is not None and most is not None and least > most:
                text = f"{prefix}min_{what}={least:g}: more than {prefix}max_{what}={most:g}"
                document.add_mistake(line, text)
    has_price = any(name in element.attrib for name in _PRICE_ATTRIBUTES)
    if has_price != (rule.currency is not None):
        found = "a price without it" if has_price else "it without a price"
        document.add_mistake(line, f"currency: wanted with a price, found {found}")


def _known_colours(colours: ColourNames) -> set[str]:
    """Return the colours that a rule may name: those of the file, and their shades."""
    plain = [name for name, look in colours.hex_by_id.items() if look]
    return {*colours.hex_by_id, *(shade for name in plain for shade in shades_of(name))}


def _read_colours(path: Path) -> ColourNames:
    """Return the colours of the file beside the rules, else those that come with wearalike."""
    beside = path.with_name("colours.xml")
    return read_colour_names(beside) if beside.is_file() else packaged_colour_names()
