"""A preview of rules tells beforehand what the run then does, on the command line and on a page."""

import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from wearalike import catalog
from wearalike.commands import app
from wearalike.pipeline.__main__ import main as run_stage
from wearalike.search import rules_preview
from wearalike.server.app import create_app
from wearalike.settings import read_settings, today
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS, SIMILAR_PRODUCTS

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "day-1"


@pytest.fixture
def place(night, tmp_path):
    """The night's deployment with mappings of its own: (settings file, rules file)."""
    shutil.copytree(night, tmp_path / "n", symlinks=True)
    shutil.copytree(REPOSITORY / "mappings", tmp_path / "mappings")
    config = tmp_path / "n" / "wearalike.toml"
    text = config.read_text(encoding="utf-8").replace(str(night), str(tmp_path / "n"))
    text = re.sub(r"(?m)^mappings = .*$", f'mappings = "{tmp_path / "mappings"}"', text)
    config.write_text(text, encoding="utf-8")
    return config, tmp_path / "mappings" / "rules.xml"


def published_lists(root) -> dict[str, list[tuple[str, str | None]]]:
    lists: dict[str, list[tuple[str, str | None]]] = {}
    rows = run_tables.read_table(root, SIMILAR_PRODUCTS, RUN).to_pylist()
    for row in sorted(rows, key=lambda row: (row["product_id"], row["rank"])):
        lists.setdefault(row["product_id"], []).append((row["similar_product_id"], row["rule"]))
    return lists


def read_preview(config, rules, day=None):
    settings = read_settings(config)
    taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
    found = catalog.read_rules(rules, taxonomy)
    return rules_preview.preview_rules(settings.data_dir, RUN, found, day or today())


def write_rules(place, rest="") -> tuple[str, str]:
    """Write rules about the first full list; return the product hidden and the one pinned."""
    config, rules = place
    lists = published_lists(config.parent / "root")
    page = next(product_id for product_id, found in lists.items() if len(found) >= 10)
    hidden, pinned = lists[page][0][0], lists[page][-1][0]
    rules.write_text(
        f'<rules><hide id="recalled" product="{hidden}"/>'
        f'<pin id="gift" product="{pinned}" at="1" on_product="{page}"/>{rest}</rules>',
        encoding="utf-8",
    )
    return hidden, pinned


def test_the_preview_is_what_the_run_then_does(place):
    config, rules = place
    root = config.parent / "root"
    before = published_lists(root)
    write_rules(
        place,
        '<require id="own" same="shop" on_shop="lipa"/><bury id="dark" colour="black" by="0.2"/>'
        '<hide id="dear" min_price="40" currency="EUR" on_max_price="20"/>'
        '<require id="alike" same="colour" on_category="women" on_sale="yes"/>'
        '<prefer id="cheap" sale="yes" boost="0.1" on_family="dresses"/>',
    )
    found = read_preview(config, rules)
    assert published_lists(root) == before, "a preview changes nothing"
    assert run_stage(["match_products", "--run", RUN, "--config", str(config)]) == 0
    after = published_lists(root)
    changed = {one.product_id: one for one in found.changed}
    differing = {i for i in before.keys() | after.keys() if before.get(i) != after.get(i)}
    assert changed.keys() == differing and len(changed) > 10
    for product_id, one in changed.items():
        assert [(e.product_id, e.rule) for e in one.before] == before.get(product_id, [])
        assert [(e.product_id, e.rule) for e in one.after] == after.get(product_id, [])
    own = next(e for e in found.effects if e.rule.id == "own")
    lipa = [
        p["product_id"]
        for p in run_tables.read_table(root, PRODUCTS, RUN).to_pylist()
        if p["shop_id"] == "lipa"
    ]
    strangers = sum(not other.startswith("lipa:") for i in lipa for other, _ in before.get(i, []))
    assert own.rows_count == strangers > 0
    dark = next(e for e in found.effects if e.rule.id == "dark")
    assert dark.rows_count > 0 and dark.idle_reason is None
    assert any(rule == "bury:dark" for rows in after.values() for _, rule in rows)


