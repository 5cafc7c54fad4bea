"""Our tree of categories, from taxonomy.xml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from wearalike.catalog.kinds import (
    DEFAULT_FAMILY_DISTANCE,
    CategoryKinds,
    Families,
    default_kind_weight,
    ordered_pair,
)
from wearalike.catalog.xml_validation import XmlDocument, did_you_mean, read_validated_xml
from wearalike.tables import AgeGroup, Gender, SuperCategory

# A leaf without one of these takes it from the nearest category around it.
_REQUIRED_ATTRIBUTES = ("super_category", "shape_weight", "colour_weight")
_INHERITED_ATTRIBUTES = (
    *_REQUIRED_ATTRIBUTES,
    "kind_weight",
    "kind",
    "family",
    "gender",
    "age_group",
)


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
        kind_weight: The weight of the kind, 0..10.
        kind: One word for the thing; leaves of one kind are no different in kind.
        gender: The gender it implies if the feed names none.
        age_group: The age group it implies if the feed names none.
    """

    id: str
    names: tuple[str, ...]
    ancestor_names: tuple[tuple[str, ...], ...]
    super_category: SuperCategory
    shape_weight: int
    colour_weight: int
    kind_weight: int
    kind: str
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
        kinds: How unlike the leaves are in kind.
        families: The leaves of each family of kinds, by its name.
    """

    path: Path
    sha256: str
    leaves: Mapping[str, Leaf]
    group_ids: frozenset[str]
    kinds: CategoryKinds
    families: Mapping[str, tuple[str, ...]]


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
    families = _read_families(document, leaf_elements)
    document.raise_mistakes()
    leaves = [_build_leaf(element) for element in leaf_elements]
    leaves_of_family: dict[str, list[str]] = {}
    for leaf in leaves:
        if family := families.family_of_kind.get(leaf.kind):
            leaves_of_family.setdefault(family, []).append(leaf.id)
    return Taxonomy(
        path=path,
        sha256=document.sha256,
        leaves={leaf.id: leaf for leaf in leaves},
        group_ids=frozenset(str(e.get("id")) for e in categories if len(e)),
        kinds=CategoryKinds.build({leaf.id: leaf.kind for leaf in leaves}, families),
        families={family: tuple(ids) for family, ids in leaves_of_family.items()},
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


def _read_families(document: XmlDocument, leaf_elements: list[etree._Element]) -> Families:
    """Return the families of the kinds; note a kind in two, and wrong pairs of distances."""
    first_leaf: dict[str, tuple[str | None, etree._Element]] = {}
    for element in leaf_elements:
        values = _inherited_values(element)
        kind, family = _kind_of_leaf(element, values), values.get("family")
        other, first = first_leaf.setdefault(kind, (family, element))
        if other != family:
            document.add_mistake(
                element.sourceline,
                f"leaf {element.get('id')!r}: kind {kind!r} in {_family_words(family)}, "
                f"but leaf {first.get('id')!r} in line {first.sourceline} has it in "
                f"{_family_words(other)}",
            )
    family_of_kind = {kind: family for kind, (family, _) in first_leaf.items() if family}
    valid = set(document.valid_elements)
    kinds = document.root.find("kinds")
    within = kinds.get("within_family") if kinds is not None and kinds in valid else None
    return Families(
        family_of_kind,
        DEFAULT_FAMILY_DISTANCE if within is None else int(within),
        _read_pairs(document, "family", set(family_of_kind.values())),
        _read_pairs(document, "kind", set(first_leaf)),
    )


def _family_words(family: str | None) -> str:
    """Return a family as a mistake names it."""
    return f"family {family!r}" if family else "no family"


def _read_pairs(document: XmlDocument, what: str, known: set[str]) -> dict[tuple[str, str], int]:
    """Return the distances of pairs of kinds or families; note unknown names and pairs twice.

    Args:
        document: The taxonomy.
        what: "kind" or "family".
        known: The names that leaves have.
    """
    distances: dict[tuple[str, str], int] = {}
    lines: dict[tuple[str, str], int | None] = {}
    for element in document.valid_elements:
        if element.tag != f"{what}_distance":
            continue
        a, b = str(element.get("a")), str(element.get("b"))
        for name in sorted({a, b} - known):
            document.add_mistake(
                element.sourceline, f"{what} {name!r}: no leaf has it{did_you_mean(name, known)}"
            )
        if a == b:
            wanted = "two kinds" if what == "kind" else "two families"
            document.add_mistake(element.sourceline, f"{what} {a!r} and itself, wanted {wanted}")
        pair = ordered_pair(a, b)
        if pair in lines:
            document.add_mistake(
                element.sourceline,
                f"{what} {a!r} and {b!r}: the same pair as in line {lines[pair]}",
            )
        lines.setdefault(pair, element.sourceline)
        distances[pair] = int(str(element.get("distance")))
    return distances


def _kind_of_leaf(element: etree._Element, values: Mapping[str, str]) -> str:
    """Return the kind of a leaf: its own or inherited one, else its id."""
    return values.get("kind", str(element.get("id")))


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
    shape_weight, colour_weight = int(values["shape_weight"]), int(values["colour_weight"])
    return Leaf(
        id=str(element.get("id")),
        names=names,
        ancestor_names=tuple(ancestor_names),
        super_category=SuperCategory(values["super_category"]),
        shape_weight=shape_weight,
        colour_weight=colour_weight,
        kind_weight=int(
            values.get("kind_weight", default_kind_weight(shape_weight, colour_weight))
        ),
        kind=_kind_of_leaf(element, values),
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
