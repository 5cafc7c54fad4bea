"""The README says what the code does: its stages, its targets, its size."""

import re
from pathlib import Path

from wearalike.pipeline import stages

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
