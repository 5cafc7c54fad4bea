"""Feeds to offers: every dialect, every quirk, every way a feed can be of no use."""

import gzip
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from wearalike import feeds
from wearalike.feeds import (
    FeedReason,
    FeedWarning,
    Offer,
    OfferReason,
    RefusedOffer,
    WithdrawnOffer,
    addresses,
    normalize,
    xml_repair,
)
from wearalike.settings import ShopSettings
from wearalike.tables import OFFERS

DATA = Path(__file__).parents[1] / "data" / "feeds"
SHOP = ShopSettings(id="s", feed="http://shop.example/")


def read(path, shop=SHOP, charset=None):
    """(reading, records) of a feed file."""
    reader = feeds.read_offers(path, shop, charset)
    return reader, list(reader)


def read_bytes(tmp_path, content, shop=SHOP, charset=None):
    path = tmp_path / "feed"
    path.write_bytes(content)
    return read(path, shop, charset)


def offer(
    ident="1",
    name="Платье",
    price="<price>10</price><currencyId>RUB</currencyId>",
    more="",
    picture="https://shop.example/1.jpg",
):
    return (
        f'<offer id="{ident}"><name>{name}</name>{price}<picture>{picture}</picture>{more}</offer>'
    )


def yml(*offers, head='<?xml version="1.0" encoding="UTF-8"?>', categories=""):
    shop = f"<categories>{categories}</categories><offers>{''.join(offers)}</offers>"
    return f"{head}<yml_catalog><shop>{shop}</shop></yml_catalog>"


def refusal(tmp_path, content, shop=SHOP):
    with pytest.raises(feeds.BadFeed) as error:
        read_bytes(tmp_path, content, shop)
    return error.value.reason


# Dialects


def test_a_yml_offer_becomes_a_row_of_the_table():
    reader, records = read(DATA / "yml.xml")
    # The articles are found when the whole feed is known.
    assert (*Offer._fields, "article_id", "article_evidence") == tuple(OFFERS.column_names)
    assert records[0]._asdict() == {
        "product_id": "s:A1VV",
        "shop_id": "s",
        "offer_id": "A1VV",
        "group_id": "77",
        "title": "Платье миди «Лето»",
        "url": "https://shop.example/p/1?a=1&b=2",
        "brand": "Ромашка",
        "vendor_code": "RM-7",
        "gtins": [],
        "category_ids": ["30", "20"],
        "category_paths": ["Женщинам > Платья > Платья миди", "Женщинам > Платья"],
        "google_category": None,
        "price_cents": 199050,
        "old_price_cents": 299050,
        "currency": "RUB",
        "availability": "in_stock",
        "gender": "female",
        "age_group": "adult",
        "colours": ["черный", "black"],
        "sizes": ["42-44 RU", "46 RU"],
        "materials": ["хлопок"],
        "patterns": ["горох"],
        "image_urls": ["https://shop.example/1.jpg", "https://shop.example/1-back.jpg"],
        "description": "Лёгкое платье & пояс хлопок",
        "related_offer_ids": ["1511AB", "3", "A,B"],
    }
    assert (reader.dialect, reader.encoding, reader.offers_count) == ("yml", "utf-8", 4)
    rows = pa.Table.from_pylist([record._asdict() for record in records], OFFERS.arrow_schema)
    rows.validate(full=True)


def test_yml_mixes_vendor_model_and_falls_back_on_what_the_feed_says_of_itself():
    reader, (_, bag, ring, boys) = read(DATA / "yml.xml")
    assert (bag.title, bag.brand, bag.currency, bag.availability, bag.gender) == (
        "Сумка H&M Кросс-боди 2",
        "H&M",
        "RUB",
        "in_stock",
        "unisex",
    )
    assert (bag.category_ids, bag.category_paths) == (["101"], [""])
    assert ring.category_paths == ["Круг > Кольцо"]
    assert boys.category_paths == ["Сироты"]
    assert (boys.gender, boys.age_group) == ("male", "kids")
    assert reader.warning_counts == {
        FeedWarning.UNKNOWN_CATEGORY: 1,
        FeedWarning.CATEGORY_CYCLE: 1,
        FeedWarning.MISSING_PARENT: 1,
    }


