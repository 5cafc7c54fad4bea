"""The README says what the code does: its stages, its targets, its size."""

import re
from pathlib import Path

from wearalike.pipeline import stages
from wearalike.storage import run_tables
from wearalike.tables import OFFERS, SIMILAR_PRODUCTS

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.splitlines()) <= 150
    assert len(README.encode()) <= 8192


def test_the_stages_are_those_of_a_run():
    table = README.split("<!-- stages -->\n")[1].split("<!-- end of stages -->")[0]
    assert table.strip() == stages.markdown()
    for stage in stages.STAGES:
        assert (REPOSITORY / "jobs" / f"{stage.name}.py").is_file()


def test_the_targets_shown_are_in_the_makefile():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`?\bmake ([a-z-]+)", README))
    assert {"demo", "test", "airflow"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_picture_shows_a_page():
    from PIL import Image

    with Image.open(REPOSITORY / "docs" / "start" / "product-page.png") as picture:
        assert picture.width >= 800 and picture.height >= 400


def test_the_output_shown_is_what_a_run_of_the_sample_shops_gives(night):
    """The demo runs the same shops through Airflow, which takes minutes."""
    block = README.split("$ make demo\n")[1].split("```")[0]
    lists = run_tables.read_table(night / "root", SIMILAR_PRODUCTS, "day-1").to_pylist()
    product_id = re.search(r"^[\w.]+ (\w+:\d+) ", block, re.MULTILINE)[1]
    results = re.findall(
        r"^ +(\d\.\d\d) +(\d\.\d\d) +(\d\.\d\d) +(\d\.\d\d)  (\S+) ", block, re.MULTILINE
    )
    assert len(results) == 3
    best = [row for row in lists if row["product_id"] == product_id][: len(results)]
    assert results == [
        (
            f"{row['score']:.2f}",
            f"{row['shape_score']:.2f}",
            f"{row['colour_score']:.2f}",
            f"{row['kind_score']:.2f}",
            row["similar_product_id"],
        )
        for row in best
    ]
    offers = run_tables.read_manifest(night / "root", OFFERS, "day-1")["rows"]
    assert f"{offers['written']} offers, refused: " in block
    assert all(f"'{reason}': {count}" in block for reason, count in offers["refused"].items())
    assert f"{len(lists)} recommendations" in block
