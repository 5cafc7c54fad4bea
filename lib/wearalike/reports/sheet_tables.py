"""Rows of a contact sheet: products with their recommendations, looks and thumbnails."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from wearalike.imaging import decode
from wearalike.search import ShortfallReason
from wearalike.storage import content_cache, run_tables
from wearalike.tables import (
    IMAGES,
    ITEMS,
    LOOK_PRODUCTS,
    LOOKS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    LookSource,
    Table,
)

# Longer side of a thumbnail, in pixels.
THUMBNAIL_PX = 160
# Reasons for a short list, as the end of "the list is short because …".
SHORTFALL_TEXTS = {
    ShortfallReason.NO_CODE: "the product could not be compared",
    ShortfallReason.FEW_CANDIDATES: "too few other products for the same people are in stock",
    ShortfallReason.RULES: "rules, or the limits on models and brands, left out the rest",
    ShortfallReason.MIN_SCORE: "the rest is not similar enough",
}
# The words beside the first picture of a look.
LOOK_SOURCE_TEXTS = {
    LookSource.WORN: "worn with it",
    LookSource.FEED: "shown beside it by its shop",
    LookSource.ALIKE: "worn with a product most alike it",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small copy of an image, with the box of its item.

    Attributes:
        uri: The copy as a data: URI, image/jpeg.
        width_px: Width of the stored image.
        height_px: Height of the stored image.
        box: x, y, width, height of the item in pixels of the stored image; None if the item is
            the whole image.
    """

    uri: str
    width_px: int
    height_px: int
    box: tuple[int, int, int, int] | None


def recommendation_refusals(root: Path, run: str) -> pa.Table:
    """Return the rows of tables.REFUSED on the way to recommendations.

    Refusals of looks are left out: most products have no look, and nothing is wrong with them.
    """
    refused = run_tables.read_refused(root, run)
    of_looks = pc.is_in(refused["stage"], pa.array([LOOKS.name, LOOK_PRODUCTS.name]))
    return refused.filter(pc.invert(of_looks))


