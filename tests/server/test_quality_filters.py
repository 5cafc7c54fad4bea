"""The quality page asked: filters by shop, category and encoder, and the products behind figures.

Figures of a part are held against the run's own metrics where the run measured that part, and lists
against the published tables.
"""

import re
from collections import Counter
from html import unescape
from urllib.parse import urlencode

import pytest
from tests.server.test_snapshot import (  # noqa: F401
    changed,
    place,
    postgres,
    published,
    shop,
    warehouse,
)
from tests.support.http_server import site_client
from tests.warehouse.test_warehouse import load
from tests.warehouse.test_warehouse import night as made_up

from wearalike import settings
from wearalike.server import app, figures
from wearalike.server.run_part import MAX_MEASURED_PRODUCTS, RunPart, measure_part, open_part
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS, QUALITY, SIMILAR_LISTS, SIMILAR_PRODUCTS

RUN = "day-1"


@pytest.fixture(scope="module")
def drawn(night) -> settings.Settings:
    return settings.read_settings(night / "wearalike.toml")


@pytest.fixture(scope="module")
def site(drawn):
    wide = {"requests_a_minute": 1_000_000, "searches_a_minute": 1_000_000}
    serve = drawn.serve.model_copy(update=wide)
    with site_client(app.create_app(drawn.model_copy(update={"serve": serve}))) as client:
        yield client


@pytest.fixture(scope="module")
def tables(drawn) -> dict[str, list[dict]]:
    return {
        t.name: run_tables.read_table(drawn.data_dir, t, RUN).to_pylist()
        for t in (PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS, QUALITY)
    }


def test_a_part_that_the_run_measured_has_the_same_figures(drawn, tables):
    stored = {(m["metric"], m["scope"]): m["value"] for m in tables["quality"]}
    repository = PublishedRepository(drawn)
    parts = [
        RunPart(),
        *(RunPart(shop=name) for name in ("lipa", "harbour")),
        RunPart(super_category="full_body"),
        RunPart(category="women.dresses.midi"),
    ]
    compared = Counter()
    for part in parts:
        with open_part(repository, part) as s:
            found = measure_part(s, part, 100)
        for name, value in found.values.items():
            if (name, part.scope) in stored:
                assert value == pytest.approx(stored[name, part.scope]), (name, part)
                compared[name] += 1
    # What a leaf has, every part has; the others are not measured by leaf.
    assert compared["leaf_precision@10"] == len(parts) and compared["cross_shop_ratio"] == 4
    assert len(compared) == len(found.values) == 6
    repository.close()


def test_parts_and_lists_are_those_of_the_tables(place, published, warehouse, monkeypatch):  # noqa: F811
    parts = made_up("r1", products=24, similar=6)
    count = parts["products"].num_rows
    shops = ["moda" if n % 3 else "lipa" for n in range(count)]
    leaves = ["women.dresses.midi" if n % 2 else "women.dresses.maxi" for n in range(count)]
    parts = changed(parts, "products", shop_id=shops, category=leaves)
    load(warehouse, "r1", parts)
    warehouse.publish("r1")
    rows = parts["products"].to_pylist()
    similar = parts["similar_products"].to_pylist()
    leaf = {row["product_id"]: row["category"] for row in rows}
    shop_of = {row["product_id"]: row["shop_id"] for row in rows}
    both = RunPart(shop="moda", category="women.dresses.midi")
    mine = [i for i in leaf if shop_of[i] == "moda" and leaf[i] == "women.dresses.midi"]
    monkeypatch.setattr(figures, "CHUNK_PRODUCTS", 4)
    monkeypatch.setattr(figures, "MAX_LOOKED_AT", 8)
    with open_part(published, both) as s:
        measured = measure_part(s, both, 10)
        assert measured.measured_count == len(mine) <= MAX_MEASURED_PRODUCTS
        others = Counter(
            r["product_id"]
            for r in similar
            if r["product_id"] in mine and leaf[r["similar_product_id"]] != leaf[r["product_id"]]
        )
        kept = sum(6 - others[i] for i in mine) / 10 / len(mine)
        assert measured.values["leaf_precision@10"] == pytest.approx(kept)
        assert measured.short == [("few_products", len(mine))]
        assert list_all(s, both, "other_leaf", None, 3) == dict(others)
        assert list(list_all(s, both, "short_list", "few_products", 5)) == mine
        assert list_all(s, both, "short_list", "no_code", 5) == {}
        assert list(list_all(s, RunPart(), "never_recommended", None, 48)) == []
        assert list(list_all(s, RunPart(shop="nobody"), "products", None, 48)) == []
        assert list(list_all(s, RunPart(), "products", None, 5)) == sorted(leaf)
        for name in figures.FIGURES:
            list_all(s, both, name, "r1", 48)
        hubs = s.most_recommended(48, *both.where(2))
        assert {row["similar_product_id"] for row in hubs} == set(mine)
        hostile = RunPart(shop="'; DROP TABLE products; --", category="{}%", super_category="$1")
        assert measure_part(s, hostile, 10).measured_count == 0


