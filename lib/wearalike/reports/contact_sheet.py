"""What a run recommends, to look at: a page of pictures that opens from disk, and a few lines for the terminal.

The page is one file: pictures are inside it, nothing is fetched from anywhere, no script runs, and every word of a feed is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import textwrap
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from wearalike.imaging import decode
from wearalike.search import ShortfallReason
from wearalike.storage import run_tables
from wearalike.tables import (
    IMAGES,
    ITEMS,
    LOOK_PRODUCTS,
    LOOKS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    SuperCategory,
    Table,
)

THUMBNAIL_PX = 160
SHORTFALL_TEXTS = {
    ShortfallReason.NO_CODE: "it could not be compared",
    ShortfallReason.FEW_CANDIDATES: "there are too few others in stock for the same people",
    ShortfallReason.RULES: "the rules on models and brands left no more",
    ShortfallReason.MIN_SCORE: "the rest is not alike enough",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """uri: data:image/jpeg. box: x, y, width, height of the item in the stored picture's pixels; None where it is the whole picture."""

    uri: str
    width_px: int
    height_px: int
    box: tuple[int, int, int, int] | None


def render_contact_sheet(
    root: Path, run: str, *, per_category: int = 2, rows: int = 60, matches: int = 10
) -> str:
    """The page, HTML: some products of each category, at most `rows`, each with its first `matches` recommendations.

    The same tables give the same page. Raises run_tables.TableNotFound where the run has no recommendations, OSError for a picture that is not kept.
    """
    groups = select_recommendations(
        root, run, per_category=per_category, rows=rows, matches=matches
    )
    shown_count = sum(
        len(products) for categories in groups.values() for products in categories.values()
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wearalike.server"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("contact_sheet.html")
    return template.render(
        run=run, groups=groups, shown_count=shown_count, **_count_totals(root, run)
    )


def select_recommendations(
    root: Path,
    run: str,
    *,
    per_category: int,
    rows: int,
    matches: int,
    thumbnail_px: int = THUMBNAIL_PX,
    needs_pictures: bool = True,
) -> dict[str, dict[str, list[Row]]]:
    """What the page shows: by super-category and category some products, each as _SheetTables.product_row says, at most `rows` in all.

    needs_pictures: raise OSError for a picture that is not kept; else the product has none. Raises run_tables.TableNotFound.
    """
    shown = _SheetTables(
        root,
        run,
        _sample_products(root, run, per_category, rows),
        matches,
        thumbnail_px,
        needs_pictures,
    )
    by_super: dict[str, dict[str, list[Row]]] = {name: defaultdict(list) for name in SuperCategory}
    for product_id in shown.product_ids:
        product = shown.products[product_id]
        by_super[product["super_category"]][product["category"]].append(
            shown.product_row(product_id)
        )
    return {name: group for name, group in by_super.items() if group}


def format_recommendations(
    root: Path, run: str, count: int = 5, matches: int = 4, width: int = 110
) -> str:
    """A few products with their first recommendations, for a terminal. width: at most so many characters a line.

    Raises run_tables.TableNotFound where the run has no recommendations.
    """
    shown = _SheetTables(
        root, run, _sample_products(root, run, 1, count, ShortfallReason.NO_CODE), matches
    )
    lines: list[str] = []
    for product_id in shown.product_ids:
        product = shown.products[product_id]
        head = f"{product['category']}  {product_id}  {product['title']}"
        lines += ["", textwrap.shorten(head, width, placeholder=" …"), "    score  shape  colour"]
        for found in shown.recommendations[product_id]:
            other = found["similar_product_id"]
            scores = f"    {found['score']:5.2f}  {found['shape_score']:5.2f}  {found['colour_score']:6.2f}  "
            lines.append(
                scores
                + textwrap.shorten(
                    f"{other}  {shown.products[other]['title']}",
                    width - len(scores),
                    placeholder=" …",
                )
            )
        if not shown.recommendations[product_id]:
            lines.append("    none")
    return "\n".join(lines[1:]) + "\n"


def _sample_products(
    root: Path,
    run: str,
    per_category: int,
    rows: int,
    excluded_reason: ShortfallReason | None = None,
) -> list[str]:
    """At most `rows` product_ids, `per_category` of each category, spread over super-categories and, in each, over categories.

    A hash of the id decides which of a category. but: products with lists that are short for this reason are left out.
    Ordered by super-category, category, product_id.
    """
    lists = run_tables.read_table(root, SIMILAR_LISTS, run, ["product_id", "shortfall_reason"])
    left_out = (
        set()
        if excluded_reason is None
        else set(
            lists.filter(pc.equal(lists["shortfall_reason"], excluded_reason))[
                "product_id"
            ].to_pylist()
        )
    )
    by_category: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in run_tables.read_table(
        root, PRODUCTS, run, ["product_id", "super_category", "category"]
    ).to_pylist():
        if row["product_id"] not in left_out:
            by_category[row["super_category"], row["category"]].append(row["product_id"])
    seen: Counter[str] = Counter()
    turns: list[tuple[int, int, int, str, str]] = []
    order = list(SuperCategory)
    for (super_category, category), product_ids in sorted(
        by_category.items(), key=lambda entry: (-len(entry[1]), entry[0])
    ):
        for turn, product_id in enumerate(sorted(product_ids, key=_shuffle_key)[:per_category]):
            turns.append(
                (
                    turn,
                    seen[super_category],
                    order.index(SuperCategory(super_category)),
                    category,
                    product_id,
                )
            )
        seen[super_category] += 1
    return [turn[-1] for turn in sorted(sorted(turns)[:rows], key=lambda turn: turn[2:])]


def _shuffle_key(product_id: str) -> bytes:
    return hashlib.blake2b(product_id.encode(), digest_size=8).digest()


def _count_totals(root: Path, run: str) -> Row:
    lists = run_tables.read_table(root, SIMILAR_LISTS, run, ["shortfall_reason"])
    first = (
        run_tables.open_dataset(root, SIMILAR_PRODUCTS, run)
        .head(1, columns=["detector", "encoder"])
        .to_pylist()
    )
    refused = _recommendation_refusals(root, run)
    looks = (
        [run_tables.read_table(root, LOOK_PRODUCTS, run, ["product_id"])["product_id"]]
        if run_tables.is_complete(root, LOOK_PRODUCTS, run)
        else []
    )
    reasons = Counter(
        zip(*(refused[name].to_pylist() for name in ("stage", "kind", "reason")), strict=True)
    )
    return {
        "products_count": lists.num_rows,
        "recommendations_count": run_tables.read_manifest(root, SIMILAR_PRODUCTS, run)["rows"][
            "written"
        ],
        "short": [
            (SHORTFALL_TEXTS[ShortfallReason(reason)], n)
            for reason, n in _count_values(lists["shortfall_reason"].drop_null().to_pylist())
        ],
        "refused": [(*key, n) for key, n in reasons.items()],
        "refused_count": refused.num_rows,
        "looks_count": sum(len(pc.unique(ids)) for ids in looks),
        "models": first[0] if first else None,
    }


def _recommendation_refusals(root: Path, run: str) -> pa.Table:
    """What was refused on the way to the recommendations (tables.REFUSED): that most products have no look is no fault of theirs."""
    refused = run_tables.read_refused(root, run)
    return refused.filter(
        pc.invert(pc.is_in(refused["stage"], pa.array([LOOKS.name, LOOK_PRODUCTS.name])))
    )


def _count_values(values: list[str]) -> list[tuple[str, int]]:
    return sorted(Counter(values).items(), key=lambda entry: (-entry[1], entry[0]))


class _SheetTables:
    """What the tables say of the chosen products and of what is recommended beside them."""

    def __init__(
        self,
        root: Path,
        run: str,
        product_ids: list[str],
        matches: int,
        thumbnail_px: int = THUMBNAIL_PX,
        needs_pictures: bool = True,
    ) -> None:
        self.root, self.run, self.product_ids = root, run, product_ids
        self.thumbnail_px, self.needs_pictures = thumbnail_px, needs_pictures
        self.recommendations: dict[str, list[Row]] = {product_id: [] for product_id in product_ids}
        wanted = pc.field("product_id").isin(product_ids) & (pc.field("rank") <= matches)
        found = run_tables.open_dataset(root, SIMILAR_PRODUCTS, run).to_table(filter=wanted)
        for row in found.sort_by([("product_id", "ascending"), ("rank", "ascending")]).to_pylist():
            self.recommendations[row["product_id"]].append(row)
        self.looks = self._read_looks(matches)
        worn = (look["look_product_id"] for rows in self.looks.values() for look in rows)
        both = {*product_ids, *found["similar_product_id"].to_pylist(), *worn}
        self.products = self._read_rows(PRODUCTS, "product_id", both)

    def product_row(self, product_id: str) -> Row:
        """All that the page shows of a product and its recommendations."""
        about = self._lists[product_id]
        reason = about["shortfall_reason"]
        return {
            **self.products[product_id],
            "picture": self._product_thumbnail(about["item_id"], product_id),
            "count": about["similar_count"],
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
        """Rows of look_products by product_id, by super-category and rank; none for a run of an earlier version."""
        looks: dict[str, list[Row]] = defaultdict(list)
        if run_tables.is_complete(self.root, LOOK_PRODUCTS, self.run):
            wanted = pc.field("product_id").isin(self.product_ids) & (pc.field("rank") <= matches)
            found = run_tables.open_dataset(self.root, LOOK_PRODUCTS, self.run).to_table(
                filter=wanted
            )
            for row in found.sort_by(
                [(name, "ascending") for name in LOOK_PRODUCTS.key]
            ).to_pylist():
                looks[row["product_id"]].append(row)
        return looks

    def _look_row(self, rows: list[Row]) -> Row:
        """What is worn with a product, and the products found for it."""
        worn, found = rows[0], []
        for row in rows:
            product = self.products[row["look_product_id"]]
            found.append(
                {
                    **product,
                    **row,
                    "picture": self._product_thumbnail(row["look_item_id"], row["look_product_id"]),
                }
            )
        picture = self._make_thumbnail(self._images[worn["image_id"]], worn)
        return {
            "super_category": worn["super_category"],
            "worn": {"picture": picture, "title": "worn with it"},
            "products": found,
        }

    @cached_property
    def _lists(self) -> Mapping[str, Row]:
        return self._read_rows(SIMILAR_LISTS, "product_id", self.product_ids)

    @cached_property
    def _items(self) -> Mapping[str, Row]:
        compared = {m["similar_item_id"] for rows in self.recommendations.values() for m in rows}
        compared |= {look["look_item_id"] for rows in self.looks.values() for look in rows}
        return self._read_rows(
            ITEMS,
            "item_id",
            compared | {row["item_id"] for row in self._lists.values() if row["item_id"]},
        )

    @cached_property
    def _main_images(self) -> Mapping[str, Row]:
        """The first picture of each product that was fetched, by product_id."""
        return self._read_rows(IMAGES, "product_id", self.products, order="position")

    @cached_property
    def _images(self) -> Mapping[str, Row]:
        worn_in = {look["image_id"] for rows in self.looks.values() for look in rows}
        return self._read_rows(
            IMAGES, "image_id", worn_in | {item["image_id"] for item in self._items.values()}
        )

    @cached_property
    def _refusals(self) -> Mapping[str, str]:
        """Why a product could not be compared, by product_id."""
        refused = _recommendation_refusals(self.root, self.run)
        mine = refused.filter(pc.equal(refused["kind"], "product"))
        return dict(zip(mine["key"].to_pylist(), mine["reason"].to_pylist(), strict=True))

    def _read_rows(
        self, table: Table, key: str, keys: Collection[str], order: str | None = None
    ) -> dict[str, Row]:
        """Rows by key; where several have it, the one that is first in order."""
        rows = run_tables.open_dataset(self.root, table, self.run).to_table(
            filter=pc.field(key).isin(pa.array(sorted(keys), pa.string()))
        )
        rows = rows.sort_by([(order, "descending")]) if order else rows
        return {row[key]: row for row in rows.to_pylist()}

    def _product_thumbnail(self, item_id: str | None, product_id: str) -> Thumbnail | None:
        """The picture compared, the item outlined; else the product's main picture; None where it has none."""
        item = self._items[item_id] if item_id else None
        image = self._images[item["image_id"]] if item else self._main_images.get(product_id)
        return self._make_thumbnail(image, item) if image else None

    def _make_thumbnail(self, image: Row, item: Row | None) -> Thumbnail | None:
        if not (
            self.needs_pictures or run_tables.image_path(self.root, image["image_id"]).exists()
        ):
            return None
        whole = (0, 0, image["width_px"], image["height_px"])
        box = (
            (item["x0"], item["y0"], item["x1"] - item["x0"], item["y1"] - item["y0"])
            if item
            else None
        )
        return Thumbnail(
            self._data_uri(image["image_id"]), *whole[2:], box if box != whole else None
        )

    def _data_uri(self, image_id: str) -> str:
        if image_id not in self._data_uris:
            rgb = decode.decode_image(
                run_tables.image_path(self.root, image_id).read_bytes(), self.thumbnail_px
            )
            out = io.BytesIO()
            Image.fromarray(rgb).save(out, "JPEG", quality=75)
            self._data_uris[image_id] = (
                f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
            )
        return self._data_uris[image_id]

    @cached_property
    def _data_uris(self) -> dict[str, str]:
        return {}
