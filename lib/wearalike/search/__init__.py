"""Codes to matches: for every product the most alike ones of its super-category, exactly, after the rules.

distance = shape_weight * H(shape) + colour_weight * H(colour), H the Hamming distance of 128 bits, weights of the product that asks
score    = max(0, 1 - 2 * distance / (128 * (shape_weight + colour_weight))): the cosine of the weighted +-1 codes, cut at 0
Order: smaller distance first, then smaller product_id.

The merchandiser's rules (merchandising.MerchandisingRules) act before the cut to the best k: what is hidden leaves room for the next,
what is preferred goes before by a bounded distance, what is pinned takes its rank. A list they fill says so in each row.

galleries  the products of a super-category, side by side
scores     distances and scores of codes
near       the candidates nearest to a product, remembered from run to run
hunt       the search, and what the rules do to it
rows       what was found as rows of tables
"""

from wearalike.search.gallery import GALLERY_COLUMNS, Gallery, build_gallery, eligible_candidates
from wearalike.search.incremental import (
    GalleryDiff,
    NearestCandidates,
    PreviousSearch,
    candidates_from_table,
    candidates_to_table,
    concat_candidates,
    diff_galleries,
)
from wearalike.search.output_rows import (
    build_look_products,
    build_matches,
    build_matches_without_code,
    build_similar_lists,
    build_similar_products,
)
from wearalike.search.ranking import (
    Fallback,
    ListRules,
    RankedList,
    RankedLists,
    ShortfallReason,
    search_code,
    search_codes,
    search_gallery,
    vote_category_weights,
)
from wearalike.search.scores import distance_limit, distance_matrices, score

__all__ = [
    "GALLERY_COLUMNS",
    "Fallback",
    "Gallery",
    "GalleryDiff",
    "ListRules",
    "NearestCandidates",
    "PreviousSearch",
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
    "eligible_candidates",
    "score",
    "search_code",
    "search_codes",
    "search_gallery",
    "vote_category_weights",
]
