"""People's judgements of pairs as triplets: a product, one alike to it, and one that is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product as combinations

from wearalike.quality.judgements import Judgement, RelevanceVerdict

# Numbers of three products: anchor, alike, not alike.
ProductTriplet = tuple[int, int, int]
_MAX_TRIPLETS_PER_PRODUCT = 20


def build_triplets(
    judgements: Sequence[Judgement], number_of_product: Mapping[str, int]
) -> list[ProductTriplet]:
    """Pair every product judged alike with every one judged not alike, for each query.

    A pair counts by the majority of its judges; without a majority it is left out. Where nothing
    was judged alike, the query's own pictures stand for what is alike.

    Args:
        judgements: All judgements.
        number_of_product: Number of each product that is learned from; judgements of products that
            are not among them, which may be kept for tests, are left out.

    Returns:
        The triplets, sorted.
    """
    votes: dict[tuple[str, str], int] = defaultdict(int)
    for judgement in judgements:
        if judgement.verdict is not RelevanceVerdict.UNSURE:
            votes[judgement.pair] += 1 if judgement.verdict is RelevanceVerdict.ALIKE else -1
    alike: dict[int, set[int]] = defaultdict(set)
    unlike: dict[int, set[int]] = defaultdict(set)
    for (query, result), vote in votes.items():
        if vote and query in number_of_product and result in number_of_product:
            verdicts = alike if vote > 0 else unlike
            verdicts[number_of_product[query]].add(number_of_product[result])
    triplets = []
    for anchor, wrong in sorted(unlike.items()):
        right = alike.get(anchor) or {anchor}
        pairs = sorted(combinations(sorted(right), sorted(wrong - right)))
        triplets += [(anchor, a, b) for a, b in pairs[:_MAX_TRIPLETS_PER_PRODUCT]]
    return triplets