@pytest.mark.parametrize(
    ("policy", "said"), [("on_order", "on_order"), ("out_of_stock", "out_of_stock")]
)
def test_what_unavailable_means_is_the_shops_policy(policy, said):
    _, records = read(DATA / "yml.xml", ShopSettings(id="s", feed="x", available_false=policy))
    assert [record.availability for record in records] == ["in_stock", "in_stock", said, said]


def test_admitad_is_yml_with_deletions_and_spellings_of_its_own():
    reader, (gone, asos, order, no) = read(
        DATA / "admitad.xml",
        ShopSettings(id="s", feed="x", dialect="admitad", available_false="out_of_stock"),
    )
    assert gone == WithdrawnOffer("gone")
    assert (asos.availability, asos.old_price_cents, asos.gender, asos.colours, asos.sizes) == (
        "in_stock",
        2999,
        "female",
        ["red"],
        ["38"],
    )
    assert (order.availability, order.price_cents, order.old_price_cents, order.title) == (
        "on_order",
        500,
        600,
        "Boots",
    )
    assert (no.availability, no.old_price_cents) == ("out_of_stock", None)
    assert (reader.dialect, reader.offers_count, dict(reader.warning_counts)) == ("admitad", 4, {})


def test_google_rss_goes_by_namespace_not_prefix():
    reader, (dress, bare, other) = read(DATA / "google_rss.xml")
    assert dress._asdict() == {
        "product_id": "s:b1",
        "shop_id": "s",
        "offer_id": "b1",
        "group_id": "abc123",
        "title": "Red dress",
        "url": "https://shop.example/p/b1",
        "brand": "Acme",
        "vendor_code": "X-1",
        "gtins": [],
        "category_ids": [],
        "category_paths": ["Women > Dresses", "Sale > Dresses"],
        "google_category": "Apparel & Accessories > Clothing",
        "price_cents": 999,
        "old_price_cents": 1500,
        "currency": "USD",
        "availability": "in_stock",
        "gender": "female",
        "age_group": "adult",
        "colours": ["Red", "Navy Blue"],
        "sizes": ["M EU"],
        "materials": ["cotton", "wool"],
        "patterns": [],
        "image_urls": [f"https://shop.example/b1{n}.jpg" for n in ("", "-2", "-3")],
        "description": "A dress",
        "related_offer_ids": [],
    }
    assert (bare.price_cents, bare.currency, bare.availability) == (10099, "XXX", "preorder")
    assert (other.title, other.availability) == ("The other g", "unknown")
    assert (reader.dialect, reader.warning_counts) == (
        "google_rss",
        {FeedWarning.NO_CURRENCY: 1, FeedWarning.UNKNOWN_AVAILABILITY: 1},
    )


def test_google_atom_takes_the_link_that_is_the_page():
    reader, (coat,) = read(DATA / "google_atom.xml")
    assert (coat.offer_id, coat.title, coat.url) == ("c1", "Blue coat", "https://shop.example/p/c1")
    assert (coat.description, coat.price_cents, coat.currency, coat.availability) == (
        "Warm & blue",
        8000,
        "EUR",
        "out_of_stock",
    )
    assert (coat.gender, coat.age_group, reader.dialect) == ("unisex", "kids", "google_atom")


def test_categories_after_the_offers_are_found_all_the_same(tmp_path):
    late = (
        "<yml_catalog><shop><offers>"
        f"{offer(more='<categoryId>2</categoryId>')}{offer('2', more='<categoryId>7</categoryId>')}"
        '</offers><categories><category id="2" parentId="1">Платья</category>'
        '<category id="1">H&M</category></categories></shop></yml_catalog>'
    )
    reader, (first, second) = read_bytes(tmp_path, late.encode())
    assert (first.category_paths, second.category_paths) == (["H&M > Платья"], [""])
    assert reader.warning_counts == {FeedWarning.AMPERSAND: 1, FeedWarning.UNKNOWN_CATEGORY: 1}


RELATED = {
    "accessory:id:belt-1": None,
    "Often_bought_with:ID: boots_2": None,
    "part_of_set:gtin:4006381333931": "related_product:gtin",
    "substitute:id:b9": "related_product:substitute",
    "different_brand:gtin:4006381333931": "related_product:different_brand",
    "goes_with:id:b9": FeedWarning.BAD_RELATED_ID,
    "accessory:id:": FeedWarning.BAD_RELATED_ID,
}


