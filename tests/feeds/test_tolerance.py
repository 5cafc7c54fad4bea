"""Feeds that a strict reader throws away, as shop systems and plug-ins really write them."""

import codecs
from datetime import date

import pytest
from tests.feeds.test_feeds import offer, read_bytes, refusal, yml

from wearalike import feeds
from wearalike.feeds import FeedReason, FeedWarning, OfferReason, RefusedOffer, feed_date, parser
from wearalike.feeds.yml import YmlDialect

ITEM = (
    "<g:id>7</g:id><g:title>Wool scarf</g:title><g:link>https://shop.example/p/7</g:link>"
    "<g:image_link>https://shop.example/7.jpg</g:image_link><g:price>25 EUR</g:price>"
    "<g:availability>in stock</g:availability><g:color>Red</g:color>"
)


def titles(records):
    return [record.title for record in records]


@pytest.mark.parametrize(
    "namespace",
    [
        "http://base.google.com/ns/1.0",
        "https://base.google.com/ns/1.0",
        "http://base.google.com/ns/1.0/",
        "HTTPS://Base.Google.com/ns/1.0/",
        "//base.google.com/ns/1.0",
        "http://base.google.com/ns",
        "http://www.base.google.com/ns/1.1",
        "base.google.com/ns/1.0",
        # The prefix tells where no element is in Google's own.
        "http://schema.org/",
        "g",
    ],
)
def test_googles_namespace_is_known_with_https_and_with_a_slash(tmp_path, namespace):
    rss = f'<rss xmlns:g="{namespace}"><channel><item>{ITEM}</item></channel></rss>'
    reader, (scarf,) = read_bytes(tmp_path, rss.encode())
    assert (scarf.offer_id, scarf.title, scarf.colours) == ("7", "Wool scarf", ["Red"])
    assert (reader.dialect, reader.warning_counts) == ("google_rss", {})


@pytest.mark.parametrize(
    "declaration",
    [
        'xmlns="http://www.w3.org/2005/Atom"',
        'xmlns="https://www.w3.org/2005/Atom"',
        'xmlns="http://www.w3.org/2005/Atom/"',
        'xmlns="http://shop.example/our-own"',
        "",
    ],
)
def test_an_atom_feed_is_known_by_its_elements(tmp_path, declaration):
    more = '<link rel="alternate" href="https://shop.example/p/7"/>'
    plain = ITEM.replace("g:", "").replace("<link>https://shop.example/p/7</link>", more)
    for entry in (ITEM, plain):
        atom = (
            f'<feed {declaration} xmlns:g="https://base.google.com/ns/1.0"><entry>{entry}</entry>'
            "</feed>"
        )
        reader, (scarf,) = read_bytes(tmp_path, atom.encode())
        assert (scarf.offer_id, scarf.url) == ("7", "https://shop.example/p/7")
        assert reader.dialect == "google_atom"


def test_a_default_namespace_may_be_googles_or_the_shops_own(tmp_path):
    plain = ITEM.replace("g:", "")
    for declaration in ("http://base.google.com/ns/1.0", "https://shop.example/feed"):
        rss = f'<rss xmlns="{declaration}"><channel><item>{plain}</item></channel></rss>'
        assert titles(read_bytes(tmp_path, rss.encode())[1]) == ["Wool scarf"]
    content = yml(offer(), categories='<category id="1">Платья</category>')
    content = content.replace("<yml_catalog>", '<yml_catalog xmlns="http://shop.example/yml">')
    _, (dress,) = read_bytes(
        tmp_path, content.replace("</offer>", "<categoryId>1</categoryId></offer>").encode()
    )
    assert (dress.title, dress.category_paths) == ("Платье", ["Платья"])


