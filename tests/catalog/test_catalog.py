"""The taxonomy, operators' files and their mistakes, offers to products, suggested lines."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from wearalike import catalog
from wearalike.catalog import (
    BadMapping,
    CategoryReason,
    ShopMapping,
    Taxonomy,
    read_mapping,
    read_taxonomy,
)
from wearalike.settings import Settings
from wearalike.tables import OFFERS, PRODUCTS, REFUSED, AgeGroup, Gender, SuperCategory

MAPPINGS = Path(__file__).parents[2] / "mappings"
SERVE = Path(__file__).parents[2].parent / "shared" / "shops" / "serve.py"
DATA = SERVE.parent.parent / "data"

TAXONOMY = """<taxonomy>
  <category id="women" en="Women" ru="Женщинам" gender="female" age_group="adult">
    <category id="women.dresses" en="Dresses" ru="Платья" \
super_category="full_body" shape_weight="2" colour_weight="8">
      <category id="women.dresses.mini" en="Mini dresses" ru="Платья мини" words="short dresses"/>
      <category id="women.dresses.maxi" en="Maxi dresses" ru="Платья макси" shape_weight="3"/>
    </category>
    <category id="women.heels" en="Heels" ru="Туфли" \
super_category="foot_wear" shape_weight="1" colour_weight="1"/>
  </category>
  <category id="bags" en="Bags" ru="Сумки" \
super_category="bags" shape_weight="3" colour_weight="2"/>
  <category id="newborn" en="Newborn" ru="Новорождённым" \
super_category="full_body" shape_weight="1" colour_weight="4" age_group="newborn"/>
</taxonomy>
"""


@pytest.fixture(scope="session")
def ours() -> Taxonomy:
    return read_taxonomy(MAPPINGS / "taxonomy.xml")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A folder of mappings with a small taxonomy."""
    root = tmp_path_factory.mktemp("place")
    (root / "mappings" / "shops").mkdir(parents=True)
    for name in ("taxonomy.rng", "mapping.rng"):
        shutil.copy(MAPPINGS / name, root / "mappings")
    (root / "mappings" / "taxonomy.xml").write_text(TAXONOMY, encoding="utf-8")
    return Settings(data_dir=root, warehouse="duckdb:none", mappings=root / "mappings")


@pytest.fixture(scope="session")
def small(place: Settings) -> Taxonomy:
    return read_taxonomy(place.mappings / "taxonomy.xml")


def mapped(place: Settings, body: str, shop: str = "moda", said: str | None = None) -> ShopMapping:
    """The mapping read from a file whose lines are `body`, the first of them line 2."""
    path = catalog.mapping_path(place, shop)
    path.write_text(f'<mapping shop="{said or shop}">\n{body}\n</mapping>\n', encoding="utf-8")
    return read_mapping(path, read_taxonomy(place.mappings / "taxonomy.xml"))


