"""The photo page in a real browser: every way to give a photo, and what the shopper reads."""

import base64
import io
import json
import shutil
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from tests.support.browser import (
    CHROMIUM,
    PHONE,
    assert_accessible,
    launch_browser,
    shoot,
    visit,
)
from tests.support.http_server import serve_site, wait_until_ready

from wearalike import settings
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES
from wearalike.warehouse.base import open_warehouse

RUN = "day-1"
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")
# A browser's way to drop a file that a script holds.
DROP = """([target, name, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const at = document.querySelector(target);
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  for (const type of ["dragenter", "dragover", "drop"]) {
    at.dispatchEvent(new DragEvent(type, options));
  }
}"""


@pytest.fixture(scope="module")
def place(night):
    return settings.read_settings(night / "wearalike.toml")


@pytest.fixture(scope="module")
def base(night) -> Iterator[str]:
    with serve_site(night / "wearalike.toml") as (address, _):
        wait_until_ready(address)
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def shown_products(place) -> list[dict]:
    """A dress and a T-shirt, which the packaged detector tells apart."""
    entries = {
        e["product_id"]: e for e in run_tables.read_table(place.data_dir, INDEXES, RUN).to_pylist()
    }
    return [entries["harbour:1017"], entries["harbour:1001"]]


@pytest.fixture(scope="module")
def photo(place, shown_products) -> bytes:
    """Both in one photo."""
    contents = [
        content_cache.image_path(place.data_dir, e["image_id"]).read_bytes() for e in shown_products
    ]
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
    whole = Image.new("RGB", (sum(i.width for i in images), max(i.height for i in images)), "white")
    x = 0
    for image in images:
        whole.paste(image, (x, 0))
        x += image.width
    return saved(whole, "JPEG")


def saved(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def a_file(content: bytes, name: str = "photo.jpg") -> dict:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


def choose(page: Page, content: bytes, name: str = "photo.jpg") -> None:
    """Choose a file, and wait for the answer to it."""
    with page.expect_response(lambda r: r.url.endswith("/photo") and r.request.method == "POST"):
        page.get_by_label("A photo").set_input_files(a_file(content, name))
    page.locator("#busy:empty").wait_for(state="attached")


def shown_ids(page: Page, within: str) -> list[str]:
    links = page.locator(f"{within} .card h3 a").evaluate_all(
        "links => links.map(a => decodeURIComponent(a.getAttribute('href')))"
    )
    return [link.removeprefix("/products/") for link in links]


def headings(page: Page) -> list[str]:
    return page.locator("#result h2").all_inner_texts()


def test_a_photo_s_items_are_numbered_found_and_picked(browser, base, place, photo, shown_products):
    with visit(browser, base) as page:
        page.goto("/photo")
        choose(page, photo)
        names = headings(page)
        # Its belt may be seen as well.
        assert {"full body", "upper wear"} <= {h.split("· ")[1] for h in names}
        picture = page.locator("img.whole")
        assert picture.evaluate("i => i.complete && i.naturalWidth > 300")
        assert "items outlined" in picture.get_attribute("alt")
        for entry in shown_products:
            words = entry["super_category"].replace("_", " ")
            number = next(h.split(" ·")[0] for h in names if h.endswith(words))
            assert entry["product_id"] in shown_ids(page, f"#item-{number}")[:5]
        assert_accessible(page)
        shoot(page, "photo", whole=True)
        # One box of the photo is picked with the mouse, another with the keyboard.
        number = next(h.split(" ·")[0] for h in names if h.endswith("upper wear"))
        page.locator(f".found a[href='#item-{number}']").click()
        assert page.locator("#result section:visible").count() == 1
        assert page.locator(f"#item-{number}").is_visible()
        page.get_by_role("link", name="All", exact=True).press("Enter")
        assert page.locator("#result section:visible").count() == len(names)
    kept = open_warehouse(place.warehouse).query("SELECT * FROM photo_queries")
    assert kept == [], "a visitor's photo is not kept"


def test_a_wish_searches_the_same_photo_again(browser, base, photo):
    with visit(browser, base) as page:
        page.goto("/photo")
        choose(page, photo)
        said = page.locator("#result [role=status]").first.inner_text()
        assert said.startswith("Shown for "), said
        for label, value, text in (
            ("For", "male", "Shown for men and boys."),
            ("For", "anybody", "Shown for everyone."),
        ):
            page.get_by_label(label).select_option(value)
            page.get_by_text(text, exact=True).wait_for()
        before = shown_ids(page, "#result")
        with page.expect_response("**/photo"):
            page.get_by_label("Weigh shape and colour").select_option("8:2")
        page.locator("#busy:empty").wait_for(state="attached")
        assert "shape 8 : colour 2" in page.locator("#result details").last.text_content()
        assert before and shown_ids(page, "#result")


def test_a_photo_is_dropped_pasted_and_tried(browser, base, photo):
    text = base64.b64encode(photo).decode()
    with visit(browser, base) as page:
        page.goto("/photo")
        page.evaluate(DROP, ["main", "dropped.jpg", text])
        page.locator("#result section").first.wait_for()
        assert page.get_by_label("A photo").evaluate("i => i.files[0].name") == "dropped.jpg"
        dropped = headings(page)
        page.reload()
        page.evaluate(
            """text => {
              const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              const clipboardData = new DataTransfer();
              clipboardData.items.add(new File([bytes], "x.jpg", { type: "image/jpeg" }));
              document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
            }""",
            text,
        )
        page.locator("#result section").first.wait_for()
        assert headings(page) == dropped
        page.reload()
        page.get_by_role("button", name="Try a sample photo").click()
        page.locator("#result section").first.wait_for()
        assert shown_ids(page, "#result")


def test_without_scripts_the_page_is_a_form(browser, base, photo):
    with browser.new_context(base_url=base, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/photo")
        page.get_by_label("A photo").set_input_files(a_file(photo))
        page.get_by_label("For").select_option("anybody")
        page.get_by_role("button", name="Search").click()
        assert len(headings(page)) >= 2
        assert page.get_by_label("For").input_value() == "anybody"
        page.get_by_role("button", name="Try a sample photo").click()
        assert headings(page)


def test_on_a_phone_a_photo_is_taken(browser, base, photo):
    for looks in ("light", "dark"):
        with visit(browser, base, color_scheme=looks, **PHONE) as page:
            page.goto("/photo")
            shoot(page, f"photo-phone-{looks}")
            camera = page.get_by_label("Take one with the camera")
            assert camera.is_visible() and camera.get_attribute("capture") == "environment"
            camera.set_input_files(a_file(photo))
            page.locator("#result section").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            assert_accessible(page)
            shoot(page, f"photo-phone-{looks}-found", whole=True)
    with visit(browser, base) as page:
        page.goto("/photo")
        assert not page.get_by_label("Take one with the camera").is_visible(), (
            "a desktop has no camera to aim"
        )


NOISE = saved(Image.effect_noise((400, 400), 60).convert("RGB"), "JPEG")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>no photo</html>", "This file is not a picture."),
        (HEIC, "Photos as HEIC cannot be read here. Please send it as JPEG"),
        (b"%PDF-1.7 " + b"x" * 400, "Files as PDF cannot be read here."),
        (saved(Image.new("RGB", (9, 9), "red"), "PNG"), "too small to see anything"),
        (
            saved(Image.effect_noise((400, 400), 60).convert("RGB"), "JPEG")[:-9000],
            "missing|damaged",
        ),
        (b"\0" * 16_000_000, "This file is larger than 15 MB."),
        (saved(Image.new("RGB", (400, 300), (120, 140, 150)), "PNG"), "No garment, shoe or bag"),
    ],
    ids=["page", "heic", "pdf", "small", "cut", "large", "wall"],
)
def test_what_cannot_be_searched_is_said_in_plain_words(browser, base, content, said):
    with visit(browser, base, may_say="422") as page:
        page.goto("/photo")
        page.get_by_label("A photo").set_input_files(a_file(content))
        notice = page.locator("#result .notice")
        notice.wait_for()
        text = notice.inner_text()
        assert any(words in text for words in said.split("|")), text
        assert "_" not in text and text.endswith("."), text


