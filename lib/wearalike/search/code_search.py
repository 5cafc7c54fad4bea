"""The search for codes that no product has, such as a photo's or those of items worn in a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.search.candidates import CANDIDATES_PER_RESULT
from wearalike.search.gallery import CandidateSet, Gallery
from wearalike.search.kernels.query_batch import QueryBatch
from wearalike.search.page_rules import PageRules
from wearalike.search.ranked_lists import ListRules, RankedList, shortfall_reasons
from wearalike.search.ranking import select_allowed
from wearalike.search.scores import distance_limits, distance_matrices

# Codes that are searched together.
_BLOCK_QUERIES = 1024
# A list that needs more candidates gets this many times as many.
_WIDENING_FACTOR = 8
# Nearest products in shape that vote on the category of a code.
_VOTERS = 10
_NO_GROUPS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class QueryKinds:
    """The kind that a code wants, as a distance to each kind of a gallery.

    A photo says no colour names, so they do not count.

    Attributes:
        weight: 0..255. Weight of kind in the distance.
        distances: int32 (kinds,), 0..64, in the order of the gallery's kind_table.
    """

    weight: int
    distances: NDArray[np.int32]

    @classmethod
    def none(cls, gallery: Gallery) -> QueryKinds:
        """Return that no kind is wanted."""
        return cls(0, np.zeros(len(gallery.kind_table.names), np.int32))

    @classmethod
    def of_row(cls, gallery: Gallery, row: int, weight: int) -> QueryKinds:
        """Return that the kind of a row of the gallery is wanted, with a weight of 0..255."""
        return cls(weight, gallery.kind_table.distances[gallery.kind[row]])


def search_code(
    gallery: Gallery,
    candidate_rows: NDArray[np.int64],
    code: NDArray[np.uint64],
    shape_weight: int,
    colour_weight: int,
    rules: ListRules,
    kinds: QueryKinds | None = None,
) -> RankedList:
    """Return the list for one code; its query_row is -1.

    Args:
        gallery: The products of one super-category.
        candidate_rows: int64 (m,), ascending. Rows that may be shown.
        code: uint64 (4,).
        shape_weight: 0..255.
        colour_weight: 0..255.
        rules: The rules of the list.
        kinds: The kind that is wanted; default: none counts.
    """
    shape = np.array([shape_weight], np.int32)
    colour = np.array([colour_weight], np.int32)
    return next(search_codes(gallery, candidate_rows, code[None], shape, colour, rules, kinds))


def search_codes(
    gallery: Gallery,
    candidate_rows: NDArray[np.int64],
    codes: NDArray[np.uint64],
    shape_weight: NDArray[np.int32],
    colour_weight: NDArray[np.int32],
    rules: ListRules,
    kinds: QueryKinds | None = None,
    page_rules: Sequence[PageRules] | None = None,
) -> Iterator[RankedList]:
    """Yield the list for each of several codes, in their order; see `search_code`.

    Args:
        gallery: The products of one super-category.
        candidate_rows: int64 (m,), ascending. Rows that may be shown.
        codes: uint64 (n, 4).
        shape_weight: int32 (n,), 0..255.
        colour_weight: int32 (n,), 0..255.
        rules: The rules of the lists.
        kinds: The kind that all codes want; default: none counts.
        page_rules: The merchandiser's rules of the n pages that show the lists, of which hide and
            require act; None for no rules.
    """
    candidates = CandidateSet(gallery, candidate_rows)
    kinds = kinds or QueryKinds.none(gallery)
    limits = distance_limits(shape_weight + colour_weight + kinds.weight, rules.min_score)
    offsets = np.tile(kinds.weight * kinds.distances[gallery.traits.kind], (len(codes), 1))
    queries = QueryBatch(codes, shape_weight, colour_weight, limits, offsets)
    start = 0
    for block in queries.split(_BLOCK_QUERIES):
        stop = start + len(block.codes)
        pages = None if page_rules is None else page_rules[start:stop]
        yield from _rank_codes(
            candidates, rules, block, kinds.distances, pages, CANDIDATES_PER_RESULT * rules.k
        )
        start = stop


def vote_category_weights(
    gallery: Gallery, candidate_rows: NDArray[np.int64], codes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return for each code a product whose category, and so whose weights, it takes.

    The ten products nearest in shape vote. The nearest of the winning category is returned; a tie
    goes to the category of the nearer product.

    Args:
        gallery: The products of one super-category.
        candidate_rows: int64 (m,), ascending, m >= 1. Rows that may vote.
        codes: uint64 (n, 4).

    Returns:
        int64 (n,). Rows of the gallery.
    """
    voters = find_voters(gallery, candidate_rows, codes)
    return np.array([elect_category(gallery, rows) for rows in voters], np.int64)


