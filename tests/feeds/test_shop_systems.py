"""Stock, groups, categories and attributes as shop systems write them, documented or not."""

from datetime import date

import pytest
from tests.feeds.test_attributes import google, offer, read, read_one, vocabulary, yml

from wearalike.catalog.google_categories import guess_audience
from wearalike.feeds.category_path import read_category_paths
from wearalike.settings import ShopSettings

# Stock


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("order", "on_order"),
        ("waiting", "preorder"),
        ("not_available", "out_of_stock"),
        ("Під замовлення", "on_order"),
        ("Закінчується", "in_stock"),
        ("Відсутня", "out_of_stock"),
        ("снято с производства", "out_of_stock"),
        ("temporarily out of stock", "out_of_stock"),
        ("On backorder", "backorder"),
        ("Sofort verfügbar", "in_stock"),
        ("zur Zeit nicht lieferbar", "out_of_stock"),
        ("od ręki", "in_stock"),
        ("Stokta Yok", "out_of_stock"),
        ("TÜKENDİ", "out_of_stock"),
        ("op voorraad", "in_stock"),
        ("em estoque", "in_stock"),
        ("slut i lager", "out_of_stock"),
        ("在庫なし", "out_of_stock"),
        ("https://schema.org/MadeToOrder", "on_order"),
        ("++", "in_stock"),
        # A number behind the words.
        ("в наличии 12 шт.", "in_stock"),
        ("В наличии: 0 шт.", "out_of_stock"),
        ("под заказ (5-7 дней)", "on_order"),
        ("Lieferbar in 2-4 Tagen", "in_stock"),
        ("In stock: 3", "in_stock"),
        ("na zamówienie, 14 dni", "on_order"),
        # Not a number alone, and no word of ours.
        ("maybe 5", "unknown"),
        ("level 3 of 4", "unknown"),
    ],
)
def test_words_of_stock_in_many_languages(text, said):
    assert vocabulary().read_availability(text) == said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("<qty>0</qty>", "out_of_stock"),
        ("<amount>4</amount>", "in_stock"),
        ("<stock_status>outofstock</stock_status>", "out_of_stock"),
        # The stock of several towns: a price in it is no number of pieces.
        (
            '<stock id="a"><available>false</available><price>900</price></stock>'
            '<stock id="b"><available>false</available><price>950</price></stock>',
            "out_of_stock",
        ),
        (
            '<stock id="a"><available>false</available></stock>'
            '<stock id="b"><available>true</available><price>950</price></stock>',
            "in_stock",
        ),
        ('<warehouses><w id="1">0</w><w id="2">0</w></warehouses>', "out_of_stock"),
        ('<warehouses><w id="1">0</w><w id="2">7</w></warehouses>', "in_stock"),
        ('<stocks><stock quantity="0"/><stock quantity="2"/></stocks>', "in_stock"),
        ('<param name="Наличие">Нет в наличии</param>', "out_of_stock"),
        ('<param name="Наявність">Під замовлення</param>', "on_order"),
        ('<param name="Остаток на складе">0</param>', "out_of_stock"),
        ('<param name="Lagerbestand">3</param>', "in_stock"),
        # No date of expiry.
        ("<expiration_date>0000-00-00</expiration_date>", "in_stock"),
        ("<expiration_date>1970-01-01T00:00:00</expiration_date>", "in_stock"),
    ],
)
def test_stock_wherever_a_shop_system_puts_it(tmp_path, more, said):
    found, reader = read_one(tmp_path, yml(offer(more)))
    assert found.availability == said and not reader.warning_counts


# Groups


@pytest.mark.parametrize(
    ("attributes", "more", "group"),
    [
        ('parent_id="P7"', "", "P7"),
        ('product_id="P7"', "", "P7"),
        ("", "<parent_sku>P7</parent_sku>", "P7"),
        ("", "<model_id>P7</model_id>", "P7"),
        ("", "<product_id>P8</product_id><group_id>P7</group_id>", "P7"),
        # One that says nothing hides no other.
        ('group_id="0"', "<group_id>P7</group_id>", "P7"),
        ('group_id="#N/A"', "", None),
        ('group_id="-1"', "", None),
        ('group_id="без группы"', "", None),
    ],
)
def test_a_group_by_any_name_and_none_by_any(tmp_path, attributes, more, group):
    found, _ = read_one(tmp_path, yml(offer(more, f'available="true" {attributes}')))
    assert found.group_id == group


def test_a_parent_in_a_google_feed_is_a_group(tmp_path):
    items = (
        "<g:parent_id>P7</g:parent_id>",
        "<g:group_id>P8</g:group_id><g:item_group_id>P7</g:item_group_id>",
    )
    records, _ = read(tmp_path, google(*items))
    assert [record.group_id for record in records] == ["p7", "p7"]


# Categories


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("Women > Coats", ("Women > Coats",)),
        ("Women>Coats", ("Women > Coats",)),
        ("Women &gt; Coats", ("Women > Coats",)),
        ("Women >> Coats", ("Women > Coats",)),
        ("Women | Coats", ("Women > Coats",)),
        ("Женщинам → Пальто", ("Женщинам > Пальто",)),
        ("Женщинам » Пальто", ("Женщинам > Пальто",)),
        ("Женщинам\\Пальто", ("Женщинам > Пальто",)),
        ("Women / Coats", ("Women > Coats",)),
        ("Women/Coats/Wool", ("Women > Coats > Wool",)),
        ("Women > Coats, Women > Sale", ("Women > Coats", "Women > Sale")),
        # Names, not paths.
        ("Shorts/skirts", ("Shorts/skirts",)),
        ("Пальто «Зима» » тёплые", ("Пальто «Зима» » тёплые",)),
        ("Women > Hats, Scarves > Wool", ("Women > Hats, Scarves > Wool",)),
        ("Tops &amp; Tees > Polos", ("Tops & Tees > Polos",)),
        (" > ", ()),
    ],
)
def test_paths_of_categories(text, paths):
    assert read_category_paths(text) == paths


