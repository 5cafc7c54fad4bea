"""Words of labelled photos for types, and the leaf that each means, from labels.xml.

labels.xml has the format of a shop's mapping; a path is the whole word. The word may also be the id
of a leaf, as in a run's own tables.
"""

from __future__ import annotations

from pathlib import Path

from wearalike.catalog.mapping import ShopMapping, read_mapping
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.taxonomy import Leaf, Taxonomy, read_taxonomy
from wearalike.tables import AgeGroup, Gender

_FILE = "labels.xml"
_GENDERS = {
    "women": Gender.FEMALE,
    "girls": Gender.FEMALE,
    "men": Gender.MALE,
    "boys": Gender.MALE,
    **{gender.value: gender for gender in Gender},
}
_CHILDREN = ("girls", "boys", "kids")


class LabelWords:
    """The leaf that each word of labelled photos means.

    Attributes:
        path: The file of the words.
        taxonomy: The taxonomy with the leaves.
    """

    def __init__(self, taxonomy: Taxonomy, mapping: ShopMapping, path: Path) -> None:
        """Take the taxonomy and the words that were read with it."""
        self.path = path
        self.taxonomy = taxonomy
        self._mapping = mapping

    def find_leaf(self, word: str, gender: str = "") -> Leaf | None:
        """Return the leaf that a label means; None if no line of the file has it, or ignores it.

        Args:
            word: The label's word, or the id of a leaf.
            gender: The set's word for whom the thing is; empty if it does not say.
        """
        if word in self.taxonomy.leaves:
            return self.taxonomy.leaves[word]
        who = gender.casefold()
        age_group = AgeGroup.KIDS if who in _CHILDREN else AgeGroup.ADULT
        line = self._mapping.find_line((), (word,), _GENDERS.get(who), age_group)
        return self.taxonomy.leaves[line.leaf_id] if line and line.leaf_id else None


def read_label_words(mappings: Path) -> LabelWords:
    """Read the words of a deployment's labels.xml, else wearalike's own.

    Args:
        mappings: The deployment's folder of mappings; without a taxonomy in it, wearalike's own is
            taken.

    Raises:
        BadMapping: With every mistake of taxonomy or words.
    """
    files = {
        name: mappings / name if (mappings / name).is_file() else packaged_mapping_path(name)
        for name in ("taxonomy.xml", _FILE)
    }
    taxonomy = read_taxonomy(files["taxonomy.xml"])
    return LabelWords(taxonomy, read_mapping(files[_FILE], taxonomy), files[_FILE])
