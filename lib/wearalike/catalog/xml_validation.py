"""An operator's XML file against its RELAX NG schema: every mistake with file, line and what was wanted.

libxml2 stops at the first element out of place and does not say which attribute is wrong. So each element and
each attribute is held against its own part of the schema, and the schema's documentation says what was wanted.
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


class BadMapping(ValueError):
    """A taxonomy or mapping file says what we cannot use. `mistakes`: all of them, "file:line: what, wanted"."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__(
            "\n".join([f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)}", *mistakes])
        )
        self.mistakes = mistakes


@dataclass
class XmlDocument:
    """A parsed file and the mistakes found in it so far. `sound`: the elements that keep to the schema, in document order."""

    path: Path
    sha256: str
    root: etree._Element
    valid_elements: list[etree._Element]
    mistakes: list[tuple[int, str]] = field(default_factory=list)

    def add_mistake(self, line: int | None, text: str) -> None:
        self.mistakes.append((line or 0, text))

    def raise_mistakes(self) -> None:
        """Raises BadMapping with all mistakes by line, if there are any."""
        if self.mistakes:
            raise BadMapping(
                [f"{self.path}:{line}: {text}" for line, text in sorted(self.mistakes)]
            )


def read_validated_xml(path: Path, schema_path: Path) -> XmlDocument:
    """The file, its elements held against the schema. No entity is expanded, nothing outside the file is loaded.

    Raises BadMapping for a file that is not XML or carries a DOCTYPE, OSError for one that cannot be read.
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
    rules = _SchemaChecker(etree.fromstring(schema_path.read_bytes(), parser))
    for element in root.iter():
        if mistakes := list(rules.find_mistakes(element)):
            for text in mistakes:
                document.add_mistake(element.sourceline, text)
        else:
            document.valid_elements.append(element)
    if not document.mistakes and not rules.schema.validate(root):
        for entry in rules.schema.error_log:
            document.add_mistake(entry.line, entry.message)
    return document


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a mistake's text: the known word nearest to `word`, or nothing where none is near."""
    found = process.extractOne(word, list(known), scorer=fuzz.ratio, score_cutoff=60)
    return f"; did you mean {found[0]!r}?" if found else ""


class _SchemaChecker:
    """A schema taken apart: each element without its children, each attribute by itself."""

    def __init__(self, grammar: etree._Element) -> None:
        self.schema = etree.RelaxNG(grammar)
        parts = {
            kind: {e.get("name", ""): e for e in grammar.iter(_RNG + kind) if e.get("name")}
            for kind in ("element", "attribute")
        }
        self.elements = {
            name: (_schema_starting_at(grammar, e), e.findtext(_DOCUMENTATION))
            for name, e in parts["element"].items()
        }
        self.attributes = {
            name: (_schema_starting_at(grammar, _wrap_attribute(e)), e.findtext(_DOCUMENTATION))
            for name, e in parts["attribute"].items()
        }

    def find_mistakes(self, element: etree._Element) -> Iterator[str]:
        """What is wrong with this element and its place, apart from its children."""
        tag, attributes = (
            str(element.tag),
            {str(name): str(value) for name, value in element.items()},
        )
        if tag not in self.elements:
            yield f"<{tag}>: no such element{did_you_mean(tag, self.elements)}"
            return
        wrong = [
            f"<{tag}>: {name}={value!r}: wanted {self.attributes[name][1]}"
            if name in self.attributes
            else f"<{tag}>: no attribute {name!r}{did_you_mean(name, self.attributes)}"
            for name, value in attributes.items()
            if name not in self.attributes
            or not self.attributes[name][0].validate(etree.Element("any", {name: value}))
        ]
        yield from wrong
        alone, wanted = self.elements[tag]
        bare = _without_children(element)
        if not wrong and not alone.validate(bare):
            found = ", ".join([*attributes, *([repr(bare.text)] if bare.text else [])])
            yield f"<{tag}>: found {found or 'nothing'}, wanted {wanted}"
        parent = element.getparent()
        around = "" if parent is None else str(parent.tag)
        if parent is not None and around in self.elements and self._is_misplaced(element, parent):
            yield f"<{tag}>: inside <{around}>, which wants {self.elements[around][1]}"

    def _is_misplaced(self, element: etree._Element, parent: etree._Element) -> bool:
        """Whether an element and its parent are each right alone, and wrong together."""
        around, inside = _without_children(parent), _without_children(element)
        alone = self.elements[str(parent.tag)][0]
        if not (alone.validate(around) and self.elements[str(element.tag)][0].validate(inside)):
            return False
        around.append(inside)
        return not alone.validate(around)


def _without_children(element: etree._Element) -> etree._Element:
    """The element and its text without its children."""
    bare = etree.Element(element.tag, dict(element.attrib))
    bare.text = "".join(
        text or "" for text in (element.text, *(child.tail for child in element))
    ).strip()
    return bare


def _schema_starting_at(grammar: etree._Element, content: etree._Element) -> etree.RelaxNG:
    """The grammar with `content` for its start."""
    copy = deepcopy(grammar)
    start = copy.find(_RNG + "start")
    if start is None:
        raise ValueError("the schema has no start")
    start[:] = [deepcopy(content)]
    return etree.RelaxNG(copy)


def _wrap_attribute(attribute: etree._Element) -> etree._Element:
    holder = etree.Element(_RNG + "element", name="any")
    holder.append(deepcopy(attribute))
    return holder
