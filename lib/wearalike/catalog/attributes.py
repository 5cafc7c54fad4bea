"""Shops' words for attributes of goods, from attributes.xml: names and values in many languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lxml import etree

from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.xml_validation import XmlDocument, did_you_mean, read_validated_xml
from wearalike.tables import AgeGroup, Availability, Gender

# The attributes that a file may define, and the values of those whose words are told apart.
_VALUES_BY_ATTRIBUTE: dict[str, tuple[str, ...]] = {
    "gender": tuple(Gender),
    "age_group": tuple(AgeGroup),
    "age_unit": ("month", "year"),
    "availability": tuple(Availability),
    "condition": ("new", "refurbished", "used"),
    "no_brand": ("none",),
    "colour": (),
    "size": (),
    "material": (),
    "pattern": (),
    "gtin": (),
    "stock": (),
}
# The name of an attribute that shops give and we do not use.
UNUSED = "unused"

_EDGE_MARKS = " \t\r\n:.;,*«»\"'()[]"
# Turkish writes i with and without a dot, in both cases.
_TURKISH_I = str.maketrans({"ı": "i", "\u0307": None, "ё": "е"})
_SPACES = re.compile(r"[\s_-]+")


def fold_word(text: str) -> str:
    """Return a word as words are compared: letter case, "ё", "ı", blanks and end marks ignored.

    >>> fold_word(" Цвет товара: "), fold_word("out_of_stock")
    ('цвет товара', 'out of stock')
    """
    bare = text.strip(_EDGE_MARKS) or text.strip()
    return _SPACES.sub(" ", bare.casefold().translate(_TURKISH_I)).strip() or bare


@dataclass(frozen=True)
class AttributeTable:
    """The words of attributes.xml.

    Attributes:
        sha256: The hash of the file.
        attribute_by_name: The attribute, or UNUSED, that each folded name means.
        value_by_word: For each attribute the value that a whole folded text means.
        patterns: For each attribute its values, each with the pattern of its words.
        filler: The pattern of the words that say nothing in a name.
    """

    sha256: str
    attribute_by_name: Mapping[str, str]
    value_by_word: Mapping[str, Mapping[str, str]]
    patterns: Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]]
    filler: re.Pattern[str]
    _known_names: dict[str, str | None] = field(default_factory=dict, compare=False, repr=False)

    def attribute_of(self, name: str | None) -> str | None:
        """Return the attribute that a name means, UNUSED, or None for an unknown name.

        Args:
            name: The name of a param or an element, such as "Цвет товара:".
        """
        name = (name or "")[:200]
        if name not in self._known_names:
            if len(self._known_names) > 10_000:  # a hostile feed may name each param otherwise
                self._known_names.clear()
            self._known_names[name] = self._find_attribute(fold_word(name))
        return self._known_names[name]

    def _find_attribute(self, name: str) -> str | None:
        """Return the attribute of a folded name, with and without its filler."""
        found = self.attribute_by_name.get(name)
        if found:
            return found
        bare = fold_word(self.filler.sub(" ", name))
        return self.attribute_by_name.get(bare)

    def whole_value(self, attribute: str, text: str) -> str | None:
        """Return the value that a whole text means, or None.

        Args:
            attribute: The attribute.
            text: Such as "В наличии".
        """
        return self.value_by_word.get(attribute, {}).get(fold_word(text))

    def values_within(self, attribute: str, text: str) -> list[str]:
        """Return the values whose words stand in a text, in the order of the file.

        Args:
            attribute: The attribute.
            text: Such as "Для девочек и мальчиков".
        """
        folded = fold_word(text)
        return [value for value, words in self.patterns.get(attribute, ()) if words.search(folded)]


def read_attribute_table(path: Path) -> AttributeTable:
    """Read a table of attributes and check it against attributes.rng beside it.

    Args:
        path: The file.

    Returns:
        The table.

    Raises:
        BadMapping: With every mistake of the file.
    """
    document = read_validated_xml(path, path.with_suffix(".rng"))
    names: dict[str, str] = {}
    patterns: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    words: dict[str, dict[str, str]] = {}
    valid = set(document.valid_elements)
    for element in document.root.iter("attribute"):
        if element not in valid:
            continue
        attribute = str(element.get("id"))
        _check_known(document, element, attribute, _VALUES_BY_ATTRIBUTE)
        for listed in element.iterchildren("names"):
            _add_names(document, listed, attribute, names)
        for value in element.iterchildren("value"):
            ident = str(value.get("id"))
            _check_known(document, value, ident, _VALUES_BY_ATTRIBUTE.get(attribute, ()))
            listed_words = [w for e in value.iterchildren("words") for w in _split_words(e)]
            if listed_words:
                patterns.setdefault(attribute, []).append((ident, _word_pattern(listed_words)))
            for word in listed_words:
                words.setdefault(attribute, {}).setdefault(word.rstrip("*"), ident)
    for listed in document.root.iterchildren("unused"):
        for name in _split_words(listed):
            names.setdefault(name, UNUSED)
    filler = [w for e in document.root.iterchildren("filler") for w in _split_words(e)]
    document.raise_mistakes()
    return AttributeTable(
        document.sha256,
        names,
        words,
        {attribute: tuple(values) for attribute, values in patterns.items()},
        _word_pattern(filler) if filler else re.compile(r"(?!)"),
    )


@cache
def packaged_attribute_table() -> AttributeTable:
    """Return the table that comes with wearalike."""
    return read_attribute_table(packaged_mapping_path("attributes.xml"))


def _check_known(
    document: XmlDocument, element: etree._Element, name: str, known: Iterable[str]
) -> None:
    """Note an id that is none of those known."""
    known = list(known)
    if name not in known:
        wanted = ", ".join(known) or "no values"
        hint = did_you_mean(name, known)
        document.add_mistake(element.sourceline, f"id={name!r}: wanted one of {wanted}{hint}")


def _add_names(
    document: XmlDocument, element: etree._Element, attribute: str, names: dict[str, str]
) -> None:
    """Add the names of an attribute; note one that another attribute has."""
    for name in _split_words(element):
        other = names.setdefault(name, attribute)
        if other != attribute:
            document.add_mistake(element.sourceline, f"{name!r}: is a name of {other}, too")


def _split_words(element: etree._Element) -> list[str]:
    """Return the folded words of an element's list; "*" stays at their ends."""
    found = []
    for part in str(element.get("words") or "").split(","):
        word = fold_word(part)
        if word:
            found.append(f"{word}*" if part.rstrip().endswith("*") else word)
    return found


def _word_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of any of the words, as a whole word or, with "*", as its beginning."""
    parts = [
        re.escape(word[:-1]) if word.endswith("*") else f"{re.escape(word)}(?!\\w)"
        for word in sorted(words, key=len, reverse=True)
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})")