def list_all(s, part: RunPart, name: str, value: str | None, limit: int) -> dict[str, int]:
    """Every page of a list: n by product_id."""
    found: dict[str, int] = {}
    after = None
    while True:
        page = figures.list_figure(s, part, name, value, after, limit)
        ids = [row["product"]["product_id"] for row in page.rows]
        assert len(ids) <= limit and page.looked_at <= figures.MAX_LOOKED_AT
        assert not found.keys() & set(ids) and ids == sorted(ids)
        found |= {row["product"]["product_id"]: row["n"] for row in page.rows}
        after = page.next_after
        if after is None:
            return found


def test_an_encoder_chooses_the_newest_run_by_it(place, published, warehouse):  # noqa: F811
    for number, encoder in enumerate(["first-1", "first-1", "second-1"], 1):
        parts = made_up(f"r{number}", products=6 + number)
        rows = parts["similar_products"].num_rows
        load(warehouse, f"r{number}", changed(parts, "similar_products", encoder=[encoder] * rows))
        warehouse.publish(f"r{number}")
    with open_part(published, RunPart(encoder="first-1")) as s:
        assert s.run == "r2" and len(s.search(limit=100)) == 8
        found = list_all(s, RunPart(), "changed", "r1", 48)
        assert found and found.keys() <= {f"moda:{n:05}" for n in range(7)}
    with open_part(published, RunPart(encoder="second-1")) as s:
        assert s.run == "r3"
    with site_client(app.create_app(place)) as client:
        page = client.get("/quality", params={"encoder": "first-1"})
        assert page.status_code == 200 and "not the published run" in page.text
        assert "figure=products&amp;encoder=first-1" in page.text or "encoder=first-1" in page.text
        lost = client.get("/quality?encoder=third-1")
        assert lost.status_code == 404 and "first-1, second-1" in lost.text
        assert client.get("/quality?run=r9").status_code == 404
        changed_page = client.get("/quality/products?figure=changed")
        assert "changed since run r2" in changed_page.text


def test_every_figure_leads_to_what_is_behind_it(site, tables):
    page = site.get("/quality")
    links = {unescape(link) for link in re.findall(r'href="(/quality[^"#]*)"', page.text)}
    lists = {link for link in links if link.startswith(("/quality/products", "/quality/refused"))}
    assert len(lists) > 40
    for link in sorted(links):
        answer = site.get(link)
        assert answer.status_code == 200, (link, answer.text[:2000])
    # As many as the figure says.
    full = [r["product_id"] for r in tables["similar_lists"] if r["similar_count"] >= 5]
    assert list_pages(site, {"figure": "five_matches"}) == sorted(full)
    (ratio,) = (
        m["value"]
        for m in tables["quality"]
        if (m["metric"], m["scope"]) == ("recommended_ratio", "shop=lipa")
    )
    could = list_pages(site, {"figure": "could_be_shown", "shop": "lipa"})
    never = list_pages(site, {"figure": "never_recommended", "shop": "lipa"})
    assert ratio == pytest.approx(1 - len(never) / len(could)) and set(never) < set(could)


def list_pages(site, query: dict[str, str]) -> list[str]:
    """The products of every page of a list, by its links."""
    found, address = [], f"/quality/products?{urlencode(query)}"
    while address:
        text = site.get(address).text
        found += [unescape(i) for i in re.findall(r'<h3><a href="/products/([^"]+)"', text)]
        after = re.search(r'rel="next" href="([^"]+)"', text)
        address = unescape(after[1]) if after else ""
    return [i.replace("%3A", ":") for i in found]


def test_filters_combine_and_say_when_nothing_matches(site, tables):
    part = {"shop": "lipa", "category": "women"}
    count = sum(
        p["shop_id"] == "lipa" and p["category"].startswith("women.") for p in tables["products"]
    )
    page = site.get("/quality", params=part).text
    assert f"Figures of the {count} products of shop lipa, in category women." in page
    assert "Runs measure each shop" in page and "From offers" not in page
    assert 'value="lipa" selected' in page and 'value="women" selected' in page
    assert list_pages(site, part | {"figure": "products"}) == sorted(
        p["product_id"]
        for p in tables["products"]
        if p["shop_id"] == "lipa" and p["category"].startswith("women.")
    )
    shop_page = site.get("/quality?shop=lipa").text
    assert "<polyline" in shop_page, "a shop is measured by every run"
    for path in ("/quality", "/quality/products"):
        for nobody in ("shop=nobody", "shop=lipa&category=women.none", "shop=%00", "category=%7B"):
            empty = site.get(f"{path}?{nobody}")
            assert empty.status_code == 200 and "Nothing matches" in empty.text, (path, nobody)
    assert site.get("/quality/products?figure=prodcts").status_code == 404
    refused = site.get("/quality/refused?reason=bad_price")
    assert refused.status_code == 200 and "bad price" in refused.text
    assert "Nothing matches" in site.get("/quality/refused?reason=none").text
