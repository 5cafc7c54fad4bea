"""How unlike two kinds of product are, from the taxonomy.

A kind is what leaves of several audiences share: women's and men's T-shirts are one kind. Kinds of
one family are near each other, all others are far. Distances are whole numbers, so that the search
stays exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# The distance of two kinds that have nothing in common: as many bits as two random codes differ by.
MAX_KIND_DISTANCE = 64
# The distance of two kinds of one family, where the taxonomy names no other.
DEFAULT_FAMILY_DISTANCE = 32


@dataclass(frozen=True, slots=True)
class KindTable:
    """Kinds and the distances between them.

    Attributes:
        names: The kinds, sorted.
        distances: int32 (n, n), 0..64. Symmetric, 0 for a kind and itself.
    """

    names: tuple[str, ...]
    distances: NDArray[np.int32]

    @classmethod
    def single(cls) -> KindTable:
        """Return the table of one kind without a name, for products whose kinds are unknown."""
        return cls(("",), np.zeros((1, 1), np.int32))

    def select(self, names: Iterable[str]) -> KindTable:
        """Return the table of some kinds; one that is not in this table is far from all others."""
        wanted = tuple(sorted(set(names)))
        position = {name: i for i, name in enumerate(self.names)}
        rows = np.array([position.get(name, -1) for name in wanted], np.int64)
        known = np.flatnonzero(rows >= 0)
        distances = np.full((len(wanted), len(wanted)), MAX_KIND_DISTANCE, np.int32)
        distances[np.ix_(known, known)] = self.distances[np.ix_(rows[known], rows[known])]
        np.fill_diagonal(distances, 0)
        return KindTable(wanted, distances)


@dataclass(frozen=True, slots=True)
class Families:
    """The taxonomy's statements on how near kinds are.

    Attributes:
        family_of_kind: The family of each kind that is in one.
        within_family: Distance of two kinds of one family.
        family_distances: Distance of two families, for pairs in order.
        kind_distances: Distance of two kinds, for pairs in order; it goes before all others.
    """

    family_of_kind: Mapping[str, str]
    within_family: int = DEFAULT_FAMILY_DISTANCE
    family_distances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    kind_distances: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def distance(self, a: str, b: str) -> int:
        """Return the distance of two kinds, 0..64."""
        if a == b:
            return 0
        if (pair := ordered_pair(a, b)) in self.kind_distances:
            return self.kind_distances[pair]
        families = self.family_of_kind.get(a), self.family_of_kind.get(b)
        if families[0] is None or families[1] is None:
            return MAX_KIND_DISTANCE
        if families[0] == families[1]:
            return self.within_family
        return self.family_distances.get(ordered_pair(families[0], families[1]), MAX_KIND_DISTANCE)


@dataclass(frozen=True, slots=True)
class CategoryKinds:
    """The kind of every leaf of a taxonomy, and the distances of the kinds.

    Attributes:
        kind_of_category: The kind of each leaf, by the leaf's id.
        table: The kinds and their distances.
    """

    kind_of_category: Mapping[str, str]
    table: KindTable

    @classmethod
    def build(cls, kind_of_category: Mapping[str, str], families: Families) -> CategoryKinds:
        """Measure every pair of kinds."""
        names = tuple(sorted(set(kind_of_category.values())))
        distances = np.array([[families.distance(a, b) for b in names] for a in names], np.int32)
        return cls(
            dict(kind_of_category), KindTable(names, distances.reshape(len(names), len(names)))
        )

    def kind(self, category: str) -> str:
        """Return the kind of a leaf; a leaf that the taxonomy lacks is a kind of its own."""
        return self.kind_of_category.get(category, category)

    def distance(self, a: str, b: str) -> int:
        """Return the distance of two leaves, 0..64."""
        kinds = self.kind(a), self.kind(b)
        table = self.table.select(kinds)
        return int(table.distances[0, -1])

    def to_json(self) -> str:
        """Return the text that `from_json` reads; equal kinds and distances give equal texts."""
        names, distances = self.table.names, self.table.distances
        near = [
            [names[i], names[j], int(distances[i, j])]
            for i, j in np.argwhere(np.triu(distances < MAX_KIND_DISTANCE, 1)).tolist()
        ]
        content = {"kinds": dict(sorted(self.kind_of_category.items())), "near": near}
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CategoryKinds:
        """Return the kinds of a text of `to_json`."""
        content = json.loads(text)
        near = {ordered_pair(a, b): distance for a, b, distance in content["near"]}
        return cls.build(content["kinds"], Families({}, kind_distances=near))


def ordered_pair(a: str, b: str) -> tuple[str, str]:
    """Return two names in order, the key of a symmetric distance."""
    return (a, b) if a <= b else (b, a)


def default_kind_weight(shape_weight: int, colour_weight: int) -> int:
    """Return the weight of kind of a category that names none: three fifths of the others' sum.

    In shops left out of training it brings nearly all of what any larger weight does
    (docs/evidence/quality.md).
    """
    return (3 * (shape_weight + colour_weight) + 2) // 5
