"""A product's history: what came, what went, and the causes that published tables prove.

A story of seven runs is written as tables, published on both engines by the real code, and read
again by the page, by the API and by the library.
"""

from collections.abc import Iterator
from dataclasses import asdict
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from tests.server.test_snapshot import place, postgres, published, shop, warehouse  # noqa: F401
from tests.support.browser import CHROMIUM, PHONE, assert_accessible, launch_browser, shoot, visit
from tests.support.http_server import serve_site
from tests.warehouse.test_warehouse import night

from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.server.history import MAX_RUNS, ProductHistory, read_history
from wearalike.settings import read_settings
from wearalike.storage import run_tables
from wearalike.tables import MATCHES, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse

SHOWN = "moda:00000"
# Product numbers by run, in the order of the list: distance, and what else the row says.
STORY = {
    "2026-03-01": {1: (10, {}), 2: (20, {}), 3: (30, {}), 4: (40, {})},
    # 1 is sold no longer, 2 is not in stock, 4 gives way to 5, which is new; 6 comes unexplained.
    "2026-03-02": {5: (5, {}), 3: (30, {}), 6: (31, {}), 7: (32, {"rule": "pin:spring"})},
    # 2 is back, 6 is hidden, 7 lost its rule.
    "2026-03-03": {5: (5, {}), 2: (20, {}), 3: (30, {}), 8: (39, {})},
    # Nearer ones went: 4 comes in, as far as ever. 3 has another picture. 9 fills the list up.
    "2026-03-04": {5: (5, {}), 2: (20, {}), 4: (40, {}), 9: (45, {"fallback": "less_alike"})},
    # Another encoder.
    "2026-03-05": {5: (5, {}), 2: (20, {}), 10: (41, {}), 11: (42, {})},
    # The product itself is not there.
    "2026-03-06": {},
    "2026-03-07": {5: (5, {}), 2: (20, {}), 10: (41, {}), 11: (42, {})},
}
MISSING = {"2026-03-01": {5}, "2026-03-02": {1}, "2026-03-06": {0}}


def write_run(root, run: str, rules: list[dict]) -> None:
    """Write the published tables of a run of the story, and the rules that it was matched by."""
    parts = night(run, products=12, similar=1)
    changed = {table: part.to_pylist() for table, part in parts.items()}
    missing = {f"moda:{n:05}" for n in MISSING.get(run, ())}
    for row in changed[PRODUCTS.name]:
        number = int(row["offer_id"])
        is_out = run == "2026-03-02" and number == 2
        row |= {"availability": "out_of_stock" if is_out else "in_stock", "title": f"no {number}"}
    changed[PRODUCTS.name] = [
        row for row in changed[PRODUCTS.name] if row["product_id"] not in missing
    ]
    encoder = "first-1" if run < "2026-03-05" else "second-1"
    pattern = changed[SIMILAR_PRODUCTS.name][0] | {"colour_distance": 0, "encoder": encoder}
    changed[SIMILAR_PRODUCTS.name] = [
        pattern
        | {"product_id": SHOWN, "similar_product_id": f"moda:{number:05}", "rank": rank}
        | {"shape_distance": distance, "score": 1 - distance / 128, **more}
        for rank, (number, (distance, more)) in enumerate(STORY[run].items(), 1)
    ]
    for row in changed[SIMILAR_LISTS.name]:
        number = int(row["product_id"][5:])
        has_other_picture = number == 3 and run >= "2026-03-04"
        row |= {
            "shortfall_reason": None,
            "similar_count": len(STORY[run]) if number == 0 else 0,
            "item_id": f"item-{number}{'-b' * has_other_picture}",
        }
    changed[SIMILAR_LISTS.name] = [
        row for row in changed[SIMILAR_LISTS.name] if row["product_id"] not in missing
    ]
    for name, rows in changed.items():
        table = next(t for t in publish.PUBLISHED_TABLES if t.name == name)
        with run_tables.write_table(root, table, run, run) as writer:
            writer.write(pa.Table.from_pylist(rows, schema=table.arrow_schema))
    with run_tables.write_table(root, MATCHES, run, run, {"merchandise": rules}) as writer:
        writer.write(MATCHES.arrow_schema.empty_table())


def publish_story(settings) -> None:
    hide = MerchandisingRule(id="recall", kind=MerchandisingRuleKind.HIDE, product="moda:00006")
    store = open_warehouse(settings.warehouse)
    for run in STORY:
        write_run(settings.data_dir, run, [asdict(hide)] if run == "2026-03-03" else [])
        publish.publish_run(settings.data_dir, run, store)


def read(settings, repository, product_id: str = SHOWN) -> ProductHistory | None:
    with repository.loaded_runs() as loaded:
        return read_history(settings.data_dir, loaded, product_id)


def list_causes(history: ProductHistory, number: int) -> list[tuple[str, str | None]]:
    """The causes of a product's spans, the oldest first."""
    (one,) = [r for r in history.recommendations if r.similar_product_id == f"moda:{number:05}"]
    return [(s.came_reason.value, s.went_reason and s.went_reason.value) for s in one.spans[::-1]]


