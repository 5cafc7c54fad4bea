"""The figures whose products can be listed: which products each is about, as SQL over a run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wearalike.quality.metrics import K
from wearalike.tables import (
    LOOK_PRODUCTS,
    PRODUCT_VARIANTS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
)

# Views of a run's tables with a column run, as the warehouse has them.
VIEW_PREFIX = "figure_"
LISTED_TABLES = (PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS, PRODUCT_VARIANTS, LOOK_PRODUCTS)
_TABLE_NAMES = re.compile(rf"\b(FROM|JOIN) ({'|'.join(t.name for t in LISTED_TABLES)})\b")


@dataclass(frozen=True, slots=True)
class ProductFigure:
    """A figure whose products can be listed.

    Attributes:
        title: Heading of the list.
        sql: Statement with columns product_id and n, a number of each product. $1 is the run, $2
            the ids of the products looked at, $3 the value of `value_name`.
        caption: The number in words, with {n}; empty for none.
        value_name: The parameter that the list takes beside the part, e.g. reason; None for none.
        opposite: The figure of the other products; None for none.
    """

    title: str
    sql: str
    caption: str = ""
    value_name: str | None = None
    opposite: str | None = None

    def sql_over_views(self) -> str:
        """Return the statement over the views of `reports.figure_lists`, for all products at once.

        Its parameters are called run and, where it has a value, value.
        """
        sql = _TABLE_NAMES.sub(rf"\1 {VIEW_PREFIX}\2", self.sql)
        sql = sql.replace(_ASKED_IDS, f"SELECT product_id FROM {VIEW_PREFIX}{PRODUCTS.name}")
        return sql.replace("$1", "$run").replace("$3", "$value")


_ASKED_IDS = "SELECT unnest($2::text[])"
_IDS = f"product_id IN ({_ASKED_IDS})"
_PRODUCTS_SQL = "SELECT product_id, 0 AS n FROM products WHERE run = $1 AND {ids} AND {where}"
_LISTS_SQL = (
    "SELECT product_id, similar_count AS n FROM similar_lists WHERE run = $1 AND {ids} AND {where}"
)
_ROWS_SQL = (
    "SELECT product_id, {n} AS n FROM similar_products WHERE run = $1 AND {ids} AND {where} "
    "GROUP BY product_id"
)
# The first results of a list that are of another category than the product; {differs} says which.
_OTHERS_SQL = f"""
SELECT s.product_id, count(*) AS n FROM similar_products AS s
JOIN products AS p ON p.run = $1 AND p.product_id = s.product_id
JOIN products AS a ON a.run = $1 AND a.product_id = s.similar_product_id
WHERE s.run = $1 AND s.{_IDS} AND s.rank <= {K} AND {{differs}} GROUP BY s.product_id
"""
_SHOWN_SQL = f"""
SELECT p.product_id, count(s.product_id) AS n FROM products AS p
JOIN similar_lists AS l ON l.run = $1 AND l.product_id = p.product_id
LEFT JOIN similar_products AS s ON s.run = $1 AND s.similar_product_id = p.product_id
WHERE p.run = $1 AND p.{_IDS} AND p.availability = 'in_stock' AND l.item_id IS NOT NULL
GROUP BY p.product_id HAVING count(s.product_id) {{wanted}}
"""
_CHANGED_SQL = f"""
SELECT b.product_id, count(*) AS n FROM similar_products AS b
LEFT JOIN similar_products AS s ON s.run = $1 AND s.product_id = b.product_id
    AND s.similar_product_id = b.similar_product_id AND s.rank <= {K}
