"""The table of the slowest tests names tests that are there, with a reason each."""

import ast
from pathlib import Path

from tests.support import slowest_tests

TESTS = Path(__file__).resolve().parents[1]
LOG = """
12.00s setup    tests/a/test_a.py::test_first[x-1]
3.50s call     tests/a/test_a.py::test_first[x-1]
2.25s call     tests/a/test_a.py::test_first[y/b.py::c d]
40.10s call     tests/b/test_b.py::test_second
(9 durations < 0.5s hidden.  Use -vv to show these durations.)
"""


def test_every_row_names_a_test_that_is_there_and_its_reason():
    reasons = slowest_tests.read_rows(slowest_tests.PAGE.read_text(encoding="utf-8"))
    assert len(reasons) == slowest_tests.ROWS
    for test, reason in reasons.items():
        file, _, name = test.partition("::")
        body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
        assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}, test
        assert len(reason.split()) >= 4, test


def test_seconds_are_added_up_and_reasons_kept():
    page = f"Head.\n\n{slowest_tests.BEGIN}{slowest_tests.END}\n\nFoot.\n"
    first = slowest_tests.rewrite_table(page, LOG)
    assert first.startswith("Head.") and first.endswith("Foot.\n")
    assert slowest_tests.read_rows(first) == {
        "b/test_b.py::test_second": "",
        "a/test_a.py::test_first": "",
    }
    told = first.replace("test_first` | 18 |  |", "test_first` | 18 | it trains |")
    again = slowest_tests.rewrite_table(told, LOG.replace("40.10s", "4.10s"))
    assert list(slowest_tests.read_rows(again).items()) == [
        ("a/test_a.py::test_first", "it trains"),
        ("b/test_b.py::test_second", ""),
    ]
