"""Addresses of pages and pictures: kept byte for byte, split where there are several."""

import pytest
from tests.feeds.test_feeds import offer, read_bytes, yml

from wearalike.feeds import FeedWarning, OfferReason, addresses

ONE, TWO = "https://shop.example/1,a.jpg", "http://cdn.example/2.jpg"


@pytest.mark.parametrize(
    "address",
    [
        "https://img.example/a%2Fb.jpg?m=%2Fm.png&sig=%28x%2Cy%29&t=a+b~",
        "https://thumb.example/unsafe/https%3A%2F%2Fshop.example%2F1.jpg",
        "https://thumb.example/unsafe/https://shop.example/1.jpg",
        "https://cdn.example/w=80,q=75/1.jpg",
        "https://cdn.example/1.jpg?Policy=eyJ&Key-Pair-Id=K2&x=100%",
        "https://cdn.example/a//b/../c/{w}x{h}|1.jpg",
        "https://cdn.example/%7E%E9.jpg",
    ],
)
def test_an_address_is_kept_byte_for_byte(address):
    assert addresses.normalize_url(address) == address
    assert addresses.split_addresses(address) == [address]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("//shop.example/1.jpg", "https://shop.example/1.jpg"),
        ("https://shop.example/1.jpg?w=6&amp;h=8", "https://shop.example/1.jpg?w=6&h=8"),
        (
            "https://shop.example/1.jpg?w=6&amp;amp;h=8&#38;s=1",
            "https://shop.example/1.jpg?w=6&h=8&s=1",
        ),
        ("https://shop.example\\up\\1.jpg?a\\b", "https://shop.example/up/1.jpg?a\\b"),
        ("https://shop.example/a b/é.jpg", "https://shop.example/a%20b/%C3%A9.jpg"),
        ("https://shop.example/a\n b.jpg", "https://shop.example/a%20b.jpg"),
        ("https://shop.example/?a=1&copy=2&lt=3", "https://shop.example/?a=1&copy=2&lt=3"),
    ],
)
def test_an_address_means_what_a_browser_would_ask(written, meant):
    assert addresses.normalize_url(written) == meant


@pytest.mark.parametrize(
    "between", [",", ", ", ";", " ; ", "|", " ", "\n", "\r\n\t ", " , \n", "  "]
)
def test_several_addresses_in_one_element_are_several_pictures(tmp_path, between):
    text = between.join((ONE, TWO))
    _, (found,) = read_bytes(tmp_path, yml(offer(picture=text)).encode())
    assert found.image_urls == [ONE, TWO]
    assert addresses.split_addresses(f" {text}\n") == [ONE, TWO]
    rss = (
        '<rss xmlns:g="http://base.google.com/ns/1.0"><channel><item><g:id>1</g:id>'
        f"<title>Coat</title><g:price>1 EUR</g:price><g:image_link>{TWO}</g:image_link>"
        f"<additional_image_link>{text}</additional_image_link></item></channel></rss>"
    )
    _, (found,) = read_bytes(tmp_path, rss.encode())
    assert found.image_urls == [TWO, ONE]


def test_addresses_without_a_scheme_are_split_where_the_first_has_none():
    text = "//a.example/1,2.jpg, //b.example/3.jpg,https://c.example/4.jpg"
    assert addresses.split_addresses(text) == [
        "//a.example/1,2.jpg",
        "//b.example/3.jpg",
        "https://c.example/4.jpg",
    ]
    assert addresses.split_addresses("https://a.example/x,//y.jpg") == [
        "https://a.example/x,//y.jpg"
    ]