def test_a_change_has_the_cause_that_the_tables_prove(place, published):  # noqa: F811
    publish_story(place)
    history = read(place, published)
    assert history is not None
    assert [run.run for run in history.runs] == sorted(STORY, reverse=True)
    assert [run.has_product for run in history.runs] == [True, False] + 5 * [True]
    assert [(r.came_count, r.went_count) for r in history.runs][1:] == [
        (0, 4),
        (2, 2),
        (2, 2),
        (2, 2),
        (3, 3),
        (0, 0),
    ]
    assert history.runs[0].is_published and history.runs[0].encoder == "second-1"
    assert list_causes(history, 1) == [("oldest_run", "gone")]
    assert list_causes(history, 2)[:1] == [("oldest_run", "stock")]
    assert list_causes(history, 2)[1:] == [("stock", "product"), ("product", None)]
    assert list_causes(history, 3) == [("oldest_run", "picture")]
    assert list_causes(history, 4) == [("oldest_run", "nearer"), ("freed_place", "model")]
    assert list_causes(history, 5) == [("new_product", "product"), ("product", None)]
    assert list_causes(history, 6) == [("unknown", "rule")]
    assert list_causes(history, 7) == [("rule", "rule_ended")]
    assert list_causes(history, 8) == [("freed_place", "unknown")]
    assert list_causes(history, 9) == [("fill", "fill")]
    assert list_causes(history, 10) == [("model", "product"), ("product", None)]
    (six,) = [r for r in history.recommendations if r.similar_product_id == "moda:00006"]
    assert six.spans[0].went_detail == "rule hide:recall keeps it out" and not six.is_listed
    (four,) = [r for r in history.recommendations if r.similar_product_id == "moda:00004"]
    assert four.spans[1].went_detail == (
        "nearer ones came: moda:00005, moda:00006; "
        "its distance is 80, that of the last in run 2026-03-02 62"
    )
    assert [r.similar_product_id for r in history.recommendations[:4]] == [
        "moda:00005",
        "moda:00002",
        "moda:00010",
        "moda:00011",
    ]
    for nobody in ("moda:none", "moda:\0", "'; DROP TABLE products; --"):
        assert read(place, published, nobody) is None
    # What the data folder no longer proves is not told as if it were.
    run_tables.table_dir(place.data_dir, MATCHES, "2026-03-03").joinpath("_manifest.json").unlink()
    assert list_causes(read(place, published), 6) == [("unknown", "unknown")]


def test_a_run_that_nobody_saw_is_no_part_of_the_history(place, published):  # noqa: F811
    store = open_warehouse(place.warehouse)
    runs = list(STORY)[:2]
    for run in runs:
        write_run(place.data_dir, run, [])
        publish.publish_run(place.data_dir, run, store)
    late = "2026-02-01"
    STORY[late] = STORY[runs[0]]
    try:
        write_run(place.data_dir, late, [])
    finally:
        del STORY[late]
    assert publish.publish_run(place.data_dir, late, store).later_run == runs[1]
    history = read(place, published)
    assert history is not None and [run.run for run in history.runs] == runs[::-1]
    assert history.older_runs_count == 0 and len(runs) < MAX_RUNS
    store.rollback()
    rolled = read(place, published)
    assert rolled is not None
    assert [run.is_published for run in rolled.runs] == [False, True], "the tables stay as they are"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("history")
    config = folder / "wearalike.toml"
    config.write_text(
        f'data_dir = "{folder / "root"}"\nwarehouse = "duckdb:{folder / "warehouse"}"\n',
        encoding="utf-8",
    )
    publish_story(read_settings(config))
    with serve_site(config) as (address, _):
        yield address


def test_the_api_tells_the_same(base):
    with httpx.Client(base_url=f"{base}/v1", timeout=60) as api:
        answer = api.get(f"/products/{quote(SHOWN, safe='')}/history")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["product_id"] == SHOWN and len(found["runs"]) == len(STORY)
        by_id = {one["similar_product_id"]: one for one in found["recommendations"]}
        span = by_id["moda:00001"]["spans"][0]
        assert (span["came_reason"], span["went_reason"]) == ("oldest_run", "gone")
        assert (span["went_run"], span["first_rank"]) == ("2026-03-02", 1)
        again = api.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        lost = api.get("/products/moda%3Anone/history")
        assert lost.status_code == 404 and "moda:none" in lost.json()["detail"]
        assert api.get(answer.url, params={"page": 2}).status_code == 422


@pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")
def test_the_page_shows_what_came_and_went(base):
    with launch_browser() as browser:
        with visit(browser, base) as page:
            page.goto(f"/products/{quote(SHOWN, safe='')}")
            page.get_by_role("link", name="History").click()
            page.wait_for_load_state()
            rows = page.get_by_role("region", name="Runs").locator("tbody tr").all_inner_texts()
            assert len(rows) == len(STORY) and "not in this run" in rows[1]
            events = page.locator(".events > li")
            assert events.count() == 11
            (text,) = events.filter(
                has=page.get_by_role("link", name="no 6", exact=True)
            ).all_inner_texts()
            assert "Went with run 2026-03-03 (rule): rule hide:recall keeps it out." in text
            page.get_by_label("Came or went because of").select_option("stock")
            page.get_by_role("button", name="Show").click()
            page.wait_for_url("**reason=stock**")
            assert events.count() == 1 and "no 2" in events.first.inner_text()
            assert_accessible(page)
            page.goto(f"/products/{quote(SHOWN, safe='')}/history?reason=audience")
            assert page.get_by_text("No recommendation of this product matches").is_visible()
        with visit(browser, base, color_scheme="dark", **PHONE) as page:
            page.goto(f"/products/{quote(SHOWN, safe='')}/history")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            assert_accessible(page)
            shoot(page, "history-phone-dark")
