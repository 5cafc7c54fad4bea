"""The declared fields against the readers: no documented field is lost without a count."""

import csv
import io
import json
from collections import Counter

import pytest

from wearalike import feeds
from wearalike.feeds.fields import Slot, fold_tag
from wearalike.settings import ShopSettings

SHOP = ShopSettings(id="s", feed="http://shop.example/")
YML, GOOGLE, META = feeds.FIELDS.values()
# A text for each slot that needs a certain one; the others take a text of their own.
TEXTS = {
    Slot.ID: "77",
    Slot.PRICE: "100 EUR",
    Slot.SALE_PRICE: "80 EUR",
    Slot.SALE_DATES: "2000-01-01/2099-01-01",
    Slot.SALE_START: "2000-01-01",
    Slot.SALE_END: "2099-01-01",
    Slot.OLD_PRICE: "150 EUR",
    Slot.CURRENCY: "EUR",
    Slot.PICTURE: "https://shop.example/1.jpg",
    Slot.FURTHER_PICTURE: "https://shop.example/2.jpg",
    Slot.URL: "https://shop.example/p",
    Slot.AVAILABILITY: "true",
    Slot.STOCK: "5",
    Slot.EXPIRY: "2099-01-01",
    Slot.DISABLED: "false",
    Slot.STATUS: "active",
    Slot.GENDER: "female",
    Slot.AGE: "adult",
    Slot.GTIN: "4006381333931",
    Slot.CONDITION: "new",
    Slot.ADULT: "no",
    Slot.CATEGORY_ID: "1",
}


def text_of(field):
    if field.name == "related_product":
        return "accessory:id:r1"
    return TEXTS.get(field.slot, f"text of {field.name}")


def offer_with(fields):
    """An offer of YML with every declared field."""
    attributes = " ".join(
        f'{f.name[1:]}="{text_of(f)}"'
        for f in fields
        if f.name.startswith("@") and f.slot is not Slot.DELETED
    )
    elements = "".join(
        '<param name="Цвет">синий</param><param name="Страна">Италия</param>'
        if f.name == "param"
        else '<outlets><outlet id="1" instock="2"/></outlets>'
        if f.slot is Slot.OUTLETS
        else f"<{f.name}>{text_of(f)}</{f.name}>"
        for f in fields
        if not f.name.startswith("@")
    )
    return (
        '<yml_catalog><shop><categories><category id="1">Пальто</category></categories><offers>'
        f"<offer {attributes}>{elements}</offer></offers></shop></yml_catalog>"
    )


def item_with(fields):
    """An item of Google's or Meta's with every declared field."""
    detail = (
        "<g:product_detail><g:attribute_name>Color</g:attribute_name>"
        "<g:attribute_value>blue</g:attribute_value></g:product_detail>"
    )
    elements = "".join(
        detail
        if f.name == "product_detail"
        else "<additional_variant_attribute><label>Size</label><value>M</value>"
        "</additional_variant_attribute>"
        if f.slot is Slot.PARAM
        else f"<g:{f.name}>{text_of(f)}</g:{f.name}>"
        for f in fields
        if not f.name[0].isdigit()
    )
    return (
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
        f"<item>{elements}</item></channel></rss>"
    )


def table_with(fields, delimiter):
    """A table of Google's or Meta's with every declared field as a column."""
    details = {
        "product_detail": "General:Color:blue",
        "additional_variant_attribute": json.dumps({"label": "Size", "value": "M"}),
    }
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(f.name for f in fields)
    writer.writerow(details.get(f.name, text_of(f)) for f in fields)
    return file.getvalue()


def csv_with(fields):
    """The same in commas, as Meta writes it."""
    return table_with(fields, ",")


def tsv_with(fields):
    """The same with tabs, as Google writes it; its names may have blanks."""
    head, row = table_with(fields, "\t").split("\r\n", 1)
    return head.replace("_", " ") + "\r\n" + row


def read(tmp_path, content):
    path = tmp_path / "feed"
    path.write_text(content, encoding="utf-8")
    reader = feeds.read_offers(path, SHOP)
    (record,) = list(reader)
    return record, reader


DIALECTS = pytest.mark.parametrize(
    ("fields", "write"),
    [
        (YML, offer_with),
        *(
            (fields, write)
            for fields in (GOOGLE, META)
            for write in (item_with, csv_with, tsv_with)
        ),
    ],
)


@DIALECTS
def test_no_documented_field_is_lost_without_a_count(tmp_path, fields, write):
    record, reader = read(tmp_path, write(fields))
    assert isinstance(record, feeds.Offer), record
    assert reader.vocabulary.unknown_words == {} and reader.warning_counts == {}
    ignored = {fold_tag(name) for name in reader.ignored_fields} - {"param"}
    # A name of XML begins with no digit.
    is_xml = write in (offer_with, item_with)
    written = [f for f in fields if not (is_xml and f.name[0].isdigit())]
    assert ignored == {fold_tag(f.name) for f in written if not f.slot}


def test_every_field_is_declared_once():
    for fields in feeds.FIELDS.values():
        counts = Counter(fold_tag(field.name) for field in fields)
        assert [name for name, count in counts.items() if count > 1] == []


@DIALECTS
def test_every_read_field_changes_the_offer(tmp_path, fields, write):
    """Each field that is read reaches the offer, alone beside what an offer needs."""
    names = ("@id", "id", "name", "title", "price", "picture", "image_link")
    needed = [f for f in fields if f.name in names]
    bare, _ = read(tmp_path, write(needed))
    changes = {
        Slot.DISABLED: "true",
        Slot.STATUS: "archived",
        Slot.EXPIRY: "2000-01-01",
        Slot.AVAILABILITY: "out of stock",
        Slot.STOCK: "0",
    }
    quiet = (Slot.CURRENCY, Slot.CONDITION, Slot.ADULT, Slot.DESTINATION, Slot.SALE_DATES)
    unseen = []
    for field in fields:
        is_quiet = field.slot in quiet or field.slot in (Slot.SALE_START, Slot.SALE_END)
        is_fallback = field.note.startswith("where there is no") or field.name in ("age", "param")
        needs_another = field.slot in (Slot.TITLE_PART, Slot.SIZE_SYSTEM, Slot.OUTLETS)
        if not field.slot or field in needed or is_quiet or is_fallback or needs_another:
            continue
        if field.slot in (Slot.DELETED, Slot.PARAM):
            continue
        TEXTS_BEFORE = TEXTS.get(field.slot)
        TEXTS[field.slot] = changes.get(field.slot, TEXTS_BEFORE or f"text of {field.name}")
        if field.slot is Slot.PICTURE:
            TEXTS[field.slot] = "https://shop.example/3.jpg"
        content = write([*needed, field])
        if TEXTS_BEFORE is None:
            del TEXTS[field.slot]
        else:
            TEXTS[field.slot] = TEXTS_BEFORE
        if field.slot is Slot.PICTURE:
            content = content.replace("https://shop.example/3.jpg", "https://shop.example/1.jpg", 1)
        if read(tmp_path, content)[0] == bare:
            unseen.append(field.name)
    assert unseen == []
