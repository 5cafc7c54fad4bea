"""Our tree of categories, from taxonomy.xml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from wearalike.catalog.xml_validation import XmlDocument, read_validated_xml
from wearalike.tables import AgeGroup, Gender, SuperCategory

_INHERITED_ATTRIBUTES = ("super_category", "shape_weight", "colour_weight", "gender", "age_group")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf. names: what it is called, en and ru first, then other words; around: the same of the categories it is in, root first.
    shape_weight, colour_weight: 0..10, not both 0. gender, age_group: what it implies where a feed is silent."""

    id: str
    names: tuple[str, ...]
    ancestor_names: tuple[tuple[str, ...], ...]
    super_category: SuperCategory
    shape_weight: int
    colour_weight: int
    gender: Gender | None
    age_group: AgeGroup | None

    @property
    def en(self) -> str:
        return self.names[0]

    @property
    def ru(self) -> str:
        return self.names[1]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Leaves by id, in the file's order; groups: ids of the categories that hold others; sha256: of the file."""

    path: Path
    sha256: str
    leaves: Mapping[str, Leaf]
    group_ids: frozenset[str]


def read_taxonomy(path: Path) -> Taxonomy:
    """The taxonomy, held against the schema beside it (taxonomy.rng). Raises BadMapping with every mistake."""
    document = read_validated_xml(path, path.with_suffix(".rng"))
    sound = {e for e in document.valid_elements if e.tag == "category"}
    ids: dict[str, int | None] = {}
    for element in document.valid_elements:
        if element in sound:
            _check_id(document, element, ids)
    leaves = [
        e
        for e in document.valid_elements
        if e in sound and not len(e) and sound.issuperset(_lineage(e))
    ]
    for element in leaves:
        _check_leaf(document, element)
    document.raise_mistakes()
    groups = frozenset(str(e.get("id")) for e in sound if len(e))
    return Taxonomy(
        path, document.sha256, {leaf.id: leaf for leaf in map(_build_leaf, leaves)}, groups
    )


def _lineage(element: etree._Element) -> list[etree._Element]:
    """The categories from the root's down to this one."""
    return [*reversed(list(element.iterancestors("category"))), element]


def _check_id(document: XmlDocument, element: etree._Element, ids: dict[str, int | None]) -> None:
    name, parent = str(element.get("id")), element.getparent()
    above = parent.get("id") if parent is not None and parent.tag == "category" else ""
    if above is not None and (name.rpartition(".")[0] != above):
        wanted = (
            f"{above}.{name.rpartition('.')[2]}, inside {above}"
            if above
            else "a single word, outside any other"
        )
        document.add_mistake(element.sourceline, f"category {name!r}: wanted {wanted}")
    if name in ids:
        document.add_mistake(
            element.sourceline, f"category {name!r}: the same id as in line {ids[name]}"
        )
    ids.setdefault(name, element.sourceline)


def _check_leaf(document: XmlDocument, element: etree._Element) -> None:
    values = _inherited_values(element)
    for key in ("super_category", "shape_weight", "colour_weight"):
        if key not in values:
            document.add_mistake(
                element.sourceline,
                f"leaf {element.get('id')!r}: no {key}, neither its own nor from a category it is in",
            )
    if values.get("shape_weight") is not None and int(values["shape_weight"]) == 0 == int(
        values.get("colour_weight", 1)
    ):
        document.add_mistake(
            element.sourceline,
            f"leaf {element.get('id')!r}: shape_weight and colour_weight are both 0, wanted one of them 1 to 10",
        )


def _inherited_values(element: etree._Element) -> dict[str, str]:
    """What the leaf says or its nearest category that says it."""
    return {
        key: str(e.get(key))
        for e in _lineage(element)
        for key in _INHERITED_ATTRIBUTES
        if e.get(key) is not None
    }


def _build_leaf(element: etree._Element) -> Leaf:
    values = _inherited_values(element)
    *around, names = map(_category_names, _lineage(element))
    return Leaf(
        id=str(element.get("id")),
        names=names,
        ancestor_names=tuple(around),
        super_category=SuperCategory(values["super_category"]),
        shape_weight=int(values["shape_weight"]),
        colour_weight=int(values["colour_weight"]),
        gender=Gender(values["gender"]) if "gender" in values else None,
        age_group=AgeGroup(values["age_group"]) if "age_group" in values else None,
    )


def _category_names(element: etree._Element) -> tuple[str, ...]:
    words = str(element.get("words") or "").split(",")
    return (
        str(element.get("en")).strip(),
        str(element.get("ru")).strip(),
        *(w.strip() for w in words if w.strip()),
    )
