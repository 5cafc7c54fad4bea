"""The JSON API, asked over HTTP: `wearalike serve` in a process of its own,
on DuckDB and on PostgreSQL.
"""

import contextlib
import hashlib
import io
import json
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from PIL import Image
from tests.server.test_snapshot import ODD_IDS, changed
from tests.support.change_settings import change
from tests.support.http_server import serve_site, site_client, wait_until_ready
from tests.support.pictures import progressive_jpeg
from tests.support.postgres_server import create_database, start_server
from tests.warehouse.test_warehouse import load
from tests.warehouse.test_warehouse import night as made_up

from wearalike import settings
from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.search import photo_query
from wearalike.search.reasons import ALIKE_BITS, describe_likeness
from wearalike.server import app, uploads
from wearalike.settings import ServerSettings, Settings
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES, MATCHES, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS
from wearalike.warehouse.base import open_warehouse
from wearalike.warehouse.postgres import read as postgres_read

RUN = "day-1"
# Paths whose answers can be filtered.
_FILTERED = r"^/v1/(products|similar|products/\{product_id\}/(similar|look))$"
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def place(night) -> Settings:
    return settings.read_settings(night / "wearalike.toml")


@pytest.fixture(scope="module")
def address(place, tmp_path_factory):
    config = tmp_path_factory.mktemp("serve") / "wearalike.toml"
    limits = "[serve]\nrequests_a_minute = 1000000\nsearches_a_minute = 1000000\n"
    warehouse = place.warehouse.get_secret_value()
    config.write_text(
        f'data_dir = "{place.data_dir}"\nwarehouse = "{warehouse}"\ndevice = "cpu"\n{limits}',
        encoding="utf-8",
    )
    with serve_site(config) as (where, _):
        wait_until_ready(where)
        yield where


