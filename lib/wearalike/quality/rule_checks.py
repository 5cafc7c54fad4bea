"""The merchandiser's rules as SQL: which hide or require rule a recommended product breaks.

It is written apart from the search, whose rows the gate checks with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind

_PAGE = ("page_id", "page_shop", "page_category", "page_brand", "page_price", "page_currency")
_SHOWN = ("shown_id", "shown_shop", "shown_brand", "shown_price", "shown_currency")

# In a query: p is the page's product, a the recommended one.
BROKEN_RULE = """broken_rule(
        p.product_id, p.shop_id, p.category, p.brand, p.price_cents, p.currency,
        a.product_id, a.shop_id, a.brand, a.price_cents, a.currency)"""


def broken_rule_macro_sql(rules: Sequence[Mapping[str, Any]]) -> str:
    """Return the statement that defines the macro broken_rule, as BROKEN_RULE calls it.

    It gives "hide:<id>" or "require:<id>" of the first rule that is broken, and null for none.

    Args:
        rules: The fields of each MerchandisingRule of the run's day.
    """
    cases = []
    for rule in (MerchandisingRule(**fields) for fields in rules):
        if rule.kind in (MerchandisingRuleKind.HIDE, MerchandisingRuleKind.REQUIRE):
            condition = " AND ".join([*_page_conditions(rule), _broken_condition(rule)])
            cases.append(f"WHEN {condition} THEN {_quote(f'{rule.kind}:{rule.id}')}")
    value = f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"
    return f"CREATE OR REPLACE TEMP MACRO broken_rule({', '.join(_PAGE + _SHOWN)}) AS {value}"


def _page_conditions(rule: MerchandisingRule) -> list[str]:
    """Return what holds on the pages on which a rule acts."""
    conditions = []
    if rule.on_category is not None:
        branch = _quote(f"{rule.on_category}.")
        conditions.append(
            f"(page_category = {_quote(rule.on_category)} OR starts_with(page_category, {branch}))"
        )
    if rule.on_shop is not None:
        conditions.append(f"page_shop = {_quote(rule.on_shop)}")
    if rule.on_product is not None:
        conditions.append(f"page_id = {_quote(rule.on_product)}")
    return conditions


def _broken_condition(rule: MerchandisingRule) -> str:
    """Return what holds where the product shown breaks a rule that acts on the page."""
    if rule.product is not None:
        return f"shown_id = {_quote(rule.product)}"
    if rule.brand is not None:
        return f"lower(shown_brand) = lower({_quote(rule.brand)})"
    if rule.shop is not None:
        return f"shown_shop = {_quote(rule.shop)}"
    same = {
        "shop": "page_shop = shown_shop",
        # A product without a brand shares it with none.
        "brand": "nullif(lower(page_brand), '') = nullif(lower(shown_brand), '')",
        "price_band": "page_currency = shown_currency AND greatest(page_price, shown_price)"
        f" <= {rule.factor!r}::DOUBLE * least(page_price, shown_price)",
    }[str(rule.attribute)]
    return f"coalesce({same}, false) <> {str(rule.is_same).lower()}"


def _quote(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
