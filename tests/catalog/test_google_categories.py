"""Google's taxonomy as the default mapping of every shop."""

import pyarrow as pa
import pytest

from wearalike import catalog, feeds
from wearalike.catalog.google_categories import (
    packaged_google_categories,
    read_google_categories,
)
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.settings import Settings, ShopSettings
from wearalike.tables import OFFERS

TAXONOMY = catalog.read_taxonomy(packaged_mapping_path("taxonomy.xml"))
GOOGLE = packaged_google_categories()


def map_one(mapping=None, **columns):
    """The product of an offer with these columns, or its refusal."""
    row = {
        **{name: [] for name in ("category_ids", "category_paths", "colours", "sizes")},
        **{name: [] for name in ("materials", "image_urls")},
        **{"product_id": "s:1", "shop_id": "s", "offer_id": "1", "title": "x", "price_cents": 1},
        **{"currency": "EUR", "availability": "in_stock"},
        **columns,
    }
    offers = pa.Table.from_pylist([row], OFFERS.arrow_schema)
    mapping = mapping or catalog.ShopMapping("s")
    products, refused = catalog.map_offers(offers, mapping, TAXONOMY)
    return (products if products.num_rows else refused).to_pylist()[0]


def test_the_numbers_of_bags_are_those_of_googles_list():
    wanted = {
        **{"Backpacks": "100", "Briefcases": "101", "Cosmetic & Toiletry Bags": "108"},
        **{"Diaper Bags": "549", "Duffel Bags": "103", "Fanny Packs": "104"},
        **{"Garment Bags": "105", "Luggage Accessories > Travel Pouches": "5650"},
        **{"Messenger Bags": "106", "Shopping Totes": "5608", "Suitcases": "107"},
        "Train Cases": "6553",
    }
    root = "Luggage & Bags > "
    found = {c.path.removeprefix(root): c.id for c in GOOGLE.by_id.values() if root in c.path}
    assert found == wanted


def test_every_leaf_of_the_table_is_in_the_taxonomy():
    for category in GOOGLE.by_id.values():
        assert category.leaf_ids and set(category.leaf_ids.values()) <= set(TAXONOMY.leaves)


@pytest.mark.parametrize(
    ("text", "gender", "age_group", "leaf", "audience"),
    [
        ("2271", None, None, "women.dresses.other", ("female", "adult")),
        ("Apparel & Accessories > Clothing > Dresses", None, None, "women.dresses.other", None),
        ("apparel & accessories>clothing>DRESSES", None, None, "women.dresses.other", None),
        (
            "2271 - Apparel & Accessories > Clothing > Dresses",
            None,
            None,
            "women.dresses.other",
            None,
        ),
        ("2271", "female", "kids", "kids.dresses", ("female", "kids")),
        ("2271", None, "newborn", "newborn.dresses", ("female", "newborn")),
        ("204", "male", "adult", "men.trousers.chinos", ("male", "adult")),
        ("204", None, None, "women.trousers.straight", ("unisex", "adult")),
        ("204", "unisex", "adult", "women.trousers.straight", ("unisex", "adult")),
        ("187", "male", "toddler", "kids.shoes.casual", ("male", "toddler")),
        ("5424", None, None, "kids.dresses", None),
        ("3032", None, None, "bags.handbags", ("unisex", "adult")),
        ("100", "male", None, "bags.backpacks", ("male", "adult")),
        ("Apparel & Accessories > Shoes > Boots", "male", None, "men.shoes.casual", None),
    ],
)
def test_a_number_or_path_of_googles_is_enough(text, gender, age_group, leaf, audience):
    found = map_one(google_category=text, gender=gender, age_group=age_group)
    assert found["category"] == leaf
    assert audience is None or (found["gender"], found["age_group"]) == audience


def test_the_shops_words_tell_whom_it_is_for():
    found = map_one(google_category="204", category_paths=["Men > Bottoms"])
    assert (found["category"], found["gender"]) == ("men.trousers.chinos", "male")
    found = map_one(google_category="212", category_paths=["Kids > Tops"])
    assert (found["category"], found["age_group"]) == ("kids.tops.tops", "kids")


