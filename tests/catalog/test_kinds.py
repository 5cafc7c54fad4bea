"""Kinds: how unlike the leaves of a taxonomy are, as its file says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearalike.catalog import BadMapping, read_taxonomy
from wearalike.catalog.kinds import CategoryKinds, Families, KindTable, default_kind_weight

MAPPINGS = Path(__file__).parents[2] / "mappings"
TAXONOMY = """<taxonomy>
  <kinds within_family="24">
    <family_distance a="jeans" b="trousers" distance="48"/>
    <kind_distance a="chinos" b="slacks" distance="8"/>
  </kinds>
  <category id="her" en="Her" ru="Ей" super_category="lower_wear" \
shape_weight="5" colour_weight="4">
    <category id="her.chinos" en="Chinos" ru="Чиносы" kind="chinos" family="trousers"/>
    <category id="her.slacks" en="Slacks" ru="Слаксы" kind="slacks" family="trousers"/>
    <category id="her.culottes" en="Culottes" ru="Кюлоты" family="trousers" kind_weight="0"/>
    <category id="her.skinny" en="Skinny jeans" ru="Скинни" kind="skinny" family="jeans"/>
    <category id="her.skirts" en="Skirts" ru="Юбки" kind_weight="7"/>
  </category>
  <category id="his" en="Him" ru="Ему" super_category="lower_wear" \
shape_weight="5" colour_weight="5">
    <category id="his.chinos" en="Chinos" ru="Чиносы" kind="chinos" family="trousers"/>
  </category>
</taxonomy>
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "taxonomy.rng").write_bytes((MAPPINGS / "taxonomy.rng").read_bytes())
    (tmp_path / "taxonomy.xml").write_text(TAXONOMY, encoding="utf-8")
    return tmp_path / "taxonomy.xml"


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("her.chinos", "her.chinos", 0),
        ("her.chinos", "his.chinos", 0),  # audiences are no part of it
        ("her.chinos", "her.slacks", 8),  # the pair says so
        ("her.chinos", "her.culottes", 24),  # one family
        ("her.culottes", "her.skinny", 48),  # families near each other
        ("her.chinos", "her.skirts", 64),
        ("her.chinos", "bags", 64),  # no leaf of ours
    ],
)
def test_the_distance_of_two_leaves(path: Path, a: str, b: str, distance: int) -> None:
    kinds = read_taxonomy(path).kinds
    assert kinds.distance(a, b) == kinds.distance(b, a) == distance


def test_a_weight_of_kind_is_the_leaf_s_or_follows_the_others(path: Path) -> None:
    leaves = read_taxonomy(path).leaves
    weights = {leaf.id: leaf.kind_weight for leaf in leaves.values()}
    assert weights == {
        "her.chinos": 5,
        "her.slacks": 5,
        "her.culottes": 0,
        "her.skinny": 5,
        "her.skirts": 7,
        "his.chinos": 6,
    }
    assert [default_kind_weight(*pair) for pair in ((1, 1), (3, 2), (10, 10))] == [1, 3, 12]