@pytest.fixture(scope="module")
def api(address):
    with httpx.Client(base_url=f"{address}/v1", timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def pictures(place) -> dict[str, bytes]:
    """The picture that each product in stock was compared by."""
    in_stock = {
        p["product_id"]
        for p in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
        if p["availability"] == "in_stock"
    }
    entries = sorted(
        run_tables.read_table(place.data_dir, INDEXES, RUN).to_pylist(),
        key=lambda e: e["product_id"],
    )
    return {
        e["product_id"]: content_cache.image_path(place.data_dir, e["image_id"]).read_bytes()
        for e in entries
        if e["product_id"] in in_stock
    }


def assert_problem(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert (
        answer.headers["content-type"] == "application/problem+json"
        and answer.headers["cache-control"] == "no-store"
    )
    told = answer.json()
    assert (
        told["status"] == status
        and told["type"] == "about:blank"
        and told["title"]
        and told["detail"]
    )
    assert "Traceback" not in answer.text and "site-packages" not in answer.text
    return told


def test_products_are_found_and_paged(api, place):
    wanted = {
        p["product_id"]: p for p in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    }
    seen, after = {}, None
    while after is not None or not seen:
        page = api.get(
            "/products", params={"limit": 100} | ({"after": after} if after else {})
        ).json()
        assert page["run"] == RUN and page["published_at"].endswith("Z")
        seen |= {p["product_id"]: p for p in page["products"]}
        after = page["next_after"]
    assert list(seen) == sorted(wanted)
    for product_id, found in seen.items():
        assert found.pop("image_url") == wanted[product_id]["image_urls"][0]
        assert found == {name: wanted[product_id][name] for name in found}
    bags = api.get("/products", params={"super_category": "bags", "limit": 100}).json()["products"]
    assert {p["product_id"] for p in bags} == {
        i for i, p in wanted.items() if p["super_category"] == "bags"
    }
    shown = api.get("/products", params={"q": "платье", "shop": "lipa"}).json()["products"]
    assert shown and all("платье" in p["title"].lower() and p["shop_id"] == "lipa" for p in shown)


def test_a_product_and_its_published_list(api, place):
    products = {
        p["product_id"]: p for p in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    }
    lists = {
        row["product_id"]: row
        for row in run_tables.read_table(place.data_dir, SIMILAR_LISTS, RUN).to_pylist()
    }
    rows = run_tables.read_table(place.data_dir, SIMILAR_PRODUCTS, RUN).to_pylist()
    asked = sorted(lists)[::29]
    assert len(asked) > 8
    for product_id in asked:
        told = api.get(f"/products/{quote(product_id, safe='')}").json()
        assert {**products[product_id], "image_url": products[product_id]["image_urls"][0]} == told[
            "product"
        ]
        assert (told["similar_count"], told["shortfall_reason"]) == (
            lists[product_id]["similar_count"],
            lists[product_id]["shortfall_reason"],
        )
        listed = api.get(f"/products/{quote(product_id)}/similar").json()
        wanted = [
            {k: v for k, v in row.items() if k != "product_id"}
            for row in rows
            if row["product_id"] == product_id
        ]
        assert (listed["source"], listed["shortfall_reason"]) == (
            "published",
            lists[product_id]["shortfall_reason"],
        )
        assert [
            {k: v for k, v in row.items() if k != "product"} for row in listed["results"]
        ] == wanted
        assert [row["product"]["title"] for row in listed["results"]] == [
            products[r["similar_product_id"]]["title"] for r in wanted
        ]
        assert (
            api.get(f"/products/{quote(product_id)}/similar?k=2").json()["results"]
            == listed["results"][:2]
        )
    assert any(lists[i]["similar_count"] > 2 for i in asked)


def test_a_live_list_at_the_night_s_weights_is_the_night_s(api, place):
    products = {
        p["product_id"]: p for p in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    }
    asked, results = sorted(products)[::7], 0
    for product_id in asked:
        published = api.get(f"/products/{product_id}/similar").json()
        own = ":".join(
            str(products[product_id][f"{part}_weight"]) for part in ("shape", "colour", "kind")
        )
        live = api.get(f"/products/{product_id}/similar", params={"weights": own}).json()
        assert (live.pop("source"), published.pop("source")) == ("live", "published")
        assert live == published
        results += len(live["results"])
    assert len(asked) > 30 and results > 200


def test_a_live_list_is_in_the_order_of_its_weights(api, place):
    product_id = max(
        run_tables.read_table(place.data_dir, SIMILAR_LISTS, RUN).to_pylist(),
        key=lambda row: row["similar_count"],
    )["product_id"]
    named = api.get(f"/products/{product_id}").json()["product"]["colour_names"]
    orders = []
    for text in ("10:0", "3:7", "0:1", "3:7:5", "1:1:10"):
        shape_weight, colour_weight, kind_weight = photo_query.parse_weights(text)
        rows = api.get(f"/products/{product_id}/similar", params={"weights": text, "k": 30}).json()[
            "results"
        ]
        assert len(rows) >= 5 and [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        for row in rows:
            used = (row["shape_weight"], row["colour_weight"], row["kind_weight"])
            assert used == (shape_weight, colour_weight, kind_weight)
            colour = row["colour_distance"] + row["colour_name_distance"]
            far = shape_weight * row["shape_distance"] + colour_weight * colour
            far += kind_weight * row["kind_distance"]
            scale = shape_weight + colour_weight * (1.25 if named else 1) + kind_weight
            assert row["score"] == pytest.approx(max(0, 1 - 2 * far / (128 * scale)))
            if named and row["colour_name_distance"] == 0:
                colour = min(colour, ALIKE_BITS)
            distances = (row["kind_distance"], colour, row["shape_distance"])
            assert row["reason"] == describe_likeness(*distances, "en")
        assert all(row["score"] >= 0.1 for row in rows) and product_id not in {
            row["similar_product_id"] for row in rows
        }
        orders.append([row["similar_product_id"] for row in rows])
    assert len({tuple(order) for order in orders}) >= 4


def test_a_live_list_keeps_the_merchandiser_s_rules_of_its_night(place, tmp_path):
    shutil.copytree(
        place.data_dir, tmp_path / "root", ignore=shutil.ignore_patterns("cache"), symlinks=True
    )
    facts = tmp_path / "root" / MATCHES.name / f"run={RUN}" / "_manifest.json"
    made = json.loads(facts.read_text())
    rows = run_tables.read_table(place.data_dir, SIMILAR_PRODUCTS, RUN).to_pylist()
    product_id = next(row["product_id"] for row in rows if row["rank"] == 15)
    first, *_, last = [row["similar_product_id"] for row in rows if row["product_id"] == product_id]
    pin = MerchandisingRule(
        "summer", MerchandisingRuleKind.PIN, product=last, at=1, on_product=product_id
    )
    hide = MerchandisingRule(
        "winter", MerchandisingRuleKind.HIDE, product=first, on_product=product_id
    )
    made["parameters"]["merchandise"] = [asdict(pin), asdict(hide)]
    facts.write_text(json.dumps(made, default=str))
    here = change(
        place, data_dir=tmp_path / "root", warehouse=f"duckdb:{tmp_path / 'root' / 'warehouse'}"
    )
    with site_client(app.create_app(here)) as client:
        found = client.get(f"/v1/products/{product_id}/similar", params={"weights": "1:1"}).json()[
            "results"
        ]
    assert (found[0]["similar_product_id"], found[0]["rule"]) == (last, "pin:summer")
    assert len(found) > 5 and first not in {row["similar_product_id"] for row in found}


def test_runs_and_quality(api, place):
    (run,) = api.get("/runs").json()["runs"]
    assert (run["run"], run["is_published"], run["counts"]["products"]) == (
        RUN,
        True,
        run_tables.read_manifest(place.data_dir, PRODUCTS, RUN)["rows"]["written"],
    )
    measures = api.get("/quality", params={"scope": "all"}).json()["measures"]
    (count,) = [m for m in measures if m["metric"] == "products_count"]
    assert count["value"] == run["counts"]["products"] and {m["scope"] for m in measures} == {"all"}
    assert len(api.get("/quality").json()["measures"]) > len(measures)
    told = api.get("/quality/products_count").json()
    assert told["history"] == [{**count, "run": RUN}]
    assert api.get(
        "/quality/precision@10"
        if any(m["metric"] == "precision@10" for m in measures)
        else "/quality/products_count"
    ).is_success


def test_an_answer_that_the_client_has_is_not_sent_again(api):
    for path in ("/products?q=dress", "/runs", "/quality?scope=all", "/quality/products_count"):
        first = api.get(path)
        tag = first.headers["etag"]
        assert (
            first.is_success
            and re.fullmatch(r'W/"[0-9a-f]{32}"', tag)
            and first.headers["cache-control"].startswith("public, max-age=")
        )
        for held in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
            again = api.get(path, headers={"If-None-Match": held})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert api.get(path, headers={"If-None-Match": '"other"'}).content == first.content
        head = api.head(path)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
        assert head.headers["content-length"] == str(len(first.content))
    assert (
        api.get("/products?q=shoe").headers["etag"] != api.get("/products?q=dress").headers["etag"]
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/products/no:1", 404),
        ("GET", "/products/no:1/similar", 404),
        ("GET", "/products/no:1/similar?weights=1:1", 404),
        ("GET", "/products/no:1/look", 404),
        ("GET", "/products/a%00b", 404),
        ("GET", "/products/%FF", 400),
        ("GET", "/products/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/quality/nothing", 404),
        ("GET", "/products?limit=0", 422),
        ("GET", "/products?limit=x", 422),
        ("GET", "/products?super_category=hats", 422),
        ("GET", f"/products?q={'x' * 201}", 422),
        ("GET", "/products/no:1/similar?weights=0:0", 422),
        ("GET", "/products/no:1/similar?weights=11:1", 422),
        ("GET", "/products/no:1/similar?k=101", 422),
        ("POST", "/products", 405),
        ("GET", "/photo", 405),
        ("DELETE", "/products/no:1", 405),
        ("POST", "/photo", 415),
        ("POST", "/photo?k=0", 422),
    ],
)
def test_what_cannot_be_answered_is_a_problem(api, method, path, status):
    answer = api.request(method, path)
    told = assert_problem(answer, status)
    assert (status == 405) == ("allow" in answer.headers)
    if status == 422:
        assert told["errors"] and all(
            mistake["where"] and mistake["what"] for mistake in told["errors"]
        )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/products?material=silk", "query.material: no such parameter; known are q, category"),
        ("/products?catgory=women", "did you mean 'category'?"),
        ("/products/no:1/similar?weight=1:1", "known are weights, k"),
        ("/runs?limit=1", "query.limit: no such parameter; this path takes none"),
        ("/status?verbose=1", "this path takes none"),
        ("/products?q=x&a=1&b=2", "query.b: no such parameter"),
    ],
)
def test_an_unknown_parameter_is_refused_with_those_that_are_known(api, path, said):
    told = assert_problem(api.get(path), 422)
    assert said in told["detail"], told


