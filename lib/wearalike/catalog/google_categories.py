"""Google's product taxonomy for apparel, mapped to our leaves: the default of every shop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lxml import etree

from wearalike.catalog.attributes import AttributeTable, packaged_attribute_table
from wearalike.catalog.mapping import path_key
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.xml_validation import read_validated_xml
from wearalike.tables import AgeGroup, Gender

_AUDIENCES = ("women", "men", "kids", "newborn", "all")
_BABY_AGES = (AgeGroup.NEWBORN, AgeGroup.INFANT)
_CHILD_AGES = (AgeGroup.TODDLER, AgeGroup.KIDS)
# Words that name wearers by themselves, but not in a category: "Slip-On", "All Shoes".
_SHORT_WORDS = re.compile(r"\b(?:\w{1,2}|all|alle|uni|her|sie|ihr|ona)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GoogleCategory:
    """A category of Google's.

    Attributes:
        id: Its number.
        path: Its path in English.
        leaf_ids: Our leaf for each audience: women, men, kids, newborn, all.
    """

    id: str
    path: str
    leaf_ids: Mapping[str, str]


@dataclass(frozen=True)
class GoogleCategories:
    """The categories of Google's that we have leaves for.

    Attributes:
        sha256: The hash of the file.
        by_id: The categories by number.
        by_path: The categories by path, as `path_key` writes it.
    """

    sha256: str
    by_id: Mapping[str, GoogleCategory]
    by_path: Mapping[str, GoogleCategory]

    def find(self, text: str | None) -> GoogleCategory | None:
        """Return the category that a feed names, or the nearest one around it.

        Args:
            text: google_product_category: a number, a path, or "number - path".
        """
        number, _, rest = (text or "").strip().partition(" - ")
        if number.isdigit():
            found = self.by_id.get(number)
            if found or not rest:
                return found
        else:
            rest = text or ""
        parts = path_key(rest).split(" > ")
        for length in range(len(parts), 0, -1):
            found = self.by_path.get(" > ".join(parts[:length]))
            if found:
                return found
        return None

    def find_leaf(
        self, category: GoogleCategory, gender: str | None, age_group: str | None
    ) -> tuple[str | None, bool]:
        """Return our leaf for a category and an audience.

        Args:
            category: The category.
            gender: The gender of the offer, if it is known.
            age_group: The age group of the offer, if it is known.

        Returns:
            (leaf, is_certain): the leaf, or None if the category is not of this audience; False
            where leaves of both genders fit and nothing tells which.
        """
        leaf_ids = category.leaf_ids
        if age_group in _BABY_AGES:
            order: tuple[str, ...] = ("newborn", "kids", "all")
        elif age_group in _CHILD_AGES:
            order = ("kids", "newborn", "all")
        elif gender == Gender.MALE:
            order = ("men", "all")
        elif gender == Gender.FEMALE:
            order = ("women", "all")
        else:
            order = ("women", "men", "all")
        if age_group is None:
            order = (*order, "kids", "newborn")
        found = next((leaf_ids[audience] for audience in order if audience in leaf_ids), None)
        is_open = gender not in (Gender.MALE, Gender.FEMALE) and order[0] == "women"
        return found, not (is_open and "women" in leaf_ids and "men" in leaf_ids)


def read_google_categories(path: Path) -> GoogleCategories:
    """Read the categories and check them against google_categories.rng beside the file.

    Args:
        path: The file.

    Raises:
        BadMapping: With every mistake of the file.
    """
    document = read_validated_xml(path, path.with_suffix(".rng"))
    by_id: dict[str, GoogleCategory] = {}
    by_path: dict[str, GoogleCategory] = {}
    for element in document.valid_elements:
        if element is document.root:
            continue
        category = _build_category(element)
        key = path_key(category.path)
        if category.id in by_id or key in by_path:
            document.add_mistake(element.sourceline, f"{category.path!r}: given twice")
        by_id[category.id] = by_path[key] = category
    document.raise_mistakes()
    return GoogleCategories(document.sha256, by_id, by_path)


def _build_category(element: etree._Element) -> GoogleCategory:
    """Return the category of an element."""
    leaf_ids = {name: str(element.get(name)) for name in _AUDIENCES if element.get(name)}
    return GoogleCategory(str(element.get("id")), str(element.get("path")), leaf_ids)


@cache
def packaged_google_categories() -> GoogleCategories:
    """Return the categories that come with wearalike."""
    return read_google_categories(packaged_mapping_path("google_categories.xml"))


def guess_audience(
    paths: list[str],
    gender: str | None,
    age_group: str | None,
    attributes: AttributeTable | None = None,
) -> tuple[str | None, str | None]:
    """Return the gender and age group of an offer, by its category words where it names none.

    Args:
        paths: The shop's own category paths, such as "Women > Dresses".
        gender: The gender that the feed names, if any.
        age_group: The age group that the feed names, if any.
        attributes: The words; default: those that come with wearalike.
    """
    table = attributes or packaged_attribute_table()
    text = _SHORT_WORDS.sub(" ", " / ".join(paths))
    if gender is None:
        genders = table.values_within("gender", text)
        gender = genders[0] if len(genders) == 1 else None
    if age_group is None:
        ages = table.values_within("age_group", text)
        age_group = min(ages, key=list(AgeGroup).index, default=None)  # type: ignore[arg-type]
    return gender, age_group
