"""Which offers are one article, and by which evidence."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from wearalike import feeds
from wearalike.feeds import staging
from wearalike.feeds.articles import MAX_SIZES
from wearalike.settings import ShopSettings
from wearalike.tables import OFFERS


def offer(ident, title, picture="1", *, brand="Vela", more="", group="", price=1900, size=""):
    attributes = f' group_id="{group}"' if group else ""
    param = f'<param name="Размер">{size}</param>' if size else ""
    vendor = f"<vendor>{brand}</vendor>" if brand else ""
    return (
        f'<offer id="{ident}"{attributes}><name>{title}</name><price>{price}</price>'
        f"<currencyId>RUB</currencyId><categoryId>2</categoryId>{vendor}{param}{more}"
        f"<picture>https://shop.example/{picture}.jpg</picture></offer>"
    )


def ingest(tmp_path, offers):
    """(rows, counts): the offers as they are written, and the counts of evidence."""
    path = tmp_path / "feed.xml"
    path.write_text(
        '<yml_catalog><shop><categories><category id="2">Платья</category></categories><offers>'
        f"{''.join(offers)}</offers></shop></yml_catalog>",
        encoding="utf-8",
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    reader = feeds.read_offers(path, ShopSettings(id="s", feed="x"))
    staging.stage_records(reader, scratch)
    *_, counts = staging.deduplicate("s", scratch, tmp_path, None)
    return pq.read_table(tmp_path / "offers.parquet").to_pylist(), counts


def articles(tmp_path, offers):
    """The articles as sets of offers' ids, without those of one offer."""
    rows, counts = ingest(tmp_path, offers)
    found = {}
    for row in rows:
        if row["article_id"]:
            found.setdefault(row["article_id"], set()).add(row["offer_id"])
            assert row["article_evidence"]
    assert all(ident == "s:" + min(ids) for ident, ids in found.items())
    return sorted(map(sorted, found.values())), counts


SIZES = ("38", "40", "42", "44")


@pytest.mark.parametrize(
    ("offers", "wanted", "evidence"),
    [
        pytest.param(
            [offer(f"d{s}", "Платье Ива", size=s) for s in SIZES],
            [[f"d{s}" for s in SIZES]],
            {"picture": 4, "title": 4},
            id="an offer a size, one picture",
        ),
        pytest.param(
            [offer(f"d{s}", "Платье Ива", s, size=s) for s in SIZES],
            [[f"d{s}" for s in SIZES]],
            {"title": 4},
            id="an offer a size, a picture each",
        ),
        pytest.param(
            [offer(f"V-{s}", f"Платье Ива V-{s}", size=s) for s in SIZES],
            [[f"V-{s}" for s in SIZES]],
            {"picture": 4, "title": 4},
            id="the own id in each title",
        ),
        pytest.param(
            [offer(f"J-W{w}L{n}", f"Jeans J-W{w}L{n}") for w in (28, 30) for n in (30, 32)],
            [["J-W28L30", "J-W28L32", "J-W30L30", "J-W30L32"]],
            {"picture": 4},
            id="sizes in titles alone",
        ),
        pytest.param(
            [
                offer("P", "Платье Ива"),
                offer("P-S", "Платье Ива S", group="P"),
                offer("P-M", "Платье Ива M", group="p"),
            ],
            [["P", "P-M", "P-S"]],
            {"group": 2, "parent": 2},
            id="a parent beside its variants",
        ),
        pytest.param(
            [
                offer("a", "Платье Ива", "1", more="<vendorCode>IV-7</vendorCode>"),
                offer("b", "Ива, синяя", "2", more="<vendorCode>IV-7</vendorCode>"),
            ],
            [["a", "b"]],
            {"vendor_code": 2},
            id="one maker's number",
        ),
        pytest.param(
            [
                offer("a", "Платье Ива", "1", more="<barcode>4006381333931</barcode>"),
                offer("b", "Платье «Ива»", "2", more="<barcode>4006381333931</barcode>"),
            ],
            [["a", "b"]],
            {"gtin": 2},
            id="one global number",
        ),
        pytest.param(
            [offer("a", "Платье Ива миди"), offer("b", "Платье Ива миди")],
            [["a", "b"]],
            {"picture": 2},
            id="the same twice",
        ),
    ],
)
def test_offers_that_are_one_article(tmp_path, offers, wanted, evidence):
    assert articles(tmp_path, offers) == (wanted, evidence)


