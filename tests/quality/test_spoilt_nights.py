"""The gate sees spoilt nights and lets honest changes pass, as docs/evidence/gate.md says."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.quality.gate_page import CASES, judge_case, render_page
from tests.quality.honest_nights import HONEST
from tests.quality.spoilt_nights import SPOILT, NightCase

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "gate.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_night_gets_its_verdict(case: NightCase) -> None:
    found = judge_case(case)
    texts = [f"{m.verdict} {m.metric} {m.scope} {m.value:.3f}: {m.note}" for m in found.outside]
    assert found.verdict == case.verdict, texts
    if case.metric:
        named = [m for m in found.outside if m.metric == case.metric]
        assert case.verdict in {m.verdict for m in named}, texts


def test_there_are_enough_of_both() -> None:
    assert len(SPOILT) >= 40 and len(HONEST) >= 20
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.verdict for case in SPOILT} == {"fail", "warn"}
    assert {case.verdict for case in HONEST} == {"ok"}


def test_the_page_is_fresh() -> None:
    told = PAGE.read_text(encoding="utf-8")
    assert told == render_page(), "run: python -m tests.quality.gate_page > docs/evidence/gate.md"
