"""The photo query finds the products in stock that are most alike each item of a photo."""

import hashlib
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from tests.support.leaf_models import promote_leaf_classifier

from wearalike import settings
from wearalike.catalog import MerchandisingRule
from wearalike.commands import app, query_photo
from wearalike.detection import detect
from wearalike.imaging import decode
from wearalike.metrics.boxes import box_corners, box_iou
from wearalike.models import promotion
from wearalike.models.files import ModelKind
from wearalike.search import (
    gallery_store,
    inverted_multi_index,
    photo_annotation,
    photo_items,
    photo_query,
)
from wearalike.search.photo_kinds import voted_kind_distances
from wearalike.search.photo_query import PhotoQuery, PhotoResult
from wearalike.search.photo_search import PhotoSearch, UnknownCategory
from wearalike.search.reasons import describe_likeness
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES, MATCHES, PRODUCTS
from wearalike.warehouse.base import open_warehouse

RUN = "day-1"


@pytest.fixture(scope="module")
def photo_settings(night):
    return settings.read_settings(night / "wearalike.toml")


@pytest.fixture(scope="module")
def search(photo_settings):
    return PhotoSearch(photo_settings, RUN)


@pytest.fixture(scope="module")
def pictures(photo_settings):
    """{product_id: the bytes of the picture it was compared by}, of products in stock."""
    entries = {
        e["product_id"]: e["image_id"]
        for e in run_tables.read_table(
            photo_settings.data_dir, INDEXES, RUN, ["product_id", "image_id"]
        ).to_pylist()
    }
    products = run_tables.read_table(
        photo_settings.data_dir, PRODUCTS, RUN, ["product_id", "availability"]
    ).to_pylist()
    in_stock = sorted(p["product_id"] for p in products if p["availability"] == "in_stock")
    return {
        i: content_cache.image_path(photo_settings.data_dir, entries[i]).read_bytes()
        for i in in_stock
        if i in entries
    }


def photo_of(*pictures: bytes) -> bytes:
    """One photo with the pictures side by side, as JPEG."""
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in pictures]
    photo = Image.new("RGB", (sum(i.width for i in images), max(i.height for i in images)), "white")
    x = 0
    for image in images:
        photo.paste(image, (x, 0))
        x += image.width
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=92)
    return out.getvalue()


def plain() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (400, 300), (120, 140, 150)).save(out, "PNG")
    return out.getvalue()


def test_a_product_s_own_picture_finds_the_product(search, pictures, photo_settings):
    by_id = {
        p["product_id"]: p
        for p in run_tables.read_table(photo_settings.data_dir, PRODUCTS, RUN).to_pylist()
    }
    searched, first, seen = 0, 0, 0
    for product_id, content in list(pictures.items())[::9]:
        searched += 1
        items = [
            i
            for i in search.search(content).items
            if i.super_category == by_id[product_id]["super_category"]
        ]
        seen += bool(items)
        # The box is the detector's, not that of the run, so the codes are near, not equal.
        first += any(product_id in {r.product_id for r in item.results[:3]} for item in items)
    assert searched >= 20
    assert seen / searched > 0.5, (
        f"items of its super-category seen in {seen} of {searched} pictures"
    )
    assert first / seen > 0.7, f"the product is among the first three for {first} of {seen}"


def test_the_result_explains_itself(search, pictures):
    answer = next(
        a for a in map(search.search, pictures.values()) if a.items and len(a.items[0].results) >= 5
    )
    item = answer.items[0]
    assert 0 <= item.x0 < item.x1 <= answer.width_px and 0 <= item.y0 < item.y1 <= answer.height_px
    assert {r.availability for r in item.results} == {"in_stock"} and all(
        r.url and r.image_url for r in item.results
    )
    for r in item.results:
        distance = item.shape_weight * r.shape_distance + item.colour_weight * r.colour_distance
        distance += item.kind_weight * r.kind_distance
        total = item.shape_weight + item.colour_weight + item.kind_weight
        assert r.score == pytest.approx(max(0, 1 - 2 * distance / (128 * total)))
    assert [r.score for r in item.results] == sorted((r.score for r in item.results), reverse=True)
    parsed = json.loads(answer.to_json())
    assert parsed["items"][0]["results"][0] == asdict(item.results[0])


