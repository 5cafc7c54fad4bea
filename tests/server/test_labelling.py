"""The pages on which people label pictures, by mouse, by keyboard and by finger, in a browser."""

import json
import re
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.server.labelled_shop import HEIGHT, RUN, WIDTH, publish_shop, write_config
from tests.server.test_judging import ask
from tests.support.browser import (
    CHROMIUM,
    PHONE,
    assert_accessible,
    launch_browser,
    shoot,
    visit,
)
from tests.support.http_server import serve_site, site_client
from tests.support.postgres_server import create_database, start_server

from wearalike.datasets import label_queue, picture_labels
from wearalike.datasets.picture_labels import LabelStatus
from wearalike.server import app
from wearalike.settings import read_settings
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder, the warehouse and the address of a server over a small shop."""
    folder = tmp_path_factory.mktemp("label")
    warehouse = f"duckdb:{folder / 'warehouse'}"
    publish_shop(folder / "root", warehouse)
    with serve_site(write_config(folder, warehouse)) as (address, _):
        yield folder, open_warehouse(warehouse), address


@pytest.fixture(scope="module")
def browser():
    with launch_browser() as browser:
        yield browser


def on_screen(page: Page, x: int, y: int) -> tuple[float, float]:
    """Where a pixel of the picture is shown."""
    found = page.evaluate(
        """([x, y]) => {
            const p = new DOMPoint(x, y).matrixTransform(
                document.querySelector(".stage svg").getScreenCTM());
            return [p.x, p.y];
        }""",
        [x, y],
    )
    return found[0], found[1]


def drag(page: Page, start: tuple[int, int], end: tuple[int, int]) -> None:
    page.mouse.move(*on_screen(page, *start))
    page.mouse.down()
    page.mouse.move(*on_screen(page, (start[0] + end[0]) // 2, (start[1] + end[1]) // 2))
    page.mouse.move(*on_screen(page, *end))
    page.mouse.up()


def shown_boxes(page: Page) -> list[dict]:
    return json.loads(page.locator("input[name=boxes]").input_value())


def corners(box: dict) -> list[int]:
    return [box[name] for name in ("x0", "y0", "x1", "y1")]


def assert_near(box: dict, wanted: list[int]) -> None:
    assert max(abs(a - b) for a, b in zip(corners(box), wanted, strict=True)) <= 2, box


def begin(page: Page, name: str, mode: str = "new") -> None:
    page.goto("/label")
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Pictures").select_option(mode)
    page.get_by_role("button", name="Begin").click()
    page.locator(".stage").wait_for()


def choose_label(page: Page, key: str, text: str) -> None:
    """Reach a field by its key, type a part of the word, and take it."""
    page.keyboard.press(key)
    page.keyboard.type(text)
    page.keyboard.press("Enter")


@needs_browser
def test_a_box_is_drawn_moved_resized_and_deleted_by_mouse(browser, place):
    folder, warehouse, base = place
    queue = label_queue.read_queue(folder / "root", RUN)
    with visit(browser, base) as page:
        begin(page, "mona")
        assert "margin 0.00" in page.locator("main").inner_text()
        drag(page, (60, 60), (240, 340))
        assert_near(shown_boxes(page)[0], [60, 60, 240, 340])
        drag(page, (150, 200), (170, 220))
        assert_near(shown_boxes(page)[0], [80, 80, 260, 360])
        drag(page, (260, 360), (250, 300))
        assert_near(shown_boxes(page)[0], [80, 80, 250, 300])
        drag(page, (10, 10), (90, 60))
        assert len(shown_boxes(page)) == 2
        page.get_by_role("button", name="Delete").click()
        assert len(shown_boxes(page)) == 1
        page.get_by_role("button", name="Undo").click()
        assert len(shown_boxes(page)) == 2
        page.get_by_role("button", name="Undo").click()
        page.mouse.click(*on_screen(page, 20, 20))
        assert len(shown_boxes(page)) == 1, "a click is no box"
        page.locator(".boxes button").first.click()
        page.get_by_role("button", name="Save, next").click()
        assert page.get_by_role("status").inner_text() == "Box 1 has no class yet."
        page.get_by_label("Class").fill("dre")
        page.get_by_label("Colour").fill("navy")
        page.get_by_label("Leaf").fill("плать")
        page.get_by_label("Pattern").focus()
        assert "words have “плать”" in page.get_by_role("status").inner_text()
        page.get_by_label("Leaf").fill("миди")
        shoot(page, "label")
        page.get_by_role("button", name="Save, next").click()
        page.get_by_text("1 of 6").wait_for()
        assert page.locator("input[name=picture]").input_value() == queue[1].image_id
        page.get_by_role("link", name="Previous").click()
        page.get_by_role("button", name="dress, women.dresses.midi, navy").wait_for()
    (label,) = picture_labels.read_history(warehouse).labels_of(queue[0].image_id)
    assert label.labeller == "mona" and label.objects[0].category == "dress"
    assert label.objects[0].attributes == {"leaf": "women.dresses.midi", "colour": "navy"}


@needs_browser
def test_a_picture_is_labelled_by_keyboard_alone_and_nothing_is_lost(browser, place):
    folder, warehouse, base = place
    queue = label_queue.read_queue(folder / "root", RUN)
    with visit(browser, base) as page:
        begin(page, "kira")
        image_id = page.locator("input[name=picture]").input_value()
        page.keyboard.press("n")
        first = [WIDTH // 4, HEIGHT // 4, WIDTH * 3 // 4, HEIGHT * 3 // 4]
        assert corners(shown_boxes(page)[0]) == first
        for key in ("ArrowRight", "ArrowDown", "Control+ArrowLeft"):
            page.keyboard.press(key)
        assert corners(shown_boxes(page)[0]) == [first[0] + 3, first[1] + 4, first[2] + 3, 304]
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
        assert corners(shown_boxes(page)[0]) == [78, 104, 232, 300]
        for _ in range(200):
            page.keyboard.press("ArrowLeft")
        assert corners(shown_boxes(page)[0]) == [0, 104, 154, 300], "it stays in the picture"
        choose_label(page, "c", "dress")
        choose_label(page, "l", "dresses.mini")
        choose_label(page, "o", "nav")
        choose_label(page, "p", "str")
        said = {"class": "dress", "leaf": "women.dresses.mini", "colour": "navy"}
        assert shown_boxes(page)[0].items() >= {**said, "pattern": "striped"}.items()
        page.keyboard.press("Control+z")
        assert not shown_boxes(page)[0].get("pattern")
        page.keyboard.press("n")
        page.keyboard.press("1")
        assert [box["class"] for box in shown_boxes(page)] == ["dress", "top"]
        page.keyboard.press(",")
        assert page.locator(".boxes [aria-pressed=true]").inner_text().startswith("dress")
        page.keyboard.press(".")
        page.keyboard.press("Delete")
        before = shown_boxes(page)
        page.reload()
        page.get_by_text("Your unsaved boxes are back.").wait_for()
        assert shown_boxes(page) == before
        page.keyboard.press("f")
        page.wait_for_url(re.compile("picture="))
        page.get_by_text("1 of 5").wait_for()
        page.keyboard.press("d")
        page.get_by_role("button", name="dress, women.dresses.mini, navy").wait_for()
        page.keyboard.press("u")
        assert page.get_by_role("status").inner_text() == "Nothing to undo."
        page.keyboard.press("Control+ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "picture=" not in url)
        page.keyboard.press("s")
        page.get_by_text("2 of 5").wait_for()
        page.locator("summary").click()
        page.get_by_label("Keys of one letter work").uncheck()
        page.locator(".stage").focus()
        page.keyboard.press("n")
        assert shown_boxes(page) == []
    history = picture_labels.read_history(warehouse)
    mine = [row for row in history.rows if row.labeller == "kira"]
    assert [row.status for row in mine] == [
        LabelStatus.LABELLED,
        LabelStatus.LABELLED,
        LabelStatus.SKIPPED,
    ]
    assert [row.objects[0].x0 for row in mine[:2]] == [0, 1], "the history keeps both"
    assert {row.picture.image_id for row in mine} <= {one.image_id for one in queue}
    assert history.by_picture[image_id]["kira"] == mine[1]


@needs_browser
def test_the_second_person_labels_blindly_and_the_disagreement_is_decided(browser, place):
    _, warehouse, base = place
    with visit(browser, base) as page:
        begin(page, "anna")
        image_id = page.locator("input[name=picture]").input_value()
        drag(page, (60, 60), (240, 340))
        choose_label(page, "c", "dress")
        choose_label(page, "o", "navy")
        page.keyboard.press("Enter")
        page.get_by_text(re.compile("^1 of")).wait_for()
        page.goto(f"/label?labeller=anna&mode=second&picture={image_id}")
        assert page.locator("input[name=picture]").input_value() != image_id, "not one's own"
    with visit(browser, base, **PHONE) as page:
        page.goto(f"/label?labeller=boris&mode=second&picture={image_id}")
        assert page.locator("input[name=picture]").input_value() == image_id
        assert shown_boxes(page) == [] and page.get_by_text("anna").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.get_by_role("button", name="New box").tap()
        page.get_by_label("Left, px").fill("60")
        page.get_by_label("Top, px").fill("60")
        page.get_by_label("Right, px").fill("238")
        page.get_by_label("Bottom, px").fill("338")
        page.get_by_label("Class").fill("dress")
        page.get_by_label("Colour").fill("red")
        page.get_by_label("Pattern").focus()
        shoot(page, "label-phone", whole=True)
        page.get_by_role("button", name="Save, next").tap()
        page.get_by_text(re.compile("^1 of .*a second time")).wait_for()
    with visit(browser, base) as page:
        page.goto("/label/disagreements")
        cells = page.get_by_role("row", name="anna, boris").get_by_role("cell").all_inner_texts()
        assert cells[:5] == ["1", "1", "1", "0", "0.98"]
        assert page.get_by_text("colour is navy or red").is_visible()
        assert page.get_by_role("button", name="Take anna’s").count() == 0, "who decides?"
        page.get_by_label("Your name, to decide").fill("carla")
        page.get_by_role("button", name="Begin").click()
        shoot(page, "label-disagreements", whole=True)
        page.get_by_role("button", name="Take boris’s").click()
        page.get_by_text("All disagreements are decided.").wait_for()
        page.get_by_role("link", name="Show the decided ones too").click()
        page.get_by_role("link", name="Correct anna’s").click()
        page.locator(".boxes button").first.click()
        choose_label(page, "p", "plain")
        page.get_by_role("button", name="Save as final").click()
        page.get_by_text("All disagreements are decided.").wait_for()
    history = picture_labels.read_history(warehouse)
    finals = [row for row in history.rows if row.status is LabelStatus.FINAL]
    assert [row.objects[0].attributes for row in finals] == [
        {"colour": "red"},
        {"colour": "navy", "pattern": "plain"},
    ]
    assert {row.labeller for row in finals} == {"carla"}
    assert history.finals[image_id] == finals[1]


@needs_browser
def test_what_the_detector_saw_is_offered_and_names_what_the_feed_says(browser, place):
    folder, _, base = place
    surest = label_queue.read_queue(folder / "root", RUN)[-1]
    with visit(browser, base) as page:
        page.goto(f"/label?labeller=dora&picture={surest.image_id}")
        assert shown_boxes(page) == []
        page.keyboard.press("t")
        boxes = shown_boxes(page)
        assert [box["class"] for box in boxes] == ["dress", "dress"]
        assert boxes[0].items() >= {"leaf": "women.dresses.midi", "colour": "red"}.items()
        assert "leaf" not in boxes[1]


@needs_browser
@pytest.mark.parametrize("looks", ["light", "dark"])
def test_the_labelling_pages_are_accessible(browser, place, looks):
    options = {"color_scheme": looks, **(PHONE if looks == "dark" else {})}
    with visit(browser, place[2], **options) as page:
        for path in ("/label", "/label?labeller=eva", "/label/disagreements?labeller=eva&show=all"):
            page.goto(path)
            if "labeller=eva" in path and "?" in path and page.locator(".stage").count():
                page.get_by_role("button", name="New box").click()
                page.locator("summary").click()
            assert_accessible(page)
            name = path.strip("/").partition("?")[0].replace("/", "-")
            shoot(page, f"{name}-{'form' if path == '/label' else 'eva'}-{looks}", whole=True)


def test_below_another_app_and_before_the_first_run(tmp_path):
    empty = read_settings(None, {"WEARALIKE_DATA_DIR": str(tmp_path / "empty")})
    with site_client(app.create_app(empty), raise_server_exceptions=False) as client:
        answer = client.get("/label")
        assert answer.status_code == 503 and "Nothing is published yet" in answer.text
    warehouse = f"duckdb:{tmp_path / 'warehouse'}"
    publish_shop(tmp_path / "root", warehouse)
    made = read_settings(write_config(tmp_path, warehouse))
    outer = Starlette(routes=[Mount("/inside/wearalike", app.create_app(made))])
    with site_client(outer) as client:
        for path in ("/label", "/label?labeller=anna", "/label/disagreements"):
            answer = client.get(f"/inside/wearalike{path}")
            addresses = re.findall(r'(?:href|src|action)="([^"#]+)"', answer.text)
            assert answer.status_code == 200 and len(addresses) > 5
            assert all(a.startswith("/inside/wearalike/") for a in addresses), path
            assert not re.search(r"<style|style=|<script>|\son\w+=", answer.text), path


def test_only_this_site_s_forms_of_pictures_in_the_queue_are_taken(tmp_path):
    with start_server() as address:
        database = create_database(address, "shop")
        with psycopg.connect(database, autocommit=True) as con:
            con.execute((REPOSITORY / "sql" / "postgres_roles.sql").read_text(encoding="utf-8"))
        loader, reader = (
            re.sub(r"//\w+@", f"//wearalike_{role}@", database) for role in ("loader", "reader")
        )
        image_ids = publish_shop(tmp_path / "root", loader)
        warehouse = open_warehouse(loader)
        # A version before this page created the schema without the table.
        with psycopg.connect(loader) as con:
            con.execute("DROP TABLE wearalike.picture_labels")
        box = {"x0": 10, "y0": 20, "x1": 110, "y1": 220, "class": "dress"}
        form = {
            "labeller": "anna",
            "run": RUN,
            "picture": image_ids[0],
            "mode": "new",
            "boxes": json.dumps([box]),
        }

        def post(to: str, path: str = "/label", **changed: str) -> tuple[int, str]:
            names = {key: value for key, value in changed.items() if key[0].isupper()}
            values = {key: value for key, value in changed.items() if not key[0].isupper()}
            return ask(to, "POST", path, urlencode({**form, **values}), **names)

        with serve_site(write_config(tmp_path, reader, "reader.toml")) as (site, _):
            for status, text in (ask(site, "GET", "/label?labeller=anna"), post(site)):
                assert status == 403 and "this server may only read the warehouse" in text
                assert "PostgreSQL" not in text and "127.0.0.1" not in text
            status, text = ask(site, "GET", "/label/disagreements?labeller=anna")
            assert status == 200 and "this server may only read the warehouse" in text
        with serve_site(write_config(tmp_path, loader)) as (site, _):
            assert post(site, Origin="http://elsewhere.example")[0] == 403
            assert post(site, Origin="null")[0] == 403
            assert post(site, "/label/final", Origin="null", of="anna", saved_at="x")[0] == 403
            assert post(site, Host="elsewhere.example")[0] == 421
            assert post(site, run="r0")[0] == 409
            assert post(site, picture="0" * 64)[0] == 409
            assert post(site, labeller=" ")[0] == 422
            status, text = post(site, boxes=json.dumps([{**box, "class": "<b>"}]))
            assert status == 422 and "kept in this browser" in text and "<b>" not in text
            assert post(site, "/label/final", of="anna", saved_at="x")[0] == 409
            assert picture_labels.read_history(warehouse).rows == []
            assert post(site)[0] == 303
            assert post(site, boxes="[]")[0] == 303
            assert ask(site, "GET", "/label?labeller=%20")[0] == 200
            assert ask(site, "GET", f"/label?labeller={'x' * 41}")[0] == 422
        rows = picture_labels.read_history(warehouse).rows
        assert [len(row.objects) for row in rows] == [1, 0]
        # The reader's role sees what the loader's created.
        assert len(picture_labels.read_history(open_warehouse(reader)).rows) == 2