def test_a_prefix_that_nobody_declares_is_read_and_counted(tmp_path):
    item = f"<item>{ITEM}<c:own x:y='1'>1</c:own></item>"
    rss = f"<rss><channel>{item * 2000}</channel></rss>"
    reader, records = read_bytes(tmp_path, rss.encode())
    assert titles(records) == ["Wool scarf"] * 2000
    assert reader.warning_counts == {FeedWarning.UNDECLARED_NAMESPACE: 1}
    with pytest.raises(feeds.BadFeed) as cut:
        read_bytes(tmp_path, rss.encode()[:-30])
    assert cut.value.reason is FeedReason.TRUNCATED and "prefix" not in cut.value.detail
    broken = rss.replace("</c:own>", "</d:own>", 1)
    assert refusal(tmp_path, broken.encode()) is FeedReason.BROKEN


@pytest.mark.parametrize(
    ("before", "is_counted"),
    [
        (codecs.BOM_UTF8, False),
        (b" \r\n\t", False),
        (codecs.BOM_UTF8 * 2, True),
        (b"\n" + codecs.BOM_UTF8, True),
        (codecs.BOM_UTF8 + b"\n" + codecs.BOM_UTF8, True),
        ("\xa0".encode(), True),
        (b"\xa0", True),
        ("\u200b\u2060".encode(), True),
        (b"\0", True),
        (b"\0\0 \0", True),
    ],
)
def test_what_stands_before_the_declaration_is_skipped(tmp_path, before, is_counted):
    for encoding in ("utf-8", "windows-1251"):
        head = f'<?xml version="1.0" encoding="{encoding}"?>'
        if encoding != "utf-8" and codecs.BOM_UTF8 in before:
            continue
        reader, records = read_bytes(tmp_path, before + yml(offer(), head=head).encode(encoding))
        assert titles(records) == ["Платье"]
        assert reader.warning_counts == ({FeedWarning.LEADING_CHARACTERS: 1} if is_counted else {})


@pytest.mark.parametrize(
    ("declared", "actual", "encoding"),
    [
        *(
            (name, "cp1251", "cp1251")
            for name in (
                "win-1251",
                "windows1251",
                "WINDOWS_1251",
                "cp-1251",
                "Win 1251",
                "ansi",
                "x-cp1251",
                "1251",
            )
        ),
        *((name, "utf-8", "utf-8") for name in ("utf8", "UTF_8", "utf-8mb4", "Unicode")),
        ("koi8r", "koi8-r", "koi8-r"),
        ("ISO8859-5", "iso8859-5", "iso8859-5"),
        ("GB2312", "gb2312", "gb2312"),
        ("Shift-JIS", "shift_jis", "shift_jis"),
        ("utf-16", "utf-16-le", "utf-8"),
        ("utf-16", "utf-16-be", "utf-8"),
        ("utf-16", "utf-32-le", "utf-8"),
    ],
)
def test_an_encoding_is_known_by_its_nicknames_and_without_a_mark(
    tmp_path, declared, actual, encoding
):
    for quote in ('"', "'"):
        head = f"<?xml version={quote}1.0{quote} encoding={quote}{declared}{quote}?>"
        content = yml(offer(name="Платье миди"), head=head).encode(actual)
        reader, records = read_bytes(tmp_path, content)
        assert (titles(records), reader.encoding) == (["Платье миди"], encoding)
        assert reader.warning_counts == {}


@pytest.mark.parametrize("declared", ["base64", "no-such", "", "utf-7", "hz", "gbk", "big5"])
def test_an_encoding_declared_wrongly_over_utf_8_is_no_reason_to_refuse(tmp_path, declared):
    content = yml(offer(), head=f'<?xml version="1.0" encoding="{declared}"?>')
    reader, records = read_bytes(tmp_path, content.encode())
    assert titles(records) == ["Платье"]
    assert reader.warning_counts == ({FeedWarning.ENCODING: 1} if declared else {})


def test_an_encoding_that_is_not_read_is_named(tmp_path):
    content = yml(offer(), head='<?xml version="1.0" encoding="x-our-own"?>').encode("cp1251")
    with pytest.raises(feeds.BadFeed, match="'x-our-own', and the bytes are no UTF-8") as error:
        read_bytes(tmp_path, content)
    assert error.value.reason is FeedReason.BAD_ENCODING
    _, records = read_bytes(tmp_path, content, charset="win1251")
    assert titles(records) == ["Платье"]


