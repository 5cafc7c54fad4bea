"""A shop's category words to the leaves of our taxonomy.

- `xml_validation`: an operator's XML file against its schema, every mistake by file and line
- `taxonomy`: our tree of categories
- `kinds`: how unlike two leaves are in kind
- `colour_names`: the colours that feeds name, and how unlike they are
- `mapping`: the meaning of one shop's category ids and paths
- `google_categories`: Google's product taxonomy, the default of every shop
- `map_offers`: offers to products, by a mapping
- `merchandising_rules`: the rules by which a merchandiser steers lists
- `rules_file`: the rules from rules.xml, each mistake by its line
- `product_conditions`: conditions on what feeds say, for rules and for filters of questions
- `category_weights`: weights in place of the taxonomy's
- `list_variants`: the variants of an experiment, with their weights and rules
- `variants`: the products of one article, in its colours and sizes
- `leaf_guesses`: the leaves that a shop's words may mean
- `suggest_mapping`: a draft of the lines that a mapping lacks
- `attributes`: shops' words for attributes of goods, from attributes.xml
- `packaged`: the files of mappings/ that come with wearalike
- `configuration`: the files of a deployment, read and checked together
"""

from wearalike.catalog.attributes import AttributeTable
from wearalike.catalog.colour_names import ColourNames, NameTable
from wearalike.catalog.configuration import (
    find_mistakes,
    mapping_path,
    missing_mapping_hint,
    read_attributes,
    read_colours,
    read_google_defaults,
    read_taxonomy_and_mappings,
    rules_path,
)
from wearalike.catalog.kinds import MAX_KIND_DISTANCE, CategoryKinds, KindTable
from wearalike.catalog.leaf_guesses import LeafGuess, guess_leaves
from wearalike.catalog.map_offers import CategoryReason, category_word, map_offers, unmapped_words
from wearalike.catalog.mapping import ShopMapping, read_mapping
from wearalike.catalog.merchandising_rules import (
    MerchandisingRule,
    MerchandisingRuleKind,
    active_rules,
)
from wearalike.catalog.rules_file import read_rules
from wearalike.catalog.suggest_mapping import (
    draft_mapping,
    draft_shop_mapping,
    format_map_line,
)
from wearalike.catalog.taxonomy import Leaf, Taxonomy, read_taxonomy
from wearalike.catalog.variants import iter_variants
from wearalike.catalog.xml_validation import BadMapping

__all__ = [
    "MAX_KIND_DISTANCE",
    "AttributeTable",
    "BadMapping",
    "CategoryKinds",
    "CategoryReason",
    "ColourNames",
    "KindTable",
    "Leaf",
    "LeafGuess",
    "MerchandisingRule",
    "MerchandisingRuleKind",
    "NameTable",
    "ShopMapping",
    "Taxonomy",
    "active_rules",
    "category_word",
    "draft_mapping",
    "draft_shop_mapping",
    "find_mistakes",
    "format_map_line",
    "guess_leaves",
    "iter_variants",
    "map_offers",
    "mapping_path",
    "missing_mapping_hint",
    "read_attributes",
    "read_colours",
    "read_google_defaults",
    "read_mapping",
    "read_rules",
    "read_taxonomy",
    "read_taxonomy_and_mappings",
    "rules_path",
    "unmapped_words",
]