@pytest.mark.parametrize(
    "sizes",
    [
        ["44/S", "46/M", "48/L"],
        ["XXL-54", "3XL-56"],
        ["0-3 мес", "3-6 мес", "12-18 мес"],
        ["2-3 years", "4-5 years"],
        ["рост 110", "рост 116"],
        ["зріст 98-104", "зріст 110-116"],
        ["75A", "75B", "80DD"],
        ["W30 L32", "W32 L34"],
        ["41", "41,5", "42.5"],
        ["Gr. 36", "Gr. 38"],
        ["rozm. 36", "rozm. 38"],
    ],
)
@pytest.mark.parametrize("name", ["Платье Ива", "Levi's 501 Original", "Комбинезон «Ива»"])
def test_sizes_of_every_kind_in_titles_are_sizes_of_one_article(tmp_path, name, sizes):
    offers = [offer(f"a{n}", f"{name} {size}") for n, size in enumerate(sizes)]
    found, counts = articles(tmp_path, offers)
    assert (found, counts) == ([[f"a{n}" for n in range(len(sizes))]], {"picture": len(sizes)})


@pytest.mark.parametrize(
    "offers",
    [
        pytest.param(
            [offer(f"n{n}", f"Платье {name}") for n, name in enumerate(("Ива", "Ель", "Бук"))],
            id="one picture of no goods, other titles",
        ),
        pytest.param(
            [offer(f"n{n}", f"Платье n{n}") for n in range(30)],
            id="one picture of no goods, titles of a word and a number",
        ),
        pytest.param(
            [offer(f"d{s}", "Платье", s, size=s) for s in SIZES],
            id="a title that names a kind alone",
        ),
        pytest.param(
            [offer(f"d{n}", "Платье Ива", str(n), size="38") for n in range(4)],
            id="one title in one size",
        ),
        pytest.param(
            [offer(f"d{s}", "Платье Ива", s, size=s, price=int(s)) for s in SIZES],
            id="one title at other prices",
        ),
        pytest.param(
            [offer(f"z{n}", f"Платье {n}", str(n), group="0") for n in range(5)],
            id="a group of nothing",
        ),
        pytest.param(
            [offer("77", "Сумка Ель", "1"), offer("5", "Платье Ива", "2", group="77")],
            id="a group's name that is another's id",
        ),
        pytest.param(
            [
                offer(f"d{n}", f"Платье {n}", str(n), more="<vendorCode>VELA</vendorCode>")
                for n in range(MAX_SIZES + 1)
            ],
            id="a maker's number that all have",
        ),
        pytest.param(
            [offer("a", "Платье Ива", brand="Vela"), offer("b", "Платье Ива", brand="Lira")],
            id="one picture of two makers",
        ),
    ],
)
def test_offers_that_are_not_one_article(tmp_path, offers):
    assert articles(tmp_path, offers) == ([], {})


def test_the_order_of_offers_changes_nothing(tmp_path):
    offers = [offer(f"d{s}", "Платье Ива", size=s) for s in SIZES]
    offers += [offer("x", "Платье Ива миди", "9"), offer("y", "Платье Ива миди", "9")]
    forward, _ = ingest(tmp_path, offers)
    backward, _ = ingest(tmp_path, offers[::-1])
    assert forward == backward


def test_one_article_in_two_shops_by_its_number():
    rows = [
        ("a:1", "a", None, ["04006381333931"], None),
        ("a:2", "a", "a:2", ["00036000291452"], ["group"]),
        ("a:3", "a", "a:2", [], ["group"]),
        ("b:9", "b", "b:8", ["04006381333931", "00036000291452"], ["picture"]),
        ("b:8", "b", "b:8", [], ["picture"]),
        ("c:1", "c", None, ["00200000000004"], None),
        ("d:1", "d", None, ["00200000000004"], None),
        ("e:1", "e", None, None, None),
    ]
    names = ["product_id", "shop_id", "article_id", "gtins", "article_evidence"]
    schema = pa.schema([OFFERS.arrow_schema.field(name) for name in names])
    offers = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)
    renamed = feeds.find_shared_articles(ds.dataset(offers)).rename(offers)
    assert renamed.schema == schema
    assert renamed["article_id"].to_pylist() == ["a:1"] * 5 + [None] * 3
    assert renamed["article_evidence"].to_pylist() == [
        ["gtin"],
        ["group", "gtin"],
        ["group", "gtin"],
        ["picture", "gtin"],
        ["picture", "gtin"],
        None,
        None,
        None,
    ]
