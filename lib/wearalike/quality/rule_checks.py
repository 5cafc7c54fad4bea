"""The merchandiser's rules as SQL: which hide or require rule a recommended product breaks.

It is written apart from the search, whose rows the gate checks with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.catalog.product_conditions import ProductConditions, fold_words, shades_of

# The columns of products that rules look at; the macro takes them of the page and of the product.
RULE_COLUMNS = (
    "product_id",
    "shop_id",
    "category",
    "brand",
    "price_cents",
    "old_price_cents",
    "currency",
    "colour_names",
    "patterns",
    "gtins",
    "sizes_left",
    "first_seen",
)
_PAGE, _SHOWN = "page_", "shown_"
# In a query: p is the page's product, a the recommended one.
BROKEN_RULE = (
    f"broken_rule({', '.join(f'{alias}.{name}' for alias in ('p', 'a') for name in RULE_COLUMNS)})"
)
# The texts of a column of lists, a line each: words in lower case, a blank before and after each.
_LINES = (
    "(' ' || replace(regexp_replace(lower(array_to_string({column}, chr(10))),"
    " '[^\\p{{L}}\\p{{N}}\\n]+', ' ', 'g'), chr(10), ' ' || chr(10) || ' ') || ' ')"
)


def broken_rule_macro_sql(rules: Sequence[Mapping[str, Any]]) -> str:
    """Return the statement that defines the macro broken_rule, as BROKEN_RULE calls it.

    It gives "hide:<id>" or "require:<id>" of the first rule that is broken, and null for none.

    Args:
        rules: The fields of each MerchandisingRule of the run's day.
    """
    cases = []
    for rule in (MerchandisingRule(**fields) for fields in rules):
        if rule.kind in (MerchandisingRuleKind.HIDE, MerchandisingRuleKind.REQUIRE):
            held = [*_write_conditions(rule.page_conditions, _PAGE), _write_broken(rule)]
            cases.append(f"WHEN {' AND '.join(held)} THEN {_quote(f'{rule.kind}:{rule.id}')}")
    value = f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"
    names = ", ".join(f"{prefix}{name}" for prefix in (_PAGE, _SHOWN) for name in RULE_COLUMNS)
    return f"CREATE OR REPLACE TEMP MACRO broken_rule({names}) AS {value}"


def _write_broken(rule: MerchandisingRule) -> str:
    """Return what holds where the product shown breaks a rule that acts on the page."""
    if rule.attribute is None:
        met = " AND ".join(_write_conditions(rule.conditions, _SHOWN)) or "true"
        wanted = "" if rule.kind == MerchandisingRuleKind.HIDE else "NOT "
        return f"{wanted}coalesce({met}, false)"
    same = {
        "shop": "page_shop_id = shown_shop_id",
        # A product without a brand shares it with none.
        "brand": "nullif(lower(page_brand), '') = nullif(lower(shown_brand), '')",
        "category": "page_category = shown_category",
        "price_band": "page_currency = shown_currency"
        " AND greatest(page_price_cents, shown_price_cents)"
        f" <= {rule.factor!r}::DOUBLE * least(page_price_cents, shown_price_cents)",
        "colour": f"list_has_any({_plain_colours(_PAGE)}, {_plain_colours(_SHOWN)})",
        "pattern": f"list_has_any({_plain_patterns(_PAGE)}, {_plain_patterns(_SHOWN)})",
    }[rule.attribute]
    says = {"colour": "len(page_colour_names) > 0", "pattern": "len(page_patterns) > 0"}
    is_broken = f"coalesce({same}, false) <> {str(rule.is_same).lower()}"
    said = says.get(rule.attribute)
    return f"(coalesce({said}, false) AND {is_broken})" if said else is_broken


def _plain_colours(prefix: str) -> str:
    """Return the list of a product's colours without their shades."""
    column = f"{prefix}colour_names"
    plain = f"regexp_replace({_join(column)}, '(^|\\n)(dark|light)_', '\\1', 'g')"
    return _split(column, plain)


def _plain_patterns(prefix: str) -> str:
    """Return the list of a product's patterns, their words in lower case."""
    column = f"{prefix}patterns"
    words = f"regexp_replace(lower({_join(column)}), '[^\\p{{L}}\\p{{N}}\\n]+', ' ', 'g')"
    return _split(column, f"trim(regexp_replace({words}, ' *\\n *', chr(10), 'g'), ' ')")


def _join(column: str) -> str:
    """Return the texts of a column of lists, a line each."""
    return f"array_to_string({column}, chr(10))"


def _split(column: str, lines: str) -> str:
    """Return lines as a list; none where the column has no text."""
    return f"CASE WHEN len({column}) > 0 THEN string_split({lines}, chr(10)) ELSE [] END"


def _write_conditions(conditions: ProductConditions, prefix: str) -> list[str]:
    """Return conditions on the product whose columns have a prefix."""

    def among(column: str, values: Iterable[str]) -> str:
        return f"{prefix}{column} IN ({', '.join(map(_quote, values))})"

    def has_any(column: str, values: Iterable[str]) -> str:
        listed = ", ".join(map(_quote, values))
        return f"list_has_any({prefix}{column}, [{listed}])"

    found = []
    if conditions.product_ids:
        found.append(among("product_id", conditions.product_ids))
    for category in conditions.categories:
        inside = f"starts_with({prefix}category, {_quote(f'{category}.')})"
        found.append(f"({among('category', [category])} OR {inside})")
    if conditions.family_leaves:
        found.append(among("category", conditions.family_leaves))
    if conditions.shops:
        found.append(among("shop_id", conditions.shops))
    for brand in conditions.brands:
        found.append(f"lower({prefix}brand) = lower({_quote(brand)})")
    for colour in conditions.colours:
        found.append(has_any("colour_names", shades_of(colour)))
    for pattern in conditions.patterns:
        lines = _LINES.format(column=f"{prefix}patterns")
        found.append(f"contains({lines}, {_quote(fold_words(pattern))})")
    if conditions.gtins:
        found.append(has_any("gtins", conditions.gtins))
    if conditions.has_price:
        found.append(among("currency", [str(conditions.currency)]))
    if conditions.min_price_cents is not None:
        found.append(f"{prefix}price_cents >= {conditions.min_price_cents}")
    if conditions.max_price_cents is not None:
        found.append(f"{prefix}price_cents <= {conditions.max_price_cents}")
    if conditions.is_on_sale is not None:
        is_cheaper = f"coalesce({prefix}old_price_cents > {prefix}price_cents, false)"
        found.append(is_cheaper if conditions.is_on_sale else f"NOT {is_cheaper}")
    if conditions.first_seen_from is not None:
        found.append(f"{prefix}first_seen >= {_quote(conditions.first_seen_from)}")
    if conditions.min_sizes is not None:
        found.append(f"{prefix}sizes_left >= {conditions.min_sizes}")
    if conditions.max_sizes is not None:
        found.append(f"{prefix}sizes_left <= {conditions.max_sizes}")
    return found


def _quote(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