def test_a_mistake_is_told_in_words_without_a_regular_expression(api):
    for weights in ("0:0", "11:1", "x", "1:1:1:1"):
        told = assert_problem(api.get(f"/products/no:1/similar?weights={weights}"), 422)
        assert f"got '{weights}', wanted SHAPE:COLOUR:KIND" in told["detail"], told
        assert not re.search(r"[\\^$]|\(\?", told["detail"])


def test_every_answer_keeps_a_browser_safe(api):
    for path in ("/products", "/nothing", "/docs", "/openapi.json"):
        headers = api.get(path).headers
        assert (
            headers["x-content-type-options"] == "nosniff"
            and headers["referrer-policy"] == "no-referrer"
            and "server" not in headers
        )
        assert (
            "default-src 'none'" in headers["content-security-policy"]
            and "unsafe" not in headers["content-security-policy"]
        )


def test_the_reference_s_page_tells_all_and_asks_nobody(api):
    page, described = api.get("/docs").text, api.get("/openapi.json").json()
    assert len(described["paths"]) >= 8
    for path, methods in described["paths"].items():
        assert path in page and all(said["summary"] in page for said in methods.values())
    for name in ("shape_weight", "shortfall_reason", "image_url", "Problem"):
        assert name in page
    asked = re.findall(r"""(?:src|href|action)=["']?([^"'\s>]+)|url\(|@import|<script""", page)
    assert len(asked) > 20 and [link for link in asked if not link.startswith("#")] == [
        "openapi.json"
    ]


