"""The drawn sample shops serve feeds that read like real ones, and the same bytes every time."""

import codecs
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from lxml import etree

from wearalike import catalog, sample, settings, tables
from wearalike.feeds import Offer, RefusedOffer, WithdrawnOffer, read_offers
from wearalike.imaging import decode
from wearalike.sample import painting
from wearalike.sample.article_types import ARTICLE_TYPES
from wearalike.sample.background import Background
from wearalike.sample.catalogue import SHOPS, list_products
from wearalike.sample.cloth import Cloth, Pattern
from wearalike.sample.painting import Pose
from wearalike.sample.pictures import draw_picture
from wearalike.sample.sketch import SeededChoices, Sketch, curve

MAPPINGS = Path(__file__).parents[2] / "mappings"


@pytest.fixture(scope="module", params=(1, 2), ids=("day 1", "day 2"))
def place(request, tmp_path_factory):
    """(day, settings naming the sample shops, served for as long as the tests of the day take)."""
    folder = tmp_path_factory.mktemp("place")
    with sample.serve_shops(request.param) as address:
        sample.write_settings(folder / "wearalike.toml", address, folder / "root", MAPPINGS)
        yield request.param, settings.read_settings(folder / "wearalike.toml", env={})


def get(url, **headers):
    """(status, headers, body) of one request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request("GET", parts.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def read_feed(shop, folder):
    """Return our own reader of a shop's feed, and its records."""
    status, _, body = get(shop.feed.get_secret_value())
    assert status == 200
    path = folder / f"{shop.id}.xml"
    path.write_bytes(body)
    reading = read_offers(path, shop)
    return reading, list(reading)


def test_feeds_read_in_three_dialects(place, tmp_path):
    _, here = place
    dialects, kinds = {}, Counter()
    for shop in here.shops:
        reading, rows = read_feed(shop, tmp_path)
        dialects[shop.id] = (reading.dialect, codecs.lookup(reading.encoding).name)
        kinds.update(type(row) for row in rows)
        offers = [row for row in rows if isinstance(row, Offer) and row.offer_id != "gift"]
        assert len(offers) == len({o.product_id for o in offers}) >= 98
        assert {o.gender for o in offers} == {"female", "male", "unisex"}
        assert Counter(o.availability == "in_stock" for o in offers)[False] in range(1, 15)
        assert all(o.price_cents > 0 and o.brand and o.colours and o.group_id for o in offers)
        assert len({o.group_id for o in offers}) < len(offers)
    assert dialects == {
        "lipa": ("yml", "cp1251"),
        "harbour": ("google_rss", "utf-8"),
        "verano": ("admitad", "utf-8"),
    }
    assert kinds == {Offer: 299, RefusedOffer: 2, WithdrawnOffer: 1}


def test_feeds_say_what_is_wrong_with_two_offers(place, tmp_path):
    _, here = place
    refused = {
        (s.id, r.offer_id, r.reason)
        for s in here.shops
        for r in read_feed(s, tmp_path)[1]
        if isinstance(r, RefusedOffer)
    }
    assert {(shop, reason) for shop, _, reason in refused} == {
        ("lipa", "no_picture"),
        ("harbour", "bad_price"),
    }


def test_mappings_cover_all_but_the_caps_and_the_gift_card(place, tmp_path):
    _, here = place
    assert catalog.find_mistakes(here, [s.id for s in here.shops]) == []
    taxonomy, mappings = catalog.read_taxonomy_and_mappings(here, [s.id for s in here.shops])
    rows, made, refused = [], [], Counter()
    for shop in here.shops:
        rows += (own := [row for row in read_feed(shop, tmp_path)[1] if isinstance(row, Offer)])
        offers = pa.Table.from_pylist(
            [row._asdict() for row in own], schema=tables.OFFERS.arrow_schema
        )
        accepted, others = catalog.map_offers(offers, mappings[shop.id], taxonomy)
        made += accepted.to_pylist()
        refused.update(
            zip(others["shop_id"].to_pylist(), others["reason"].to_pylist(), strict=True)
        )
    assert refused == {("lipa", "unmapped_category"): 2, ("verano", "ignored_category"): 1}
    assert len(made) == 296 and len({row["category"] for row in made}) >= 25
    assert len({row["super_category"] for row in made}) == 7
    whose = {
        (row["category"].split(".")[0], str(row["gender"]))
        for row in made
        if row["category"].startswith(("women", "men"))
    }
    assert whose == {("women", "female"), ("men", "male")}
    colours = {c for row in rows for c in row.colours}
    assert len(colours) >= 16  # eight and more, in two languages


