"""The page docs/evidence/gate.md: what the gate says of spoilt nights and honest changes.

Write it with: .venv/bin/python -m tests.quality.gate_page > docs/evidence/gate.md
"""

from __future__ import annotations

from functools import cache

import numpy as np
from tests.quality.drawn_night import (
    ENCODER,
    SHOP_SIZES,
    JudgedNight,
    build_tables,
    draw_night,
    judge,
    measure,
    values_of,
)
from tests.quality.honest_nights import HONEST
from tests.quality.spoilt_nights import SPOILT, NightCase

from wearalike.quality.thresholds import Thresholds

WEEK_RUNS = 7
CASES = (*SPOILT, *HONEST)
_HEAD = """# Nights that the gate sees

A drawn night of {products} products in {shops} shops is spoilt in {spoilt} ways and changed
honestly in {honest}. Beside it stand yesterday's run and a week of runs, unless it says "first
night". Its lists are searched by the real search, and judged by the default thresholds.
`tests/quality/test_spoilt_nights.py` asserts every line; the page is written by

    python -m tests.quality.gate_page > docs/evidence/gate.md

"fail" keeps the site at the run before. "warn" publishes and tells the operator. The third column
is one of the lines that the operator reads.

## Spoilt nights

| night | verdict | the gate says |
|---|---|---|
"""
_HONEST_HEAD = """
## Honest changes

All pass without a warning.

| change | verdict |
|---|---|
"""


@cache
def _good_night():
    night = draw_night()
    found = build_tables(night)
    return night, found, values_of(measure(found))


@cache
def judge_case(case: NightCase) -> JudgedNight:
    """Return the gate's verdict on a changed night, with yesterday's run and a week beside it."""
    night, last, values = _good_night()
    rng = np.random.default_rng(9)
    if case.is_first:
        return judge(measure(build_tables(case.change(night, rng))))
    week = [values] * WEEK_RUNS
    for _ in range(case.nights_before):
        night = case.change(night, rng)
        last = build_tables(night)
        week = [values_of(measure(last)), *week][:WEEK_RUNS]
    now = case.change(night, rng)
    is_same = now.encoder == ENCODER
    found = measure(build_tables(now), last, week, are_models_of_last_run=is_same)
    return judge(found, are_models_of_last_run=is_same)


def render_page() -> str:
    """Return the page."""
    head = _HEAD.format(
        products=sum(SHOP_SIZES.values()),
        shops=len(SHOP_SIZES),
        spoilt=len(SPOILT),
        honest=len(HONEST),
    )
    lines = [
        f"| {case.name} | {found.verdict} | {_message(found, case)} |"
        for case in SPOILT
        for found in [judge_case(case)]
    ]
    honest = [f"| {case.name} | {judge_case(case).verdict} |" for case in HONEST]
    return head + "\n".join(lines) + "\n" + _HONEST_HEAD + "\n".join(honest) + "\n"


def _message(found: JudgedNight, case: NightCase) -> str:
    """Return the note of the metric that the case names, with the metric's name."""
    limit = next(t for t in Thresholds().as_list() if t.metric == case.metric)
    [first, *_] = sorted(
        (m for m in found.outside if m.metric == case.metric),
        key=lambda m: (
            m.verdict != case.verdict,
            not m.scope.startswith("shop="),
            -limit.excess(m.value),
        ),
    )
    note = first.note or first.scope
    return f"`{first.metric}` {first.value:.2f}, wanted {first.threshold}. {note}"


if __name__ == "__main__":
    print(render_page(), end="")
