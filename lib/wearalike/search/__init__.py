"""Codes to matches: the most alike products of a super-category, exactly, under the rules.

gallery: the products of a super-category, laid out for the search.
kernels: the k nearest codes, on the CPU, on a GPU, and by definition.
candidates: the nearest candidates of each product.
incremental: what changed since another run, and the merge with its candidates.
ranking: plain lists, with one result a group and few of a brand.
merchandising: lists under the merchandiser's rules: pins, boosts, fills.
gallery_search: all of it, the lists of a gallery's products.
code_search: lists for codes that no product has.
reasons: why a result is alike, in words.
photo_search: a shopper's photo to products.
output_rows: lists as rows of tables.
"""

from wearalike.search.candidates import (
    NearestCandidates,
    candidates_from_table,
    candidates_to_table,
    concat_candidates,
)
from wearalike.search.code_search import (
    QueryKinds,
    elect_category,
    find_voters,
    search_code,
    search_codes,
    vote_category_weights,
)
from wearalike.search.gallery import GALLERY_COLUMNS, Gallery, build_gallery, eligible_candidates
from wearalike.search.gallery_search import search_gallery
from wearalike.search.incremental import GalleryDiff, PreviousSearch, diff_galleries
from wearalike.search.output_rows import (
    build_look_products,
    build_matches,
    build_matches_without_code,
    build_similar_lists,
    build_similar_products,
)
from wearalike.search.ranked_lists import (
    Fallback,
    ListRules,
    RankedList,
    RankedLists,
    ShortfallReason,
)
from wearalike.search.scores import DISTANCE_VERSION, distance_limit, distance_matrices, score

__all__ = [
    "DISTANCE_VERSION",
    "GALLERY_COLUMNS",
    "Fallback",
    "Gallery",
    "GalleryDiff",
    "ListRules",
    "NearestCandidates",
    "PreviousSearch",
    "QueryKinds",
    "RankedList",
    "RankedLists",
    "ShortfallReason",
    "build_gallery",
    "build_look_products",
    "build_matches",
    "build_matches_without_code",
    "build_similar_lists",
    "build_similar_products",
    "candidates_from_table",
    "candidates_to_table",
    "concat_candidates",
    "diff_galleries",
    "distance_limit",
    "distance_matrices",
    "elect_category",
    "eligible_candidates",
    "find_voters",
    "score",
    "search_code",
    "search_codes",
    "search_gallery",
    "vote_category_weights",
]