def test_every_picture_is_one_but_for_three(place, tmp_path):
    _, here = place
    refused, seen = {}, {}
    for shop in here.shops:
        urls = [
            url
            for row in read_feed(shop, tmp_path)[1]
            if isinstance(row, Offer)
            for url in row.image_urls
        ]
        assert len(urls) > 100
        for url in urls:
            status, headers, body = get(url)
            if status != 200:
                refused[url] = status
                continue
            try:
                assert decode.decode_image(body).shape == (400, 320, 3)
                assert headers["Content-Type"] == "image/jpeg" and int(
                    headers["Content-Length"]
                ) == len(body)
                seen[url] = hashlib.sha256(body).hexdigest()
            except decode.BadPixels as error:
                refused[url] = error.reason
    assert sorted(map(str, refused.values())) == [
        "404",
        "404",
        "not_a_picture",
        "too_small",
    ]  # the gift card has none either
    assert len(set(seen.values())) == len(seen)


def test_unchanged_answers_are_not_sent_again(place):
    _, here = place
    first = here.shops[0].feed.get_secret_value()
    for url in (first, first.replace("feed.xml", "img/1000.jpg")):
        status, headers, body = get(url)
        assert status == 200 and len(body) > 1000
        again, _, nothing = get(url, **{"If-None-Match": headers["ETag"]})
        assert (again, nothing) == (304, b"")
        assert get(url, **{"If-None-Match": '"other"'})[2] == body


def test_the_first_page_lists_the_shops(place):
    day, here = place
    page = json.loads(get(here.shops[0].feed.get_secret_value().replace("/lipa/feed.xml", "/"))[2])
    assert {name: (s["feed"], s["offers"], s["day"]) for name, s in page.items()} == {
        s.id: (s.feed.get_secret_value(), 100, day) for s in here.shops
    }
    feed = here.shops[0].feed.get_secret_value()
    assert get(feed.replace("feed.xml", "../../etc/passwd"))[0] == 404


def test_yml_is_as_real_shops_write_it(place):
    _, here = place
    body = get(here.shop("lipa").feed.get_secret_value())[2]
    assert body.startswith(
        b"<?xml version='1.0' encoding='windows-1251'?>\n"
        b'<!DOCTYPE yml_catalog SYSTEM "shops.dtd">'
    )
    document = etree.fromstring(body)
    kinds = Counter(offer.get("type") for offer in document.iter("offer"))
    assert kinds[None] > 50 and kinds["vendor.model"] > 25
    titles = [t.text for t in document.iter("name", "model")]
    assert any(t.startswith("Красная футболка «") for t in titles) and any(
        "в клетку" in t for t in titles
    )


def test_second_day_differs_a_little():
    for shop in SHOPS:
        before, after = ({p.offer_id: p for p in list_products(shop, day)} for day in (1, 2))
        both = before.keys() & after.keys()
        assert len(before) == len(after) == 100 and len(both) == 97
        assert 1 <= sum(before[i].price_cents < after[i].price_cents for i in both) <= 15
        assert 1 <= sum(before[i].is_in_stock != after[i].is_in_stock for i in both) <= 20
        (anew,) = [i for i in both if before[i].pictures != after[i].pictures]
        old, new = (np.asarray(draw_picture(day[anew].pictures[0]), int) for day in (before, after))
        assert np.abs(old - new).mean() > 2
    with pytest.raises(ValueError, match="day 3: wanted 1 or 2"):
        list_products(SHOPS[0], 3)


