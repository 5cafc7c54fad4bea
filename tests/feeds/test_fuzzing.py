"""Any bytes at all: inputs that once failed, and variations that hypothesis makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import fuzz_targets

SEEDS = {name: sorted((fuzz_targets.SEEDS_DIR / name).iterdir()) for name in fuzz_targets.TARGETS}


@pytest.mark.parametrize("target", fuzz_targets.TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_what_was_found_before_is_no_defect_any_more(target, record_property):
    assert SEEDS[target]
    record_property("inputs", len(SEEDS[target]))
    for path in SEEDS[target]:
        fuzz_targets.TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", fuzz_targets.TARGETS)
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_drawn_bytes(target, data):
    """A seed with pieces of it, or of another, put elsewhere."""
    content = bytearray(data.draw(st.sampled_from(SEEDS[target])).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        other = data.draw(st.sampled_from(SEEDS[target])).read_bytes()
        start, size = data.draw(st.integers(0, len(other))), data.draw(st.integers(0, 60))
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 60))] = other[start : start + size] or data.draw(
            st.binary(max_size=8)
        )
    fuzz_targets.TARGETS[target](bytes(content))