def test_the_category_gives_the_weights_unless_the_query_does(search, pictures, photo_settings):
    weights = {
        p["category"]: (p["shape_weight"], p["colour_weight"])
        for p in run_tables.read_table(photo_settings.data_dir, PRODUCTS, RUN).to_pylist()
    }
    content = next(c for c in pictures.values() if search.search(c).items)
    item = search.search(content).items[0]
    assert (item.shape_weight, item.colour_weight) == weights[item.category]
    kept = search.search(content, PhotoQuery(k=5, weights=(8, 2), keeps_kind=True)).items[0]
    share = item.kind_weight / (item.shape_weight + item.colour_weight)
    assert item.kind_weight and kept.kind_weight == round(10 * share)
    assert (kept.shape_weight, kept.colour_weight) == (8, 2)
    by_colour = search.search(content, PhotoQuery(k=5, weights=(0, 1))).items[0].results
    by_shape = search.search(content, PhotoQuery(k=5, weights=(1, 0))).items[0].results
    assert [r.colour_distance for r in by_colour] == sorted(r.colour_distance for r in by_colour)
    assert [r.shape_distance for r in by_shape] == sorted(r.shape_distance for r in by_shape)
    assert len(by_colour) <= 5 and [r.product_id for r in by_colour] != [
        r.product_id for r in by_shape
    ]


def test_a_category_that_the_query_names_makes_its_kind_count(search, pictures, photo_settings):
    """Its kind comes first, by its weight; items of other super-categories are as without it."""
    products = run_tables.read_table(photo_settings.data_dir, PRODUCTS, RUN).to_pylist()
    kinds = search._category_kinds
    by_code = PhotoQuery(weights=(1, 1))
    for content in pictures.values():
        item = next(iter(search.search(content, by_code).items), None)
        listed = {r.category for r in item.results} if item else set()
        if len(listed) > 1 and len({kinds.kind(c) for c in listed}) > 1:
            break
    wanted = item.results[-1].category
    asked = PhotoQuery(category=wanted, weights=(1, 1, 10))
    named = search.search(content, asked).items[0]
    assert (named.category, named.kind_weight) == (wanted, 10)
    assert item.kind_weight == 0
    for r in named.results:
        assert r.kind_distance == kinds.distance(wanted, r.category)
        distance = r.shape_distance + r.colour_distance + 10 * r.kind_distance
        assert r.score == pytest.approx(max(0, 1 - 2 * distance / (128 * 12)))
        assert r.reason == describe_likeness(
            r.kind_distance, r.colour_distance, r.shape_distance, "en"
        )
    assert named.results[0].kind_distance == 0
    usual = search.search(content, PhotoQuery(category=wanted)).items[0]
    own = {p["category"]: p["kind_weight"] for p in products}
    assert usual.kind_weight == own[wanted] > 0
    elsewhere = next(p for p in products if p["super_category"] != item.super_category)
    other = search.search(content, PhotoQuery(category=elsewhere["category"])).items[0]
    assert other == search.search(content).items[0]
    with pytest.raises(UnknownCategory, match="category 'hats': no leaf of the taxonomy of run"):
        search.search(content, PhotoQuery(category="hats"))


