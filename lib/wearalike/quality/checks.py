"""What must hold of each table: its rows beside what they are held against in the run's other tables, and the expectations.

Every statement takes $share and $shares and returns the rows of one share of the products, each product whole, so that
keys, ranks and lists can be judged inside a share. A helper column is null where there is nothing to hold against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wearalike import settings
from wearalike.tables import (
    INDEXES,
    LOOK_PRODUCTS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    AgeGroup,
    Availability,
    Gender,
    SuperCategory,
    Table,
)

_SHARD_FILTER = "hash(product_id) % $shares = $share"

_PRODUCTS_SQL = f"""
SELECT * EXCLUDE (url, vendor_code, google_category, description)
    REPLACE (len(category_ids) AS category_ids, len(category_paths) AS category_paths, len(colours) AS colours, len(sizes) AS sizes,
        len(materials) AS materials, len(image_urls) AS image_urls),
    product_id = shop_id || ':' || offer_id AS is_id_of_offer,
    product_id IN (SELECT product_id FROM similar_lists) AS has_list
FROM products WHERE {_SHARD_FILTER} ORDER BY product_id
"""

_INDEXES_SQL = f"""
SELECT e.*, p.product_id IS NOT NULL AS is_product,
    e.super_category = p.super_category AS is_in_its_super_category, (c.shape = e.shape AND c.colour = e.colour) IS TRUE AS is_code_of_item
FROM (SELECT * FROM indexes WHERE {_SHARD_FILTER}) e LEFT JOIN products p USING (product_id) LEFT JOIN codes c ON c.item_id = e.item_id
ORDER BY e.product_id
"""

_SIMILAR_LISTS_SQL = f"""
WITH counted AS (SELECT product_id, count(*) AS n FROM similar_products WHERE {_SHARD_FILTER} GROUP BY product_id)
SELECT l.*, coalesce(n, 0) AS rows_count, (l.similar_count < $k) = (l.shortfall_reason IS NOT NULL) AS is_explained,
    l.product_id IN (SELECT product_id FROM products) AS is_product
FROM (SELECT * FROM similar_lists WHERE {_SHARD_FILTER}) l LEFT JOIN counted USING (product_id) ORDER BY l.product_id
"""

# p asks, a answers; e and f are their entries in the index. What a pin or a fallback placed may be less alike, and one brand's too often.
_SIMILAR_PRODUCTS_SQL = f"""
WITH entries AS (SELECT product_id, item_id, shape::BIT AS shape, colour::BIT AS colour FROM indexes),
    people AS (SELECT *, shop_id || ':' || lower(group_id) AS model FROM products)
SELECT s.*, s.shape_weight + s.colour_weight AS w_sum,
    p.product_id IS NOT NULL AS is_product,
    a.product_id IS NOT NULL AS is_similar_product,
    s.similar_product_id <> s.product_id AS is_another,
    a.super_category = p.super_category AS is_same_super_category,
    a.availability AS similar_availability,
    a.age_group = p.age_group AS is_same_age_group,
    genders_fit(a.gender, p.gender) AS is_compatible_gender,
    a.model IS DISTINCT FROM p.model OR p.model IS NULL AS is_another_model,
    CASE WHEN a.model IS NOT NULL THEN count(*) OVER (PARTITION BY s.product_id, a.model) END AS results_of_model,
    CASE WHEN a.brand IS NOT NULL AND NOT is_placed THEN count(*) OVER (PARTITION BY s.product_id, lower(a.brand), is_placed) END
        AS results_of_brand,
    s.shape_weight = p.shape_weight AND s.colour_weight = p.colour_weight AS is_weighted_as_product,
    (s.item_id = e.item_id AND s.similar_item_id = f.item_id) IS TRUE AS is_of_entries,
    bit_count(xor(e.shape, f.shape)) AS shape_bits,
    bit_count(xor(e.colour, f.colour)) AS colour_bits,
    row_number() OVER ranked AS rank_expected,
    CASE WHEN is_by_likeness THEN
        s.score - lag(s.score) OVER (PARTITION BY s.product_id, is_by_likeness ORDER BY s.rank, s.similar_product_id)
    END AS score_rise,
    CASE WHEN NOT is_placed THEN s.score END AS score_of_match,
    abs(s.score - greatest(0, 1 - 2 * (s.shape_weight * s.shape_distance + s.colour_weight * s.colour_distance) / (128 * (s.shape_weight + s.colour_weight))))
        AS score_error,
    abs(s.shape_score - greatest(0, 1 - 2 * s.shape_distance / 128)) AS shape_score_error,
    abs(s.colour_score - greatest(0, 1 - 2 * s.colour_distance / 128)) AS colour_score_error