def find_voters(
    gallery: Gallery, candidate_rows: NDArray[np.int64], codes: NDArray[np.uint64]
) -> list[NDArray[np.int64]]:
    """Return for each code the rows of the ten products nearest in shape, the nearest first.

    Args:
        gallery: The products of one super-category.
        candidate_rows: int64 (m,), ascending, m >= 1. Rows that may vote.
        codes: uint64 (n, 4).
    """
    ones = np.ones(len(codes), np.int32)
    rules = ListRules(_VOTERS, min_score=0, max_per_brand=_VOTERS)
    lists = search_codes(gallery, candidate_rows, codes, ones, 0 * ones, rules)
    return [ranked.results for ranked in lists]


def elect_category(gallery: Gallery, voters: NDArray[np.int64]) -> int:
    """Return the first of the voters' rows whose category most of them have.

    Args:
        gallery: The products of one super-category.
        voters: int64 (n,), n >= 1. Rows of the gallery.
    """
    categories = gallery.attributes.category[voters].tolist()
    # Counter keeps the order of first appearance, which breaks ties.
    winner = Counter(categories).most_common(1)[0][0]
    return int(voters[categories.index(winner)])


def _rank_codes(
    candidates: CandidateSet,
    rules: ListRules,
    queries: QueryBatch,
    kind_distances: NDArray[np.int32],
    pages: Sequence[PageRules] | None,
    count: int,
) -> Iterator[RankedList]:
    """Yield the lists of a batch from `count` candidates each; fetch more where a list needs it."""
    counts, nearest = candidates.find_nearest(queries, count)
    gallery = candidates.gallery
    # A photo is of no shop: the limit is off if every shop is one of one brand.
    is_free = gallery.is_of_one_brand_shop(rules.max_brand_share)[candidates.rows].all()
    max_per_brand = rules.k if is_free else rules.max_per_brand
    for i, rows in enumerate(np.split(nearest, np.cumsum(counts)[:-1])):
        shown = rows if pages is None else rows[pages[i].may_show(rows)]
        allowed = select_allowed(
            -1,
            shown.astype(np.int32),
            gallery.groups,
            gallery.brands,
            _NO_GROUPS,
            rules.k,
            max_per_brand,
        )
        if len(rows) == count and len(allowed) < rules.k:
            page = None if pages is None else pages[i : i + 1]
            wider = _WIDENING_FACTOR * count
            yield from _rank_codes(
                candidates, rules, queries[i : i + 1], kind_distances, page, wider
            )
        else:
            code = queries.codes[i : i + 1]
            results = shown[allowed]
            kind = kind_distances[gallery.kind[results]]
            yield _build_list(candidates, rules, code, rows, results, kind)


def _build_list(
    candidates: CandidateSet,
    rules: ListRules,
    code: NDArray[np.uint64],
    found_rows: NDArray[np.int64],
    results: NDArray[np.int64],
    kind: NDArray[np.int32],
) -> RankedList:
    """Add distances and the reason of a short list to the results for a code, uint64 (1, 4)."""
    shape, colour = distance_matrices(code, candidates.gallery.codes[results])
    (reason,) = shortfall_reasons(
        np.array([len(results)]),
        np.array([len(found_rows)]),
        np.array([len(np.unique(candidates.gallery.groups[found_rows]))]),
        np.array([len(candidates)]),
        len(candidates),
        rules.k,
    )
    count = len(results)
    return RankedList(
        -1,
        results,
        shape[0],
        colour[0],
        kind,
        np.zeros(count, np.int32),
        reason,
        rules=[None] * count,
        fallbacks=[None] * count,
    )
