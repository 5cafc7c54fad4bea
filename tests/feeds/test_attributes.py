"""What shops say of wearers, colours, sizes and stock: names and values in many languages."""

from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearalike import feeds
from wearalike.catalog import BadMapping
from wearalike.catalog.attributes import packaged_attribute_table, read_attribute_table
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.feeds import FeedWarning, Offer, OfferReason
from wearalike.feeds.values import is_gtin, split_words
from wearalike.feeds.vocabulary import MAX_COUNTED_WORDS, OTHER_WORDS, Vocabulary
from wearalike.settings import ShopSettings
from wearalike.tables import AgeGroup, Availability, Gender

DAY = date(2026, 11, 20)
SHOP = ShopSettings(id="s", feed="http://shop.example/")


def vocabulary():
    return Vocabulary(packaged_attribute_table(), Counter())


def yml(*offers):
    return f"<yml_catalog><shop><offers>{''.join(offers)}</offers></shop></yml_catalog>"


def offer(more="", attributes='available="true"', ident="1"):
    return (
        f'<offer id="{ident}" {attributes}><name>Пальто</name><price>900 RUB</price>'
        f"<picture>https://shop.example/1.jpg</picture>{more}</offer>"
    )


def google(*items):
    shared = (
        "<g:title>Coat</g:title><g:image_link>https://shop.example/1.jpg</g:image_link>"
        "<g:price>90 EUR</g:price>"
    )
    made = (f"<item><g:id>{n}</g:id>{shared}{item}</item>" for n, item in enumerate(items))
    return (
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
        f"{''.join(made)}</channel></rss>"
    )


def read(tmp_path, content, shop=SHOP, day=DAY):
    path = tmp_path / "feed.xml"
    path.write_text(content, encoding="utf-8")
    reader = feeds.read_offers(path, shop, None, day)
    return list(reader), reader


def read_one(tmp_path, content, shop=SHOP):
    (record,), reader = read(tmp_path, content, shop)
    return record, reader


# Wearers


@pytest.mark.parametrize(
    ("words", "gender", "age"),
    [
        (["Мужской"], "male", None),
        (["женщинам"], "female", None),
        (["м", "ж"], "unisex", None),
        (["для девочек"], "female", "kids"),
        (["Girls"], "female", "kids"),
        (["Women"], "female", None),
        (["Унисекс"], "unisex", None),
        (["Детский"], None, "kids"),
        (["none"], None, None),
        (["newborn boy"], "male", "newborn"),
        (["Для двоих"], "unisex", None),
        (["Для дівчат"], "female", "kids"),
        (["Чоловічий одяг"], "male", None),
        (["Herrenmode"], "male", None),
        (["Damenschuhe"], "female", None),
        (["męskie"], "male", None),
        (["Damskie"], "female", None),
        (["kadın"], "female", None),
        (["Erkek çocuk"], "male", "kids"),
        (["Mädchen"], "female", "kids"),
        (["<b>женский</b>"], "female", None),
        (["человек"], None, None),
        (["Men", "Women"], "unisex", None),
    ],
)
def test_words_for_people(words, gender, age):
    found = vocabulary()
    assert (found.read_gender(words), found.read_age_group((), words, ())) == (gender, age)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("от 6 лет", "kids"),
        ("9 мес", "infant"),
        ("0-2 месяца", "newborn"),
        ("2-3 года", "toddler"),
        ("10+", "kids"),
        ("18+", "adult"),
        ("16 лет", "adult"),
        ("3-6M", "infant"),
        ("12-18 months", "toddler"),
        ("4-6 Jahre", "kids"),
        ("6-9 Monate", "infant"),
        ("7-8 lat", "kids"),
        ("3 yaş", "toddler"),
        ("7 років", "kids"),
        ("Підлітковий", "kids"),
        ("Für Erwachsene", "adult"),
        ("baby", "infant"),
        ("all ages", "adult"),
        ("teenager", "kids"),
        ("500 лет", None),
        ("любой", None),
    ],
)
def test_ages_in_words_and_numbers(text, age):
    assert vocabulary().read_age_group([text], (), ()) == age