class SheetTables:
    """Read some products of a run with their recommendations.

    Args:
        root: The data folder.
        run: The run.
        product_ids: The products.
        matches: Most recommendations of a product.
        thumbnail_px: Longer side of a thumbnail.
        needs_pictures: Raise OSError for an image that is not stored, instead of showing none.

    Attributes:
        recommendations: Rows of tables.SIMILAR_PRODUCTS by product_id, by rank.
        looks: Rows of tables.LOOK_PRODUCTS by product_id, by super-category and rank.
        products: Rows of tables.PRODUCTS by product_id, of the products and of all recommended.

    Raises:
        TableNotFound: The run has no recommendations.
    """

    def __init__(
        self,
        root: Path,
        run: str,
        product_ids: list[str],
        matches: int,
        thumbnail_px: int = THUMBNAIL_PX,
        needs_pictures: bool = True,
    ) -> None:
        self.root = root
        self.run = run
        self.product_ids = product_ids
        self.thumbnail_px = thumbnail_px
        self.needs_pictures = needs_pictures
        self.recommendations: dict[str, list[Row]] = {product_id: [] for product_id in product_ids}
        wanted = pc.field("product_id").isin(pa.array(product_ids, pa.string())) & (
            pc.field("rank") <= matches
        )
        similar = run_tables.open_dataset(root, SIMILAR_PRODUCTS, run).to_table(filter=wanted)
        by_rank = similar.sort_by([("product_id", "ascending"), ("rank", "ascending")])
        for row in by_rank.to_pylist():
            self.recommendations[row["product_id"]].append(row)
        self.looks = self._read_looks(matches)
        worn = (look["look_product_id"] for rows in self.looks.values() for look in rows)
        all_ids = {*product_ids, *similar["similar_product_id"].to_pylist(), *worn}
        self.products = self._read_rows(PRODUCTS, "product_id", all_ids)

    def product_row(self, product_id: str) -> Row:
        """Return a product with its recommendations, as the page shows it.

        Args:
            product_id: One of the sheet's products.

        Returns:
            The row of tables.PRODUCTS with picture (Thumbnail), count, why_short, refused,
            matches (product and similarity of each) and looks.

        Raises:
            OSError: An image is not stored, and needs_pictures is true.
        """
        similar_list = self._lists[product_id]
        reason = similar_list["shortfall_reason"]
        return {
            **self.products[product_id],
            "picture": self._product_thumbnail(similar_list["item_id"], product_id),
            "count": similar_list["similar_count"],
            "why_short": reason and SHORTFALL_TEXTS[ShortfallReason(reason)],
            "refused": self._refusals.get(product_id),
            "matches": [
                {
                    **self.products[m["similar_product_id"]],
                    **m,
                    "picture": self._product_thumbnail(
                        m["similar_item_id"], m["similar_product_id"]
                    ),
                }
                for m in self.recommendations[product_id]
            ],
            "looks": [
                self._look_row(list(rows))
                for _, rows in groupby(self.looks[product_id], key=itemgetter("super_category"))
            ],
        }

    def _read_looks(self, matches: int) -> Mapping[str, list[Row]]:
        """Return rows of look_products by product_id; none for a run from before looks."""
        looks: dict[str, list[Row]] = defaultdict(list)
        if run_tables.is_complete(self.root, LOOK_PRODUCTS, self.run):
            wanted = pc.field("product_id").isin(pa.array(self.product_ids, pa.string())) & (
                pc.field("rank") <= matches
            )
            dataset = run_tables.open_dataset(self.root, LOOK_PRODUCTS, self.run)
            by_key = [(name, "ascending") for name in LOOK_PRODUCTS.key]
            for row in dataset.to_table(filter=wanted).sort_by(by_key).to_pylist():
                looks[row["product_id"]].append(row)
        return looks

    def _look_row(self, rows: list[Row]) -> Row:
        """Return what goes with a product: the item worn, if any, and the products recommended."""
        worn = rows[0]
        products = []
        for row in rows:
            look_product_id = row["look_product_id"]
            thumbnail = self._product_thumbnail(row["look_item_id"], look_product_id)
            products.append({**self.products[look_product_id], **row, "picture": thumbnail})
        picture = None
        if worn["image_id"]:
            picture = self._make_thumbnail(self._images[worn["image_id"]], worn)
        return {
            "super_category": worn["super_category"],
            "source": worn["source"],
            "worn": {"picture": picture, "title": LOOK_SOURCE_TEXTS[worn["source"]]},
            "products": products,
        }

    @cached_property
    def _lists(self) -> Mapping[str, Row]:
        return self._read_rows(SIMILAR_LISTS, "product_id", self.product_ids)

    @cached_property
    def _items(self) -> Mapping[str, Row]:
        compared = {m["similar_item_id"] for rows in self.recommendations.values() for m in rows}
        compared |= {look["look_item_id"] for rows in self.looks.values() for look in rows}
        compared |= {row["item_id"] for row in self._lists.values()}
        return self._read_rows(ITEMS, "item_id", compared - {None})

    @cached_property
    def _main_images(self) -> Mapping[str, Row]:
        """First downloaded image of each product, by product_id."""
        return self._read_rows(IMAGES, "product_id", self.products, order="position")

    @cached_property
    def _images(self) -> Mapping[str, Row]:
        image_ids = {
            look["image_id"] for rows in self.looks.values() for look in rows if look["image_id"]
        }
        image_ids |= {item["image_id"] for item in self._items.values()}
        return self._read_rows(IMAGES, "image_id", image_ids)

    @cached_property
    def _refusals(self) -> Mapping[str, str]:
        """Reason why a product could not be compared, by product_id."""
        refused = recommendation_refusals(self.root, self.run)
        of_products = refused.filter(pc.equal(refused["kind"], "product"))
        return dict(
            zip(of_products["key"].to_pylist(), of_products["reason"].to_pylist(), strict=True)
        )

    def _read_rows(
        self, table: Table, key: str, keys: Collection[str], order: str | None = None
    ) -> dict[str, Row]:
        """Read rows by key; of several with the same key, the first in order."""
        rows = run_tables.open_dataset(self.root, table, self.run).to_table(
            filter=pc.field(key).isin(pa.array(sorted(keys), pa.string()))
        )
        rows = rows.sort_by([(order, "descending")]) if order else rows
        return {row[key]: row for row in rows.to_pylist()}

    def _product_thumbnail(self, item_id: str | None, product_id: str) -> Thumbnail | None:
        """Return the image compared with its item's box, else the main image, else None."""
        item = self._items[item_id] if item_id else None
        image = self._images[item["image_id"]] if item else self._main_images.get(product_id)
        return self._make_thumbnail(image, item) if image else None

    def _make_thumbnail(self, image: Row, item: Row | None) -> Thumbnail | None:
        """Return the thumbnail of an image; None if it is not stored and need not be."""
        content_cache.fetch_images(self.root, [image["image_id"]])
        path = content_cache.image_path(self.root, image["image_id"])
        if not self.needs_pictures and not path.exists():
            return None
        width_px, height_px = image["width_px"], image["height_px"]
        box = None
        if item:
            box = (item["x0"], item["y0"], item["x1"] - item["x0"], item["y1"] - item["y0"])
        if box == (0, 0, width_px, height_px):
            box = None
        return Thumbnail(self._data_uri(image["image_id"]), width_px, height_px, box)

    def _data_uri(self, image_id: str) -> str:
        """Return a small copy of an image as a data: URI; each image is decoded once."""
        if image_id not in self._data_uris:
            content = content_cache.image_path(self.root, image_id).read_bytes()
            jpeg = io.BytesIO()
            rgb = decode.decode_image(content, self.thumbnail_px)
            Image.fromarray(rgb).save(jpeg, "JPEG", quality=75)
            encoded = base64.b64encode(jpeg.getvalue()).decode()
            self._data_uris[image_id] = f"data:image/jpeg;base64,{encoded}"
        return self._data_uris[image_id]

    @cached_property
    def _data_uris(self) -> dict[str, str]:
        return {}
