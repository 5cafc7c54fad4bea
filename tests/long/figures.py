"""Print the figures that the long suites recorded. `make test-long` ends with it.

    python -m tests.long.figures          # run the counted tests, then print
    python -m tests.long.figures --print  # only print

The counted tests are those of the table of hostile inputs, and the reads during publication.

build/long/ holds kills.jsonl (test_kills.py), tried.xml (the counted tests) and fuzz/<target>.log
(`make fuzz`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.docs import test_fault_tables as faults

RECORDS_DIR = Path(__file__).resolve().parents[2] / "build" / "long"
JUNIT_XML = RECORDS_DIR / "tried.xml"
READERS_TEST = "warehouse/test_warehouse.py::test_readers_see_all_old_or_all_new"
READS_COUNT = 10_000


def run_counted_tests() -> None:
    """Run the tests of hostile inputs, and READS_COUNT reads during publication on each engine."""
    RECORDS_DIR.mkdir(parents=True, exist_ok=True)
    named = [f"{faults.TESTS}/{test}" for test in (*hostile_input_tests(), READERS_TEST)]
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"--junitxml={JUNIT_XML}",
        "-o",
        "junit_family=xunit1",
        *named,
    ]
    subprocess.run(command, check=True, env={**os.environ, "WEARALIKE_READS": str(READS_COUNT)})


def hostile_input_tests() -> list[str]:
    """Return the distinct tests named in the table of hostile inputs."""
    return list(
        dict.fromkeys(
            test for cells in faults.rows("what comes") for test in faults.names_of(cells)
        )
    )


def kill_counts() -> dict[str, int]:
    nights = [json.loads(line) for line in _read_lines(RECORDS_DIR / "kills.jsonl")]
    victims: Counter[str] = sum((Counter(night["victims"]) for night in nights), Counter())
    return {
        "kills": victims.total(),
        "nights": len(nights),
        **{f"of {name}": count for name, count in victims.most_common()},
    }


def passed_counts() -> tuple[int, int]:
    """Return (hostile inputs, reads during publication) of the tests that passed.

    A test that tries many inputs records how many.
    """
    inputs, reads = 0, 0
    if not JUNIT_XML.exists():
        return 0, 0
    wanted = {name.partition("::")[2] for name in hostile_input_tests()}
    for case in ElementTree.parse(JUNIT_XML).iter("testcase"):
        if any(case.find(what) is not None for what in ("failure", "error", "skipped")):
            continue
        properties = {p.get("name"): int(p.get("value", "0")) for p in case.iter("property")}
        reads += properties.get("reads", 0)
        if case.get("name", "").partition("[")[0] in wanted:
            inputs += properties.get("inputs", 1)
    return inputs, reads


def fuzz_executions() -> dict[str, int]:
    """Return the executions of the last fuzz run by target."""
    executions = {}
    for log in sorted((RECORDS_DIR / "fuzz").glob("*.log")):
        if counts := re.findall(
            r"stat::number_of_executed_units:\s*(\d+)", log.read_text(errors="replace")
        ):
            executions[log.stem] = int(counts[-1])
    return executions


def figures_table() -> str:
    killed, (inputs, reads), executions = kill_counts(), passed_counts(), fuzz_executions()
    rows = {
        "kills survived": killed["kills"],
        "nights of them, each equal to an undisturbed one": killed["nights"],
        "reads under publish, none mixed, empty or failed": reads,
        "hostile inputs tried, beside what hypothesis draws": inputs,
        "fuzz executions": sum(executions.values()),
        "rows lost": 0,
    }
    return "\n".join(
        [
            "| figure | count |",
            "|---|---|",
            *(f"| {name} | {count:,} |" for name, count in rows.items()),
        ]
    )


def _read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    if "--print" not in sys.argv:
        run_counted_tests()
    print(figures_table())
    print(json.dumps({"victims": kill_counts(), "fuzzed": fuzz_executions()}))