def related_element(text):
    relationship, kind, identifier = text.split(":")
    return (
        f"<g:related_product><g:relationship_type>{relationship}</g:relationship_type>"
        f"<g:identifier_type>{kind}</g:identifier_type><g:identifier>{identifier}</g:identifier>"
        "</g:related_product>"
    )


@pytest.mark.parametrize("form", ["elements", "text", "table"])
def test_what_google_s_feeds_say_is_sold_beside_it_is_read_and_the_rest_counted(tmp_path, form):
    known = {"id": "a1", "title": "Coat", "link": "https://shop.example/a1", "price": "9 EUR"}
    known |= {"image_link": "https://shop.example/a1.jpg", "availability": "in stock"}
    if form == "table":
        related = ",".join(RELATED)
        content = "\t".join((*known, "related_product"))
        content += "\n" + "\t".join((*known.values(), related)) + "\n"
    else:
        elements = "".join(f"<g:{name}>{text}</g:{name}>" for name, text in known.items())
        if form == "elements":
            elements += "".join(map(related_element, RELATED))
        else:
            elements += f"<g:related_product>{','.join(RELATED)}</g:related_product>"
        content = (
            '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
            f"<item>{elements}</item></channel></rss>"
        )
    reader, (coat,) = read_bytes(tmp_path, content.encode())
    assert coat.related_offer_ids == ["belt-1", "boots_2"]
    assert reader.warning_counts == {FeedWarning.BAD_RELATED_ID: 2}
    counted = Counter(fate for fate in RELATED.values() if isinstance(fate, str) and ":" in fate)
    assert reader.ignored_fields == counted


def test_a_cross_sell_link_that_cannot_be_an_id_is_left_out_and_counted(tmp_path):
    related = "".join(f"<related_offer>{n}</related_offer>" for n in range(300))
    offers = offer("a", more=f"<rec>b,{'9' * 500}</rec>") + offer("b", more=related)
    feed = f"<yml_catalog><shop><offers>{offers}</offers></shop></yml_catalog>"
    reader, (first, second) = read_bytes(tmp_path, feed.encode())
    assert first.related_offer_ids == ["b"] and second.related_offer_ids == [
        str(n) for n in range(200)
    ]
    assert reader.warning_counts == {FeedWarning.BAD_RELATED_ID: 1, FeedWarning.MANY_VALUES: 1}


# Offers


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (offer(ident=" "), OfferReason.MISSING_ID),
        (offer(ident="9" * 500), OfferReason.MISSING_ID),
        (offer(name="<![CDATA[ <br/> ]]>"), OfferReason.MISSING_TITLE),
        (offer(price="<currencyId>RUB</currencyId>"), OfferReason.BAD_PRICE),
        (offer(price="<price>0</price><currencyId>RUB</currencyId>"), OfferReason.BAD_PRICE),
        (offer(price="<price>100-200</price><currencyId>RUB</currencyId>"), OfferReason.BAD_PRICE),
        (offer(picture="/1.jpg"), OfferReason.NO_PICTURE),
        (offer(picture="file:///etc/passwd"), OfferReason.NO_PICTURE),
    ],
)
def test_an_unusable_offer_is_refused_and_the_feed_goes_on(tmp_path, broken, reason):
    reader, (refused, kept) = read_bytes(tmp_path, yml(broken, offer("2")).encode())
    assert (type(refused), refused.reason) == (RefusedOffer, reason) and refused.detail
    assert (kept.offer_id, reader.offers_count) == ("2", 2)


def test_what_is_too_much_is_cut_and_counted(tmp_path):
    pictures = (
        "".join(f"<picture>https://shop.example/p{n}.jpg</picture>" for n in range(60))
        + "<picture>//cdn/x.jpg</picture>"
    )
    params = "".join(f'<param name="Цвет">c{n}</param>' for n in range(10_000))
    reader, (found,) = read_bytes(
        tmp_path, yml(offer(name="я" * 1_000_000, more=pictures + params)).encode()
    )
    assert (len(found.title), len(found.image_urls), len(found.colours)) == (1_000, 50, 200)
    assert reader.warning_counts == {FeedWarning.LONG_TEXT: 2, FeedWarning.MANY_VALUES: 2}