def test_things_that_are_not_sold_take_one_line(browser, night, tmp_path, photo):
    """The shop sells no tops any more: the T-shirt is named, and has no list of its own."""
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8").replace(str(night), str(tmp_path))
    (tmp_path / "wearalike.toml").write_text(text, encoding="utf-8")
    root = tmp_path / "root"
    path = run_tables.table_dir(root, INDEXES, RUN) / "_manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"]["upper_wear.faiss"]
    path.write_text(json.dumps(manifest))
    republish(tmp_path / "wearalike.toml")
    with serve_site(tmp_path / "wearalike.toml") as (address, _), visit(browser, address) as page:
        page.goto("/photo")
        choose(page, photo)
        assert not [h for h in headings(page) if h.endswith("upper wear")]
        line = page.get_by_text("Also seen, but nothing like it is sold here")
        assert "upper wear" in line.inner_text()


def republish(config) -> None:
    """Publish the run's tables as they now are."""
    from wearalike.warehouse import publish

    made = settings.read_settings(config)
    publish.publish_run(made.data_dir, RUN, open_warehouse(made.warehouse), redo=True)


def test_the_page_installs_and_takes_shared_photos(base, photo):
    page = httpx.get(f"{base}/photo").text
    assert '<link rel="manifest" href="/manifest.webmanifest"' in page
    answer = httpx.get(f"{base}/manifest.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = answer.json()
    assert manifest["display"] == "standalone" and manifest["start_url"] == "/photo"
    for icon in manifest["icons"]:
        content = httpx.get(f"{base}{icon['src']}")
        assert content.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            size = Image.open(io.BytesIO(content.content)).size
            assert icon["sizes"] == f"{size[0]}x{size[1]}"
    assert {(i["sizes"], i["purpose"]) for i in manifest["icons"] if "purpose" in i} >= {
        ("512x512", "any"),
        ("512x512", "maskable"),
    }
    target = manifest["share_target"]
    name = target["params"]["files"][0]["name"]
    files = {name: ("shared.jpg", photo, "image/jpeg")}
    address = f"{base}{target['action']}"
    # A phone's browser posts what is shared itself, which no page of another site can.
    shared = httpx.post(address, files=files, headers={"Sec-Fetch-Site": "none"}, timeout=120)
    assert shared.status_code == 200 and 'id="item-1"' in shared.text
    foreign = httpx.post(address, files=files, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403


def test_a_sample_is_a_stored_picture_and_nothing_else(base):
    for sample in ("../../wearalike.toml", "0" * 64, "x"):
        answer = httpx.post(
            f"{base}/photo",
            files={"photo": ("", b""), "sample": (None, sample)},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert answer.status_code == 422 and "No photo was sent" in answer.text
