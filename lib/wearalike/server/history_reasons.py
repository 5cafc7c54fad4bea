"""Why a recommendation came or went between two runs, as far as their published tables prove it.

The first cause that the tables prove is told. A distance is compared only where models, weights,
pictures, categories and colour names are those of the other run; else it may be another distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wearalike.catalog.eligibility import genders_fit
from wearalike.search import ShortfallReason
from wearalike.tables import Availability

# Products that a sentence names; the others are counted.
_MAX_NAMED = 3


class ChangeReason(StrEnum):
    """Why a recommendation came or went."""

    OLDEST_RUN = "oldest_run"  # it was there in the oldest run that is looked at
    PRODUCT = "product"  # the product whose page it is came or went itself
    NEW_PRODUCT = "new_product"  # the recommended product is new
    GONE = "gone"  # the recommended product is in the run no longer
    STOCK = "stock"  # it came into stock, or went out of it
    NO_PICTURE = "no_picture"  # one of the two had, or has, no picture that can be compared
    AUDIENCE = "audience"  # another super-category, age group or gender
    RULE = "rule"  # a rule of rules.xml put it there, or keeps it out
    RULE_ENDED = "rule_ended"  # a rule put it there or kept it out, and does so no longer
    SAME_ARTICLE = "same_article"  # one colour or size stands for an article
    FILL = "fill"  # it fills a short list up, or filled one
    MODEL = "model"  # another detector or encoder
    WEIGHTS = "weights"  # other weights of shape, colour and kind
    PICTURE = "picture"  # another picture of one of the two is compared
    CATEGORY = "category"  # another leaf of one of the two
    COLOURS = "colours"  # the feed names other colours of one of the two
    LIST_LENGTH = "list_length"  # lists have more or fewer places
    NEARER = "nearer"  # nearer ones came
    FREED_PLACE = "freed_place"  # nearer ones went
    UNKNOWN = "unknown"  # the published tables do not say


@dataclass(frozen=True, slots=True)
class ListInRun:
    """A product and its list in one run.

    Attributes:
        run: The run.
        product: Its row of `products`; None where the run does not have it.
        listed: Its row of `similar_lists`; None where there is none.
        rows: Rows of `similar_products` by recommended product, by rank.
        products: Rows of `products` of everything that any of the runs recommends for it.
        items: The item compared of each of these; None where it has none.
        broken_rules: The hide or require rule that keeps a product out of the list.
    """

    run: str
    product: Mapping[str, Any] | None
    listed: Mapping[str, Any] | None
    rows: Mapping[str, Mapping[str, Any]]
    products: Mapping[str, Mapping[str, Any]]
    items: Mapping[str, str | None]
    broken_rules: Mapping[str, str]

    @property
    def is_full(self) -> bool:
        """True if the list has as many places as asked for, and none is filled up."""
        is_filled_up = any(row["fallback"] for row in self.rows.values())
        is_short = self.listed is None or bool(self.listed["shortfall_reason"])
        return bool(self.rows) and not is_filled_up and not is_short

    @property
    def last_distance(self) -> int | None:
        """The largest distance of a row that no rule moved and that fills nothing up."""
        plain = [r for r in self.rows.values() if not r["rule"] and not r["fallback"]]
        found = [weighted_distance(row) for row in plain]
        return max((d for d in found if d is not None), default=None)


@dataclass(frozen=True, slots=True)
class ChangeCause:
    """The cause of a change.

    Attributes:
        reason: Its kind.
        detail: A sentence without its full stop.
    """

    reason: ChangeReason
    detail: str


def explain_arrival(former: ListInRun, now: ListInRun, product_id: str) -> ChangeCause:
    """Explain why a product is in the list of a run, and was not in that of the run before.

    Args:
        former: The list in the run before.
        now: The list in the run.
        product_id: The recommended product.
    """
    row = now.rows[product_id]
    if former.product is None:
        return ChangeCause(
            ChangeReason.PRODUCT, f"run {former.run} did not have the product itself"
        )
    if row["rule"]:
        return ChangeCause(ChangeReason.RULE, f"rule {row['rule']} put it there")
    if row["fallback"]:
        fill = str(row["fallback"]).replace("_", " ")
        return ChangeCause(ChangeReason.FILL, f"it fills the list up ({fill})")
    if cause := _find_obstacle(former, product_id, "was", "did"):
        return cause
    if rule := former.broken_rules.get(product_id):
        return ChangeCause(ChangeReason.RULE_ENDED, f"rule {rule} kept it out before")
    sibling = _find_sibling(now, former, product_id)
    if sibling and sibling not in now.rows:
        text = f"it stands for its article now, before it {sibling} did"
        return ChangeCause(ChangeReason.SAME_ARTICLE, text)
    if cause := _find_other_measure(former, now, product_id):
        return cause
    went = [i for i in former.rows if i not in now.rows]
    return _explain_places(former, now, weighted_distance(row), went, came_in=True)


def explain_departure(former: ListInRun, now: ListInRun, product_id: str) -> ChangeCause:
    """Explain why a product is not in the list of a run, and was in that of the run before.

    Args:
        former: The list in the run before.
        now: The list in the run.
        product_id: The recommended product.
    """
    row = former.rows[product_id]
    if now.product is None:
        return ChangeCause(ChangeReason.PRODUCT, f"run {now.run} does not have the product itself")
    if cause := _find_obstacle(now, product_id, "is", "does"):
        return cause
    if rule := now.broken_rules.get(product_id):
        return ChangeCause(ChangeReason.RULE, f"rule {rule} keeps it out")
    if sibling := _find_sibling(now, now, product_id):
        text = f"one colour or size stands for an article, and that is {sibling}"
        return ChangeCause(ChangeReason.SAME_ARTICLE, text)
    if row["rule"]:
        text = f"rule {row['rule']} put it there before, and does so no longer"
        return ChangeCause(ChangeReason.RULE_ENDED, text)
    if row["fallback"]:
        fill = str(row["fallback"]).replace("_", " ")
        return ChangeCause(ChangeReason.FILL, f"it only filled the list up before ({fill})")
    if cause := _find_other_measure(former, now, product_id):
        return cause
    came = [i for i in now.rows if i not in former.rows]
    return _explain_places(now, former, weighted_distance(row), came, came_in=False)


def weighted_distance(row: Mapping[str, Any]) -> int | None:
    """Return the distance of a row of `similar_products`; None where a column is empty.

    Args:
        row: The row. A run of an earlier version lacks some columns.
    """
    names = ("shape", "colour", "kind")
    weights = [row[f"{name}_weight"] for name in names]
    distances = [row[f"{name}_distance"] for name in names]
    if None in (*weights, *distances, row["colour_name_distance"]):
        return None
    distances[1] += row["colour_name_distance"]
    return int(sum(w * d for w, d in zip(weights, distances, strict=True)))


def _find_obstacle(at: ListInRun, product_id: str, be: str, do: str) -> ChangeCause | None:
    """Return why a run cannot recommend a product, whatever its likeness; None if it can.

    Args:
        at: The list in that run, which has the product itself.
        product_id: The product to recommend.
        be: "is" or "was", for the sentence.
        do: "does" or "did".
    """
    own, other = at.product, at.products.get(product_id)
    assert own is not None
    if other is None:
        if be == "was":
            return ChangeCause(ChangeReason.NEW_PRODUCT, f"run {at.run} did not have it")
        text = f"run {at.run} does not have it: its shop sells it no longer, or it was refused"
        return ChangeCause(ChangeReason.GONE, text)
    if other["availability"] != Availability.IN_STOCK:
        stock = str(other["availability"]).replace("_", " ")
        return ChangeCause(ChangeReason.STOCK, f"it {be} not in stock in run {at.run} ({stock})")
    if at.listed is None or at.listed["shortfall_reason"] == ShortfallReason.NO_CODE:
        text = f"no picture of the product itself could be compared in run {at.run}"
        return ChangeCause(ChangeReason.NO_PICTURE, text)
    if at.items.get(product_id) is None:
        text = f"no picture of it could be compared in run {at.run}"
        return ChangeCause(ChangeReason.NO_PICTURE, text)
    for name in ("super_category", "age_group", "gender"):
        is_other = own[name] != other[name]
        if name == "gender":
            is_other = not genders_fit(own[name], other[name])
        if is_other:
            values = " and the product ".join(str(r[name]).replace("_", " ") for r in (other, own))
            text = f"run {at.run} {do} not compare them: it {be} {values}"
            return ChangeCause(ChangeReason.AUDIENCE, text)
    if _article_key(own) == _article_key(other):
        text = f"it {be} a colour or size of the product itself in run {at.run}"
        return ChangeCause(ChangeReason.SAME_ARTICLE, text)
    return None


def _find_sibling(products: ListInRun, lists: ListInRun, product_id: str) -> str | None:
    """Return another product of the same article in a list; None for none.

    Args:
        products: The run that says which products are one article.
        lists: The list to look in.
        product_id: The recommended product.
    """
    key = _article_key(products.products[product_id])
    return next(
        (
            i
            for i in lists.rows
            if i != product_id
            and i in products.products
            and _article_key(products.products[i]) == key
        ),
        None,
    )


def _article_key(product: Mapping[str, Any]) -> str:
    """Return a text that is equal for the products of one article, as the search joins them."""
    if product["article_id"]:
        return str(product["article_id"])
    if product["group_id"]:
        return f"{product['shop_id']}\n{str(product['group_id']).lower()}"
    return str(product["product_id"])


def _find_other_measure(former: ListInRun, now: ListInRun, product_id: str) -> ChangeCause | None:
    """Return what makes distances of the two runs incomparable; None if nothing does."""
    for name in ("encoder", "detector"):
        before, after = (_first_value(at.rows, name) for at in (former, now))
        if before and after and before != after:
            return ChangeCause(ChangeReason.MODEL, f"{name} {after} in place of {before}")
    before, after = (_describe_weights(at.product or {}) for at in (former, now))
    if before != after:
        return ChangeCause(ChangeReason.WEIGHTS, f"weights {after} in place of {before}")
    for whose, pairs in (
        ("the product itself", (former.product or {}, now.product or {})),
        ("it", (former.products.get(product_id, {}), now.products.get(product_id, {}))),
    ):
        is_own = whose != "it"
        items = [
            (at.listed or {}).get("item_id") if is_own else at.items.get(product_id)
            for at in (former, now)
        ]
        if items[0] != items[1]:
            return ChangeCause(ChangeReason.PICTURE, f"another picture of {whose} is compared")
        leaves = [str(row.get("category")) for row in pairs]
        if leaves[0] != leaves[1]:
            text = f"{whose} is in {leaves[1]} now, before in {leaves[0]}"
            return ChangeCause(ChangeReason.CATEGORY, text)
        colours = [" ".join(row.get("colour_names") or ["no colour"]) for row in pairs]
        if colours[0] != colours[1]:
            text = f"the feed names {colours[1]} for {whose}, before {colours[0]}"
            return ChangeCause(ChangeReason.COLOURS, text)
    return None


def _explain_places(
    full: ListInRun,
    other: ListInRun,
    distance: int | None,
    others: list[str],
    *,
    came_in: bool,
) -> ChangeCause:
    """Explain a change by the places of the list that does not have the product.

    Args:
        full: The list that does not have it.
        other: The list that has it.
        distance: The product's distance.
        others: The products that only the list has that does not have it.
        came_in: The product came; False if it went.
    """
    unknown = ChangeCause(ChangeReason.UNKNOWN, "the published tables do not say why")
    last = full.last_distance
    if distance is None or last is None or not full.is_full or distance < last:
        return unknown
    if not others and len(full.rows) < len(other.rows):
        counts = f"{len(full.rows)} places in run {full.run}, {len(other.rows)} in {other.run}"
        return ChangeCause(ChangeReason.LIST_LENGTH, f"lists have {counts}")
    ruled = [i for i in others if full.rows[i]["rule"]]
    nearer = [i for i in others if i not in ruled]
    if not nearer and ruled:
        rules = ", ".join(sorted({str(full.rows[i]["rule"]) for i in ruled}))
        if came_in:
            text = f"its place was taken by rule {rules} before"
            return ChangeCause(ChangeReason.RULE_ENDED, text)
        return ChangeCause(ChangeReason.RULE, f"its place was taken by rule {rules}")
    if not nearer:
        return unknown
    verb = "went" if came_in else "came"
    reach = f"its distance is {distance}, that of the last in run {full.run} {last}"
    reason = ChangeReason.FREED_PLACE if came_in else ChangeReason.NEARER
    return ChangeCause(reason, f"nearer ones {verb}: {_name_some(nearer)}; {reach}")


def _name_some(product_ids: list[str]) -> str:
    named = ", ".join(product_ids[:_MAX_NAMED])
    more = len(product_ids) - _MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _first_value(rows: Mapping[str, Mapping[str, Any]], name: str) -> Any:
    """Return a column of the first row that has it; None where there is none."""
    return next((row[name] for row in rows.values() if row[name]), None)


def _describe_weights(product: Mapping[str, Any]) -> str:
    return " : ".join(str(product.get(f"{name}_weight")) for name in ("shape", "colour", "kind"))
