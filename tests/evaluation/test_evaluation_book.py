"""A workbook that gains a tab an evaluation, and whose formulas compare any two."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import openpyxl
import pytest

from wearalike.evaluation.evaluation_book import BadBook, add_evaluation, figures_path
from wearalike.evaluation.figures import FIGURES_SCHEMA


def figure(version: str, value: float | None, measure: str = "type") -> dict[str, object]:
    return {
        **dict.fromkeys(FIGURES_SCHEMA.names),
        **{"kind": "encoder", "version": version, "distance": "cosine", "dataset": "shop"},
        **{"split": "test", "category": "all", "measure": measure, "k": 10},
        **{"value": value, "low": value, "high": value, "count": 40},
    }


def test_each_evaluation_adds_a_tab_and_one_of_the_same_name_takes_its_place(tmp_path):
    book = tmp_path / "evaluations.xlsx"
    assert add_evaluation(book, "may", [figure("a", 0.5), figure("b", 0.6)]) == ["may"]
    assert add_evaluation(book, "june", [figure("a", 0.7)]) == ["may", "june"]
    opened = openpyxl.load_workbook(book)
    assert opened.sheetnames == ["compare encoders", "may", "june", "versions", "figures"]
    heading, *rows = opened["may"].iter_rows(values_only=True)
    values = [row[heading.index("value")] for row in rows]
    assert values == [0.5, 0.6]
    assert add_evaluation(book, "may", [figure("c", 0.9)]) == ["june", "may"]
    opened = openpyxl.load_workbook(book)
    assert opened.sheetnames[1:3] == ["june", "may"]
    assert [row[1] for row in opened["may"].iter_rows(min_row=2, values_only=True)] == ["may · c"]
    before = book.read_bytes()
    add_evaluation(book, "may", [figure("c", 0.9)])
    assert book.read_bytes() == before


def test_the_formulas_compare_models_of_two_evaluations(tmp_path):
    office = shutil.which("soffice") or shutil.which("localc")
    book = tmp_path / "evaluations.xlsx"
    add_evaluation(book, "may", [figure("a", 0.5), figure("a", 0.25, "colour")])
    add_evaluation(book, "june", [figure("a", 0.75), figure("a", None, "colour")])
    sheet = openpyxl.load_workbook(book)["compare encoders"]
    assert [sheet["C3"].value, sheet["C4"].value] == ["june · a · cosine", "may · a · cosine"]
    row = [sheet.cell(7, column).value for column in (8, 11, 14)]
    assert all(str(formula).startswith("=IF(") for formula in row)
    if office is None:
        pytest.skip("no LibreOffice computes the formulas here")
    command = [office, "--headless", "--convert-to", "xlsx", "--outdir", str(tmp_path / "out")]
    subprocess.run([*command, str(book)], check=True, capture_output=True, timeout=120)
    computed = openpyxl.load_workbook(tmp_path / "out" / book.name, data_only=True)
    sheet = computed["compare encoders"]
    by_measure = {
        sheet.cell(n, 5).value: [sheet.cell(n, c).value for c in (8, 11, 14)] for n in (7, 8)
    }
    assert by_measure["type"] == [0.75, 0.5, 0.25]
    assert by_measure["colour"][1] == 0.25 and by_measure["colour"][2] in ("", None)


def test_a_book_of_something_else_is_left_alone(tmp_path):
    book = tmp_path / "mine.xlsx"
    book.write_bytes(b"somebody's")
    with pytest.raises(BadBook, match=r"a workbook without mine\.parquet beside it"):
        add_evaluation(book, "may", [figure("a", 0.5)])
    assert book.read_bytes() == b"somebody's"
    figures_path(book).write_bytes(b"no parquet")
    with pytest.raises(BadBook, match="not the figures of evaluations"):
        add_evaluation(book, "may", [figure("a", 0.5)])
    for path, name in ((Path("a.csv"), "may"), (tmp_path / "a.xlsx", ""), (book, "x" * 32)):
        with pytest.raises(BadBook, match="wanted"):
            add_evaluation(path, name, [figure("a", 0.5)])