# Photos


def post(api, content: bytes, kind: str = "image/jpeg", **asked) -> httpx.Response:
    return api.post("/photo", content=content, headers={"content-type": kind}, params=asked)


def test_a_photo_finds_its_product_as_a_form_and_as_itself(api, pictures):
    found = []
    for product_id, content in list(pictures.items())[::25]:
        answer = post(api, content, k=3)
        assert answer.is_success and answer.headers["cache-control"] == "no-store", answer.text
        told = answer.json()
        assert (
            told["run"] == RUN
            and (told["note"] is None) == bool(told["items"])
            and all(len(item["results"]) <= 3 for item in told["items"])
        )
        found.append(
            product_id in {row["product_id"] for item in told["items"] for row in item["results"]}
        )
        assert (
            api.post("/photo?k=3", files={"photo": ("x.jpg", content, "text/html")}).json() == told
        )
    assert len(found) >= 8 and sum(found) / len(found) > 0.4, found


def test_a_photo_is_asked_about_with_wishes(api, pictures):
    content = next(c for c in pictures.values() if post(api, c).json()["items"])
    for item in post(api, content, weights="10:0", gender="male", k=2).json()["items"]:
        assert (item["shape_weight"], item["colour_weight"]) == (10, 0) and len(
            item["results"]
        ) <= 2
        assert [r["shape_distance"] for r in item["results"]] == sorted(
            r["shape_distance"] for r in item["results"]
        )