def test_text_for_people_has_no_tags_entities_or_hidden_characters():
    assert (
        normalize.plain_text(
            " a\u200b\u202eb \n\t c&nbsp;d ½ <b>e</b>\x00f <script>x<b></script>g <!-- h --> i < 5 "
        )
        == "ab c d 1⁄2 e f g i < 5"
    )
    assert normalize.plain_text("＜script＞alert(1)＜/script＞ok") == "ok"
    assert normalize.plain_text("<\u200bscript>alert(1)") == ""
    assert normalize.plain_text("<<b>script>") == "< script>"


@given(st.text(max_size=200))
def test_plain_text_is_settled_and_shows_no_tag(text):
    made = normalize.plain_text(text)
    assert made.isprintable() or not re.search(
        r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", made
    )
    assert not re.search(r"<[a-zA-Z/!][^<>]*>", made) and made == made.strip() and "  " not in made


def test_addresses_are_encoded_and_only_the_webs():
    assert (
        addresses.normalize_url("https://shop.example/a b/é.jpg?x=ё#f")
        == "https://shop.example/a%20b/%C3%A9.jpg?x=%D1%91#f"
    )
    assert (
        addresses.normalize_url(" HTTP://Пример.рф:8080/a%20b%zz ")
        == "http://xn--e1afmkfd.xn--p1ai:8080/a%20b%zz"
    )
    assert addresses.normalize_url("https://[2001:db8::1]/x") == "https://[2001:db8::1]/x"
    bad = (
        "",
        "a.jpg",
        "/a",
        "ftp://a.example/b",
        "javascript:alert(1)",
        "http://",
        "http://u:p@a.example/",
        "http://a b/",
    )
    for text in (
        *bad,
        "http://a.example:99999999/",
        "http://a.example/" + "x" * 5000,
        "data:image/png;base64,AA",
        "http://[::1/",
    ):
        with pytest.raises(normalize.InvalidOffer):
            addresses.normalize_url(text)


# Bytes


def test_encodings_are_what_the_bytes_are_whatever_is_declared(tmp_path):
    text = yml(offer(name="Платье миди"), head='<?xml version="1.0" encoding="%s"?>')
    cases = [
        ("utf-8", "utf-8", None, "utf-8", {}),
        ("windows-1251", "windows-1251", None, "cp1251", {}),
        ("windows-1251", "utf-8", None, "cp1251", {FeedWarning.ENCODING: 1}),
        ("utf-8", "windows-1251", None, "utf-8", {FeedWarning.ENCODING: 1}),
        ("us-ascii", "windows-1251", None, "utf-8", {FeedWarning.ENCODING: 1}),
        ("utf-16", "utf-8", None, "utf-8", {FeedWarning.ENCODING: 1}),
        ("koi8-r", "koi8-r", "windows-1251", "koi8-r", {}),
        ("no-such", "utf-8-sig", "windows-1251", "utf-8", {}),
        ("utf-16", "utf-16", "windows-1251", "utf-8", {}),
    ]
    for declared, actual, charset, encoding, repairs in cases:
        reader, (found,) = read_bytes(tmp_path, (text % declared).encode(actual), charset=charset)
        assert (found.title, reader.encoding, reader.warning_counts) == (
            "Платье миди",
            encoding,
            repairs,
        ), (declared, actual)
    _, (found,) = read_bytes(tmp_path, yml(offer(), head="").encode("koi8-r"), charset="KOI8-R")
    assert found.title == "Платье"
    assert refusal(tmp_path, (text % "base64").encode("koi8-r")) is FeedReason.BAD_ENCODING


def test_a_stray_byte_does_not_spoil_the_rest(tmp_path):
    content = yml(offer(name="Платье X кружево")).encode().replace(b"X", "ё".encode("windows-1251"))
    reader, (found,) = read_bytes(tmp_path, content)
    assert (found.title, reader.warning_counts) == (
        "Платье ё кружево",
        {FeedWarning.STRAY_BYTES: 1},
    )


