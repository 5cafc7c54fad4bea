"""Write the table of the slowest tests anew: `make slowest`, or with the log of a pytest that had
`--durations=0`: `python -m tests.support.slowest_tests build/durations.log`.

A test's time has its fixtures, so whoever needs one first pays it for all. Its reason is written by
hand, and kept from table to table.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "slow-tests.md"
BEGIN, END = "<!-- written by: make slowest -->\n", "<!-- end of the slowest -->"
ROWS = 20
_LINE = re.compile(r"(\d+\.\d+)s (?:setup|call|teardown) +tests/(\S+\.py::\w+)(?:\[.*\])?$", re.M)
_ROW = re.compile(r"\| `(\S+)` \| (\d+) \| (.*?) \|$", re.M)


def read_seconds(log: str) -> Counter[str]:
    """Return the seconds of each test, all its cases and phases together."""
    seconds: Counter[str] = Counter()
    for took_s, test in _LINE.findall(log):
        seconds[test] += float(took_s)
    return seconds


def read_rows(page: str) -> dict[str, str]:
    """Return the reason of each test in the table of a page."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    return {test: reason for test, _, reason in _ROW.findall(table)}


def rewrite_table(page: str, log: str) -> str:
    """Return the page with the table of the log; a test without a reason gets an empty cell."""
    reasons = read_rows(page)
    lines = ["| test | seconds | why it is slow |", "|---|---|---|"]
    for test, took_s in read_seconds(log).most_common(ROWS):
        lines.append(f"| `{test}` | {took_s:.0f} | {reasons.get(test, '')} |")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    return before + BEGIN + "\n".join(lines) + "\n" + END + after


def main() -> int:
    """Write the page; 1 where a reason must be written by hand."""
    page = rewrite_table(
        PAGE.read_text(encoding="utf-8"), Path(sys.argv[1]).read_text(encoding="utf-8")
    )
    PAGE.write_text(page, encoding="utf-8")
    missing = [test for test, reason in read_rows(page).items() if not reason]
    for test in missing:
        print(f"{PAGE}: {test}: write why it is slow")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
