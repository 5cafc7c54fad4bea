"""The lists a search returns, and the rules every list obeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.quality_settings import ListSettings
from wearalike.search.candidates import NearestCandidates

_DEFAULTS = ListSettings()


class ShortfallReason(StrEnum):
    """Why a list has fewer than k results."""

    NO_CODE = "no_code"  # the product has no code; `refused` says why
    FEW_CANDIDATES = "few_candidates"  # too few products in stock for this audience
    # More are alike, but one result a group, max_per_brand and merchandising rules left no more.
    RULES = "rules"
    MIN_SCORE = "min_score"  # the rest is not alike enough


class Fallback(StrEnum):
    """Why a result stands in a list although the list rules exclude it."""

    LESS_ALIKE = "less_alike"  # its score is below min_score
    SAME_BRAND = "same_brand"  # its brand already has max_per_brand results


@dataclass(frozen=True, slots=True)
class ListRules:
    """The rules of a list.

    Attributes:
        k: Length of the list.
        min_score: 0..1. Less alike products are left out.
        max_per_brand: Results of one brand, at most.
        max_brand_share: 0..1. If one brand has a larger share of a shop's products, max_per_brand
            does not apply to the shop's pages: there is hardly another brand. 1 applies it always.
        diversity: 0..1. How much results count that are unlike each other; see `diversity`.
    """

    k: int = _DEFAULTS.k
    min_score: float = _DEFAULTS.min_score
    max_per_brand: int = _DEFAULTS.max_per_brand
    max_brand_share: float = _DEFAULTS.max_brand_share
    diversity: float = _DEFAULTS.diversity


def filtered_list_rules(rules: ListRules, filters: ProductConditions) -> ListRules:
    """Return the rules of a list that filters act on: who asks for a brand gets all of it."""
    return replace(rules, max_per_brand=rules.k) if filters.brands else rules


@dataclass(frozen=True, slots=True)
class RankedList:
    """The list of one product or code, best first; all arrays have one length.

    Attributes:
        query_row: Row of the product that asks; -1 for a code of no product.
        results: int64. Rows of the gallery.
        shape: int32, 0..128. Hamming distances of shape.
        colour: int32, 0..128. Hamming distances of colour.
        kind: int32, 0..64. Distances of kind.
        colour_name: int32, 0..32. Distances of colour names.
        shortfall_reason: Why the list is shorter than k; None if it is not.
        rules: For each result the merchandising rule that moved it, or None.
        fallbacks: For each result the kind of fallback it is, or None.
    """

    query_row: int
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    kind: NDArray[np.int32]
    colour_name: NDArray[np.int32]
    shortfall_reason: ShortfallReason | None
    rules: list[str | None]
    fallbacks: list[Fallback | None]


@dataclass(frozen=True, slots=True)
class RankedLists:
    """The lists of m products; iterate to get a `RankedList` of each.

    The results of list i are results[starts[i] : starts[i + 1]], and so for the other arrays of t
    entries.

    Attributes:
        candidates: The nearest candidates, as many as the next run is to remember.
        starts: int64 (m + 1,).
        results: int64 (t,). Rows of the gallery.
        shape: int32 (t,), 0..128.
        colour: int32 (t,), 0..128.
        kind: int32 (t,), 0..64.
        colour_name: int32 (t,), 0..32.
        shortfall_reasons: object (m,). ShortfallReason or None.
        rules: object (t,). str or None.
        fallbacks: object (t,). Fallback or None.
    """

    candidates: NearestCandidates
    starts: NDArray[np.int64]
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    kind: NDArray[np.int32]
    colour_name: NDArray[np.int32]
    shortfall_reasons: NDArray[np.object_]
    rules: NDArray[np.object_]
    fallbacks: NDArray[np.object_]

    def __iter__(self) -> Iterator[RankedList]:
        for i, row in enumerate(self.candidates.query_rows.tolist()):
            entries = slice(self.starts[i], self.starts[i + 1])
            yield RankedList(
                row,
                self.results[entries],
                self.shape[entries],
                self.colour[entries],
                self.kind[entries],
                self.colour_name[entries],
                self.shortfall_reasons[i],
                self.rules[entries].tolist(),
                self.fallbacks[entries].tolist(),
            )


def shortfall_reasons(
    counts: NDArray[np.int64],
    found_counts: NDArray[np.int64],
    found_group_counts: NDArray[np.int64],
    other_counts: NDArray[np.int64],
    candidate_count: int,
    k: int,
) -> NDArray[np.object_]:
    """Tell why lists are short.

    Args:
        counts: int64 (m,). Results in each list.
        found_counts: int64 (m,). Candidates that were ranked for each list.
        found_group_counts: int64 (m,). Their groups, without that of the product itself.
        other_counts: int64 (m,). Candidates other than the product itself.
        candidate_count: All candidates that this audience may be shown.
        k: Length of a full list.

    Returns:
        object (m,). A ShortfallReason, or None for a full list.
    """
    is_short = counts < k
    reasons = np.full(len(counts), None, dtype=object)
    reasons[is_short] = ShortfallReason.MIN_SCORE
    is_cut_by_rules = (found_counts == candidate_count) | (found_group_counts >= k)
    reasons[is_short & is_cut_by_rules] = ShortfallReason.RULES
    has_few = is_short & (other_counts < k)
    reasons[has_few] = ShortfallReason.FEW_CANDIDATES
    # The few that are alike would have made a longer list.
    reasons[has_few & (counts < found_group_counts)] = ShortfallReason.RULES
    return reasons
