"""The tables of a run as labelled photos: what a shop's feed says is a label.

A photo is an item that may stand for its product, one a picture. Its labels are the leaf, gender,
colour words, and a pattern named by the title. Products that share a picture are one product: shops
offer each size alone. The feed's `group_id` names the article.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wearalike.datasets.labelled_photos import COMPOUND_LABELS, LabelledDataset, LabelledPhoto
from wearalike.datasets.layouts import BadDataset
from wearalike.datasets.pattern_words import find_pattern
from wearalike.metrics.boxes import BOX_COLUMNS, item_scores
from wearalike.storage import content_cache, run_tables
from wearalike.tables import CODES, IMAGES, ITEMS, PRODUCTS

log = logging.getLogger(__name__)

# Names the last run.
LATEST_RUN = "latest"
_LABELS = ("type", "gender", "colour", "pattern")
# One article in ten is in the split test, one in val.
_SPLITS = ("test", "val", *("train",) * 8)
_PRODUCT_COLUMNS = [
    "product_id",
    "shop_id",
    "group_id",
    "title",
    "gender",
    "colours",
    "category",
    "super_category",
]

Row = Mapping[str, Any]


def read_run(root: Path, run: str) -> LabelledDataset:
    """Read the products of a run that have a picture with an item in it.

    The split follows from the article's name, so that no article is in two splits, and is in the
    same one every night.

    Args:
        root: The data folder.
        run: The run; its tables products, images and items must be finished. "latest" is the last
            such run, unless one has that name.

    Returns:
        A photo for each picture of each product; a picture of several products comes once.

    Raises:
        TableNotFound: A table is not finished.
        BadDataset: No product has a picture with an item in it.
    """
    finished = run_tables.list_runs(root, ITEMS)
    if run == LATEST_RUN and run not in finished and finished:
        run = finished[-1]
    products = run_tables.read_table(root, PRODUCTS, run, _PRODUCT_COLUMNS).to_pylist()
    images = run_tables.read_table(root, IMAGES, run, ["product_id", "position", "image_id"])
    items_by_image: dict[str, list[Row]] = {}
    for item in run_tables.read_table(root, ITEMS, run).to_pylist():
        items_by_image.setdefault(item["image_id"], []).append(item)
    views = _read_views(root, run)
    product_by_id = {product["product_id"]: product for product in products}
    placed = [row for row in images.to_pylist() if row["product_id"] in product_by_id]
    product_names = _merge_products(placed)
    articles = _name_articles(products, product_names)
    photos: dict[str, LabelledPhoto] = {}
    left_out = 0
    content_cache.fetch_images(root, [row["image_id"] for row in placed])
    for row in sorted(placed, key=lambda row: (row["image_id"], row["product_id"])):
        product = product_by_id[row["product_id"]]
        item = _best_item(items_by_image.get(row["image_id"], []), product["super_category"])
        path = content_cache.image_path(root, row["image_id"])
        if item is None or not path.is_file():
            left_out += 1
            continue
        name = product_names[row["product_id"]]
        x0, y0, x1, y1 = (item[column] for column in BOX_COLUMNS)
        article = articles[name]
        photo = LabelledPhoto(
            row["image_id"],
            path,
            choose_split(article),
            _labels_of(product),
            (x0, y0, x1, y1),
            article,
            name,
            views.get(item["item_id"]) or "",
        )
        photos.setdefault(photo.id, photo)
    log.info(
        "run %s: %d pictures of %d products; %d without an item or file left out",
        run,
        len(photos),
        len({photo.product for photo in photos.values()}),
        left_out,
    )
    if not photos:
        raise BadDataset(f"run {run} of {root}: no product has a picture with an item in it")
    names = [label for label in _LABELS if any(label in p.labels for p in photos.values())]
    compounds = [name for name, parts in COMPOUND_LABELS.items() if set(parts) <= set(names)]
    ordered = tuple(photo for _, photo in sorted(photos.items()))
    return LabelledDataset(run, ordered, (*names, *compounds))


def _read_views(root: Path, run: str) -> dict[str, str | None]:
    """Return the view of each item; empty if the run's items are not encoded yet."""
    if not run_tables.is_complete(root, CODES, run):
        return {}
    rows = run_tables.read_table(root, CODES, run, ["item_id", "view"]).to_pylist()
    return {row["item_id"]: row["view"] for row in rows}


def _merge_products(placed: Sequence[Row]) -> dict[str, str]:
    """Return one name for all products that share a picture: the first of their ids."""
    first: dict[str, str] = {}

    def find(product_id: str) -> str:
        while first.setdefault(product_id, product_id) != product_id:
            product_id = first[product_id]
        return product_id

    shown_in: dict[str, str] = {}
    for row in placed:
        one = find(row["product_id"])
        other = find(shown_in.setdefault(row["image_id"], one))
        first[max(one, other)] = min(one, other)
    return {product_id: find(product_id) for product_id in list(first)}


def _name_articles(products: Sequence[Row], product_names: Mapping[str, str]) -> dict[str, str]:
    """Return the article of each merged product: the shop's group, else the product itself."""
    articles: dict[str, str] = {}
    for product in sorted(products, key=lambda product: product["product_id"]):
        name = product_names.get(product["product_id"])
        if name is None:
            continue
        if product["group_id"]:
            articles.setdefault(name, f"{product['shop_id']}:{product['group_id']}")
    return {name: articles.get(name, name) for name in product_names.values()}


def _best_item(items: Sequence[Row], super_category: str) -> Row | None:
    """Return the item that may stand for a product of a super-category; None if none may."""
    fitting = [item for item in items if item["super_category"] == super_category]
    fitting = fitting or [item for item in items if item["super_category"] is None]
    if not fitting:
        return None
    scores = item_scores(fitting).tolist()
    return min(zip(scores, fitting, strict=True), key=lambda at: (-at[0], at[1]["item_id"]))[1]


def _labels_of(product: Row) -> dict[str, str]:
    """Return what the feed and the mapping say of a product."""
    words = sorted({colour.strip().casefold() for colour in product["colours"]} - {""})
    labels = {
        "type": product["category"],
        "gender": product["gender"],
        "colour": ", ".join(words),
        "pattern": find_pattern(product["title"]),
    }
    return {name: value for name, value in labels.items() if value}


def choose_split(article: str) -> str:
    """Return the split of an article, which depends on its name alone."""
    digest = hashlib.sha256(article.encode()).digest()
    return _SPLITS[int.from_bytes(digest[:4], "big") % len(_SPLITS)]
