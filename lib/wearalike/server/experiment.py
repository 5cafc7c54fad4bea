"""The variant of the lists that a visitor sees; lists in which it and the control take turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from starlette.exceptions import HTTPException

from wearalike.experiment_settings import CONTROL, INTERLEAVED
from wearalike.metrics.interleaving import draft_teams
from wearalike.metrics.visitor_buckets import visitor_bucket
from wearalike.server.live_search import LiveList
from wearalike.server.snapshot import Snapshot

VisitorQuery = Annotated[
    str | None,
    Query(
        description="id of the visitor, any text, by whose hash an experiment chooses the lists; "
        "it is not kept",
        min_length=1,
        max_length=300,
    ),
]
VariantQuery = Annotated[
    str | None,
    Query(
        description="variant of the published experiment to show, whoever asks, or control; "
        "interleaved needs a visitor",
        max_length=64,
    ),
]


@dataclass(frozen=True, slots=True)
class ShownVariant:
    """The lists that a question gets.

    Attributes:
        experiment: The published experiment; None without one, and where nobody is named.
        variant: The variant, control or interleaved; None where nobody is named.
        opponent: The variant that takes turns with the control in interleaved lists.
        visitor: The visitor's id, which decides the turns.
    """

    experiment: str | None = None
    variant: str | None = None
    opponent: str | None = None
    visitor: str = ""


def choose_variant(s: Snapshot, visitor: str | None, variant: str | None) -> ShownVariant:
    """Return the variant that is asked for, else that of the visitor.

    Args:
        s: The publication.
        visitor: The visitor's id; None for nobody.
        variant: A variant that is asked for by name; None for that of the visitor.

    Raises:
        HTTPException: 422; the published experiment has no such variant, or lists are to be
            interleaved for nobody.
    """
    if visitor is None and variant is None:
        return ShownVariant()
    rows = s.list_variants()
    by_name = {row["variant"]: row for row in rows}
    names = sorted(by_name)
    opponent = None
    if rows and rows[0]["assignment"] == "interleave":
        (opponent,) = by_name.keys() - {CONTROL}
        names.append(INTERLEAVED)
    if variant is not None and variant not in (names or [CONTROL]):
        known = f"it has {', '.join(names)}" if names else "no experiment is published"
        raise HTTPException(422, f"variant: no variant {variant!r}; {known}")
    if variant == INTERLEAVED and visitor is None:
        raise HTTPException(422, "variant: interleaved lists need a visitor, who decides the turns")
    if not rows:
        return ShownVariant(variant=CONTROL)
    experiment = rows[0]["experiment"]
    if variant is None:
        bucket = visitor_bucket(experiment, visitor or "")
        variant = next(r["variant"] for r in rows if r["first_bucket"] <= bucket < r["end_bucket"])
        variant = INTERLEAVED if variant == opponent else variant
    return ShownVariant(experiment, variant, opponent, visitor or "")


def read_variant_lists(
    s: Snapshot, product_ids: Sequence[str], k: int, shown: ShownVariant
) -> dict[str, LiveList]:
    """Return the published lists of products as a variant has them, by product_id.

    In interleaved lists each row has its place there as `rank`, and names its `team`: the variant
    or the control. Rows that follow once one of both has no more have no team.

    Args:
        s: The publication.
        product_ids: The products, each once.
        k: Most results of a list.
        shown: The variant.
    """
    if shown.variant != INTERLEAVED:
        return _read_lists(s, product_ids, k, shown.variant)
    control = _read_lists(s, product_ids, k, CONTROL)
    other = _read_lists(s, product_ids, k, shown.opponent)
    lists = {}
    for product_id in product_ids:
        both = control[product_id], other[product_id]
        ids = [[row["similar_product_id"] for row in one.rows] for one in both]
        seed = f"{shown.experiment}:{shown.visitor}:{product_id}"
        rows: list[dict[str, Any]] = []
        for rank, pick in enumerate(draft_teams(ids[0], ids[1], k, seed), 1):
            team = None if pick.team is None else (CONTROL, shown.opponent)[pick.team]
            row = both[pick.list_number].rows[pick.position]
            rows.append({**row, "rank": rank, "team": team})
        reason = control[product_id].shortfall_reason
        lists[product_id] = LiveList(rows, reason if len(rows) < k else None)
    return lists


def _read_lists(
    s: Snapshot, product_ids: Sequence[str], k: int, variant: str | None
) -> dict[str, LiveList]:
    """Return the lists of a variant; those of the control for control and for None."""
    of = None if variant == CONTROL else variant
    rows, about = s.similar_of(product_ids, k, of), s.similar_lists_of(product_ids, of)
    return {
        product_id: LiveList(rows[product_id], about.get(product_id, {}).get("shortfall_reason"))
        for product_id in product_ids
    }
