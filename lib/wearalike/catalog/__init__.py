"""A shop's words to our leaves: the rubricator, the shops' mappings, and what is done with them.

schema      an operator's XML file against its schema: every mistake by file and line
rubricator  our tree of categories
mapping     what one shop's category ids and paths mean to us
offers      offers to products, by a mapping
rules       what a merchandiser pins, hides, requires, prefers
suggest     a draft of the lines a mapping lacks
"""

from wearalike.catalog.map_offers import CategoryReason, map_offers, unmapped_words, word_of
from wearalike.catalog.mapping import (
    Mapping,
    check,
    how_to_map,
    mapping_path,
    read_all,
    read_mapping,
    rules_path,
)
from wearalike.catalog.merchandising_rules import Rule, RuleKind, holding, read_rules
from wearalike.catalog.suggest_mapping import Guess, best_guesses, map_line, suggest, suggest_for
from wearalike.catalog.taxonomy import Leaf, Rubricator, read_rubricator
from wearalike.catalog.xml_validation import BadMapping

__all__ = [
    "BadMapping",
    "CategoryReason",
    "Guess",
    "Leaf",
    "Mapping",
    "Rubricator",
    "Rule",
    "RuleKind",
    "best_guesses",
    "check",
    "holding",
    "how_to_map",
    "map_line",
    "map_offers",
    "mapping_path",
    "read_all",
    "read_mapping",
    "read_rubricator",
    "read_rules",
    "rules_path",
    "suggest",
    "suggest_for",
    "unmapped_words",
    "word_of",
]
