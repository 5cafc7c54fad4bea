"""Codes to matches: for every product the most alike ones of its super-category, exactly, after the rules.

distance = w_shape * H(shape) + w_colour * H(colour), H the Hamming distance of 128 bits, weights of the product that asks
score    = max(0, 1 - 2 * distance / (128 * (w_shape + w_colour))): the cosine of the weighted +-1 codes, cut at 0
Order: smaller distance first, then smaller product_id.

The merchandiser's rules (merchandising.Rulings) act before the cut to the best k: what is hidden leaves room for the next,
what is preferred goes before by a bounded distance, what is pinned takes its rank. A list they fill says so in each row.

galleries  the products of a super-category, side by side
scores     distances and scores of codes
near       the candidates nearest to a product, remembered from run to run
hunt       the search, and what the rules do to it
rows       what was found as rows of tables
"""

from wearalike.search.gallery import PRODUCT_COLUMNS, Gallery, gallery, may_answer
from wearalike.search.incremental import Changes, Near, Recall, changes, joined, near_of, near_table
from wearalike.search.output_rows import (
    look_products,
    similar_lists,
    similar_products,
    table,
    without_code,
)
from wearalike.search.ranking import (
    Fallback,
    Found,
    Lists,
    Rules,
    ShortReason,
    alike,
    all_alike,
    search,
    voted,
)
from wearalike.search.scores import distances, limit, score

__all__ = [
    "PRODUCT_COLUMNS",
    "Changes",
    "Fallback",
    "Found",
    "Gallery",
    "Lists",
    "Near",
    "Recall",
    "Rules",
    "ShortReason",
    "alike",
    "all_alike",
    "changes",
    "distances",
    "gallery",
    "joined",
    "limit",
    "look_products",
    "may_answer",
    "near_of",
    "near_table",
    "score",
    "search",
    "similar_lists",
    "similar_products",
    "table",
    "voted",
    "without_code",
]