def write_mapping(tmp_path, *lines):
    path = tmp_path / "s.xml"
    path.write_text(f'<mapping shop="s">{"".join(lines)}</mapping>', encoding="utf-8")
    return catalog.read_mapping(path, TAXONOMY)


@pytest.mark.parametrize(
    "line",
    [
        '<map id="2271" to="women.dresses.midi"/>',
        '<map path="Apparel &amp; Accessories > Clothing > Dresses" to="women.dresses.midi"/>',
        '<map path="Women > Dresses" to="women.dresses.midi"/>',
    ],
)
@pytest.mark.parametrize("text", ["2271", "Apparel & Accessories > Clothing > Dresses"])
def test_a_line_of_the_shops_mapping_goes_before_it(tmp_path, line, text):
    found = map_one(
        write_mapping(tmp_path, line), google_category=text, category_paths=["Women > Dresses"]
    )
    assert found["category"] == "women.dresses.midi"


def test_an_ignored_category_stays_ignored(tmp_path):
    mapping = write_mapping(tmp_path, '<ignore path="Sale" reason="twice"/>')
    found = map_one(mapping, google_category="2271", category_paths=["Sale"])
    assert found["reason"] == "ignored_category"


def test_a_number_beside_the_shops_own_ids_is_none_of_them(tmp_path):
    mapping = write_mapping(tmp_path, '<map id="2271" to="bags.totes"/>')
    found = map_one(mapping, google_category="2271", category_ids=["5"], category_paths=["x"])
    assert found["category"] == "women.dresses.other"


@pytest.mark.parametrize("text", ["783", "Media > Books", "166", "999999999", "1604 - "])
def test_what_is_no_garment_of_ours_is_unmapped_by_name(text):
    found = map_one(google_category=text)
    assert found["reason"] == "unmapped_category" and text.strip() in (
        found["detail"].lstrip("#"),
        found["detail"],
    )


def test_a_google_feed_without_any_mapping_is_mapped(tmp_path):
    items = "".join(
        f"<item><g:id>{n}</g:id><g:title>Dress</g:title><g:price>5 EUR</g:price>"
        "<g:image_link>https://shop.example/1.jpg</g:image_link>"
        "<g:availability>in stock</g:availability>"
        f"<g:google_product_category>{text}</g:google_product_category></item>"
        for n, text in enumerate(["2271", "Apparel &amp; Accessories &gt; Clothing &gt; Dresses"])
    )
    path = tmp_path / "feed.xml"
    path.write_text(
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
        f"{items}</channel></rss>"
    )
    records = list(feeds.read_offers(path, ShopSettings(id="s", feed="x")))
    offers = pa.Table.from_pylist([r._asdict() for r in records], OFFERS.arrow_schema)
    products, refused = catalog.map_offers(offers, catalog.ShopMapping("s"), TAXONOMY)
    assert products["category"].to_pylist() == ["women.dresses.other"] * 2
    assert refused.num_rows == 0
    settings = Settings(mappings=packaged_mapping_path("taxonomy.xml").parent)
    assert "<map " not in catalog.draft_shop_mapping(settings, "s", offers)


def test_each_mistake_of_the_table_is_named(tmp_path):
    packaged = packaged_mapping_path("google_categories.xml")
    path = tmp_path / "google_categories.xml"
    path.with_suffix(".rng").write_bytes(packaged.with_suffix(".rng").read_bytes())
    path.write_text(
        '<google_categories><category id="x" path="A"/><category id="1" path="B" women="w"/>'
        '<category id="1" path="C" women="w"/></google_categories>'
    )
    with pytest.raises(catalog.BadMapping) as error:
        read_google_categories(path)
    assert any("id='x': wanted the number" in mistake for mistake in error.value.mistakes)
    assert any("'C': given twice" in mistake for mistake in error.value.mistakes)