def test_the_ten_nearest_in_shape_say_the_kind_which_then_counts(search, pictures):
    """Nobody names a category, and no classifier is there."""
    galleries = [held.gallery for held in search._galleries.values()]
    gallery = max(galleries, key=lambda one: len(one.kind_table.names))
    kinds, names = search._category_kinds, gallery.kind_table.names
    first = int(np.flatnonzero(gallery.kind == 0)[0])
    second = int(np.flatnonzero(gallery.kind == 1)[0])
    told = voted_kind_distances(gallery, np.array([first, second, first, first]))
    between = [
        [
            kinds.table.distances[kinds.table.names.index(a)][kinds.table.names.index(b)]
            for a in names[:2]
        ]
        for b in names
    ]
    assert told.tolist() == [round(0.75 * near + 0.25 * far) for near, far in between]
    # In a photo: products of one kind are as far in kind, and the nearest kind is preferred.
    preferred = 0
    for content in list(pictures.values())[::5]:
        by_code = search.search(content, PhotoQuery(weights=(1, 1))).items
        for item, plain_item in zip(search.search(content).items, by_code, strict=True):
            if not item.results:
                continue
            assert item.kind_weight > 0 == plain_item.kind_weight
            of_kind = {(kinds.kind(r.category), r.kind_distance) for r in item.results}
            assert len(of_kind) == len({kind for kind, _ in of_kind})
            nearest = min(of_kind, key=lambda one: one[1])[0]
            shares = [
                sum(kinds.kind(r.category) == nearest for r in i.results[:5])
                for i in (item, plain_item)
            ]
            preferred += shares[0] - shares[1]
    assert preferred > 0


def test_a_leaf_classifier_says_the_kind_which_then_counts(search, pictures, photo_settings):
    """Kinds are as far as they are on average over what the item may be."""
    root, kinds = photo_settings.data_dir, search._category_kinds
    for content in pictures.values():
        item = next(iter(search.search(content, PhotoQuery(weights=(1, 1))).items), None)
        if item and len({kinds.kind(r.category) for r in item.results}) > 1:
            break
    wanted = item.results[-1].category
    other = next(r.category for r in item.results if kinds.kind(r.category) != kinds.kind(wanted))
    chances = {kinds.kind(wanted): 0.75, kinds.kind(other): 0.25}
    promote_leaf_classifier(root, "shops-1", chances)
    try:
        seeing = PhotoSearch(photo_settings, RUN, networks=search.networks)
        again = PhotoSearch(photo_settings, RUN, networks=seeing.networks)
        assert again.networks.encoder is seeing.networks.encoder is not search.networks.encoder
        found = seeing.search(content)
        told = next(i for i in found.items if i.super_category == item.super_category)
        asked = seeing.search(content, PhotoQuery(category=other, weights=(1, 1, 10))).items[0]
    finally:
        promotion.rollback(root, ModelKind.LEAVES, "for this test", datetime.now(UTC))
    assert found.query_id != search.search(content).query_id
    assert told.category == item.category and told.kind_weight > 0
    for r in told.results:
        near, far = (kinds.distance(category, r.category) for category in (wanted, other))
        assert r.kind_distance == round(0.75 * near + 0.25 * far)
        said = kinds.distance(told.category, r.category)
        assert r.reason == describe_likeness(said, r.colour_distance, r.shape_distance, "en")
    assert asked.category == other, "the shopper's word goes before"


def test_results_are_for_the_audience_of_the_query(search, pictures, photo_settings):
    gender = {
        p["product_id"]: p["gender"]
        for p in run_tables.read_table(photo_settings.data_dir, PRODUCTS, RUN).to_pylist()
    }
    found = [
        r.product_id
        for c in list(pictures.values())[::20]
        for i in search.search(c, PhotoQuery(gender="male")).items
        for r in i.results
    ]
    assert found and {gender[i] for i in found} <= {"male", "unisex"}
    assert not any(
        i.results
        for c in list(pictures.values())[::60]
        for i in search.search(c, PhotoQuery(age_group="newborn")).items
    )


