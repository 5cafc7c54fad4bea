"""The README says what the code does: its tables, its jobs, its commands."""

import re
from pathlib import Path

from tests.support.command_line import parse

from wearalike import tables
from wearalike.pipeline.stages import STAGE_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_schema():
    shown = README.split("<!-- made by: python -m wearalike.tables -->\n")[1].split(
        "\n<!-- end of tables -->"
    )[0]
    assert shown.strip() == tables.markdown().strip()


def test_the_jobs_are_those_of_the_night():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == list(STAGE_NAMES)
    for name, _ in rows:
        assert (REPOSITORY / "jobs" / f"{name}.py").is_file()


def test_the_commands_shown_are_understood():
    commands = re.findall(r"\.venv/bin/wearalike (.+?)(?:`|\s{3,}|>|\n|$)", README)
    assert len(commands) >= 5
    for command in commands:
        parse(command.split())


def test_the_targets_shown_are_in_the_makefile():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^ {4}make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "airflow"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