@pytest.mark.parametrize(
    "element",
    [
        f"<picture_orig>{ONE}</picture_orig><picture_orig>{TWO}</picture_orig>",
        f"<image>{ONE}</image><additional_image_link>{TWO}</additional_image_link>",
        f"<pictures><picture>{ONE}</picture>\n<picture>{TWO}</picture></pictures>",
        f"<images><image url='{ONE}'/><image url='{TWO}'/></images>",
        f"<picture url='{ONE}'/><picture src='{TWO}'/>",
        f"<picture><![CDATA[ {ONE} ]]></picture><picture>{TWO}</picture>",
        f"<photos><photo>{ONE}</photo><photo>{TWO}</photo></photos>",
        f"<picture>{ONE}</picture><picture2>{TWO}</picture2>",
        f"<image_1>{ONE}</image_1><image_2>{TWO}</image_2>",
        f'<picture>["{ONE}", "{TWO}"]</picture>',
        f"<picture>\"{ONE}\"</picture><picture>'{TWO}'</picture>",
        f"<picture>&lt;img src='{ONE}'&gt;&lt;img src='{TWO}'&gt;</picture>",
        f"<picture>{ONE},</picture><picture>{TWO}|</picture>",
    ],
)
def test_pictures_are_found_in_every_element_that_shops_put_them_into(tmp_path, element):
    content = yml(offer()).replace("<picture>https://shop.example/1.jpg</picture>", element)
    reader, (found,) = read_bytes(tmp_path, content.encode())
    assert found.image_urls == [ONE, TWO] and not reader.warning_counts


def test_addresses_without_anything_between_are_parted_behind_a_picture():
    text = "https://a.example/1.jpghttps://a.example/2.PNGhttps://a.example/3"
    assert addresses.split_addresses(text) == [
        "https://a.example/1.jpg",
        "https://a.example/2.PNG",
        "https://a.example/3",
    ]
    through = "https://a.example/fit/300x300/https://b.example/1.jpg"
    assert addresses.split_addresses(through) == [through]
    assert addresses.split_addresses("https://a.example/1.jpg,//a.example/2.jpg") == [
        "https://a.example/1.jpg",
        "//a.example/2.jpg",
    ]


@pytest.mark.parametrize("address", ["https://a.example", "https://a.example/"])
def test_a_home_page_is_no_picture(tmp_path, address):
    reader, (found,) = read_bytes(
        tmp_path, yml(offer(more=f"<picture>{address}</picture>")).encode()
    )
    assert len(found.image_urls) == 1
    assert reader.warning_counts == {FeedWarning.BAD_IMAGE_URL: 1}


def test_an_enclosure_is_the_picture_of_an_item_without_another(tmp_path):
    item = (
        "<item><g:id>{}</g:id><title>Coat</title><g:price>1 EUR</g:price>"
        f'<g:availability>in stock</g:availability><enclosure url="{ONE}" type="image/jpeg"/>'
    )
    rss = (
        '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>' + item.format(1) + "</item>"
        f"{item.format(2)}<g:image_link>{TWO}</g:image_link></item></channel></rss>"
    )
    _, (alone, beside) = read_bytes(tmp_path, rss.encode())
    assert (alone.image_urls, beside.image_urls) == ([ONE], [TWO])


def test_each_repair_of_an_address_is_counted_and_no_guess_is_made(tmp_path):
    more = "".join(
        f"<picture>{text}</picture>"
        for text in (
            "//a.example/1.jpg",
            "https://a.example/2?x=1&amp;amp;y=2",
            "/3.jpg",
            "a.example/4.jpg",
            "http%3A%2F%2Fa.example%2F5.jpg",
        )
    )
    reader, (found,) = read_bytes(tmp_path, yml(offer(more=more)).encode())
    assert found.image_urls[1:] == ["https://a.example/1.jpg", "https://a.example/2?x=1&y=2"]
    assert reader.warning_counts == {
        FeedWarning.REPAIRED_IMAGE_URL: 2,
        FeedWarning.BAD_IMAGE_URL: 3,
    }
    _, (refused,) = read_bytes(tmp_path, yml(offer(picture="http%3A%2F%2Fa.example%2F5")).encode())
    assert refused.reason is OfferReason.NO_PICTURE
