"""The pages of docs/ say what the code does: the reference is fresh, commands are understood, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree
from tests.support.command_line import parse

from wearalike import tables
from wearalike.pipeline.stages import STAGE_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
MINE = [page for page in PAGES if page.name != "reference.md"]


def test_the_reference_is_fresh():
    made = subprocess.run(
        [sys.executable, "-m", "wearalike", "reference"],
        capture_output=True,
        text=True,
        check=True,
    )
    page = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    assert made.stdout == page, "run: .venv/bin/wearalike reference > docs/reference.md"
    for table in tables.TABLES:
        assert f"**{table.name}**" in page
    for name in STAGE_NAMES:
        assert f"### {name}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_listed():
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    assert len(MINE) >= 8
    assert {page.name for page in PAGES} - {"README.md"} == set(
        re.findall(r"\]\((\w[\w-]*\.md)\)", index)
    )


def test_the_commands_shown_are_understood():
    shown = [
        line.strip()
        for page in MINE
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r" {4,}wearalike ", line)
    ]
    assert len(shown) >= 10
    for line in shown:
        arguments = re.split(r"\s{2,}#| > | && ", line)[0].split()[1:]
        parse([a.strip('"') for a in arguments])


def test_files_named_are_there():
    path = re.compile(r"`((?:jobs|sql|dags|lib|mappings)/[\w/.-]+\.\w+)`")
    named = {name for page in MINE for name in path.findall(page.read_text(encoding="utf-8"))}
    assert len(named) >= 5
    assert [name for name in named if not (REPOSITORY / name).exists()] == [
        "mappings/shops/newshop.xml"
    ], "the example's, no other"


def test_the_words_of_the_site_s_page_are_columns():
    page = (REPOSITORY / "docs" / "site.md").read_text(encoding="utf-8")
    views = (REPOSITORY / "sql" / "views" / "site.sql").read_text(encoding="utf-8")
    for view in ("site_similar_products", "site_look_products", "site_products", "site_freshness"):
        assert view in page and view in views


def test_the_picture_is_a_picture_without_outside_requests():
    root = etree.parse(REPOSITORY / "docs" / "way.svg").getroot()
    assert root.tag.endswith("}svg") and root.get("viewBox")
    text = etree.tostring(root, encoding="unicode")
    assert not re.search(r"<(script|image|foreignObject)|href=|url\(http|@import", text)
    words = set(" ".join(root.itertext()).split())
    missing = {
        "feeds",
        "products",
        "images",
        "items",
        "codes",
        "indexes",
        "matches",
        "similar_products",
        "quality",
    } - words
    assert not missing
