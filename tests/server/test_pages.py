"""The pages, seen by a real browser: a server that was started for it,
over one night whose feeds said hostile things.
"""

import io
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lxml import html
from PIL import Image
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.support.browser import (
    CHROMIUM,
    PATIENCE_MS,
    PHONE,
    assert_accessible,
    launch_browser,
    shoot,
    visit,
)
from tests.support.change_settings import change
from tests.support.http_server import serve_site, site_client

from wearalike import settings
from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.commands.app import main
from wearalike.quality import judgements
from wearalike.server import app
from wearalike.server.live_search import LiveSearch
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import content_cache, run_tables
from wearalike.tables import (
    IMAGES,
    INDEXES,
    LOOK_PRODUCTS,
    MATCHES,
    PRODUCTS,
    QUALITY,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
)
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "day-1"
HOSTILE = """<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'"&amp;{{7*7}}"""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def place(night, tmp_path_factory):
    """The night, copied, published again after some products said what nobody should."""
    folder = tmp_path_factory.mktemp("viewer")
    shutil.copytree(night / "root", folder / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8").replace(str(night), str(folder))
    (folder / "wearalike.toml").write_text(text, encoding="utf-8")
    made = settings.read_settings(folder / "wearalike.toml")
    rows = run_tables.read_table(made.data_dir, PRODUCTS, RUN).to_pylist()
    for row in hostile(made.data_dir, rows):
        row |= {
            "title": HOSTILE,
            "brand": HOSTILE,
            "description": HOSTILE,
            "url": "javascript:window.hurt=1",
            "colours": [HOSTILE],
        }
        row |= {"category_paths": [HOSTILE], "image_urls": ["http://elsewhere.example/x.jpg"]}
    refused = run_tables.read_refused(made.data_dir, RUN)
    refused = refused.filter(pc.equal(refused["stage"], PRODUCTS.name))
    with run_tables.write_table(made.data_dir, PRODUCTS, RUN, "hostile") as table:
        table.refuse(refused)
        table.write(pa.Table.from_pylist(rows, schema=PRODUCTS.arrow_schema))
    with run_tables.write_table(made.data_dir, LOOK_PRODUCTS, RUN, "crafted") as table:
        table.write(
            pa.Table.from_pylist(list(look(made.data_dir)), schema=LOOK_PRODUCTS.arrow_schema)
        )
    publish.publish_run(made.data_dir, RUN, open_warehouse(made.warehouse), redo=True)
    assert (
        main(
            [
                "describe-items",
                "--run",
                RUN,
                "--data-dir",
                str(made.data_dir),
                "--encoder",
                "hsv",
                "--encoder",
                "contour",
            ]
        )
        == 0
    )
    return made


def hostile(root: Path, rows: list[dict]) -> list[dict]:
    """Two products with lists of their own."""
    counts = {
        r["product_id"]: r["similar_count"]
        for r in run_tables.read_table(root, SIMILAR_LISTS, RUN).to_pylist()
    }
    return [r for r in sorted(rows, key=lambda r: r["product_id"]) if counts[r["product_id"]] > 4][
        :2
    ]


def look(root: Path) -> Iterator[dict]:
    """Rows that say that every dress is worn with a bag, in the lower half of its picture."""
    entries = run_tables.read_table(root, INDEXES, RUN).to_pylist()
    bag = next(e for e in entries if e["super_category"] == "bags")
    sizes = {
        i["image_id"]: (i["width_px"], i["height_px"])
        for i in run_tables.read_table(root, IMAGES, RUN).to_pylist()
    }
    scores = {
        "score": 0.8,
        "shape_score": 0.9,
        "colour_score": 0.7,
        "shape_distance": 6,
        "colour_distance": 19,
        "shape_weight": 1,
        "colour_weight": 1,
    }
    names = {"rank": 1, "detector": "d", "encoder": "e"}
    for e in (e for e in entries if e["super_category"] == "full_body"):
        width, height = sizes[e["image_id"]]
        box = {"x0": 0, "y0": height // 2, "x1": width, "y1": height}
        item = {
            "image_id": e["image_id"],
            "item_id": f"worn-{e['item_id']}",
            "look_item_id": bag["item_id"],
            **box,
        }
        found = {"look_product_id": bag["product_id"], "super_category": "bags"}
        said = {"source": "worn", "worn_with_product_id": e["product_id"], "reason": "like it"}
        said |= {"reason_ru": "похоже"}
        yield {"product_id": e["product_id"], **found, **item, **scores, **names, **said}


@pytest.fixture(scope="module")
def base(place) -> Iterator[str]:
    with serve_site(place.data_dir.parent / "wearalike.toml") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as browser:
        yield browser


def path_of(product_id: str) -> str:
    return f"/products/{quote(product_id, safe='')}"


def shown_ids(page: Page, within: str = "#similar") -> list[str]:
    """The product_ids of the cards, in order, once the page is whole."""
    page.wait_for_load_state()
    links = page.locator(f"{within} .card h3 a").evaluate_all(
        "links => links.map(a => decodeURIComponent(a.getAttribute('href')))"
    )
    return [link.removeprefix("/products/") for link in links]


@pytest.fixture(scope="module")
def asking(place) -> dict:
    """A product whose list changes with the weights, and which is not hostile."""
    published, live = PublishedRepository(place), LiveSearch(place)
    with published.snapshot() as s:
        for listed in run_tables.read_table(place.data_dir, SIMILAR_LISTS, RUN).to_pylist():
            product = s.product(listed["product_id"])
            if listed["similar_count"] >= 8 and product["title"] != HOSTILE:
                own = product["kind_weight"], product["shape_weight"] + product["colour_weight"]
                kind = round(10 * own[0] / own[1])
                shape, colour, kinds = (
                    ids(live.similar(s, product, w).rows)
                    for w in ((10, 0, kind), (0, 10, kind), (0, 10, 0))
                )
                if shape[:4] != colour[:4]:
                    return {
                        "product": product,
                        "published": s.similar(product["product_id"]),
                        "shape": shape,
                        "colour": colour,
                        "colour of any kind": kinds,
                        "kind": kind,
                    }
    raise AssertionError("no product whose list depends on the weights")


def ids(rows: list[dict]) -> list[str]:
    return [row["similar_product_id"] for row in rows]


def test_search_narrows_down_and_turns_pages(browser, base, place):
    products = sorted(
        run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist(),
        key=lambda r: r["product_id"],
    )
    with visit(browser, base) as page:
        page.goto("/")
        first = shown_ids(page, "main")
        assert first == [p["product_id"] for p in products[:48]] and len(products) > 96
        page.get_by_role("link", name="Next page").click()
        assert shown_ids(page, "main") == [p["product_id"] for p in products[48:96]]
        page.get_by_role("link", name="First page").click()
        page.get_by_label("Shop").select_option("lipa")
        page.get_by_label("Super-category").select_option("full_body")
        page.get_by_role("button", name="Search").click()
        wanted = [
            p["product_id"]
            for p in products
            if p["shop_id"] == "lipa" and p["super_category"] == "full_body"
        ]
        assert (
            wanted
            and shown_ids(page, "main") == wanted[:48]
            and page.get_by_label("Shop").input_value() == "lipa"
        )
        page.goto("/?q=sweater+cove")
        found = shown_ids(page, "main")
        assert (
            found
            == [
                p["product_id"]
                for p in products
                if all(w in p["title"].lower() for w in ("sweater", "cove"))
            ]
            and found
        )
        page.goto("/?q=nobody-sells-this")
        assert page.get_by_text("No product of run day-1 matches").is_visible()
        page.goto("/")
        shoot(page, "search")
    with visit(browser, base, **PHONE) as page:
        page.goto("/")
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing sticks out"
        page.locator(".card h3 a").first.tap()
        page.wait_for_url("**/products/*")


def test_a_product_s_page_shows_its_published_list_and_the_slider_re_ranks(browser, base, asking):
    product, listed = asking["product"], asking["published"]
    with visit(browser, base) as page:
        page.goto(path_of(product["product_id"]))
        assert page.get_by_role("heading", level=1).inner_text() == product["title"]
        assert shown_ids(page) == ids(listed)
        first = page.locator("#similar .card").first.inner_text()
        numbers = (
            f"{listed[0]['score']:.2f}",
            *(
                f"{listed[0][f'{n}_score']:.2f} · {listed[0][f'{n}_distance']}"
                for n in ("shape", "colour", "kind")
            ),
            listed[0]["reason"],
        )
        assert all(number in first for number in numbers), (first, numbers)
        shoot(page, "product")
        slider = page.get_by_role("slider", name="Weight of shape")
        slider.focus()
        with page.expect_response(f"**/similar?shape=10&kind={asking['kind']}"):
            slider.press("End")
        page.wait_for_url(f"**?shape=10&kind={asking['kind']}")
        assert shown_ids(page) == asking["shape"]
        said = [
            page.locator("output").inner_text(),
            page.locator("#similar [role=status]").inner_text(),
            slider.get_attribute("aria-valuetext"),
        ]
        assert all("shape 10 : colour 0" in str(text) for text in said)
        shoot(page, "product-by-shape")
        with page.expect_response(f"**/similar?shape=0&kind={asking['kind']}"):
            slider.press("Home")
        page.wait_for_url(f"**?shape=0&kind={asking['kind']}")
        assert shown_ids(page) == asking["colour"]
        with page.expect_response("**/similar?shape=0&kind=0"):
            page.get_by_role("slider", name="Weight of the kind").press("Home")
        page.wait_for_url("**?shape=0&kind=0")
        assert "shape 0 : colour 10 : kind 0" in page.locator("output").inner_text()
        assert shown_ids(page) == asking["colour of any kind"]
        page.reload()
        assert shown_ids(page) == asking["colour of any kind"], "the address says it all"
        page.get_by_role("link", name="As published").click()
        page.wait_for_url(f"**{path_of(product['product_id'])}")
        assert shown_ids(page) == ids(listed)
    with visit(browser, base, **PHONE) as page:
        page.goto(path_of(product["product_id"]))
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        shoot(page, "product-phone")


def test_a_product_s_look_shows_what_is_worn_with_it(browser, base, place):
    row = sorted(look(place.data_dir), key=lambda r: r["product_id"])[-1]
    with visit(browser, base) as page:
        page.goto(path_of(row["product_id"]))
        strip = page.get_by_role("list", name="Bags")
        assert strip.get_by_role("img").get_attribute("alt") == "worn with it: bags"
        assert strip.locator("li").first.locator("rect").get_attribute("y") == str(row["y0"])
        assert (
            shown_ids(page, ".strip") == [row["look_product_id"]] and "0.80" in strip.inner_text()
        )
        strip.scroll_into_view_if_needed()
        shoot(page, "look")
        assert_accessible(page)


def test_without_scripts_the_slider_is_a_form(browser, base, asking):
    with browser.new_context(base_url=base, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path_of(asking["product"]["product_id"]))
        page.get_by_role("slider", name="Weight of shape").press("End")
        page.get_by_role("button", name="Re-rank").click()
        page.wait_for_url(f"**?shape=10&kind={asking['kind']}")
        assert shown_ids(page) == asking["shape"]


def test_ways_stand_side_by_side(browser, base, place, asking):
    product = asking["product"]
    published, live = PublishedRepository(place), LiveSearch(place)
    with published.snapshot() as s:
        even = ids(live.similar(s, product, (1, 1), 10).rows)
    with visit(browser, base) as page:
        page.goto(path_of(product["product_id"]))
        page.get_by_role("link", name="Compare rankings").click()
        page.wait_for_load_state()
        names = page.locator(".column h3:not(.card h3)").all_inner_texts()
        told = page.locator(".column > p").all_inner_texts()
        assert names[:7] == [
            "Published",
            "Codes 1:1",
            "Codes 1:1:1",
            "Codes 8:2",
            "Codes 2:8",
            "Codes 1:0",
            "Codes 0:1",
        ]
        kinds = [(name, text.split(",")[0]) for name, text in zip(names[7:], told[7:], strict=True)]
        assert kinds == [
            (v, f"{d} distance")
            for v in ("contour-1", "hsv-1")
            for d in ("Cosine", "Euclidean", "Manhattan")
        ]
        assert shown_ids(page, ".column:nth-child(1)") == ids(asking["published"])[:10]
        assert shown_ids(page, ".column:nth-child(2)") == even
        for column in range(8, 14):
            found = shown_ids(page, f".column:nth-child({column})")
            assert len(found) == 10 and product["product_id"] not in found
        assert page.get_by_text("--encoder efficientnet-lite0").is_visible(), (
            "how to see what is absent"
        )
        shared = page.locator(".column:nth-child(2) .shared").count()
        assert (
            shared == len(set(even) & set(ids(asking["published"])[:10]))
            and f"{shared} of {len(even)} also published" in told[1]
        )
        shoot(page, "compare")
    with visit(browser, base, may_say="404", **PHONE) as page:
        page.goto("/compare")
        page.get_by_role("link", name="A random product").tap()
        page.wait_for_url("**/compare?product=*")
        assert page.locator(".column").count() >= 7
        page.goto(f"/compare?{urlencode({'product': product['product_id']})}")
        shoot(page, "compare-phone")
        assert page.goto("/compare?product=nobody").status == 404
        assert (
            page.get_by_text("has no product nobody").is_visible()
            and page.locator(".card").count() >= 4
        )


def test_a_product_is_ranked_by_faiss_indexes(browser, base, asking):
    product = asking["product"]["product_id"]
    with visit(browser, base, may_say="422") as page:
        page.goto(f"/compare?{urlencode({'product': product})}")
        heads = page.locator(".column h3:not(.card h3)").all_inner_texts()
        euclidean = [shown_ids(page, f".column:nth-child({n})") for n in (9, 12)]
        for kind in ("IndexFlatL2", "IndexIVFPQ"):
            page.get_by_label("Search float descriptors by").select_option(f"Faiss {kind}")
            page.get_by_role("button", name="Rank again").click()
            page.wait_for_url("**index=*")
            assert page.locator(".column h3:not(.card h3)").all_inner_texts() == [
                *heads[:7],
                "contour-1",
                "hsv-1",
            ]
            told = page.locator(".column > p").all_inner_texts()
            assert all(f"Euclidean by {kind}" in text for text in told[7:])
            found = [shown_ids(page, f".column:nth-child({n})") for n in (8, 9)]
            if kind == "IndexFlatL2":
                assert found == euclidean and "7,056 bytes an item, 10 of 10 as exact" in told[7]
            else:
                assert "bytes an item" in told[7] and len(found[0]) == len(found[1]) == 10
                assert len(set(found[0]) & set(euclidean[0])) == int(
                    re.search(r"(\d+) of 10 as exact", told[7])[1]
                )
        page.goto("/compare?index=tree")
        assert "wanted flat_l2, ivfpq, got 'tree'" in page.locator("main").inner_text()


def test_a_photo_is_ranked_by_every_model(browser, base, place):
    entry = next(
        e
        for e in run_tables.read_table(place.data_dir, INDEXES, RUN).to_pylist()
        if e["product_id"] == "harbour:1001"
    )
    content = content_cache.image_path(place.data_dir, entry["image_id"]).read_bytes()
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": content}
    with visit(browser, base, may_say="422") as page:
        page.goto("/compare")
        shoot(page, "compare-start", whole=True)
        page.get_by_label("A photo").last.set_input_files(photo)
        page.get_by_role("button", name="Compare the photo").click()
        page.get_by_role("heading", name="Compare rankings of your photo").wait_for()
        row = page.get_by_role("region", name=re.compile("upper wear"))
        names = row.locator(".column h3:not(.card h3)").all_inner_texts()
        assert names == ["As the photo page", *["contour-1"] * 3, *["hsv-1"] * 3]
        # The shop's own picture: every model finds its product.
        for column in range(row.locator(".column").count()):
            best = row.locator(".column").nth(column).locator("h3 a").first
            assert best.get_attribute("href") == path_of("harbour:1001")
        assert row.locator(".column").nth(1).locator(".card").count() == 5
        assert_accessible(page)
        shoot(page, "compare-photo", whole=True)
        page.goto("/compare?index=ivfpq")
        bad = {**photo, "buffer": b"no picture"}
        page.get_by_label("A photo").last.set_input_files(bad)
        page.get_by_role("button", name="Compare the photo").click()
        assert "This file is not a picture" in page.get_by_role("alert").inner_text()
    with visit(browser, base, **PHONE, color_scheme="dark") as page:
        page.goto("/compare")
        assert page.get_by_label("Search float descriptors by").count() == 2
        shoot(page, "compare-start-phone", whole=True)
        page.get_by_label("A photo").last.set_input_files(photo)
        page.get_by_label("Search float descriptors by").last.select_option("Faiss IndexIVFPQ")
        page.get_by_role("button", name="Compare the photo").click()
        page.get_by_role("heading", name="Compare rankings of your photo").wait_for()
        assert page.get_by_text("Euclidean by IndexIVFPQ").count() == 2
        assert_accessible(page)
        shoot(page, "compare-photo-phone", whole=True)


def test_no_column_shows_what_a_rule_hides(place, asking, tmp_path):
    root, own = place.data_dir, tmp_path / "root"
    shutil.copytree(root, own, ignore=shutil.ignore_patterns("cache"), symlinks=True)
    (own / "cache").symlink_to(root / "cache")
    query = asking["product"]["product_id"]
    entries = run_tables.read_table(root, INDEXES, RUN).to_pylist()
    image_id = next(e["image_id"] for e in entries if e["product_id"] == "harbour:1001")
    content = content_cache.image_path(root, image_id).read_bytes()

    own_site = {"Origin": "http://localhost"}

    def shown(here: settings.Settings) -> tuple[list[set[str]], list[set[str]]]:
        """The addresses in each column for a product and for a photo."""
        with site_client(app.create_app(here)) as client:
            pages = (
                client.get("/compare", params={"product": query}),
                client.post("/compare", files={"photo": ("photo.jpg", content)}, headers=own_site),
            )
        found = []
        for page in pages:
            columns = html.fromstring(page.text).xpath("//section[@class='column']")
            found.append([set(column.xpath(".//h3/a/@href")) for column in columns])
        return found[0], found[1]

    before, of_photo = shown(place)
    hidden = {"harbour:1001", *(i for i in ids(asking["published"])[:3])}
    gone = {path_of(product_id) for product_id in hidden}
    models, photo_models = before[7:], of_photo[1:]
    assert any(column & gone for column in models) and any(c & gone for c in photo_models)
    facts = own / MATCHES.name / f"run={RUN}" / "_manifest.json"
    made = json.loads(facts.read_text())
    made["parameters"]["merchandise"] = [
        asdict(MerchandisingRule(f"recall-{n}", MerchandisingRuleKind.HIDE, product=product_id))
        for n, product_id in enumerate(sorted(hidden))
    ]
    facts.write_text(json.dumps(made, default=str))
    here = change(place, data_dir=own, warehouse=f"duckdb:{own / 'warehouse'}")
    after, of_photo = shown(here)
    # The published list is that of the night, in which no rule was.
    assert len(after) == len(before) and all(not column & gone for column in after[1:])
    assert of_photo and all(column and not column & gone for column in of_photo)


def test_the_api_ranks_a_photo_by_a_descriptor(base, place):
    entries = run_tables.read_table(place.data_dir, INDEXES, RUN).to_pylist()
    entry = next(e for e in entries if e["product_id"] == "harbour:1001")
    content = content_cache.image_path(place.data_dir, entry["image_id"]).read_bytes()

    def ask(**query):
        headers = {"Content-Type": "image/jpeg"}
        address = f"{base}/v1/photo/neighbours"
        return httpx.post(
            address, params=query, content=content, headers=headers, timeout=PATIENCE_MS / 1000
        )

    exact = ask(descriptor="hsv-1", distance="euclidean", k=4).json()
    flat = ask(descriptor="hsv-1", index="flat_l2", k=4).json()
    small = ask(descriptor="hsv-1", index="ivfpq", k=4).json()
    assert exact["run"] == RUN and exact["items"][0]["results"][0]["product_id"] == "harbour:1001"
    found = [[r["product_id"] for r in one["items"][0]["results"]] for one in (exact, flat, small)]
    assert found[0] == found[1] and [len(ids) for ids in found] == [4, 4, 4]
    assert [one["items"][0]["recall"] for one in (exact, flat)] == [None, 1]
    assert small["items"][0]["recall"] == len(set(found[0]) & set(found[2])) / 4
    assert small["bytes_per_item"] <= 64 < flat["bytes_per_item"] == 768
    size = Image.open(io.BytesIO(content)).size
    assert (flat["width_px"], flat["height_px"]) == size
    assert flat["photo_id"] == entry["image_id"]
    for status, wrong, text in (
        (404, {"descriptor": "nobody-1"}, "it has described nothing of the run"),
        (422, {"descriptor": "hsv-1", "distance": "hamming"}, "hsv-1 has cosine, euclidean"),
        (422, {"descriptor": "hsv-1", "distance": "cosine", "index": "ivfpq"}, "is euclidean"),
        (422, {"descriptor": "hsv-1", "index": "tree"}, "flat_l2"),
    ):
        answer = ask(**wrong)
        assert answer.status_code == status and text in answer.json()["detail"], answer.text


def test_pairs_are_judged_with_the_keyboard(browser, base, place):
    warehouse = open_warehouse(place.warehouse)
    pairs = judgements.sample_pairs(warehouse, RUN)
    with visit(browser, base) as page:
        page.goto("/judge")
        page.get_by_label("Your name").fill("anna")
        page.keyboard.press("Enter")
        page.wait_for_url("**/judge?judge=anna")
        shoot(page, "judge")
        scores = re.compile(r"\b0\.\d\d")
        assert not scores.search(page.locator("main").inner_text()), "whoever judges sees no score"
        for number, key in enumerate(["1", "2", "3", "ArrowLeft", "ArrowRight", "4"], 1):
            press(page, key, f"{number} of {len(pairs)}")
        press(page, "u", f"6 of {len(pairs)}")
        assert page.locator("button[aria-pressed=true]").inner_text().startswith("Not sure")
        press(page, "1", f"6 of {len(pairs)}")
        page.wait_for_url("**/judge?judge=anna")
        assert page.get_by_role("progressbar").get_attribute("value") == "6"
    with visit(browser, base, **PHONE) as page:
        page.goto("/judge?judge=boris")
        shoot(page, "judge-phone")
        for number, name in enumerate(["Alike", "Not alike", "Not alike", "Alike"], 1):
            page.get_by_role("button", name=name, exact=True).tap()
            page.get_by_text(f"{number} of {len(pairs)}").wait_for()
    found = {(j.judge, *j.pair): j.verdict.value for j in judgements.read_judgements(warehouse)}
    keys = [(p.product_id, p.similar_product_id) for p in pairs]
    anna = ["alike", "not_alike", "wrong_category", "alike", "not_alike", "alike"]
    boris = ["alike", "not_alike", "not_alike", "alike"]
    assert found == {("anna", *k): v for k, v in zip(keys, anna, strict=False)} | {
        ("boris", *k): v for k, v in zip(keys, boris, strict=False)
    }
    with visit(browser, base) as page:
        page.goto("/judge/results")
        tiles = page.locator(".tiles b").all_inner_texts()
        # Alike: three of anna's six, two of them boris's too.
        assert tiles[:3] == ["0.50", "6", "2"] and 0 <= float(tiles[3]) <= 1
        row = page.get_by_role("row", name="anna, boris").get_by_role("cell").all_inner_texts()
        # Seen 3 of 4; by chance 2/4 * 2/4 + 1/4 * 2/4.
        assert row == ["4", "0.75", f"{(0.75 - 0.375) / 0.625:.2f}"]
        shoot(page, "judged")


def test_looks_are_judged_with_the_keyboard(browser, base, place):
    warehouse = open_warehouse(place.warehouse)
    pairs = judgements.sample_look_pairs(warehouse, RUN)
    with visit(browser, base) as page:
        page.goto("/judge")
        page.get_by_role("link", name="Judge looks").click()
        page.get_by_label("Your name").fill("anna")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Does the second go with the first?").wait_for()
        shoot(page, "judge-looks")
        assert_accessible(page)
        for number, key in enumerate(["1", "2", "4"], 1):
            press(page, key, f"{number} of {len(pairs)}")
        press(page, "u", f"3 of {len(pairs)}")
        assert page.locator("button[aria-pressed=true]").inner_text().startswith("Not sure")
        press(page, "ArrowLeft", f"3 of {len(pairs)}")
        page.goto("/judge/results")
        row = page.get_by_role("row", name="own pictures").get_by_role("cell").all_inner_texts()
        assert row[:2] == ["3", "0.67"] and row[-3:] == ["2", "1", "0"]
        shoot(page, "judged-looks")
    found = [j.verdict.value for j in judgements.read_look_judgements(warehouse)]
    assert sorted(found) == ["does_not_go", "goes_with", "goes_with"]


def press(page: Page, key: str, until: str) -> None:
    """Presses, and waits for the page that comes of it."""
    with page.expect_navigation():
        page.keyboard.press(key)
    page.get_by_text(until).wait_for()


def test_a_verdict_comes_from_this_site_and_is_of_a_pair_that_was_drawn(base, place):
    warehouse = open_warehouse(place.warehouse)
    pair = judgements.sample_pairs(warehouse, RUN)[0]
    form = {
        "judge": "mallory",
        "run": RUN,
        "product": pair.product_id,
        "similar": pair.similar_product_id,
        "verdict": "alike",
    }
    host = base.removeprefix("http://")
    for headers in (
        {},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": base, "Sec-Fetch-Site": "cross-site"},
    ):
        assert post(f"{base}/judge", form, headers) == 403, headers
        assert post(f"{base}/photo", form, headers) == 403, headers
    own = {"Origin": f"http://{host}"}
    assert post(f"{base}/judge", form | {"similar": pair.product_id}, own) == 409
    assert post(f"{base}/judge", form | {"run": "day-0"}, own) == 409
    assert post(f"{base}/judge", form | {"verdict": "lovely"}, own) == 422
    assert post(f"{base}/judge", form | {"judge": " "}, own) == 422
    assert (
        warehouse.query("SELECT * FROM judgements WHERE judge <> 'anna' AND judge <> 'boris'") == []
    )


def post(address: str, form: dict[str, str], headers: dict[str, str]) -> int:
    try:
        request = urllib.request.Request(address, urlencode(form).encode(), headers)
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


def test_quality_says_what_the_tables_say(browser, base, place):
    measures = {
        (m["metric"], m["scope"]): m["value"]
        for m in run_tables.read_table(place.data_dir, QUALITY, RUN).to_pylist()
    }
    refused = run_tables.read_refused(place.data_dir, RUN).to_pylist()
    with visit(browser, base) as page:
        page.goto("/quality")
        assert (
            page.locator(".tiles b").first.inner_text()
            == f"{measures['products_count', 'all']:,.0f}"
        )
        plot = page.get_by_role(
            "img", name=f"Precision@10 by run: {RUN} {measures['precision@10', 'all']:.3f}"
        )
        assert plot.is_visible()
        funnel = (
            page.get_by_role("region", name="Rows of each table")
            .get_by_role("row")
            .all_inner_texts()
        )
        assert any(
            re.match(rf"products\s+{measures['rows_written_count', 'table=products']:.0f}\s", row)
            for row in funnel
        )
        table = page.get_by_role("region", name="Refused by reason").inner_text()
        assert refused and all(r["reason"].replace("_", " ") in table for r in refused)
        assert next(r["key"] for r in refused if r["reason"] == "bad_price") in table, (
            "with an example"
        )
        words = {r["detail"] for r in refused if r["reason"] == "unmapped_category" and r["detail"]}
        assert words and all(
            page.get_by_role("rowheader", name=word, exact=True).is_visible() for word in words
        )
        gains = [
            float(t)
            for t in page.get_by_role("region", name="Worst categories")
            .locator("tbody td:nth-child(5)")
            .all_inner_texts()
        ]
        assert len(gains) > 5 and gains == sorted(gains)
        shoot(page, "quality")
    with visit(browser, base, color_scheme="dark", **PHONE) as page:
        page.goto("/quality")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        shoot(page, "quality-phone-dark")


def test_what_feeds_say_is_text(browser, base, place):
    mine = [
        r
        for r in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
        if r["title"] == HOSTILE
    ]
    listing = {
        r["similar_product_id"]: r["product_id"]
        for r in run_tables.read_table(place.data_dir, SIMILAR_PRODUCTS, RUN).to_pylist()
    }
    assert len(mine) == 2
    with visit(browser, base) as page:
        for product in mine:
            page.goto(path_of(product["product_id"]))
            assert page.get_by_role(
                "heading", level=1
            ).inner_text() == HOSTILE and page.title().startswith(HOSTILE)
            assert (
                page.locator(
                    "a[href*='javascript'], img[src*='elsewhere'], main img[src='x'], main script"
                ).count()
                == 0
            )
            assert page.get_by_role("link", name="Go to shop").count() == 0, (
                "an address that is not http(s) is no link"
            )
            page.goto(f"/?{urlencode({'q': HOSTILE, 'shop': HOSTILE})}")
            assert page.get_by_label("Words").input_value() == HOSTILE
        page.goto("/?q=onerror")
        assert page.locator(".card h3").all_inner_texts() == [HOSTILE] * 2
        page.goto(
            path_of(next(listing[p["product_id"]] for p in mine if p["product_id"] in listing))
        )
        assert HOSTILE in page.locator("#similar .card h3").all_inner_texts()
        with page.expect_response("**/similar?shape=*"):
            page.get_by_role("slider", name="Weight of shape").press("ArrowRight")
        page.wait_for_url("**?shape=*")
        page.goto(f"/judge?judge={quote(HOSTILE[:40])}")
        page.goto(f"/label?labeller={quote(HOSTILE[:40])}")
        page.goto(f"/compare?{urlencode({'product': mine[0]['product_id']})}")
        other = next(
            r
            for r in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
            if r["title"] != HOSTILE and r["url"]
        )
        page.goto(path_of(other["product_id"]))
        link = page.get_by_role("link", name="Go to shop")
        assert link.get_attribute("href") == other["url"] and set(
            link.get_attribute("rel").split()
        ) >= {"noopener", "nofollow"}


def test_a_lost_visitor_is_led_to_what_is_published(browser, base, place):
    products = run_tables.read_table(place.data_dir, PRODUCTS, RUN)
    count = products["shop_id"].to_pylist().count("lipa")
    with visit(browser, base, may_say="404") as page:
        for path in ("/nowhere", "/products/lipa%3Agone"):
            page.goto(path)
            assert page.locator(".run").inner_text() == f"run {RUN}"
            assert page.get_by_text(f"Run {RUN} is published").is_visible()
            shoot(page, "lost")
            page.get_by_role("link", name=f"lipa, {count} products").click()
            page.wait_for_url("**/?shop=lipa")
            assert shown_ids(page, "main")


@pytest.mark.parametrize("looks", ["light", "dark"])
def test_every_page_is_accessible(browser, base, asking, looks):
    product_id = asking["product"]["product_id"]
    compared = f"/compare?{urlencode({'product': product_id})}"
    paths = [
        "/",
        path_of(product_id),
        compared,
        "/photo",
        "/quality",
        "/quality?shop=lipa&category=women",
        "/quality/products?figure=other_leaf",
        "/quality/refused",
        f"{path_of(product_id)}/history",
        "/judge",
        "/judge?judge=carla",
        "/judge/results",
        "/label",
        "/label?labeller=carla",
        "/label/disagreements",
        "/rules",
        "/v1/docs",
        "/nowhere",
    ]
    options = {"color_scheme": looks, **(PHONE if looks == "dark" else {})}
    with visit(browser, base, may_say="404", **options) as page:
        for path in paths:
            page.goto(path)
            assert_accessible(page)


def test_answers_carry_a_strict_policy_and_pictures_are_kept(base, place):
    with urllib.request.urlopen(f"{base}/judge/results", timeout=20) as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = answer.read().decode()
    assert (
        policy.split("; ")[0] == "default-src 'none'"
        and "frame-ancestors 'none'" in policy
        and "unsafe" not in policy
    )
    assert not re.search(r"<style|style=|<script>|\son\w+=|https?://", page), (
        "nothing inline, nothing from outside"
    )
    image_id = run_tables.read_table(place.data_dir, INDEXES, RUN)["image_id"][0].as_py()
    with urllib.request.urlopen(f"{base}/thumbnails/360/{image_id}.jpg", timeout=20) as answer:
        thumbnail = Image.open(io.BytesIO(answer.read()))
        assert (
            answer.headers["Content-Type"] == "image/jpeg"
            and "immutable" in answer.headers["Cache-Control"]
        )
    assert thumbnail.format == "JPEG" and max(thumbnail.size) <= 360
    for bad in (
        f"360/{'0' * 64}.jpg",
        f"361/{image_id}.jpg",
        "360/..%2f..%2fwearalike.toml.jpg",
        f"360/{image_id[:63]}A.jpg",
    ):
        assert post_less(f"{base}/thumbnails/{bad}") == 404, bad
    for bad in ("x/..%2fapp.py", "x/nothing.css", "x/%2e%2e%2fapp.css"):
        assert post_less(f"{base}/static/{bad}") == 404, bad


def post_less(address: str) -> int:
    try:
        return urllib.request.urlopen(address, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


def test_mounted_elsewhere_every_address_begins_there(place):
    with site_client(
        Starlette(routes=[Mount("/inside/wearalike", app.create_app(place))])
    ) as client:
        for path in (
            "/",
            "/quality",
            "/quality/products?figure=products",
            "/quality/refused",
            "/judge",
            "/compare",
            "/photo",
            "/nowhere",
        ):
            answer = client.get(f"/inside/wearalike{path}")
            assert answer.status_code == (404 if path == "/nowhere" else 200)
            addresses = re.findall(r'(?:href|src|action)="([^"#]+)"', answer.text)
            assert len(addresses) > 5 and all(
                a.startswith(("/inside/wearalike/", "data:,")) for a in addresses
            ), path
            assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        style = re.search(r'href="([^"]+\.css)"', answer.text)
        assert client.get(style[1]).headers["content-type"].startswith("text/css")


def test_before_the_first_night_the_pages_say_what_to_do(tmp_path):
    empty = settings.read_settings(None, {"WEARALIKE_DATA_DIR": str(tmp_path / "root")})
    with site_client(app.create_app(empty), raise_server_exceptions=False) as client:
        for path in (
            "/",
            "/quality",
            "/quality?encoder=x",
            "/judge",
            "/photo",
            "/compare",
            "/products/moda%3A1",
            "/products/moda%3A1/history",
        ):
            answer = client.get(path)
            assert answer.status_code == 503 and answer.headers["content-type"].startswith(
                "text/html"
            )
            assert "Nothing is published yet" in answer.text and "wearalike run" in answer.text
        assert client.get("/nowhere").status_code == 404
        assert client.get("/v1/products").headers["content-type"] == "application/problem+json"


def test_without_the_run_s_tables_every_page_answers_from_the_warehouse(place, asking, tmp_path):
    """Another machine's data folder, a run that was pruned, or one from before an upgrade."""
    away = change(place, data_dir=tmp_path / "root")
    path = path_of(asking["product"]["product_id"])
    with site_client(app.create_app(away), raise_server_exceptions=False) as client:
        for page in (
            "/",
            path,
            f"{path}?weights=1:1",
            f"{path}/history",
            "/compare",
            "/photo",
            "/quality",
            "/quality?shop=lipa",
            "/quality/products?figure=products",
            "/quality/refused",
            "/judge",
            "/judge?judge=carla",
            "/judge/results",
            "/rules",
            f"/v1{path}/similar?weights=1:1",
            f"/v1{path}/similar?max_price=50",
            f"/v1{path}/look",
            f"/v1{path}/variants",
            f"/v1{path}/history",
        ):
            answer = client.get(page)
            assert answer.status_code in (200, 503), (page, answer.status_code)
            assert "unexpected" not in answer.text, page
        assert "are not in the data folder" in client.get("/rules").text


def test_a_run_published_again_shows_its_new_refusals(night, tmp_path):
    """The server stays up, the run keeps its name, and one reason is another one now."""
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8").replace(str(night), str(tmp_path))
    (tmp_path / "wearalike.toml").write_text(text, encoding="utf-8")
    place = settings.read_settings(tmp_path / "wearalike.toml")
    products = run_tables.read_table(place.data_dir, PRODUCTS, RUN)
    refused = run_tables.read_refused(place.data_dir, RUN)
    refused = refused.filter(pc.equal(refused["stage"], PRODUCTS.name))
    rows = [row | {"reason": "withdrawn_by_hand"} for row in refused.to_pylist()]
    with site_client(app.create_app(place)) as client:
        assert rows and "withdrawn by hand" not in client.get("/quality").text
        with run_tables.write_table(place.data_dir, PRODUCTS, RUN, "again") as table:
            table.refuse(pa.Table.from_pylist(rows, schema=refused.schema))
            table.write(products)
        publish.publish_run(place.data_dir, RUN, open_warehouse(place.warehouse), redo=True)
        assert "withdrawn by hand" in client.get("/quality").text
