"""Our tree of categories, from taxonomy.xml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from wearalike.catalog.xml_validation import XmlDocument, read_validated_xml
from wearalike.tables import AgeGroup, Gender, SuperCategory

# A leaf without one of these takes it from the nearest category around it.
_REQUIRED_ATTRIBUTES = ("super_category", "shape_weight", "colour_weight")
_INHERITED_ATTRIBUTES = (*_REQUIRED_ATTRIBUTES, "gender", "age_group")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of the taxonomy.

    Attributes:
        id: Its id, such as "women.dresses.mini".
        names: Its English name, its Russian name, then other words for it.
        ancestor_names: The same of each category around it, the root first.
        super_category: The part of the outfit it belongs to.
        shape_weight: The weight of the shape, 0..10; not both weights are 0.
        colour_weight: The weight of the colour, 0..10.
        gender: The gender it implies if the feed names none.
        age_group: The age group it implies if the feed names none.
    """

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
        """The English name."""
        return self.names[0]

    @property
    def ru(self) -> str:
        """The Russian name."""
        return self.names[1]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The tree of categories.

    Attributes:
        path: The file.
        sha256: The hash of the file.
        leaves: The leaves by id, in the order of the file.
        group_ids: The ids of the categories that hold others.
    """

    path: Path
    sha256: str
    leaves: Mapping[str, Leaf]
    group_ids: frozenset[str]


def read_taxonomy(path: Path) -> Taxonomy:
    """Read the taxonomy and check it against taxonomy.rng beside it.

    Args:
        path: The file.

    Returns:
        The taxonomy.

    Raises:
        BadMapping: With every mistake of the file.
    """
    document = read_validated_xml(path, path.with_suffix(".rng"))
    categories = [e for e in document.valid_elements if e.tag == "category"]
    lines_by_id: dict[str, int | None] = {}
    for element in categories:
        _check_id(document, element, lines_by_id)
    valid = set(categories)
    leaf_elements = [e for e in categories if not len(e) and valid.issuperset(_lineage(e))]
    for element in leaf_elements:
        _check_leaf(document, element)
    document.raise_mistakes()
    leaves = [_build_leaf(element) for element in leaf_elements]
    return Taxonomy(
        path=path,
        sha256=document.sha256,
        leaves={leaf.id: leaf for leaf in leaves},
        group_ids=frozenset(str(e.get("id")) for e in categories if len(e)),
    )


def _lineage(element: etree._Element) -> list[etree._Element]:
    """Return the categories from the root down to this one."""
    return [*reversed(list(element.iterancestors("category"))), element]


def _check_id(
    document: XmlDocument, element: etree._Element, lines_by_id: dict[str, int | None]
) -> None:
    """Note an id that does not extend its parent's, or that another category has."""
    name = str(element.get("id"))
    prefix, _, last_part = name.rpartition(".")
    parent = element.getparent()
    parent_id = parent.get("id") if parent is not None and parent.tag == "category" else ""
    # A parent without an id is a mistake of its own.
    if parent_id is not None and prefix != parent_id:
        wanted = "a single word, outside any other"
        if parent_id:
            wanted = f"{parent_id}.{last_part}, inside {parent_id}"
        document.add_mistake(element.sourceline, f"category {name!r}: wanted {wanted}")
    if name in lines_by_id:
        document.add_mistake(
            element.sourceline, f"category {name!r}: the same id as in line {lines_by_id[name]}"
        )
    lines_by_id.setdefault(name, element.sourceline)


def _check_leaf(document: XmlDocument, element: etree._Element) -> None:
    """Note a leaf without a required attribute, or with two weights of 0."""
    name = element.get("id")
    values = _inherited_values(element)
    for key in _REQUIRED_ATTRIBUTES:
        if key not in values:
            document.add_mistake(
                element.sourceline,
                f"leaf {name!r}: no {key}, neither its own nor from a category it is in",
            )
    shape_weight = int(values.get("shape_weight", 1))
    colour_weight = int(values.get("colour_weight", 1))
    if shape_weight == 0 and colour_weight == 0:
        document.add_mistake(
            element.sourceline,
            f"leaf {name!r}: shape_weight and colour_weight are both 0, wanted one of them 1 to 10",
        )


def _inherited_values(element: etree._Element) -> dict[str, str]:
    """Return the attributes of a leaf, its own or from the nearest category around it."""
    return {
        key: str(category.get(key))
        for category in _lineage(element)
        for key in _INHERITED_ATTRIBUTES
        if category.get(key) is not None
    }


def _build_leaf(element: etree._Element) -> Leaf:
    """Return the leaf of a category element without children."""
    values = _inherited_values(element)
    *ancestor_names, names = map(_category_names, _lineage(element))
    return Leaf(
        id=str(element.get("id")),
        names=names,
        ancestor_names=tuple(ancestor_names),
        super_category=SuperCategory(values["super_category"]),
        shape_weight=int(values["shape_weight"]),
        colour_weight=int(values["colour_weight"]),
        gender=Gender(values["gender"]) if "gender" in values else None,
        age_group=AgeGroup(values["age_group"]) if "age_group" in values else None,
    )


def _category_names(element: etree._Element) -> tuple[str, ...]:
    """Return the names of a category: English, Russian, other words."""
    words = str(element.get("words") or "").split(",")
    return (
        str(element.get("en")).strip(),
        str(element.get("ru")).strip(),
        *(word.strip() for word in words if word.strip()),
    )