def test_counts_idle_rules_and_contradictions_are_named(place, capsys):
    config, rules = place
    hidden, pinned = write_rules(
        place,
        '<hide id="other" brand="Nosuchbrand"/><fill id="past" until="2020-01-01"/>'
        '<require id="same" same="shop"/><require id="away" different="shop"/>'
        '<bury id="down" category="women" by="0.1"/><prefer id="up" sale="no" boost="0.1"/>',
    )
    rules.write_text(
        rules.read_text(encoding="utf-8").replace(
            "</rules>", f'<hide id="also" product="{pinned}"/></rules>'
        ),
        encoding="utf-8",
    )
    arguments = ["rules", "preview", "--config", str(config), "--lists", "1"]
    assert app.main(arguments) == 0
    text = capsys.readouterr().out
    assert re.search(r"hide recalled +\d+ +1 +\d+\n", text)
    assert re.search(r"hide other .*never acts: no product of the run is meant by it", text)
    assert re.search(r"fill past .*never acts: not on this day: \.\.\. to 2020-01-01", text)
    assert "contradiction: pin 'gift' and hide 'also': the pin wins" in text
    assert "contradiction: require 'same' and require 'away'" in text
    assert "contradiction: bury 'down' and prefer 'up': they pull at the same products" in text
    assert re.search(r"and [\d,]+ more lists; --lists shows them", text)
    assert f"- {hidden}" in text or hidden in text
    # On a day of its own the past rule acts.
    past = read_preview(config, rules, date(2019, 12, 31))
    assert next(e for e in past.effects if e.rule.id == "past").pages_count > 0


def test_rules_that_leave_nothing_are_named_and_a_burial_counts_its_own_rows(place):
    config, rules = place
    rules.write_text(
        '<rules><hide id="gone" shop="lipa"/><bury id="low" shop="lipa" by="0.1"/>'
        '<require id="mine" shop="lipa" on_shop="lipa"/>'
        '<require id="theirs" shop="harbour" on_shop="lipa"/></rules>',
        encoding="utf-8",
    )
    found = read_preview(config, rules)
    low = next(e for e in found.effects if e.rule.id == "low")
    assert low.products_count > 0 and not low.rows_count
    assert "other rules outweigh it" in (low.idle_reason or "")
    names = "require 'mine' and require 'theirs'"
    assert f"{names}: no product meets both, so lists are empty" in found.contradictions
    names = "hide 'gone' and require 'mine'"
    said = f"{names}: all that is required is hidden, so lists are empty"
    assert said in found.contradictions
    assert not any("hide 'gone' and require 'theirs'" in text for text in found.contradictions)


def test_a_pin_into_another_super_category_is_named(place):
    config, rules = place
    root = config.parent / "root"
    rows = run_tables.read_table(root, PRODUCTS, RUN).to_pylist()
    shoe = next(p["product_id"] for p in rows if p["super_category"] == "foot_wear")
    rules.write_text(
        f'<rules><pin id="odd" product="{shoe}" at="1" on_category="bags"/></rules>',
        encoding="utf-8",
    )
    found = read_preview(config, rules)
    assert not found.changed
    assert [text for text in found.contradictions if "another super-category" in text]


def test_the_page_shows_lists_counts_and_mistakes(place):
    config, rules = place
    write_rules(place)
    with TestClient(create_app(read_settings(config)), "http://127.0.0.1") as client:
        page = client.get("/rules").text
        assert "hide recalled" in page and "pin gift" in page and "pin:gift" in page
        assert re.search(r"\d+ of \d+ lists change", page) and ">goes" in page
        more = client.get("/rules?start=10").text
        assert "First lists" in more and "More lists" in page and ">goes" in more
        assert "/thumbnails/" in page
        assert "hide recalled" in client.get("/rules?day=nonsense&start=-3").text
        rules.write_text("<rules><hide id='x'/></rules>", encoding="utf-8")
        page = client.get("/rules").text
        assert "1 mistake" in page and "rules.xml:1" in page
        rules.unlink()
        assert "The file has no rule" in client.get("/rules").text


def test_a_file_that_is_not_there(place, caplog):
    config, rules = place
    arguments = ["rules", "preview", "--config", str(config), "--rules", str(rules / "nosuch")]
    assert app.main(arguments) == 1
    assert "no such file" in caplog.text
