"""Google's TSV and Meta's CSV are read as their XML is."""

import csv
import gzip
import io
import json

import pytest

from wearalike import feeds
from wearalike.feeds import FeedReason, OfferReason, RefusedOffer
from wearalike.settings import ShopSettings

SHOP = ShopSettings(id="s", feed="http://shop.example/")
ROW = {
    "id": "7",
    "title": "Пальто, серое",
    "price": "129.90 EUR",
    "sale_price": "99.90 EUR",
    "availability": "in stock",
    "image_link": "https://shop.example/1.jpg",
    "additional_image_link": "https://shop.example/2.jpg,https://shop.example/3.jpg",
    "google_product_category": "5598",
    "item group id": "G7",
    "color": "grey/black",
    "custom_label_0": "x",
}


def table(rows, delimiter=",", head=""):
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return head + file.getvalue()


def read(tmp_path, content, shop=SHOP):
    path = tmp_path / "feed"
    path.write_bytes(content)
    reader = feeds.read_offers(path, shop)
    return list(reader), reader


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|", "~"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_with_any_delimiter_and_encoding(tmp_path, delimiter, encoding):
    content = table([ROW, {**ROW, "id": "8"}], delimiter).encode(encoding)
    (coat, other), reader = read(tmp_path, content)
    assert (coat.offer_id, coat.title, coat.group_id) == ("7", "Пальто, серое", "g7")
    assert (coat.price_cents, coat.old_price_cents) == (9990, 12990)
    assert coat.image_urls == [f"https://shop.example/{n}.jpg" for n in (1, 2, 3)]
    assert (coat.colours, coat.google_category) == (["grey", "black"], "5598")
    assert (other.offer_id, reader.dialect, reader.offers_count) == ("8", "google_table", 2)
    assert reader.ignored_fields == {"custom_label_0": 2}
    assert not reader.vocabulary.unknown_words and not reader.warning_counts


def test_metas_numbered_columns_cells_in_json_and_comments(tmp_path):
    row = {k: v for k, v in ROW.items() if not k.startswith("additional")}
    row |= {
        "image[0].url": "https://shop.example/4.jpg",
        "image[0].tag[0]": "front",
        "image[1].url": "https://shop.example/5.jpg",
        "additional_variant_attribute": json.dumps({"label": "Size", "value": "M"}),
        "inventory": "0",
    }
    content = table([row], head="# ref_application_id 1\n").encode()
    (coat,), _ = read(tmp_path, gzip.compress(content))
    assert coat.image_urls == [f"https://shop.example/{n}.jpg" for n in (1, 4, 5)]
    assert (coat.sizes, coat.availability) == (["M"], "out_of_stock")


def test_a_row_that_cannot_be_used_is_refused(tmp_path):
    records, _ = read(tmp_path, table([ROW, {**ROW, "id": "8", "title": ""}]).encode())
    assert isinstance(records[1], RefusedOffer)
    assert (records[1].offer_id, records[1].reason) == ("8", OfferReason.MISSING_TITLE)


@pytest.mark.parametrize(
    ("content", "shop", "reason"),
    [
        (b"name,colour\ncoat,grey\n", SHOP, FeedReason.NOT_XML),
        (b'{"id": 1}', SHOP, FeedReason.NOT_XML),
        (
            table([ROW]).encode(),
            ShopSettings(id="s", feed="x", dialect="yml"),
            FeedReason.WRONG_ROOT,
        ),
    ],
)
def test_other_text_is_no_feed(tmp_path, content, shop, reason):
    with pytest.raises(feeds.BadFeed) as error:
        read(tmp_path, content, shop)
    assert error.value.reason is reason