def test_what_would_stop_a_parser_is_mended_and_no_text_is_lost(tmp_path):
    name = "H&M&nbsp;&mdash; a\x0bb &amp; c&#11;d&#x41; &nosuch; &copy &LT;i&GT; e\ufffef"
    link = "<url><![CDATA[http://shop.example/?a=1&b=2&copy=3]]></url>"
    head = '<?xml version="1.0"?><!DOCTYPE yml_catalog SYSTEM "shops.dtd">'
    reader, (found,) = read_bytes(tmp_path, yml(offer(name=name, more=link), head=head).encode())
    assert found.title == "H&M — ab & cdA &nosuch; © ef"
    assert found.url == "http://shop.example/?a=1&b=2&copy=3"
    assert reader.warning_counts == {
        FeedWarning.AMPERSAND: 3,
        FeedWarning.ENTITY: 4,
        FeedWarning.CONTROL_CHARACTER: 3,
    }


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("text"), st.text(alphabet="ab яё&;#<>]-!\x0b\u2028", max_size=12)),
            st.tuples(st.just("cdata"), st.text(alphabet="ab яё&;#<>-!\x0b", max_size=12)),
            st.tuples(st.just("comment"), st.text(alphabet="ab<&[CDATA]!", max_size=12)),
        ),
        max_size=8,
    ),
    st.integers(1, 40),
)
def test_the_sanitizer_keeps_every_text_however_the_bytes_are_cut(parts, size):
    wrap = {
        "text": lambda t: escape(t).replace("]]>", "]]&gt;"),
        "cdata": lambda t: f"<![CDATA[{t}]]>",
        "comment": lambda t: f"<!--{t}-->",
    }
    parts = [(kind, text.replace("]]>", "")) for kind, text in parts]
    document = "<a>" + "".join(f"<b>{wrap[kind](text)}</b>" for kind, text in parts) + "</a>"
    sanitizer = xml_repair.XmlSanitizer(Counter())
    held, out = b"", b""
    content = document.encode()
    for at in range(0, len(content), size):
        held += content[at : at + size]
        cut = held.rfind(b"<")
        if cut > 0:
            out += sanitizer.sanitize(held[:cut])
            held = held[cut:]
    out += sanitizer.sanitize(held)
    root = etree.fromstring(out, etree.XMLParser(remove_comments=True))
    wanted = ["" if kind == "comment" else text.replace("\x0b", "") for kind, text in parts]
    assert [b.text or "" for b in root] == wanted


@given(
    st.text(
        alphabet=st.characters(exclude_characters="<&\r", exclude_categories=("Cs",)), max_size=50
    )
)
def test_a_bare_ampersand_and_forbidden_characters_cost_nothing_else(text):
    mended = xml_repair.XmlSanitizer(Counter()).sanitize(f"<a>{text}& {text}</a>".encode())
    allowed = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text)
    assert ("]]>" in allowed) or etree.fromstring(mended).text == f"{allowed}& {allowed}"


def test_a_text_beyond_a_parsers_patience_does_not_stop_the_file(tmp_path):
    long_plain = offer("1", more=f"<description>{'слово ' * 2_000_000}</description>")
    long_cdata = offer(
        "2", more=f"<description><![CDATA[{'<p>слово</p>' * 1_000_000}]]></description>"
    )
    reader, records = read_bytes(tmp_path, yml(long_plain, long_cdata, offer("3")).encode())
    assert [record.offer_id for record in records] == ["1", "2", "3"]
    assert records[0].description.startswith("слово слово") and len(records[0].description) > 4_990
    assert records[1].description == records[0].description
    assert reader.warning_counts == {
        FeedWarning.LONG_TEXT: 4
    }  # each in the file, and as a description


def test_gzip_is_known_by_its_magic_twice_over(tmp_path):
    plain = yml(offer()).encode()
    for content in (
        gzip.compress(plain),
        gzip.compress(gzip.compress(plain)),
        gzip.compress(plain[:50]) + gzip.compress(plain[50:]),
    ):
        _, (found,) = read_bytes(tmp_path, content)
        assert found.title == "Платье"
    assert (
        refusal(tmp_path, gzip.compress(gzip.compress(gzip.compress(plain))))
        is FeedReason.TOO_LARGE
    )


# Feeds of no use


