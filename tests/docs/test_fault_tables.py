"""The tables of faults and hostile inputs: every row names tests, and every named test exists."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FAULTS_PAGE = TESTS.parent / "docs" / "evidence" / "faults.md"
HEADS = ("what goes wrong", "what comes")


def rows(*heads: str) -> list[list[str]]:
    """The cells of every row of the tables whose first column is headed so."""
    found, is_wanted = [], False
    for line in FAULTS_PAGE.read_text(encoding="utf-8").splitlines():
        cells = (
            [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []
        )
        if cells and cells[0] in heads:
            is_wanted = True
        elif cells and is_wanted:
            found.append(cells)
        elif not line.startswith("|"):
            is_wanted = False
    return found


def names_of(cells: list[str]) -> list[str]:
    """`file.py::test` of every test that a row names."""
    return re.findall(r"`([\w/]+\.py::test_\w+)`", cells[2])


def test_every_row_names_tests_that_are_there():
    assert len(rows(HEADS[0])) >= 48 and len(rows(HEADS[1])) >= 30
    known: dict[str, set[str]] = {}
    for cells in rows(*HEADS):
        assert len(cells) == 3 and all(cells), cells
        named = names_of(cells)
        assert named and ", ".join(f"`{name}`" for name in named) == cells[2], cells[2]
        for file, _, name in (test.partition("::") for test in named):
            if file not in known:
                body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
                known[file] = {node.name for node in body if isinstance(node, ast.FunctionDef)}
            assert name in known[file], f"{file}::{name}"


def test_the_figures_kept_are_of_those_that_the_long_suite_prints():
    from tests.long import figures

    kept = (
        FAULTS_PAGE.read_text(encoding="utf-8")
        .split("<!-- printed by: make test-long -->\n")[1]
        .split("<!-- end of figures -->")[0]
    )
    names = [line.split("|")[1] for line in kept.splitlines()]
    assert names and set(names) <= {
        line.split("|")[1] for line in figures.figures_table().splitlines()
    }


def test_no_fault_is_told_twice():
    told = [cells[0] for cells in rows(*HEADS)]
    assert len(told) == len(set(told))