FROM (
    SELECT *, rule IS NULL AND fallback IS NULL AS is_by_likeness,
        fallback IS NOT NULL OR rule IS NOT NULL AND rule LIKE 'pin:%' AS is_placed
    FROM similar_products WHERE {_SHARD_FILTER}
) s
LEFT JOIN people p USING (product_id) LEFT JOIN people a ON a.product_id = s.similar_product_id
LEFT JOIN entries e ON e.product_id = s.product_id LEFT JOIN entries f ON f.product_id = s.similar_product_id
WINDOW ranked AS (PARTITION BY s.product_id ORDER BY s.rank, s.similar_product_id)
ORDER BY s.product_id, s.rank, s.similar_product_id
"""

# p asks, a answers; w is the item that p is worn with, f the entry of a in the index.
_LOOK_PRODUCTS_SQL = f"""
WITH worn AS (SELECT product_id, unnest(items, recursive := true) FROM looks),
    people AS (SELECT *, shop_id || ':' || lower(group_id) AS model FROM products)
SELECT s.*, s.shape_weight + s.colour_weight AS w_sum,
    p.product_id IS NOT NULL AS is_product,
    a.product_id IS NOT NULL AS is_look_product,
    a.super_category = s.super_category AS is_of_super_category,
    s.super_category IS DISTINCT FROM p.super_category AS is_of_another_super_category,
    a.availability AS look_availability,
    a.age_group = p.age_group AS is_same_age_group,
    genders_fit(a.gender, p.gender) AS is_compatible_gender,
    CASE WHEN a.model IS NOT NULL THEN count(*) OVER (PARTITION BY s.product_id, s.super_category, a.model) END AS results_of_model,
    ((s.image_id, s.item_id, s.x0, s.y0, s.x1, s.y1) = (w.image_id, w.item_id, w.x0, w.y0, w.x1, w.y1)) IS TRUE AS is_item_of_look,
    (s.image_id IN (SELECT i.image_id FROM images i WHERE i.product_id = s.product_id)) AS is_own_image,
    (s.look_item_id = f.item_id) IS TRUE AS is_of_entry,
    bit_count(xor(w.shape::BIT, f.shape::BIT)) AS shape_bits,
    bit_count(xor(w.colour::BIT, f.colour::BIT)) AS colour_bits,
    row_number() OVER ranked AS rank_expected,
    s.score - lag(s.score) OVER ranked AS score_rise,
    abs(s.score - greatest(0, 1 - 2 * (s.shape_weight * s.shape_distance + s.colour_weight * s.colour_distance) / (128 * (s.shape_weight + s.colour_weight))))
        AS score_error
FROM (SELECT * FROM look_products WHERE {_SHARD_FILTER}) s
LEFT JOIN people p USING (product_id) LEFT JOIN people a ON a.product_id = s.look_product_id
LEFT JOIN worn w ON w.product_id = s.product_id AND w.super_category = s.super_category
LEFT JOIN indexes f ON f.product_id = s.look_product_id
WINDOW ranked AS (PARTITION BY s.product_id, s.super_category ORDER BY s.rank, s.look_product_id)
ORDER BY s.product_id, s.super_category, s.rank
"""


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A table, its rows as they are judged, and what is expected of them.

    expectations: takes the module great_expectations.expectations, imported only where the gate runs, and the rules that
    _manifest.json of matches names (k, min_score, max_per_brand).
    """

    table: Table
    sql: str
    expectations: Callable[[Any, Mapping[str, Any]], list[Any]]