def test_a_taxonomy_without_kinds_has_one_kind_a_leaf(path: Path) -> None:
    """A deployment's file from before kinds: each leaf is far from all others."""
    lines = TAXONOMY.splitlines()
    before = "\n".join([lines[0], *lines[5:]])
    for name in ("kind", "family", "kind_weight"):
        for value in ("chinos", "slacks", "skinny", "trousers", "jeans", "0", "7"):
            before = before.replace(f' {name}="{value}"', "")
    path.write_text(before, encoding="utf-8")
    kinds = read_taxonomy(path).kinds
    assert kinds.distance("her.chinos", "his.chinos") == 64
    assert set(kinds.kind_of_category.values()) == set(kinds.kind_of_category)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'kind="slacks" family="trousers"',
            'kind="chinos" family="jeans"',
            "taxonomy.xml:8: leaf 'her.slacks': kind 'chinos' in family 'jeans', but leaf "
            "'her.chinos' in line 7 has it in family 'trousers'",
        ),
        (
            'kind="slacks" family="trousers"',
            'kind="chinos"',
            "taxonomy.xml:8: leaf 'her.slacks': kind 'chinos' in no family, but leaf "
            "'her.chinos' in line 7 has it in family 'trousers'",
        ),
        (
            'a="chinos" b="slacks"',
            'a="chino" b="slacks"',
            "taxonomy.xml:4: kind 'chino': no leaf has it; did you mean 'chinos'?",
        ),
        (
            'a="jeans" b="trousers"',
            'a="jeans" b="skirts"',
            "taxonomy.xml:3: family 'skirts': no leaf has it",
        ),
        (
            'a="chinos" b="slacks"',
            'a="chinos" b="chinos"',
            "taxonomy.xml:4: kind 'chinos' and itself, wanted two kinds",
        ),
        (
            "</kinds>",
            '<kind_distance a="slacks" b="chinos" distance="9"/></kinds>',
            "taxonomy.xml:5: kind 'slacks' and 'chinos': the same pair as in line 4",
        ),
        (
            'distance="8"',
            'distance="65"',
            "taxonomy.xml:4: <kind_distance>: distance='65': wanted a whole number, 0 to 64",
        ),
        (
            'within_family="24"',
            'within_family="near"',
            "taxonomy.xml:2: <kinds>: within_family='near': wanted a whole number, 0 to 64",
        ),
        (
            'kind_weight="7"',
            'kind_weight="11"',
            "taxonomy.xml:11: <category>: kind_weight='11': wanted a whole number, 0 to 10",
        ),
        (
            'kind="skinny"',
            'kind="Skinny jeans"',
            "taxonomy.xml:10: <category>: kind='Skinny jeans': wanted one word of a-z",
        ),
        (
            'b="slacks" distance="8"',
            'b="slacks"',
            "taxonomy.xml:4: <kind_distance>: found a, b, wanted a, b and distance",
        ),
    ],
)
def test_each_mistake_is_named_by_its_line(path: Path, old: str, new: str, said: str) -> None:
    assert TAXONOMY.count(old) == 1
    path.write_text(TAXONOMY.replace(old, new), encoding="utf-8")
    with pytest.raises(BadMapping) as error:
        read_taxonomy(path)
    assert any(said in mistake for mistake in error.value.mistakes), error.value.mistakes


def test_our_own_kinds() -> None:
    """Leaves that people take for one thing, near things, and things far from each other."""
    taxonomy = read_taxonomy(MAPPINGS / "taxonomy.xml")
    distance = taxonomy.kinds.distance
    assert distance("women.tops.t-shirts", "men.tops.t-shirts") == 0
    assert distance("women.dresses.other", "kids.dresses") == 0
    assert 0 < distance("women.tops.t-shirts", "women.tops.tops") < 32
    assert distance("women.dresses.mini", "women.dresses.midi") == 32
    assert 32 < distance("women.jeans.skinny", "women.trousers.straight") < 64
    assert distance("women.tops.t-shirts", "women.knitwear.sweaters") == 64
    assert distance("accessories.belts", "accessories.watches") == 64
    # Whoever compares within a super-category never meets a kind of two of them by accident.
    of_kind: dict[str, set[str]] = {}
    for leaf in taxonomy.leaves.values():
        of_kind.setdefault(leaf.kind, set()).add(leaf.super_category)
    assert {kind for kind, supers in of_kind.items() if len(supers) > 1} == set()


LEAVES = ["a", "a.b", "a.c", "b", "b.a", "c.a.b"]
KINDS = ["x", "y", "z", "xy", "zz"]


@given(
    kinds=st.dictionaries(st.sampled_from(LEAVES), st.sampled_from(KINDS)),
    families=st.dictionaries(st.sampled_from(KINDS), st.sampled_from("fg")),
    within=st.integers(0, 64),
)
def test_a_text_of_kinds_is_read_as_it_was_written(kinds, families, within) -> None:
    built = CategoryKinds.build(kinds, Families(families, within))
    read = CategoryKinds.from_json(built.to_json())
    assert read.kind_of_category == built.kind_of_category
    assert read.table.names == built.table.names
    assert np.array_equal(read.table.distances, built.table.distances)
    assert read.to_json() == built.to_json()


def test_some_kinds_of_a_table() -> None:
    table = KindTable(("a", "b", "c"), np.array([[0, 5, 9], [5, 0, 7], [9, 7, 0]], np.int32))
    some = table.select(["c", "a", "new", "c"])
    assert some.names == ("a", "c", "new")
    assert some.distances.tolist() == [[0, 9, 64], [9, 0, 64], [64, 64, 0]]