@pytest.mark.parametrize(
    ("sizes", "age"),
    [
        (["0-3M"], "newborn"),
        (["6-9 мес"], "infant"),
        (["18M"], "toddler"),
        (["3T"], "toddler"),
        (["8Y"], "kids"),
        (["5-6 years"], "kids"),
        (["3-6M", "6-9M", "12-18M"], "infant"),
        (["M"], None),
        (["10 M"], None),
        (["42"], None),
        (["W28L32"], None),
        (["42-44"], None),
        (["98-104"], None),
        (["XL", "3XL"], None),
        (["38 EU"], None),
    ],
)
def test_sizes_that_tell_an_age(sizes, age):
    assert vocabulary().read_age_group((), (), sizes) == age


@given(st.integers(0, 15), st.integers(0, 6), st.sampled_from(["лет", "years", "Jahre", "lat"]))
def test_an_age_in_any_language_falls_into_its_group(low, width, word):
    found = vocabulary().read_age_group([f"{low}-{low + width} {word}"], (), ())
    middle = low + width / 2
    wanted = AgeGroup.ADULT if low >= 13 else AgeGroup.KIDS if middle >= 5 else AgeGroup.TODDLER
    if middle < 1:
        wanted = AgeGroup.INFANT if middle >= 0.25 else AgeGroup.NEWBORN
    assert found is wanted


def test_an_age_goes_before_a_gender_and_that_before_sizes(tmp_path):
    record, _ = read_one(
        tmp_path,
        yml(
            offer(
                '<param name="Возраст">Взрослый</param><param name="Пол">Для девочек</param>'
                '<param name="Размер">0-3M</param>'
            )
        ),
    )
    assert (record.gender, record.age_group) == (Gender.FEMALE, AgeGroup.ADULT)


# Names and lists


@pytest.mark.parametrize(
    "name",
    ["Цвет", "цвет:", "Цвет товара", "Основной цвет", "Колір", "Color", "Farbe", "kolor", "Renk"],
)
def test_a_name_in_any_language_means_its_attribute(tmp_path, name):
    record, reader = read_one(tmp_path, yml(offer(f'<param name="{name}">синий</param>')))
    assert record.colours == ["синий"] and not reader.vocabulary.unknown_words


@pytest.mark.parametrize(
    ("param", "colours"),
    [
        ("<param name='Колір'><value lang='uk'>Сірий</value></param>", ["Сірий"]),
        (
            "<param name='Цвет'><value lang='uk'>Сірий</value>"
            "<value lang='ru'>Серый</value></param>",
            ["Сірий"],
        ),
        ("<param name='Цвет'><value>Серый</value><value>Белый</value></param>", ["Серый", "Белый"]),
        ("<param name='Цвет'>Серый<br/>Белый</param>", ["Серый", "Белый"]),
        ("<param name='Цвет'><![CDATA[<p>Серый</p><p>Белый</p>]]></param>", ["Серый", "Белый"]),
        ("<param name='Цвет'><b>Серый</b></param>", ["Серый"]),
        ("<param name='Цвет'>серый, белый; чёрный | синий/красный</param>", list("12345")),
        ("<colors><color>Серый</color><color>Белый</color></colors>", ["Серый", "Белый"]),
        ("<colors>Серый, Белый</colors>", ["Серый", "Белый"]),
        ("<Farbe>grau</Farbe>", ["grau"]),
    ],
)
def test_colours_in_markup_and_lists(tmp_path, param, colours):
    record, reader = read_one(tmp_path, yml(offer(param)))
    if colours == list("12345"):
        colours = ["серый", "белый", "чёрный", "синий", "красный"]
    assert record.colours == colours
    assert not reader.vocabulary.unknown_words


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("40, 42, 44", ["40", "42", "44"]),
        ("40,42,44", ["40", "42", "44"]),
        ("42,5", ["42,5"]),
        ("41,5,42", ["41,5", "42"]),
        ("S/M", ["S/M"]),
        ("S / M", ["S", "M"]),
        ("44/46", ["44/46"]),
        ("S; M; L", ["S", "M", "L"]),
        ("S|M", ["S", "M"]),
    ],
)
def test_lists_of_sizes_and_halves(text, sizes):
    assert split_words([text], Counter(), is_size=True) == sizes


