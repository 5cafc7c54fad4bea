"""Check an operator's XML file against its RELAX NG schema, and report every mistake.

libxml2 stops at the first misplaced element and does not name the wrong attribute. So each element
and each attribute is checked against its own part of the schema. The documentation in the schema
tells the operator the wanted value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree
from rapidfuzz import fuzz, process

_RNG = "{http://relaxng.org/ns/structure/1.0}"
_DOCUMENTATION = "{http://relaxng.org/ns/compatibility/annotations/1.0}documentation"
# The least similarity, in percent, for "did you mean".
_MIN_SIMILARITY = 60


class BadMapping(ValueError):
    """A taxonomy, mapping or rules file with mistakes.

    Attributes:
        mistakes: All of them, as "file:line: found, wanted".
    """

    def __init__(self, mistakes: list[str]) -> None:
        plural = "s" * (len(mistakes) > 1)
        super().__init__("\n".join([f"{len(mistakes)} mistake{plural}", *mistakes]))
        self.mistakes = mistakes


@dataclass
class XmlDocument:
    """A parsed file and the mistakes found in it so far.

    Attributes:
        path: The file.
        sha256: Its hash.
        root: Its root element.
        valid_elements: The elements that conform to the schema, in document order.
        mistakes: (line, text) of each mistake.
    """

    path: Path
    sha256: str
    root: etree._Element
    valid_elements: list[etree._Element]
    mistakes: list[tuple[int, str]] = field(default_factory=list)

    def add_mistake(self, line: int | None, text: str) -> None:
        """Note a mistake.

        Args:
            line: The line in the file, if known.
            text: The value found and the value wanted.
        """
        self.mistakes.append((line or 0, text))

    def raise_mistakes(self) -> None:
        """Raise BadMapping with all mistakes by line, if there are any."""
        if self.mistakes:
            raise BadMapping(
                [f"{self.path}:{line}: {text}" for line, text in sorted(self.mistakes)]
            )


def read_validated_xml(path: Path, schema_path: Path) -> XmlDocument:
    """Read a file and check its elements against a schema.

    No entity is expanded, and nothing outside the file is loaded.

    Args:
        path: The file.
        schema_path: The RELAX NG schema.

    Returns:
        The document, with the mistakes found.

    Raises:
        BadMapping: The file is not XML, or has a DOCTYPE.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise BadMapping([f"{path}:{error.lineno}: not XML: {error.msg}"]) from error
    if root.getroottree().docinfo.doctype:
        raise BadMapping([f"{path}:1: a DOCTYPE, wanted none"])
    document = XmlDocument(path, hashlib.sha256(content).hexdigest(), root, [])
    checker = _SchemaChecker(etree.fromstring(schema_path.read_bytes(), parser))
    for element in root.iter():
        mistakes = list(checker.find_mistakes(element))
        for text in mistakes:
            document.add_mistake(element.sourceline, text)
        if not mistakes:
            document.valid_elements.append(element)
    if not document.mistakes and not checker.schema.validate(root):
        for entry in checker.schema.error_log:
            document.add_mistake(entry.line, entry.message)
    return document


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a mistake's text that suggests the nearest known word.

        >>> did_you_mean("dreses", ["dresses", "shoes"])
        "; did you mean 'dresses'?"

    Args:
        word: The unknown word.
        known: The known words.

    Returns:
        The suggestion, or "" if no word is near.
    """
    match = process.extractOne(word, list(known), scorer=fuzz.ratio, score_cutoff=_MIN_SIMILARITY)
    return f"; did you mean {match[0]!r}?" if match else ""


# A part of the schema that can be validated alone, and its documentation.
_SchemaPart = tuple[etree.RelaxNG, str | None]


class _SchemaChecker:
    """A schema in parts: each element without its children, each attribute by itself."""

    def __init__(self, grammar: etree._Element) -> None:
        self.schema = etree.RelaxNG(grammar)
        self.elements: dict[str, _SchemaPart] = {
            name: (_schema_starting_at(grammar, e), e.findtext(_DOCUMENTATION))
            for name, e in _named_definitions(grammar, "element").items()
        }
        self.attributes: dict[str, _SchemaPart] = {
            name: (_schema_starting_at(grammar, _wrap_attribute(e)), e.findtext(_DOCUMENTATION))
            for name, e in _named_definitions(grammar, "attribute").items()
        }

    def find_mistakes(self, element: etree._Element) -> Iterator[str]:
        """Yield the mistakes of an element and its place, apart from those of its children."""
        tag = str(element.tag)
        if tag not in self.elements:
            yield f"<{tag}>: no such element{did_you_mean(tag, self.elements)}"
            return
        attribute_mistakes = list(self._find_attribute_mistakes(element))
        yield from attribute_mistakes
        schema, wanted = self.elements[tag]
        bare = _without_children(element)
        if not attribute_mistakes and not schema.validate(bare):
            text = [repr(bare.text)] if bare.text else []
            found = ", ".join([*map(str, element.keys()), *text])
            yield f"<{tag}>: found {found or 'nothing'}, wanted {wanted}"
        parent = element.getparent()
        if parent is None or str(parent.tag) not in self.elements:
            return
        if self._is_misplaced(element, parent):
            parent_tag = str(parent.tag)
            yield f"<{tag}>: inside <{parent_tag}>, which wants {self.elements[parent_tag][1]}"

    def _find_attribute_mistakes(self, element: etree._Element) -> Iterator[str]:
        """Yield the mistakes of the attributes of an element, each seen by itself."""
        tag = str(element.tag)
        for key, content in element.items():
            name = str(key)
            value = str(content)
            if name not in self.attributes:
                hint = did_you_mean(name, self.attributes)
                yield f"<{tag}>: no attribute {name!r}{hint}"
                continue
            schema, wanted = self.attributes[name]
            if not schema.validate(etree.Element("any", {name: value})):
                yield f"<{tag}>: {name}={value!r}: wanted {wanted}"

    def _is_misplaced(self, element: etree._Element, parent: etree._Element) -> bool:
        """Return True if an element and its parent are valid alone, but not together."""
        bare_parent = _without_children(parent)
        bare = _without_children(element)
        parent_schema, _ = self.elements[str(parent.tag)]
        schema, _ = self.elements[str(element.tag)]
        if not (parent_schema.validate(bare_parent) and schema.validate(bare)):
            return False
        bare_parent.append(bare)
        return not parent_schema.validate(bare_parent)


def _named_definitions(grammar: etree._Element, kind: str) -> dict[str, etree._Element]:
    """Return the definitions of a kind ("element" or "attribute") by the name they define."""
    return {e.get("name", ""): e for e in grammar.iter(_RNG + kind) if e.get("name")}


def _without_children(element: etree._Element) -> etree._Element:
    """Return a copy of an element with its attributes and text, without its children."""
    bare = etree.Element(element.tag, dict(element.attrib))
    texts = (element.text, *(child.tail for child in element))
    bare.text = "".join(text or "" for text in texts).strip()
    return bare


def _schema_starting_at(grammar: etree._Element, content: etree._Element) -> etree.RelaxNG:
    """Return the grammar with `content` for its start."""
    copy = deepcopy(grammar)
    start = copy.find(_RNG + "start")
    if start is None:
        raise ValueError("the schema has no start")
    start[:] = [deepcopy(content)]
    return etree.RelaxNG(copy)


def _wrap_attribute(attribute: etree._Element) -> etree._Element:
    """Return a definition of an element with just one attribute."""
    holder = etree.Element(_RNG + "element", name="any")
    holder.append(deepcopy(attribute))
    return holder