def test_rules_of_the_run_act_in_a_photo_s_answer(search, pictures, photo_settings, tmp_path):
    """Copy the run with other rules in its manifest: hide always acts, require where it can."""
    answers = {content: search.search(content, PhotoQuery(k=100)) for content in pictures.values()}
    content, item = next(
        (content, item)
        for content, answer in answers.items()
        for item in answer.items[:1]
        if len({r.shop_id for r in item.results}) > 1 and len({r.brand for r in item.results}) > 2
    )
    shutil.copytree(
        photo_settings.data_dir / MATCHES.name / f"run={RUN}",
        tmp_path / MATCHES.name / f"run={RUN}",
    )
    for folder in photo_settings.data_dir.iterdir():
        if folder.name != MATCHES.name:
            (tmp_path / folder.name).symlink_to(folder)
    manifest_path = tmp_path / MATCHES.name / f"run={RUN}" / "_manifest.json"
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    here = photo_settings.model_copy(update={"data_dir": tmp_path})

    def shown(query, **rule):
        fields = asdict(MerchandisingRule("r", **rule))
        manifest["parameters"]["merchandise"] = [fields]
        manifest_path.write_text(json.dumps(manifest), encoding="utf-8")
        ruled = PhotoSearch(here, RUN, networks=search.networks)
        (found,) = (i for i in ruled.search(content, query).items if i.x0 == item.x0)
        assert found.category == item.category
        return [r.product_id for r in found.results]

    query = PhotoQuery(k=100)
    everything = [r.product_id for r in item.results]
    first = item.results[0]
    assert shown(query, kind="hide", product=first.product_id)[0] == everything[1]
    same_branch = {"on_category": item.category.partition(".")[0], "shop": first.shop_id}
    left = shown(query, kind="hide", **same_branch)
    assert set(everything[:5]) - set(left) and not any(
        i.startswith(f"{first.shop_id}:") for i in left
    )
    for elsewhere in ({"on_category": "men.socks"}, {"on_shop": "nowhere"}):
        assert shown(query, kind="hide", shop=first.shop_id, **elsewhere) == everything
    # No product asks: require acts where the page's shop or brand is said, and never on prices.
    for attribute in ("shop", "brand", "price_band"):
        assert shown(query, kind="require", attribute=attribute) == everything
    for_shop = replace(query, on_shop=first.shop_id)
    own = shown(for_shop, kind="require", attribute="shop")
    assert own and all(i.startswith(f"{first.shop_id}:") for i in own)
    other = shown(for_shop, kind="require", attribute="shop", is_same=False)
    assert other and not any(i.startswith(f"{first.shop_id}:") for i in other)
    brands = {r.product_id: r.brand for r in item.results}
    brand = next(b for b in brands.values() if b)
    for_brand = replace(query, on_brand=brand.upper())
    of_brand = shown(for_brand, kind="require", attribute="brand")
    assert of_brand and {brands.get(i, brand) for i in of_brand} == {brand}
    assert shown(replace(query, on_shop="nowhere"), kind="require", attribute="shop") == []