def offers(*rows: dict[str, Any]) -> pa.Table:
    """tables.OFFERS of shop moda, o0, o1, ... with these values over dull ones."""
    dull = {
        "shop_id": "moda",
        "title": "a thing",
        "price_cents": 100,
        "currency": "EUR",
        "availability": "in_stock",
    }
    lists = {c.name: [] for c in OFFERS.columns if pa.types.is_list(c.type)}
    numbered = [
        dull | lists | {"product_id": f"moda:o{i}", "offer_id": f"o{i}"} | row
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(numbered, OFFERS.arrow_schema)


# The taxonomy in the repository


def test_taxonomy_has_208_complete_leaves(ours: Taxonomy) -> None:
    elements = etree.parse(MAPPINGS / "taxonomy.xml").findall(".//category")
    assert len(ours.leaves) == 208 == sum(not len(element) for element in elements)
    assert len({element.get("id") for element in elements}) == len(elements)
    for leaf in ours.leaves.values():
        assert re.fullmatch(r"[A-Za-z' -]+", leaf.en.replace(",", "")), leaf
        assert re.fullmatch(r"[А-Яа-яё, -]+", leaf.ru), leaf
        assert (
            0 <= leaf.shape_weight <= 10
            and 0 <= leaf.colour_weight <= 10
            and leaf.shape_weight + leaf.colour_weight > 0
        ), leaf
        assert len(set(leaf.names)) >= 2, leaf


def test_taxonomy_holds_what_it_should(ours: Taxonomy) -> None:
    branches = Counter(
        ".".join(leaf.split(".")[: 2 if ".shoes." in leaf and not leaf.startswith("kids") else 1])
        for leaf in ours.leaves
    )
    assert set(branches) == {
        "women",
        "women.shoes",
        "men",
        "men.shoes",
        "bags",
        "accessories",
        "kids",
        "newborn",
    }
    assert min(branches.values()) > 10
    assert {leaf.super_category for leaf in ours.leaves.values()} == set(SuperCategory)
    names = Counter(
        (leaf.id.rpartition(".")[0], name)
        for leaf in ours.leaves.values()
        for name in (leaf.en, leaf.ru)
    )
    assert max(names.values()) == 1, names.most_common(1)
    dress, heels, bag, body = (
        ours.leaves[i]
        for i in ("women.dresses.midi", "women.shoes.heels", "bags.totes", "newborn.bodysuits")
    )
    assert (
        dress.super_category,
        dress.shape_weight,
        dress.colour_weight,
        dress.gender,
        dress.age_group,
    ) == (
        "full_body",
        2,
        8,
        "female",
        "adult",
    )
    assert (heels.super_category, heels.shape_weight, heels.colour_weight) == ("foot_wear", 1, 1)
    assert (bag.super_category, bag.gender, bag.age_group) == ("bags", None, None)
    assert (body.gender, body.age_group) == (None, "newborn")


@pytest.mark.parametrize("schema", ["taxonomy.rng", "mapping.rng"])
def test_schemas_name_the_same_kinds_as_tables(schema: str) -> None:
    kinds = {"gender": Gender, "age_group": AgeGroup, "super_category": SuperCategory}
    space = {"r": "http://relaxng.org/ns/structure/1.0"}
    root = etree.parse(MAPPINGS / schema).getroot()
    found = {
        name: set(root.xpath(f".//r:attribute[@name='{name}']//r:value/text()", namespaces=space))
        for name in kinds
    }
    assert found["gender"] and found["age_group"]
    for name, values in found.items():
        assert values == (set(kinds[name]) if values else set()), name


def test_mappings_in_the_repository_are_without_mistakes() -> None:
    shops = sorted(path.stem for path in (MAPPINGS / "shops").glob("*.xml"))
    assert {"moda", "bazaar", "closet"} <= set(shops)
    assert (
        catalog.find_mistakes(
            Settings(data_dir=Path("none"), warehouse="duckdb:none", mappings=MAPPINGS), shops
        )
        == []
    )


# Operators' mistakes


MISTAKES = [
    (
        '<map path="A" to="women.heals"/>',
        2,
        "to='women.heals': no such leaf in taxonomy.xml; did you mean 'women.heels'?",
    ),
    (
        '<map path="A" to="women.dresses"/>',
        2,
        "wanted one leaf: women.dresses.mini, women.dresses.maxi",
    ),
    ('<map path="A" to="xyzzy"/>', 2, "to='xyzzy': no such leaf in taxonomy.xml"),
    ('<map path="A" to=""/>', 2, "<map>: to='': wanted a leaf of the taxonomy"),
    ('<map path=" " to="bags"/>', 2, "<map>: path=' ': wanted a category path of the shop"),
    ('<map to="bags"/>', 2, '<map>: found to, wanted either path="…" or id="…"'),
    ('<map path="A"/>', 2, '<map>: found path, wanted either path="…" or id="…", and to='),
    ('<map path="A" id="1" to="bags"/>', 2, "<map>: found path, id, to, wanted either"),
    ('<map path="A" too="bags"/>', 2, "<map>: no attribute 'too'; did you mean 'to'?"),
    ('<mapp path="A" to="bags"/>', 2, "<mapp>: no such element; did you mean 'map'?"),
    (
        '<map path="A" to="bags" gender="woman"/>',
        2,
        "<map>: gender='woman': wanted female, male or unisex",
    ),
    (
        '<map path="A" to="bags" age_group="baby"/>',
        2,
        "<map>: age_group='baby': wanted newborn, infant, toddler, kids or adult",
    ),
    ('<map path="A" to="bags">bags</map>', 2, "<map>: found path, to, 'bags', wanted"),
    ('<map path="A" to="bags"/> stray', 1, "<mapping>: found shop, 'stray', wanted"),
    (
        '<map path="A" to="bags"><map path="B" to="bags"/></map>',
        2,
        "<map>: inside <map>, which wants either path",
    ),
    (
        '<ignore path="A"/>',
        2,
        '<ignore>: found path, wanted either path="…" or id="…", and reason=',
    ),
    ('<ignore path="A" reason=""/>', 2, "<ignore>: reason='': wanted why we do not sell it"),
    ('<ignore path="A" reason="no" to="bags"/>', 2, "<ignore>: found path, reason, to, wanted"),
    (
        '<map path="A > B" to="bags"/>\n<map path="a  >b" to="bags"/>',
        3,
        "path 'a > b': the same as in line 2",
    ),
    (
        '<map id="7" to="bags"/>\n\n<ignore id=" 7" reason="no"/>',
        4,
        "id '7': the same as in line 2",
    ),
    (
        '<map path="A*" to="bags"/>\n<map path="a*" to="bags"/>',
        3,
        "wildcard 'a*': the same as in line 2",
    ),
    (
        '<map path="A" gender="female" to="bags"/>\n<map path="A" age_group="kids" to="newborn"/>',
        3,
        "equally closely, line 2",
    ),
]


@pytest.mark.parametrize(("body", "line", "said"), MISTAKES, ids=[body for body, _, _ in MISTAKES])
def test_each_mistake_of_a_mapping_is_named(
    place: Settings, body: str, line: int, said: str
) -> None:
    with pytest.raises(BadMapping) as caught:
        mapped(place, body)
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    where, _, what = caught.value.mistakes[0].partition(": ")
    assert where == f"{catalog.mapping_path(place, 'moda')}:{line}"
    assert said in what


def test_all_mistakes_come_in_one_go_by_line(place: Settings) -> None:
    """Not only the first, and not only those of one kind."""
    with pytest.raises(BadMapping) as caught:
        mapped(
            place,
            "\n".join(body for body, _, _ in MISTAKES if "stray" not in body and "*" not in body),
            said="bazaar",
        )
    said = "\n".join(caught.value.mistakes)
    lines = [int(re.search(r"\.xml:(\d+): ", mistake)[1]) for mistake in caught.value.mistakes]
    assert lines == sorted(lines) and lines[0] == 1
    assert "shop='bazaar': wanted 'moda', as the file name" in said
    wanted = [what for _, line, what in MISTAKES if line == 2]
    assert len(wanted) > 10
    for what in wanted:
        assert what in said
    assert str(caught.value).startswith(f"{len(lines)} mistakes\n")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("<mapping shop='moda'>\n<map path='A' to='bags'>\n</mapping>", 3, "not XML"),
        ("", 1, "not XML"),
        (
            "<!DOCTYPE mapping SYSTEM 'http://127.0.0.1:9/x.dtd'>\n<mapping shop='moda'/>",
            1,
            "a DOCTYPE, wanted none",
        ),
        (
            "<!DOCTYPE m [<!ENTITY e SYSTEM '/etc/hostname'>]>\n<mapping shop='moda'>&e;</mapping>",
            1,
            "a DOCTYPE, wanted none",
        ),
        ("<taxonomy/>", 1, "<taxonomy>: no such element"),
        ("<map path='A' to='bags'/>", 1, "Expecting element mapping, got map"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_whole(
    place: Settings, small: Taxonomy, text: str, line: int, said: str
) -> None:
    path = catalog.mapping_path(place, "moda")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadMapping) as caught:
        read_mapping(path, small)
    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(f"{path}:{line}: ")
    assert said in caught.value.mistakes[0]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (
            'id="women.dresses.maxi"',
            'id="women.dresses.mini"',
            5,
            "category 'women.dresses.mini': the same id as in line 4",
        ),
        (
            'id="women.dresses.maxi"',
            'id="women.maxi"',
            5,
            "category 'women.maxi': wanted women.dresses.maxi, inside women.dresses",
        ),
        (
            'id="bags"',
            'id="women.bags"',
            9,
            "category 'women.bags': wanted a single word, outside any other",
        ),
        ('id="bags"', 'id="Bags"', 9, "<category>: id='Bags': wanted the parent's id"),
        (
            'ru="Сумки" ',
            "",
            9,
            "<category>: found id, en, super_category, shape_weight, colour_weight, "
            "wanted id, en and ru",
        ),
        ('en="Bags"', 'en=""', 9, "<category>: en='': wanted the English name"),
        (
            ' super_category="bags"',
            "",
            9,
            "leaf 'bags': no super_category, neither its own nor from a category it is in",
        ),
        (
            'super_category="bags"',
            'super_category="bag"',
            9,
            "super_category='bag': wanted upper_wear",
        ),
        (
            ' shape_weight="3" colour_weight="2"',
            ' colour_weight="2"',
            9,
            "leaf 'bags': no shape_weight",
        ),
        (
            'shape_weight="3" colour_weight="2"',
            'shape_weight="0" colour_weight="0"',
            9,
            "leaf 'bags': shape_weight and colour_weight are both 0",
        ),
        (
            'colour_weight="2"',
            'colour_weight="11"',
            9,
            "<category>: colour_weight='11': wanted a whole number, 0 to 10",
        ),
        (
            'colour_weight="2"',
            'colour_weight="1.5"',
            9,
            "<category>: colour_weight='1.5': wanted a whole number, 0 to 10",
        ),
        (
            'colour_weight="2"',
            'color_weight="2"',
            9,
            "<category>: no attribute 'color_weight'; did you mean 'colour_weight'?",
        ),
        (
            'gender="female"',
            'gender="woman"',
            2,
            "<category>: gender='woman': wanted female, male or unisex",
        ),
        ("<taxonomy>", "<taxonomy><leaf/>", 1, "<leaf>: no such element"),
    ],
)
def test_each_mistake_of_a_taxonomy_is_named(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert TAXONOMY.count(old) == 1
    path = tmp_path / "taxonomy.xml"
    shutil.copy(MAPPINGS / "taxonomy.rng", tmp_path)
    path.write_text(TAXONOMY.replace(old, new), encoding="utf-8")
    with pytest.raises(BadMapping) as caught:
        read_taxonomy(path)
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    assert caught.value.mistakes[0].startswith(f"{path}:{line}: ")
    assert said in caught.value.mistakes[0]


def test_check_tells_of_every_shop(place: Settings) -> None:
    mapped(place, '<map path="A" to="bags"/>', "good")
    for shop in ("bad", "worse"):
        with pytest.raises(BadMapping):
            mapped(place, '<map path="A" to="bugs"/>', shop)
    said = catalog.find_mistakes(place, ["good", "bad", "worse", "none"])
    assert len(said) == 3
    assert said[0].startswith(f"{catalog.mapping_path(place, 'bad')}:2: to='bugs'")
    assert said[1].startswith(f"{catalog.mapping_path(place, 'worse')}:2: to='bugs'")
    assert (
        said[2].startswith("none: no mapping, wanted ")
        and "wearalike suggest-mapping none" in said[2]
    )
    assert catalog.find_mistakes(place, ["good"]) == []


# Which line decides


LINES = """<map id="7" to="women.heels"/>
<map path="Women > Dresses" to="women.dresses.mini"/>
<map path="Women > Dresses" age_group="newborn" to="newborn"/>
<map path="Women > Dresses" age_group="newborn" gender="male" to="bags"/>
<map path="Women > *" to="women.dresses.maxi"/>
<map path="Women > Shoes > *" to="women.heels"/>
<map path="* > Bags" to="bags"/>
<ignore path="* > Toys" reason="toys"/>
<map path="Pets" gender="female" to="bags"/>"""


@pytest.mark.parametrize(
    ("ids", "paths", "who", "line"),
    [
        ([], ["Women > Dresses"], {}, 3),
        ([], ["WOMEN>  dresses "], {}, 3),
        ([], ["Women > Dresses"], {"age_group": "newborn"}, 4),
        ([], ["Women > Dresses"], {"age_group": "newborn", "gender": "male"}, 5),
        ([], ["Women > Dresses"], {"age_group": "kids", "gender": "male"}, 3),
        (["7"], ["Women > Dresses"], {}, 2),
        ([" 7 "], [], {}, 2),
        (["8"], ["Women > Dresses"], {}, 3),
        ([], ["Women > Hats"], {}, 6),
        ([], ["Women > Shoes > Boots"], {}, 7),
        ([], ["Women > Bags"], {}, 6),  # as long as "* > Bags", and earlier
        ([], ["Men > Bags"], {}, 8),
        ([], ["Men > Toys"], {}, 9),
        ([], ["Pets"], {"gender": "female"}, 10),
        ([], ["Pets"], {}, None),
        ([], ["Women"], {}, None),
        (["9"], ["Men > Hats"], {}, None),
        ([], [], {}, None),
        (["9", "7"], ["Men > Hats", "Women > Dresses"], {}, 2),
        (["9", "7"], ["Women > Dresses", "x"], {}, 3),
        ([], ["Men > Hats", "Men > Bags"], {}, 8),
    ],
)
def test_the_closest_line_decides(
    place: Settings, ids: list[str], paths: list[str], who: dict[str, str], line: int | None
) -> None:
    found = mapped(place, LINES).find_line(ids, paths, who.get("gender"), who.get("age_group"))
    assert (found.line_number if found else None) == line


# Offers to products


def test_map_offers_gives_each_offer_its_leaf_or_a_reason(place: Settings, small: Taxonomy) -> None:
    made = offers(
        {"category_paths": ["Women > Dresses"]},
        {
            "category_paths": ["Women > Dresses"],
            "gender": "unisex",
            "age_group": "kids",
            "related_offer_ids": ["o3"],
        },
        {"category_paths": ["Men > Toys"]},
        {"category_ids": ["7", "8"], "category_paths": ["Nobody > Knows"]},
        {"category_ids": ["9"], "category_paths": ["Nobody > Knows"]},
        {"category_ids": ["9"]},
        {"category_paths": [""]},
        {"category_paths": ["Men > Bags"]},
        {"category_paths": ["Women > Dresses"], "age_group": "newborn"},
    )
    products, refused = catalog.map_offers(made, mapped(place, LINES), small)
    assert products.schema == PRODUCTS.arrow_schema and refused.schema == REFUSED.arrow_schema
    added = [
        "product_id",
        "category",
        "super_category",
        "shape_weight",
        "colour_weight",
        "kind_weight",
        "gender",
        "age_group",
    ]
    assert [tuple(row.values()) for row in products.select(added).to_pylist()] == [
        ("moda:o0", "women.dresses.mini", "full_body", 2, 8, 6, "female", "adult"),
        ("moda:o1", "women.dresses.mini", "full_body", 2, 8, 6, "unisex", "kids"),
        ("moda:o3", "women.heels", "foot_wear", 1, 1, 1, "female", "adult"),
        ("moda:o7", "bags", "bags", 3, 2, 3, "unisex", "adult"),
        ("moda:o8", "newborn", "full_body", 1, 4, 3, "unisex", "newborn"),
    ]
    kept = [c for c in OFFERS.column_names if c not in ("gender", "age_group", "related_offer_ids")]
    assert products["related_offer_ids"].to_pylist() == [[], ["o3"], [], [], []]
    assert products.select(kept) == made.select(kept).take([0, 1, 3, 7, 8])
    assert [tuple(row.values()) for row in refused.to_pylist()] == [
        ("products", "moda", "offer", "moda:o2", "ignored_category", "Men > Toys: toys"),
        ("products", "moda", "offer", "moda:o4", "unmapped_category", "Nobody > Knows"),
        ("products", "moda", "offer", "moda:o5", "unmapped_category", "#9"),
        ("products", "moda", "offer", "moda:o6", "no_category", "neither a category id nor a path"),
    ]


def test_a_leaf_says_newborn_where_the_feed_is_silent(place: Settings, small: Taxonomy) -> None:
    made = offers(
        {"category_paths": ["Baby"]},
        {"category_paths": ["Baby"], "age_group": "infant", "gender": "male"},
    )
    products, _ = catalog.map_offers(made, mapped(place, '<map path="Baby" to="newborn"/>'), small)
    assert products.select(["gender", "age_group"]).to_pylist() == [
        {"gender": "unisex", "age_group": "newborn"},
        {"gender": "male", "age_group": "infant"},
    ]


def test_no_offers_make_empty_tables(small: Taxonomy) -> None:
    products, refused = catalog.map_offers(offers(), ShopMapping("moda"), small)
    assert (
        products == PRODUCTS.arrow_schema.empty_table()
        and refused == REFUSED.arrow_schema.empty_table()
    )


WORDS = ["Women > Dresses", "Women > Hats", "Men > Bags", "Men > Toys", "Pets", "", " "]
OFFER = st.fixed_dictionaries(
    {
        "category_ids": st.lists(st.sampled_from(["7", "8", ""]), max_size=2),
        "category_paths": st.lists(st.sampled_from(WORDS), max_size=2),
        "gender": st.sampled_from([None, *map(str, Gender)]),
        "age_group": st.sampled_from([None, *map(str, AgeGroup)]),
    }
)


@given(st.lists(OFFER, max_size=30))
def test_every_offer_is_a_product_or_refused(
    place: Settings, small: Taxonomy, rows: list[dict[str, Any]]
) -> None:
    """Row for row what each offer alone would be, in order, whatever stands beside it."""
    mapping, made = mapped(place, LINES), offers(*rows)
    products, refused = catalog.map_offers(made, mapping, small)
    assert sorted(products["product_id"].to_pylist() + refused["key"].to_pylist()) == sorted(
        made["product_id"].to_pylist()
    )
    assert set(refused["reason"].to_pylist()) <= set(CategoryReason)
    alone = [catalog.map_offers(made.slice(i, 1), mapping, small) for i in range(made.num_rows)]
    assert products.to_pylist() == [row for one, _ in alone for row in one.to_pylist()]
    assert refused.to_pylist() == [row for _, none in alone for row in none.to_pylist()]
    for row in products.to_pylist():
        said = rows[int(row["product_id"].removeprefix("moda:o"))]
        line = mapping.find_line(
            *(said[name] for name in ("category_ids", "category_paths", "gender", "age_group"))
        )
        assert line is not None and row["category"] == line.leaf_id


# Suggestions


def test_unmapped_words_come_by_count(small: Taxonomy) -> None:
    made = offers(
        *({"category_paths": [word]} for word in ["b", "a", "c", "c"]), {"category_ids": ["5"]}, {}
    )
    _, refused = catalog.map_offers(made, ShopMapping("moda"), small)
    assert catalog.unmapped_words(refused) == [("c", 2), ("#5", 1), ("a", 1), ("b", 1)]


def test_suggest_guesses_in_both_languages(ours: Taxonomy) -> None:
    words = {
        "Women > Dresses > Maxi Dresses": "women.dresses.maxi",
        "Женская одежда > Платья > Длинные платья": "women.dresses.maxi",
        "Мужчинам > Джинсовая куртка": "men.outerwear.denim-jackets",
        "Men > Chino Trousers": "men.trousers.chinos",
        "Девочкам > Юбки": "kids.skirts",
        "Малышам > Боди": "newborn.bodysuits",
        "Зонтики": "accessories.umbrellas",
    }
    guesses = catalog.guess_leaves(words, ours)
    assert [best[0].leaf_id for best in guesses] == list(words.values())
    for best in guesses:
        assert (
            len(best) == 3
            and 1 >= best[0].confidence >= best[1].confidence >= best[2].confidence >= 0
        )
        assert best[0].confidence > 0.7
    assert catalog.guess_leaves(["Qwxyz Зщж", "***"], ours)[0][0].confidence < 0.3
    assert catalog.guess_leaves(["***"], ours)[0][0].confidence == 0


def test_a_draft_applies_nothing_until_its_lines_are_uncommented(
    place: Settings, ours: Taxonomy
) -> None:
    words = [
        ("Women > Maxi dresses", 1200),
        ('Shoes -- "new" & <old>---', 3),
        ("#12", 2),
        ("Women > Heels", 1),
    ]
    draft = catalog.draft_mapping("draft", words, ours)
    assert (
        draft.index("Maxi dresses")
        < draft.index("Shoes")
        < draft.index("12")
        < draft.index("Heels")
    )
    assert "1,200 offers: women.dresses.maxi " in draft
    path = catalog.mapping_path(place, "draft")
    path.write_text(draft, encoding="utf-8")
    assert read_mapping(path, ours).lines == ()
    filled = re.sub(r"<!-- (<map .*/>) -->", r"\1", draft).replace(
        'to=""', 'to="women.shoes.heels"'
    )
    path.write_text(filled, encoding="utf-8")
    mapping = read_mapping(path, ours)
    assert len(mapping.lines) == len(words)
    for word, _ in words:
        found = (
            mapping.find_line([word[1:]], [], None, None)
            if word.startswith("#")
            else mapping.find_line([], [word], None, None)
        )
        assert found is not None, word


def test_a_plain_word_has_a_plain_leaf(ours: Taxonomy) -> None:
    words = {
        "Women > Trousers": "women.trousers.other",
        "Мужчинам > Брюки": "men.trousers.other",
        "Bags": "bags.other",
    }
    guesses = catalog.guess_leaves(words, ours)
    assert [best[0].leaf_id for best in guesses] == list(words.values())
    near = ours.kinds.distance
    assert near("bags.other", "bags.backpacks") == near("bags.other", "bags.handbags") == 32
    assert near("women.trousers.other", "women.trousers.straight") == 16


def test_a_word_of_several_things_names_a_leaf_for_each(ours: Taxonomy) -> None:
    words = {
        "Women > Blouses & Shirts": {"women.tops.blouses", "women.tops.shirts"},
        "Women > Tees/Tanks": {"women.tops.t-shirts", "women.tops.tank-tops"},
        "Женщинам > Юбки и шорты": {"women.skirts.other", "women.shorts.other"},
        "Men > Trousers, Jeans": {"men.trousers.other", "men.jeans.other"},
    }
    for word, leaf_ids in words.items():
        first, second, third = catalog.guess_leaves([word], ours)[0]
        assert {first.leaf_id, second.leaf_id} == leaf_ids
        assert 0.4 < second.confidence <= first.confidence <= 0.5 and third.confidence < 0.1
    sure = {
        "Women > Rompers & Jumpsuits": "women.jumpsuits.jumpsuits",
        "Women > Graphic Tees": "women.tops.t-shirts",
        # "Lounge trousers and shorts" are shorts, too, but less so.
        "Men > Shorts": "men.shorts",
    }
    for word, leaf_id in sure.items():
        first = catalog.guess_leaves([word], ours)[0][0]
        assert first.leaf_id == leaf_id and first.confidence > 0.8


def test_a_confidence_tells_how_often_such_guesses_are_right(ours: Taxonomy) -> None:
    """Measured on the lines of the mappings here, where the operator's leaf is the truth."""
    lines = [
        line
        for path in sorted((MAPPINGS / "shops").glob("*.xml"))
        for line in read_mapping(path, ours).lines
        if line.kind == "path" and line.leaf_id and not line.conditions_count
    ]
    guesses = catalog.guess_leaves([line.key for line in lines], ours)
    plain = {"women.trousers.straight", "men.trousers.formal"}
    right_by_band: dict[bool, list[bool]] = {True: [], False: []}
    for line, (best, *_) in zip(lines, guesses, strict=True):
        if line.leaf_id in plain and best.leaf_id.endswith("trousers.other"):
            continue
        right_by_band[best.confidence >= 0.8].append(best.leaf_id == line.leaf_id)
    sure, unsure = right_by_band[True], right_by_band[False]
    assert len(sure) > 200 and sum(sure) / len(sure) > 0.95
    assert len(unsure) > 20 and sum(unsure) / len(unsure) < 0.6
    # A word that fits a women's and a men's leaf alike is sure of neither.
    tie = catalog.guess_leaves(["T-shirts"], ours)[0]
    assert tie[0].confidence == pytest.approx(tie[1].confidence) and tie[0].confidence <= 0.5


@pytest.fixture
def unmapped_place(tmp_path: Path) -> Settings:
    """Our taxonomy, and no mapping of any shop."""
    shutil.copytree(MAPPINGS, tmp_path / "mappings", ignore=shutil.ignore_patterns("*shops*"))
    (tmp_path / "mappings" / "shops").mkdir()
    return Settings(data_dir=tmp_path, warehouse="duckdb:none", mappings=tmp_path / "mappings")


def test_accepted_lines_map_and_the_rest_stays_a_comment(unmapped_place: Settings) -> None:
    made = offers(
        {"category_paths": ["Women > Maxi dresses"]},
        {"category_paths": ["Tops"], "gender": "male", "age_group": "adult"},
        {"category_paths": ["T-shirts"], "gender": "male"},
        {"category_paths": ["T-shirts"], "gender": "female"},
        {"category_paths": ["Frobnicators"]},
    )
    path = catalog.mapping_path(unmapped_place, "moda")
    # As the shell leaves it for `suggest-mapping moda > mappings/shops/moda.xml`.
    path.touch()
    path.write_text(catalog.draft_shop_mapping(unmapped_place, "moda", made, 0.8), encoding="utf-8")
    _, mappings = catalog.read_taxonomy_and_mappings(unmapped_place, ["moda"])
    active = {(line.key, line.gender): line.leaf_id for line in mappings["moda"].lines}
    assert active[("women > maxi dresses", None)] == "women.dresses.maxi"
    assert active[("t-shirts", "male")] == "men.tops.t-shirts"
    assert active[("t-shirts", "female")] == "women.tops.t-shirts"
    assert "frobnicators" not in {key for key, _ in active}
    draft = catalog.draft_shop_mapping(unmapped_place, "moda", made)
    assert "Frobnicators" in draft and "Maxi dresses" not in draft


def test_a_mapping_without_an_active_line_is_a_mistake(
    unmapped_place: Settings, ours: Taxonomy
) -> None:
    path = catalog.mapping_path(unmapped_place, "moda")
    draft = catalog.draft_mapping("moda", [("Women > Maxi dresses", 3)], ours)
    path.write_text(draft, encoding="utf-8")
    (mistake,) = catalog.find_mistakes(unmapped_place, ["moda"])
    assert str(path) in mistake and "no active line" in mistake and "--accept 0.8" in mistake


def test_map_line_is_ready_to_paste() -> None:
    assert catalog.format_map_line("Women > Hats") == '<map path="Women > Hats" to=""/>'
    assert catalog.format_map_line("#12", "bags.totes") == '<map id="12" to="bags.totes"/>'


def test_suggest_for_asks_only_for_what_the_mapping_lacks(place: Settings) -> None:
    mapped(place, '<map path="Known" to="bags"/>')
    made = offers(
        {"category_paths": ["Known"]},
        {"category_paths": ["Maxi dress"]},
        {"category_paths": ["x"], "shop_id": "other"},
    )
    draft = catalog.draft_shop_mapping(place, "moda", made)
    assert '<!-- <map path="Maxi dress" to="women.dresses.maxi"/> -->' in draft
    assert draft.count("<map ") == 1
    with pytest.raises(ValueError, match="'none': no offers in this run"):
        catalog.draft_shop_mapping(place, "none", made)


# The three real shops


@pytest.fixture(scope="session")
def real_offers() -> dict[str, pa.Table]:
    if not (SERVE.is_file() and DATA.is_dir()):
        pytest.skip("the real shops of ../shared are not here")
    spec = importlib.util.spec_from_file_location("serve", SERVE)
    assert spec and spec.loader
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    said = {}
    for shop in ("moda", "bazaar", "closet"):
        rows = {
            row["id"]: row for day in (1, 2) for row in serve.Shop(shop, DATA, 0, day).offers
        }.values()
        said[shop] = offers(
            *(
                {"category_paths": [r["path"]], "gender": r["gender"], "age_group": r["age"]}
                for r in rows
            )
        )
    return said


def test_every_offer_of_the_real_shops_is_mapped(
    ours: Taxonomy, real_offers: dict[str, pa.Table]
) -> None:
    for shop, made in real_offers.items():
        products, refused = catalog.map_offers(
            made, read_mapping(MAPPINGS / "shops" / f"{shop}.xml", ours), ours
        )
        assert made.num_rows > 1000
        assert set(refused["reason"].to_pylist()) <= {CategoryReason.IGNORED_CATEGORY}, (
            catalog.unmapped_words(refused)
        )
        assert products.num_rows > 0.995 * made.num_rows


def test_the_first_guess_is_mostly_the_leaf_an_operator_chose(
    ours: Taxonomy, real_offers: dict[str, pa.Table]
) -> None:
    right = total = 0
    for shop, made in real_offers.items():
        products, _ = catalog.map_offers(
            made, read_mapping(MAPPINGS / "shops" / f"{shop}.xml", ours), ours
        )
        chosen = dict(
            zip(
                (p[0] for p in products["category_paths"].to_pylist()),
                products["category"].to_pylist(),
                strict=True,
            )
        )
        guesses = catalog.guess_leaves(chosen, ours)
        right += sum(
            best[0].leaf_id == leaf for best, leaf in zip(guesses, chosen.values(), strict=True)
        )
        total += len(chosen)
    assert total > 150
    assert right / total > 0.8