WHOLE = yml(*(offer(str(n)) for n in range(50))).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", FeedReason.EMPTY),
        (b" \n", FeedReason.EMPTY),
        (b'<?xml version="1.0"?>', FeedReason.EMPTY),
        (b"<!doctype html><html><body>Please log in</body></html>", FeedReason.HTML_PAGE),
        (b"<html><body>404</body></html>", FeedReason.HTML_PAGE),
        (b"id;name\n1;dress\n", FeedReason.NOT_XML),
        (b"PK\x03\x04zip", FeedReason.TRUNCATED),
        (b"\x00\xff\x80", FeedReason.NOT_XML),
        (b"<products><product/></products>", FeedReason.WRONG_ROOT),
        (b"<yml_catalog", FeedReason.TRUNCATED),
        (WHOLE[: len(WHOLE) // 2], FeedReason.TRUNCATED),
        (WHOLE[:-5], FeedReason.TRUNCATED),
        (gzip.compress(WHOLE)[:-20], FeedReason.TRUNCATED),
        (b"\x1f\x8b\x08\x00 not gzip at all, not gzip", FeedReason.BROKEN),
        (WHOLE + WHOLE, FeedReason.BROKEN),
        # The end is there, so it is not cut off.
        (WHOLE.replace(b'id="0"', b'id="0""', 1), FeedReason.BROKEN),
        (WHOLE.replace(b'id="0"', b"id=0", 1), FeedReason.BROKEN),
        (WHOLE.replace(b"</name>", b"</nam>", 1), FeedReason.BROKEN),
        (
            b'<!DOCTYPE y [<!ENTITY x SYSTEM "file:///etc/passwd">]><yml_catalog>&x;</yml_catalog>',
            FeedReason.ENTITIES,
        ),
        (b'<!DOCTYPE y SYSTEM "a.dtd" [<!ENTITY a "b">]>' + WHOLE, FeedReason.ENTITIES),
        (b"<yml_catalog>" + b"<a>" * 400 + b"</a>" * 400 + b"</yml_catalog>", FeedReason.BROKEN),
    ],
)
def test_a_feed_of_no_use_says_why(tmp_path, content, reason):
    assert refusal(tmp_path, content) is reason


def test_a_dialect_that_the_shop_names_is_held_against_the_root(tmp_path):
    assert (
        refusal(tmp_path, WHOLE, ShopSettings(id="s", feed="x", dialect="google_rss"))
        is FeedReason.WRONG_ROOT
    )


def test_bombs_are_refused_before_they_unpack(tmp_path):
    bomb = gzip.compress(WHOLE[:-30] + b" " * 60_000_000, 9)
    assert refusal(tmp_path, bomb) is FeedReason.TOO_LARGE
    assert refusal(tmp_path, gzip.compress(bomb)) is FeedReason.TOO_LARGE
    assert (
        refusal(tmp_path, WHOLE, ShopSettings(id="s", feed="x", max_feed_bytes=1000))
        is FeedReason.TOO_LARGE
    )


def test_an_external_dtd_is_never_fetched(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        head = (
            f'<!DOCTYPE yml_catalog SYSTEM "http://127.0.0.1:{server.getsockname()[1]}/shops.dtd">'
        )
        _, (found,) = read_bytes(tmp_path, yml(offer(name="a&nbsp;b"), head=head).encode())
        assert found.title == "a b"
        with pytest.raises(TimeoutError):
            server.accept()


def test_memory_stays_flat_and_the_same_bytes_give_the_same_offers(tmp_path):
    path = tmp_path / "feed"
    with path.open("w", encoding="utf-8") as file:
        before, after = yml("\0").split("\0")
        promos = "<promos>" + "<promo>скидка</promo>" * 100_000 + "</promos>"
        file.write(before)
        file.writelines(
            offer(str(n), more=f"<description>{'текст ' * 100}</description>")
            for n in range(30_000)
        )
        file.write(after.replace("</shop>", f"{promos}</shop>"))
    code = f"""
import resource
from pathlib import Path
from wearalike import feeds
from wearalike.settings import ShopSettings
reader = feeds.read_offers(Path({str(path)!r}), ShopSettings(id="s", feed="x"))
next(records := iter(reader))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(1 for _ in records), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    count, grown_kb = map(
        int,
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True
        ).stdout.split(),
    )
    assert count == 29_999
    assert grown_kb < 30_000 < path.stat().st_size // 1024
