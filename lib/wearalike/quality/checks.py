"""The checks of each table: its query and the expectations of Great Expectations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wearalike import settings
from wearalike.quality import check_queries
from wearalike.tables import (
    CODE_BITS,
    INDEXES,
    LOOK_PRODUCTS,
    PRODUCT_VARIANTS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    AgeGroup,
    Availability,
    Gender,
    SuperCategory,
    Table,
)

# Scores are doubles; sums in another order differ by less.
_MAX_SCORE_ERROR = 1e-9


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A table, the query of its rows, and its expectations.

    Attributes:
        table: The table.
        sql: A query of check_queries.
        expectations: Builds the expectations. It takes the module
            great_expectations.expectations, which only the gate imports, and the parameters k,
            min_score, max_per_brand and merchandise of _manifest.json of matches.
    """

    table: Table
    sql: str
    expectations: Callable[[Any, Mapping[str, Any]], list[Any]]


def _expect_key(gxe: Any, table: Table) -> list[Any]:
    """Expect a unique key, and no null in columns that forbid it."""
    meaning = f"one row for each {', '.join(table.key)}"
    if len(table.key) == 1:
        unique = gxe.ExpectColumnValuesToBeUnique(column=table.key[0], description=meaning)
    else:
        unique = gxe.ExpectCompoundColumnsToBeUnique(
            column_list=list(table.key), description=meaning
        )
    nulls = [
        gxe.ExpectColumnValuesToNotBeNull(column=c.name, description=f"{c.name} is never null")
        for c in table.columns
        if not c.nullable
    ]
    return [unique, *nulls]


def _expect_true(gxe: Any, **columns: str) -> list[Any]:
    """Expect true in columns; their values are the meanings."""
    return [
        gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[True], description=meaning)
        for name, meaning in columns.items()
    ]


def _expect_between(gxe: Any, **columns: tuple[float | None, float | None, str]) -> list[Any]:
    """Expect values in a range in columns; their values are low, high and the meaning."""
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column=name, min_value=low, max_value=high, description=meaning
        )
        for name, (low, high, meaning) in columns.items()
    ]


def _expect_rules_kept(gxe: Any) -> Any:
    """Expect that no row breaks a rule of the merchandiser."""
    return gxe.ExpectColumnValuesToBeNull(
        column="broken_rule",
        description="the recommended product breaks no hide or require rule of rules.xml",
    )


def _expect_equal(gxe: Any, one: str, other: str, meaning: str) -> Any:
    """Expect two columns to be equal where both have a value."""
    return gxe.ExpectColumnPairValuesToBeEqual(
        column_A=one, column_B=other, ignore_row_if="either_value_is_missing", description=meaning
    )


def _product_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    enums = {
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
            description="shop_id is [a-z0-9_-]{1,64}",
        ),
        *(
            gxe.ExpectColumnValuesToBeInSet(
                column=column, value_set=[*map(str, enum)], description=f"{column} is a known value"
            )
            for column, enum in enums.items()
        ),
        *_expect_between(
            gxe,
            price_cents=(1, None, "price_cents is above 0"),
            **_WEIGHT_RANGES,
            **_KIND_WEIGHT_RANGE,
        ),
        *_expect_true(
            gxe,
            is_id_of_offer="product_id is <shop_id>:<offer_id>",
            has_list="the product has a row in similar_lists",
            is_among_variants="the product has a row in product_variants exactly if its article"
            " has another product",
        ),
    ]


def _product_variant_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, PRODUCT_VARIANTS),
        *_expect_between(
            gxe, variants_count=(2, None, "an article with variants has 2 products or more")
        ),
        _expect_equal(
            gxe,
            "variants_count",
            "products_count",
            "variants_count is the number of the article's products",
        ),
        *_expect_true(
            gxe,
            is_as_in_products="article, shop, colours, sizes and stock are those of the product",
            is_ranked_without_gaps="the ranks of an article are 1, 2, 3, … without gaps",
        ),
    ]


_WEIGHT_RANGES = {
    "shape_weight": (0, 10, "shape_weight is 0..10"),
    "colour_weight": (0, 10, "colour_weight is 0..10"),
}
_KIND_WEIGHT_RANGE = {"kind_weight": (0, 10, "kind_weight is 0..10")}


def _index_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, INDEXES),
        *_expect_true(
            gxe,
            is_product="the entry's product is in this run",
            is_in_its_super_category="the entry has its product's super-category",
            is_code_of_item="the entry has its item's codes, or a vote of three images and more",
        ),
    ]


def _similar_list_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, SIMILAR_LISTS),
        *_expect_between(
            gxe, similar_count=(0, rules["k"], f"similar_count is at most {rules['k']}")
        ),
        _expect_equal(
            gxe,
            "similar_count",
            "rows_count",
            "similar_count is the number of the product's rows in similar_products",
        ),
        *_expect_true(
            gxe,
            is_product="the list's product is in this run",
            is_explained="a short list has a reason, a full list has none",
        ),
    ]


