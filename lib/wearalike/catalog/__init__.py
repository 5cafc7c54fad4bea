"""A shop's words to our leaves: the taxonomy, the shops' mappings, and what is done with them.

schema      an operator's XML file against its schema: every mistake by file and line
taxonomy  our tree of categories
mapping     what one shop's category ids and paths mean to us
offers      offers to products, by a mapping
rules       what a merchandiser pins, hides, requires, prefers
suggest     a draft of the lines a mapping lacks
"""

from wearalike.catalog.map_offers import CategoryReason, category_word, map_offers, unmapped_words
from wearalike.catalog.mapping import (
    ShopMapping,
    find_mistakes,
    mapping_path,
    missing_mapping_hint,
    read_mapping,
    read_taxonomy_and_mappings,
    rules_path,
)
from wearalike.catalog.merchandising_rules import (
    MerchandisingRule,
    MerchandisingRuleKind,
    active_rules,
    read_rules,
)
from wearalike.catalog.suggest_mapping import (
    LeafGuess,
    draft_mapping,
    draft_shop_mapping,
    format_map_line,
    guess_leaves,
)
from wearalike.catalog.taxonomy import Leaf, Taxonomy, read_taxonomy
from wearalike.catalog.xml_validation import BadMapping

__all__ = [
    "BadMapping",
    "CategoryReason",
    "Leaf",
    "LeafGuess",
    "MerchandisingRule",
    "MerchandisingRuleKind",
    "ShopMapping",
    "Taxonomy",
    "active_rules",
    "category_word",
    "draft_mapping",
    "draft_shop_mapping",
    "find_mistakes",
    "format_map_line",
    "guess_leaves",
    "map_offers",
    "mapping_path",
    "missing_mapping_hint",
    "read_mapping",
    "read_rules",
    "read_taxonomy",
    "read_taxonomy_and_mappings",
    "rules_path",
    "unmapped_words",
]