def test_a_unit_belongs_to_each_size_of_a_list(tmp_path):
    record, _ = read_one(tmp_path, yml(offer('<param name="Розмір" unit="EU">40, 42</param>')))
    assert record.sizes == ["40 EU", "42 EU"]


@pytest.mark.parametrize(
    ("text", "materials"),
    [
        ("хлопок 95%, эластан 5%", ["хлопок 95%", "эластан 5%"]),
        ("хлопок 95,5%, эластан 4,5%", ["хлопок 95,5%", "эластан 4,5%"]),
        ("cotton/wool", ["cotton", "wool"]),
    ],
)
def test_a_comma_within_a_number_separates_nothing(text, materials):
    assert split_words([text], Counter()) == materials


def test_attributes_of_google_and_meta_beside_their_elements(tmp_path):
    (detail, label, text), reader = read(
        tmp_path,
        google(
            "<g:availability>in stock</g:availability><g:product_detail><g:section_name>General"
            "</g:section_name><g:attribute_name>Material</g:attribute_name>"
            "<g:attribute_value>wool</g:attribute_value></g:product_detail>",
            "<g:availability>in stock</g:availability><additional_variant_attribute>"
            "<label>Color</label><value>green</value></additional_variant_attribute>"
            "<additional_variant_attribute><label>Size</label><value>L</value>"
            "</additional_variant_attribute>",
            "<g:availability>in stock</g:availability><g:pattern>striped</g:pattern>"
            "<g:product_detail>General:Colour:green</g:product_detail>",
        ),
    )
    assert detail.materials == ["wool"]
    assert (label.colours, label.sizes) == (["green"], ["L"])
    assert (text.patterns, text.colours) == (["striped"], ["green"])
    assert not reader.vocabulary.unknown_words


def test_words_that_are_not_understood_are_counted_by_name(tmp_path):
    offers = [
        offer(
            '<param name="Длина подола">77</param><param name="Пол">киборг</param>'
            '<param name="Страна">Италия</param><hem>5</hem>',
            ident=str(n),
        )
        for n in range(3)
    ]
    _, reader = read(tmp_path, yml(*offers, offer(ident="4", attributes='available="возможно"')))
    assert reader.vocabulary.unknown_words == {
        ("param", "Длина подола"): 3,
        ("gender", "киборг"): 3,
        ("element", "hem"): 3,
        ("availability", "возможно"): 1,
    }
    assert reader.ignored_fields == {"param": 3}
    assert reader.warning_counts == {
        FeedWarning.UNKNOWN_WORD: 3,
        FeedWarning.UNKNOWN_AVAILABILITY: 1,
    }


def test_a_feed_of_endless_new_words_fills_no_memory():
    found = vocabulary()
    for n in range(MAX_COUNTED_WORDS + 10):
        found.count_unknown("param", f"name {n}")
    assert len(found.unknown_words) == MAX_COUNTED_WORDS + 1
    assert found.unknown_words["param", OTHER_WORDS] == 10


# Stock


