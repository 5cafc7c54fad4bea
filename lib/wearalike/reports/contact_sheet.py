"""Recommendations to look at: a page of pictures that opens from disk, or lines for a terminal.

The page is one file with its pictures inside. It loads nothing and runs no script.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.reports import html
from wearalike.reports.sheet_tables import (
    SHORTFALL_TEXTS,
    THUMBNAIL_PX,
    Row,
    SheetTables,
    recommendation_refusals,
)
from wearalike.search import ShortfallReason
from wearalike.storage import run_tables
from wearalike.tables import LOOK_PRODUCTS, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS, SuperCategory

__all__ = [
    "SHORTFALL_TEXTS",
    "THUMBNAIL_PX",
    "format_recommendations",
    "render_contact_sheet",
    "select_recommendations",
]


def render_contact_sheet(
    root: Path, run: str, *, per_category: int = 2, rows: int = 60, matches: int = 10
) -> str:
    """Render some products of each category with their recommendations.

    The same tables give the same page.

    Args:
        root: The data folder.
        run: The run.
        per_category: Most products of a category.
        rows: Most products on the page.
        matches: Most recommendations of a product.

    Returns:
        The page, HTML.

    Raises:
        TableNotFound: The run has no recommendations.
        OSError: An image is not stored.
    """
    groups = select_recommendations(
        root, run, per_category=per_category, rows=rows, matches=matches
    )
    shown_count = sum(len(ps) for categories in groups.values() for ps in categories.values())
    return html.render(
        "contact_sheet.html",
        run=run,
        groups=groups,
        shown_count=shown_count,
        **_count_totals(root, run),
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
    """Select some products of each category with their recommendations and thumbnails.

    Args:
        root: The data folder.
        run: The run.
        per_category: Most products of a category.
        rows: Most products in all.
        matches: Most recommendations of a product.
        thumbnail_px: Longer side of a thumbnail.
        needs_pictures: Raise OSError for an image that is not stored; if false, the product is
            shown without a picture.

    Returns:
        By super-category and category, rows as SheetTables.product_row returns them.

    Raises:
        TableNotFound: The run has no recommendations.
        OSError: An image is not stored, and needs_pictures is true.
    """
    product_ids = _sample_products(root, run, per_category, rows)
    sheet = SheetTables(root, run, product_ids, matches, thumbnail_px, needs_pictures)
    groups: dict[str, dict[str, list[Row]]] = {name: defaultdict(list) for name in SuperCategory}
    for product_id in product_ids:
        product = sheet.products[product_id]
        group = groups[product["super_category"]][product["category"]]
        group.append(sheet.product_row(product_id))
    return {name: group for name, group in groups.items() if group}


def format_recommendations(
    root: Path, run: str, count: int = 5, matches: int = 4, width: int = 110
) -> str:
    """Format a few products with their first recommendations for a terminal.

    Args:
        root: The data folder.
        run: The run.
        count: Most products.
        matches: Most recommendations of a product.
        width: Most characters a line.

    Returns:
        Lines of text.

    Raises:
        TableNotFound: The run has no recommendations.
    """
    product_ids = _sample_products(root, run, 1, count, ShortfallReason.NO_CODE)
    sheet = SheetTables(root, run, product_ids, matches)
    lines: list[str] = []
    for product_id in product_ids:
        product = sheet.products[product_id]
        heading = f"{product['category']}  {product_id}  {product['title']}"
        lines += [
            "",
            textwrap.shorten(heading, width, placeholder=" …"),
            "    score  shape  colour   kind",
        ]
        for match in sheet.recommendations[product_id]:
            other = match["similar_product_id"]
            scores = (
                f"    {match['score']:5.2f}  {match['shape_score']:5.2f}  "
                f"{match['colour_score']:6.2f}  {match['kind_score']:5.2f}  "
            )
            name = f"{other}  {sheet.products[other]['title']}"
            lines.append(scores + textwrap.shorten(name, width - len(scores), placeholder=" …"))
        if not sheet.recommendations[product_id]:
            lines.append("    none")
    return "\n".join(lines[1:]) + "\n"


def _sample_products(
    root: Path,
    run: str,
    per_category: int,
    rows: int,
    excluded_reason: ShortfallReason | None = None,
) -> list[str]:
    """Sample at most `rows` product_ids, `per_category` of each category.

    Super-categories take turns, and in each its categories, the largest first. A hash of the id
    chooses within a category. Products whose lists are short for excluded_reason are left out.
    The result is ordered by super-category, category, product_id.
    """
    lists = run_tables.read_table(root, SIMILAR_LISTS, run, ["product_id", "shortfall_reason"])
    excluded: set[str] = set()
    if excluded_reason is not None:
        short = lists.filter(pc.equal(lists["shortfall_reason"], excluded_reason))
        excluded = set(short["product_id"].to_pylist())
    by_category: dict[tuple[str, str], list[str]] = defaultdict(list)
    columns = ["product_id", "super_category", "category"]
    for row in run_tables.read_table(root, PRODUCTS, run, columns).to_pylist():
        if row["product_id"] not in excluded:
            by_category[row["super_category"], row["category"]].append(row["product_id"])
    order = list(SuperCategory)
    category_numbers: Counter[str] = Counter()
    # turn within the category, number of the category, position of the super-category, ...
    turns: list[tuple[int, int, int, str, str]] = []
    by_size = sorted(by_category.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    for (super_category, category), product_ids in by_size:
        number = category_numbers[super_category]
        position = order.index(SuperCategory(super_category))
        chosen = sorted(product_ids, key=_shuffle_key)[:per_category]
        turns += [(turn, number, position, category, id_) for turn, id_ in enumerate(chosen)]
        category_numbers[super_category] += 1
    return [turn[-1] for turn in sorted(sorted(turns)[:rows], key=lambda turn: turn[2:])]


def _shuffle_key(product_id: str) -> bytes:
    """Return a hash to sort by: a random order that stays the same."""
    return hashlib.blake2b(product_id.encode(), digest_size=8).digest()


def _count_totals(root: Path, run: str) -> Row:
    """Count products, recommendations, looks and refusals of the run, for the head of the page."""
    lists = run_tables.read_table(root, SIMILAR_LISTS, run, ["shortfall_reason"])
    recommendations = run_tables.open_dataset(root, SIMILAR_PRODUCTS, run)
    first = recommendations.head(1, columns=["detector", "encoder"]).to_pylist()
    refused = recommendation_refusals(root, run)
    columns = (refused[name].to_pylist() for name in ("stage", "kind", "reason"))
    refusal_counts = Counter(zip(*columns, strict=True))
    looks_count = 0
    if run_tables.is_complete(root, LOOK_PRODUCTS, run):
        looks = run_tables.read_table(root, LOOK_PRODUCTS, run, ["product_id"])
        looks_count = len(pc.unique(looks["product_id"]))
    manifest = run_tables.read_manifest(root, SIMILAR_PRODUCTS, run)
    return {
        "products_count": lists.num_rows,
        "recommendations_count": manifest["rows"]["written"],
        "short": [
            (SHORTFALL_TEXTS[ShortfallReason(reason)], count)
            for reason, count in _count_values(lists["shortfall_reason"])
        ],
        "refused": [(*key, count) for key, count in refusal_counts.items()],
        "refused_count": refused.num_rows,
        "looks_count": looks_count,
        "models": first[0] if first else None,
    }


def _count_values(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Count the values that are not null, most first."""
    counts = Counter(column.drop_null().to_pylist())
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
