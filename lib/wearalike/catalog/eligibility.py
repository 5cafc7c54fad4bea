"""Who may be shown: the one rule, for Python and for SQL.

A product may be shown on the page of another if it is in stock and for the same audience. That
means the same age group, and the same gender or one of the two unisex. A photo's shopper may leave
age group and gender open; then any fits.
"""

from __future__ import annotations

from wearalike.tables import Gender

# The rule of `genders_fit` as a DuckDB macro: genders_fit(one, other).
GENDERS_FIT_SQL = (
    f"CREATE MACRO genders_fit(one, other) AS one = other OR '{Gender.UNISEX}' IN (one, other)"
)


def genders_fit(one: str, other: str) -> bool:
    """Tell if products of two genders may be shown together.

    Args:
        one: A `tables.Gender` value.
        other: A `tables.Gender` value.

    Example:
        >>> genders_fit("female", "unisex"), genders_fit("female", "male")
        (True, False)
    """
    return one == other or Gender.UNISEX in (one, other)


def is_for_audience(
    product_age_group: str,
    product_gender: str,
    age_group: str | None,
    gender: str | None,
) -> bool:
    """Tell if a product is for an audience; its stock is a separate matter.

    Args:
        product_age_group: The product's `tables.AgeGroup` value.
        product_gender: The product's `tables.Gender` value.
        age_group: The audience's age group; None for any.
        gender: The audience's gender; None for any.
    """
    fits_age = age_group is None or product_age_group == age_group
    return fits_age and (gender is None or genders_fit(product_gender, gender))