def _expect_key(gxe: Any, table: Table) -> list[Any]:
    """The key is unique, and no column is null that must not be."""
    meaning = f"one row for each {', '.join(table.key)}"
    one = (
        gxe.ExpectColumnValuesToBeUnique(column=table.key[0], description=meaning)
        if len(table.key) == 1
        else None
    )
    nulls = [
        gxe.ExpectColumnValuesToNotBeNull(column=c.name, description=f"{c.name} is never null")
        for c in table.columns
        if not c.nullable
    ]
    return [
        one
        or gxe.ExpectCompoundColumnsToBeUnique(column_list=list(table.key), description=meaning),
        *nulls,
    ]


def _expect_true(gxe: Any, **columns: str) -> list[Any]:
    return [
        gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[True], description=meaning)
        for name, meaning in columns.items()
    ]


def _expect_between(gxe: Any, **columns: tuple[float | None, float | None, str]) -> list[Any]:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column=name, min_value=low, max_value=high, description=meaning
        )
        for name, (low, high, meaning) in columns.items()
    ]


def _expect_equal(gxe: Any, one: str, other: str, meaning: str) -> Any:
    return gxe.ExpectColumnPairValuesToBeEqual(
        column_A=one, column_B=other, ignore_row_if="either_value_is_missing", description=meaning
    )


def _product_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    words = {
        "availability": Availability,
        "gender": Gender,
        "age_group": AgeGroup,
        "super_category": SuperCategory,
    }
    return [
        *_expect_key(gxe, PRODUCTS),
        gxe.ExpectColumnValuesToMatchRegex(
            column="shop_id",
            regex=f"^{settings.SHOP_ID_PATTERN.pattern}$",
            description="a shop's id is [a-z0-9_-]{1,64}",
        ),
        *(
            gxe.ExpectColumnValuesToBeInSet(
                column=c, value_set=[*map(str, kind)], description=f"{c} is one of ours"
            )
            for c, kind in words.items()
        ),
        *_expect_between(gxe, price_cents=(1, None, "a price is above 0"), **_WEIGHT_RANGES),
        *_expect_true(
            gxe,
            is_id_of_offer="product_id is <shop_id>:<offer_id>",
            has_list="the product has its row in similar_lists",
        ),
    ]


_WEIGHT_RANGES = {
    "shape_weight": (0, 10, "a weight of shape is 0..10"),
    "colour_weight": (0, 10, "a weight of colour is 0..10"),
}


def _index_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, INDEXES),
        *_expect_true(
            gxe,
            is_product="the entry is of a product of this run",
            is_in_its_super_category="the entry is in the index of its product's super-category",
            is_code_of_item="the entry's codes are its item's",
        ),
    ]


def _similar_list_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, SIMILAR_LISTS),
        *_expect_between(gxe, similar_count=(0, rules["k"], f"a list holds at most {rules['k']}")),
        _expect_equal(
            gxe,
            "similar_count",
            "rows_count",
            "similar_count is the number of the product's rows in similar_products",
        ),
        *_expect_true(
            gxe,
            is_product="the list is of a product of this run",
            is_explained="a short list says why, a full one does not",
        ),
    ]


