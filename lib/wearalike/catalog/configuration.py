"""The taxonomy, the shops' mappings and the rules of a deployment, read and checked together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from wearalike.catalog.attributes import (
    AttributeTable,
    packaged_attribute_table,
    read_attribute_table,
)
from wearalike.catalog.colour_names import (
    ColourNames,
    packaged_colour_names,
    read_colour_names,
)
from wearalike.catalog.google_categories import (
    GoogleCategories,
    packaged_google_categories,
    read_google_categories,
)
from wearalike.catalog.list_variants import read_list_variants
from wearalike.catalog.mapping import ShopMapping, read_mapping
from wearalike.catalog.rules_file import read_rules
from wearalike.catalog.taxonomy import Taxonomy, read_taxonomy
from wearalike.catalog.xml_validation import BadMapping
from wearalike.settings import BadSettings, Settings


def mapping_path(settings: Settings, shop_id: str) -> Path:
    """Return the path of a shop's mapping file, which need not exist."""
    return settings.mappings / "shops" / f"{shop_id}.xml"


def read_attributes(settings: Settings) -> AttributeTable:
    """Return the words of attributes: of the deployment's attributes.xml, else wearalike's own.

    Raises:
        BadMapping: With every mistake of the file.
    """
    path = settings.mappings / "attributes.xml"
    return read_attribute_table(path) if path.is_file() else packaged_attribute_table()


def read_google_defaults(settings: Settings) -> GoogleCategories:
    """Return Google's categories: of the deployment's google_categories.xml, else wearalike's own.

    Raises:
        BadMapping: With every mistake of the file.
    """
    path = settings.mappings / "google_categories.xml"
    return read_google_categories(path) if path.is_file() else packaged_google_categories()


def read_colours(settings: Settings) -> ColourNames:
    """Return the colour names: of the deployment's colours.xml, else wearalike's own.

    Raises:
        BadMapping: With every mistake of the file.
    """
    path = settings.mappings / "colours.xml"
    return read_colour_names(path) if path.is_file() else packaged_colour_names()


def rules_path(settings: Settings) -> Path:
    """Return the path of the merchandiser's rules, which need not exist."""
    return settings.mappings / "rules.xml"


def missing_mapping_hint(settings: Settings, shop_id: str) -> str:
    """Return the file that a shop without a mapping needs, and how to begin it."""
    path = mapping_path(settings, shop_id)
    return f"{path}; `wearalike suggest-mapping {shop_id}` prints a draft"


def read_taxonomy_and_mappings(
    settings: Settings, shop_ids: Iterable[str]
) -> tuple[Taxonomy, dict[str, ShopMapping]]:
    """Read the taxonomy and the mappings of several shops.

    Args:
        settings: The settings; their `mappings` is the folder of the files.
        shop_ids: The shops.

    Returns:
        The taxonomy, and the mapping of each shop that has a file.

    Raises:
        BadMapping: With the mistakes of all files.
    """
    taxonomy = read_taxonomy(settings.mappings / "taxonomy.xml")
    mappings: dict[str, ShopMapping] = {}
    mistakes: list[str] = []
    for shop_id in sorted(shop_ids):
        path = mapping_path(settings, shop_id)
        if not path.is_file():
            continue
        try:
            mappings[shop_id] = read_mapping(path, taxonomy)
        except BadMapping as error:
            mistakes += error.mistakes
    if mistakes:
        raise BadMapping(mistakes)
    return taxonomy, mappings


def find_mistakes(
    settings: Settings, shop_ids: Iterable[str], google_shops: Collection[str] = ()
) -> list[str]:
    """Return every mistake in the taxonomy, the mappings of some shops, the rules and words.

    A missing mapping is a mistake, except where Google's categories stand in for it.

    Args:
        settings: The settings; their `mappings` is the folder of the files.
        shop_ids: The shops.
        google_shops: Shops whose feeds name Google's categories.
    """
    shop_ids = list(shop_ids)
    missing = [
        f"{shop}: no mapping, wanted {missing_mapping_hint(settings, shop)}"
        for shop in shop_ids
        if shop not in google_shops and not mapping_path(settings, shop).is_file()
    ]
    try:
        taxonomy, mappings = read_taxonomy_and_mappings(settings, shop_ids)
        missing += [
            f"{mapping_path(settings, shop)}: no active line, so no offer is mapped; uncomment the "
            f"right lines, or take the sure ones: wearalike suggest-mapping {shop} --accept 0.8"
            for shop, mapping in mappings.items()
            if not mapping.lines and shop not in google_shops
        ]
        read_rules(rules_path(settings), taxonomy)
        read_list_variants(settings, taxonomy)
        read_attributes(settings)
        read_google_defaults(settings)
        read_colours(settings)
    except BadMapping as error:
        return [*error.mistakes, *missing]
    except BadSettings as error:
        return [str(error), *missing]
    return missing