@pytest.mark.parametrize(
    ("written", "meant", "warning", "count"),
    [
        ("Size < 40", "Size < 40", FeedWarning.BARE_MARKUP, 1),
        ("3 <5 <= 9 << 10", "3 <5 <= 9 << 10", FeedWarning.BARE_MARKUP, 4),
        ("I <3 it</3 <?>", "I <3 it</3 <?>", FeedWarning.BARE_MARKUP, 3),
        ("a ]]> b", "a ]]> b", FeedWarning.BARE_MARKUP, 1),
        ("<![CDATA[a <![CDATA[b]]> c]]>", "a b c", FeedWarning.BARE_MARKUP, 1),
        ("one<br>two<BR >three<hr/>four", "one two three four", FeedWarning.HTML_TAG, 2),
        ("one<br></br>two", "one two", FeedWarning.HTML_TAG, 2),
        ("one<?php echo '<b>'; ?> two", "one two", FeedWarning.INSTRUCTION, 1),
    ],
)
def test_markup_that_is_meant_as_text_is_text(tmp_path, written, meant, warning, count):
    for size in (1, 400_000):
        filler = f"<description>{'x ' * size}</description>"
        reader, (found, other) = read_bytes(
            tmp_path, yml(offer(more=filler, name=written), offer("2", name="Юбка")).encode()
        )
        assert (found.title, other.title) == (meant, "Юбка")
        assert {k: v for k, v in reader.warning_counts.items() if k != "long_text"} == {
            warning: count
        }


def test_an_instruction_within_an_item_does_not_split_its_texts(tmp_path):
    price = "<price>19<?pi a?>90</price><currencyId><?x y?>RUB</currencyId>"
    reader, (dress,) = read_bytes(tmp_path, yml(offer(price=price, more="<?top?>")).encode())
    assert (dress.price_cents, dress.currency) == (199000, "RUB")
    assert reader.warning_counts == {FeedWarning.INSTRUCTION: 3}
    rss = (
        '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
        f"<item><?xml-stylesheet href='x'?>{ITEM}<?end?></item></channel></rss>"
    )
    assert titles(read_bytes(tmp_path, rss.encode())[1]) == ["Wool scarf"]


def test_what_stands_behind_the_root_is_skipped_unless_it_is_offers(tmp_path):
    whole = yml(offer()).encode()
    for behind in (b"\n1", b"<br />\n<b>Notice</b>: x in /a.php", b"\0\0", b" " * 70_000 + b"x"):
        reader, records = read_bytes(tmp_path, whole + behind)
        assert len(records) == 1
        assert reader.warning_counts[FeedWarning.TRAILING_CHARACTERS] <= 1
    assert reader.warning_counts == {FeedWarning.TRAILING_CHARACTERS: 1}
    assert refusal(tmp_path, whole + b"\n" * 70_000 + whole) is FeedReason.BROKEN


def test_a_root_with_an_undeclared_prefix_is_read(tmp_path):
    content = yml(offer()).replace("yml_catalog", "a:yml_catalog").encode()
    reader, records = read_bytes(tmp_path, content)
    assert len(records) == 1
    assert reader.warning_counts == {FeedWarning.UNDECLARED_NAMESPACE: 1}


@pytest.mark.parametrize(
    "root", ["<channel xmlns:g='{}'>{}</channel>", "<r:RDF xmlns:r='r' xmlns:g='{}'>{}</r:RDF>"]
)
def test_rss_1_and_a_channel_without_rss_are_read(tmp_path, root):
    content = root.format("http://base.google.com/ns/1.0", f"<item>{ITEM}</item>")
    reader, (scarf,) = read_bytes(tmp_path, content.encode())
    assert (scarf.title, reader.dialect) == ("Wool scarf", "google_rss")