def _similar_product_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    tiny = 1e-9
    return [
        *_expect_key(gxe, SIMILAR_PRODUCTS),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["product_id", "similar_product_id"],
            description="a product is recommended once",
        ),
        *_expect_between(
            gxe,
            rank=(1, rules["k"], f"a rank is 1..{rules['k']}"),
            score=(0, 1, "a score is 0..1"),
            score_of_match=(
                rules["min_score"],
                1,
                f"a score is {rules['min_score']}..1, as the rules say, but of a pin or a fallback",
            ),
            shape_score=(0, 1, "a score of shape is 0..1"),
            colour_score=(0, 1, "a score of colour is 0..1"),
            shape_distance=(0, 128, "a distance of shape is 0..128"),
            colour_distance=(0, 128, "a distance of colour is 0..128"),
            w_sum=(1, None, "the weights are not both 0"),
            **_WEIGHT_RANGES,
            score_error=(
                0,
                tiny,
                "score is max(0, 1 - 2 * (shape_weight * shape_distance + colour_weight * colour_distance) / (128 * (shape_weight + colour_weight)))",
            ),
            shape_score_error=(0, tiny, "shape_score is max(0, 1 - 2 * shape_distance / 128)"),
            colour_score_error=(0, tiny, "colour_score is max(0, 1 - 2 * colour_distance / 128)"),
            score_rise=(
                None,
                tiny,
                "down a list no score is above the one before, but where a rule or a fallback says so",
            ),
            results_of_model=(1, 1, "one result a model: no two share a group_id"),
            results_of_brand=(
                1,
                rules["max_per_brand"],
                f"at most {rules['max_per_brand']} results are of one brand",
            ),
        ),
        *_expect_true(
            gxe,
            is_product="the product is one of this run",
            is_similar_product="the recommended product is one of this run",
            is_another="a product is not recommended on its own page",
            is_another_model="nor is another size or colour of it",
            is_same_super_category="both are of one super-category",
            is_same_age_group="both are for one age group",
            is_compatible_gender="both are for one gender, or either for both",
            is_weighted_as_product="the weights are the product's",
            is_of_entries="the items compared are those that the index has for the products",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="similar_availability",
            value_set=[Availability.IN_STOCK.value],
            description="what is recommended is in stock",
        ),
        _expect_equal(
            gxe, "rank", "rank_expected", "the ranks of a list are 1, 2, 3 ... without a gap"
        ),
        _expect_equal(
            gxe,
            "shape_distance",
            "shape_bits",
            "shape_distance is the number of bits in which the codes differ",
        ),
        _expect_equal(
            gxe,
            "colour_distance",
            "colour_bits",
            "colour_distance is the number of bits in which the codes differ",
        ),
    ]


def _look_product_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, LOOK_PRODUCTS),
        *_expect_between(
            gxe,
            rank=(1, None, "a rank is 1 or more"),
            score=(0, 1, "a score is 0..1"),
            w_sum=(1, None, "the weights are not both 0"),
            **_WEIGHT_RANGES,
            score_error=(
                0,
                1e-9,
                "score is made of the weighted distances, as that of similar_products",
            ),
            score_rise=(None, 1e-9, "down a list no score is above the one before"),
            results_of_model=(1, 1, "one result a model: no two share a group_id"),
        ),
        *_expect_true(
            gxe,
            is_product="the product is one of this run",
            is_look_product="the recommended product is one of this run",
            is_of_super_category="what is recommended is of the item's super-category",
            is_of_another_super_category="nothing of the product's own super-category completes its look",
            is_same_age_group="both are for one age group",
            is_compatible_gender="both are for one gender, or either for both",
            is_item_of_look="the item is one that the product is worn with",
            is_own_image="it is worn in one of the product's own images",
            is_of_entry="the item compared is that which the index has for the recommended product",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="look_availability",
            value_set=[Availability.IN_STOCK.value],
            description="what is recommended is in stock",
        ),
        _expect_equal(
            gxe, "rank", "rank_expected", "the ranks of a list are 1, 2, 3 ... without a gap"
        ),
        _expect_equal(
            gxe,
            "shape_distance",
            "shape_bits",
            "shape_distance is the number of bits in which the codes differ",
        ),
        _expect_equal(
            gxe,
            "colour_distance",
            "colour_bits",
            "colour_distance is the number of bits in which the codes differ",
        ),
    ]


TABLE_CHECKS = (
    TableCheck(PRODUCTS, _PRODUCTS_SQL, _product_expectations),
    TableCheck(INDEXES, _INDEXES_SQL, _index_expectations),
    TableCheck(SIMILAR_LISTS, _SIMILAR_LISTS_SQL, _similar_list_expectations),
    TableCheck(SIMILAR_PRODUCTS, _SIMILAR_PRODUCTS_SQL, _similar_product_expectations),
    TableCheck(LOOK_PRODUCTS, _LOOK_PRODUCTS_SQL, _look_product_expectations),
)