def picture(
    size: tuple[int, int], kind: str = "PNG", mode: str = "RGB", colour: object = (120, 140, 150)
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def test_a_picture_without_clothes_says_so(api):
    told = post(api, picture((400, 300)), "image/png").json()
    assert (told["items"], told["note"]) == (
        [],
        "no garment, shoe or bag was detected in the photo",
    )


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/latest"/></svg>'


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "not_a_picture"),
        (b"http://169.254.169.254/latest/meta-data", "not_a_picture"),
        (SVG, "unsupported: SVG"),
        (b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", "not_a_picture"),
        (picture((400, 300))[:200], "truncated|undecodable"),
        (picture((9000, 9000), mode="1", colour=1), "too_many_pixels"),
        (picture((3, 300)), "too_small"),
        (picture((64, 4000)), "too_narrow"),
        (b"%PDF-1.4 /JS (app.alert(1))", "unsupported: PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "unsupported: EPS"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 5000, "not_a_picture|undecodable"),
        (b"\xff\xd8\xff\xe0" * 2000, "not_a_picture|undecodable"),
    ],
    ids=[
        "empty",
        "address",
        "svg",
        "entity",
        "cut",
        "bomb",
        "small",
        "narrow",
        "pdf",
        "eps",
        "png-zeros",
        "jpeg-rubbish",
    ],
)
def test_a_hostile_upload_is_refused(api, content, detail):
    for answer in (
        post(api, content),
        api.post("/photo", files={"photo": ("../../etc/passwd", content)}),
    ):
        told = assert_problem(answer, 422)
        assert re.search(detail, told["detail"]), told
    assert api.get("/health").is_success


def test_a_body_beyond_the_limit_is_not_read(api, address):
    def chunks():
        for _ in range(40):
            yield b"\0" * 1_000_000

    assert_problem(
        api.post("/photo", content=b"\0" * 16_000_001, headers={"content-type": "image/png"}), 413
    )
    # What no header announces is counted as it comes;
    # the client may find the connection closed before it reads why.
    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        assert_problem(
            api.post("/photo", content=chunks(), headers={"content-type": "image/png"}), 413
        )
    assert api.get("/health").is_success


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense", 422),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="photo"\r\n\r\ntext\r\n--b--\r\n',
            422,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\nx\r\n--b--\r\n',
            422,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\nx\r\n' * 3
            + b"--b--\r\n",
            400,
        ),
        ("application/json", b'{"url": "http://169.254.169.254/"}', 415),
        ("application/x-www-form-urlencoded", b"photo=http://169.254.169.254/", 415),
        ("text/html", b"<script>", 415),
    ],
)
def test_a_form_without_a_photo_is_a_problem(api, kind, body, status):
    assert_problem(api.post("/photo", content=body, headers={"content-type": kind}), status)


def held_upload(address: str, source: str) -> socket.socket:
    """A photo of which only the beginning has come."""
    parts = urlsplit(address)
    connection = socket.create_connection(
        (parts.hostname, parts.port), timeout=30, source_address=(source, 0)
    )
    connection.sendall(
        b"POST /v1/photo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        b"Content-Length: 1000\r\n\r\nx"
    )
    return connection


def test_a_full_queue_says_when_to_come_again(api, address, pictures):
    """A few clients hold every place; another is refused, and so is one that holds its share."""
    content = next(iter(pictures.values()))
    assert post(api, content).is_success  # with this the networks are loaded
    limits = uploads.PHOTO_LIMITS
    held = [held_upload(address, "127.0.0.9") for _ in range(limits.max_pending_a_client + 1)]
    try:
        refused, _, _ = select.select(held, [], [], 30)
        assert len(refused) == 1 and refused[0].recv(4096).startswith(b"HTTP/1.1 503")
        assert post(api, content).is_success, "others have their places"
        held += [
            held_upload(address, f"127.0.0.{10 + number % 8}")
            for number in range(limits.max_pending)
        ]
        deadline = time.monotonic() + 30
        while (answer := post(api, content)).is_success and time.monotonic() < deadline:
            # It may have had a place itself while the others came.
            held.append(held_upload(address, "127.0.0.20"))
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get("/products").is_success, "others are answered meanwhile"
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 10
    while not (answer := post(api, content)).is_success and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.is_success