def test_several_items_of_one_photo_are_numbered_and_drawn(search, pictures, photo_settings):
    by_id = {
        p["product_id"]: p["super_category"]
        for p in run_tables.read_table(photo_settings.data_dir, PRODUCTS, RUN).to_pylist()
    }
    of = {s: [c for i, c in pictures.items() if by_id[i] == s][:4] for s in ("upper_wear", "bags")}
    answers = [
        (photo, search.search(photo))
        for photo in (photo_of(one, two) for one in of["upper_wear"] for two in of["bags"])
    ]
    both = [
        (p, a) for p, a in answers if {i.x1 > a.width_px // 2 for i in a.items} == {True, False}
    ]
    assert len(answers) == 16 and len(both) >= 4, (
        f"an item on either side in {len(both)} of {len(answers)}"
    )
    photo, answer = both[0]
    assert all(
        box_iou(*[box_corners([asdict(one)]) for one in (a, b)])[0, 0] < photo_items.DUPLICATE_IOU
        for a in answer.items
        for b in answer.items
        if a is not b
    )
    drawn = np.asarray(Image.open(io.BytesIO(photo_annotation.annotate_photo(photo, answer))), int)
    before = decode.decode_image(photo, photo_annotation.ANNOTATED_SIDE_PX).astype(int)
    assert drawn.shape == before.shape
    scale = max(before.shape[:2]) / max(answer.width_px, answer.height_px)
    for number, item in enumerate(answer.items, 1):
        colour = np.array(
            [int(photo_annotation.outline_colour(number)[i : i + 2], 16) for i in (1, 3, 5)]
        )
        y, x = round(item.y1 * scale) - 1, round((item.x0 + item.x1) / 2 * scale)
        around = drawn[max(0, y - 3) : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert np.abs(around - colour).max(axis=1).min() < 60, f"item {number} has no line below it"


def test_a_photo_without_clothes_says_so(search):
    answer = search.search(plain())
    assert [
        i
        for i in detect.detect_items(search.networks.detector, "plain", plain())
        if i["super_category"]
    ], "or the contrast is not what decides"
    assert answer.items == () and (answer.width_px, answer.height_px) == (400, 300)
    assert "no garment, shoe or bag seen" in query_photo.format_answer("x.jpg", answer)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_a_picture"),
        (b"<html>no", "not_a_picture"),
        (plain()[:300], "undecodable|truncated"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(search, content, reason):
    with pytest.raises(decode.BadPixels, match=reason):
        search.search(content)


def test_threads_get_the_results_that_one_gets(search, pictures):
    some = list(pictures.values())[:12]
    alone = [search.search(c) for c in some]
    assert any(a.items for a in alone)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(search.search, some)) == alone


def test_the_search_of_another_run_takes_the_networks_that_are_loaded(
    search, pictures, photo_settings
):
    other = PhotoSearch(photo_settings, RUN, networks=search.networks)
    assert other.networks == search.networks
    content = next(c for c in pictures.values() if search.search(c).items)
    assert other.search(content) == search.search(content)


@pytest.mark.parametrize(
    "wishes",
    [{"k": 0}, {"k": 101}, {"weights": (0, 0)}, {"weights": (11, 1)}, {"weights": (-1, 2)}],
)
def test_a_query_out_of_range_is_an_error(wishes):
    with pytest.raises(ValueError, match=f"{next(iter(wishes))}: wanted"):
        PhotoQuery(**wishes)


_WRONG_NUMBERS = ("a:b", "0:0", "11:1", "1.5:2", "٣:1x", "10:10:010")


@pytest.mark.parametrize(
    "text",
    ["", "2", "2:", ":8", "2:8:", "2:8:1:1", "2:8:11", "0:0:5", "-1:2", *_WRONG_NUMBERS],
)
def test_weights_are_two_or_three_numbers(text):
    with pytest.raises(ValueError, match="weights"):
        photo_query.parse_weights(text)


def test_many_products_are_searched_by_shortlist(search, photo_settings, pictures, monkeypatch):
    """The same result where it holds all; where it holds few, some of them at their distances."""
    content, wishes = (
        next(c for c in pictures.values() if search.search(c).items),
        PhotoQuery(k=100, weights=(2, 8)),
    )
    exact = search.search(content, wishes)
    held = search._galleries.__getitem__
    of_few = PhotoSearch(
        photo_settings,
        RUN,
        load_gallery=held,
        networks=search.networks,
        exact_search_max_products=1000,
    )
    assert not of_few._shortlists and of_few.search(content, wishes) == exact
    of_many = PhotoSearch(
        photo_settings,
        RUN,
        load_gallery=held,
        networks=search.networks,
        exact_search_max_products=5,
    )
    assert of_many._shortlists and of_many.search(content, wishes) == exact
    monkeypatch.setattr(inverted_multi_index, "MIN_SHORTLIST_SIZE", 8)
    found, wanted = (
        {r.product_id: r for r in answer.items[0].results}
        for answer in (of_many.search(content, wishes), exact)
    )
    assert 0 < len(found) < len(wanted)
    assert next(iter(found)) == next(iter(wanted)) and list(found) == [
        i for i in wanted if i in found
    ]
    assert all(r == wanted[i] for i, r in found.items())


def test_a_detector_that_names_nothing_is_refused(photo_settings):
    with pytest.raises(ValueError, match="foreground: it does not say what it sees"):
        PhotoSearch(photo_settings, RUN, "foreground")


def test_a_super_category_without_products_gives_an_item_without_results(search, pictures):
    content = next(c for c in pictures.values() if search.search(c).items)
    (super_category, *_) = (i.super_category for i in search.search(content).items)
    bare = PhotoSearch.__new__(PhotoSearch)
    bare.__dict__ = search.__dict__ | {
        "_galleries": {k: v for k, v in search._galleries.items() if k != super_category}
    }
    item = bare.search(content).items[0]
    assert (item.category, item.results) == (None, ())


def test_display_rows_are_those_of_the_gallery_s_products(photo_settings):
    by_id = {
        p["product_id"]: p
        for p in run_tables.read_table(photo_settings.data_dir, PRODUCTS, RUN).to_pylist()
    }
    held = gallery_store.load_gallery_with_products(photo_settings.data_dir, RUN, "full_body")
    rows = np.arange(len(held.gallery))[::-3]
    assert len(rows) > 5
    for row, fact in zip(rows, held.display_rows(rows), strict=True):
        product = by_id[held.gallery.product_ids[row]]
        assert fact.pop("image_url") == product["image_urls"][0]
        assert fact == {name: product[name] for name in fact}


def test_the_command_answers_files_and_folders(
    night, photo_settings, pictures, tmp_path, capsys, caplog
):
    folder = tmp_path / "uploads"
    folder.mkdir()
    for number, content in enumerate(list(pictures.values())[:2]):
        (folder / f"{number}.jpg").write_bytes(content)
    (folder / "notes.txt").write_text("no photo")
    (tmp_path / "broken.jpg").write_bytes(b"GIF89a")
    # A warehouse of its own: that of the sample run must not change.
    config = tmp_path / "wearalike.toml"
    config.write_text(
        f'data_dir = "{photo_settings.data_dir}"\nwarehouse = "duckdb:{tmp_path / "warehouse"}"\n'
    )
    arguments = [
        "query",
        "--config",
        str(config),
        "--run",
        RUN,
        "--k",
        "2",
        "--weights",
        "3:7",
        "--out",
        str(tmp_path / "out"),
    ]
    assert app.main([*arguments, str(folder), str(tmp_path / "broken.jpg")]) == 1
    printed = capsys.readouterr().out
    assert "1 of 3 photos could not be read" in caplog.text and "broken.jpg" in caplog.text
    for number in range(2):
        assert f"{number}.jpg" in printed
    rows = open_warehouse(f"duckdb:{tmp_path / 'warehouse'}").query("SELECT * FROM photo_queries")
    assert sorted(r["photo_id"] for r in rows) == sorted(
        hashlib.sha256(c).hexdigest() for c in list(pictures.values())[:2]
    )
    assert {(r["run"], r["k"], r["weights"]) for r in rows} == {(RUN, 2, "3:7")}
    for r in rows:
        assert (tmp_path / "out" / r["query_id"] / "answer.json").read_text() == r["answer"]
    assert app.main([*arguments, str(folder)]) == 0
    assert (
        len(open_warehouse(f"duckdb:{tmp_path / 'warehouse'}").query("SELECT * FROM photo_queries"))
        == 2
    )


def test_bad_usage_is_an_error(tmp_path, capsys, caplog):
    config = tmp_path / "wearalike.toml"
    config.write_text('data_dir = "root"\n')
    (tmp_path / "empty").mkdir()
    use = ["query", "--config", str(config)]
    assert app.main([*use, str(tmp_path / "gone.jpg")]) == 1 and "no such file" in caplog.text
    assert app.main([*use, str(tmp_path / "empty")]) == 1 and "no picture in it" in caplog.text
    (tmp_path / "a.jpg").write_bytes(plain())
    assert (
        app.main([*use, str(tmp_path / "a.jpg")]) == 1 and "nothing is published yet" in caplog.text
    )
    assert (
        app.main([*use, "--k", "0", str(tmp_path / "a.jpg")]) == 1
        and "k: wanted 1 to 100" in caplog.text
    )
    with pytest.raises(SystemExit):
        app.main([*use, "--weights", "x", str(tmp_path / "a.jpg")])
    assert "wanted SHAPE:COLOUR" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_equal_queries_have_equal_ids(search, pictures):
    content = next(iter(pictures.values()))
    one: PhotoResult = search.search(content)
    assert one == search.search(content)
    assert one.query_id != search.search(content, PhotoQuery(k=3)).query_id
