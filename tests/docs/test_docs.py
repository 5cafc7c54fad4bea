"""The pages of docs/ agree with the code: fresh reference, commands that parse, links to files."""

import contextlib
import re
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pyspark
import pytest
import yaml
from lxml import etree

from wearalike import tables
from wearalike.commands.app import app
from wearalike.pipeline.stages import STAGES
from wearalike.warehouse.duckdb.recorded import RecordedRows

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
HAND_WRITTEN = [page for page in PAGES if page.name != "reference.md"]
README = REPOSITORY / "README.md"


def parse_command(line: str) -> None:
    """Parse the options of a `wearalike …` command, as click does before it reads their values."""
    words = [word.strip("\"'") for word in re.split(r"\s{2,}#| > | && ", line)[0].split()]
    command: click.Command | None = app
    context = click.Context(app, info_name="wearalike")
    arguments = words[1:]
    while isinstance(command, click.Group) and arguments:
        command = command.get_command(context, arguments.pop(0))
        assert command is not None, line
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(arguments)


def shown_commands(page: Path) -> list[str]:
    """Return the `wearalike …` lines of a page's code blocks."""
    text = page.read_text(encoding="utf-8").replace(".venv/bin/wearalike", "wearalike")
    blocks = re.findall(r"```.*?```", text, re.DOTALL)
    indented = re.findall(r"^ {4,}.+$", text, re.MULTILINE)
    lines = [line for part in (*blocks, *indented) for line in part.splitlines()]
    shown = (re.match(r"(?:\$ |\s*)(wearalike .+)", line) for line in lines)
    return [match[1] for match in shown if match]


def test_the_reference_is_fresh():
    made = subprocess.run(
        [sys.executable, "-m", "wearalike", "reference"], capture_output=True, text=True, check=True
    )
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert made.stdout == page, "run: .venv/bin/wearalike reference > docs/reference.md"
    for table in tables.TABLES:
        assert f"**{table.name}**" in page
    for stage in STAGES:
        assert f"### {stage.name}\n" in page


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_listed():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    listed = {(DOCS / target).resolve() for target in re.findall(r"\]\(([\w/-]+\.md)\)", index)}
    assert len(HAND_WRITTEN) >= 15
    assert set(PAGES) - {DOCS / "README.md"} == listed


def test_the_commands_shown_are_understood():
    shown = [line for page in [README, *HAND_WRITTEN] for line in shown_commands(page)]
    assert len(shown) >= 30
    for line in shown:
        parse_command(line)


def test_files_of_the_cluster_page_parse_and_spark_knows_their_keys():
    page = (DOCS / "how-to" / "spark-cluster.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(bash|yaml|properties)\n(.*?)```", page, re.DOTALL)
    assert {kind for kind, _ in blocks} == {"bash", "yaml", "properties"}
    for kind, text in blocks:
        if kind == "bash":
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    parts = [part for kind, text in blocks if kind == "yaml" for part in yaml.safe_load_all(text)]
    kinds = ["ServiceAccount", "RoleBinding", "Service", "Job", "Pod"]
    assert [part["kind"] for part in parts] == kinds
    lines = "".join(text for kind, text in blocks if kind == "properties").splitlines()
    keys = {line.split()[0] for line in lines if not line.startswith("#")}
    known = set()
    for jar in (Path(pyspark.__file__).parent / "jars").glob("spark-[cky]*.jar"):
        with zipfile.ZipFile(jar) as classes:
            for name in classes.namelist():
                if re.search(r"[Cc]onfig", name) and name.endswith(".class"):
                    known.update(re.findall(rb"spark\.[A-Za-z.]+", classes.read(name)))
    assert len(keys) > 8 and {key for key in keys if key.encode() not in known} == set()


def test_the_stages_shown_exist():
    text = "".join(page.read_text(encoding="utf-8") for page in [README, *HAND_WRITTEN])
    named = set(re.findall(r"python -m wearalike\.pipeline (\w+)", text))
    assert len(named) >= 3 and named <= {stage.name for stage in STAGES}


def test_files_named_are_there():
    path = re.compile(r"`((?:jobs|sql|dags|lib|mappings|tests)/[\w/.-]+\.\w+)`")
    named = {
        name for page in HAND_WRITTEN for name in path.findall(page.read_text(encoding="utf-8"))
    }
    examples = {"mappings/shops/newshop.xml", "mappings/rubricator.xml"}
    assert len(named) >= 5
    assert {name for name in named if not (REPOSITORY / name).exists()} <= examples


def test_the_words_of_the_site_s_page_are_columns():
    page = (DOCS / "how-to" / "serve-a-site.md").read_text(encoding="utf-8")
    views = (REPOSITORY / "sql" / "views" / "site.sql").read_text(encoding="utf-8")
    for view in (
        "site_similar_products",
        "site_look_products",
        "site_product_variants",
        "site_products",
        "site_freshness",
    ):
        assert view in page and view in views


def test_the_picture_is_a_picture_without_outside_requests():
    root = etree.parse(DOCS / "concepts" / "data-flow.svg").getroot()
    assert root.tag.endswith("}svg") and root.get("viewBox")
    text = etree.tostring(root, encoding="unicode")
    assert not re.search(r"<(script|image|foreignObject)|href=|url\(http|@import", text)
    words = set(" ".join(root.itertext()).split())
    assert {table.name for table in tables.TABLES} & words >= {
        "products",
        "images",
        "items",
        "codes",
        "indexes",
        "matches",
        "similar_products",
        "quality",
    }


@pytest.mark.parametrize(
    ("page", "table"),
    [
        ("measure-clicks", tables.EVENT_RATES),
        ("label-pictures", tables.PICTURE_LABELS),
        ("use-the-viewer", tables.JUDGEMENTS),
    ],
)
def test_rows_that_people_leave_are_asked_in_duckdbs_folder_as_the_page_says(page, table, tmp_path):
    """They are no table of the DuckDB file itself."""
    text = (DOCS / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    (path,) = re.findall(r"data/warehouse/(recorded/\w+\.sqlite)", text)
    (statement,) = re.findall(rf"SELECT [^`;]* FROM {table.name}\b[^`;]*", text)
    RecordedRows(tmp_path / "recorded").add("2026-11-21", table, [])
    with contextlib.closing(sqlite3.connect(tmp_path / path)) as connection:
        assert connection.execute(statement).fetchall() == []