def test_an_image_tag_in_a_description_is_closed_and_an_img_element_stays(tmp_path):
    more = '<description>Тёплое <img src="/a.jpg" alt="x"> пальто</description>'
    picture = "<img>https://shop.example/2.jpg</img>"
    closed = "<name_ua>a</name_ua><img src='https://shop.example/3.jpg'></img>"
    reader, (found,) = read_bytes(tmp_path, yml(offer(more=more + picture + closed)).encode())
    assert found.description == "Тёплое пальто"
    assert found.image_urls[1:] == [f"https://shop.example/{n}.jpg" for n in (2, 3)]
    assert reader.warning_counts == {FeedWarning.HTML_TAG: 1}


def test_a_small_doctype_is_one_too(tmp_path):
    head = '<?xml version="1.0"?><!doctype yml_catalog system "shops.dtd">'
    assert titles(read_bytes(tmp_path, yml(offer(), head=head).encode())[1]) == ["Платье"]


@pytest.mark.parametrize(
    ("head", "day"),
    [
        ('<yml_catalog date="2019-03-01 10:00">', date(2019, 3, 1)),
        ("<yml_catalog a='1' date='01.03.2019'>", date(2019, 3, 1)),
        ("<rss><channel><pubDate>Fri, 01 Mar 2019 10:00:00 GMT</pubDate><item>", date(2019, 3, 1)),
        ("<feed><updated>2019-03-01T10:00:00Z</updated><entry>", date(2019, 3, 1)),
        ("<feed><entry><updated>2019-03-01T10:00:00Z</updated>", None),
        ('<yml_catalog date="2019-13-41">', None),
        ('<yml_catalog date="yesterday">', None),
        ("<yml_catalog>", None),
    ],
)
def test_the_day_of_a_feed_is_read_from_its_head(head, day):
    assert feed_date.read_feed_date(head.encode()) == day


def test_an_offer_over_which_our_code_fails_is_refused_and_the_others_go_on(
    tmp_path, monkeypatch, caplog
):
    """The fault is put into the reader itself: no feed is known to find one."""
    parse = YmlDialect.parse_element

    def fail(self, element):
        if element.get("id", "").startswith("bad"):
            raise ZeroDivisionError("a fault of ours")
        return parse(self, element)

    monkeypatch.setattr(YmlDialect, "parse_element", fail)
    reader, (first, refused, last) = read_bytes(
        tmp_path, yml(offer("1"), offer("bad"), offer("2")).encode()
    )
    assert refused == RefusedOffer(
        "bad", OfferReason.UNEXPECTED, "ZeroDivisionError: a fault of ours"
    )
    assert (first.offer_id, last.offer_id, reader.offers_count) == ("1", "2", 3)
    assert "Traceback" in caplog.text
    many = yml(*(offer(f"bad{n}") for n in range(parser.MAX_UNEXPECTED_OFFERS + 1)))
    assert refusal(tmp_path, many.encode()) is FeedReason.UNEXPECTED


def test_a_fault_that_offers_repeat_is_counted_for_each(tmp_path):
    price = "<price>10</price><oldprice>1 or 2</oldprice><currencyId>quux</currencyId>"
    more = '<param name="Пол">неведомый</param>' + "<picture>nowhere</picture>"
    offers = [offer(str(number), price=price, more=more) for number in range(3)]
    bad = offer("bad", price="<price>free</price>")
    reader, records = read_bytes(tmp_path, yml(*offers, bad, bad).encode())
    assert [type(record) for record in records] == [feeds.Offer] * 3 + [RefusedOffer] * 2
    assert records[3] == records[4] and records[3].reason is OfferReason.BAD_PRICE
    assert reader.warning_counts == {
        FeedWarning.BAD_OLD_PRICE: 3,
        FeedWarning.UNKNOWN_CURRENCY: 3,
        FeedWarning.UNKNOWN_WORD: 3,
        FeedWarning.BAD_IMAGE_URL: 3,
    }
    assert reader.vocabulary.unknown_words == {("currency", "quux"): 3, ("gender", "неведомый"): 3}
