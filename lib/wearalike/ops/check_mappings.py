"""Find every mistake in a deployment's mappings, as its doctor and `check-mapping` say them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from wearalike import catalog
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import OFFERS


def find_mapping_mistakes(settings: Settings, shop_ids: Iterable[str]) -> list[str]:
    """Return every mistake in the taxonomy, the mappings of some shops, the rules and words.

    A shop needs no mapping if its offers in the newest run name categories of Google's.

    Args:
        settings: The settings.
        shop_ids: The shops.
    """
    shop_ids = list(shop_ids)
    return catalog.find_mistakes(settings, shop_ids, _find_google_shops(settings, shop_ids))


def _find_google_shops(settings: Settings, shop_ids: list[str]) -> set[str]:
    """Return the shops whose offers in the newest run name categories that have leaves of ours."""
    runs = run_tables.list_runs(settings.data_dir, OFFERS)
    if not runs:
        return set()
    try:
        google = catalog.read_google_defaults(settings)
    except catalog.BadMapping:
        return set()  # find_mistakes names what is wrong with the file
    offers = run_tables.open_dataset(settings.data_dir, OFFERS, runs[-1])
    is_named = pc.field("shop_id").isin(shop_ids) & pc.field("google_category").is_valid()
    named = offers.to_table(["shop_id", "google_category"], filter=is_named)
    pairs = named.group_by(["shop_id", "google_category"]).aggregate([]).to_pylist()
    return {pair["shop_id"] for pair in pairs if google.find(pair["google_category"])}
