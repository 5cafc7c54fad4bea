"""The contact sheet: it shows what a run recommends, and is safe to open whatever the feeds say."""

import base64
import hashlib
import io
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pytest
from lxml import html
from PIL import Image

from wearalike.reports.contact_sheet import (
    SHORTFALL_TEXTS,
    THUMBNAIL_PX,
    format_recommendations,
    render_contact_sheet,
)
from wearalike.sample.background import Background
from wearalike.sample.cloth import Cloth
from wearalike.sample.painting import Pose, encode_jpeg, paint_garment
from wearalike.sample.sketch import SeededChoices, Sketch, rounded_box
from wearalike.search import ShortfallReason
from wearalike.storage import content_cache, run_tables
from wearalike.tables import (
    IMAGES,
    ITEMS,
    LOOK_PRODUCTS,
    LOOKS,
    PRODUCTS,
    REFUSED,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    Table,
)

RUN = "2026-11-21"
HOSTILE = "<script>alert(1)</script>\"'><img src=http://127.0.0.1:9/x onerror=alert(1)>"
# product, title, category, colour of the drawn picture (None: it has none)
WARES = [
    ("one:bag", HOSTILE, "bags.totes", "bags", (30, 60, 190)),
    ("one:red", "Red dress", "women.dresses.midi", "full_body", (200, 30, 40)),
    ("two:blue", "Blue dress", "women.dresses.midi", "full_body", (30, 60, 190)),
    ("two:bare", "Unseen dress", "women.dresses.mini", "full_body", None),
    ("two:wine", "Wine dress", "women.dresses.midi", "full_body", (150, 20, 50)),
]
FOUND = {
    "one:red": [("two:wine", 0.87), ("two:blue", 0.31)],
    "two:blue": [("one:red", 0.31)],
    "two:wine": [("one:red", 0.9)],
}
SHORT = {
    "two:blue": "rules",
    "two:wine": "min_score",
    "two:bare": "no_code",
    "one:bag": "few_candidates",
}


def made(table: Table, rows: list[dict]) -> pa.Table:
    """Rows of the table; columns a test does not name get something plausible of their type."""
    plain = {
        pa.string(): "female",
        pa.int32(): 1,
        pa.int64(): 100,
        pa.float32(): 1.0,
        pa.float64(): 0.5,
    }
    filled = [
        {
            c.name: row.get(c.name, None if c.nullable else plain.get(c.type, []))
            for c in table.columns
        }
        for row in rows
    ]
    return pa.Table.from_pylist(filled, table.arrow_schema)


def write(root, table, rows, refused=()):
    with run_tables.write_table(root, table, RUN, "sign") as writer:
        writer.write(made(table, rows))
        writer.refuse(made(REFUSED, list(refused)))