def test_a_photo_of_thousands_of_scans_is_refused_at_once(api, pictures):
    content = progressive_jpeg(2000, more_scans=2700)
    assert len(content) < 100_000
    photo = next(iter(pictures.values()))
    assert post(api, photo).is_success  # with this the networks are loaded
    began = time.monotonic()
    told = assert_problem(post(api, content), 422)
    assert told["detail"].startswith("too_many_scans")
    assert post(api, photo).is_success
    assert time.monotonic() - began < 10


def test_a_large_photo_is_answered_in_pixels_of_its_own(api, pictures):
    """It is searched at a smaller size; boxes, sizes and id are those of the file."""
    content = next(c for c in pictures.values() if post(api, c).json()["items"])
    image = Image.open(io.BytesIO(content)).convert("RGB")
    small, large = io.BytesIO(), io.BytesIO()
    scale = -(-2048 // max(image.size)) * 2
    image.resize([side * scale // 2 for side in image.size]).save(small, "PNG", compress_level=1)
    image.resize([side * scale for side in image.size]).save(large, "PNG", compress_level=1)
    one, other = (post(api, out.getvalue(), "image/png").json() for out in (small, large))
    assert other["photo_id"] == hashlib.sha256(large.getvalue()).hexdigest()
    assert (other["width_px"], other["height_px"]) == (2 * one["width_px"], 2 * one["height_px"])
    assert len(one["items"]) == len(other["items"]) >= 1
    for item, larger in zip(one["items"], other["items"], strict=True):
        for side in ("x0", "y0", "x1", "y1"):
            assert abs(2 * item[side] - larger[side]) <= 0.05 * other["width_px"]


def test_a_photo_in_any_lossless_format_gives_one_answer(api, pictures):
    content = next(c for c in pictures.values() if post(api, c).json()["items"])
    image = Image.open(io.BytesIO(content)).convert("RGB")
    answers = []
    for kind, options in (("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        out = io.BytesIO()
        image.save(out, kind, **options)
        answers.append(post(api, out.getvalue(), "image/x").json())
    assert all(answer["items"] == answers[0]["items"] for answer in answers)
    assert len({answer["photo_id"] for answer in answers}) == 4


def test_many_at_once_get_what_one_gets(api, pictures):
    paths = [f"/products/{i}/similar?weights=1:1" for i in list(pictures)[:12]] + [
        "/products",
        "/runs",
        "/quality",
    ]
    alone = [api.get(path).json() for path in paths]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda path: api.get(path).json(), paths * 3)) == alone * 3


# The description holds: https://schemathesis.readthedocs.io


@pytest.mark.parametrize(
    ("paths", "excluded"),
    [
        # No schema says which bytes are a picture.
        (["--include-path-regex", "^/v1/photo"], "positive_data_acceptance"),
        # Nor which colours and currencies a run has, and that a range of prices is not empty.
        (["--include-path-regex", _FILTERED], "positive_data_acceptance"),
        (["--exclude-path-regex", f"{_FILTERED}|^/v1/photo"], None),
    ],
    ids=["photo", "filtered", "others"],
)
def test_the_api_does_what_its_description_says(address, tmp_path, paths, excluded):
    bounds = [
        "--seed",
        "1",
        "--max-examples",
        "12",
        "--phases",
        "examples,coverage,fuzzing",
        "--generation-database",
        "none",
        "--no-color",
    ]
    checks = [
        "--checks",
        "all",
        "--max-response-time",
        "60",
        *(["--exclude-checks", excluded] if excluded else []),
    ]
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"{address}/v1/openapi.json",
        *bounds,
        *checks,
        *paths,
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-6000:]
    assert int(re.search(r"(\d+) generated, \1 passed", run.stdout)[1]) >= (
        40 if excluded else 150
    ), run.stdout


# Publications


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def moving(request, tmp_path_factory):
    """(address, process, warehouse) of a server over two loaded runs, r1 published,
    whose products have odd ids.
    """
    folder = tmp_path_factory.mktemp("moving")
    if request.param == "duckdb":
        yield from _moving(folder, f"duckdb:{folder / 'warehouse'}")
    else:
        with start_server() as postgres:
            yield from _moving(folder, create_database(postgres, "shop"))


def _moving(folder: Path, at: str):
    warehouse = open_warehouse(at)
    for run in ("r1", "r2"):
        parts = made_up(run, products=len(ODD_IDS))
        names = dict(zip(parts["products"]["product_id"].to_pylist(), ODD_IDS, strict=True))
        for table, *keys in (
            ("products", "product_id"),
            ("similar_products", "product_id", "similar_product_id"),
        ):
            parts = changed(
                parts,
                table,
                **{key: [names[v] for v in parts[table][key].to_pylist()] for key in keys},
            )
        load(warehouse, run, parts, run)
    warehouse.publish("r1")
    (folder / "wearalike.toml").write_text(
        f'data_dir = "root"\nwarehouse = "{at}"\n[serve]\nrequests_a_minute = 1000000\n',
        encoding="utf-8",
    )
    with serve_site(folder / "wearalike.toml") as (where, process):
        yield where, process, warehouse


def test_any_id_works_percent_encoded(moving):
    address, _, _ = moving
    for odd, after in zip(ODD_IDS, ODD_IDS[1:] + ODD_IDS[:1], strict=True):
        path = f"{address}/v1/products/{quote(odd, safe='')}"
        assert httpx.get(path).json()["product"]["product_id"] == odd
        told = httpx.get(f"{path}/similar").json()
        assert (told["product_id"], told["results"][0]["product"]["product_id"]) == (odd, after)
        assert httpx.get(f"{path}/look").json()["product_id"] == odd
        assert odd in [
            p["product_id"]
            for p in httpx.get(f"{address}/v1/products", params={"q": odd}).json()["products"]
        ]


def test_the_pointer_is_followed_within_a_second_and_no_answer_is_mixed(moving):
    address, _, warehouse = moving
    path = f"{address}/v1/products/{quote(ODD_IDS[0], safe='')}/similar"
    stop, mixed, counts = threading.Event(), [], {"r1": 0, "r2": 0}

    def read():
        with httpx.Client() as client:
            while not stop.is_set():
                answer = client.get(path)
                told = answer.json()
                said = {row["product"]["title"] for row in told["results"]} | {
                    row["product"]["image_url"] for row in told["results"]
                }
                if answer.status_code != 200 or said != {
                    f"dress of {told['run']}",
                    f"https://moda.example/{told['run']}.jpg",
                }:
                    mixed.append(answer.text)
                counts[told["run"]] += 1

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    tags, late = set(), []
    try:
        for move in range(8):
            wanted = ("r2", "r1")[move % 2]
            warehouse.publish("r2") if wanted == "r2" else warehouse.rollback()
            moved = time.monotonic()
            while (answer := httpx.get(path, timeout=10)).json()["run"] != wanted:
                assert time.monotonic() - moved < 5
            late.append(time.monotonic() - moved)
            tags.add(answer.headers["etag"])
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert mixed == [] and min(counts.values()) >= 5, counts
    assert max(late) < 1, late
    assert len(tags) == 8, "every publication has tags of its own"


def test_a_root_without_the_published_tables_is_said(moving):
    address, _, _ = moving
    path = f"{address}/v1/products/{quote(ODD_IDS[0], safe='')}/similar"
    assert (
        "cannot be searched here"
        in assert_problem(httpx.get(path, params={"weights": "1:1"}), 503)["detail"]
    )
    assert_problem(
        httpx.post(
            f"{address}/v1/photo", content=picture((64, 64)), headers={"content-type": "image/png"}
        ),
        503,
    )


def test_a_server_that_is_ended_answers_first_what_it_was_asked(moving):
    """The last test of each server: it ends it."""
    address, process, _ = moving
    assert httpx.get(f"{address}/v1/openapi.json", timeout=60).is_success  # it has begun
    connection = held_upload(address, "127.0.0.1")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    connection.sendall(b"x" * 999)
    assert connection.recv(4096).startswith(b"HTTP/1.1 503")
    connection.close()
    assert process.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/v1/health")


# What a server of other settings says


def test_nothing_published_yet_says_what_to_do(tmp_path):
    place = Settings(data_dir=tmp_path, warehouse=f"duckdb:{tmp_path / 'warehouse'}")
    with site_client(app.create_app(place)) as client:
        for path in ("/v1/products", "/v1/health", "/v1/products/x", "/v1/quality"):
            answer = client.get(path)
            assert (
                "wearalike run" in assert_problem(answer, 503)["detail"]
                and int(answer.headers["retry-after"]) >= 1
            )
        assert client.get("/v1/runs").json() == {"runs": []}
        load(open_warehouse(place.warehouse), "r1", made_up("r1"))
        open_warehouse(place.warehouse).publish("r1")
        assert client.get("/v1/health").json()["run"] == "r1"


def test_a_warehouse_that_is_away_is_a_problem_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr(postgres_read, "WAIT_S", 0.5)
    with site_client(
        app.create_app(
            Settings(data_dir=tmp_path, warehouse="postgresql://me:secret@127.0.0.1:1/shop")
        )
    ) as client:
        answer = client.get("/v1/products")
        assert_problem(answer, 503)
        assert "secret" not in answer.text and int(answer.headers["retry-after"]) >= 1


def test_a_client_that_asks_too_often_is_told_when_to_come_again(place):
    with site_client(
        app.create_app(
            change(place, serve=ServerSettings(requests_a_minute=6, searches_a_minute=2))
        )
    ) as client:
        product_id = client.get("/v1/products?limit=1").json()["products"][0]["product_id"]
        live = [client.get(f"/v1/products/{product_id}/similar?weights=1:1") for _ in range(3)]
        assert [answer.status_code for answer in live] == [200, 200, 429]
        assert_problem(live[-1], 429)
        others = [client.get("/v1/health") for _ in range(4)]
        assert [answer.status_code for answer in others] == [200, 200, 429, 429]
        assert_problem(others[-1], 429)
        assert 1 <= int(others[-1].headers["retry-after"]) <= 60


def test_other_sites_pages_may_ask_only_where_the_settings_say_so(place):
    asked = {"Origin": "https://shop.example"}
    with site_client(app.create_app(place)) as client:
        assert "access-control-allow-origin" not in client.get("/v1/health", headers=asked).headers
    with site_client(
        app.create_app(
            change(place, serve=ServerSettings(allowed_origins=("https://shop.example",)))
        )
    ) as client:
        answer = client.get("/v1/health", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert (
            "access-control-allow-origin"
            not in client.get("/v1/health", headers={"Origin": "https://other.example"}).headers
        )


def test_mounted_elsewhere_the_reference_says_so(place):
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/similar", app.create_app(place))
    with site_client(outer) as client:
        described = client.get("/similar/v1/openapi.json").json()
        assert (
            described["servers"] == [{"url": "/similar"}] and "/v1/products" in described["paths"]
        )
        product_id = client.get("/similar/v1/products?limit=1").json()["products"][0]["product_id"]
        assert (
            client.get(f"/similar/v1/products/{quote(product_id, safe='')}/similar").json()[
                "product_id"
            ]
            == product_id
        )
        assert "http://localhost/similar/v1/products" in client.get("/similar/v1/docs").text
        assert (
            assert_problem(client.get("/similar/v1/x"), 404)["detail"].count("/similar/v1/docs")
            == 1
        )


def test_the_documented_paths_are_there(api):
    described = api.get("/openapi.json").json()["paths"]
    page = (DOCS / "how-to" / "use-the-api.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(?:GET|POST) (/v1/[^`?]*)", page, re.MULTILINE))
    assert told == set(described) | {"/v1/openapi.json", "/v1/docs"}
    asked = re.findall(r"http://127\.0\.0\.1:8080(/v1/[\w/.:%{}@-]*)", page)
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in told]
    assert len(asked) >= 6 and all(any(p.fullmatch(path) for p in patterns) for path in asked)
    for example in re.findall(r"```json\n(.+?)```", page, re.DOTALL):
        assert json.loads(example)
