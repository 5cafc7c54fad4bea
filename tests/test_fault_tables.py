"""The tables of docs/faults.md: every row names tests, and every test named is there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "faults.md"


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [
        cells
        for line in lines
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])[0] != "what goes wrong" and cells[0] != "what comes"
    ]


def test_every_row_names_tests_that_are_there():
    assert len(rows()) >= 70
    known: dict[str, set[str]] = {}
    for cells in rows():
        assert len(cells) == 3 and all(cells), cells
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", cells[2])
        assert named and re.sub(r"`[\w/]+\.py::test_\w+`(, )?", "", cells[2]) == "", cells[2]
        for file, name in named:
            if file not in known:
                body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
                known[file] = {node.name for node in body if isinstance(node, ast.FunctionDef)}
            assert name in known[file], f"{file}::{name}"


def test_no_fault_is_told_twice():
    told = [cells[0] for cells in rows()]
    assert len(told) == len(set(told))