@pytest.mark.parametrize(
    ("attributes", "more", "said"),
    [
        ('available="true"', "", "in_stock"),
        ("", "", "in_stock"),
        ('available=""', "", "out_of_stock"),
        ('available="нет"', "", "out_of_stock"),
        ('available="-"', "", "out_of_stock"),
        ('available="+"', "", "in_stock"),
        ('available="sold out"', "", "out_of_stock"),
        ('available="на заказ"', "", "on_order"),
        ('available="perhaps"', "", "unknown"),
        ('available="false"', "", "on_order"),
        ('available="False"', "<quantity>7</quantity>", "on_order"),
        ('available="true"', "<available>under way</available>", "unknown"),
        ('available="true"', "<available>В наявності</available>", "in_stock"),
        ('available="true"', "<available>auf Lager</available>", "in_stock"),
        ('available="true"', "<quantity>0</quantity>", "out_of_stock"),
        ('available="true"', "<stock_quantity>-2</stock_quantity>", "out_of_stock"),
        ('available="true"', "<quantity_in_stock>12 шт.</quantity_in_stock>", "in_stock"),
        ('available="true"', "<count>0</count><outlets/>", "out_of_stock"),
        ('available="true"', "<quantity></quantity>", "in_stock"),
        ('available="true"', "<quantity>много</quantity>", "in_stock"),
        (
            'available="true"',
            '<outlets><outlet id="1" instock="0"/><outlet id="2" instock="3"/></outlets>',
            "in_stock",
        ),
        (
            'available="true"',
            '<outlets><outlet id="1" instock="0"/><outlet id="2" instock="0"/></outlets>',
            "out_of_stock",
        ),
        ('available="под заказ"', "<quantity>0</quantity>", "on_order"),
        ('in_stock="false"', "", "on_order"),
        ('available="true"', "<disabled>true</disabled>", "out_of_stock"),
    ],
)
def test_words_numbers_and_outlets_tell_the_stock_of_an_offer(tmp_path, attributes, more, said):
    record, reader = read_one(tmp_path, yml(offer(more, attributes)))
    assert record.availability == said
    assert bool(reader.warning_counts) == (said == "unknown")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("<g:availability>in stock</g:availability>", "in_stock"),
        ("<g:availability>https://schema.org/InStock</g:availability>", "in_stock"),
        ("<g:availability>in_stock</g:availability><g:quantity>0</g:quantity>", "out_of_stock"),
        ("<g:availability>preorder</g:availability><g:quantity>0</g:quantity>", "preorder"),
        ("<g:quantity>4</g:quantity>", "in_stock"),
        ("<inventory>0</inventory>", "out_of_stock"),
        ("<g:availability>stokta yok</g:availability>", "out_of_stock"),
        (
            "<g:availability>in stock</g:availability>"
            "<g:expiration_date>2026-11-19T23:00Z</g:expiration_date>",
            "out_of_stock",
        ),
        (
            "<g:availability>in stock</g:availability>"
            "<g:expiration_date>2026-11-20</g:expiration_date>",
            "in_stock",
        ),
        ("<g:availability>in stock</g:availability><status>archived</status>", "out_of_stock"),
        (
            "<g:availability>in stock</g:availability><visibility>hidden</visibility>",
            "out_of_stock",
        ),
    ],
)
def test_stock_and_life_in_googles_words(tmp_path, more, said):
    record, _ = read_one(tmp_path, google(more))
    assert record.availability == Availability(said)


def test_a_date_of_expiry_that_is_none_is_counted(tmp_path):
    item = "<g:availability>in stock</g:availability><g:expiration_date>soon</g:expiration_date>"
    record, reader = read_one(tmp_path, google(item))
    assert record.availability == "in_stock"
    assert reader.warning_counts == {FeedWarning.BAD_EXPIRY: 1}


@pytest.mark.parametrize(
    "brand",
    ["Нет бренда", "без бренда", "No Brand", "noname", "Ohne Marke", "bez marki", "-", "N/A"],
)
def test_no_brand_in_any_language_is_none(tmp_path, brand):
    record, _ = read_one(tmp_path, yml(offer(f"<vendor>{brand}</vendor>")))
    assert record.brand is None


def test_a_brand_that_only_contains_such_words_is_one(tmp_path):
    record, _ = read_one(tmp_path, yml(offer("<vendor>Brand Nobody</vendor>")))
    assert record.brand == "Brand Nobody"