def _similar_product_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, SIMILAR_PRODUCTS),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["product_id", "similar_product_id"],
            description="a list has a product at most once",
        ),
        *_expect_between(
            gxe,
            rank=(1, rules["k"], f"rank is 1..{rules['k']}"),
            score=(0, 1, "score is 0..1"),
            score_of_match=(
                rules["min_score"],
                1,
                f"score is {rules['min_score']}..1, except for pins and fallbacks",
            ),
            shape_score=(0, 1, "shape_score is 0..1"),
            colour_score=(0, 1, "colour_score is 0..1"),
            kind_score=(0, 1, "kind_score is 0..1"),
            shape_distance=(0, CODE_BITS, f"shape_distance is 0..{CODE_BITS}"),
            colour_distance=(0, CODE_BITS, f"colour_distance is 0..{CODE_BITS}"),
            kind_distance=(0, 64, "kind_distance is 0..64"),
            colour_name_distance=(0, 32, "colour_name_distance is 0..32"),
            w_sum=(1, None, "a weight of shape or colour is above 0"),
            **_WEIGHT_RANGES,
            **_KIND_WEIGHT_RANGE,
            score_error=(
                0,
                _MAX_SCORE_ERROR,
                "score is max(0, 1 - 2 * (shape_weight * shape_distance + colour_weight *"
                " (colour_distance + colour_name_distance) + kind_weight * kind_distance)"
                f" / ({CODE_BITS} * sum of the weights)), colour_weight times 1.25 where the"
                " product names a colour",
            ),
            shape_score_error=(
                0,
                _MAX_SCORE_ERROR,
                f"shape_score is max(0, 1 - 2 * shape_distance / {CODE_BITS})",
            ),
            colour_score_error=(
                0,
                _MAX_SCORE_ERROR,
                "colour_score is max(0, 1 - 2 * (colour_distance + colour_name_distance)"
                f" / {CODE_BITS}), / 160 where the product names a colour",
            ),
            kind_score_error=(
                0,
                _MAX_SCORE_ERROR,
                "kind_score is 1 - kind_distance / 64",
            ),
            score_rise=(
                None,
                _MAX_SCORE_ERROR,
                "scores do not rise down a list, except for rules and fallbacks",
            ),
            results_of_model=(1, 1, "no two results share a group_id"),
            results_of_brand=(
                1,
                rules["max_per_brand"],
                f"at most {rules['max_per_brand']} results share a brand, but in shops where one"
                " brand is most",
            ),
        ),
        *_expect_true(
            gxe,
            is_product="the product is in this run",
            is_similar_product="the recommended product is in this run",
            is_another="a product is not in its own list",
            is_another_model="another size or colour of the product is not in its list",
            is_same_super_category="both have the same super-category",
            is_same_age_group="both have the same age group",
            is_compatible_gender="both have the same gender, or one is unisex",
            is_weighted_as_product="the weights are those of the product",
            is_kind_of_category="products of one category are of one kind",
            is_colour_name_of_product="products of equal colour names, or without, are no farther",
            is_explained="the reason is there in both languages",
            is_of_entries="the items compared are those of the index entries",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="similar_availability",
            value_set=[Availability.IN_STOCK.value],
            description="the recommended product is in stock",
        ),
        _expect_rules_kept(gxe),
        *_ranking_expectations(gxe),
    ]


def _ranking_expectations(gxe: Any) -> list[Any]:
    """Return what ranks and distances of any list must meet."""
    return [
        _expect_equal(
            gxe, "rank", "rank_expected", "the ranks of a list are 1, 2, 3, … without gaps"
        ),
        *(
            _expect_equal(
                gxe,
                f"{part}_distance",
                f"{part}_bits",
                f"{part}_distance is the number of bits that differ",
            )
            for part in ("shape", "colour")
        ),
    ]


def _look_product_expectations(gxe: Any, rules: Mapping[str, Any]) -> list[Any]:
    return [
        *_expect_key(gxe, LOOK_PRODUCTS),
        *_expect_between(
            gxe,
            rank=(1, None, "rank is 1 or more"),
            score=(0, 1, "score is 0..1"),
            w_sum=(1, None, "a weight is above 0"),
            **_WEIGHT_RANGES,
            score_error=(
                0,
                _MAX_SCORE_ERROR,
                "score follows from the weighted distances, as in similar_products",
            ),
            score_rise=(None, _MAX_SCORE_ERROR, "scores do not rise down a list"),
            results_of_model=(1, 1, "no two results share a group_id"),
            sources_count=(1, 1, "a super-category of a look has one source"),
        ),
        *_expect_true(
            gxe,
            is_product="the product is in this run",
            is_look_product="the recommended product is in this run",
            is_of_super_category="the recommended product has the item's super-category",
            is_of_another_super_category="no product of its own super-category is in the look",
            is_same_age_group="both have the same age group",
            is_compatible_gender="both have the same gender, or one is unisex",
            is_of_source="the row is what its source says: worn in the product's own pictures,"
            " linked by its feed, or worn with a product of its list",
            is_of_most_alike="no product nearer in the list has a look of its own",
            is_scored_as_source="scores and item are there but for what a feed links",
            is_item_of_look="the item is worn with the product, or with the one most alike it",
            is_image_of_wearer="the item is in an image of the product that it is worn with",
            is_of_entry="the item compared is that of the recommended product's entry",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="look_availability",
            value_set=[Availability.IN_STOCK.value],
            description="the recommended product is in stock",
        ),
        _expect_rules_kept(gxe),
        *_ranking_expectations(gxe),
    ]


TABLE_CHECKS = (
    TableCheck(PRODUCTS, check_queries.PRODUCTS_SQL, _product_expectations),
    TableCheck(PRODUCT_VARIANTS, check_queries.PRODUCT_VARIANTS_SQL, _product_variant_expectations),
    TableCheck(INDEXES, check_queries.INDEXES_SQL, _index_expectations),
    TableCheck(SIMILAR_LISTS, check_queries.SIMILAR_LISTS_SQL, _similar_list_expectations),
    TableCheck(SIMILAR_PRODUCTS, check_queries.SIMILAR_PRODUCTS_SQL, _similar_product_expectations),
    TableCheck(LOOK_PRODUCTS, check_queries.LOOK_PRODUCTS_SQL, _look_product_expectations),
)
