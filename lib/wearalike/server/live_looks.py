"""Look of one product, searched now: as the run completed it, among those that filters leave.

Each super-category keeps the source that the run found for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike import search
from wearalike.catalog.product_conditions import CONDITION_COLUMNS, ProductConditions
from wearalike.detection.looks import explode_looks
from wearalike.search.condition_masks import match_conditions
from wearalike.search.feed_looks import FEED_LOOK_COLUMNS, build_feed_looks
from wearalike.search.look_search import search_worn_items
from wearalike.search.product_attributes import build_attributes
from wearalike.search.ranked_lists import ListRules
from wearalike.server.loaded_run import LoadedRun
from wearalike.storage import run_tables
from wearalike.storage.string_arrays import Texts
from wearalike.tables import LOOK_PRODUCTS, LOOKS, PRODUCTS, LookSource

_COLUMNS = list(dict.fromkeys([*FEED_LOOK_COLUMNS, *CONDITION_COLUMNS]))
_PRODUCTS_SCHEMA = pa.schema([PRODUCTS.arrow_schema.field(name) for name in _COLUMNS])


def search_look(
    run: LoadedRun,
    root: Path,
    product: dict[str, Any],
    published: Sequence[dict[str, Any]],
    filters: ProductConditions,
) -> list[dict[str, Any]]:
    """Search the look of a product.

    Args:
        run: The published run.
        root: The data folder.
        product: Its row of tables.PRODUCTS.
        published: Its rows of tables.LOOK_PRODUCTS.
        filters: Conditions on the results; they act before the cut to k.

    Returns:
        Rows of tables.LOOK_PRODUCTS by super-category and rank.

    Raises:
        RunNotSearchable: The data folder does not hold the published tables.
        BadIndex: An index file is corrupt.
    """
    manifest = run_tables.read_manifest(root, LOOK_PRODUCTS, run.run)
    parameters = manifest["parameters"]
    rules = ListRules(parameters["k"], parameters["min_score"], max_per_brand=parameters["k"])
    firsts = {row["super_category"]: row for row in published}
    page = pa.Table.from_pylist([product], _PRODUCTS_SCHEMA)
    versions = (manifest.get("detector", ""), manifest.get("encoder", ""))
    parts = []
    for super_category, row in firsts.items():
        if row["source"] == LookSource.FEED:
            continue
        items = _read_item(root, run.run, super_category, row["worn_with_product_id"])
        held = run.load_gallery(super_category)
        if held is None or not len(items):
            continue
        gallery = held.gallery
        is_shown = search.eligible_candidates(gallery, product["age_group"], product["gender"])
        candidate_rows = np.flatnonzero(is_shown)
        is_wanted = match_conditions(filters, gallery.attributes)
        wanted_rows = candidate_rows[is_wanted[candidate_rows]]
        if not len(wanted_rows):
            continue
        items = items.set_column(0, "product_id", pa.array([product["product_id"]]))
        # The category that gives the weights is voted on without filters, as in the run.
        lists, weight_rows = search_worn_items(
            gallery,
            candidate_rows,
            items,
            page,
            rules,
            run.merchandising_rules,
            wanted_rows=wanted_rows,
        )
        source = LookSource(row["source"])
        parts.append(
            search.build_look_products(gallery, items, lists, weight_rows, source, *versions)
        )
    if any(row["source"] == LookSource.FEED for row in published):
        worn = [row for row in firsts.values() if row["source"] != LookSource.FEED]
        parts.append(_name_feed_products(root, run, page, worn, filters, parameters["k"]))
    rows = pa.concat_tables([LOOK_PRODUCTS.arrow_schema.empty_table(), *parts])
    by_key = rows.sort_by([(name, "ascending") for name in LOOK_PRODUCTS.key])
    found: list[dict[str, Any]] = by_key.to_pylist()
    return found


def _read_item(root: Path, run: str, super_category: str, worn_with: str) -> pa.Table:
    """Return the item of a super-category that is worn with a product, a row or none."""
    look = run_tables.open_dataset(root, LOOKS, run).to_table(
        filter=pc.field("product_id") == worn_with
    )
    items = explode_looks(look)
    items = items.filter(pc.equal(items["super_category"], super_category))
    return items.append_column("worn_with_product_id", items["product_id"])


def _name_feed_products(
    root: Path,
    run: LoadedRun,
    page: pa.Table,
    worn: Sequence[dict[str, Any]],
    filters: ProductConditions,
    k: int,
) -> pa.Table:
    """Return the rows that the feed names, of the products that filters leave."""
    product = page.to_pylist()[0]
    named = [f"{product['shop_id']}:{offer_id}" for offer_id in product["related_offer_ids"]]
    products = run_tables.open_dataset(root, PRODUCTS, run.run).to_table(
        columns=_COLUMNS,
        filter=pc.field("product_id").isin(pa.array([*named, product["product_id"]], pa.string())),
    )
    attributes = build_attributes(
        lambda name: products[name], Texts(products["product_id"]), CONDITION_COLUMNS
    )
    is_page = pc.equal(products["product_id"], product["product_id"]).to_numpy()
    products = products.filter(pa.array(match_conditions(filters, attributes) | is_page))
    # Only the links of this page are asked for.
    is_page = pc.equal(products["product_id"], product["product_id"])
    links = products["related_offer_ids"]
    links = pc.if_else(is_page, links, pa.scalar([], links.type))
    at = products.schema.get_field_index("related_offer_ids")
    products = products.set_column(at, "related_offer_ids", links)
    places = pa.table(
        {
            "product_id": pa.array([product["product_id"]] * len(worn), pa.string()),
            "super_category": pa.array([row["super_category"] for row in worn], pa.string()),
        }
    )
    rows, _ = build_feed_looks(products, places, run.merchandising_rules, k)
    return rows
