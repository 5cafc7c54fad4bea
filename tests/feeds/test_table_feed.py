"""Google's TSV and Meta's CSV are read as their XML is."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearalike import feeds
from wearalike.feeds import FeedReason, FeedWarning, OfferReason, RefusedOffer
from wearalike.feeds.table_rows import BrokenRow, RowReader, split_lines
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


HEAD = "id,title,price,image_link,availability\n"


def row(title, ident="1"):
    return f"{ident},{title},9.90 EUR,https://shop.example/{ident}.jpg,in stock\n"


@pytest.mark.parametrize(
    ("broken", "title", "is_counted"),
    [
        # Quotes that are letters: the row is read.
        ('"Coat', "Coat", True),
        ('"Best" coat', "Best coat", True),
        ('Coat "Best"', 'Coat "Best"', False),
        ('Heel 5"', 'Heel 5"', False),
        ('"Coat, grey"', "Coat, grey", False),
        ('"Coat\r\nof ""wool"""', 'Coat of "wool"', False),
        ('"Coat\u2028grey\x0bwool"', "Coat grey wool", False),
        # A row of more cells than columns, or one that is cut off.
        ("Coat, grey", None, False),
        ("Coat, grey, wool", None, False),
    ],
)
def test_a_broken_row_costs_itself_alone(tmp_path, broken, title, is_counted):
    content = HEAD + row("Hat", "0") + row(broken) + row("Scarf", "2") + row('"Belt"', "3")
    records, reader = read(tmp_path, content.encode())
    first, found, *others = records
    assert first.title == "Hat" and [other.title for other in others] == ["Scarf", "Belt"]
    if title is None:
        assert (found.offer_id, found.reason) == (None, OfferReason.BROKEN_ROW)
        assert found.detail.startswith("line 3: ") and "wanted 5" in found.detail
    else:
        assert found.title == title
    assert reader.warning_counts == ({FeedWarning.TABLE_QUOTES: 1} if is_counted else {})


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_a_quote_that_is_never_closed_swallows_no_other_row(tmp_path, delimiter):
    head = "id,title,price,image_link\n"
    rows = "".join(
        f"{n},{chr(34) if n == 3 else ''}Coat {n},9 EUR,https://shop.example/{n}.jpg\n"
        for n in range(1, 1000)
    )
    records, _ = read(tmp_path, (head + rows).replace(",", delimiter).encode())
    assert [record.title for record in records] == [f"Coat {n}" for n in range(1, 1000)]


def test_broken_rows_name_their_lines(tmp_path):
    long = '"' + "x" * 2_000_000 + '"'
    content = "# made by hand\n" + HEAD + row('"a\nb"') + row("c,d") + row(long) + "2,cut\n"
    records, _ = read(tmp_path, content.encode())
    assert [record.reason for record in records[1:]] == [
        *[OfferReason.BROKEN_ROW] * 2,
        OfferReason.BAD_PRICE,
    ]
    assert [record.detail[:7] for record in records[1:3]] == ["line 5:", "line 6:"]


def test_a_spreadsheets_line_of_the_delimiter_and_old_ends_of_lines(tmp_path):
    content = ("sep=;\n" + HEAD + row("Coat")).replace(",", ";").replace("\n", "\r")
    (coat,), _ = read(tmp_path, content.encode())
    assert coat.title == "Coat"


def test_empty_cells_at_the_end_may_lack_or_be_more(tmp_path):
    content = (
        HEAD + row("Coat").replace("in stock", ",,") + row("Hat", "2").replace(",in stock", "")
    )
    records, _ = read(tmp_path, content.encode())
    assert [record.title for record in records] == ["Coat", "Hat"]


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=9),
            min_size=4,
            max_size=4,
        ),
        max_size=6,
    ),
    st.sampled_from("\t,;|~"),
)
def test_any_table_that_is_written_by_the_rules_reads_back(rows, delimiter):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    found = RowReader(delimiter, 4, 1).iter_rows(iter(split_lines(file.getvalue())))
    assert [one.cells for one in found] == [one for one in rows if any(one)]


@given(st.text('ab",\n\r;\t', max_size=60))
def test_no_text_breaks_the_reading_of_rows(text):
    lines = split_lines(text)
    assert "".join(lines) == text
    for one in RowReader(",", 3, 1).iter_rows(iter(lines)):
        assert isinstance(one, BrokenRow) or len(one.cells) <= 3


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
