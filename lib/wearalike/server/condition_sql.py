"""Conditions on products as SQL, for DuckDB and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Sequence

from wearalike.catalog.product_conditions import ProductConditions

# A column of texts as one text with a line for each.
_LINES = "chr(10) || lower(array_to_string({column}, chr(10))) || chr(10)"


def write_conditions(conditions: ProductConditions) -> list[tuple[str, list[str]]]:
    """Return SQL conditions on rows of `products`, each with its values; {} is a placeholder."""
    found: list[tuple[str, list[str]]] = []
    if conditions.product_ids:
        found.append(_any("product_id = {}::text", conditions.product_ids))
    if conditions.categories:
        category = "(category = {0}::text OR starts_with(category, {0}::text || '.'))"
        found.append(_any(category, conditions.categories))
    if conditions.shops:
        found.append(_any("shop_id = {}::text", conditions.shops))
    if conditions.brands:
        found.append(_any("lower(brand) = lower({}::text)", conditions.brands))
    if conditions.colours:
        lines = _LINES.format(column="colour_names")
        # A shade ends with its colour: dark_blue.
        colour = (
            f"(strpos({lines}, chr(10) || {{0}}::text || chr(10)) > 0"
            f" OR strpos({lines}, '_' || {{0}}::text || chr(10)) > 0)"
        )
        found.append(_any(colour, conditions.colours))
    if conditions.sizes:
        # A blank after each, so that a size is found with its unit and without.
        lines = (
            "chr(10) || replace(lower(array_to_string(sizes, chr(10))), chr(10), ' ' || chr(10))"
        )
        size = f"strpos({lines} || ' ', chr(10) || lower({{}}::text) || ' ') > 0"
        found.append(_any(size, conditions.sizes))
    if conditions.has_price:
        found.append(("currency = {}::text", [conditions.currency or ""]))
    if conditions.min_price_cents is not None:
        found.append((f"price_cents >= {int(conditions.min_price_cents)}", []))
    if conditions.max_price_cents is not None:
        found.append((f"price_cents <= {int(conditions.max_price_cents)}", []))
    return found


def number_placeholders(
    conditions: Sequence[tuple[str, Sequence[str]]], first: int
) -> tuple[str, list[str]]:
    """Join conditions by AND, their placeholders numbered, and return the values in that order.

    Args:
        conditions: SQL conditions, each with its values.
        first: The number of the first placeholder.
    """
    where = ""
    values: list[str] = []
    for sql, of_condition in conditions:
        places = [f"${first + len(values) + i}" for i in range(len(of_condition))]
        where += f" AND {sql.format(*places)}"
        values += of_condition
    return where, values


def _any(sql: str, values: Sequence[str]) -> tuple[str, list[str]]:
    """Return the condition that holds where one of several values meets another."""
    parts = []
    for number in range(len(values)):
        parts.append(sql.replace("{0}", f"{{{number}}}").replace("{}", f"{{{number}}}"))
    return f"({' OR '.join(parts)})", list(values)