def test_ids_of_categories_in_one_element_and_parents_by_other_names(tmp_path):
    content = (
        '<yml_catalog><shop><categories><category id="1">Одежда</category>'
        '<category id="2" parent_id="1">Пальто</category><category id="3,4">Прочее</category>'
        f"</categories><offers>{offer('<categoryId>2, 1</categoryId>')}"
        f"{offer('<categoryId>3,4</categoryId>', ident='b')}"
        f"{offer('<categoryId>2,9</categoryId>', ident='c')}</offers></shop></yml_catalog>"
    )
    (both, named, unknown), reader = read(tmp_path, content)
    assert both.category_paths == ["Одежда > Пальто", "Одежда"]
    assert named.category_paths == ["Прочее"]
    assert (unknown.category_ids, unknown.category_paths) == (["2,9"], [""])
    assert reader.warning_counts == {"unknown_category": 1}


def test_words_of_two_letters_in_a_category_name_no_wearer():
    assert guess_audience(["Shoes > Slip-On"], None, None) == (None, None)
    assert guess_audience(["All > Women > Coats"], None, None) == ("female", None)
    assert guess_audience(["Men > Shoes"], None, None) == ("male", None)


# Names and values of attributes


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *[(name, "colours") for name in ("Цвет (основной)", "Базовый цвет", "Цвет на сайте")],
        *[(name, "colours") for name in ("pa_color", "Colour family", "Hauptfarbe", "Web Color")],
        *[(name, "colours") for name in ("Kolor dominujący", "Колір (основний)")],
        *[(name, "sizes") for name in ("Размер (RUS)", "Размер EUR", "Размеры в наличии")],
        *[(name, "sizes") for name in ("Size (EU)", "attribute_pa_size", "Rozmiar buta")],
        *[(name, "sizes") for name in ("AYAKKABI NUMARASI", "Розмір взуття")],
        *[(name, "materials") for name in ("Состав материала", "Material (Oberstoff)", "Upper")],
        *[(name, "materials") for name in ("Kumaş Türü", "Зовнішній матеріал")],
    ],
)
def test_names_of_attributes_with_additions(tmp_path, name, field):
    found, reader = read_one(tmp_path, yml(offer(f'<param name="{name}">X7</param>')))
    assert getattr(found, field) == ["X7"] and not reader.vocabulary.unknown_words


def test_what_a_coat_is_lined_with_is_not_its_material(tmp_path):
    param = '<param name="Материал (подкладка)">вискоза</param>'
    found, _ = read_one(tmp_path, yml(offer(param)))
    assert found.materials == []


@pytest.mark.parametrize(
    ("words", "gender", "age"),
    [
        ("для неё", "female", None),
        ("KADIN", "female", None),
        ("ERKEK ÇOCUK", "male", "kids"),
        ("ÜNİSEKS", "unisex", None),
        ("Dziecko", None, "kids"),
    ],
)
def test_more_words_for_people(words, gender, age):
    words_of = vocabulary()
    assert words_of.read_gender([words]) == gender
    assert words_of.read_age_group([], [words], []) == age


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("до 1 года", "infant"),
        ("до 3 лет", "toddler"),
        ("bis 12 Monate", "infant"),
        ("up to 6 months", "infant"),
        ("do 10 lat", "kids"),
        ("от 0 до 12 месяцев", "infant"),
        ("с рождения", "newborn"),
        ("6 л", "kids"),
        ("дошкольный", "kids"),
        ("dorośli", "adult"),
    ],
)
def test_ages_up_to_a_limit_and_more_words(text, age):
    assert vocabulary().read_age_group([text], [], []) == age


@pytest.mark.parametrize(
    ("size", "age"),
    [("Newborn", "newborn"), ("NB", "newborn"), ("Preemie", "newborn"), ("M", None), ("S", None)],
)
def test_sizes_that_tell_an_age_without_a_number(size, age):
    assert vocabulary().read_age_group([], [], [size]) == age


@pytest.mark.parametrize("brand", ["н/д", "Не определён", "OEM", "Unbekannt", "0", "bilinmiyor"])
def test_more_words_for_no_brand(tmp_path, brand):
    found, _ = read_one(tmp_path, yml(offer(f"<vendor>{brand}</vendor>")))
    assert found.brand is None


@pytest.mark.parametrize("number", ["4006381 333931", "4006381333931.0", "4006-3813-33931"])
def test_a_number_with_blanks_and_marks_is_one(tmp_path, number):
    found, _ = read_one(tmp_path, google(f"<g:gtin>{number}</g:gtin>"))
    assert found.gtins == ["04006381333931"]


def test_an_offer_in_stock_on_the_day_it_expires(tmp_path):
    content = yml(offer("<expiration_date>20.11.2026</expiration_date>"))
    shop = ShopSettings(id="s", feed="http://shop.example/")
    stock = [
        read(tmp_path, content, shop, date(2026, 11, day))[0][0].availability for day in (20, 21)
    ]
    assert stock == ["in_stock", "out_of_stock"]