def test_pictures_are_the_same_in_another_process():
    script = (
        "import hashlib\n"
        "from wearalike.sample.catalogue import SHOPS, list_products\n"
        "from wearalike.sample.pictures import draw_picture\n"
        "from wearalike.sample.painting import encode_jpeg\n"
        "jpegs = [encode_jpeg(draw_picture(p.pictures[0]))"
        " for p in list_products(SHOPS[1], 1)[::25]]\n"
        "print([hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs])"
    )
    elsewhere = {
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    here = [
        hashlib.sha256(painting.encode_jpeg(draw_picture(p.pictures[0]))).hexdigest()
        for p in list_products(SHOPS[1], 1)[::25]
    ]
    assert elsewhere == {f"{here}\n".encode()} and len(set(here)) == 4


@pytest.mark.parametrize("name", sorted(ARTICLE_TYPES))
def test_drawn_on_white_in_its_colour(name):
    """The background stays white, the middle is cloth, and any colour has the same silhouette."""
    article = ARTICLE_TYPES[name]
    drawn = [
        np.asarray(
            painting.paint_garment(
                article.sketch(SeededChoices(name, 1)),
                Cloth(colour),
                Pose(),
                Background.WHITE,
                SeededChoices(),
            ),
            int,
        )
        for colour in ((200, 30, 40), (30, 60, 190))
    ]
    figures = [(picture.min(axis=2) < 200) for picture in drawn]
    share = figures[0].mean()
    assert 0.03 < share < 0.65
    assert (figures[0] != figures[1]).mean() < 0.01
    assert (drawn[0][:8] > 250).all() and (drawn[0][-8:] > 240).all()
    reds, blues = (
        picture[figure].mean(axis=0) for picture, figure in zip(drawn, figures, strict=True)
    )
    assert reds[0] > reds[2] + 20 or name == "sunglasses"
    assert blues[2] > reds[2] + 20 or name == "sunglasses"


def test_cuts_differ_between_models_and_kinds():
    silhouettes = {
        (name, model): np.asarray(
            painting.paint_garment(
                article.sketch(SeededChoices(name, model)),
                Cloth((60, 60, 60)),
                Pose(),
                Background.WHITE,
                SeededChoices(),
            )
        )
        for name, article in ARTICLE_TYPES.items()
        for model in range(2)
    }
    assert (
        len({picture.tobytes() for picture in silhouettes.values()}) == 2 * len(ARTICLE_TYPES) > 40
    )


@pytest.mark.parametrize("pattern", [p for p in Pattern if p is not Pattern.PLAIN])
def test_patterns_lie_on_the_cloth_only(pattern):
    sketch = ARTICLE_TYPES["T-shirt"].sketch(SeededChoices("any"))
    plain, figured = (
        np.asarray(
            painting.paint_garment(
                sketch, Cloth((150, 40, 50), p), Pose(), Background.WHITE, SeededChoices()
            ),
            int,
        )
        for p in (Pattern.PLAIN, pattern)
    )
    changed = np.abs(plain - figured).max(axis=2) > 8
    cloth = plain.min(axis=2) < 180
    assert 0.05 < changed[cloth].mean() < 0.99
    assert changed[~cloth].mean() < 0.02


def test_pose_turns_and_moves():
    sketch = Sketch()
    sketch.area(curve((-10, -30), (10, -30), (10, 30), (-10, 30)))

    def extent(pose):
        dark = (
            np.asarray(
                painting.paint_garment(
                    sketch, Cloth((0, 0, 0)), pose, Background.WHITE, SeededChoices()
                )
            ).min(axis=2)
            < 100
        )
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    assert extent(Pose(size=0.6)) == pytest.approx((120, 80, 200, 320), abs=2)
    assert extent(Pose(size=0.6, angle=90)) == pytest.approx((64, 168, 256, 232), abs=2)
    assert extent(Pose(size=0.6, dx=0.1, dy=-0.1)) == pytest.approx((152, 40, 232, 280), abs=2)


def test_curve_wants_steps_of_known_length():
    assert curve((0, 0), (10, 0, 10, 10))[-1] == pytest.approx((10, 10))
    with pytest.raises(ValueError, match="wanted 2, 4 or 6 numbers"):
        curve((0, 0), (1, 2, 3))


def test_settings_quote_what_a_path_may_hold(tmp_path):
    root = tmp_path / 'a "quoted" и русский\\folder'
    (tmp_path / "w.toml").write_text(
        sample.settings_text({"one": "http://127.0.0.1:1/f"}, root), encoding="utf-8"
    )
    here = settings.read_settings(tmp_path / "w.toml", env={})
    assert here.data_dir == root
    assert [
        (s.id, s.feed.get_secret_value(), s.dialect, s.allowed_networks) for s in here.shops
    ] == [("one", "http://127.0.0.1:1/f", None, ("127.0.0.1/32",))]


def test_runs_in_the_foreground():
    command = [sys.executable, "-m", "wearalike.sample", "--day", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert json.loads(get(address)[2])["verano"]["day"] == 2
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 128 + signal.SIGTERM