def drawn(colour):
    sketch = Sketch()
    sketch.area(rounded_box(-40, -60, 40, 60))
    return encode_jpeg(
        paint_garment(sketch, Cloth(colour), Pose(0.9), Background.WHITE, SeededChoices())
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root, image_ids = tmp_path_factory.mktemp("root"), {}
    for product_id, *_, colour in WARES:
        if colour:
            content = drawn(colour)
            image_ids[product_id] = hashlib.sha256(content).hexdigest()
            content_cache.write_atomic(
                content_cache.image_path(root, image_ids[product_id]), content
            )
    write(
        root,
        PRODUCTS,
        [
            dict(
                product_id=p,
                shop_id=p[:3],
                title=t,
                category=c,
                super_category=s,
                availability="out_of_stock" if p == "two:blue" else "in_stock",
            )
            for p, t, c, s, _ in WARES
        ],
    )
    not_found = [{"kind": "image", "key": "two:bare 0", "reason": "http_404"}] * 3
    images = [
        dict(product_id=p, position=0, image_id=i, width_px=320, height_px=400)
        for p, i in image_ids.items()
    ]
    write(root, IMAGES, images, not_found)
    # Both dresses' items but one are a part of their picture.
    items = {
        p: dict(item_id=f"i-{p}", image_id=i, x0=0, y0=0, x1=320, y1=400)
        for p, i in image_ids.items()
    }
    items["one:red"] |= dict(x0=40, y0=20, x1=280, y1=380)
    write(root, ITEMS, list({item["item_id"]: item for item in items.values()}.values()))
    recommended = [
        dict(
            product_id=p,
            rank=n,
            similar_product_id=o,
            score=s,
            shape_score=0.25,
            colour_score=0.75,
            item_id=f"i-{p}",
            similar_item_id=f"i-{o}",
        )
        | dict(detector="foreground-1", encoder="<b>enc</b>")
        for p, rows in FOUND.items()
        for n, (o, s) in enumerate(rows, 1)
    ]
    write(root, SIMILAR_PRODUCTS, recommended[::-1])
    lists = [
        dict(
            product_id=p,
            similar_count=len(FOUND.get(p, ())),
            shortfall_reason=SHORT.get(p),
            image_id=image_ids.get(p),
            item_id=f"i-{p}" if c else None,
        )
        for p, *_, c in WARES
    ]
    write(root, SIMILAR_LISTS, lists)
    return root


@pytest.fixture(scope="module")
def page(root):
    return html.fromstring(render_contact_sheet(root, RUN, per_category=9))


def text(element):
    return " ".join(element.text_content().split())


def rows_of(page):
    """{title of the product that asks: its row}"""
    return {
        text(row.find_class("query")[0].find_class("title")[0]): row
        for row in page.find_class("row")
    }


def test_rows_show_products_and_their_matches_in_order(page):
    rows = rows_of(page)
    assert list(rows) == ["Red dress", "Blue dress", "Wine dress", "Unseen dress", HOSTILE]
    told = [
        [text(m.find_class(name)[0]) for name in ("title", "score")]
        for m in rows["Red dress"].xpath(".//ol/li")
    ]
    assert told == [["Wine dress", "0.87"], ["Blue dress", "0.31"]]
    assert text(rows["Red dress"].xpath(".//ol/li//small")[0]) == "shape 0.25colour 0.75kind 0.50"
    assert "out of stock" in text(rows["Blue dress"].find_class("query")[0])
    assert not rows["Unseen dress"].xpath(".//ol/li") and "no picture" in text(rows["Unseen dress"])
    assert [section.get("id") for section in page.xpath("//section")] == ["full_body", "bags"]


def test_a_look_stands_under_its_product_with_what_is_worn_outlined(root, tmp_path):
    shutil.copytree(root, tmp_path / "root")
    image_id = next(
        i["image_id"]
        for i in run_tables.read_table(root, IMAGES, RUN).to_pylist()
        if i["product_id"] == "one:red"
    )
    worn = dict(
        product_id="one:red", image_id=image_id, item_id="worn", x0=10, y0=200, x1=60, y1=300
    )
    bag = dict(
        super_category="bags",
        rank=1,
        look_product_id="one:bag",
        look_item_id="i-one:bag",
        score=0.61,
        shape_score=0.5,
        colour_score=0.7,
        source="worn",
    )
    linked = dict(product_id="one:red", super_category="foot_wear", rank=1, source="feed")
    linked |= dict(look_product_id="one:bag", reason="its shop shows it beside this product")
    not_worn = [{"kind": "product", "key": "two:blue", "reason": "not_worn"}]
    write(tmp_path / "root", LOOKS, [], not_worn)
    write(tmp_path / "root", LOOK_PRODUCTS, [worn | bag, linked])
    page = html.fromstring(render_contact_sheet(tmp_path / "root", RUN, per_category=9))
    assert [text(tile) for tile in page.find_class("tile")][3:] == ["1with a look", "3refused"]
    rows = rows_of(page)
    (look,) = rows["Red dress"].find_class("looks")
    seen, found, named, shown = look.xpath(".//li")
    assert (
        text(seen) == "bagsworn with it"
        and text(found.find_class("score")[0]) == "0.61"
        and HOSTILE in text(found)
    )
    assert text(named) == "foot wearshown beside it by its shop" and not named.xpath(".//img")
    assert "its shop shows it" in text(shown) and not shown.find_class("score")
    (frame,) = seen.xpath(".//rect")
    assert [frame.get(name) for name in ("x", "y", "width", "height")] == ["10", "200", "50", "100"]
    assert not any(row.find_class("looks") for title, row in rows.items() if title != "Red dress")
    assert "not worn" not in text(rows["Blue dress"]), "its list is short for another reason"


def test_short_lists_say_why(page, root):
    rows = rows_of(page)
    assert "1 recommendation: rules, or the limits on models and brands, left out the rest" in text(
        rows["Blue dress"]
    )
    assert "no recommendations: the product could not be compared" in text(rows["Unseen dress"])
    assert "in all" not in text(rows["Red dress"])
    assert set(SHORTFALL_TEXTS) == set(ShortfallReason)
    assert [text(tile) for tile in page.find_class("tile")] == [
        "5products",
        "4recommendations",
        "4short lists",
        "3refused",
    ]
    assert "images image http_404 3" in " ".join(
        cell for row in page.xpath("//tr") for cell in row.xpath("./td/text()")
    )


def test_pictures_are_inside_the_page(page):
    rows = rows_of(page)
    red, wine, blue = (
        np.asarray(
            Image.open(
                io.BytesIO(
                    base64.b64decode(image.get("src").removeprefix("data:image/jpeg;base64,"))
                )
            ),
            int,
        )
        for image in rows["Red dress"].xpath(".//img")
    )
    assert red.shape == (THUMBNAIL_PX, THUMBNAIL_PX * 320 // 400, 3)
    for picture, colour in ((red, (200, 30, 40)), (wine, (150, 20, 50)), (blue, (30, 60, 190))):
        assert np.abs(picture[70:90, 55:75].mean(axis=(0, 1)) - colour).max() < 25


def test_items_are_outlined_where_they_are_a_part(page):
    rows = rows_of(page)
    (svg,) = rows["Red dress"].xpath(".//svg")
    (rectangle,) = svg
    assert svg.get("viewbox") == "0 0 320 400"
    assert [rectangle.get(name) for name in ("x", "y", "width", "height")] == [
        "40",
        "20",
        "240",
        "360",
    ]
    assert not rows["Blue dress"].find_class("query")[0].xpath(".//svg")


def test_nothing_of_a_feed_is_markup_and_nothing_is_fetched(page, root):
    assert not page.xpath("//script | //iframe | //link | //object | //form")
    assert not page.xpath("//@*[starts-with(name(), 'on')] | //@style")
    sources, links = page.xpath("//@src | //@srcset"), page.xpath("//@href")
    assert len(sources) == 8 and all(
        source.startswith("data:image/jpeg;base64,") for source in sources
    )
    assert links == ["#full_body", "#bags"]
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; img-src data:;") and "script" not in policy
    source = render_contact_sheet(root, RUN)
    assert "<script" not in source and "<b>enc" not in source and "url(" not in source


def test_page_is_the_same_every_time_and_as_large_as_asked(root):
    assert render_contact_sheet(root, RUN) == render_contact_sheet(root, RUN)
    few = html.fromstring(render_contact_sheet(root, RUN, per_category=1, rows=2, matches=1))
    assert {section.get("id") for section in few.xpath("//section")} == {
        "full_body",
        "bags",
    }  # spread over both
    assert len(few.find_class("row")) == 2
    assert max(len(row.xpath(".//ol/li")) for row in few.find_class("row")) <= 1
    every = html.fromstring(render_contact_sheet(root, RUN, per_category=9))
    assert len(every.find_class("row")) == 5


def test_printed_for_a_terminal(root):
    told = format_recommendations(root, RUN, count=4, width=70)
    assert all(len(line) <= 70 for line in told.splitlines())
    heads = [line for line in told.splitlines() if line and not line.startswith(" ")]
    assert (
        len(heads) == 2 and "two:bare" not in told
    )  # one a category; what has no code is left out
    assert heads[0].startswith("women.dresses.midi") and heads[1].startswith(
        "bags.totes one:bag <script>"
    )
    assert " 0.31   0.25    0.75   0.50  " in told or " 0.90   0.25    0.75   0.50  " in told
    assert told.rstrip().endswith("none")


def test_a_run_that_is_not_there_and_a_picture_that_is_lost(root, tmp_path):
    with pytest.raises(
        run_tables.TableNotFound, match="similar_lists of run 2000-01-01 is not made"
    ):
        render_contact_sheet(root, "2000-01-01")
    shutil.copytree(root, tmp_path / "copy")
    lost = content_cache.image_path(
        tmp_path / "copy", run_tables.read_table(root, IMAGES, RUN)["image_id"][1].as_py()
    )
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=lost.name):
        render_contact_sheet(tmp_path / "copy", RUN)


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium to look with")
def test_chromium_shows_the_pictures(root, tmp_path):
    sheet, shot = tmp_path / "sheet.html", tmp_path / "shot.png"
    sheet.write_text(render_contact_sheet(root, RUN), encoding="utf-8")
    quiet = [
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        *quiet,
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += [
        "--enable-logging=stderr",
        "--window-size=1200,1600",
        f"--screenshot={shot}",
        sheet.as_uri(),
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr
    assert "Content Security Policy" not in told
    pixels = np.asarray(Image.open(shot).convert("RGB"), int)
    for colour in ((200, 30, 40), (150, 20, 50), (30, 60, 190)):
        assert (np.abs(pixels - colour).max(axis=2) < 25).sum() > 2000