WHERE b.run = $3 AND b.{_IDS} AND b.rank <= {K} AND s.product_id IS NULL GROUP BY b.product_id
"""


def _products(where: str) -> str:
    return _PRODUCTS_SQL.format(ids=_IDS, where=where)


def _lists(where: str) -> str:
    return _LISTS_SQL.format(ids=_IDS, where=where)


def _rows(where: str, n: str = "count(*)") -> str:
    return _ROWS_SQL.format(ids=_IDS, where=where, n=n)


FIGURES = {
    "products": ProductFigure("Products", _products("true")),
    "in_stock": ProductFigure("Products in stock", _products("availability = 'in_stock'")),
    "compared": ProductFigure(
        "Products with a picture that is compared",
        _lists("item_id IS NOT NULL"),
        "{n} recommendations",
        opposite="not_compared",
    ),
    "not_compared": ProductFigure(
        "Products without a picture that is compared",
        _lists("item_id IS NULL"),
        opposite="compared",
    ),
    "with_list": ProductFigure(
        "Products with recommendations", _lists("similar_count > 0"), "{n} recommendations"
    ),
    "five_matches": ProductFigure(
        "Products with five or more recommendations",
        _lists("similar_count >= 5"),
        "{n} recommendations",
        opposite="fewer_matches",
    ),
    "fewer_matches": ProductFigure(
        "Products with fewer than five recommendations",
        _lists("similar_count < 5"),
        "{n} recommendations",
        opposite="five_matches",
    ),
    "short_list": ProductFigure(
        "Products whose list is short",
        _lists("shortfall_reason = $3"),
        "{n} recommendations",
        "reason",
    ),
    "other_category": ProductFigure(
        f"Products whose first {K} recommendations leave the shop’s category",
        _OTHERS_SQL.format(
            differs="a.shop_id = p.shop_id AND p.category_paths[1] <> a.category_paths[1]"
        ),
        f"{{n}} of the first {K} are of another category",
    ),
    "other_leaf": ProductFigure(
        f"Products whose first {K} recommendations leave our category",
        _OTHERS_SQL.format(differs="a.category <> p.category"),
        f"{{n}} of the first {K} are of another category",
    ),
    "other_shop": ProductFigure(
        "Products with recommendations from another shop",
        _OTHERS_SQL.format(differs="a.shop_id <> p.shop_id"),
        f"{{n}} of the first {K} are of another shop",
    ),
    "best_score": ProductFigure(
        "Products by the score of their first recommendation",
        _rows("rank = 1", "max(score)"),
        "first score {n:.2f}",
    ),
    "could_be_shown": ProductFigure(
        "Products in stock that can be recommended",
        _SHOWN_SQL.format(wanted=">= 0"),
        "in {n} lists",
    ),
    "recommended": ProductFigure(
        "Products that some list recommends",
        _SHOWN_SQL.format(wanted="> 0"),
        "in {n} lists",
        opposite="never_recommended",
    ),
    "never_recommended": ProductFigure(
        "Products in stock that no list recommends",
        _SHOWN_SQL.format(wanted="= 0"),
        opposite="recommended",
    ),
    "changed": ProductFigure(
        f"Products whose first {K} recommendations changed since run {{value}}",
        _CHANGED_SQL,
        f"{{n}} of the first {K} left",
        "since",
    ),
    "by_rule": ProductFigure(
        "Products whose list has recommendations by rule {value}",
        _rows("rule = $3"),
        "{n} by the rule",
        "rule",
    ),
    "variants": ProductFigure(
        "Products in several colours or sizes",
        f"SELECT product_id, variants_count AS n FROM {PRODUCT_VARIANTS.name} "
        f"WHERE run = $1 AND {_IDS}",
        "{n} variants",
    ),
    "looks": ProductFigure(
        "Products with others that complete the look",
        f"SELECT product_id, count(*) AS n FROM {LOOK_PRODUCTS.name} "
        f"WHERE run = $1 AND {_IDS} GROUP BY product_id",
        "{n} products",
    ),
}
# Figures on other tables than every warehouse has.
TABLES_OF = {"variants": PRODUCT_VARIANTS, "looks": LOOK_PRODUCTS}
HUBS = ProductFigure("Products that lists recommend most", "", "in {n} lists")
# The figure behind each metric; others are of all products of their scope.
FIGURE_OF_METRIC = {
    "with_5_matches_ratio": "five_matches",
    f"precision@{K}": "other_category",
    f"precision@{K}_lift": "other_category",
    f"precision@{K}_skill": "other_category",
    f"leaf_precision@{K}": "other_leaf",
    f"leaf_precision@{K}_skill": "other_leaf",
    "cross_shop_ratio": "other_shop",
    "recommended_ratio": "recommended",
    "could_be_shown_ratio": "could_be_shown",
    "shown_share_ratio": "recommended",
    "hub_share_ratio": "hubs",
    "most_recommended_count": "hubs",
    f"spread@{K}": "with_list",
    f"churn@{K}": "changed",
    "score_p50": "best_score",
    "score_p05": "best_score",
    "score_p95": "best_score",
    "with_code_ratio": "compared",
    "with_item_ratio": "compared",
    "with_image_ratio": "compared",
    "indexed_ratio": "compared",
    "with_look_ratio": "looks",
}