# Groups and numbers


@pytest.mark.parametrize(
    ("attributes", "more"),
    [
        ('group_id="88"', ""),
        ('group_id=" 88 "', ""),
        ('groupId="88"', ""),
        ("", "<group_id>88</group_id>"),
        ("", "<groupId>88</groupId>"),
        ("", "<item_group_id>88</item_group_id>"),
    ],
)
def test_a_group_wherever_it_stands(tmp_path, attributes, more):
    record, _ = read_one(tmp_path, yml(offer(more, attributes)))
    assert record.group_id == "88"


@pytest.mark.parametrize("group", ["0", "", " ", "00", "-", "null", "нет"])
def test_a_group_of_nothing_is_none(tmp_path, group):
    record, _ = read_one(tmp_path, yml(offer("", f'group_id="{group}"')))
    assert record.group_id is None


def test_numbers_of_articles_are_kept_if_their_check_digit_is_right(tmp_path):
    record, reader = read_one(
        tmp_path,
        yml(offer("<barcode>4006381333931</barcode><barcode>4006381333932</barcode>")),
    )
    assert record.gtins == ["04006381333931"]
    assert reader.warning_counts == {FeedWarning.BAD_GTIN: 1}


@given(st.integers(1, 10**12 - 1))
def test_a_check_digit_finds_every_single_wrong_digit(number):
    body = f"{number:012}"
    check = next(digit for digit in "0123456789" if is_gtin(body + digit) or digit == "9")
    right = body + check
    for place in range(13):
        wrong = right[:place] + str((int(right[place]) + 1) % 10) + right[place + 1 :]
        assert not (is_gtin(right) and is_gtin(wrong))


# Filters


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"excluded_conditions": ["used"]}, "<g:condition>used</g:condition>"),
        ({"excluded_conditions": ["used"]}, "<g:condition>used_good</g:condition>"),
        ({"exclude_adult": True}, "<g:adult>yes</g:adult>"),
        (
            {"excluded_destinations": ["Shopping ads"]},
            "<g:excluded_destination>Shopping_ads</g:excluded_destination>",
        ),
    ],
)
def test_settings_may_exclude_offers(tmp_path, settings, more):
    content = google(f"<g:availability>in stock</g:availability>{more}")
    shop = ShopSettings(id="s", feed="x", **settings)
    record, _ = read_one(tmp_path, content, shop)
    assert record.reason is OfferReason.EXCLUDED
    assert isinstance(read_one(tmp_path, content)[0], Offer)


# The table


def test_the_operators_table_is_read(tmp_path):
    packaged = packaged_mapping_path("attributes.xml")
    text = packaged.read_text(encoding="utf-8")
    path = tmp_path / "attributes.xml"
    path.with_suffix(".rng").write_bytes(packaged.with_suffix(".rng").read_bytes())
    path.write_text(text.replace('words="цвет,', 'words="оперение, цвет,'), encoding="utf-8")
    table = read_attribute_table(path)
    assert table.attribute_of("Оперение:") == "colour"
    assert table.sha256 != packaged_attribute_table().sha256


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('<attribute id="colour">', '<attribute id="color">', "id='color': wanted one of"),
        ('<value id="male">', '<value id="man">', "id='man': wanted one of female, male"),
        ('words="цвет,', 'words="пол, цвет,', "'пол': is a name of gender, too"),
        ('lang="ru" words="цвет,', 'lang="Russian" words="цвет,', "lang='Russian': wanted"),
    ],
)
def test_each_mistake_of_the_table_is_named(tmp_path, old, new, mistake):
    packaged = packaged_mapping_path("attributes.xml")
    path = tmp_path / "attributes.xml"
    path.with_suffix(".rng").write_bytes(packaged.with_suffix(".rng").read_bytes())
    text = packaged.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadMapping, match=mistake.replace("'", ".")):
        read_attribute_table(path)
